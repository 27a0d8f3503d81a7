"""Sum and max of hinges against their formulas, and the warm-up of the second."""

import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.config import Part  # noqa: E402
from diptych.core.errors import ConfigError  # noqa: E402
from diptych.core.registry import build  # noqa: E402
from diptych.core.similarity import cosine, l2, order  # noqa: E402
from diptych.losses import Embedded  # noqa: E402
from diptych.losses.max_hinge import MaxHinge  # noqa: E402
from diptych.losses.sum_hinge import SumHinge  # noqa: E402

from .batches import batches, cosines, gradient_is_right, random_batch, three  # noqa: E402


def hinges(scores: list[list[float]], owner: list[int], margin: float) -> list[list[float]]:
    """For each row and direction, the violation of each of its negatives."""
    found = []
    for i in range(len(owner)):
        others = [j for j in range(len(owner)) if owner[j] != owner[i]]
        found.append([max(0.0, margin - scores[i][i] + scores[i][j]) for j in others])
        found.append([max(0.0, margin - scores[i][i] + scores[j][i]) for j in others])
    return found


def test_three_records_by_hand() -> None:
    s = cosines()
    # image 0 at 0 degrees: its text at 10 (0.985), the others at 90 (0) and 200 (-0.940): no violation at 0.2.
    # image 1 at 50: its text at 90 (0.766), text 0 at 10 (0.766): alpha. text 1 at 90: image 2 at 120 (0.866).
    by_hand = 0.0
    by_hand += 0.2 - s[1][1] + s[1][0]  # image 1 -> text 0
    by_hand += 0.2 - s[2][2] + s[2][1]  # image 2 -> text 1
    by_hand += 0.2 - s[0][0] + s[1][0] if 0.2 - s[0][0] + s[1][0] > 0 else 0  # text 0 -> image 1
    by_hand += 0.2 - s[1][1] + s[2][1]  # text 1 -> image 2
    by_hand += max(0.0, 0.2 - s[2][2] + s[2][0])  # image 2 -> text 0
    by_hand += max(0.0, 0.2 - s[2][2] + s[1][2]) + max(0.0, 0.2 - s[2][2] + s[0][2])  # text 2 -> images
    assert float(SumHinge()(three(0, 1, 2))) == pytest.approx(by_hand)
    hardest = (
        (0.2 - s[1][1] + s[1][0])
        + (0.2 - s[2][2] + max(s[2][0], s[2][1]))
        + (0.2 - s[1][1] + s[2][1])
        + max(0.0, 0.2 - s[0][0] + s[1][0])
        + max(0.0, 0.2 - s[2][2] + max(s[1][2], s[0][2]))
    )
    assert float(MaxHinge()(three(0, 1, 2))) == pytest.approx(hardest)


def test_siblings_are_no_negatives() -> None:
    s = cosines()
    # rows 0 and 1 are of one record: only row 2 is a negative of theirs, and they of it
    rows = hinges(s, [7, 7, 9], 0.5)
    assert [len(row) for row in rows] == [1, 1, 1, 1, 2, 2]
    assert float(SumHinge(0.5)(three(7, 7, 9))) == pytest.approx(sum(map(sum, rows)))
    assert float(MaxHinge(0.5)(three(7, 7, 9))) == pytest.approx(sum(map(max, rows)))


@settings(deadline=None, max_examples=50)
@given(batches)
def test_slow_twins(batch: Embedded) -> None:
    for similarity in (cosine, l2, order):
        rows = hinges(similarity(batch.image, batch.text).tolist(), batch.owner.tolist(), 0.3)
        assert float(SumHinge(0.3, similarity)(batch)) == pytest.approx(sum(map(sum, rows)))
        assert float(MaxHinge(0.3, similarity=similarity)(batch)) == pytest.approx(sum(map(max, rows)))


@pytest.mark.parametrize("similarity", ["cosine", "l2", "order"])
@pytest.mark.parametrize("kind", [SumHinge, MaxHinge])
def test_gradient(kind: type, similarity: str) -> None:
    assert gradient_is_right(kind(0.9, similarity=similarity), random_batch(3))


def test_the_first_epoch_warms_up_with_the_sum() -> None:
    batch = random_batch(1)
    loss = MaxHinge(0.4)
    hard = float(loss(batch))
    loss.start_epoch(0)
    assert float(loss(batch)) == float(SumHinge(0.4)(batch)) > hard
    assert loss.report() == {"warming_up": 1.0}
    loss.start_epoch(1)
    assert float(loss(batch)) == hard
    assert loss.report() == {"warming_up": 0.0}


def test_a_resumed_run_is_not_warmed_up_again() -> None:
    resumed = MaxHinge(warmup_epochs=2)
    resumed.start_epoch(2)
    assert not resumed.warming_up
    assert resumed.state_dict() == {}


def test_only_the_hardest_negative_gets_a_gradient() -> None:
    # one image near its text; texts 1 and 2 are negatives, 1 the harder
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    text = torch.tensor([[0.8, 0.6], [0.7, -0.714], [0.6, -0.8]], requires_grad=True)
    to_text = MaxHinge(0.2)(Embedded(image, text, torch.arange(3)))
    (gradient,) = torch.autograd.grad(to_text, text)
    assert torch.isfinite(gradient).all()
    assert gradient[1, 0] > 0  # pushed off image 0, pulled to image 1


@pytest.mark.parametrize("name", ["sum_hinge", "max_hinge"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "margin must be above 0, found 0.0"),
        ({"margin": float("nan")}, "margin must be above 0, found nan"),
        ({"similarity": "cosin"}, "unknown similarity 'cosin'; choose from cosine, l2, order; did you mean 'cosine'"),
    ],
)
def test_wrong_options(name: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("loss", Part(name, options))


def test_a_negative_warm_up_is_refused() -> None:
    with pytest.raises(ConfigError, match="warmup_epochs must be at least 0, found -1"):
        build("loss", Part("max_hinge", {"warmup_epochs": -1}))
