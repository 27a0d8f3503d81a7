"""Make the folder: images/VENDOR/CODE.png, emoji.jsonl, source.json and LICENCES.md."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core import files, fingerprint
from diptych.core.errors import ConfigError, DataError
from diptych.core.protocols import SILENT, Progress
from diptych.core.types import Skipped
from diptych.data.readers import openmoji
from diptych.data.readers.openmoji_groups import group_of
from diptych.data.splits import held_out

from .drawings import draw_by, drawn_codes, vendors_for
from .names import Names, emoji_names
from .packages import NpmPackage, find_packages
from .settings import CLDR, INDEXES, VENDORS, EmojiSettings, Vendor, canonical

LIST, SOURCE, LICENCES = "emoji.jsonl", "source.json", "LICENCES.md"
_UNICODE_CREDIT = "Unicode CLDR, Copyright Unicode, Inc., Unicode License V3 (https://www.unicode.org/license.txt)"
DEFAULTS = EmojiSettings()
_INDEX = re.compile(r"emoji\.json")


@dataclass(frozen=True)
class Made:
    """What a data set holds."""

    folder: Path
    emojis: int
    drawings: Mapping[str, int]  # vendor -> images listed
    languages: Mapping[str, int]  # language -> emojis with a name in it
    texts: int
    splits: Mapping[str, int]  # split -> pairs
    groups: int
    skipped: tuple[Skipped, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        skipped = [one.to_json() for one in self.skipped]
        return {**vars(self), "folder": str(self.folder), "skipped": skipped}

    def to_text(self) -> str:
        """A few lines for a person."""
        counted = (self.drawings, self.languages, self.splits)
        drawn, spoken, splits = (", ".join(f"{name} {count}" for name, count in each.items()) for each in counted)
        lines = [
            f"{self.folder}: {self.emojis} emojis in {self.groups} groups; {splits}",
            f"drawings: {sum(self.drawings.values())} ({drawn})",
            f"texts: {self.texts}; names by language: {spoken}",
            f"licences and credits: {self.folder / LICENCES}",
        ]
        lines += [f"left out: {one.name}: {one.detail}" for one in self.skipped[:5]]
        return "\n".join(lines)


def make_emoji(folder: Path, settings: EmojiSettings = DEFAULTS, progress: Progress = SILENT) -> Made:
    """Make an emoji data set in `folder`, a source that `open_source` reads; what it held before is replaced.

    One pair an emoji: its drawings, one a vendor (the image's folder is the vendor's name), its name in
    each language (field "name", all of one meaning) and its keywords (field "keywords", joined by commas).
    The class is the emoji's group. Gender, direction and skin tone variants of one emoji are of one split.

    Raises DataError for a missing or broken package, ConfigError for a folder that holds something else.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / SOURCE).is_file())):
        raise ConfigError(f"{folder} holds other files; give a new folder, or one that this command made")
    names_wanted = {vendor.package for vendor in VENDORS.values()} | {*CLDR, *INDEXES}
    packages = find_packages(settings.packages, names_wanted)
    vendors = vendors_for(settings.vendors, packages)
    checking = vendors_for(settings.val_vendors, packages) if settings.val_vendors else ()
    names = emoji_names(packages, settings.languages)
    subgroups = _subgroups(packages)
    if settings.classes == "subcategory" and not subgroups:
        raise DataError(f"subcategories come with one of the npm packages {', '.join(INDEXES)}; get one with: npm pack")
    codes = _chosen(vendors, names, settings, packages)
    folder.mkdir(parents=True, exist_ok=True)
    skipped: list[Skipped] = []
    images = {
        vendor.name: draw_by(vendor, codes, folder / "images" / vendor.name, settings.size, packages, skipped, progress)
        for vendor in (*vendors, *checking)
    }
    rows = []
    for code in codes:
        group = subgroups.get(code) if settings.classes == "subcategory" else None
        about = {"group": group or group_of(code), "subgroup": subgroups.get(code, ""), "texts": _texts(code, names)}
        for identifier, split, drawn_by in _splits(code, vendors, checking, settings.val_share):
            drawn = {one.name: images[one.name][code] for one in drawn_by if code in images[one.name]}
            if drawn:
                rows.append({"id": identifier, **_row(code, split, drawn, folder), **about})
    if not rows:
        raise DataError(f"no emoji has both a drawing by {', '.join(v.name for v in vendors)} and an English name")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    used = {vendor.name: _version(vendor, packages) for vendor in (*vendors, *checking)}
    files.write_bytes(folder / LIST, lines.encode())
    files.write_bytes(folder / LICENCES, _licences(used, packages).encode())
    files.write_json(folder / SOURCE, _source(settings, used, packages, lines))
    return _made(folder, rows, skipped)


