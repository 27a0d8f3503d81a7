"""What photos say about themselves, in blocks written by hand and by Pillow."""

from __future__ import annotations

import io
import struct

import PIL.Image
import pytest
from PIL import ExifTags, IptcImagePlugin
from PIL.TiffImagePlugin import IFDRational

from diptych.core.types import BytesImage
from diptych.data.images import Photo, decode, read_beginning, read_header, read_photo
from diptych.data.images.formats import OPENERS
from diptych.data.images.photo import BAD_DATE, BAD_PLACE, BAD_RATING, BAD_ZONE, BLOCKS, BOMB, CUT, LONG, MANY

_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" {attributes}>{children}</rdf:Description></rdf:RDF></x:xmpmeta>"""


def image(format="JPEG", **saved):
    stream = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "teal").save(stream, format, **saved)
    return BytesImage(stream.getvalue(), "photo")


def exif(first=(), inner=(), gps=()):
    block = PIL.Image.Exif()
    block.update(dict(first))
    block.get_ifd(ExifTags.IFD.Exif).update(dict(inner))
    block.get_ifd(ExifTags.IFD.GPSInfo).update(dict(gps))
    return block


def xmp(attributes="", children=""):
    return _XMP.format(attributes=attributes, children=children).encode()


def bag(name, words):
    return f"<{name}><rdf:Bag>{''.join(f'<rdf:li>{word}</rdf:li>' for word in words)}</rdf:Bag></{name}>"


def with_iptc(fields):
    """A JPEG with a Photoshop block of IPTC fields, (record, number, bytes) each."""
    block = b"".join(struct.pack(">BBBH", 0x1C, record, number, len(value)) + value for record, number, value in fields)
    resource = b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(block)) + block
    body = b"Photoshop 3.0\0" + resource + b"\0" * (len(block) % 2)
    data = image().data
    return BytesImage(data[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + data[2:], "photo")


CANON = {
    "first": {0x010F: "Canon", 0x0110: "Canon EOS R5", 0x4746: 4},
    "inner": {0x9003: "2024:05:01 14:30:05", 0x9011: "+02:00", 0x9291: "25", 0xA434: "RF24-70mm F2.8"},
    "gps": {1: "N", 2: (35.0, 20.0, 24.0), 3: "W", 4: (25.0, 8.0, 0.0)},
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_of_every_format_says_when_where_and_with_what(format):
    found = read_photo(image(format, exif=exif(**CANON).tobytes()))
    assert found.left_out == ()
    assert found.said == {
        "taken": "2024-05-01T14:30:05.25",
        "taken_zone": "+02:00",
        "camera": "Canon EOS R5",
        "lens": "RF24-70mm F2.8",
        "latitude": 35.34,
        "longitude": -25.1333333,
        "rating": 4,
    }


def test_nothing_is_guessed():
    """No zone stays none; the date of the last edit (0x0132) and of a scan (0x9004) are not when a photo was taken."""
    edited = exif({0x0132: "2025:01:01 00:00:00"}, {0x9004: "2025:01:01 00:00:00"})
    assert read_photo(image(exif=edited)).said == {}
    assert read_photo(image(exif=exif(inner={0x9003: "2024:05:01 14:30:05"}))).said == {"taken": "2024-05-01T14:30:05"}
    unset = exif(inner={0x9003: "    :  :     :  :  "})
    assert read_photo(image(exif=unset)) == read_photo(image())


def test_make_and_model_are_one_name():
    nikon = exif({0x010F: "NIKON CORPORATION", 0x0110: "NIKON D850"})
    assert read_photo(image(exif=nikon)).said == {"camera": "NIKON D850"}
    leica = exif({0x010F: "Leica Camera AG", 0x0110: "M11"})
    assert read_photo(image(exif=leica)).said == {"camera": "Leica Camera AG M11"}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_of_every_format(format):
    block = xmp(
        'xmp:Rating="-1" exif:DateTimeOriginal="2024-05-01T14:30Z" exif:GPSLatitude="35,20.4S" aux:Lens="XF 23 mm" '
        'exif:GPSLongitude="25,8,30E" tiff:Model="X100"',
        bag("dc:subject", ["Crete", "mer &amp; été"]) + bag("dc:title", ["La plage"]),
    )
    if format == "PNG":
        info = PIL.PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", block.decode())
        source = image(format, pnginfo=info)
    elif format == "TIFF":
        source = image(format, tiffinfo={700: block})
    else:
        source = image(format, xmp=block)
    found = read_photo(source)
    assert found.left_out == ()
    assert found.said == {
        "taken": "2024-05-01T14:30", "taken_zone": "+00:00", "camera": "X100", "lens": "XF 23 mm", "latitude": -35.34,
        "longitude": 25.1416667, "rating": -1, "title": "La plage", "keywords": ["Crete", "mer & été"],
    }  # fmt: skip


def test_iptc_and_windows_tags():
    fields = [
        (2, 5, b"Beach"),
        (2, 25, b"sea"),
        (2, 25, "été".encode("latin-1")),
        (2, 55, b"20240501"),
        (2, 60, b"143005-0330"),
    ]
    found = read_photo(with_iptc(fields))
    assert found.said == {
        "taken": "2024-05-01T14:30:05", "taken_zone": "-03:30", "title": "Beach", "keywords": ["sea", "été"],
    }  # fmt: skip
    only_a_day = read_photo(with_iptc([(2, 55, b"20240501")]))
    assert only_a_day.said == {"taken": "2024-05-01"}
    windows = exif({0x9C9B: "Été".encode("utf-16-le") + b"\0\0", 0x9C9E: "a;b; a".encode("utf-16-le")})
    assert read_photo(image(exif=windows)).said == {"title": "Été", "keywords": ["a", "b"]}
    wide = exif({0x9C9B: "日本の海".encode("utf-16-le") + b"\0\0", 0x9C9E: "море;θάλασσα".encode("utf-16-le")})
    assert read_photo(image(exif=wide)).said == {"title": "日本の海", "keywords": ["море", "θάλασσα"]}


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "2024:13:01 00:00:00", "9999:01:01 00:00:00", "yesterday"])
def test_dates_that_are_none_are_left_out_and_named(date):
    found = read_photo(image(exif=exif(inner={0x9003: date})))
    assert (found.said, found.left_out) == ({}, (BAD_DATE,))


