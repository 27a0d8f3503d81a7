"""Videos from a published layout to the end: training, evaluation, a library of moments, re-ranking, captions."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the [video] extra")
pytest.importorskip("torch", reason="the cross-encoder needs the [train] extra")

from diptych.cli.app import run
from diptych.core.protocols import Preprocess
from diptych.data.readers import open_source
from diptych.data.video import MomentPlan, VideoImage
from diptych.encoders.video import frames_tower
from diptych.library import Library
from diptych.models import load
from diptych.models.cross_encoder import load_trained_cross_encoder
from diptych.runs.reading import videos_note

from ..videos import film

COLOURS = ("red", "green", "blue", "yellow", "white")
SHOWN = tuple(itertools.permutations(COLOURS, 2))  # video 0 shows red and then green, ...
HELD_OUT = (0, 4, 10, 14)  # two colours in both orders, and two others
COPIES = 6  # of each video, so that an epoch has some steps
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """MSR-VTT: each video shows one colour and then another, some held out; and all as VATEX."""
    folder = tmp_path_factory.mktemp("films")
    videos, sentences = [], []
    for number, colours in enumerate(SHOWN):
        first = film(clip(folder, number), list(colours), rate=4, size=32)
        for copy in range(COPIES):
            name = f"video{number}-{copy}"
            if copy:
                os.link(first, folder / "videos" / f"{name}.mp4")
            videos.append({"video_id": name, "split": "validate" if number in HELD_OUT else "train"})
            sentences.append({"video_id": name, "caption": f"{colours[0]} and then {colours[1]}"})
    (folder / "msrvtt.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    rows = [{"videoID": one["video_id"], "enCap": [one["caption"]], "chCap": []} for one in sentences[::COPIES]]
    (folder / "vatex_validation.json").write_text(json.dumps(rows))
    parts = [row | {"videoID": f"{row['videoID']}_000000_000004"} for row in rows]
    (folder / "vatex.json").write_text(json.dumps(parts))  # parts of whole videos
    return folder


def clip(folder: Path, number: int) -> Path:
    return folder / "videos" / f"video{number}-0.mp4"


@pytest.fixture(scope="module")
def cross_encoder(films, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("video-run")
    settings = {
        "image.tower.name": "frames:fake-maps",
        "image.tower.count": 2,
        "vocabulary": 100,
        "network.width": 32,
        "network.layers": 1,
        "network.heads": 2,
        "network.region_keep": 1.0,
        "network.word_dropout": 0.0,
        "network.dropout": 0.0,
        "objective.label_smoothing": 0.0,
        "training.epochs": 5,
        "training.batch_size": 4,
        "training.learning_rate": 0.01,
        "training.precision": "32-true",
        "data.val": "val",
    }
    config, source = str(CONFIGS / "cross_encoder_video.toml"), str(films / "msrvtt.json")
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    assert run(["train", config, source, "--out", str(out), "--quiet", *options]) == 0
    return out / "model"


def told(capsys: Any, *command: object) -> Any:
    capsys.readouterr()
    assert run([*map(str, command), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_cross_encoder_reads_the_frames_in_their_order(films, cross_encoder):
    model = load_trained_cross_encoder(cross_encoder, precision="float32")
    assert model.token_shape == (2 * 16, 32)  # two frames of 4 x 4 regions
    trained = [number for number in range(len(SHOWN)) if number not in HELD_OUT]
    tokens = model.encode_images([clip(films, number) for number in trained])
    texts = [" and then ".join(SHOWN[number]) for number in trained]
    right = model.scores(tokens, texts).argmax(axis=1) == np.arange(len(trained))
    assert right.mean() > 0.8  # also of the two orders of two colours


def test_a_library_of_moments_is_re_ranked(films, cross_encoder, tiny_model, tmp_path, capsys):
    model = tiny_model(tmp_path / "tiny")
    library = tmp_path / "library"
    clips = [clip(films, number) for number in (1, 2, 3, 4)]
    made = told(capsys, "index", *clips, "--videos", "--library", library, "--model", model, "--moment-seconds", 4,
                "--reranker", cross_encoder)  # fmt: skip
    assert (made["added"], made["tokens"]["added"], made["tokens"]["skipped"]) == (4, 4, [])
    again = told(capsys, "rerank", "prepare", "--library", library, "--reranker", cross_encoder)
    assert (again["added"], again["known"]) == (0, 4)
    told(capsys, "rerank", "fit", films / "msrvtt.json", "--model", model, "--reranker", cross_encoder)
    text = " and then ".join(SHOWN[3])
    found = told(capsys, "search", text, "--library", library, "--rerank", 4, "--beta", 0)
    first = found["hits"][0]
    assert first["meta"]["video"].endswith(clips[2].name)
    assert "h + 0 cosine" in first["scored_by"]


@pytest.mark.parametrize("name", ["msrvtt.json", "vatex.json"])
def test_the_videos_of_a_source_are_indexed_with_their_texts(films, cross_encoder, tiny_model, tmp_path, capsys, name):
    model, library = tiny_model(tmp_path / "tiny"), tmp_path / "library"
    command = "index", films / name, "--library", library, "--model", model
    made = told(capsys, *command, "--reranker", cross_encoder)
    count = len(SHOWN) * COPIES if name == "msrvtt.json" else len(SHOWN)
    assert (made["added"], made["tokens"]["skipped"]) == (count, [])
    assert made["tokens"]["added"] == len(SHOWN)  # copies share theirs
    assert told(capsys, *command)["unchanged"] == count
    learnt = json.loads((model / "config.json").read_text()) | {"logit_scale": 10.0, "logit_bias": -5.0}
    (model / "config.json").write_text(json.dumps(learnt))  # it judges an image with a text; a video is several
    (row,) = Library.open(library).search("x", k=1)
    assert "probability" not in row.meta
    video = VideoImage(Path(row.path.partition("::")[0]), 0.0, 4.0)
    assert np.allclose(Library.open(library).vector_of(row.id), load(model).encode_images([video])[0], atol=2e-3)
    assert " and then " in row.meta["texts"][0]


def test_moments_and_whole_videos_are_described(films, cross_encoder, capsys):
    one = clip(films, 1)
    found = told(capsys, "caption", one, "--reranker", cross_encoder, "--moment-seconds", 2)["captions"]
    assert [each["path"] for each in found] == [f"{one}::0.000-2.000", f"{one}::2.000-4.000"]
    (whole,) = told(capsys, "caption", one, "--reranker", cross_encoder)["captions"]
    assert whole["text"].startswith("red and then")
    assert run(["caption", str(films / "no.mp4"), "--reranker", str(cross_encoder)]) == 3
    assert "no.mp4" in capsys.readouterr().err
    pytest.importorskip("sacrebleu", reason="needs the [captions] extra")
    scored = told(capsys, "caption", films / "msrvtt.json", "--split", "val", "--reranker", cross_encoder)
    assert len(scored["captions"]) == 4 * COPIES


def test_a_dual_encoder_is_trained_on_frames_and_evaluated(films, tiny_model, tmp_path, capsys):
    config = tmp_path / "video.toml"
    config.write_text(
        'name = "films"\nloss = "info_nce"\ndim = 16\n[image]\ntower = {name = "frames:fake", count = 2}\n'
        '[text]\ntower = "fake"\n[data]\nval = "val"\n[training]\nepochs = 1\nbatch_size = 16\n'
    )
    source = films / "msrvtt.json"
    made = told(capsys, "train", config, source, "--out", tmp_path / "run")
    assert "one_frame" not in [note["kind"] for note in made["notes"]]
    (note,) = videos_note(list(open_source(source)), Preprocess())
    assert (note.kind, note.count) == ("one_frame", len(SHOWN) * COPIES)
    held_out = source, "--split", "val", "--bootstrap", 0
    assert told(capsys, "eval", *held_out, "--model", made["model"])
    report = told(
        capsys, "eval", films / "vatex_validation.json", "--bootstrap", 0, "--model", tiny_model(tmp_path / "m")
    )
    assert report


@pytest.mark.parametrize("frames", [1, 2])
def test_the_vector_of_a_video_is_that_of_its_moment_in_a_library(films, tiny_model, tmp_path, frames):
    folder = tiny_model(tmp_path / "tiny")
    if frames > 1:
        config = json.loads((folder / "config.json").read_text())
        tower = frames_tower("fake", count=frames)
        config["image"] |= {"tower": tower.address, "options": {"count": frames}, "fingerprint": tower.fingerprint}
        config["image"]["preprocess"] = tower.preprocess.stated()
        (folder / "config.json").write_text(json.dumps(config))
    model = load(folder)
    videos = [clip(films, number) for number in (0, 7)]
    library = Library.create(tmp_path / "library", model)
    library.index_videos(videos, plan=MomentPlan(4))
    found = model.encode_images(videos)
    for hit in library.search("x", k=2):
        video = [video.name for video in videos].index(Path(hit.meta["video"]).name)
        assert np.allclose(library.vector_of(hit.id), found[video], atol=2e-3)
