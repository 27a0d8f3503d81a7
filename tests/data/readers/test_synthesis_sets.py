"""The sets that text-to-image is measured on, as small copies of the published layouts: COCO, narratives, CUB."""

from __future__ import annotations

import json

import pytest

from diptych.core.errors import DataError, Reason
from diptych.data.readers import open_source
from diptych.data.readers.options import SourceOptions
from diptych.data.readers.reading import Reading
from diptych.data.readers.textfile import json_array


def coco(folder, part, images, captions, objects=None):
    (folder / "annotations").mkdir(exist_ok=True)
    content = {
        "info": {"description": "COCO", "contributor": ["x"]},
        "images": [{"id": number, "file_name": name, "height": 4, "width": 4} for number, name in images],
        "licenses": [],
        "annotations": [
            {"image_id": image, "id": place, "caption": caption} for place, (image, caption) in enumerate(captions)
        ],
    }
    (folder / f"annotations/captions_{part}.json").write_text(json.dumps(content))
    if objects is not None:
        content["annotations"] = [
            {"segmentation": [[1.5, 2.5]], "iscrowd": crowd, "image_id": image, "category_id": category}
            for image, category, crowd in objects
        ]
        content["categories"] = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "hot dog"}]
        (folder / f"annotations/instances_{part}.json").write_text(json.dumps(content))


def test_coco_with_its_objects(pictures, read):
    names = ["COCO_train2014_000000000009.jpg", "COCO_train2014_000000000025.jpg"]
    folder = pictures(*(f"train2014/{name}" for name in names), "val2014/COCO_val2014_000000000042.jpg")
    coco(
        folder,
        "train2014",
        [(9, names[0]), (25, names[1]), (30, "gone.jpg"), (31, "mute.jpg")],
        [(25, "A dog."), (9, "A man eats."), (25, 'The dog "annotations": [ runs.'), (30, "gone"), (77, "whose?")],
        [(9, 1, 0), (25, 18, 0), (25, 1, 0), (25, 18, 0), (9, 90, 1), (9, 5, 0)],
    )
    coco(folder, "val2014", [(42, "COCO_val2014_000000000042.jpg")], [(42, "Shoes."), (42, "")])
    for source in (folder, folder / "annotations"):
        assert open_source(source).format == "coco"
        pairs, skipped = read(source)
        assert [(pair.id, pair.split, [text.value for text in pair.texts], dict(pair.meta)) for pair in pairs] == [
            (names[0], "train", ["A man eats."], {"objects": "person"}),
            (names[1], "train", ["A dog.", 'The dog "annotations": [ runs.'], {"objects": "dog, person"}),
            ("COCO_val2014_000000000042.jpg", "val", ["Shoes."], {}),
        ]
        assert {text.lang for pair in pairs for text in pair.texts} == {"en"}
        assert [(entry.name, entry.reason) for entry in skipped] == [
            ("instances_train2014.json", Reason.BAD_ROW),  # a category that is not listed
            ("gone.jpg", Reason.MISSING),
            ("mute.jpg", Reason.EMPTY_TEXT),
            ("captions_train2014.json image id 77", Reason.NO_IMAGE),
            ("COCO_val2014_000000000042.jpg", Reason.EMPTY_TEXT),
        ]
    one, _ = read(folder / "annotations/captions_val2014.json")
    assert len(one) == 1


def test_coco_images_may_lie_together_elsewhere(pictures, read, tmp_path):
    folder = pictures("all/a.jpg")
    coco(folder, "val2017", [(1, "a.jpg")], [(1, "An a.")])
    pairs, skipped = read(folder / "annotations/captions_val2017.json", images_root=folder / "all")
    assert [pair.images[0].path for pair in pairs] == [folder / "all/a.jpg"]
    assert not skipped


