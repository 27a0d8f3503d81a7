"""Add people's translations to a source with machine translations: the data of configs/methods/x_mrs_*.toml.

    diptych data translate flickr8k/ --to es --to ca --back --out flickr8k-translated.jsonl
    python benchmarks/translations.py flickr8k-translated.jsonl flickr8k/multi30k.jsonl --out flickr8k-languages.jsonl

Each English caption of Multi30k is looked for among the captions of its picture (letters and digits alone count);
its German and French translations then get that caption's meaning. Captions that are not found bring nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

LANGUAGES = ("de", "fr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("translated", type=Path)
    parser.add_argument("multi30k", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = options.multi30k.read_text(encoding="utf-8").splitlines()
    translations = {record["image"]: record for record in map(json.loads, lines)}
    written, added = [], 0
    for line in options.translated.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found = translations.get(record["id"])
        meaning = None if found is None else meaning_of(found["en"], record["texts"])
        if found is not None and meaning is not None:
            record["texts"] += [
                {"text": found[lang], "lang": lang, "field": "caption", "meaning": meaning} for lang in LANGUAGES
            ]
            added += 1
        written.append(json.dumps(record, ensure_ascii=False))
    options.out.write_text("\n".join(written) + "\n", encoding="utf-8")
    print(f"{added} of {len(written)} records have a caption in {' and '.join(LANGUAGES)}")


def meaning_of(caption: str, texts: list[dict[str, object]]) -> object:
    """The meaning of the English caption that says the same, if there is one."""
    human = [text for text in texts if text["lang"] == "en" and text.get("origin", "human") == "human"]
    return next((text["meaning"] for text in human if letters(str(text["text"])) == letters(caption)), None)


def letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


if __name__ == "__main__":
    main()
