"""What photos say about themselves as columns of a library: indexed, uploaded, asked for, never mixed with others."""

from __future__ import annotations

import json
from dataclasses import replace

import PIL.Image
import pytest
from PIL import ExifTags

from diptych.core.errors import ConfigError
from diptych.library import NewItem
from diptych.library.store import FilterError


def photograph(path, colour, taken=None, camera=None, place=None, **first):
    exif = PIL.Image.Exif()
    exif.update({0x0110: camera} if camera else {})
    exif.update({getattr(ExifTags.Base, name): value for name, value in first.items()})
    exif.get_ifd(ExifTags.IFD.Exif).update({0x9003: taken} if taken else {})
    if place:
        latitude, longitude = place
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {1: "N", 2: (float(latitude), 0.0, 0.0), 3: "E", 4: (float(longitude), 0.0, 0.0)}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (40, 30), colour).save(path, exif=exif)
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    photograph(folder / "april.jpg", "red", "2024:04:30 23:59:59", "Canon EOS R5", (35, 25))
    photograph(folder / "may.jpg", "green", "2024:05:01 00:00:00", "Canon EOS R5")
    photograph(folder / "june.jpg", "blue", "2024:06:10 12:00:00", "X100")
    photograph(folder / "unknown.jpg", "white", "0000:00:00 00:00:00", Rating=99)
    return folder


def names(library, where):
    return sorted(item.name for item in library.items(where).items)


def test_columns_of_photos_are_filtered(library, photos):
    report = library.index(photos)
    assert report.added == 4
    (note,) = [one for one in report.notes if one.kind == "photo_left_out"]
    assert dict(note.parts) == {"a date that is none": 1, "a rating other than -1 to 5": 1}
    assert names(library, "taken >= '2024-05-01'") == ["june.jpg", "may.jpg"]
    assert names(library, "taken >= '2024-05-01' AND camera LIKE 'Canon%'") == ["may.jpg"]
    assert names(library, "taken = '2024-04'") == ["april.jpg"]
    assert names(library, "taken IS NULL") == ["unknown.jpg"]
    assert names(library, "latitude BETWEEN 34 AND 36") == ["april.jpg"]
    assert library.facets("camera") == [("Canon EOS R5", 2), ("X100", 1)]
    assert "taken has: 2024-04-30 to 2024-06-10" in library.nothing_passes("taken < '2024'")
    with pytest.raises(FilterError, match="camera's clock"):
        library.items("taken > '2024-05-01T00:00+02:00'")
    with pytest.raises(FilterError, match="no image of this library says its lens"):
        library.items("lens = 'XF'")


def test_images_near_a_place_are_found_and_those_without_one_counted(library, photos):
    photograph(photos / "july.jpg", "green", "2024:07:01 00:00:00", "X100", (36, 25))
    library.index(photos)
    assert names(library, library.near(35.01, 25)) == ["april.jpg"]
    assert names(library, library.near(35.5, 25, 60)) == ["april.jpg", "july.jpg"]
    assert names(library, library.near(35.5, 25, 60, where="taken >= '2024-05-01'")) == ["july.jpg"]
    (note,) = library.without_place()
    assert note.to_text() == "images without coordinates, which are not found by a place: 3"
    assert [note.count for note in library.without_place("camera LIKE 'Canon%'")] == [1]
    assert library.without_place("camera = 'X100' AND taken >= '2024-07-01'") == ()
    assert [hit.meta["name"] for hit in library.search("red", where=library.near(36, 25))] == ["july.jpg"]
    assert len(library.delete(where=library.near(36, 25)).ids) == 1


def test_hits_and_lists_are_put_in_order_of_date_and_of_pixels(library, photos):
    PIL.Image.new("RGB", (20, 10), "green").save(photos / "small.png")
    PIL.Image.new("RGB", (50, 60), "green").save(photos / "large.png")
    library.index(photos)
    best = library.search("green", 4)
    with pytest.warns(UserWarning, match="2 of the 4 found say no date and come last"):
        hits = library.search("green", 4, sort="taken")
    assert {hit.id for hit in hits} == {hit.id for hit in best}  # the nearest, in another order
    assert [hit.rank for hit in hits] == [0, 1, 2, 3]
    dates = [hit.meta.get("PHOTO_TAKEN") for hit in hits]
    assert dates == [*sorted(filter(None, dates), reverse=True), None, None]
    sizes = [hit.meta["width"] * hit.meta["height"] for hit in library.search("green", sort="size")]
    assert sizes == [3000, 1200, 1200, 1200, 1200, 200]
    page = library.items(sort="taken", limit=5)
    assert [item.name for item in page.items[:3]] == ["june.jpg", "may.jpg", "april.jpg"]
    assert (page.total, page.undated) == (6, 3)
    assert library.items("width > 30", sort="size", limit=1).items[0].name == "large.png"
    assert library.dates() == {"2024-04": 1, "2024-05": 1, "2024-06": 1}
    assert library.dates("camera = 'X100'") == {"2024-06": 1}
    with pytest.raises(ConfigError, match="choose from id, taken, size"):
        library.items(sort="date")
    with pytest.raises(ConfigError, match="choose from score, taken, size"):
        library.search("green", sort="id")
    with pytest.raises(ConfigError, match="expected one that a page of this order gave"):
        library.items(sort="size", cursor=best[0].id)


