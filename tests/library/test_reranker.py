from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from diptych.core.errors import ConfigError, LibraryError
from diptych.core.protocols import CrossEncoder, Preprocess
from diptych.core.types import Hit
from diptych.data.video import MomentPlan
from diptych.library import Library, tokens
from diptych.library import query as queries
from diptych.library.reranker import Reranker
from diptych.library.tokens import TokenStore

from ..videos import film

RED, GREEN, BLUE = (np.array(one) for one in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


class MosaicCrossEncoder:
    """Tokens are the colours of a 2 x 2 mosaic; the score is how much of a picture has the colour that is named."""

    name = "mosaic-cross-encoder"
    fingerprint = "f" * 32
    preprocess = Preprocess(size=16)
    token_shape = (4, 3)

    def __init__(self, seconds: float = 0.0) -> None:
        self.encoded = 0
        self.scored = 0
        self._seconds = seconds  # that one score takes

    def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:
        self.encoded += len(pixels)
        return (pixels.reshape(-1, 2, 8, 2, 8, 3).mean(axis=(2, 4)).reshape(-1, 4, 3) / 255).astype(np.float16)

    def score(self, image_tokens: np.ndarray, texts: str) -> np.ndarray:
        self.scored += len(image_tokens)
        time.sleep(self._seconds * len(image_tokens))
        wanted = {"red": RED, "green": GREEN, "blue": BLUE}[texts]
        return -np.abs(image_tokens.astype(np.float32) - wanted).mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture
def cross_encoder() -> MosaicCrossEncoder:
    return MosaicCrossEncoder()


def with_tokens(library: Library, cross_encoder: MosaicCrossEncoder, beta: float = 0.0) -> Library:
    library.add_tokens(cross_encoder)
    library.attach(Reranker(library.card.fingerprint, cross_encoder, beta))
    return library


def test_it_is_a_cross_encoder(cross_encoder):
    assert isinstance(cross_encoder, CrossEncoder)


def test_the_cross_encoder_orders_the_first_and_the_rest_stays(filled, cross_encoder):
    plain = filled.search("red", 6)
    library = with_tokens(filled, cross_encoder)
    hits = library.search("red", 6, rerank=3)
    assert {hit.id for hit in hits[:3]} == {hit.id for hit in plain[:3]}
    assert hits[0].path is not None
    assert hits[0].path.endswith("red.png")
    assert [hit.id for hit in hits[3:]] == [hit.id for hit in plain[3:]]
    assert [hit.rank for hit in hits] == list(range(6))
    assert [hit.scored_by for hit in hits] == ["mosaic-cross-encoder h + 0 cosine"] * 3 + ["cosine"] * 3
    assert [hit.score for hit in hits[:3]] == sorted((hit.score for hit in hits[:3]), reverse=True)
    cosine = {hit.id: hit.score for hit in plain}
    assert all(hit.meta["cosine"] == cosine[hit.id] for hit in hits[:3])


def test_more_candidates_than_pictures_is_all_of_them(filled, cross_encoder):
    hits = with_tokens(filled, cross_encoder).search("blue", 10, rerank=500)
    assert len(hits) == 6
    assert cross_encoder.scored == 6


def test_nothing_is_encoded_twice(filled, cross_encoder, pictures):
    report = filled.add_tokens(cross_encoder)
    assert (report.added, report.known, report.skipped) == (6, 0, ())
    (pictures / "moved.png").write_bytes((pictures / "red.png").read_bytes())
    (pictures / "red.png").unlink()
    filled.index([pictures])
    report = filled.add_tokens(cross_encoder)
    assert (report.added, report.known) == (0, 6)
    with_tokens(filled, cross_encoder).search("red", rerank=6)
    assert cross_encoder.encoded == 6


def test_pictures_inside_a_tar_are_found_again(library, painter, tmp_path, cross_encoder):
    import tarfile

    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for number, colour in enumerate(("red", "blue")):
            tar.add(painter(tmp_path / "loose" / f"{colour}.png", colour), f"{number}.png")
            (tmp_path / "caption.txt").write_text(colour)
            tar.add(tmp_path / "caption.txt", f"{number}.txt")
    library.index([tmp_path / "shard.tar"])
    assert library.add_tokens(cross_encoder).added == 2
    (tmp_path / "shard.tar").unlink()
    tokens.drop(library.folder)
    report = library.add_tokens(cross_encoder)
    assert report.added == 0
    assert len(report.skipped) == 2


def test_moments_of_videos_have_tokens_unless_their_video_changed(filled, cross_encoder, tmp_path):
    clips = tmp_path / "clips"
    film(clips / "one.mp4", ["red", "blue"])
    film(clips / "two.mp4", ["green"])
    filled.index_videos([clips], plan=MomentPlan(seconds=2, frames=2))
    film(clips / "two.mp4", ["yellow"])
    report = filled.add_tokens(cross_encoder)
    assert (report.added, report.known, report.others) == (6 + 2, 0, {})
    (changed,) = report.skipped
    assert "two.mp4::0.000-2.000" in changed.name
    assert "changed since it was indexed" in changed.detail
    filled.attach(Reranker(filled.card.fingerprint, cross_encoder, 0.0))
    hits = [hit for hit in filled.search("blue", 9, rerank=9) if "video" in hit.meta]
    assert [hit.meta["start"] for hit in hits if hit.scored_by != "cosine"] == [
        2.0,
        0.0,
    ]  # the blue moment, then the red


def test_texts_have_no_tokens(encoder, cross_encoder, tmp_path):
    (tmp_path / "notes.txt").write_text("red\nblue")
    texts = Library.create(tmp_path / "texts", encoder)
    texts.index_texts([tmp_path / "notes.txt"])
    with pytest.raises(LibraryError, match="holds texts and no image"):
        texts.add_tokens(cross_encoder)


def test_a_changed_or_missing_picture_is_skipped_and_named(filled, painter, pictures, cross_encoder):
    painter(pictures / "red.png", "green", mark=3)
    (pictures / "blue.png").unlink()
    report = filled.add_tokens(cross_encoder)
    assert report.added == 4
    assert sorted(Path(one.name).name for one in report.skipped) == ["blue.png", "red.png"]
    assert "changed since it was indexed" in next(one.detail for one in report.skipped if "red" in one.name)


def test_pictures_without_tokens_follow_the_others_by_cosine_and_are_counted(filled, painter, pictures, cross_encoder):
    library = with_tokens(filled, cross_encoder)
    painter(pictures / "rose.png", (225, 30, 30), mark=2)
    library.index([pictures])
    (pictures / "rose.png").unlink()
    with pytest.warns(queries.UnseenWarning, match="1 of the 7 candidates were not looked at"):
        hits = library.search("red", 7, rerank=7)
    assert hits[-1].path is not None
    assert hits[-1].path.endswith("rose.png")
    assert [hit.scored_by for hit in hits][-2:] == ["mosaic-cross-encoder h + 0 cosine", "cosine"]
    notes: list[str] = []
    library.reordered("red", hits, rerank=7, notes=notes)
    assert len(notes) == 1


def test_tokens_are_made_when_a_search_looks_at_an_image_and_kept(filled, cross_encoder):
    with pytest.raises(LibraryError, match="attach a Reranker"):
        filled.search("red", rerank=5)
    filled.attach(Reranker(filled.card.fingerprint, cross_encoder, 0.0))
    first = filled.search("red", 6, rerank=3)
    assert cross_encoder.encoded == 3
    assert [hit.scored_by == "cosine" for hit in first] == [False] * 3 + [True] * 3
    filled.search("red", 6, rerank=3)
    assert cross_encoder.encoded == 3
    filled.search("red", 6, rerank=5)
    assert cross_encoder.encoded == 5


def test_a_budget_bounds_the_tokens_that_are_made(filled, cross_encoder, monkeypatch):
    real = cross_encoder.encode_pixels

    def slow(pixels):
        time.sleep(0.02)
        return real(pixels)

    monkeypatch.setattr(cross_encoder, "encode_pixels", slow)
    filled.attach(Reranker(filled.card.fingerprint, cross_encoder, 0.0))
    with pytest.warns(queries.UnseenWarning, match="2 of the 6 candidates"):
        filled.search("red", 6, budget_ms=10)
    assert cross_encoder.encoded == 4  # some are made whatever the budget


def test_a_library_whose_images_are_gone_says_how_to_add_tokens(filled, cross_encoder, pictures):
    filled.attach(Reranker(filled.card.fingerprint, cross_encoder, 1.0))
    shutil.rmtree(pictures)
    with pytest.raises(LibraryError, match=r"the images are gone or have changed.*rerank prepare"):
        filled.search("red", rerank=5)


def test_a_pair_of_another_model_is_refused(filled, cross_encoder, other_encoder):
    with pytest.raises(LibraryError, match="rerank fit"):
        filled.attach(Reranker(other_encoder.fingerprint, cross_encoder, 1.0))


def test_only_words_can_be_reranked(filled, cross_encoder, pictures):
    library = with_tokens(filled, cross_encoder)
    for query in ('"red" + "blue"', f'"red" - "{pictures / "blue.png"}"'):
        with pytest.raises(ConfigError, match="plain words"):
            library.search(query, rerank=5)
    with pytest.raises(ConfigError, match="only words"):
        library.search(np.ones(16, dtype=np.float32), rerank=5)


@pytest.mark.parametrize(("rerank", "budget"), [(-1, None), (1001, None), (5, 0.0), (0, -3.0)])
def test_depth_and_budget_are_checked(filled, cross_encoder, rerank, budget):
    with pytest.raises(ConfigError, match="must be"):
        with_tokens(filled, cross_encoder).search("red", rerank=rerank, budget_ms=budget)


def test_beta_weighs_the_cosine_by_hand():
    cross_encoder = MosaicCrossEncoder()
    shown = np.stack([np.tile(RED, (4, 1)), np.tile(GREEN, (4, 1)), np.tile(BLUE, (4, 1))]).astype(np.float16)
    found = Reranker("x", cross_encoder, beta=2.0).order("blue", shown, np.array([0.9, 0.5, 0.4]))
    expected = np.array([-2 / 3 + 1.8, -2 / 3 + 1.0, 0 + 0.8])
    assert found.order.tolist() == np.argsort(-expected).tolist() == [0, 2, 1]
    assert np.allclose(found.scores, np.sort(expected)[::-1])
    assert Reranker("x", cross_encoder, beta=0.0).order("blue", shown, np.array([0.9, 0.5, 0.4])).order.tolist() == [
        2,
        0,
        1,
    ]


def test_a_budget_picks_the_number_of_candidates():
    cross_encoder = MosaicCrossEncoder(seconds=0.001)
    shown = np.zeros((400, 4, 3), dtype=np.float16)
    cosines = np.linspace(0.9, 0.1, 400)
    few = Reranker("x", cross_encoder, 1.0).order("red", shown, cosines, budget_ms=1.0)
    more = Reranker("x", cross_encoder, 1.0).order("red", shown, cosines, budget_ms=150.0)
    assert few.count == 16
    assert 16 < more.count <= 144
    assert more.order[more.count :].tolist() == list(range(more.count, 400))


def test_hits_of_no_candidates():
    assert Reranker("x", MosaicCrossEncoder(), 1.0).hits("red", [], np.zeros((0, 4, 3), dtype=np.float16)) == []


def test_the_store_gives_tokens_in_the_order_asked_for(filled, cross_encoder):
    filled.add_tokens(cross_encoder)
    store = TokenStore(filled.folder, cross_encoder)
    view = filled.snapshot()
    contents = [view.row(row)["content"] for row in range(len(view))]
    both = store.get(contents[:2])
    assert np.array_equal(store.get(contents[1::-1]), both[::-1])
    with pytest.raises(KeyError):
        store.get(["0" * 32])
    hit = Hit(0, "a", 0.5)
    assert hit.scored_by == "cosine"


def test_tokens_that_fit_are_kept_in_bytes_and_an_older_library_keeps_its_type(filled, cross_encoder, monkeypatch):
    filled.add_tokens(cross_encoder)
    older = TokenStore(filled.folder, cross_encoder)
    monkeypatch.setattr(MosaicCrossEncoder, "tokens_fit_bytes", True, raising=False)
    contents = [filled.snapshot().row(row)["content"] for row in range(3)]
    wanted = older.get(contents).astype(np.float32)
    again = TokenStore(filled.folder, cross_encoder)  # made in half precision, so it stays
    assert np.array_equal(again.get(contents), older.get(contents))
    tokens.drop(filled.folder)
    filled.add_tokens(cross_encoder)
    assert [one.name for one in (filled.folder / tokens.FOLDER).glob("*-regions-int8/rows.u8")] == ["rows.u8"]
    found = TokenStore(filled.folder, cross_encoder).get(contents)
    assert found.dtype == np.float16
    assert np.allclose(found, wanted, atol=1 / 127)
