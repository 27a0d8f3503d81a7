"""The doctor on small sources with known illnesses."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diptych.core.errors import ConfigError, DataError
from diptych.data.doctor import check
from diptych.data.images import ImageLimits
from diptych.data.readers import SourceOptions, open_source


def drawing(seed, size=(96, 80)):
    """Big blobs: unlike noise, they survive scaling and saving again."""
    generator = np.random.default_rng(seed)
    picture = Image.new("RGB", size, tuple(generator.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for _ in range(12):
        left, top = generator.uniform(-0.2, 0.8, 2) * size
        width, height = generator.uniform(0.1, 0.5, 2) * size
        pen.ellipse((left, top, left + width, top + height), fill=tuple(generator.integers(0, 256, 3).tolist()))
    return picture


def jpeg(picture, quality=90):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


@pytest.fixture
def collection(tmp_path):
    """`collection([(file name, bytes or None, split, captions), ...])` -> Source over a JSONL table."""

    def build(rows, **options):
        lines = []
        for name, content, split, captions in rows:
            if content is not None:
                (tmp_path / name).write_bytes(content)
            lines.append(json.dumps({"image": name, "split": split, "captions": captions}))
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
        return open_source(tmp_path / "t.jsonl", SourceOptions(**options))

    return build


def healthy():
    return [
        (f"{seed}.jpg", jpeg(drawing(seed)), "train" if seed < 8 else "val", [f"the drawing number {seed}"])
        for seed in range(12)
    ]


def kinds(report):
    return sorted(problem.kind for problem in report.problems)


def test_a_healthy_source(collection):
    report = check(collection(healthy()))
    assert (report.pairs, report.images, report.texts) == (12, 12, 12)
    assert report.splits == {"train": 8, "val": 4}
    assert report.languages == {"en": 12}
    assert report.languages_guessed == 12
    assert report.misleading == []
    assert kinds(report) == []
    assert "nothing here would mislead" in report.to_text()


def test_duplicates_across_and_within_splits_are_told_apart(collection):
    rows = healthy()
    scaled = jpeg(drawing(1).resize((60, 50)), quality=60)
    rows += [
        ("copy.jpg", rows[0][1], "val", ["same bytes as 0 in train"]),
        ("scaled.jpg", scaled, "test", ["looks like 1 in train"]),
        ("twin.jpg", rows[8][1], "val", ["same bytes as 8 in val"]),
        ("sibling.jpg", jpeg(drawing(2), quality=50), "train", ["looks like 2 in train"]),
    ]
    report = check(collection(rows))
    found = report.duplicates
    assert (found.identical_across, found.near_across, found.identical_within, found.near_within) == (2, 2, 2, 2)
    named = {(problem.kind, problem.name.rsplit("/", 1)[-1]) for problem in report.problems}
    assert ("identical_across_duplicate", "copy.jpg") in named
    assert ("near_across_duplicate", "scaled.jpg") in named
    assert ("identical_within_duplicate", "twin.jpg") in named
    assert ("near_within_duplicate", "sibling.jpg") in named
    assert sum("another split" in reason for reason in report.misleading) == 2
    assert "2 identical across splits" in report.to_text()


def test_one_file_in_two_splits_is_read_once_and_is_a_leak(collection):
    rows = [*healthy(), ("3.jpg", None, "val", ["once more"])]
    report = check(collection(rows))
    assert (report.images, report.duplicates.identical_across, report.repeated_ids) == (12, 2, 0)
    assert any("identical to one in another split" in reason for reason in report.misleading)


def test_texts_of_several_pairs_are_told_apart_as_images_are(collection):
    rows = healthy()
    for place in (0, 1, 2):  # train
        rows[place] = (*rows[place][:3], ["a photo", "a photo"])
    for place in (3, 8):  # train and val
        rows[place] = (*rows[place][:3], ["a dog"])
    report = check(collection(rows))
    assert (report.texts_within, report.texts_across) == (3, 2)
    assert [problem.kind for problem in report.problems] == ["shared_text"] * 3
    assert "2 texts across splits, 3 texts of several pairs" in report.to_text()
    rows[4] = (*rows[4][:3], ["a photo"])
    report = check(collection(rows))
    assert report.misleading == ["4 texts are in more than one pair: a right answer will count as wrong"]


def test_names_of_classes_are_meant_to_repeat(tmp_path):
    for number in range(4):
        path = tmp_path / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg(drawing(number)))
    report = check(open_source(tmp_path))
    assert (report.format, report.texts_within, report.distinct_texts, report.misleading) == ("classes", 0, 2, [])


def test_repeated_ids_are_said_where_the_source_gives_them(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(drawing(number)))
    (tmp_path / "t.csv").write_text("id,image,caption\n1,0.jpg,one\n1,1.jpg,two\n2,2.jpg,three\n")
    report = check(open_source(tmp_path / "t.csv"))
    assert report.repeated_ids == 1
    assert report.misleading == ["1 pair has the id of another: an id does not say which is meant"]
    assert [note.kind for note in report.notes] == ["repeated_id"]


def test_pairs_without_a_split_are_no_leak(collection):
    rows = [*healthy(), ("copy.jpg", jpeg(drawing(0)), None, ["no split"])]
    report = check(collection(rows))
    assert report.duplicates.identical_across == 0
    assert report.misleading == []


def test_bad_images_are_counted_by_reason(collection):
    whole = jpeg(drawing(50))
    rows = [
        *healthy(),
        ("cut.jpg", whole[: len(whole) // 2], "train", ["cut"]),
        ("page.jpg", b"<html>not here</html>", "train", ["page"]),
        ("large.jpg", jpeg(drawing(51, (400, 400))), "train", ["large"]),
        ("dot.png", jpeg(drawing(52, (20, 90))), "train", ["tiny"]),
        ("flat.jpg", jpeg(Image.new("RGB", (64, 64), "red")), "train", ["flat"]),
        ("flat2.jpg", jpeg(Image.new("RGB", (64, 64), "blue")), "val", ["flat, but no duplicate"]),
        ("gone.jpg", None, "train", ["gone"]),
    ]
    report = check(collection(rows), limits=ImageLimits(max_pixels=100_000))
    assert report.unreadable == {"truncated": 1, "not_an_image": 1, "too_large": 1}
    assert (report.tiny, report.blank, report.left_out) == (1, 2, {"missing": 1})
    assert report.duplicates.near_across == 0
    assert kinds(report) == ["blank", "blank", "missing", "not_an_image", "tiny", "too_large", "truncated"]
    assert any("cannot be read" in reason for reason in report.misleading)


def test_texts_are_counted_and_long_ones_found(collection):
    rows = healthy()
    rows[0] = (*rows[0][:3], ["one two three four five", "ein Hund und eine Katze", ""])
    rows[1] = (*rows[1][:3], [])
    asked = []

    def count_words(texts):
        asked.extend(texts)
        return [len(text.split()) for text in texts]

    report = check(collection(rows), count_tokens=count_words, max_tokens=4)
    assert report.pairs_without_text == 1
    assert report.left_out == {"empty_text": 2}
    assert report.languages["de"] == 1
    assert report.texts_cut == 2
    assert report.problems[-1].detail.startswith("5 tokens, the limit is 4")
    assert any("of the texts are cut" in reason for reason in report.misleading) == (0.2 * report.texts < 2)
    assert len(asked) == report.texts
    assert check(collection(rows), count_tokens=count_words, max_tokens=None).texts_cut is None


def test_short_texts_need_no_tokenizer(collection):
    def refuse(texts):
        raise AssertionError(texts)

    assert check(collection(healthy()), count_tokens=refuse, max_tokens=40).texts_cut == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: (*row[:3], []), "no texts at all"),
        (lambda row: (*row[:3], ["a picture"]), "all texts are the same"),
        (lambda row: (*row[:2], "train", row[3]), "the val split is empty"),
        (lambda row: (*row[:2], "val", row[3]), "no train split"),
        (lambda row: (row[0], healthy()[0][1], "train", row[3]), "in more than one pair"),
    ],
)
def test_what_would_mislead(collection, change, reason):
    report = check(collection([change(row) for row in healthy()]))
    assert any(reason in found for found in report.misleading), report.misleading
    assert reason in report.to_text()


def test_asking_for_one_split_does_not_miss_the_other(collection):
    assert check(collection(healthy(), split="train")).misleading == []


def test_a_single_class_misleads(tmp_path):
    for seed in range(3):
        (tmp_path / "owl").mkdir(exist_ok=True)
        (tmp_path / "owl" / f"{seed}.jpg").write_bytes(jpeg(drawing(seed)))
    report = check(open_source(tmp_path, SourceOptions(format="classes")))
    assert "all pairs are of a single class" in report.misleading


def test_the_report_is_json_and_the_settings_are_checked(collection, tmp_path):
    source = collection(healthy())
    content = json.loads(json.dumps(check(source).to_json()))
    assert content["pairs"] == 12
    assert content["misleading"] == []
    for wrong in ({"near": 16}, {"near": -1}, {"workers": 0}):
        with pytest.raises(ConfigError):
            check(source, **wrong)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.md").write_text("?")
    with pytest.raises(DataError, match="holds no images"):
        check(open_source(tmp_path / "none"))


def test_sources_of_texts_only_are_counted_by_sides_and_labels(tmp_path):
    (tmp_path / "t.csv").write_text("query,document,label\na,b,1\na,c,0\nd,b,0\n")
    report = check(open_source(tmp_path / "t.csv"))
    assert (report.pairs, report.queries, report.documents, report.queries_unrelated) == (2, 2, 2, 1)
    assert report.texts == 4
    assert report.labels == {"0": 2, "1": 1}
    assert report.misleading == ["50 % of the queries have no related document"]
    text = report.to_text()
    assert "images      none: texts only" in text
    assert "sides       2 queries, 1 of them without a related document, 2 different documents" in text
    (tmp_path / "t.csv").write_text("query,document,label\na,b,1\nc,b,1\n")
    report = check(open_source(tmp_path / "t.csv"))
    assert report.misleading == ["there is a single document: nothing to tell apart"]
    assert "labels      1 2; all are the same, so a loss on labels has no negatives" in report.to_text()
    (tmp_path / "t.csv").write_text("text\na\nb\n")
    report = check(open_source(tmp_path / "t.csv", SourceOptions(texts_only=True)))
    assert report.misleading == ["no record has two texts, and there are no images: nothing belongs together"]
