"""Choosing an index: its recall against the exact search, where the choice is kept, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.core.protocols import Preprocess
from diptych.library import IndexChoice, Library
from diptych.library.maintenance import restore, tune
from diptych.library.store.rows import Row
from diptych.library.view import accelerator, exact

pytest.importorskip("faiss", reason="needs the [fast] extra")
COUNT, DIM, CENTRES = 3_000, 32, 100
INT8 = IndexChoice("ivf", "int8", 0.1, 100)


class WordEncoder:
    """A text is near the centre whose number it is, and so is an image."""

    name, fingerprint, dim, preprocess = "words", "0" * 32, DIM, Preprocess(size=32)
    centres = normalise(np.random.default_rng(0).normal(size=(CENTRES, DIM)).astype(np.float32))

    def encode_texts(self, texts):
        noise = np.random.default_rng(len(texts)).normal(size=(len(texts), DIM))
        return normalise(self.centres[[int(text) for text in texts]] + 0.1 * noise).astype(np.float32)

    def encode_pixels(self, pixels):
        return self.encode_texts(["0"] * len(pixels))

    encode_images = encode_pixels


def rows(count, first=0, texts=True):
    random, about = (
        np.random.default_rng(first),
        {"source": "/v", "bytes": 1, "modified_ns": 1, "width": 9, "height": 9},
    )
    places = random.integers(CENTRES, size=count)
    vectors = normalise(WordEncoder.centres[places] + 0.1 * random.normal(size=(count, DIM)).astype(np.float32))
    vectors[::50] = vectors[0]  # 60 that are alike
    return [
        Row(f"{first + at:016x}", f"/v/{first + at}.jpg", content=f"{first + at:032x}", vector=vectors[at], **about,
            texts=(str(places[at]),) if texts else ())
        for at in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_are_enough():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accelerator, "LEAST_ROWS", 1_000)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    large = Library.create(tmp_path_factory.mktemp("tuned") / "library", WordEncoder())
    with large.opened.writing() as store:
        store.write(rows(COUNT))
        store.compact(0.0)
        large.opened.view.refresh()
    return large.folder


@pytest.fixture
def large(made, tmp_path):
    shutil.copytree(made, tmp_path / "large")
    return Library.open(tmp_path / "large", WordEncoder())


@pytest.fixture(scope="module")
def tuned(made):
    return Library.open(made, WordEncoder()).tune(0.95, count=100)


def found_of_exact(large, queries, k=10):
    base = large.opened.snapshots.newest().base
    shares = []
    for query in queries:
        truth = exact.top_k(base.vectors, query[np.newaxis], [k])[0][1][-1]
        scores = [hit.score for hit in large.search(query, k)]
        shares.append(np.mean([score >= np.float32(truth) for score in scores]))
    return float(np.mean(shares))


def test_what_is_chosen_finds_what_was_said(large, tuned):
    assert (tuned.images, tuned.dim, tuned.queries) == (COUNT, DIM, {tune.OWN_TEXTS: 50, tune.OWN_VECTORS: 50})
    reaching = [one for one in tuned.measured if one.reaches]
    assert {one.index.code for one in reaching} >= {"fp32", "fp16", "int8"}
    for one in tuned.measured:
        assert one.reaches == (one.recall >= 0.95)
        assert one.interval[0] <= one.recall <= one.interval[1]
        assert one.recall == min(one.by_kind.values())
    best = min(reaching, key=lambda one: one.bytes_a_vector)
    assert large.use_index(best.index)
    fresh = WordEncoder().encode_texts([str(at) for at in range(CENTRES)])
    assert found_of_exact(large, fresh) >= 0.93
    snapshot = large.snapshot()
    size = (snapshot.folder / accelerator.FILE).stat().st_size
    assert size / COUNT == pytest.approx(best.bytes_a_vector, rel=0.1)


def test_the_best_is_the_quickest_or_the_smallest_of_those_that_reach():
    def one(code, time, size, *, reaches=True):
        return tune.Measured(IndexChoice("ivf", code), 0.99, (0.98, 1.0), {}, time, 1.0, size, reaches)

    many = [one("fp32", 0.10, 1536), one("fp16", 0.11, 768), one("int8", 0.2, 384), one("pq", 0.05, 96, reaches=False)]
    assert tune._best(many, "speed").code == "fp16"  # about as quick as fp32, and smaller
    assert tune._best(many, "size").code == "int8"
    assert tune._best([one("fp32", 1.2, 1536)], "speed").kind == "exact"


def test_numbers_of_cells_that_are_tried():
    assert tune._ladder(400) == [1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94, 100]
    assert tune._ladder(3) == [1]


def test_a_choice_stays(large, tmp_path):
    assert large.use_index(INT8)
    assert large.info().index == str(INT8)
    with large.opened.writing() as store:
        store.write(rows(500, first=COUNT))
    large.compact()
    again = Library.open(large.folder, WordEncoder())
    index, choice = accelerator.opened_index(again.snapshot())
    assert (index.ntotal, choice) == (COUNT + 500, INT8)
    assert again.search(WordEncoder().encode_texts(["7"])[0], 3)
    again.export(tmp_path / "out.tar")
    restore(tmp_path / "out.tar", tmp_path / "other")
    assert Library.open(tmp_path / "other").card.index == INT8
    assert json.loads((large.folder / "library.json").read_bytes())["format"] == 3
    assert not large.use_index(None)
    assert json.loads((large.folder / "library.json").read_bytes())["format"] == 1
    assert accelerator.opened_index(large.snapshot()) is None


def test_another_model_keeps_the_choice_but_the_cut(large):
    about = large.card.with_model(WordEncoder(), "words", 1)
    assert about.index is None
    large.use_index(IndexChoice("ivf", "int8", 0.1, 100, cut=16))
    index, _ = accelerator.opened_index(large.snapshot())
    assert index.d == 16
    assert large.card.with_model(WordEncoder(), "words", 1).index == INT8


def test_another_way_of_holding_vectors_keeps_the_cells(large, monkeypatch):
    large.use_index(INT8)
    monkeypatch.setattr(accelerator, "trained_cells", None)  # nothing may be trained again
    assert large.use_index(IndexChoice("ivf", "fp16", 0.1, 100))
    kept = [path.name for path in large.opened.snapshots.folder.glob("trained.*")]
    assert kept == ["trained.faiss"]


def test_a_damaged_choice_is_searched_exactly(large):
    large.use_index(INT8)
    accelerator._opened.clear()
    (large.snapshot().folder / accelerator.CHOICE).write_text('{"kind": "?"}')
    assert accelerator.opened_index(large.snapshot()) is None
    assert large.search(WordEncoder().encode_texts(["7"])[0], 3)


def test_given_queries_and_a_cut_of_vectors_that_put_all_into_their_first_numbers(large, monkeypatch):
    with pytest.raises(ConfigError, match="found 3 given queries; expected 40"):
        large.tune(queries=["1", "2", "3"])
    with pytest.raises(ConfigError, match="expected 32 finite values"):
        large.tune(queries=np.ones((50, 3), np.float32))
    monkeypatch.setattr(tune, "CODES", ("int8",))
    found = large.tune(0.9, queries=[str(at) for at in range(80)], k=5)
    assert (found.queries, found.k, found.notes) == ({tune.GIVEN: 40}, 5, ())
    assert all("the first" in line for line in found.skipped)
    assert found.skipped or any(one.index.cut for one in found.measured)


def test_a_code_that_does_not_fit_is_skipped_by_name(large, monkeypatch):
    monkeypatch.setattr(tune, "_free_bytes", lambda: COUNT * 100.0)
    monkeypatch.setattr(tune, "_CUTS", ())
    found = large.tune(0.9, count=40)
    assert {one.index.code for one in found.measured} == {"int8", "pq"}
    assert [line.partition(":")[0] for line in found.skipped] == ["fp32", "fp16"]


def test_what_is_refused(large, fake, tmp_path, filled):
    with pytest.raises(ConfigError, match="more than 0 and less than 1"):
        large.tune(1)
    with pytest.raises(ConfigError, match="choose from speed, size"):
        large.tune(prefer="memory")
    with pytest.raises(ConfigError, match="no index to choose"):
        filled.tune()
    assert not filled.use_index(INT8)  # too few rows; kept for later
    with pytest.raises(ConfigError, match="vectors here have 32"):
        large.use_index(IndexChoice(cut=64))
    remote = Library.create(tmp_path / "remote", WordEncoder(), store="fake://pictures")
    for ask in (remote.tune, lambda: remote.use_index(None)):
        with pytest.raises(ConfigError, match=r"an index of its own.*\?index=HNSW"):
            ask()