def _chosen(
    vendors: Sequence[Vendor], names: Names, settings: EmojiSettings, packages: Mapping[str, NpmPackage]
) -> list[str]:
    """Emojis that one of the vendors drew and that have an English name, in one fixed shuffle."""
    drawn = {code for vendor in vendors for code in drawn_codes(vendor, packages)} & names["en"].keys()
    codes = openmoji.shuffled(drawn, skin_tones=settings.skin_tones, country_flags=settings.country_flags)
    return codes[: settings.limit]


def _splits(
    code: str, vendors: Sequence[Vendor], checking: Sequence[Vendor], share: float
) -> Iterator[tuple[str, str, Sequence[Vendor]]]:
    """(id, split, whose drawings) of an emoji's pairs: one, or two in a judge's set."""
    held = held_out(openmoji.family_of(code), share)
    if not checking:
        yield code, "val" if held else "train", vendors
    elif held:
        yield code, "train", vendors
        yield f"{code}.val", "val", checking
    else:
        yield code, "train", [*vendors, *checking]


def _row(code: str, split: str, drawn: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    return {
        "image": [image.relative_to(folder).as_posix() for image in drawn.values()],
        "split": split,
        "emoji": "".join(chr(int(part, 16)) for part in code.split("-")),
        "family": openmoji.family_of(code),
        "vendors": ",".join(drawn),
    }


def _texts(code: str, names: Names) -> list[dict[str, Any]]:
    found = {language: words[code] for language, words in names.items() if code in words}
    texts = [{"text": one.name, "lang": language, "field": "name", "meaning": 0} for language, one in found.items()]
    joined = {language: ", ".join(one.keywords) for language, one in found.items() if one.keywords}
    return texts + [{"text": words, "lang": language, "field": "keywords"} for language, words in joined.items()]


def _subgroups(packages: Mapping[str, NpmPackage]) -> dict[str, str]:
    """Canonical hexcode -> Unicode's subgroup, where a package that lists them is there."""
    for name in INDEXES:
        for _, data in packages[name].files(_INDEX) if name in packages else ():
            try:
                entries = json.loads(data)
                variants = ((entry, one) for entry in entries for one in (entry.get("skin_variations") or {}).values())
                listed = [(one["unified"], entry["subcategory"]) for entry, one in variants]
                listed += [(entry["unified"], entry["subcategory"]) for entry in entries]
                return {canonical(code): str(group) for code, group in listed}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{packages[name].path}: its emoji.json has an unexpected form: {error!r}") from error
    return {}


def _version(vendor: Vendor, packages: Mapping[str, NpmPackage]) -> str:
    return importlib.metadata.version(vendor.package) if vendor.registry == "PyPI" else packages[vendor.package].version


def _licences(used: Mapping[str, str], packages: Mapping[str, NpmPackage]) -> str:
    lines = ["# Whose work this is", "", "Show these credits wherever the drawings are shown.", ""]
    for name, version in used.items():
        vendor = VENDORS[name]
        lines += [
            f"- `images/{name}/` ({vendor.licence}): {vendor.credit}.",
            f"  From the {vendor.registry} package `{vendor.package}` {version}, resized and put on white.",
        ]
    cldr = [f"`{name}` {packages[name].version}" for name in CLDR if name in packages]
    where = f"the npm packages {', '.join(cldr)}" if cldr else "the PyPI package `emoji`"
    lines += [f"- Names and keywords: {_UNICODE_CREDIT}. From {where}.", ""]
    return "\n".join(lines)


def _source(
    settings: EmojiSettings, used: Mapping[str, str], packages: Mapping[str, NpmPackage], lines: str
) -> dict[str, Any]:
    return {
        "made_by": "diptych data emoji",
        "size": settings.size,
        "vendors": {
            name: {"package": VENDORS[name].package, "version": version, "licence": VENDORS[name].licence}
            for name, version in used.items()
        },
        "val_vendors": list(settings.val_vendors),
        "names": {name: packages[name].version for name in CLDR if name in packages} or {"emoji": "PyPI"},
        "classes": settings.classes,
        "skin_tones": settings.skin_tones,
        "country_flags": settings.country_flags,
        "val_share": settings.val_share,
        "fingerprint": fingerprint.of_bytes(lines.encode()),
    }


def _made(folder: Path, rows: Sequence[Mapping[str, Any]], skipped: Sequence[Skipped]) -> Made:
    drawings = Counter(vendor for row in rows for vendor in row["vendors"].split(","))
    spoken = {row["family"] + row["emoji"]: [t["lang"] for t in row["texts"] if t["field"] == "name"] for row in rows}
    languages = Counter(language for named in spoken.values() for language in named)
    return Made(
        folder,
        emojis=len(spoken),
        drawings=dict(drawings),
        languages=dict(languages),
        texts=sum(len(row["texts"]) for row in rows),
        splits=dict(sorted(Counter(row["split"] for row in rows).items())),
        groups=len({row["group"] for row in rows}),
        skipped=tuple(skipped),
    )
