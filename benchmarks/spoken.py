"""Photos found by what is said of them, and what is said by the photo: how far do spoken captions reach?

    apt-get install espeak-ng
    python benchmarks/spoken.py flickr8k/ --out runs/spoken
    python benchmarks/spoken.py flickr8k/ --out runs/spoken --photos 1000 --epochs 4     # a quick try

`flickr8k/` has the photos (images/), captions.token.txt, train.txt, dev.txt, and captions in other languages in
multi30k.jsonl (`de`, `fr`) and languages/pt.jsonl. Voices of espeak-ng say one caption of each photo in each language,
voice and pace drawn by the photo. Trained on photos of train.txt; the first half of dev.txt decides the epoch, the
second half is measured: speech -> photo and photo -> speech, all against all and for each language, beside chance.
Training sees no written word. What was said before is not said again: stop with Ctrl-C and start again.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soundfile

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "methods" / "spoken.toml"
VOICES = {"en": "en-us", "de": "de", "fr": "fr-fr", "pt": "pt-br"}
VARIANTS = ("", "+m1", "+m3", "+m7", "+f1", "+f2", "+f4")
PACES = (140, 190)  # words a minute


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "spoken.csv"
    rows = list(captions(options))
    with ThreadPoolExecutor(options.jobs) as pool:
        for number, _ in enumerate(pool.map(lambda row: say(row, options.out), rows), start=1):
            if number % 1000 == 0:
                print(f"{number:,} of {len(rows):,} captions said", flush=True)
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["image", "audio", "lang", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    run, texts = options.out / "run", ["--text-columns", "audio"]
    diptych("data", "check", table, *texts, check=False)
    settings = ["--set", f"training.epochs={options.epochs}", "--set", f"training.batch_size={options.batch_size}"]
    diptych("train", CONFIG, table, *texts, "--out", run, *settings)
    reports = {}
    for lang in ["all", *options.languages]:
        chosen = [] if lang == "all" else ["--languages", lang]
        out = diptych("eval", table, *texts, "--split", "test", "--model", run / "model", *chosen, "--json", quiet=True)
        reports[lang] = json.loads(out)
    (options.out / "reports.json").write_text(json.dumps(reports, indent=2), encoding="utf-8")
    print("\n".join(lines(reports)))


def lines(reports: dict[str, Any]) -> Iterator[str]:
    """R@10 of each language both ways, with 95% intervals; chance is ten of the photos that are searched."""
    yield "| language | photos | spoken captions | speech -> photo R@10 % | chance | photo -> speech R@10 % |"
    yield "|---|---:|---:|---:|---:|---:|"
    for lang, report in reports.items():
        ways = [report[way]["metrics"]["R@10"] for way in ("text_to_image", "image_to_text")]
        speech, photo = (f"{100 * one['value']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]" for one in ways)
        chance = f"{1000 / report['images']:.1f}"
        yield f"| {lang} | {report['images']} | {report['texts']} | {speech} | {chance} | {photo} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/spoken"))
    parser.add_argument("--photos", type=int, default=4000, help="for training")
    parser.add_argument("--languages", nargs="+", default=["en", "de", "fr", "pt"], choices=sorted(VOICES))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=1, help="captions said at once")
    return parser.parse_args()


def captions(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """A row for each photo and language that has a caption."""
    texts = {lang: captions_in(options.data, lang) for lang in options.languages}
    splits = {name: (options.data / f"{name}.txt").read_text().split() for name in ("train", "dev")}
    half = len(splits["dev"]) // 2
    photos = [(name, "train") for name in splits["train"][: options.photos]]
    photos += [(name, "val" if place < half else "test") for place, name in enumerate(splits["dev"])]
    for name, split in photos:
        for lang in options.languages:
            if own := texts[lang].get(name):
                said = random.Random(f"{name} {lang}").choice(own)
                audio = f"sounds/{lang}/{Path(name).stem}.flac"
                image = (options.data / "images" / name).resolve()
                yield {"image": str(image), "audio": audio, "lang": lang, "split": split, "said": said}


def captions_in(data: Path, lang: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if lang == "en":
        for line in (data / "captions.token.txt").read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition("\t")
            found.setdefault(name.partition("#")[0], []).append(re.sub(r"\s+([.,])", r"\1", text))
        return found
    written = data / "multi30k.jsonl" if lang in ("de", "fr") else data / "languages" / f"{lang}.jsonl"
    for line in written.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["image"]] = row["texts"] if "texts" in row else [row[lang], *row.get(f"{lang}_independent", [])]
    return found


def say(row: dict[str, str], out: Path) -> None:
    """Write one sound, unless it is there."""
    path = out / row["audio"]
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(row["audio"])
    voice, pace = VOICES[row["lang"]] + draw.choice(VARIANTS), draw.randint(*PACES)
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "said.wav"
        command = ["espeak-ng", "-v", voice, "-s", str(pace), "-w", str(spoken), "--stdin"]
        subprocess.run(command, input=row["said"].encode(), check=True)
        samples, rate = soundfile.read(spoken)
        made = path.with_suffix(".part")
        soundfile.write(made, samples, rate, format="FLAC")
        made.replace(path)


def diptych(*words: object, check: bool = True, quiet: bool = False) -> str:
    """Run a command as a user would; what it prints comes back."""
    command = [sys.executable, "-m", "diptych", *map(str, words)]
    print("$ diptych", *map(str, words), flush=True)
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check).stdout
    if not quiet:
        print(found, flush=True)
    return found


if __name__ == "__main__":
    main()
