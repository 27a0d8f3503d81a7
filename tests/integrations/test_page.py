"""Every Python block of the page runs as it stands."""

import re
from pathlib import Path

import PIL.Image
import pytest

from .frameworks import needs

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
FRAMEWORKS = {
    "sentence-transformers": "sentence_transformers",
    "MTEB and MIEB": "mteb",
    "LanceDB": "lancedb",
    "LangChain": "langchain_core",
    "LlamaIndex": "llama_index.core",
    "Haystack": "haystack",
}


def test_every_section_has_a_framework() -> None:
    assert [title for title, _ in SECTIONS] == list(FRAMEWORKS)


@pytest.mark.parametrize(("title", "text"), SECTIONS, ids=[title for title, _ in SECTIONS])
def test_the_blocks_of_a_section(title: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(FRAMEWORKS[title])
    monkeypatch.chdir(tmp_path)
    for name, colour in (("dog", "tan"), ("soup", "orange")):
        PIL.Image.new("RGB", (64, 48), colour).save(f"{name}.jpg")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "block"})
