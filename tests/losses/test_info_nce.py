"""InfoNCE against its formula, written out by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.info_nce import MAX_SCALE, InfoNCE  # noqa: E402


def unit(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


IMAGE, TEXT = unit(0, 50, 120), unit(10, 90, 200)


def cosines() -> list[list[float]]:
    return [[math.cos(math.radians(i - t)) for t in (10, 90, 200)] for i in (0, 50, 120)]


def batch(*owner: int) -> Embedded:
    return Embedded(IMAGE, TEXT, torch.tensor(owner))


def test_three_records_by_hand() -> None:
    s, tau = cosines(), 0.5
    total = 0.0
    for i in range(3):
        total += math.log(math.exp(s[i][i] / tau) / sum(math.exp(s[i][j] / tau) for j in range(3)))
        total += math.log(math.exp(s[i][i] / tau) / sum(math.exp(s[j][i] / tau) for j in range(3)))
    assert float(InfoNCE(tau)(batch(0, 1, 2)).detach()) == pytest.approx(-total / 6, rel=1e-6)


def test_siblings_are_left_out_of_both_sums() -> None:
    s, tau = cosines(), 0.2
    others = {0: (0, 2), 1: (1, 2), 2: (0, 1, 2)}  # rows 0 and 1 are of one record
    total = 0.0
    for i in range(3):
        total += math.log(math.exp(s[i][i] / tau) / sum(math.exp(s[i][j] / tau) for j in others[i]))
        total += math.log(math.exp(s[i][i] / tau) / sum(math.exp(s[j][i] / tau) for j in others[i]))
    assert float(InfoNCE(tau)(batch(7, 7, 9)).detach()) == pytest.approx(-total / 6, rel=1e-6)


@pytest.mark.parametrize("owner", [(0, 1, 2), (7, 7, 9), (3, 1, 3)])
def test_label_smoothing_spreads_over_the_true_candidates(owner: tuple[int, int, int]) -> None:
    s, tau, share = cosines(), 0.3, 0.1
    total = 0.0
    for turned in (False, True):
        for i in range(3):
            allowed = [j for j in range(3) if j == i or owner[j] != owner[i]]
            score = {j: (s[j][i] if turned else s[i][j]) / tau for j in allowed}
            log_sum = math.log(sum(math.exp(value) for value in score.values()))
            total += (1 - share) * (score[i] - log_sum)
            total += share * sum(value - log_sum for value in score.values()) / len(allowed)
    found = InfoNCE(tau, label_smoothing=share)(batch(*owner))
    assert float(found.detach()) == pytest.approx(-total / 6, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_is_that_of_finite_differences(smoothing: float) -> None:
    torch.manual_seed(0)
    loss = InfoNCE(0.3, label_smoothing=smoothing).double()
    image, text = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    owner = torch.tensor([0, 0, 1, 2])

    def value(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            loss.log_scale.copy_(scale)
        return torch.func.functional_call(loss, {"log_scale": scale}, (Embedded(image, text, owner),))

    inputs = (image.requires_grad_(), text.requires_grad_(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(value, inputs)


def test_siblings_get_no_gradient_from_each_other() -> None:
    image, text = IMAGE.clone(), TEXT.clone().requires_grad_()
    loss = InfoNCE(0.2, learn_temperature=False, label_smoothing=0.1)
    scores_of_first = loss(Embedded(image, text, torch.tensor([0, 0, 1])))
    before = float(scores_of_first.detach())
    moved = image.clone()
    moved[0] = torch.nn.functional.normalize(image[0] + 0.3 * text[2].detach(), dim=0)
    assert float(loss(Embedded(moved, text, torch.tensor([0, 0, 1]))).detach()) != before
    assert torch.isfinite(torch.autograd.grad(scores_of_first, text)[0]).all()


def test_the_temperature_is_learnt_and_bounded() -> None:
    loss = InfoNCE(0.5)
    near = Embedded(IMAGE, IMAGE, torch.arange(3))  # perfect pairs want a colder temperature
    optimiser = torch.optim.SGD(loss.parameters(), lr=1.0)
    before = loss.report()["temperature"]
    assert before == pytest.approx(0.5)
    loss(near).backward()
    optimiser.step()
    assert loss.report()["temperature"] < before
    with torch.no_grad():
        loss.log_scale.fill_(50.0)
    assert float(loss.scale().detach()) == MAX_SCALE
    assert torch.isfinite(loss(near))


def test_a_fixed_temperature_stays() -> None:
    loss = InfoNCE(0.5, learn_temperature=False)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.parametrize(("rows", "owner"), [(1, [0]), (3, [4, 4, 4])])
def test_a_batch_without_negatives_is_an_error(rows: int, owner: list[int]) -> None:
    with pytest.raises(ConfigError, match=f"at least 2 records in a batch, found {rows} row"):
        InfoNCE()(Embedded(IMAGE[:rows], TEXT[:rows], torch.tensor(owner)))


def test_half_precision_stays_finite() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        rows = Embedded(IMAGE.to(dtype), TEXT.to(dtype), torch.tensor([0, 0, 1]))
        assert torch.isfinite(InfoNCE(0.01, label_smoothing=0.1)(rows))


def test_losses_by_name() -> None:
    loss = build("loss", Part("info_nce", {"temperature": 0.2}))
    assert isinstance(loss, InfoNCE)
    assert loss.report()["temperature"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part("infonce"), "unknown loss 'infonce'; choose from .*did you mean 'info_nce'"),
        (Part("info_nce", {"temprature": 1}), "unknown option 'temprature'; it takes .*did you mean 'temperature'"),
        (Part("info_nce", {"temperature": 0.0}), "temperature must be at least 0.01, found 0.0"),
        (Part("info_nce", {"temperature": float("nan")}), "temperature must be at least 0.01, found nan"),
        (Part("info_nce", {"label_smoothing": 1.0}), "label_smoothing must be at least 0 and below 1"),
    ],
)
def test_what_no_loss_can_be_made_of(part: Part, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", part)


@pytest.mark.unchecked
def test_an_option_of_another_type_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"loss 'info_nce': temperature must be a number, found 'cold'"):
        build("loss", Part("info_nce", {"temperature": "cold"}))
