"""Kill -9 at random moments of item writes: nothing acknowledged may be lost or doubled, and restart is quick.

    python benchmarks/kill_writes.py [--kills 200] [--longest 2.0] [--folder DIR]

One process adds, describes, deletes and brings back pictures, one call after the other (benchmarks/item_writer.py).
It is killed at a random moment and started again on the same library. After each kill this process opens the
library and compares it with what was acknowledged: every added picture is there once, with its vector, its file
and the last description that was acknowledged (or the one under way); deleted ones are in the trash; undone ones
are back. Restart is the time from starting the next process, imports included, until it has answered a search and
opened the store for writing.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # the writer lies beside this file
from diptych.library import Library
from diptych.library.maintenance import HARMLESS
from diptych.library.store.rows import location
from item_writer import opened, vector

WRITER = Path(__file__).parent / "item_writer.py"


@dataclass
class Expected:
    """What the library must hold, by what was acknowledged; calls under way may have happened or not."""

    number: dict[str, int] = field(default_factory=dict)  # id -> number
    deleted: set[str] = field(default_factory=set)
    value: dict[str, int] = field(default_factory=dict)
    either: set[str] = field(default_factory=set)  # deleted or not: the call was under way
    values_either: dict[str, set[int]] = field(default_factory=dict)

    def hear(self, line: dict[str, Any]) -> None:
        """One line of the writer."""
        match line["op"]:
            case "add":
                self.number |= line["ids"]
            case "patching":
                self.values_either.setdefault(line["id"], set()).add(line["value"])
            case "patch":
                self.value[line["id"]] = line["value"]
                self.values_either.pop(line["id"], None)
            case "deleting" | "undoing":
                self.either |= set(line["ids"])
            case "delete":
                self.deleted |= set(line["ids"])
                self.either -= set(line["ids"])
            case "undo":
                self.deleted -= set(line["ids"])
                self.either -= set(line["ids"])


@dataclass
class Tally:
    """What went wrong over all kills."""

    kills: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0  # another vector, file or description than acknowledged
    undeleted: int = 0
    damage: Counter[str] = field(default_factory=Counter)
    restarts: list[float] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether the library held all that was acknowledged, and nothing else."""
        return not (self.lost or self.doubled or self.wrong or self.undeleted or self.damage)


