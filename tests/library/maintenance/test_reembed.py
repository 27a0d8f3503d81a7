import tarfile

import numpy as np
import pytest

from diptych.core.errors import LibraryError
from diptych.library import Library, NewItem
from diptych.library.maintenance import reembed as reembedding
from diptych.library.maintenance.reembed import MissingImagesError

from ..test_items import BLUE, RED, png


def twin(library, model):
    """The vectors that the pictures of a library should have."""
    return {item.id: model.encode_images([library.original(item.id)])[0] for item in library.items(limit=1000).items}


def check(folder, model, expected):
    library = Library.open(folder, model)
    view = library.snapshot()
    assert {view.id(at) for at in range(len(view))} == expected.keys()
    for identifier, vector in expected.items():
        assert np.allclose(view.vectors[view.find([identifier])[0]], vector, atol=1e-5)
    assert library.verify().problems == ()
    return library


@pytest.fixture
def mixed(filled):
    filled.add([NewItem(png(RED, mark=7), "up.png", meta={"k": 1})])
    filled.delete(where="name = 'white.png'")
    return filled


def test_a_new_model_takes_over_in_one_step(mixed, encoder, other_encoder):
    reader = Library.open(mixed.folder, encoder)
    before = reader.search("red", 9)
    expected = twin(mixed, other_encoder)
    report = mixed.reembed(other_encoder)
    assert (report.images, report.embedded, report.from_thumbnails) == (6, 7, ())
    assert reader.search("red", 9) == before
    assert not reader.is_current
    with pytest.raises(LibraryError, match="embedded again"):
        reader.delete(["x"])
    with pytest.raises(LibraryError, match="made by model"):
        Library.open(mixed.folder, encoder)
    library = check(mixed.folder, other_encoder, expected)
    assert [item.meta for item in library.items("k = 1").items] == [{"k": 1}]
    (back,) = library.undo().restored
    assert library.search(library.original(back), 1)[0].id == back
    library.compact()
    assert not (library.folder / "store").exists()
    assert library.verify().problems == ()
    assert library.index([library.original(back).parent]).embedded == 0


def test_killed_it_goes_on_and_catches_up_with_what_was_written_meanwhile(mixed, other_encoder, painter, monkeypatch):
    real, passes = reembedding.Reembedding._pass, []

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reembedding.Reembedding, "_catch_up", die)
    with pytest.raises(KeyboardInterrupt):
        mixed.reembed(other_encoder)
    monkeypatch.undo()
    embedded = other_encoder.embedded
    assert embedded == 7
    mixed.delete(where="name = 'red.png'")
    mixed.undo(ids=[one.item.id for one in mixed.trash() if one.item.name == "white.png"])
    mixed.patch(mixed.items("name = 'blue.png'").items[0].id, group="new")
    mixed.add([NewItem(png(BLUE, mark=9), "late.png")])

    def then_more(self, source, target):
        done = real(self, source, target)
        if not passes:
            passes.append(1)
            mixed.add([NewItem(png(BLUE, mark=11), "later.png")])
        return done

    monkeypatch.setattr(reembedding.Reembedding, "_pass", then_more)
    report = mixed.reembed(other_encoder)
    assert report.embedded <= 4  # the two new ones, and the two that went in or out of the trash
    library = check(mixed.folder, other_encoder, twin(mixed, other_encoder))
    assert {item.name for item in library.items("`group` = 'new'").items} == {"blue.png"}
    assert {"late.png", "later.png"} <= {item.name for item in library.items().items}
    assert [one.item.name for one in library.trash()] == ["red.png"]


def test_pictures_that_are_gone_or_changed_are_named_and_nothing_is_switched(mixed, encoder, other_encoder, pictures):
    (pictures / "red.png").unlink()
    with pytest.raises(MissingImagesError, match=r"red\.png.*--thumbnails") as caught:
        mixed.reembed(other_encoder)
    assert caught.value.paths == (str(pictures / "red.png"),)
    (pictures / "blue.png").write_bytes(b"other")
    assert len(Library.open(mixed.folder, encoder).search("red", 9)) == 6
    report = mixed.reembed(other_encoder, thumbnails=True)
    assert report.from_thumbnails == (str(pictures / "blue.png"), str(pictures / "red.png"))
    library = Library.open(mixed.folder, other_encoder)
    assert library.search("red", 1)[0].meta["name"] in ("red.png", "up.png")


def test_a_changed_picture_without_its_thumbnail_is_named(mixed, other_encoder, pictures):
    (red,) = mixed.items("name = 'red.png'").items
    (pictures / "red.png").write_bytes(b"other")
    mixed.thumbnails.path(red.content).unlink()
    for thumbnails in (False, True):
        with pytest.raises(MissingImagesError) as caught:
            mixed.reembed(other_encoder, thumbnails=thumbnails)
        assert caught.value.paths == (str(pictures / "red.png"),)
    mixed.delete([red.id])
    mixed.purge(0)
    mixed.reembed(other_encoder)
    assert len(Library.open(mixed.folder, other_encoder)) == 5


def test_pictures_inside_a_tar_are_read_again(library, other_encoder, pictures, tmp_path):
    archive = tmp_path / "shard.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(pictures / "red.png", "0001.png")
        tar.add(pictures / "blue.png", "0002.png")
    library.index([archive])
    assert library.reembed(other_encoder).images == 2
    assert Library.open(library.folder, other_encoder).search(pictures / "red.png", 1)[0].path.endswith("0001.png")


def test_the_same_model_is_refused(mixed, encoder):
    with pytest.raises(LibraryError, match="already"):
        mixed.reembed(encoder)


def test_what_a_run_for_another_model_left_is_not_used(mixed, encoder, other_encoder, monkeypatch):
    from ..conftest import MosaicEncoder

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reembedding.Reembedding, "_catch_up", die)
    with pytest.raises(KeyboardInterrupt):
        mixed.reembed(other_encoder)
    monkeypatch.undo()
    third = MosaicEncoder("third", seed=3)
    assert mixed.reembed(third).embedded == 7
    check(mixed.folder, third, twin(mixed, third))
