"""The translation memory survives what happens to files."""

from __future__ import annotations

import multiprocessing

import pytest

from diptych.data.translation import TranslationMemory


def memory(root, version="v1"):
    return TranslationMemory(root, "fake", "en-es", version)


def test_what_was_added_is_there_next_time(tmp_path):
    memory(tmp_path).add({"a dog": "un perro", "two\nlines": "dos\nlíneas", "odd \udcff": "raro"})
    found = memory(tmp_path)
    assert len(found) == 3
    assert (found.get("a dog"), found.get("two\nlines"), found.get("odd \udcff")) == ("un perro", "dos\nlíneas", "raro")
    assert found.get("a cat") is None


def test_another_engine_or_direction_knows_nothing_of_it(tmp_path):
    memory(tmp_path).add({"a dog": "un perro"})
    assert memory(tmp_path, "v2").get("a dog") is None
    assert TranslationMemory(tmp_path, "fake", "en-ca", "v1").get("a dog") is None
    assert TranslationMemory(tmp_path, "../../evil/:model", "en-es", "v1").path.parent == tmp_path


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_cut_by_a_crash_costs_only_itself(tmp_path, cut):
    first = memory(tmp_path)
    first.add({"one": "uno"})
    whole = first.path.read_bytes()
    first.add({"two": "dos"})
    first.path.write_bytes(first.path.read_bytes()[:-cut])
    again = memory(tmp_path)
    assert (again.get("one"), again.get("two")) == ("uno", None)
    again.add({"two": "dos", "three": "tres"})
    assert first.path.read_bytes().startswith(whole)
    last = memory(tmp_path)
    assert [last.get(text) for text in ("one", "two", "three")] == ["uno", "dos", "tres"]


def test_a_damaged_line_is_passed_over(tmp_path):
    first = memory(tmp_path)
    first.add({"one": "uno"})
    with first.path.open("ab") as stream:
        stream.write(b"\x00\xff nonsense\n[3]\n")
    again = memory(tmp_path)
    again.add({"two": "dos"})
    assert [memory(tmp_path).get(text) for text in ("one", "two")] == ["uno", "dos"]


def _write(root, name):
    own = memory(root)
    for number in range(40):
        own.add({f"{name} {number}": f"{number} {name}", f"both {number}": "both"})


def test_processes_share_a_file(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(tmp_path, name)) for name in ("ann", "bob")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = memory(tmp_path)
    assert len(found) == 120
    assert (found.get("ann 39"), found.get("bob 0"), found.get("both 7")) == ("39 ann", "0 bob", "both")
    assert len(found.path.read_text().splitlines()) == 120
