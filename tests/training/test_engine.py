"""The engine: exact resumes, early stopping, and refusals that lose nothing."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.errors import ConfigError, ModelError  # noqa: E402
from diptych.encoders.half_precision import Half  # noqa: E402
from diptych.training import checkpoints, distributed  # noqa: E402
from diptych.training.engine import BEST, LAST, RUN_FILES, DivergedError, accelerator  # noqa: E402

from .pair_run import PairRun  # noqa: E402
from .toy_run import Toy  # noqa: E402

SCRIPT = Path(__file__).parent / "toy_run.py"


class Said:
    """Progress that prints what is said."""

    def track(self, items: Iterable[Any], label: str, total: int | None = None) -> Iterator[Any]:
        yield from items

    def say(self, message: str) -> None:
        print(message)


def weights(folder: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    return dict(checkpoints.read(folder / name).module)


def same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def log(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    Toy(folder).fit()
    return folder


def test_a_run_learns_and_leaves_its_records(whole: Path) -> None:
    rows = log(whole)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0].keys() == {"epoch", "loss", "score", "other", "temperature", "learning_rate"}
    assert {path.name for path in whole.iterdir()} == {*RUN_FILES, "tensorboard"}


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(whole: Path, tmp_path: Path) -> None:
    Toy(tmp_path / "again").fit()
    Toy(tmp_path / "other", seed=1).fit()
    assert same(weights(whole), weights(tmp_path / "again"))
    assert not same(weights(whole), weights(tmp_path / "other"))


@pytest.mark.parametrize("calls", [1, 2, 4, 5])
def test_interrupted_in_validation_it_goes_on_to_the_very_same_weights(whole: Path, tmp_path: Path, calls: int) -> None:
    broken = Toy(tmp_path)
    validate = broken.trainer.validate

    def interrupted() -> Mapping[str, float]:
        if broken.validated == calls - 1:
            raise KeyboardInterrupt
        return validate()

    broken.trainer.validate = interrupted
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    resumed = Toy(tmp_path)
    if calls > 1:
        torch.manual_seed(12345)  # the checkpoint knows the random state
    result = resumed.fit()
    assert resumed.validated == 5 - (calls - 1)
    assert same(weights(whole), weights(tmp_path))
    assert same(weights(whole, BEST), weights(tmp_path, BEST))
    assert same(weights(whole, BEST), resumed.module.state_dict())
    assert log(whole) == log(tmp_path)
    assert result.epochs == 5


@pytest.mark.parametrize("stop", [1, 9, 17])
def test_interrupted_within_an_epoch_too(whole: Path, tmp_path: Path, stop: int) -> None:
    broken = Toy(tmp_path)
    step = broken.trainer.objective.step

    def interrupted(rows: Any) -> torch.Tensor:
        if broken.steps == stop:
            raise KeyboardInterrupt
        return step(rows)

    broken.trainer.objective.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    Toy(tmp_path).fit()
    assert same(weights(whole), weights(tmp_path))
    assert log(whole) == log(tmp_path)


def test_killed_at_a_random_moment_it_still_ends_with_the_very_same_weights(whole: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path), "0.05"])
    until = time.monotonic() + 100
    while not (tmp_path / LAST).exists() and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.5))
    process.kill()
    assert process.wait() == -9
    assert 1 <= checkpoints.read(tmp_path / LAST).facts["epoch"] < 5
    Toy(tmp_path).fit()
    assert same(weights(whole), weights(tmp_path))
    assert same(weights(whole, BEST), weights(tmp_path, BEST))
    assert log(whole) == log(tmp_path)


def test_a_finished_run_is_not_trained_again(whole: Path) -> None:
    again = Toy(whole)
    result = again.fit()
    assert (again.steps, again.validated) == (0, 0)
    assert same(weights(whole, BEST), again.module.state_dict())
    assert [row["epoch"] for row in result.rows] == [1, 2, 3, 4, 5]


def test_another_config_or_data_is_refused_with_what_differs(whole: Path) -> None:
    before = weights(whole)
    other = Toy(whole, identity={"seed": 3, "config": {"epochs": 9, "dim": 4}})
    with pytest.raises(ConfigError) as caught:
        other.fit()
    message = str(caught.value)
    assert "config.dim: None -> 4; config.epochs: 5 -> 9; seed: 0 -> 3" in message
    assert "--fresh" in message
    assert same(before, weights(whole))


def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"half of some")
    with pytest.raises(ModelError, match=r"last\.safetensors is not a checkpoint of ours"):
        Toy(tmp_path).fit()
    assert (tmp_path / LAST).read_bytes() == b"half of some"


@pytest.mark.parametrize(("value", "spoilt"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, value: float, spoilt: str
) -> None:
    run = Toy(tmp_path)
    step = run.trainer.objective.step
    run.trainer.objective.step = lambda rows: step(rows) * (value if run.steps == 10 else 1.0)
    with pytest.raises(DivergedError, match=f"the loss is {spoilt} in epoch 3, batch 2 of 4; .*lower learning_rate"):
        run.fit()
    found = checkpoints.read(tmp_path / LAST)
    assert found.facts["epoch"] == 2
    assert all(torch.isfinite(value).all() for value in found.module.values())


def test_weights_that_are_no_numbers_never_reach_a_checkpoint(tmp_path: Path) -> None:
    run = Toy(tmp_path)
    step = run.trainer.objective.step

    def spoilt(rows: Any) -> torch.Tensor:
        if run.steps == 7:  # the last of epoch 2: a finite loss with an endless gradient
            run.steps += 1
            zero = run.module[0].weight[0, 0] * 0
            return zero.sqrt()
        return step(rows)

    run.trainer.objective.step = spoilt
    with pytest.raises(DivergedError, match=r"the gradient is (nan|inf) in epoch 2, batch 4 of 4"):
        run.fit()
    found = checkpoints.read(tmp_path / LAST)
    assert found.facts["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in found.module.values())


def scored(toy: Any, scores: list[float]) -> Any:
    toy.trainer.validate = lambda: {"score": scores.pop(0)}
    return toy


def test_patience_counts_epochs_without_a_better_score(tmp_path: Path) -> None:
    scores = [1.0, 3.0, 2.0, 3.0, 9.0]
    result = scored(Toy(tmp_path, patience=2), scores).fit()
    assert (result.epochs, result.best_epoch, result.best_score) == (4, 2, 3.0)
    assert scores == [9.0]
    assert checkpoints.read(tmp_path / BEST).facts["epoch"] == 2
    again = scored(Toy(tmp_path, patience=2), [])
    assert again.fit().epochs == 4  # it had stopped, and stays so
    assert again.steps == 0


def test_an_epoch_whose_score_is_no_number_is_never_the_best_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nan = float("nan")
    run = scored(Toy(tmp_path, progress=Said()), [nan, 5.0, nan, float("inf"), 2.0])
    result = run.fit()
    assert (result.best_epoch, result.best_score, result.unscored) == (2, 5.0, 3)
    assert same(run.module.state_dict(), weights(tmp_path, BEST))
    assert [row["score"] for row in log(tmp_path)] == [None, 5.0, None, None, 2.0]
    assert "epoch 1: the validation score is nan, not a number" in capsys.readouterr().out
    assert scored(Toy(tmp_path), []).fit().unscored == 3  # a run that goes on knows it too


def test_a_run_without_any_score_says_so_and_makes_no_model(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"the validation score was not a number in any of 5 epochs.*last weights"):
        scored(Toy(tmp_path), [float("nan")] * 5).fit()
    assert (tmp_path / LAST).exists()
    assert not (tmp_path / BEST).exists()


def test_auto_says_what_it_chose_and_a_run_that_goes_on_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(quicker: bool, why: str) -> None:
        monkeypatch.setattr(distributed, "half_on", lambda device: Half(quicker, why))

    here(True, "the CPU has units")
    begun = Toy(tmp_path, precision="auto", progress=Said())
    begun.trainer.validate = interrupt_at(begun, 2)
    with pytest.raises(KeyboardInterrupt):
        begun.fit()
    assert "precision bf16-mixed: the CPU has units" in capsys.readouterr().out
    here(False, "the CPU has none")
    result = Toy(tmp_path, precision="auto", progress=Said()).fit()
    said = capsys.readouterr().out
    assert (
        "precision bf16-mixed: the run to resume was started in it; here it would be 32-true: the CPU has none" in said
    )
    assert (result.precision, result.epochs) == ("bf16-mixed", 5)
    fresh = Toy(tmp_path / "fresh", precision="auto", progress=Said(), epochs=1).fit()
    assert fresh.precision == "32-true"
    assert "precision 32-true: the CPU has none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "goes_on"), [("bf16-mixed", "auto", True), ("auto", "32-true", True), ("auto", "bf16-mixed", False)]
)
def test_auto_and_what_it_stood_for_are_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, goes_on: bool
) -> None:
    monkeypatch.setattr(distributed, "half_on", lambda device: Half(False, "no units"))

    def run(precision: str) -> Any:
        identity = {"config": {"training": {"precision": precision}}}
        return Toy(tmp_path, precision=precision, epochs=1, identity=identity)

    run(old).fit()
    if goes_on:
        assert run(new).fit().epochs == 1
    else:
        with pytest.raises(ConfigError, match="precision: 'auto' -> 'bf16-mixed'"):
            run(new).fit()


def interrupt_at(run: Any, epoch: int) -> Any:
    """A validation that is interrupted there."""
    plain = run.trainer.validate

    def validate() -> Mapping[str, float]:
        if run.validated == epoch:
            raise KeyboardInterrupt
        return plain()

    return validate


def test_a_chunk_where_nothing_is_contrasted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.chunk = 4 cuts the embeddings of a contrastive batch"):
        Toy(tmp_path, chunk=4)


def test_without_patience_it_runs_to_the_end_and_gives_back_the_best(tmp_path: Path) -> None:
    run = scored(Toy(tmp_path), [1.0, 5.0, 4.0, 3.0, 2.0])
    result = run.fit()
    assert (result.epochs, result.best_epoch) == (5, 2)
    assert same(run.module.state_dict(), weights(tmp_path, BEST))
    assert not same(weights(tmp_path), weights(tmp_path, BEST))


def test_the_rate_follows_the_schedule_through_all_epochs(tmp_path: Path) -> None:
    run = Toy(tmp_path, warmup=0.2)
    step, rates = run.trainer.objective.step, []

    def watched(rows: Any) -> torch.Tensor:
        rates.extend({group["lr"] for group in run.trainer.optimiser.param_groups})
        return step(rows)

    run.trainer.objective.step = watched
    run.fit()
    assert rates == pytest.approx([run.trainer.settings.rate_at(number, 20) for number in range(20)])


def test_gradients_are_clipped(tmp_path: Path) -> None:
    run = Toy(tmp_path, clip=1e-3, epochs=1)
    step, norms = run.trainer.optimiser.step, []

    def watched(*arguments: Any) -> Any:
        norms.append(float(torch.cat([p.grad.flatten() for p in run.module.parameters()]).norm()))
        return step(*arguments)

    run.trainer.optimiser.step = watched
    run.fit()
    assert max(norms) <= 1.01e-3


def test_only_matrices_decay(tmp_path: Path) -> None:
    matrices, others = Toy(tmp_path, weight_decay=0.1).trainer.optimiser.param_groups
    assert {p.ndim for p in matrices["params"]} == {2}
    assert {p.ndim for p in others["params"]} == {1}
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:0", "gpu", ""])
def test_unknown_devices(device: str) -> None:
    with pytest.raises(ConfigError, match="unknown device"):
        accelerator(device)


def test_devices_that_are_not_here() -> None:
    with pytest.raises(ConfigError, match=r"'cuda:99' is not here: found \d+ CUDA devices"):
        accelerator("cuda:99")
    assert accelerator("cpu") == ("cpu", 1)
    assert accelerator("auto") == (("cuda", 1) if torch.cuda.is_available() else ("cpu", 1))


def test_the_records_of_a_batch_that_diverged_are_named(tmp_path: Path) -> None:
    run = PairRun(
        tmp_path,
        loss={"name": "info_nce"},
        settings={"accumulate": 2},
        name_rows=lambda rows: [f"record-{owner}" for owner in rows.owner],
    )
    run.module.images[11] = torch.nan
    with pytest.raises(DivergedError, match=r"the loss is nan in epoch 1, batch \d of 5; its records: .*and 7 more"):
        run.fit()
    assert all(torch.isfinite(value).all() for value in run.module.parameters())  # the bad step was not taken


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_in_mixed_precision_it_learns_and_resumes_exactly(tmp_path: Path, precision: str) -> None:
    how = {"precision": precision, "checkpoint_steps": 1, "clip": 1.0}
    whole = PairRun(tmp_path / "whole", loss={"name": "info_nce"}, settings=how, dropout=0.2)
    whole.fit()
    rows = log(tmp_path / "whole")
    assert rows[-1]["loss"] < rows[0]["loss"]
    broken = PairRun(tmp_path / "broken", loss={"name": "info_nce"}, settings=how, dropout=0.2)
    embed, calls = broken.embed, []

    def interrupted(batch: Any) -> Any:
        calls.append(batch)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return embed(batch)

    broken.trainer.objective.embed = interrupted
    with pytest.raises(KeyboardInterrupt):
        broken.fit()
    facts = checkpoints.read(tmp_path / "broken" / LAST).facts
    assert (facts["epoch"], facts["batch"]) == (1, 3)
    assert (facts["scaler"] is not None) == (precision == "16-mixed")
    PairRun(tmp_path / "broken", loss={"name": "info_nce"}, settings=how, dropout=0.2).fit()
    for name in (LAST, BEST):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "broken", name))


def test_16_bit_steps_that_overflow_are_skipped_and_the_scale_falls(tmp_path: Path) -> None:
    run = PairRun(tmp_path, loss={"name": "info_nce"}, settings={"precision": "16-mixed", "epochs": 1})
    scaler = run.trainer._scaler
    scaler._init_scale = 2.0**40  # far beyond what 16 bits hold
    before = {name: value.clone() for name, value in run.module.named_parameters()}
    run.fit()
    assert scaler.get_scale() == 2.0**35  # halved at each of the 5 steps
    assert all(torch.equal(value, before[name]) for name, value in run.module.named_parameters())
    lines = (tmp_path / "steps.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["gradient_norm"] is None


def test_16_bits_that_never_work_stop_the_run(tmp_path: Path) -> None:
    run = PairRun(tmp_path, loss={"name": "info_nce"}, settings={"precision": "16-mixed"})
    run.trainer._scaler._init_scale = 2.0**-11
    with pytest.raises(DivergedError, match="not a number at any scale in epoch 1"):
        run.fit()


def test_accumulated_batches_make_one_step_of_their_mean(tmp_path: Path) -> None:
    run = Toy(tmp_path, accumulate=3, epochs=1)  # 4 batches: a step of 3, and one of 1
    step, steps, gradients = run.trainer.optimiser.step, [], []
    weight = run.module[0].weight

    def taken(*arguments: Any) -> Any:
        steps.append(weight.grad.clone())
        return step(*arguments)

    inner = run.trainer.objective.step

    def watched(rows: Any) -> torch.Tensor:
        loss = inner(rows)
        gradients.append(torch.autograd.grad(loss, weight, retain_graph=True)[0])
        return loss

    run.trainer.optimiser.step = taken
    run.trainer.objective.step = watched
    run.fit()
    assert len(steps) == 2
    torch.testing.assert_close(steps[0], sum(gradients[:3]) / 3)
    torch.testing.assert_close(steps[1], gradients[3])


def test_how_often_it_writes_may_change_between_runs(tmp_path: Path) -> None:
    loss = {"name": "info_nce"}
    PairRun(tmp_path, loss=loss, settings={"log_steps": 2}).fit()
    again = PairRun(tmp_path, loss=loss, settings={"log_steps": 3, "checkpoint_minutes": 1.0, "tensorboard": False})
    assert again.fit().epochs == 3
    with pytest.raises(ConfigError, match=r"settings\.clip: None -> 1\.0"):
        PairRun(tmp_path, loss=loss, settings={"clip": 1.0}).fit()


def test_checkpoints_within_an_epoch_come_by_the_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    table = checkpoints.Timer(minutes=5, steps=0)
    now = 299.0
    assert not table.due()
    now = 300.0
    assert table.due()
    table.restart()
    assert not table.due()
    never = checkpoints.Timer(minutes=0, steps=0)
    now = 1e9
    assert not never.due()
    counted = checkpoints.Timer(minutes=0, steps=2)
    assert [counted.due(), counted.due()] == [False, True]


def test_an_interruption_says_what_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    progress = SimpleNamespace(say=told.append, track=lambda items, label, total=None: items)
    run = PairRun(tmp_path, loss={"name": "info_nce"}, settings={"checkpoint_steps": 1}, progress=progress)
    embed, calls = run.embed, []

    def interrupted(rows: Any) -> Any:
        calls.append(rows)
        if len(calls) in (1, 4):
            raise KeyboardInterrupt
        return embed(rows)

    run.trainer.objective.embed = interrupted
    for said in ("nothing was kept yet", "the same run goes on from its last checkpoint"):
        with pytest.raises(KeyboardInterrupt):
            run.fit()
        assert told.pop() == f"interrupted in epoch 1; {said}"


def test_an_interruption_between_two_epochs_names_the_one_that_ended(tmp_path: Path) -> None:
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        if line.startswith("epoch 1/"):
            raise KeyboardInterrupt

    progress = SimpleNamespace(say=say, track=lambda items, label, total=None: items)
    with pytest.raises(KeyboardInterrupt):
        PairRun(tmp_path, loss={"name": "info_nce"}, settings={}, progress=progress).fit()
    assert told[-1].startswith("interrupted after epoch 1; ")
