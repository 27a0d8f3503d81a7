"""Tars of samples: nothing extracted, no pickle opened."""

import io
import json
import pickle
import tarfile

import pytest

from diptych.core.errors import DataError, Reason
from diptych.core.types import BytesImage, TarImage, Text
from diptych.data.readers import open_source


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


class Explosive:
    def __reduce__(self):
        return (exec, ("raise RuntimeError('a pickle was opened')",))


@pytest.fixture
def members(jpeg):
    return [
        ("a/001.jpg", jpeg(1)),
        ("a/001.txt", b"a dog\nthe dog\n"),
        (
            "a/001.json",
            json.dumps({"caption": "a dog", "title": "Rex", "lang": "en", "width": 32, "split": "dev"}).encode(),
        ),
        ("a/001.cls", b"4"),
        ("a/001.meta.pyd", pickle.dumps(Explosive())),
        ("a/.hidden.jpg", b"x"),
        ("a/002.left.PNG", jpeg(2, "PNG")),
        ("a/002.txt", b"\x81 \xff"),
        ("a/003.txt", b"no image"),
    ]


def test_members_are_grouped_by_key_and_read_in_place(tmp_path, read, members, jpeg):
    path = write_tar(tmp_path / "train-000.tar", members)
    before = sorted(tmp_path.iterdir())
    pairs, skipped = read(path)
    assert [(pair.id, pair.split, pair.group) for pair in pairs] == [
        ("train-000/a/001", "val", "4"),
        ("train-000/a/002", "train", None),
    ]
    assert pairs[0].texts == (Text("a dog\nthe dog", "en"), Text("a dog", "en"), Text("Rex", "en", "title"))
    assert isinstance(pairs[0].images[0], TarImage)
    assert pairs[0].images[0].open().read() == jpeg(1)
    assert pairs[1].images[0].open().read() == jpeg(2, "PNG")
    assert sorted((entry.name.rpartition("::")[2], entry.reason) for entry in skipped) == [
        ("a/002", Reason.EMPTY_TEXT),
        ("a/002.txt", Reason.BAD_ROW),
        ("a/003", Reason.NO_IMAGE),
        ("train-000.tar", Reason.BAD_ROW),
    ]
    assert any("1 pickles" in entry.detail for entry in skipped)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_packed_tars_give_the_same_pairs_with_images_in_memory(tmp_path, read, members, jpeg, packing):
    pairs, _ = read(write_tar(tmp_path / f"train-000.tar.{packing}", members, f"w:{packing}"))
    assert [pair.id for pair in pairs] == ["train-000/a/001", "train-000/a/002"]
    assert isinstance(pairs[0].images[0], BytesImage)
    assert pairs[0].images[0].open().read() == jpeg(1)


def test_a_folder_of_tars_is_read_in_order(tmp_path, read, jpeg):
    for seed, name in enumerate(("s-1", "s-0")):
        write_tar(tmp_path / f"{name}.tar", [("k.jpg", jpeg(seed)), ("k.txt", name.encode())])
    pairs, _ = read(tmp_path)
    assert [(pair.id, pair.texts[0].value) for pair in pairs] == [("s-0/k", "s-0"), ("s-1/k", "s-1")]


def test_a_cut_tar_gives_what_came_before_and_is_named(tmp_path, read, jpeg):
    members = [(f"{key}.{kind}", jpeg(key) if kind == "jpg" else b"dog") for key in range(3) for kind in ("jpg", "txt")]
    path = write_tar(tmp_path / "t.tar", members)
    end = 6 * 512 + 3 * (-(-len(jpeg(0)) // 512) + 1) * 512  # six headers, three pictures, three short texts
    for size in range(600, end + 500, 300):
        (tmp_path / "cut.tar").write_bytes(path.read_bytes()[:size])
        pairs, skipped = read(tmp_path / "cut.tar")
        assert [pair.id for pair in pairs] == [f"cut/{key}" for key in range(len(pairs))]
        assert len(pairs) <= 3
        assert Reason.TRUNCATED in {entry.reason for entry in skipped}


def test_what_is_no_tar_says_so(tmp_path, read):
    (tmp_path / "t.tar").write_bytes(b"hello" * 300)
    with pytest.raises(DataError, match="damaged or no tar"):
        read(tmp_path / "t.tar")


def test_links_and_devices_are_left_alone(tmp_path, read, jpeg):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("b.jpg", tarfile.SYMTYPE),
            ("c.jpg", tarfile.LNKTYPE),
            ("d.jpg", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size = len(jpeg())
        tar.addfile(info, io.BytesIO(jpeg()))
    assert [pair.id for pair in read(path)[0]] == ["t/a"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_records_whose_names_have_dots_are_not_merged(tmp_path, jpeg, mode):
    members = []
    for number in range(3):
        content = {"jpg": jpeg(number), "seg.png": jpeg(9), "txt": b"caption %d" % number, "json": b'{"split": "test"}'}
        members += [(f"v1.0_{number}.{kind}", data) for kind, data in content.items()]
    source = open_source(write_tar(tmp_path / "t.tar", members, mode))
    found = [(pair.id, len(pair.images), [text.value for text in pair.texts], pair.split) for pair in source]
    assert found == [(f"t/v1.0_{number}", 1, [f"caption {number}"], "test") for number in range(3)]
    assert {note.kind: note.count for note in source.notes} == {"dotted_name": 3, "extra_image": 3}


def test_parts_of_one_record_stay_together(tmp_path, jpeg):
    members = [("0.left.jpg", jpeg()), ("0.right.jpg", jpeg(2)), ("0.txt", b"both"), ("0.de.txt", b"beide")]
    [pair] = open_source(write_tar(tmp_path / "t.tar", members))
    assert (pair.id, len(pair.images), len(pair.texts)) == ("t/0", 2, 2)
