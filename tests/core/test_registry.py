"""The one table of named parts: what is in the package, in plugins, and in code of the user's own."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from diptych.core import registry
from diptych.core.errors import ConfigError
from diptych.core.registry import Part, PluginWarning, allow, build, entries, find, get, names, part_of, register


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch):
    """Tables, plugins and allowed names as in a new process, and modules in files of the test forgotten after it."""
    monkeypatch.setattr(registry, "_TABLES", {kind: dict(table) for kind, table in registry._TABLES.items()})
    monkeypatch.setattr(registry, "_allowed", set())
    monkeypatch.setattr(registry, "_folders", [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    registry._load_plugins.cache_clear()
    before = set(sys.modules)
    yield
    registry._load_plugins.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("their_"):
            del sys.modules[name]


def plugin(folder: Path, module: str, code: str, package: str = "their-package") -> None:
    """A package with an entry point, as pip would install it."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[diptych.plugins]\nparts = {module}\n")


def test_listing_imports_no_part_and_no_torch() -> None:
    code = (
        "import sys; from diptych.core.registry import KINDS, entries\n"
        "found = {kind: entries(kind) for kind in KINDS}\n"
        "assert found['loss']['info_nce'].summary.startswith('Cross-entropy'), found['loss']\n"
        "assert not {'torch', 'timm', 'transformers', 'diptych.losses.info_nce'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_has_parts_with_a_summary(kind: str) -> None:
    assert entries(kind)
    assert all(entry.summary and "\n" not in entry.summary for entry in entries(kind).values())


def test_a_built_in_part_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "their_new.py").write_text(
        "@register.loss(\n    'new', margin=(1,), check=len\n)\n@dataclass\nclass New(\n    Loss\n):\n"
        '    """First line.\n\n    Second.\n    """\n'
    )
    monkeypatch.setattr(registry, "_ROOT", tmp_path)
    monkeypatch.setattr(registry, "_TABLES", {kind: {} for kind in registry.KINDS})
    registry._built_in.cache_clear()
    try:
        (found,) = entries("loss").values()
    finally:
        registry._built_in.cache_clear()
    assert (found.name, found.summary, found.module) == ("new", "First line", "diptych.losses.their_new")
    assert found.facts == {"margin": (1,), "check": ...}
    assert found.attribute == "New"