def test_coco_that_is_broken(pictures, read):
    folder = pictures("a.jpg")
    (folder / "annotations").mkdir()
    file = folder / "annotations/captions_train2014.json"
    for content, message in (
        ("[]", "must hold a JSON object"),
        ('{"images": []}', "no list under 'annotations'"),
        ('{"annotations": [{"image_id": 1, "capt', "is broken after 0 elements"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            read(folder)


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_an_array_under_a_key_is_the_same_in_blocks_of_any_size(tmp_path, block):
    value = {"a": {"things": 3}, "x": ["things"], "things": [{"n": n, "s": ']"' * n} for n in range(9)], "z": [1]}
    file = tmp_path / "x.json"
    job = Reading(file, SourceOptions())
    for indent in (None, 1):
        file.write_text(json.dumps(value, indent=indent))
        assert list(json_array(job, file, "things", block=block)) == value["things"]
        assert list(json_array(job, file, "z", block=block)) == [1]


def narrative(dataset, image, caption, annotator=1):
    points = [[{"x": 0.1, "y": 0.2, "t": 0.0}]]
    return json.dumps(
        {"dataset_id": dataset, "image_id": image, "annotator_id": annotator, "caption": caption, "traces": points}
    )


def test_narratives_of_coco(pictures, read):
    folder = pictures("train2017/000000107899.jpg", "val2014/COCO_val2014_000000000042.jpg")
    (folder / "coco_train_localized_narratives-00000-of-00004.jsonl").write_text(
        "\n".join(
            [
                narrative("mscoco_train2017", "107899", "In this picture I see a dog."),
                narrative("mscoco_train2017", "42", "Shoes."),
                narrative("mscoco_train2017", "107899", "A dog runs.", 2),
                narrative("mscoco_train2017", "../../etc/passwd", "no"),
                "nonsense",
                narrative("mscoco_val2017", "9", "gone"),
            ]
        )
    )
    assert open_source(folder).format == "narratives"
    pairs, skipped = read(folder)
    assert [(pair.id, pair.split, [text.value for text in pair.texts]) for pair in pairs] == [
        ("107899", "train", ["In this picture I see a dog.", "A dog runs."]),
        ("42", "train", ["Shoes."]),
    ]
    assert {text.field for pair in pairs for text in pair.texts} == {"narrative"}
    assert pairs[1].images[0].path.name == "COCO_val2014_000000000042.jpg"
    assert [entry.reason for entry in skipped] == [Reason.BAD_ROW, Reason.BAD_ROW, Reason.MISSING]


def test_narratives_of_open_images(pictures, read):
    folder = pictures("train/0001eeaf4aed83f9.jpg", "validation/00a5a85d.jpg", "ffff.jpg")
    files = {
        "train_v6": [("open_images_train", "0001eeaf4aed83f9")],
        "validation": [("open_images_validation", "00a5a85d")],
    }
    files["test"] = [("open_images_test", "ffff")]
    for part, rows in files.items():
        text = "\n".join(narrative(dataset, image, f"about {image}") for dataset, image in rows)
        (folder / f"open_images_{part}_localized_narratives.jsonl").write_text(text)
    pairs, skipped = read(folder)
    assert {pair.id: pair.split for pair in pairs} == {"ffff": "test", "0001eeaf4aed83f9": "train", "00a5a85d": "val"}
    assert not skipped
    one = folder / "open_images_test_localized_narratives.jsonl"
    assert open_source(one).format == "narratives"
    assert len(read(one)[0]) == 1


def birds(folder, captions="text_c10"):
    names = [
        "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
        "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
        "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
    ]
    listed = [*names, "../../secret.jpg", "003.Sooty/gone.jpg"]
    (folder / "images.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(listed, 1)))
    (folder / "image_class_labels.txt").write_text("1 1\n2 1\n3 2\n4 1\n5 3\n")
    classes = "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n3 003.Sooty\n"
    (folder / "classes.txt").write_text(classes)
    (folder / "train_test_split.txt").write_text("1 0\n2 1\n3 1\n4 1\n5 1\n")
    for name in names[1:]:
        file = (folder / captions / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"a bird called {file.stem}\nit is grey\n")
    return names


def test_cub(pictures, read):
    folder = pictures(
        "images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
        "images/001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
        "images/002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
    )
    names = birds(folder)
    assert open_source(folder).format == "cub"
    pairs, skipped = read(folder)
    assert [(pair.id, pair.split, pair.group, len(pair.texts)) for pair in pairs] == [
        (names[0], "test", "Black footed Albatross", 0),
        (names[1], "train", "Black footed Albatross", 2),
        (names[2], "train", "Laysan Albatross", 2),
    ]
    assert pairs[1].texts[0].value == "a bird called Black_Footed_Albatross_0009_34"
    assert [(entry.name, entry.reason) for entry in skipped] == [
        (names[0], Reason.EMPTY_TEXT),
        ("images.txt 4", Reason.BAD_ROW),
        ("003.Sooty/gone.jpg", Reason.MISSING),
    ]
    (folder / "trainclasses.txt").write_text("001.Black_footed_Albatross\n")
    (folder / "testclasses.txt").write_text("002.Laysan_Albatross\n")
    assert [pair.split for pair in read(folder)[0]] == ["train", "train", "test"]


def test_cub_without_its_lists_or_pictures(pictures, read, tmp_path):
    folder = pictures("x/a.jpg")
    birds(folder)
    with pytest.raises(DataError, match="name the birds' images with --images-root"):
        read(folder)
    (folder / "images").mkdir()
    (folder / "image_class_labels.txt").unlink()
    with pytest.raises(DataError, match=r"has no image_class_labels\.txt"):
        read(folder, format="cub")
