"""Adversarial alignment: the reversed gradient reaches the towers, and a probe can no longer tell the modalities."""

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from torch.nn import Linear, functional  # noqa: E402

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError, DataError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.losses import Embedded, Loss  # noqa: E402
from diptych.losses.adversarial import AdversarialAlignment, reversal_strength  # noqa: E402

from .batches import random_batch, three  # noqa: E402


def adversarial(**options: float) -> AdversarialAlignment:
    torch.manual_seed(0)
    return AdversarialAlignment(4, hidden=6, **options).double()


def logit(loss: AdversarialAlignment, row: list[float]) -> float:
    """The modality classifier, layer by layer."""
    first, _, last = loss.modality
    scaled = [2 * x for x in row]  # sqrt(4)
    hidden = [
        max(0.0, sum(w * x for w, x in zip(weights, scaled, strict=True)) + bias)
        for weights, bias in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
    ]
    return sum(w * h for w, h in zip(last.weight.tolist()[0], hidden, strict=True)) + float(last.bias.detach())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loss_by_hand(seed: int) -> None:
    loss, batch = adversarial(gradient_penalty=0.0), random_batch(seed, rows=3)
    total = sum(math.log1p(math.exp(logit(loss, row))) for row in batch.image.tolist())
    total += sum(math.log1p(math.exp(-logit(loss, row))) for row in batch.text.tolist())
    assert float(loss(batch).detach()) == pytest.approx(total / 6)
    right = sum(logit(loss, row) <= 0 for row in batch.image.tolist())
    right += sum(logit(loss, row) > 0 for row in batch.text.tolist())
    assert loss.report() == {"reversal": 1.0, "modality_accuracy": pytest.approx(right / 6)}