@pytest.mark.parametrize("date", ["٢٠٢٤-٠٥-٠١T10:00:00", "２０２４-05-01"])
def test_dates_in_other_digits_are_none(date):
    """Python's own reader of dates would stumble over them when they are stored."""
    block = xmp(f'exif:DateTimeOriginal="{date}" exif:GPSLatitude="٣٥,20.4N" exif:GPSLongitude="25,8E"')
    assert read_photo(image(xmp=block)) == Photo({}, (BAD_DATE, BAD_PLACE))


def test_values_that_cannot_be_right_are_left_out_and_named():
    gps = {1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (25.0, 0.0, 0.0)}
    found = read_photo(image(exif=exif({0x4746: 99}, {0x9003: "2024:05:01 14:30:05", 0x9011: "+99:00"}, gps)))
    assert found.said == {"taken": "2024-05-01T14:30:05"}
    assert set(found.left_out) == {BAD_RATING, BAD_ZONE, BAD_PLACE}
    nowhere = {1: "N", 2: (IFDRational(1, 0),) * 3, 3: "E", 4: (25.0, 0.0, 0.0)}
    assert read_photo(image(exif=exif(gps=nowhere))).left_out == (BAD_PLACE,)


def test_texts_are_bounded():
    long = read_photo(image(exif=exif({0x0110: "X\0\x07100 " + "y" * 50_000})))
    assert long.said["camera"] == "X 100 " + "y" * 194
    assert long.left_out == (LONG,)
    many = read_photo(image(xmp=xmp(children=bag("dc:subject", [f"k{at}" for at in range(2_000)]))))
    assert many.said["keywords"] == [f"k{at}" for at in range(100)]
    assert many.left_out == (MANY,)


