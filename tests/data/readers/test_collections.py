"""The published layouts: Flickr, Karpathy, Recipe1M."""

import json

import pytest

from diptych.core.errors import DataError, Reason
from diptych.core.types import Text
from diptych.data.readers import open_source


@pytest.mark.parametrize(
    ("token_file", "photos", "lists"),
    [
        ("captions.token.txt", "images", ("train.txt", "dev.txt", "test.txt")),
        (
            "Flickr8k.token.txt",
            "Flicker8k_Dataset",
            ("Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt", "Flickr_8k.testImages.txt"),
        ),
        ("results_20130124.token", "flickr30k-images", ("train.txt", "val.txt", "test.txt")),
    ],
)
def test_flickr_under_its_published_names(pictures, read, token_file, photos, lists):
    folder = pictures(f"{photos}/1.jpg", f"{photos}/2.jpg", f"{photos}/3.jpg", f"{photos}/4.jpg")
    rows = [
        "1.jpg#0\ta dog",
        "2.jpg#0\ta cat",
        "1.jpg#1\tthe dog",
        "3.jpg#0\t ",
        "4.jpg#0\tan owl",
        "9.jpg#0\tgone",
    ]
    (folder / token_file).write_text("\n".join([*rows, "nonsense"]))
    for name, content in zip(lists, ("1.jpg\n", "2\n", "3.jpg\n8.jpg\n"), strict=True):
        (folder / name).write_text(content)
    assert open_source(folder).format == "flickr"
    pairs, skipped = read(folder)
    assert [(pair.id, pair.split, [text.value for text in pair.texts]) for pair in pairs] == [
        ("1.jpg", "train", ["a dog", "the dog"]),
        ("2.jpg", "val", ["a cat"]),
        ("3.jpg", "test", []),
        ("4.jpg", None, ["an owl"]),
    ]
    assert [(entry.name, entry.reason) for entry in skipped] == [
        (f"{token_file} line 7", Reason.BAD_ROW),
        ("3.jpg", Reason.EMPTY_TEXT),
        ("9.jpg", Reason.MISSING),
        ("8.jpg", Reason.EMPTY_TEXT),
    ]


def test_a_flickr_photo_in_two_lists_is_in_both_splits(pictures, read):
    folder = pictures("images/1.jpg")
    (folder / "captions.token.txt").write_text("1.jpg#0\ta dog\n")
    for name in ("train.txt", "dev.txt"):
        (folder / name).write_text("1.jpg\n")
    assert [pair.split for pair in read(folder)[0]] == ["val", "train"]


def test_one_split_can_be_asked_for_by_any_of_its_names(pictures, read):
    folder = pictures("images/1.jpg", "images/2.jpg")
    (folder / "captions.token.txt").write_text("1.jpg#0\ta dog\n2.jpg#0\ta cat\n")
    (folder / "train.txt").write_text("1.jpg\n")
    (folder / "dev.txt").write_text("2.jpg\n")
    for name in ("dev", "val", "Validation"):
        assert [pair.id for pair in read(folder, split=name)[0]] == ["2.jpg"]
    with pytest.raises(DataError, match=r"no split 'test'; splits found: train \(1 pairs\), val \(1 pairs\)"):
        read(folder, split="test")


def test_karpathy(pictures, read):
    folder = pictures("images/val2014/1.jpg", "images/2.jpg")
    content = {
        "dataset": "coco",
        "images": [
            {
                "filename": "1.jpg",
                "filepath": "val2014",
                "split": "restval",
                "sentences": [{"raw": "a dog"}, {"raw": "b"}],
            },
            {"filename": "2.jpg", "split": "val", "sentences": [{"tokens": ["x"], "raw": "a cat"}]},
            {"filename": "3.jpg", "split": "val", "sentences": []},
            {"nothing": 1},
        ],
    }
    (folder / "dataset_coco.json").write_text(json.dumps(content))
    assert open_source(folder).format == open_source(folder / "dataset_coco.json").format == "karpathy"
    pairs, skipped = read(folder)
    assert [(pair.id, pair.split, pair.texts) for pair in pairs] == [
        ("1.jpg", "train", (Text("a dog"), Text("b"))),
        ("2.jpg", "val", (Text("a cat"),)),
    ]
    assert [entry.reason for entry in skipped] == [Reason.MISSING, Reason.BAD_ROW]


@pytest.mark.parametrize("content", ["{", '{"images": 3, "sentences": 1}', "[]", "[" * 100_000])
def test_karpathy_of_another_shape_is_refused(tmp_path, read, content):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(DataError, match=r"d\.json is not"):
        read(tmp_path / "d.json", format="karpathy")


def recipe1m(folder, extra=()):
    layer1 = [
        {
            "id": "r1",
            "title": "Soup",
            "ingredients": [{"text": "water"}, {"text": "salt"}],
            "instructions": [{"text": "Boil."}, {"text": "Eat."}],
            "partition": "train",
            "url": "http://example.org/r1",
        },
        {"id": "r2", "title": "Bread", "ingredients": [], "instructions": [], "partition": "val"},
        {"id": "r3", "title": "No image", "partition": "test"},
        {"title": "no id"},
        *extra,
    ]
    layer2 = [
        {"id": "r1", "images": [{"id": "abcd1.jpg", "url": "u"}, {"id": "gone.jpg"}]},
        {"id": "r2", "images": [{"id": "efgh2.jpg"}]},
        {"id": "r9"},
    ]
    (folder / "layer1.json").write_text(json.dumps(layer1, indent=1))
    (folder / "layer2.json").write_text(json.dumps(layer2))


