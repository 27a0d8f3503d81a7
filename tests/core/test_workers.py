"""Tasks in this process, and how images are put into chunks."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from diptych.core import workers
from diptych.core.errors import LibraryError
from diptych.core.notes import Notes
from diptych.core.types import BytesImage, FileImage
from diptych.core.workers import InProcess, SentModel
from diptych.library.image_reading import Unread


def test_chunks_end_where_they_carry_much(monkeypatch):
    monkeypatch.setattr(workers, "_MOST_CARRIED", 10)
    monkeypatch.setattr(workers, "_BATCHES", 1)
    carried = [Unread(BytesImage(b"12345", str(one)), str(one), 5) for one in range(3)]
    files = [Unread(FileImage(Path(str(one))), str(one), 500) for one in range(4)]
    assert [len(chunk) for chunk in workers.chunks([*carried, *files], 3)] == [2, 3, 2]


@dataclass(frozen=True)
class Lengths:
    """How many letters the path of each image has, and how many images came together."""

    batch_size = 1
    threads = 3

    def start(self, threads, device):
        return lambda images: [(len(image.path), len(images), threads) for image in images]


def test_in_this_process_each_image_comes_with_its_result():
    images = [Unread(FileImage(Path("x" * number)), "x" * number, 1) for number in range(10)]
    found = list(InProcess().run(Lengths(), iter(images), Notes()))
    assert [image for image, _ in found] == images
    assert [result for _, result in found] == [(number, 8 if number < 8 else 2, 3) for number in range(10)]


class Named:
    fingerprint = "f"


def load_named(name, *, threads, device):
    return Named()


def test_a_model_is_sent_by_its_name():
    here = Named()
    sent = SentModel(load_named, "base", "f", here)
    assert sent.get(1, "cpu") is here
    there = pickle.loads(pickle.dumps(sent))
    assert there == sent
    assert there.here is None
    assert isinstance(there.get(1, "cpu"), Named)
    with pytest.raises(LibraryError, match="base is another one there"):
        SentModel(load_named, "base", "other").get(1, "cpu")
