"""Instance discrimination: its formula, and its memory."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.losses import TEXT, Embedded  # noqa: E402
from diptych.losses.info_nce import InfoNCE  # noqa: E402
from diptych.losses.instance_discrimination import InstanceDiscrimination  # noqa: E402

from .batches import cosines, gradient_is_right, random_batch, three, unit  # noqa: E402


def rows_of(*numbers: int) -> Embedded:
    """Row n is the image (n, 0) and the text (0, n) of record n: what the queue holds can be read off."""
    values = torch.tensor(numbers, dtype=torch.float32)
    none = torch.zeros(len(numbers))
    return Embedded(torch.stack([values, none], 1), torch.stack([none, values], 1), torch.tensor(numbers))


class Memory:
    """The obvious twin: a list that forgets its oldest."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: list[tuple[list[float], list[float], int]] = []

    def add(self, batch: Embedded) -> None:
        self.rows += zip(batch.image.tolist(), batch.text.tolist(), batch.owner.tolist(), strict=True)
        self.rows = self.rows[-self.size :] if self.size else []

    def loss(self, batch: Embedded, tau: float) -> float:
        image, text, owner = batch.image.tolist(), batch.text.tolist(), batch.owner.tolist()

        def score(a: list[float], b: list[float]) -> float:
            return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / tau)

        total = 0.0
        for i in range(len(owner)):
            others = [j for j in range(len(owner)) if j == i or owner[j] != owner[i]]
            remembered = [row for row in self.rows if row[2] != owner[i]]
            hit = score(image[i], text[i])
            total += math.log(
                hit / (sum(score(image[i], text[j]) for j in others) + sum(score(image[i], r[1]) for r in remembered))
            )
            total += math.log(
                hit / (sum(score(image[j], text[i]) for j in others) + sum(score(r[0], text[i]) for r in remembered))
            )
        return -total / (2 * len(owner))


def test_three_records_by_hand_with_a_memory_of_two() -> None:
    s, tau = cosines(), 0.5
    loss = InstanceDiscrimination(2, queue=4, temperature=tau).double()
    loss(Embedded(unit(30, 170), unit(60, 250), torch.tensor([1, 5])))  # fills two places of four
    queue = {"image": {1: 30, 5: 170}, "text": {1: 60, 5: 250}}
    total = 0.0
    for i, (image, text) in enumerate(((0, 10), (50, 90), (120, 200))):
        far = [owner for owner in (1, 5) if owner != i]  # record 1 is in the batch again: row 1
        hit = math.exp(s[i][i] / tau)
        to_text = sum(math.exp(s[i][j] / tau) for j in range(3))
        to_text += sum(math.exp(math.cos(math.radians(image - queue["text"][owner])) / tau) for owner in far)
        to_image = sum(math.exp(s[j][i] / tau) for j in range(3))
        to_image += sum(math.exp(math.cos(math.radians(text - queue["image"][owner])) / tau) for owner in far)
        total += math.log(hit / to_text) + math.log(hit / to_image)
    assert float(loss(three(0, 1, 2))) == pytest.approx(-total / 6)


def test_three_pairs_of_texts_by_hand() -> None:
    """Both sides are texts: the negatives of either are in the one queue of texts, and those of images are none."""
    s, tau = cosines(), 0.5
    loss = InstanceDiscrimination(2, queue=4, temperature=tau).double()
    loss(Embedded(unit(200, 310), unit(0, 90), torch.tensor([3, 4])))  # of two images and their texts
    loss(Embedded(unit(30, 170), unit(60, 250), torch.tensor([1, 5]), sides=(TEXT, TEXT)))
    queue = [(30, 1), (170, 5), (60, 1), (250, 5)]  # the texts at 0 and 90 are forgotten
    total = 0.0
    for i, (one, other) in enumerate(((0, 10), (50, 90), (120, 200))):
        hit = math.exp(s[i][i] / tau)
        for anchor, batch in ((one, [s[i][j] for j in range(3)]), (other, [s[j][i] for j in range(3)])):
            far = [math.cos(math.radians(anchor - degrees)) for degrees, owner in queue if owner != i]
            total += math.log(hit / sum(math.exp(score / tau) for score in [*batch, *far]))
    batch = dataclasses.replace(three(0, 1, 2), sides=(TEXT, TEXT))
    assert float(loss(batch)) == pytest.approx(-total / 6)
    assert loss.report() == {"image_queue": 2.0, "text_queue": 4.0}
    assert gradient_is_right(loss.eval(), three(0, 1, 2))


