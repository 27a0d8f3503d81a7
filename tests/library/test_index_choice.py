"""What `library tune` chooses, as text and as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.errors import ConfigError
from diptych.library.index_choice import CODES, IndexChoice, code_bytes, pq_bytes


@given(st.sampled_from(CODES), st.integers(1, 250_000), st.integers(1, 10_000), st.integers(0, 4096))
def test_what_is_written_is_read(code, millionths, candidates, cut):
    chosen = IndexChoice("ivf", code, millionths / 1e6, candidates, cut)
    assert IndexChoice.parse(str(chosen)) == chosen


def test_text():
    assert str(IndexChoice("ivf", "int8", 0.012, 200, 192)) == "ivf,int8,share=0.012,candidates=200,cut=192"
    assert IndexChoice.parse("ivf") == IndexChoice()
    assert IndexChoice.parse("exact").kind == "exact"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hnsw", "choose exact, ivf"),
        ("ivf,int4", "choose fp32, fp16, int8, pq"),
        ("ivf,int8,share=0", "more than 0"),
        ("ivf,int8,share=2", "at most 1"),
        ("ivf,int8,candidates=0", "candidates=0"),
        ("ivf,int8,candidates=1.5", "'candidates=1.5'"),
        ("ivf,int8,speed=1", "'speed=1'"),
    ],
)
def test_what_there_is_not(text, says):
    with pytest.raises(ConfigError, match=says):
        IndexChoice.parse(text)


def test_numbers():
    assert [code_bytes(code, 384) for code in CODES] == [1536, 768, 384, 96]
    assert [pq_bytes(width) for width in (384, 10, 7, 3)] == [96, 2, 1, 1]
    assert IndexChoice(share=0.012).probes(4000) == 48
    assert IndexChoice(share=0.0001).probes(100) == 1
    assert IndexChoice(cut=100).width(384) == 100
    with pytest.raises(ConfigError, match="vectors here have 100"):
        IndexChoice(cut=100).width(100)
