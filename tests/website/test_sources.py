"""What a page links to outside of docs/ is on the site, as a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from website.sources import LinkError, notebook, publish


def repository(folder: Path, **pages: str) -> Path:
    """A small repository; the pages of docs/ are `pages`."""
    files = {
        **{f"docs/{name}.md": text for name, text in pages.items()},
        "README.md": "Read [the guide](docs/guide.md) or [the code](src/a.py).\n- a list\n",
        "src/a.py": '"""What it does."""\nx = "````"\n',
        "configs/one.toml": "# The first one.\nname = 1\n",
        "configs/more/two.toml": "# The second | one.\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_links_lead_to_copies_which_link_on(tmp_path: Path) -> None:
    text = (
        "[r](../README.md#top) [c](../configs) [w](https://x.org/a) [h](#here)\n\n```md\n[kept](../nothing.md)\n```\n"
    )
    out = tmp_path / "out"
    written = publish(repository(tmp_path / "repository", guide=text), out)
    assert sorted(written) == [
        "files/README.md.md",
        "files/configs/index.md",
        "files/configs/more/index.md",
        "files/configs/more/two.toml.md",
        "files/configs/one.toml.md",
        "files/src/a.py.md",
        "guide.md",
    ]
    guide = (out / "guide.md").read_text(encoding="utf-8")
    assert "[r](files/README.md.md#top) [c](files/configs/index.md) [w](https://x.org/a) [h](#here)" in guide
    assert "[kept](../nothing.md)" in guide
    readme = (out / "files/README.md.md").read_text(encoding="utf-8")
    assert "[the guide](../guide.md) or [the code](src/a.py.md).\n\n- a list" in readme
    folder = (out / "files/configs/index.md").read_text(encoding="utf-8")
    assert "| [one.toml](one.toml.md) | The first one. |" in folder
    assert "| [more](more/index.md) |  |" in folder
    assert "| [two.toml](two.toml.md) | The second \\| one. |" in (out / "files/configs/more/index.md").read_text()
    code = (out / "files/src/a.py.md").read_text(encoding="utf-8")
    assert '# src/a.py\n\n`````python\n"""What it does."""\nx = "````"\n`````\n' in code


@pytest.mark.parametrize("target", ["../nothing.md", "../../outside.md", "missing.md"])
def test_a_link_to_what_is_not_there_is_named(target: str, tmp_path: Path) -> None:
    (tmp_path / "outside.md").write_text("not of the repository")
    with pytest.raises(LinkError, match=r"docs/guide\.md links to .*, which is no file of the repository"):
        publish(repository(tmp_path / "repository", guide=f"[x]({target})"), tmp_path / "out")


def test_a_notebook_is_its_prose_and_cells() -> None:
    script = "# %% [markdown]\n# # One\n#\n# Words, `a`.\n\n# %%\nx = 1\n\n# %% [markdown]\n# ## Two\n\n# %%\nx + 1\n"
    assert notebook(script) == "# One\n\nWords, `a`.\n\n```python\nx = 1\n```\n\n## Two\n\n```python\nx + 1\n```\n"