@pytest.mark.parametrize("sort", ["taken", "size"])
def test_pages_in_order_have_each_image_once_although_others_go(library, photos, sort):
    for name in ("a", "b", "c"):
        PIL.Image.new("RGB", (40, 30), (9, ord(name), 9)).save(photos / f"{name}.png")
    library.index(photos)
    whole = [item.id for item in library.items(sort=sort).items]
    found, cursor = [], None
    while True:
        page = library.items(sort=sort, limit=2, cursor=cursor)
        found += [item.id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
        library.delete(page.items[-1].id)  # the cursor's own row
    assert found == whole
    assert len(whole) == 7


def test_a_date_of_which_only_the_year_is_known_stays_so(library, photos):
    photograph(photos / "year.jpg", "green", "2024")
    library.index(photos)
    with pytest.warns(UserWarning, match="1 of the 5 found"):
        hits = library.search("green", sort="taken")
    assert [hit.meta.get("PHOTO_TAKEN", "")[:10] for hit in hits] == [
        "2024-06-10",
        "2024-05-01",
        "2024-04-30",
        "2024",
        "",
    ]
    assert [item.name for item in library.items(sort="taken").items][3] == "year.jpg"


def test_dates_are_asked_for_where_no_image_says_one(library, photos):
    for name in ("april.jpg", "may.jpg", "june.jpg"):
        (photos / name).unlink()
    library.index(photos)
    with pytest.raises(ConfigError, match="cannot sort by taken: no image of this library says its taken"):
        library.search("red", sort="taken")


def test_a_place_where_no_image_says_one(library, photos):
    (photos / "april.jpg").unlink()
    library.index(photos)
    with pytest.raises(FilterError, match="no image of this library says its latitude"):
        library.near(35, 25)


def test_photos_stay_with_their_image(library, photos):
    """Moved, copied, edited, exported: the facts are those of the bytes."""
    library.index(photos)
    (photos / "may.jpg").rename(photos / "moved.jpg")
    (photos / "copy.jpg").write_bytes((photos / "june.jpg").read_bytes())
    photograph(photos / "april.jpg", "black", "2020:01:01 00:00:00")
    library.index(photos)
    assert names(library, "taken >= '2024-05-01'") == ["copy.jpg", "june.jpg", "moved.jpg"]
    assert names(library, "taken < '2021'") == ["april.jpg"]
    assert names(library, "latitude IS NOT NULL") == []


def test_an_own_column_of_the_same_name_is_another(library, photos):
    lines = [json.dumps({"image": "may.jpg", "camera": "my own", "photo_camera": "too"})]
    (photos / "list.jsonl").write_text("\n".join(lines))
    library.index(photos)
    library.index(photos / "list.jsonl")
    assert names(library, "camera = 'my own'") == ["may.jpg"]
    assert names(library, "PHOTO_CAMERA LIKE 'Canon%'") == ["april.jpg", "may.jpg"]
    assert names(library, "photo_camera = 'too'") == ["may.jpg"]
    (item,) = library.items("camera = 'my own'").items
    assert item.meta["camera"] == "my own"
    assert item.photo["camera"] == "Canon EOS R5"


def test_an_uploaded_photo_has_the_same_columns(library, photos):
    added = library.add([NewItem((photos / name).read_bytes(), name) for name in ("may.jpg", "unknown.jpg")])
    assert added.items[0].photo == {"taken": "2024-05-01T00:00:00", "camera": "Canon EOS R5"}
    assert [dict(note.parts) for note in added.notes] == [{"a date that is none": 1, "a rating other than -1 to 5": 1}]
    assert names(library, "taken = '2024-05-01'") == ["may.jpg"]


def test_a_library_of_before_asks_its_images_by_reread(library, photos):
    """Rows without what photos say, as an earlier version wrote them; an image that has changed since is named."""
    library.index(photos)
    with library.opened.writing() as store:
        rows = store.get([item.id for item in library.items().items])
        store.write([replace(row, photo=None) for row in rows])
    assert names(library, "taken IS NOT NULL") == []
    photograph(photos / "april.jpg", "black")
    found = library.reread()
    assert (found.read, found.known, found.missing) == (3, 0, (str(photos / "april.jpg"),))
    assert [note.count for note in found.notes] == [2]
    assert names(library, "taken >= '2024-05-01'") == ["june.jpg", "may.jpg"]
    again = library.reread()
    assert (again.read, again.known, len(again.missing)) == (0, 3, 1)
