"""Adversarial networks on the common engine: which is trained when, exact resumes, random batches."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from diptych.core.errors import ConfigError
from diptych.training import checkpoints
from diptych.training.adversarial import AdversarialObjective
from diptych.training.engine import BEST, LAST, DivergedError

from .adversarial_run import EPOCHS, STEPS, AdversarialRun

SCRIPT = Path(__file__).parent / "adversarial_run.py"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(side):
    return {name: value.detach().clone() for name, value in side.named_parameters()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    run = AdversarialRun(folder)
    return folder, run.fit(), run


def test_a_step_changes_one_network_only(tmp_path):
    run = AdversarialRun(tmp_path, epochs=1)
    seen = []
    backward = run.objective.backward

    def watched(rows, fabric):
        seen.append((run.objective.step, state(run.generator), state(run.discriminator)))
        return backward(rows, fabric)

    run.objective.backward = watched
    run.objective._steps = STEPS  # of this shorter run
    run.fit()
    assert [step for step, *_ in seen] == list(range(STEPS))
    for (step, generator, discriminator), (_, next_maker, next_judge) in itertools.pairwise(seen):
        generator_changed = any(not torch.equal(generator[name], next_maker[name]) for name in generator)
        discriminator_changed = any(not torch.equal(discriminator[name], next_judge[name]) for name in discriminator)
        assert (generator_changed, discriminator_changed) == ((True, False) if step % 3 == 2 else (False, True))


def test_the_moments_of_the_other_network_stay(tmp_path):
    run = AdversarialRun(tmp_path, epochs=1)
    run.objective._steps = STEPS
    run.fit()
    steps = {id(parameter): int(values["step"]) for parameter, values in run.trainer.optimiser.state.items()}
    assert {steps[id(each)] for each in run.discriminator.parameters()} == {4}
    assert {steps[id(each)] for each in run.generator.parameters()} == {2}


def test_each_network_has_its_rate_and_its_first_beta(whole):
    groups = whole[2].trainer.optimiser.param_groups
    assert {group["scale"] for group in groups} == {1.0, 4.0}
    assert {group["betas"] for group in groups} == {(0.5, 0.999)}


def test_numbers_of_the_terms_reach_both_logs(whole):
    folder, result, _ = whole
    assert {"discriminator gap", "generator loss"} <= set(result.rows[0])
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert len(lines) == STEPS * EPOCHS
    assert "discriminator gap" in lines[0]
    assert "generator loss" not in lines[0]
    assert "generator loss" in lines[2]
    assert result.rows[0]["generator loss"] == pytest.approx(
        (lines[2]["generator loss"] + lines[5]["generator loss"]) / 2, abs=1e-4
    )


def test_killed_in_the_middle_it_ends_with_the_same_bytes(whole, tmp_path):
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), "0.05"], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        until = time.monotonic() + 60
        while process.poll() is None and not (folder / LAST).exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
    finally:
        process.kill()
    assert process.wait() == -9
    facts = checkpoints.read(folder / LAST).facts
    assert 0 < facts["epoch"] * STEPS + facts["batch"] < STEPS * EPOCHS
    AdversarialRun(folder).fit()
    assert sha256(folder / BEST) == sha256(whole[0] / BEST)
    last, other = (checkpoints.read(each / LAST) for each in (folder, whole[0]))
    for role in ("module", "average", "optimiser"):
        torch.testing.assert_close(getattr(last, role), getattr(other, role), rtol=0, atol=0)


def test_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    run = AdversarialRun(tmp_path)
    make = run.generator_loss

    def broken(rows):
        loss, facts = make(rows)
        return (loss * float("nan") if run.objective.step >= 8 else loss), facts

    run.objective._terms["generator"] = broken
    with pytest.raises(DivergedError, match=r"epoch 2, batch 3 of 6; its records: record-\d+.*last good checkpoint"):
        run.fit()
    kept = checkpoints.read(tmp_path / LAST)
    assert (kept.facts["epoch"], kept.facts["batch"]) == (1, 2)
    assert all(torch.isfinite(value).all() for value in kept.module.values())


def test_an_order_of_unknown_networks_is_refused():
    side = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="training order names"):
        AdversarialObjective({"a": side}, {"a": lambda rows: (torch.zeros(()), {})}, ("b",), 3)
