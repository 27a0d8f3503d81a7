"""Recall before and after a training: the right numbers, kept, in the card, and refused where it means nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs the [train] extra")

import diptych
from diptych import runs
from diptych.core.errors import ConfigError, DataError
from diptych.data.readers import open_source
from diptych.runs import before_after


def tuned(small: Any, init: Path, **data: Any) -> Any:
    sides = {side: runs.SideSettings(runs.config.Part("fake")) for side in ("image", "text")}
    config = small(init=str(init), dim=0, **sides)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, **data),
        training=dataclasses.replace(config.training, epochs=1),
    )


@pytest.fixture
def second(shapes: Path, tmp_path: Path) -> Path:
    """Other texts for the same images; some records are a test split."""
    lines = []
    for number, file in enumerate(sorted(shapes.parent.glob("*-40.png"))):
        split = "test" if number % 2 else "train"
        lines.append({"image": str(file), "text": f"drawing {file.stem.replace('-', ' ')}", "split": split})
    path = tmp_path / "second.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recall(model: Any, source: Path, split: str) -> list[float]:
    report = diptych.evaluate(model, str(source), split=split)
    ways = (report.image_to_text, report.text_to_image)
    return [100 * way[f"R@{cut}"] for way in ways for cut in (1, 5, 10)]


def test_both_models_are_measured_on_both_sources(
    small: Any, small_model: Path, shapes: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tuned(small, small_model, also=(str(second),))
    run = runs.train(config, str(shapes), tmp_path / "run", device="cpu")
    assert [each.source for each in run.before_after] == ["validation", "second.jsonl"]
    assert [each.records for each in run.before_after] == [10, 7]
    for found, source, split in zip(run.before_after, (shapes, second), ("val", "test"), strict=True):
        assert list(found.rows) == ["before", "after"]
        for label, model in (("before", small_model), ("after", run.model_folder)):
            wanted = recall(model, source, split)
            assert [*found.rows[label].values()][:-1] == pytest.approx(wanted, abs=0.01)
            assert found.rows[label]["rsum"] == pytest.approx(sum(wanted), abs=0.05)
    model = diptych.load(run.model_folder)
    assert model.config.training["before_after"] == json.loads(json.dumps(run.to_json()["before_after"]))
    card = (run.model_folder / "README.md").read_text()
    assert card.count("## Before and after") == 1
    assert f"| after | {run.before_after[1].rows['after']['i2t R@1']:.1f} |" in card
    fingerprint = model.fingerprint

    # the same command later measures nothing again, and the model stays
    measured: list[Any] = []
    plain = before_after.measure_recalls
    monkeypatch.setattr(
        before_after, "measure_recalls", lambda *given, **how: measured.append(given) or plain(*given, **how)
    )
    again = runs.train(config, str(shapes), tmp_path / "run", device="cpu")
    assert not measured
    assert again.before_after == run.before_after
    assert diptych.load(run.model_folder).fingerprint == fingerprint
    # a further source changes nothing of the training, and only it is measured
    more = runs.train(config, str(shapes), tmp_path / "run", also=[second], device="cpu")
    assert [each.source for each in more.before_after] == ["validation", "second.jsonl #1", "second.jsonl #2"]
    assert len(measured) == 2


def test_other_images_under_the_same_ids_are_measured_again(small_model: Path, shapes: Path, tmp_path: Path) -> None:
    model, pairs = diptych.load(small_model), list(open_source(shapes))[:12]
    moved = [dataclasses.replace(pair, images=pairs[place - 1].images) for place, pair in enumerate(pairs)]
    found = []
    for own in (pairs, moved):
        source = before_after.validation_sources(own, "val")[0]
        (measured,) = before_after.before_after({"before": model}, [source], tmp_path)
        found.append(measured.rows["before"]["rsum"])
    assert found[0] > found[1]


def test_a_run_from_nothing_has_no_before(small: Any, shapes: Path, second: Path, tmp_path: Path) -> None:
    config = small(training=dataclasses.replace(small().training, epochs=1))
    run = runs.train(config, str(shapes), tmp_path / "run", device="cpu")
    assert run.before_after == ()
    assert not (tmp_path / "run" / before_after.FILE).exists()
    run = runs.train(config, str(shapes), tmp_path / "run", also=[second], device="cpu")
    assert [list(each.rows) for each in run.before_after] == [["after"], ["after"]]


def test_records_held_out_of_training_are_measured_as_they_are(small: Any, shapes: Path, tmp_path: Path) -> None:
    first = runs.train(small(), str(shapes), tmp_path / "first", device="cpu")
    config = tuned(small, first.model_folder, val="held-out", val_share=0.3)
    run = runs.train(config, str(shapes), tmp_path / "run", device="cpu")
    (found,) = run.before_after
    held_out = json.loads((run.model_folder / "config.json").read_text())["training"]["data"]["val"]
    assert (found.source, found.records, list(found.rows)) == ("validation", held_out, ["before", "after"])


def test_an_older_run_resumes_without_the_new_key(small: Any) -> None:
    assert "also" not in small().identity()["data"]
    config = small()
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, also=("elsewhere.csv",)))
    assert other.identity() == config.identity()
    assert other.without_paths()["data"]["also"] == []


def test_all_records_are_taken_where_there_is_no_test_split(shapes: Path, second: Path) -> None:
    assert len(list(before_after.further_source(str(second)))) == 7
    assert len(list(before_after.further_source(str(shapes)))) == len(list(open_source(str(shapes))))


def test_wrong_sources_are_refused_before_training(
    small: Any, small_cross_encoder: Any, small_model: Path, shapes: Path, tmp_path: Path
) -> None:
    config = tuned(small, small_model, also=(str(tmp_path / "no-such.csv"),))
    with pytest.raises(DataError, match="no-such"):
        runs.train(config, str(shapes), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"data\.also has no effect on a cross-encoder"):
        runs.train(small_cross_encoder(), str(shapes), tmp_path / "run", also=[shapes], device="cpu")
