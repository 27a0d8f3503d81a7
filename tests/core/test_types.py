"""Where images come from."""

import tarfile
from pathlib import Path

import pytest

from diptych.core.errors import DataError, Reason
from diptych.core.types import BytesImage, FileImage, TarImage


def test_three_places_one_content(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"content")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(file, "x/a.png")
        member = tar.getmember("x/a.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        member = tar.getmember("x/a.png")
    images = [
        FileImage(file),
        TarImage(tmp_path / "a.tar", "x/a.png", member.offset_data, member.size),
        BytesImage(b"content", "upload"),
    ]
    for image in images:
        with image.open() as stream:
            assert stream.read() == b"content"
    assert [image.name for image in images] == [str(file), f"{tmp_path / 'a.tar'}::x/a.png", "upload"]
    assert "content" not in repr(images[2])


@pytest.mark.parametrize("make", [FileImage, lambda path: TarImage(path, "m", 0, 1)])
def test_what_is_gone_is_named(tmp_path: Path, make: type[FileImage]) -> None:
    with pytest.raises(DataError, match=r"cannot open .*none: No such file") as caught:
        make(tmp_path / "none").open()
    assert caught.value.reason is Reason.MISSING


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        FileImage(tmp_path).open()
