"""The reference names every command, option, config key, part, public name and path of the API: none is forgotten."""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi")

from website.reference import configs, http, python
from website.reference.markup import told

import diptych
from diptych.cli.app import build, function_of
from diptych.cli.help import described
from diptych.cli.tree import commands
from diptych.core.config import Part
from diptych.core.registry import KINDS as PARTS
from diptych.core.registry import entries
from diptych.runs.run import KINDS
from website import reference


@pytest.fixture(scope="module")
def made() -> Any:
    return reference.pages()


@pytest.fixture
def pages(made: Any) -> dict[str, str]:
    found: dict[str, str] = made[0]
    return found


def test_every_page_is_in_the_navigation(made: Any) -> None:
    pages, order = made
    listed = [page for one in order for page in (one.pages() if not isinstance(one, tuple) else [one[1]])]
    assert sorted(listed) == sorted(pages)


@pytest.mark.parametrize("chain", [chain for chain, _ in commands()], ids=" ".join)
def test_every_command_and_option_is_named(chain: tuple[str, ...], pages: dict[str, str]) -> None:
    command = dict(commands())[chain]
    page = pages[f"reference/commands/{chain[0]}.md"]
    _, _, own = page.partition(f"{'#' * len(chain)} diptych {' '.join(chain)}\n")
    own = own.partition("\n## ")[0]
    assert f"diptych {' '.join(chain)} " in own.partition("```sh")[2].partition("```")[0], "no example"
    for argument in described(chain, build(chain, function_of(command))):
        assert any(name.strip("-").upper() in own or f"{name}" in own for name in argument.names), argument.names


def test_a_config_key_has_its_type_default_and_comment(pages: dict[str, str]) -> None:
    page = pages["reference/configs/dual-encoder.md"]
    _, _, training = page.partition("## [training]\n")
    row = "<tr><td><code>batch_size</code></td><td>whole number</td><td><code>1000</code></td><td>"
    assert f"{row}pairs in one loss, over all processes</td></tr>" in training
    _, _, data = page.partition("## [data]\n")
    assert (
        "<tr><td><code>views</code></td><td>list of text</td><td><code>[&quot;full&quot;, &quot;flip&quot;]</code></td>"
    ).replace("&quot;", '"') in data
    _, _, top = page.partition("## At the top\n")
    assert "<tr><td><code>name</code></td><td>text</td><td>needed</td>" in top
    _, _, text = page.partition("## [text]\n")
    assert "<tr><td><code>tower</code></td><td>part</td><td></td><td>the name of a registered tower; " in text


def keys(cls: type[Any], path: str = "") -> list[tuple[str, str]]:
    """Section and key of all that a dataclass takes, found by making one of each."""
    found = []
    for name, field in ((one.name, one) for one in dataclasses.fields(cls)):
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if dataclasses.is_dataclass(made) and not isinstance(made, type | Part):
            found += keys(type(made), f"{path}.{name}".strip("."))
        else:
            found.append((path, name))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_config_is_named_in_its_section(kind: str, pages: dict[str, str]) -> None:
    module, _, name = KINDS[kind][0].partition(":")
    page = pages[f"reference/configs/{kind}.md"]
    for section, key in keys(getattr(importlib.import_module(f"diptych.runs.{module}"), name)):
        own = page.partition(f"## [{section}]\n" if section else "## At the top\n")[2].partition("\n## ")[0]
        below = f"[{section}.{key}]".replace("[.", "[")
        assert f"<code>{key}</code>" in own or f"## {below}\n" in page or f"## [{below}]\n" in page, (section, key)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_config_says_what_it_does(kind: str, pages: dict[str, str]) -> None:
    page = pages[f"reference/configs/{kind}.md"]
    assert re.findall(r"<tr><td><code>(\w+)</code></td>(?:<td>(?:(?!</td>).)*</td>){2}<td></td></tr>", page) == []


def test_comments_are_those_above_behind_and_below_a_field() -> None:
    source = '''class Settings:
    """Words."""

    plain: int = 0
    # above,
    # in two lines
    one: str = "a#b"  # behind, of "é"
    two: float = 0.0
    """Below."""

    def method(self) -> None: ...
'''
    assert configs._comments(source) == {"plain": "", "one": 'above, in two lines; behind, of "é"', "two": "Below."}


def test_every_part_is_named(pages: dict[str, str]) -> None:
    for kind in PARTS:
        own = pages["reference/parts.md"].partition(f"## {kind}\n")[2].partition("\n## ")[0]
        assert all(f"<code>{entry.usage}</code>" in own for entry in entries(kind).values())


def test_every_public_name_is_described(pages: dict[str, str]) -> None:
    text = "\n".join(text for place, text in pages.items() if place.startswith("reference/python/"))
    modules = {module.rpartition(".")[2] for module in python.MODULES}
    for name in set(diptych.__all__) - modules - {"__version__"}:
        assert f"::: diptych.{name}\n" in text, name
    for module in python.MODULES:
        found = importlib.import_module(f"diptych.{module}")
        assert python.names(f"diptych.{module}"), module
        for name in getattr(found, "__all__", python.names(f"diptych.{module}")):
            assert f"::: diptych.{module}.{name}\n" in text, (module, name)
            assert hasattr(found, name)


def test_a_library_has_the_methods_of_its_parts(pages: dict[str, str]) -> None:
    page = pages["reference/python/Library.md"]
    for name, member in vars(diptych.Library).items():
        if callable(member) and not name.startswith("_") and not member.__qualname__.startswith("Library."):
            assert f"      heading: {name}\n" in page, name
    assert "::: diptych.library.searcher.Searcher.search\n" in page


def test_every_path_and_schema_of_the_api_is_named(pages: dict[str, str]) -> None:
    page = pages["reference/http.md"]
    document = http.document()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"## {method.upper()} {path}\n" in page
    for schema in document["components"]["schemas"]:
        assert f"### {schema}\n" in page
    assert (
        "<tr><td><code>k</code></td><td>whole number</td><td>from 1, to 1000, default 20</td></tr>"
        in page.partition("### SearchRequest\n")[2]
    )
    assert "<tr><td><code>429</code></td><td>Too many requests of this client are under way</td></tr>" in page


def test_no_sign_of_a_sentence_is_taken_for_markup() -> None:
    assert told("a < b, `x|y<z>` and *c*") == "a &lt; b, <code>x|y&lt;z&gt;</code> and *c*"
    assert told("one ` alone") == "one &#96; alone"
