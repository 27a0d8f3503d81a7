"""Whatever the bytes of a source are: pairs and skipped inputs that UTF-8 can hold, or a DiptychError of one line."""

import gzip
import io
import json
import random
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.core.errors import DiptychError
from diptych.data.readers import open_source

INSERTIONS = [
    b"\0",
    b'"',
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\n",
    b"[",
    b"{",
    b"null",
    b"1e999",
    b"\xff\xfe",
    b"/" * 300,
]


def tar_bytes():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for key in ("0", "1", "long" * 40):
            for kind, content in (("jpg", b"x" * 700), ("txt", b"dog"), ("json", b'{"caption": "a"}'), ("cls", b"1")):
                info = tarfile.TarInfo(f"{key}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def parquet_bytes():
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": ["a.jpg"] * 5, "caption": ["x"] * 5}), stream)
    return stream.getvalue()


def healthy():
    recipe = {"id": "r", "title": "t", "ingredients": ["a", "b"], "instructions": ["x"], "images": ["a.jpg"]}
    layer1 = {"id": "r", "title": "t", "ingredients": [{"text": "a"}], "instructions": [], "partition": "train"}
    photo = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "x"}]}
    return {
        "t.tar": tar_bytes(),
        "t.tar.gz": gzip.compress(tar_bytes(), mtime=0),
        "t.parquet": parquet_bytes(),
        "t.csv": b'image,caption,split\na.jpg,"dog, ""big""",train\na.jpg,cat,dev\n' * 3,
        "t.tsv": b"image\tcaption\na.jpg\tdog\n" * 4,
        "t.jsonl": b'{"image": "a.jpg", "en": "dog", "de_independent": ["a", "b"], "split": "dev", "id": 3}\n' * 4,
        "recipes.jsonl": json.dumps(recipe).encode(),
        "dataset_k.json": json.dumps({"images": [photo] * 3}).encode(),
        "captions.token.txt": b"a.jpg#0\tdog\na.jpg#1\tcat\n",
        "layer1.json": json.dumps([layer1] * 3).encode(),
    }


def damaged(content, generator):
    for _ in range(generator.randint(1, 6)):
        place = generator.randrange(len(content) + 1)
        action = generator.choice(["flip", "insert", "delete", "cut"])
        if action == "insert":
            content = content[:place] + generator.choice(INSERTIONS) + content[place:]
        elif action == "cut":
            content = content[:place]
        else:
            gone = 1 if action == "flip" else generator.randint(1, 40)
            middle = bytes([generator.randrange(256)]) if action == "flip" else b""
            content = content[:place] + middle + content[place + gone :]
    return content


def outcome(path):
    """All that the source says, a line for each thing."""
    try:
        source = open_source(path)
        pairs = list(source)
        source.fingerprint()
    except DiptychError as error:
        return [str(error)]
    records = [[pair.id, pair.split, pair.group, pair.texts, dict(pair.meta)] for pair in pairs]
    lines = [json.dumps(record, ensure_ascii=False, default=str) for record in records]
    return lines + [f"{entry.name}: {entry.detail}" for entry in source.skipped]


@pytest.mark.parametrize("name", healthy())
def test_damage_is_skipped_or_refused(tmp_path, name):
    generator = random.Random(name)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"x")
    (tmp_path / "layer2.json").write_text('[{"id": "r", "images": [{"id": "a.jpg"}]}]')
    (tmp_path / name).write_bytes(healthy()[name])
    assert list(open_source(tmp_path / name))
    for _ in range(60):
        (tmp_path / name).write_bytes(damaged(healthy()[name], generator))
        for line in outcome(tmp_path / name):
            line.encode()
            assert "\n" not in line