def run_and_kill(folder: Path, seed: int, after: float, expected: Expected) -> tuple[int, float]:
    """Run the writer until it is killed, `after` seconds after it began: calls acknowledged, seconds to begin."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, WRITER, folder, str(seed)], stdout=subprocess.PIPE, text=True)
    begun = threading.Event()
    heard = 0

    def listen() -> None:
        nonlocal heard
        for line in process.stdout or ():
            if line.endswith("\n"):  # a killed process may leave half a line
                expected.hear(json.loads(line))
                heard += 1
            begun.set()
        begun.set()

    listener = threading.Thread(target=listen)
    listener.start()
    begun.wait()
    seconds = time.perf_counter() - started
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    listener.join()
    if process.returncode != -signal.SIGKILL:
        sys.exit("the writing process failed by itself; see above")
    return heard - 1, seconds


def check(folder: Path, expected: Expected, tally: Tally) -> None:
    """Open the library as its next user would, and compare."""
    library = opened(folder)
    library.search(vector(1), 1)

    def is_its_vector(found: np.ndarray, number: int) -> bool:
        return np.allclose(found, vector(number), atol=1e-6)

    compare(library, expected, tally, is_its_vector, lambda number: b"picture %d" % number)


def compare(
    library: Library,
    expected: Expected,
    tally: Tally,
    is_its_vector: Callable[[np.ndarray, int], bool],
    picture: Callable[[int], bytes],
) -> None:
    """Count what is not as it was acknowledged. `picture` gives the bytes of a numbered picture."""
    tally.damage += Counter({kind: n for kind, n in library.verify().kinds.items() if kind not in HARMLESS})
    view = library.snapshot()
    live = Counter(view.id(row) for row in range(len(view)))
    trashed = {one.item.id for one in library.trash()}
    tally.doubled += sum(count - 1 for count in live.values())
    numbers = Counter(view.row(row)["meta"]["number"] for row in range(len(view)))
    tally.doubled += sum(count - 1 for count in numbers.values())
    for identifier, number in expected.number.items():
        if identifier not in live and identifier not in trashed:
            tally.lost += 1
        elif identifier not in expected.either:
            is_deleted = identifier in expected.deleted
            tally.undeleted += is_deleted and identifier in live
            tally.lost += not is_deleted and identifier not in live
        if identifier in live:
            row = int(view.find([identifier])[0])
            about = view.row(row)
            meta = about["meta"]
            file = Path(location(about["path"], library.folder))
            allowed = {expected.value.get(identifier), *expected.values_either.get(identifier, ())}
            right = is_its_vector(view.vectors[row], number) and meta.get("value") in allowed
            tally.wrong += not (right and file.read_bytes() == picture(number))
    # what was under way is settled now, one way or the other
    for identifier in expected.either & expected.number.keys():
        (expected.deleted.add if identifier not in live else expected.deleted.discard)(identifier)
    expected.either.clear()
    for identifier in expected.values_either.keys() & live.keys():
        value = view.row(int(view.find([identifier])[0]))["meta"].get("value")
        if value is not None:
            expected.value[identifier] = value
    expected.values_either = {one: values for one, values in expected.values_either.items() if one not in live}


def run(folder: Path, kills: int, longest: float, seed: int) -> tuple[Tally, int]:
    """All kills on one library: what went wrong, and how many calls were acknowledged."""
    chance = random.Random(seed)
    tally, expected, heard = Tally(), Expected(), 0
    for kill in range(kills):
        acknowledged, seconds = run_and_kill(folder, kill + 1, chance.uniform(0, longest), expected)
        heard += acknowledged
        tally.kills += 1
        tally.restarts.append(seconds)
        check(folder, expected, tally)
        print(
            f"kill {tally.kills}: {len(expected.number)} pictures acknowledged, {len(expected.deleted)} deleted, "
            f"restart {seconds:.2f} s, clean so far: {tally.is_clean}",
            file=sys.stderr,
        )
    return tally, heard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=2.0, help="seconds of writing before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the library is made; a temporary folder by default")
    parser.add_argument("--slowest-restart", type=float, default=5.0, help="seconds that a restart may take")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        tally, heard = run(Path(temporary) / "library", arguments.kills, arguments.longest, arguments.seed)
    report("item writes", tally, heard, arguments.slowest_restart)


def report(what: str, tally: Tally, heard: int, slowest: float, wrong: Sequence[str] = ()) -> None:
    """Print the table and the verdict; ends the process. `wrong` are answers that should not have come."""
    print(f"| {what}, {tally.kills} kills | |\n|---|---|")
    print(f"| calls acknowledged | {heard} |")
    print(f"| acknowledged pictures lost | {tally.lost} |\n| pictures twice | {tally.doubled} |")
    print(f"| wrong vector, file or description | {tally.wrong} |")
    print(f"| deleted, but shown | {tally.undeleted} |\n| other damage | {dict(tally.damage) or 0} |")
    if wrong:
        print(f"| answers that should not come | {len(wrong)}, such as {wrong[0]} |")
    print(f"| restart, median and slowest | {np.median(tally.restarts):.2f} s, {max(tally.restarts):.2f} s |")
    is_clean, is_quick = tally.is_clean and not wrong, max(tally.restarts) < slowest
    print(f"\n{'nothing was lost, doubled or broken' if is_clean else 'FAILED'}", end="")
    print("" if is_quick else f"; a restart took longer than {slowest} s")
    sys.exit(0 if is_clean and is_quick else 1)


if __name__ == "__main__":
    main()
