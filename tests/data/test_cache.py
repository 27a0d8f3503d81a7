"""The feature cache loses nothing that it acknowledged, and heals what a crash left."""

import io
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import DataError
from diptych.data.cache import KEY_BYTES, FeatureCache, content_key

DIM = 3
KEYS = [content_key(str(number).encode()) for number in range(6)]
ROWS = np.arange(18, dtype=np.float32).reshape(6, DIM)


def opened(folder: Path, tower: str = "tower", view: str = "full", dim: int = DIM) -> FeatureCache:
    return FeatureCache(folder, tower, view, dim)


def stored(cache: FeatureCache, keys: list[bytes]) -> np.ndarray:
    return np.asarray(cache.map()[cache.rows(keys)])


def test_rows_come_back_in_any_order_and_after_opening_again(tmp_path: Path) -> None:
    opened(tmp_path).add(KEYS[:4], ROWS[:4])
    cache = opened(tmp_path)
    assert len(cache) == 4
    assert KEYS[3] in cache
    assert KEYS[4] not in cache
    assert stored(cache, [KEYS[2], KEYS[0], KEYS[2]]).tolist() == ROWS[[2, 0, 2]].tolist()


def test_missing_lists_each_new_key_once(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.add(KEYS[:1], ROWS[:1])
    assert cache.missing([KEYS[1], KEYS[0], KEYS[1], KEYS[2]]) == [0, 3]


def test_a_key_keeps_its_first_row(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.add([KEYS[0], KEYS[0], KEYS[1]], ROWS[:3])
    cache.add([KEYS[1], KEYS[2]], ROWS[4:])
    assert stored(cache, KEYS[:3]).tolist() == ROWS[[0, 2, 5]].tolist()
    assert cache.map().shape == (3, DIM)


def test_an_empty_cache(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    assert cache.map().shape == (0, DIM)
    assert cache.rows([]).tolist() == []
    cache.add([], np.zeros((0, DIM)))
    assert len(opened(tmp_path)) == 0
    with pytest.raises(KeyError):
        cache.rows(KEYS[:1])


def test_a_crash_between_rows_and_keys_loses_nothing(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.add(KEYS[:2], ROWS[:2])
    with (cache.folder / "rows.f16").open("ab") as stream:
        stream.write(np.full(DIM, 99, np.float16).tobytes() + b"\x01")  # written, never acknowledged
    healed = opened(tmp_path)
    assert stored(healed, KEYS[:2]).tolist() == ROWS[:2].tolist()
    healed.add(KEYS[2:4], ROWS[2:4])
    assert stored(opened(tmp_path), KEYS[:4]).tolist() == ROWS[:4].tolist()


@pytest.mark.parametrize("cut", range(1, 4 * KEY_BYTES, 7))
def test_truncated_keys_are_cut_to_whole_ones_and_filled_again(tmp_path: Path, cut: int) -> None:
    opened(tmp_path).add(KEYS[:4], ROWS[:4])
    keys = opened(tmp_path).folder / "keys.bin"
    keys.write_bytes(keys.read_bytes()[:-cut])
    cache = opened(tmp_path)
    left = (4 * KEY_BYTES - cut) // KEY_BYTES
    assert cache.missing(KEYS[:4]) == list(range(left, 4))
    cache.add(KEYS[:5], ROWS[:5])
    assert stored(opened(tmp_path), KEYS[:5]).tolist() == ROWS[:5].tolist()


@pytest.mark.parametrize("cut", range(1, 4 * DIM * 2, 5))
def test_truncated_rows_take_their_keys_with_them(tmp_path: Path, cut: int) -> None:
    opened(tmp_path).add(KEYS[:4], ROWS[:4])
    rows = opened(tmp_path).folder / "rows.f16"
    rows.write_bytes(rows.read_bytes()[:-cut])
    cache = opened(tmp_path)
    assert len(cache) == (4 * DIM * 2 - cut) // (DIM * 2)
    cache.add([*KEYS[4:], *KEYS[:4]], np.concatenate([ROWS[4:], ROWS[:4]]))
    assert stored(opened(tmp_path), KEYS).tolist() == ROWS.tolist()


@pytest.mark.parametrize("name", ["keys.bin", "rows.f16"])
def test_a_lost_file_means_starting_anew(tmp_path: Path, name: str) -> None:
    opened(tmp_path).add(KEYS, ROWS)
    (opened(tmp_path).folder / name).unlink()
    cache = opened(tmp_path)
    assert len(cache) == 0
    cache.add(KEYS, ROWS)
    assert stored(opened(tmp_path), KEYS).tolist() == ROWS.tolist()


def test_another_tower_or_view_is_another_cache(tmp_path: Path) -> None:
    opened(tmp_path).add(KEYS, ROWS)
    assert len(opened(tmp_path, tower="other")) == 0
    assert len(opened(tmp_path, view="flip")) == 0
    assert len(opened(tmp_path)) == 6


def test_another_width_is_refused_and_a_damaged_description_too(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    with pytest.raises(DataError, match=r"holds 3-d features, expected 4-d; delete that folder"):
        opened(tmp_path, dim=4)
    (cache.folder / "about.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"holds unknown-d features, expected 3-d; delete that folder"):
        opened(tmp_path)


@pytest.mark.parametrize("value", [1e5, -1e5, np.inf, np.nan])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_what_half_precision_cannot_hold_is_refused_whole(tmp_path: Path, value: float) -> None:
    cache = opened(tmp_path)
    rows = ROWS[:2].copy()
    rows[1, 2] = value
    with pytest.raises(DataError, match="not finite in float16"):
        cache.add(KEYS[:2], rows)
    assert len(opened(tmp_path)) == 0


def test_a_wrong_count_or_width_is_refused(tmp_path: Path) -> None:
    for rows in (ROWS[:1], ROWS[:2, :2]):
        with pytest.raises(DataError, match=r"expected 2 rows of 3 features, found \("):
            opened(tmp_path).add(KEYS[:2], rows)


def _write(folder: Path, first: int, started: object) -> None:
    cache = FeatureCache(folder, "tower", "full", DIM)
    started.wait()  # type: ignore[attr-defined]
    for number in range(first, first + 60):
        cache.add([content_key(str(number).encode())], np.full((1, DIM), number, np.float32))


def test_two_writers_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Barrier(2)
    writers = [context.Process(target=_write, args=(tmp_path, first, started)) for first in (0, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    cache = opened(tmp_path)
    assert len(cache) == 100  # 40..59 came from both
    keys = [content_key(str(number).encode()) for number in range(100)]
    assert stored(cache, keys)[:, 0].tolist() == list(range(100))


def test_an_open_map_survives_other_writes(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.add(KEYS[:2], ROWS[:2])
    before = cache.map()
    opened(tmp_path).add(KEYS[2:], ROWS[2:])
    assert np.asarray(before).tolist() == ROWS[:2].tolist()
    cache.add([content_key(b"more")], ROWS[:1])  # sees what the other wrote
    assert len(cache) == 7


def test_filling_reads_each_key_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    opened_as_usual = Path.open

    class Counted(io.BufferedReader):  # what is asked for, not what is read ahead
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            found = super().read(-1 if size is None else size)
            read += len(found)
            return found

    def counting(path: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        if mode == "rb" and path.name == "keys.bin":
            return Counted(io.FileIO(path), 16)
        return opened_as_usual(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counting)
    flushes, rows = 200, 4
    cache, other = opened(tmp_path), opened(tmp_path)
    for flush in range(flushes):
        keys = [content_key(f"{flush} {row}".encode()) for row in range(rows)]
        cache.add(keys, np.zeros((rows, DIM)))
    assert read == (flushes - 1) * KEY_BYTES  # its own rows are known: one look at the last key each time
    other.add(KEYS[:1], ROWS[:1])
    assert read == (flushes - 1 + flushes * rows) * KEY_BYTES  # those of another process are read once
    cache.add(KEYS[:2], ROWS[:2])
    assert read == (flushes + flushes * rows + 1) * KEY_BYTES
    assert stored(cache, KEYS[:2]).tolist() == ROWS[:2].tolist()


def test_a_folder_that_was_deleted_meanwhile_begins_anew(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.add(KEYS[:2], ROWS[:2])
    for file in ("keys.bin", "rows.f16"):
        (cache.folder / file).unlink()
    again = opened(tmp_path)
    again.add([KEYS[3], KEYS[4], KEYS[5]], ROWS[3:])
    cache.add(KEYS[:1], ROWS[:1])
    assert KEYS[1] not in cache
    assert stored(cache, [KEYS[0], KEYS[5]]).tolist() == ROWS[[0, 5]].tolist()