def test_entities_and_broken_xmp_are_refused():
    laughs = b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + xmp(children="<dc:title>&b;</dc:title>")
    for block in (laughs, b"<x:xmpmeta", b" " * 10 + b"<a>" * 10):
        assert read_photo(image(xmp=block)) == Photo({}, (BLOCKS["xmp"],))


def test_a_bomb_is_not_set_off(monkeypatch):
    """4,000 entries that each name the same 60,000 bytes: neither here nor for the orientation is one of them read."""
    entries = b"".join(struct.pack("<HHII", 0x1000 + at, 7, 60_000, 8) for at in range(4_000))
    block = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 4_000) + entries + b"\0" * 16_000
    source = image(exif=b"Exif\0\0" + block)
    monkeypatch.setattr(PIL.Image.Exif, "load", lambda *_: pytest.fail("it was read"))
    assert read_photo(source).left_out == (BOMB,)
    assert decode(source).shape == (30, 40, 3)


def test_a_block_that_ends_early_is_named_and_what_is_before_its_end_is_kept():
    whole = exif(first={0x0110: "X100 of a long name"}, inner={0x9003: "2024:05:01 10:00:00"}).tobytes()
    assert read_photo(image(exif=whole)).left_out == ()
    cut = read_photo(image(exif=whole[: whole.index(b"2024:05:01") + 4]))
    assert (cut.said, cut.left_out) == ({"camera": "X100 of a long name"}, (CUT,))
    for length in (10, 14, 30):  # within the header, the count of entries, the entries
        assert CUT in read_photo(image(exif=whole[:length])).left_out
    for empty in (b"Exif\0\0", b""):
        assert read_photo(image(exif=empty)).left_out == ()


def test_header_and_photo_come_from_one_opening(monkeypatch):
    source = image(exif=exif(first={0x0112: 6, 0x0110: "X100"}))
    expected = read_header(source), read_photo(source)
    opened = []
    monkeypatch.setitem(OPENERS, "JPEG", lambda stream, own=OPENERS["JPEG"]: opened.append(1) or own(stream))
    assert read_beginning(source) == expected
    assert expected[0].turned
    assert len(opened) == 1


def _hidden(kind, length, value, long=7):
    """Entries of long types, or a directory that only Pillow finds: its pointer has another type than is usual."""
    entries = b"".join(
        struct.pack(">HHII", 0x1000 + at, long, 60_000 // (8 if long == 16 else 1), 8) for at in range(900)
    )
    inner = struct.pack(">H", 900) + entries + b"\0" * 60_000
    return b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x8769, kind, length, value) + b"\0" * 4 + inner


@pytest.mark.parametrize("block", [_hidden(3, 1, 26 << 16), _hidden(4, 1, 26, long=16)], ids=["short", "long types"])
def test_a_bomb_is_found_where_it_is_hidden(block, monkeypatch):
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{(b'Exif' + bytes(2) + block).hex()}", zip=True)
    sources = image("PNG", exif=block), image("PNG", pnginfo=info)
    monkeypatch.setattr(PIL.Image.Exif, "load", lambda *_: pytest.fail("it was read"))
    for source in sources:
        assert read_photo(source).left_out == (BOMB,)
        assert decode(source).shape == (30, 40, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_blocks_lose_nothing_else(monkeypatch):
    cut = image(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x0f\0\x02", xmp=xmp('xmp:Rating="3"'))
    assert read_photo(cut).said == {"rating": 3}
    monkeypatch.setattr(IptcImagePlugin.IptcImageFile, "field", lambda self: 1 / 0)
    found = read_photo(with_iptc([(2, 5, b"Beach")]))
    assert (found.said, found.left_out) == ({}, (BLOCKS["iptc"],))