def test_without_sources_the_modules_are_imported() -> None:
    pytest.importorskip("torch", reason="losses need the [train] extra")
    code = (
        "import importlib.machinery as machinery, sys\n"
        "machinery.SourceFileLoader.get_source = lambda self, name: None\n"
        "from diptych.core.registry import names\n"
        "assert names('loss')[:2] == ['adversarial', 'class_aware_triplet'], names('loss')\n"
        "assert 'diptych.losses.info_nce' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_part_of_ones_own_is_built_with_its_options_and_what_the_caller_knows() -> None:
    @register.loss("mine")
    class Mine:
        """First line.

        Second.
        """

        def __init__(self, dim: int, weight: float = 1.0) -> None:
            if weight < 0:
                raise ValueError("weight below 0")
            self.found = dim, weight

    assert entries("loss")["mine"].summary == "First line"
    assert build("loss", Part("mine", {"weight": 2.0}), dim=3, classes=7).found == (3, 2.0)
    with pytest.raises(ConfigError, match=r"loss 'mine': unknown option 'wieght'.*did you mean 'weight'"):
        build("loss", Part("mine", {"wieght": 2.0}), dim=3)
    with pytest.raises(ConfigError, match="loss 'mine': unknown option 'dim'; it takes weight"):
        build("loss", Part("mine", {"dim": 2}), dim=3)
    with pytest.raises(ConfigError, match="loss 'mine' needs dim, which is not known here"):
        build("loss", Part("mine"))
    with pytest.raises(ConfigError, match=r"loss 'mine' cannot take {'weight': -1}: weight below 0"):
        build("loss", Part("mine", {"weight": -1}), dim=3)


def test_a_missing_option_is_named() -> None:
    register.loss("needy", "needs two")(lambda low, high=1: None)
    with pytest.raises(ConfigError, match="loss 'needy' needs low; it takes high, low"):
        build("loss", Part("needy"))


@pytest.mark.parametrize(
    ("kind", "name", "option", "value", "expected"),
    [
        ("network", "transformer", "dropout", "x", "dropout must be a number, found 'x'"),
        ("network", "transformer", "layers", 1.5, "layers must be a whole number, found 1.5"),
        ("head", "mlp", "hidden", True, "hidden must be a whole number, found True"),
        ("loss", "info_nce", "learn_temperature", 1, "learn_temperature must be true or false, found 1"),
        ("text_tower", "wordpiece", "max_tokens", "48", "max_tokens must be a whole number, found '48'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(kind: str, name: str, option: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name!r}: {expected}")):
        registry.build(kind, Part(name, {option: value}), features=8, dim=8, length=8, vocabulary=8)


def test_unknown_names_list_the_choices_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown loss 'info_nec'; choose from .*; did you mean 'info_nce'"):
        find("loss", "info_nec")


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the loss 'info_nce' is taken by diptych.losses.info_nce"):
        register.loss("info_nce")(lambda: None)


def test_there_is_no_decorator_for_an_unknown_kind() -> None:
    with pytest.raises(AttributeError, match="no kind of part called 'los'; choose from loss"):
        register.los("mine")


def test_parts_of_another_package_are_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(
        tmp_path,
        "their_parts",
        "import diptych\n@diptych.register.loss('theirs', 'of a plugin')\ndef make(): return 7\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert build("loss", Part("theirs")) == 7
    assert entries("loss")["theirs"].summary == "of a plugin"


def test_a_broken_plugin_is_named_once_and_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(tmp_path, "their_bad", "1 / 0\n", "broken-package")
    plugin(
        tmp_path, "their_good", "import diptych\n@diptych.register.loss('good')\ndef make(): return 7\n", "good-package"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(PluginWarning, match="the plugin parts of broken-package cannot be loaded: division by zero"):
        assert build("loss", Part("good")) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "good" in names("loss")


def test_code_of_ones_own_is_imported_only_where_a_config_names_it(tmp_path: Path) -> None:
    (tmp_path / "their_loss.py").write_text("def make(low): return low\nimported = True\n")
    with pytest.raises(ConfigError, match=r"the loss 'their_loss:make' is not registered; install the package"):
        build("loss", Part("their_loss:make", {"low": 1}))
    assert "their_loss" not in sys.modules
    allow({"loss": {"name": "combined", "parts": [{"name": "their_loss:make"}]}}, tmp_path)
    assert build("loss", Part("their_loss:make", {"low": 1})) == 1
    with pytest.raises(ConfigError, match="loss 'their_loss:make' needs low; it takes low"):
        build("loss", Part("their_loss:make"))


@pytest.mark.parametrize("name", ["their_missing:make", "their_loss:missing"])
def test_code_that_cannot_be_imported_says_where_it_was_looked_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "their_loss.py").write_text("")
    allow(name, tmp_path)
    with pytest.raises(ConfigError, match=f"cannot import the loss '{name}': .*the config's folder and in the current"):
        build("loss", Part(name))


def test_a_part_within_a_part() -> None:
    assert part_of("mine", "x") == Part("mine")
    assert part_of({"name": "mine", "low": 1}, "x") == Part("mine", {"low": 1})
    with pytest.raises(ConfigError, match="x must be a name, or a table with name"):
        part_of(3, "x")


def test_the_thing_itself() -> None:
    made = register.loss("thing", "a thing")(lambda: 1)
    assert get("loss", "thing") is made


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("transformers:org/name", "hf:org/name"),
        ("transformers", "hf"),
        ("open_clip:ViT-B-32@laion2b_s34b_b79k", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k@0a1b", "open_clip:ViT-B-32/laion2b_s34b_b79k@0a1b"),
        ({"towers": ["use", "transformers:folder"]}, {"towers": ["use", "hf:folder"]}),
        ("timm:resnet18", "timm:resnet18"),
    ],
)
def test_saved_models_may_use_the_names_of_before(before: Any, now: Any) -> None:
    assert registry._renamed(before) == now