def test_recipe1m_finds_nested_and_flat_images(pictures, read):
    folder = pictures("train/a/b/c/d/abcd1.jpg", "images/val/efgh2.jpg")
    recipe1m(folder)
    assert open_source(folder).format == "recipe1m"
    pairs, skipped = read(folder)
    assert [(pair.id, pair.split, len(pair.images)) for pair in pairs] == [
        ("r1", "train", 1),
        ("r2", "val", 1),
    ]
    assert pairs[0].texts == (
        Text("Soup", None, "title"),
        Text("water\nsalt", None, "ingredients"),
        Text("Boil.\nEat.", None, "instructions"),
    )
    assert pairs[0].meta == {"url": "http://example.org/r1"}
    assert sorted((entry.name, entry.reason) for entry in skipped) == [
        ("layer1.json recipe 3", Reason.BAD_ROW),
        ("layer2.json recipe 2", Reason.BAD_ROW),
        ("r1", Reason.MISSING),
    ]


def test_recipe1m_needs_both_layers_whole(pictures, read):
    folder = pictures("train/a/b/c/d/abcd1.jpg")
    recipe1m(folder)
    whole = (folder / "layer1.json").read_bytes()
    (folder / "layer1.json").write_bytes(whole[:-8])
    with pytest.raises(DataError, match=r"layer1\.json is broken after 3 elements"):
        read(folder)
    (folder / "layer2.json").unlink()
    with pytest.raises(DataError, match=r"no layer2\.json"):
        read(folder)


def test_recipe1m_classes_and_ingredient_names_beside_the_layers(pictures, read):
    folder = pictures("train/a/b/c/d/abcd1.jpg", "train/g/o/n/e/gone.jpg", "val/e/f/g/h/efgh2.jpg")
    recipe1m(folder)
    (folder / "classes.json").write_text(json.dumps({"r1": "soup", "r2": "background", "r7": "cake"}))
    names = [
        {"valid": [True, False], "id": "r1", "ingredients": [{"text": "water"}, {"text": "sea"}]},
        {"id": "r9", "ingredients": [{"text": "not in layer 2"}], "valid": [True]},
        {"ingredients": 3},
    ]
    (folder / "det_ingrs.json").write_text(json.dumps(names))
    pairs, skipped = read(folder, text_parts=("title,ingredient_names",))
    assert [(pair.group, len(pair.images)) for pair in pairs] == [("soup", 2), (None, 1)]
    assert [[text.value for text in pair.texts] for pair in pairs] == [["Soup\nwater"], ["Bread"]]
    assert "det_ingrs.json recipe 2" in [entry.name for entry in skipped]
    pairs, _ = read(folder, text_columns=("ingredient_names",))
    assert [text.value for pair in pairs for text in pair.texts] == ["water"]
    (folder / "det_ingrs.json").unlink()
    with pytest.raises(DataError, match=r"no det_ingrs\.json"):
        read(folder, text_columns=("ingredient_names",))


def test_recipe1m_text_parts_are_one_text(pictures, read):
    recipe1m(pictures("train/a/b/c/d/abcd1.jpg"))
    pairs, _ = read(pictures(), text_parts=("title", "ingredients", "instructions"))
    assert [text.value for text in pairs[0].texts] == ["Soup\nwater\nsalt\nBoil.\nEat."]


def test_recipe1m_plus_and_a_pickle_that_is_not_opened(pictures, read):
    folder = pictures("train/a/b/c/d/abcd1.jpg", "val/efgh2.jpg")
    recipe1m(folder)
    (folder / "layer2.json").rename(folder / "layer2+.json")
    (folder / "classes1M.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert open_source(folder / "layer2+.json").format == "recipe1m"
    for source in (folder, folder / "layer2+.json"):
        pairs, skipped = read(source)
        assert [(pair.id, pair.group) for pair in pairs] == [("r1", None), ("r2", None)]
        assert "classes1M.pkl" in [entry.name for entry in skipped]


@pytest.mark.parametrize("content", ["[1]", '{"r1": [1]}', "{"])
def test_recipe1m_classes_of_another_shape_are_refused(pictures, read, content):
    folder = pictures("train/a/b/c/d/abcd1.jpg")
    recipe1m(folder)
    (folder / "classes.json").write_text(content)
    with pytest.raises(DataError, match=r"classes\.json"):
        read(folder)


def test_an_id_of_two_images_and_unread_caption_files_of_coco_are_said(pictures):
    folder = pictures("0.jpg", "1.jpg")
    images = [{"id": 1, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg"}]
    captions = [{"image_id": 1, "caption": "a dog"}]
    for name in ("captions_val2014.json", "captions_val_de.json"):
        (folder / name).write_text(json.dumps({"images": images, "annotations": captions}))
    source = open_source(folder)
    assert [pair.id for pair in source] == ["0.jpg"]
    assert [(one.name, one.detail) for one in source.skipped] == [("1.jpg", "id 1 is taken by an earlier image")]
    assert [note.examples for note in source.notes if note.kind == "unread_table"] == [("captions_val_de.json",)]
