"""Configs: one definition, errors that name the key, the nearest name, the file and the line."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.config import Part, check_options, from_dict, load, nearest, to_dict, unknown
from diptych.core.errors import ConfigError


@dataclass(frozen=True)
class Optimiser:
    rate: float = 0.1
    steps: int = 10
    name: str = "adam"

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ConfigError(f"rate must be above 0, found {self.rate}")


@dataclass(frozen=True)
class Job:
    title: str
    head: Part
    optimiser: Optimiser = field(default_factory=Optimiser)
    tags: tuple[str, ...] = ()
    mean: tuple[float, float] = (0.0, 1.0)
    limit: int | None = None
    fast: bool = False
    folder: Path = Path()
    facts: Mapping[str, Any] = field(default_factory=dict)


GOOD = """\
title = "one"
head = { name = "mlp", hidden = 8 }
tags = ["a", "b"]

[optimiser]
rate = 1
steps = 3
"""


def read(tmp_path: Path, text: str, *overrides: str) -> Job:
    path = tmp_path / "job.toml"
    path.write_text(text, encoding="utf-8")
    return load(Job, path, overrides)


def test_a_file_fills_the_dataclass(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == Job("one", Part("mlp", {"hidden": 8}), Optimiser(1.0, 3), ("a", "b"))


def test_a_part_may_be_a_bare_name_or_a_section(tmp_path: Path) -> None:
    assert read(tmp_path, 'title = "x"\nhead = "mlp"').head == Part("mlp")
    assert read(tmp_path, 'title = "x"\n[head]\nname = "mlp"\nhidden = 2').head == Part("mlp", {"hidden": 2})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("steps", "step"), ["job.toml:7", "unknown key 'step' in [optimiser]", "did you mean 'steps'"]),
        (GOOD.replace("tags", "tag"), ["job.toml:3", "unknown key 'tag'", "did you mean 'tags'"]),
        (GOOD.replace("[optimiser]", "[optimizer]"), ["job.toml:5", "did you mean 'optimiser'"]),
        (GOOD.replace("steps = 3", 'steps = "3"'), ["job.toml:7", "optimiser.steps must be int, found '3'"]),
        (GOOD.replace("steps = 3", "steps = true"), ["optimiser.steps must be int, found True"]),
        (GOOD.replace("steps = 3", "steps = 3.5"), ["must be int, found 3.5"]),
        (GOOD.replace("rate = 1", 'rate = "fast"'), ["job.toml:6", "optimiser.rate must be float"]),
        (GOOD.replace("rate = 1", "rate = -1"), ["job.toml:5", "rate must be above 0, found -1.0"]),
        (GOOD.replace('"one"', "1"), ["job.toml:1", "title must be str, found 1"]),
        (GOOD.replace('["a", "b"]', '"a"'), ["job.toml:3", "tags must be a list, found 'a'"]),
        (GOOD.replace('["a", "b"]', '["a", 1]'), ["tags must be str, found 1"]),
        (GOOD.replace('{ name = "mlp", hidden = 8 }', "3"), ["job.toml:2", "head must be a name, or a table"]),
        (GOOD.replace('name = "mlp", ', ""), ['a table with name = "..."']),
        (GOOD.replace('title = "one"\n', ""), ["job.toml", "missing title"]),
        (f"mean = [1.0]\n{GOOD}", ["job.toml:1", "mean must be a list of 2, found [1.0]"]),
        (f"optimiser = 3\n{GOOD.partition('[opt')[0]}", ["job.toml:1", "optimiser must be Optimiser, found 3"]),
        ("title = =", ["not valid TOML", "line 1"]),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*none\.toml: No such file"):
        load(Job, tmp_path / "none.toml")
    (tmp_path / "picture.toml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(Job, tmp_path / "picture.toml")
    with pytest.raises(ConfigError, match="cannot read the config"):
        load(Job, tmp_path)


def test_overrides_win_and_may_be_bare_words(tmp_path: Path) -> None:
    job = read(
        tmp_path, GOOD, "optimiser.steps=7", "title=two words", 'tags=["z"]', "head.hidden=16", "optimiser.name = sgd"
    )
    assert (job.optimiser.steps, job.title, job.tags) == (7, "two words", ("z",))
    assert job.head == Part("mlp", {"hidden": 16})
    assert read(tmp_path, GOOD, "fast=true", "limit=3", "optimiser.rate=2e-3").optimiser.rate == 0.002


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.step=7", ["--set optimiser.step=7", "did you mean 'steps'"]),
        ("steps=7", ["unknown key 'steps'", "did you mean 'optimiser.steps'"]),
        ("step=7", ["unknown key 'step'", "did you mean 'optimiser.steps'"]),
        ("optimiser.titel=x", ["unknown key 'titel' in [optimiser]", "did you mean 'title'"]),
        ("optimiser.steps=many", ["--set optimiser.steps=many: optimiser.steps must be int, found 'many'"]),
        ("optimiser.steps=", ["must be int, found ''"]),
        ("no-equals-sign", ["--set takes section.key=value, found 'no-equals-sign'"]),
        ("=3", ["--set takes section.key=value"]),
        ("title.first=3", ["'title' is a value, not a section"]),
    ],
)
def test_a_wrong_override_is_named_as_one(tmp_path: Path, override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, GOOD, override)
    assert all(word in str(caught.value) for word in words), str(caught.value)


words = st.text(st.characters(codec="utf-8"), max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
jobs = st.builds(
    Job,
    title=words,
    head=st.builds(Part, words, st.dictionaries(words.filter(lambda key: key != "name"), plain, max_size=3)),
    optimiser=st.builds(Optimiser, st.floats(1e-9, 1e9), st.integers(), words),
    tags=st.lists(words, max_size=3).map(tuple),
    mean=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    limit=st.none() | st.integers(),
    fast=st.booleans(),
    folder=st.just(Path("a/b")),
    facts=st.dictionaries(words, plain, max_size=3),
)


@given(jobs)
def test_to_a_mapping_and_back(job: Job) -> None:
    assert from_dict(Job, to_dict(job)) == job


def test_only_dataclasses_become_mappings() -> None:
    with pytest.raises(ConfigError, match="expected a dataclass, found int"):
        to_dict(3)


def test_names_that_are_near() -> None:
    assert nearest("cosin", ["cosine", "constant"]) == "; did you mean 'cosine'?"
    assert nearest("qqq", ["cosine", "constant"]) == ""
    assert str(unknown("loss", "infonce", {"triplet": 1, "info_nce": 2}, "a.toml:3")) == (
        "a.toml:3: unknown loss 'infonce'; choose from info_nce, triplet; did you mean 'info_nce'?"
    )


def test_options_are_checked_by_name() -> None:
    check_options({"hidden": 3}, ["hidden", "dropout"], "head 'mlp'")
    with pytest.raises(ConfigError, match=r"head 'mlp': unknown option 'hiden'; it takes dropout, hidden; did you"):
        check_options({"hiden": 3}, ["hidden", "dropout"], "head 'mlp'")
    with pytest.raises(ConfigError, match="it takes none"):
        check_options({"x": 3}, [], "head 'x'")


def test_configs_cannot_be_changed_after_the_checks() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Optimiser().rate = -1  # type: ignore[misc]


# files that say only what differs from another


@dataclass(frozen=True)
class Inner:
    width: int = 2
    part: Part | None = None


@dataclass(frozen=True)
class Recipe:
    name: str
    loss: Part
    rows: int = 1
    inner: Inner = field(default_factory=Inner)


def two_files(folder: Path, below: str, above: str) -> Path:
    (folder / "below.toml").write_text(below, encoding="utf-8")
    (folder / "above.toml").write_text(f'extends = "below.toml"\n{above}', encoding="utf-8")
    return folder / "above.toml"


def test_a_file_may_say_only_what_differs(tmp_path: Path) -> None:
    below = 'name = "below"\nrows = 3\nloss = {name = "a", margin = 1, p = 2}\n[inner]\nwidth = 5\n'
    found = load(Recipe, two_files(tmp_path, below, 'name = "above"\nloss = {name = "a", margin = 7}\n'))
    assert found == Recipe("above", Part("a", {"margin": 7, "p": 2}), 3, Inner(5))


def test_a_part_of_another_name_brings_its_own_options(tmp_path: Path) -> None:
    below = 'name = "below"\nloss = {name = "a", margin = 1}\n'
    found = load(Recipe, two_files(tmp_path, below, 'loss = {name = "b"}\n'), ["rows=9"])
    assert found == Recipe("below", Part("b"), 9)


def test_errors_name_the_file_that_the_key_stands_in(tmp_path: Path) -> None:
    path = two_files(tmp_path, 'name = "below"\nloss = "a"\nrows = "three"\n', "[inner]\nwidth = 1\n")
    with pytest.raises(ConfigError, match=r"below\.toml:3: rows must be int"):
        load(Recipe, path)
    path = two_files(tmp_path, 'name = "below"\nloss = "a"\n', "[inner]\nwitdh = 1\n")
    with pytest.raises(ConfigError, match=r"above\.toml:3: unknown key 'witdh'"):
        load(Recipe, path)


def test_circles_and_missing_files_are_named(tmp_path: Path) -> None:
    path = two_files(tmp_path, 'extends = "above.toml"\nname = "x"\nloss = "a"\n', "")
    with pytest.raises(ConfigError, match="break the circle"):
        load(Recipe, path)
    (tmp_path / "above.toml").write_text('extends = "none.toml"', encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot read the config"):
        load(Recipe, path)
    (tmp_path / "above.toml").write_text("extends = 3", encoding="utf-8")
    with pytest.raises(ConfigError, match="extends must be the path"):
        load(Recipe, path)
