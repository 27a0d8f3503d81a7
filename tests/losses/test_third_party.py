"""Losses against other people's code on random input: values, and gradients in embeddings and parameters.

Siblings are ours alone, so each row is a record of its own where the other code knows none.
"""

from collections.abc import Callable
from importlib.util import find_spec

import pytest

if find_spec("torch") is None or find_spec("pytorch_metric_learning") is None:
    pytest.skip("needs the [train] and [dev] extras", allow_module_level=True)

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer, SumReducer
from torch import Tensor
from torch.nn.functional import normalize

from diptych.losses import Embedded, Loss
from diptych.losses.class_aware_triplet import ClassAwareTriplet
from diptych.losses.info_nce import InfoNCE
from diptych.losses.instance_discrimination import InstanceDiscrimination
from diptych.losses.max_hinge import MaxHinge
from diptych.losses.sigmoid import Sigmoid
from diptych.losses.sum_hinge import SumHinge
from diptych.losses.supervised_contrast import SupervisedContrast

ROWS, WIDTH = 9, 6
Other = Callable[[Tensor, Tensor], Tensor]  # images, texts -> loss


def rows(seed: int) -> tuple[Tensor, Tensor]:
    """Images and texts before they are brought to unit length, which the other code does itself."""
    draw = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, ROWS, WIDTH, generator=draw, dtype=torch.float64)
    return image.requires_grad_(), text.requires_grad_()


def same(loss: Loss, other: Other, seed: int, group: Tensor | None = None) -> None:
    """Value and both gradients are equal."""
    image, text = rows(seed)
    units = normalize(image, dim=1), normalize(text, dim=1)
    ours, theirs = loss.double()(Embedded(*units, EACH, group)), other(*units)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-7)
    for mine, wanted in zip(
        torch.autograd.grad(ours, (image, text), retain_graph=True),
        torch.autograd.grad(theirs, (image, text)),
        strict=True,
    ):
        assert torch.allclose(mine, wanted, rtol=1e-6, atol=1e-9)


EACH = torch.arange(ROWS)
OF_OTHERS = EACH.clone()  # the very same tensor would be taken for "these are the anchors", without the partner


def crossed(loss: Callable[..., Tensor]) -> Other:
    """Images as anchors among the texts, and the other way round; the sum."""
    return lambda image, text: (
        loss(image, EACH, ref_emb=text, ref_labels=OF_OTHERS) + loss(text, EACH, ref_emb=image, ref_labels=OF_OTHERS)
    )


@pytest.fixture(params=range(3))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_info_nce_and_instance_discrimination_are_nt_xent_across_the_modalities(seed: int) -> None:
    across = crossed(NTXentLoss(temperature=0.2))
    same(InfoNCE(0.2), lambda image, text: across(image, text) / 2, seed)
    same(InstanceDiscrimination(WIDTH, queue=0, temperature=0.2), lambda image, text: across(image, text) / 2, seed)


def test_sum_and_max_hinge_are_triplet_margins(seed: int) -> None:
    every = TripletMarginLoss(margin=0.2, distance=CosineSimilarity(), reducer=SumReducer(), triplets_per_anchor="all")
    same(SumHinge(0.2), crossed(every), seed)
    miner = BatchHardMiner(distance=CosineSimilarity())

    def hardest(image: Tensor, text: Tensor) -> Tensor:
        return sum(
            every(one, EACH, miner(one, EACH, other, OF_OTHERS), ref_emb=other, ref_labels=OF_OTHERS)
            for one, other in ((image, text), (text, image))
        )

    same(MaxHinge(0.2), hardest, seed)


def test_supervised_contrast_is_supcon(seed: int) -> None:
    group = torch.tensor([0, 1, 0, -1, 2, 1, 0, -1, 2])
    labels = torch.where(group < 0, 100 + EACH, group).repeat(2)
    theirs = SupConLoss(temperature=0.1)
    same(SupervisedContrast(0.1), lambda image, text: theirs(torch.cat([image, text]), labels), seed, group)
    # where nobody shares a class it is NT-Xent over both modalities
    alone = NTXentLoss(temperature=0.1)
    same(SupervisedContrast(0.1), lambda image, text: alone(torch.cat([image, text]), EACH.repeat(2)), seed, EACH)


def test_class_aware_triplet_is_a_batch_hard_triplet(seed: int) -> None:
    labels = EACH.repeat(2)
    margin = TripletMarginLoss(margin=0.3, distance=CosineSimilarity(), reducer=MeanReducer())
    miner = BatchHardMiner(distance=CosineSimilarity())

    def hardest(image: Tensor, text: Tensor) -> Tensor:
        both = torch.cat([image, text])
        return margin(both, labels, miner(both, labels))

    same(ClassAwareTriplet(0.3, need_classes=False), hardest, seed)


@pytest.mark.skipif(find_spec("open_clip") is None, reason="needs the [hub] extra")
def test_info_nce_and_sigmoid_are_those_of_open_clip_and_so_are_the_gradients_of_their_parameters(seed: int) -> None:
    from diptych.encoders.compat import import_torchvision

    import_torchvision()
    from open_clip.loss import ClipLoss, SigLipLoss

    clip, siglip = InfoNCE(0.07).double(), Sigmoid(0.1, bias=-3.0).double()
    scale = clip.log_scale.exp()
    same(clip, lambda image, text: ClipLoss()(image, text, clip.log_scale.exp()), seed)
    same(siglip, lambda image, text: SigLipLoss()(image, text, siglip.log_scale.exp(), siglip.bias), seed)
    embedded = Embedded(*(normalize(side, dim=1) for side in rows(seed)), EACH)
    theirs = ClipLoss()(embedded.image, embedded.text, scale)
    (wanted,) = torch.autograd.grad(theirs, clip.log_scale)
    (mine,) = torch.autograd.grad(clip(embedded), clip.log_scale)
    assert float(mine) == pytest.approx(float(wanted), rel=1e-9)
    theirs = SigLipLoss()(embedded.image, embedded.text, siglip.log_scale.exp(), siglip.bias)
    both = siglip.log_scale, siglip.bias
    for own, other in zip(torch.autograd.grad(siglip(embedded), both), torch.autograd.grad(theirs, both), strict=True):
        assert float(own) == pytest.approx(float(other), rel=1e-9)