def test_the_penalty_by_finite_differences() -> None:
    batch = random_batch(4, rows=3)
    plain, penalised = (float(adversarial(gradient_penalty=w)(batch).detach()) for w in (0.0, 0.7))
    loss, total = adversarial(), 0.0
    for row in [*batch.image.tolist(), *batch.text.tolist()]:
        for place in range(4):
            up, down = list(row), list(row)
            up[place] += 1e-6
            down[place] -= 1e-6
            total += ((logit(loss, up) - logit(loss, down)) / 2e-6) ** 2
    assert penalised - plain == pytest.approx(0.7 * total / 6, rel=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_the_gradient_reaches_the_towers_reversed_and_the_classifier_as_it_is(progress: float) -> None:
    torch.manual_seed(1)
    towers = Linear(5, 4).double(), Linear(3, 4).double()
    photos, captions = torch.randn(6, 5).double(), torch.randn(6, 3).double()
    loss = adversarial(gradient_penalty=0.0)
    loss.start_step(progress)

    def value() -> torch.Tensor:
        image, text = (
            functional.normalize(tower(rows), dim=1) for tower, rows in zip(towers, (photos, captions), strict=True)
        )
        return loss(Embedded(image, text, torch.arange(6)))

    def finite_difference(weight: torch.Tensor, place: tuple[int, ...]) -> float:
        with torch.no_grad():
            weight[place] += 1e-6
            above = float(value())
            weight[place] -= 2e-6
            below = float(value())
            weight[place] += 1e-6
        return (above - below) / 2e-6

    value().backward()
    strength = 2 / (1 + math.exp(-10 * progress)) - 1
    for tower in towers:
        for place in ((0, 0), (3, 2), (1, 1)):
            true = finite_difference(tower.weight, place)
            assert abs(true) > 1e-5
            assert float(tower.weight.grad[place]) == pytest.approx(-strength * true, rel=1e-4, abs=1e-9)
    for weight, place in ((loss.modality[0].weight, (0, 1)), (loss.modality[2].weight, (0, 3))):
        assert float(weight.grad[place]) == pytest.approx(finite_difference(weight, place), rel=1e-4, abs=1e-9)


def test_the_penalty_trains_the_classifier_only() -> None:
    batch = random_batch(2)

    def gradient(penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
        loss, image = adversarial(gradient_penalty=penalty), batch.image.clone().requires_grad_()
        loss(Embedded(image, batch.text, batch.owner)).backward()
        return image.grad, loss.modality[0].weight.grad

    (image, weight), (image_penalised, weight_penalised) = gradient(0.0), gradient(5.0)
    assert torch.equal(image, image_penalised)
    assert not torch.allclose(weight, weight_penalised)


@given(st.floats(0, 1))
def test_lambda_rises_from_0_to_1(progress: float) -> None:
    assert 0 <= reversal_strength(progress) <= reversal_strength(min(1.0, progress + 0.01)) <= 1


def test_lambda_by_hand() -> None:
    assert [round(reversal_strength(p), 4) for p in (0, 0.1, 0.5, 1)] == [0.0, 0.4621, 0.9866, 0.9999]
    assert reversal_strength(7.0) == reversal_strength(1.0)


# labels


def test_the_label_classifier_is_trained_straight_and_skips_rows_without_a_class() -> None:
    loss = adversarial(gradient_penalty=0.0, label_weight=0.5, classes=3)
    batch = random_batch(3, rows=4)
    group = torch.tensor([2, -1, 0, 2])
    plain = float(loss(Embedded(batch.image, batch.text, batch.owner, torch.full((4,), -1))).detach())
    found = loss(Embedded(batch.image, batch.text, batch.owner, group))
    total = 0.0
    for rows in (batch.image, batch.text):
        for row, cls in zip(rows, group.tolist(), strict=True):
            if cls >= 0:
                scores = loss.label(2 * row).tolist()
                total += math.log(sum(map(math.exp, scores))) - scores[cls]
    assert float(found.detach()) - plain == pytest.approx(0.5 * total / 6)
    # with the reversal off, what reaches the towers is the label's gradient: downhill is better
    loss.start_step(0.0)
    image = batch.image.clone().requires_grad_()
    value = loss(Embedded(image, batch.text, batch.owner, group))
    (gradient,) = torch.autograd.grad(value, image)
    assert gradient[1].abs().sum() == 0
    better = loss(Embedded(image.detach() - 1e-3 * gradient, batch.text, batch.owner, group))
    modality = loss.label_weight * loss._label_loss(
        loss.label, torch.cat([image.detach() - 1e-3 * gradient, batch.text]), group.repeat(2)
    )
    before = loss.label_weight * loss._label_loss(loss.label, torch.cat([image, batch.text]), group.repeat(2))
    assert float(modality.detach()) < float(before.detach())
    assert torch.isfinite(better)


def test_labels_that_cannot_be() -> None:
    loss = adversarial(label_weight=1.0, classes=2)
    batch = random_batch(3, rows=3)
    with pytest.raises(DataError, match="found class 2 in data said to have 2, numbered from 0"):
        loss(Embedded(batch.image, batch.text, batch.owner, torch.tensor([0, 1, 2])))
    with pytest.raises(DataError, match="needs the class of each record, but the data has none"):
        loss(Embedded(batch.image, batch.text, batch.owner))


@pytest.mark.parametrize("classes", [None, 1])
def test_a_label_classifier_needs_classes(classes: int | None) -> None:
    with pytest.raises(ConfigError, match=r"label_weight = 0\.5 needs data with at least 2 classes, found"):
        build("loss", Part("adversarial", {"label_weight": 0.5}), dim=4, classes=classes)
    assert build("loss", Part("adversarial"), dim=4, classes=classes).label is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, found 0"),
        ({"label_weight": -1.0}, "label_weight must be at least 0, found -1"),
        ({"gradient_penalty": float("nan")}, "gradient_penalty must be at least 0, found nan"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part("adversarial", options), dim=4)


def test_without_gradients_the_penalty_is_left_out() -> None:
    with torch.inference_mode():
        assert torch.isfinite(AdversarialAlignment(2)(Embedded(*(three(0, 1, 2).image.float(),) * 2, torch.arange(3))))


# training


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny matrices are slower on many threads, and much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Toy:
    """Two modalities of one hidden state, whose towers start far apart."""

    def __init__(self, seed: int, gap: float, rows: int = 600, classes: int = 4) -> None:
        torch.manual_seed(seed)
        self.group = torch.arange(rows) % classes
        state = 2 * functional.one_hot(self.group, classes).float() + 0.5 * torch.randn(rows, classes)
        self.photos = state @ torch.randn(classes, 10) / 4 + 0.03 * torch.randn(rows, 10)
        self.captions = state @ torch.randn(classes, 8) / 4 + 0.03 * torch.randn(rows, 8)
        self.towers = Linear(10, 8), Linear(8, 8)
        with torch.no_grad():
            self.towers[0].bias[0], self.towers[1].bias[0] = gap, -gap

    def embed(self, which: torch.Tensor) -> Embedded:
        image, text = (
            functional.normalize(tower(rows[which]), dim=1)
            for tower, rows in zip(self.towers, (self.photos, self.captions), strict=True)
        )
        return Embedded(image, text, which, self.group[which])

    def train(self, loss: Loss, steps: int, reverse: bool = True) -> None:
        weights = [*self.towers[0].parameters(), *self.towers[1].parameters(), *loss.parameters()]
        optimiser = torch.optim.Adam(weights, lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            loss.start_step(step / steps if reverse else 0.0)
            value = loss(self.embed(torch.randperm(len(self.group))[:100]))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()

    @torch.no_grad()
    def embedded(self) -> Embedded:
        return self.embed(torch.arange(len(self.group)))

    def class_found(self) -> float:
        """Share of photos whose nearest caption is of their class."""
        found = self.embedded()
        nearest = (found.image @ found.text.T).argmax(1)
        return float((self.group[nearest] == self.group).float().mean())

    def probe(self) -> float:
        """Accuracy of a fresh linear probe for the modality, fitted to one half of the records, on the other."""
        found = self.embedded()
        rows = torch.cat([found.image, found.text])
        is_text = torch.arange(len(rows)) >= len(self.group)
        fitted = torch.arange(len(self.group)).repeat(2) < len(self.group) // 2
        probe = Linear(rows.shape[1], 1)
        optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=100)

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            guess = probe(rows[fitted]).squeeze(1)
            value = functional.binary_cross_entropy_with_logits(guess, is_text[fitted].float())
            value.backward()
            return value

        optimiser.step(closure)
        with torch.no_grad():
            return float(((probe(rows[~fitted]).squeeze(1) > 0) == is_text[~fitted]).float().mean())


def trained(make: Callable[[], Loss], gap: float, steps: int, reverse: bool) -> list[Toy]:
    """Three toys, each from its own seed."""
    toys = []
    for seed in range(3):
        toys.append(Toy(seed, gap))
        assert toys[-1].probe() > 0.99  # before training the modalities lie apart
        torch.manual_seed(seed)
        toys[-1].train(make(), steps, reverse)
    return toys


def check_modalities(without: list[Toy], aligned: list[Toy]) -> None:
    """Visible without the reversal, near chance (0.5) with it."""
    visible, hidden = ([toy.probe() for toy in toys] for toys in (without, aligned))
    assert min(visible) > 0.88
    assert sum(visible) / 3 > 0.94
    assert max(hidden) < 0.85
    assert sum(hidden) / 3 < 0.66


@pytest.mark.usefixtures("one_thread")
def test_a_probe_can_no_longer_tell_the_modalities_but_finds_the_classes() -> None:
    def make() -> Loss:
        part = Part("adversarial", {"hidden": 32, "label_weight": 0.1, "gradient_penalty": 1.0})
        return build("loss", part, dim=8, classes=4)

    aligned = trained(make, 1.0, 500, reverse=True)
    check_modalities(trained(make, 1.0, 500, reverse=False), aligned)
    assert min(toy.class_found() for toy in aligned) > 0.95


def with_instances(gradient_penalty: float = 0.03) -> Loss:
    """Instance discrimination and the adversary."""
    instances = {"name": "instance_discrimination", "queue": 256, "temperature": 0.02, "wait": 0.0}
    adversary = {"name": "adversarial", "weight": 100.0, "hidden": 32, "gradient_penalty": gradient_penalty}
    return build("loss", Part("combined", {"parts": [instances, adversary]}), dim=8)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_with_instance_discrimination_the_modalities_merge_and_pairs_stay() -> None:
    aligned = trained(with_instances, 4.0, 300, reverse=True)
    check_modalities(trained(with_instances, 4.0, 300, reverse=False), aligned)
    assert min(toy.class_found() for toy in aligned) > 0.92


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_without_the_penalty_towers_and_classifier_chase_each_other() -> None:
    toys = trained(lambda: with_instances(gradient_penalty=0.0), 4.0, 300, reverse=True)
    assert min(toy.probe() for toy in toys) > 0.85
