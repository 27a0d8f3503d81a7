"""Apertium, the real program where it is installed, and programs that misbehave."""

from __future__ import annotations

import shutil
import stat
import subprocess
import time

import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.data.translation import TranslationMemory, Translator
from diptych.data.translation.apertium import INSTALL, Apertium
from diptych.data.translation.memory import translate_all


def _installed() -> bool:
    if shutil.which("apertium") is None:
        return False
    listed = subprocess.run(["apertium", "-l"], capture_output=True, text=True, check=False).stdout.split()
    return {"eng-spa", "spa-eng", "eng-cat", "cat-eng"} <= set(listed)


needs_apertium = pytest.mark.skipif(not _installed(), reason=f"Apertium is not installed: {INSTALL}")


@pytest.fixture(scope="module")
def apertium():
    return Apertium()


@pytest.fixture
def program(tmp_path):
    """`program("exit 1")` is an Apertium that lists eng-spa and then does that."""

    def write(body: str) -> Apertium:
        path = tmp_path / "apertium"
        path.write_text(f'#!/bin/sh\nif [ "$1" = "-l" ]; then echo "  eng-spa"; exit; fi\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return Apertium(str(path))

    return write


@needs_apertium
@pytest.mark.parametrize(
    ("source", "target", "text", "expected"),
    [
        ("en", "es", "A black dog on the beach", "Un perro negro en la playa"),
        ("es", "en", "Un perro negro en la playa", "A black dog in the beach"),
        ("en", "ca", "The black cat.", "El gat negre."),
        ("ca", "en", "un gat negre", "a black cat"),
    ],
)
def test_both_ways_in_two_languages(apertium, source, target, text, expected):
    assert apertium.supports(source, target)
    [found] = apertium.translate([text], source, target)
    assert found.lower() == expected.lower()


@needs_apertium
def test_any_text_keeps_its_place(apertium):
    texts = [
        "a dog",
        "Two [red] <b>dogs</b> \\ {x} ^y$ @home / *z* #5 +1 ~ _",
        "",
        "   ",
        "a dog\ntwo men\n\na cat.",
        "null\0byte and \x1b[31m colour\x07",
        "emoji 👩‍👩‍👧 and 汉字 and e\u0301",
        "a" * 5000,
        "broken \udcff bytes",
        "[]",
        ".[][\n]",
        "no full stop",
        "Is it a dog?",
        "a cat",
    ]
    found = apertium.translate(texts, "en", "es")
    assert len(found) == len(texts)
    assert found == [apertium.translate([text], "en", "es")[0] for text in texts]
    assert (found[2], found[3]) == ("", "")
    assert found[4].lower().split("\n") == ["un perro", "dos hombres", "", "un gato."]
    for mark in ("[", "]", "<b>", "</b>", "\\", "{x}", "^y$", "@", "*z*", "#5"):
        assert mark in found[1]
    assert "👩‍👩‍👧" in found[6]
    assert found[12].endswith("?")
    assert (found[0].lower(), found[-1].lower()) == ("un perro", "un gato")


@needs_apertium
def test_what_crashes_apertium_is_named_and_the_rest_is_translated(apertium, tmp_path):
    crash = "A group of men and women are in wedding attire ."  # breaks eng-cat 1.0.1 off
    texts = ["a dog", crash, "a cat", "two men"]
    memory = TranslationMemory(tmp_path, "apertium", "en-ca", apertium.fingerprint("en", "ca"))
    result = translate_all(texts, apertium, memory, "en", "ca")
    assert {"a dog", "a cat", "two men"} <= result.done.keys()
    assert result.done.keys() | result.failed.keys() == set(texts)


@needs_apertium
def test_its_fingerprint_belongs_to_the_direction(apertium):
    assert isinstance(apertium, Translator)
    assert apertium.fingerprint("en", "es") == Apertium().fingerprint("en", "es")
    assert apertium.fingerprint("en", "es") != apertium.fingerprint("es", "en")


@needs_apertium
def test_a_pair_that_is_not_installed_is_refused_with_those_that_are(apertium):
    assert not apertium.supports("en", "zu")
    with pytest.raises(ConfigError, match=r"apertium does not translate en to zu; choose from .*en-es"):
        apertium.translate(["a dog"], "en", "zu")


def test_without_the_program_the_error_says_how_to_install_it():
    with pytest.raises(ConfigError, match=r"not installed; on Debian: apt-get install -y apertium"):
        Apertium("no-such-program").supports("en", "es")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("cat > /dev/null; echo 'out of rules' >&2; exit 3", "exit code 3: out of rules"),
        ("cat > /dev/null", "stopped early: 0 answers for 2 lines"),
        ("cat > /dev/null; printf 'uno[]\\0'", "stopped early: 1 answers for 2 lines"),
        ("cat > /dev/null; printf 'uno[]\\0dos[]\\0tres[]\\0'", "stopped early: 2 answers for 2 lines"),
    ],
)
def test_a_program_that_breaks_off_is_a_data_error(program, body, message):
    with pytest.raises(DataError, match=message):
        program(body).translate(["one", "two"], "en", "es")


def test_a_program_that_hangs_is_ended_with_all_its_children(program, monkeypatch, tmp_path):
    monkeypatch.setattr("diptych.data.translation.apertium._SECONDS", 0.3)
    monkeypatch.setattr("diptych.data.translation.apertium._SECONDS_A_LINE", 0.0)
    mark = tmp_path / "still-here"
    start = time.monotonic()
    with pytest.raises(DataError, match="gave no answer"):
        program(f"(sleep 1; touch {mark}) & sleep 30").translate(["one"], "en", "es")
    assert time.monotonic() - start < 10
    time.sleep(1.2)
    assert not mark.exists()


def test_old_packs_named_by_two_letters_and_variants_are_understood(tmp_path):
    path = tmp_path / "apertium"
    path.write_text("#!/bin/sh\nprintf '  en-es\\n  eng-cat_valencia\\n  spa-eng\\n  eng-spa-chunker\\n'\n")
    path.chmod(0o755)
    assert Apertium(str(path)).modes == {("en", "es"): "en-es", ("es", "en"): "spa-eng"}