def test_the_first_batch_is_in_batch_info_nce_with_siblings_left_out() -> None:
    for queue in (0, 16):
        loss = InstanceDiscrimination(2, queue=queue, temperature=0.2).double()
        wanted = InfoNCE(0.2)(three(7, 7, 9)).detach()
        assert float(loss(three(7, 7, 9))) == pytest.approx(float(wanted), rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=5), st.integers(0, 12))
def test_slow_twin_over_several_batches(seeds: list[int], size: int) -> None:
    loss = InstanceDiscrimination(3, queue=size, temperature=0.3).double()
    memory = Memory(size)
    for seed in seeds:
        batch = random_batch(seed, rows=2 + seed % 4, width=3)
        assert float(loss(batch)) == pytest.approx(memory.loss(batch, 0.3), rel=1e-9)
        memory.add(batch)


def test_the_queue_wraps_around() -> None:
    loss = InstanceDiscrimination(2, queue=5)
    loss(rows_of(1, 2, 3))
    assert loss.image.owner.tolist()[:3] == [1, 2, 3]
    assert (int(loss.image.filled), int(loss.image.position)) == (3, 3)
    loss(rows_of(4, 5, 6, 7))
    assert loss.image.owner.tolist() == [6, 7, 3, 4, 5]
    assert loss.image.rows.tolist() == [[6, 0], [7, 0], [3, 0], [4, 0], [5, 0]]
    assert loss.text.rows.tolist() == [[0, 6], [0, 7], [0, 3], [0, 4], [0, 5]]
    assert (int(loss.image.filled), int(loss.image.position)) == (5, 2)
    assert loss.report() == {"image_queue": 5.0, "text_queue": 5.0}


def test_a_batch_larger_than_the_queue_leaves_its_last_rows() -> None:
    loss = InstanceDiscrimination(2, queue=3)
    loss(rows_of(1, 2, 3, 4, 5))
    assert sorted(loss.image.owner.tolist()) == [3, 4, 5]
    assert int(loss.image.filled) == 3


def test_the_memory_survives_a_checkpoint() -> None:
    run = InstanceDiscrimination(4, queue=7).double()
    for seed in range(3):
        run(random_batch(seed))
    resumed = InstanceDiscrimination(4, queue=7).double()
    resumed.load_state_dict({key: value.clone() for key, value in run.state_dict().items()})
    kept = ("rows", "owner", "filled", "position")
    assert set(run.state_dict()) == {f"{side}.{name}" for side in ("image", "text") for name in kept}
    for seed in range(3, 8):
        assert float(run(random_batch(seed))) == float(resumed(random_batch(seed)))


def test_nothing_is_remembered_in_evaluation() -> None:
    loss = InstanceDiscrimination(2, queue=5).eval()
    loss(rows_of(1, 2))
    assert int(loss.image.filled) == 0


def test_the_memory_gets_no_gradient_and_does_not_spoil_that_of_the_batch() -> None:
    loss = InstanceDiscrimination(4, queue=6).double()
    batch = random_batch(1)
    image = batch.image.clone().requires_grad_()
    for _ in range(3):
        value = loss(Embedded(image, batch.text, batch.owner))
        (gradient,) = torch.autograd.grad(value, image)
        assert torch.isfinite(gradient).all()
    assert not loss.image.rows.requires_grad


def test_gradient() -> None:
    loss = InstanceDiscrimination(4, queue=6, temperature=0.5).double()
    loss(random_batch(1))
    assert gradient_is_right(loss.eval(), random_batch(2))


def test_autocast_stays_finite() -> None:
    loss = InstanceDiscrimination(2, queue=4, temperature=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(2):
            value = loss(Embedded(unit(0, 50).float(), unit(10, 90).float(), torch.tensor([0, 1])))
    assert value.dtype == torch.float32
    assert torch.isfinite(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": -1}, "queue must be at least 0, found -1"),
        ({"temperature": 0.0}, "temperature must be above 0, found 0"),
        ({"dim": 3}, "unknown option 'dim'; it takes queue, temperature"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part("instance_discrimination", options), dim=4)


def test_the_queue_waits_until_the_weights_move_slowly() -> None:
    batches = [random_batch(seed, 4, 3) for seed in (1, 2)]
    loss, bare = InstanceDiscrimination(3, queue=8, wait=0.5).double(), InstanceDiscrimination(3, queue=0).double()
    loss(batches[0])
    loss.start_step(0.49)
    assert loss(batches[1]) == bare(batches[1])
    assert loss.report() == {"image_queue": 0.0, "text_queue": 0.0}
    loss.start_step(0.5)
    assert loss(batches[0]) > bare(batches[0])  # what was remembered meanwhile
    assert loss.report() == {"image_queue": 8.0, "text_queue": 8.0}
    with pytest.raises(ConfigError, match="wait is a share of training"):
        InstanceDiscrimination(3, wait=1.1)
