"""Join Flickr8k's captions with captions of the same photos in other languages, into one source.

    python benchmarks/languages.py flickr8k/ --out flickr8k-languages.jsonl
    python benchmarks/languages.py flickr8k/ --back flickr8k-translated.jsonl --out flickr8k-languages.jsonl

FLICKR8K holds `captions.token.txt`, `multi30k.jsonl` and `languages/*.jsonl` (one line an image: image, lang, texts); a
file that is missing is left out, and said. `--back` adds the translations back of
`diptych data translate flickr8k/ --lang en --to es --back`.

Multi30k's translations, and those of files named here, are of one English caption; they get its meaning, where the
caption is found among those of the photo (letters and digits alone count). All other captions state no meaning: they
were written from the photo, or it is not known which caption they translate.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.data.readers import open_source

PEOPLE = ("de", "fr", "cs")  # Multi30k: translations of its `en` by people
OF_ONE = ("pt_translated", "es_machine", "uk_machine")  # translations of the same caption
MACHINE = "_machine"
LEFT_OUT = ("zh_machine",)  # of the captions that people wrote in Chinese as well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("--back", type=Path, help="the source with translations back")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    records = {pair.id: record_of(pair) for pair in open_source(options.flickr8k)}
    added: Counter[str] = Counter()
    for name, text in beside(options, records):
        records[name]["texts"].append(text)
        added[f"{text['lang']}, {text.get('origin', 'human')}"] += 1
    lines = (json.dumps(record, ensure_ascii=False) for record in records.values())
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(records):,} images; added " + "; ".join(f"{n:,} {kind}" for kind, n in added.items()))


def record_of(pair: Any) -> dict[str, Any]:
    """An image with its English captions, each with a meaning of its own."""
    texts = [
        {"text": text.value, "lang": "en", "field": "caption", "meaning": number}
        for number, text in enumerate(pair.texts)
    ]
    return {"id": pair.id, "image": str(pair.images[0].path), "split": pair.split, "texts": texts}


def beside(options: argparse.Namespace, records: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every text that is added, with the id of its record."""
    originals = {}  # record -> the number of the English caption that Multi30k translates
    for line in rows(options.flickr8k / "multi30k.jsonl"):
        if (record := records.get(line["image"])) is None:
            continue
        number = originals[line["image"]] = meaning_of(line["en"], record["texts"])
        yield from ((line["image"], text_of(line[lang], lang, number)) for lang in PEOPLE)
        yield from ((line["image"], text_of(value, "de")) for value in line["de_independent"])
    for path in sorted((options.flickr8k / "languages").glob("*.jsonl")):
        if path.stem in LEFT_OUT:
            continue
        origin = "translated" if path.stem.endswith(MACHINE) else "human"
        for line in rows(path):
            if line["image"] in records:
                number = originals.get(line["image"]) if path.stem in OF_ONE else None
                yield from ((line["image"], text_of(value, line["lang"], number, origin)) for value in line["texts"])
    for line in rows(options.back) if options.back else ():
        backs = [text for text in line["texts"] if text.get("origin") == "back_translated"]
        yield from ((line["id"], text) for text in backs)


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        print(f"{path} is not there; its captions are left out")
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def text_of(value: str, lang: str, meaning: int | None = None, origin: str = "human") -> dict[str, Any]:
    found = {"text": value, "lang": lang, "field": "caption", "origin": origin}
    return found if meaning is None else {**found, "meaning": meaning}


def meaning_of(caption: str, texts: list[dict[str, Any]]) -> int | None:
    """The meaning of the English caption that says the same, if there is one."""
    english = [text for text in texts if "meaning" in text and text["lang"] == "en"]
    return next((text["meaning"] for text in english if letters(text["text"]) == letters(caption)), None)


def letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


if __name__ == "__main__":
    main()
