"""The losses of both designs: which term is there, who gets a gradient, and closed forms."""

from __future__ import annotations

import dataclasses
import math

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from diptych.core.errors import ConfigError
from diptych.synthesis.adversarial_losses import AdversarialBatch
from diptych.synthesis.augment import Augmentation
from diptych.synthesis.frozen_features import ColourLayout, frozen_network
from diptych.synthesis.monitoring import alarms, diversity
from diptych.synthesis.settings import XmcSettings, XMrsSettings
from diptych.synthesis.x_mrs_losses import XMrsLosses, kl_to_standard
from diptych.synthesis.x_mrs_networks import XMrsDiscriminator, XMrsGenerator
from diptych.synthesis.xmc_discriminator import XmcDiscriminator
from diptych.synthesis.xmc_generator import XmcGenerator
from diptych.synthesis.xmc_losses import XmcLosses

SIZES = {"width": 4, "most": 2, "noise": 6, "sentence_width": 8, "word_width": 8, "space": 8, "region_side": 8}
NAMES = ("sentence", "word", "image", "frozen")


def batch(count=4):
    draw = torch.Generator().manual_seed(1)
    return AdversarialBatch(
        torch.rand(count, 3, 16, 16, generator=draw) * 2 - 1,
        torch.randn(count, 10, generator=draw),
        torch.randn(count, 3, 10, generator=draw),
        torch.ones(count, 3, dtype=torch.bool),
        torch.eye(count, dtype=torch.bool),
        torch.tensor([0, 1, -1, 1][:count]),
        torch.nn.functional.normalize(torch.randn(count, 192, generator=draw), dim=1),
        torch.nn.functional.normalize(torch.randn(count, 192, generator=draw), dim=1),
    )


def xmc(**changes):
    torch.manual_seed(0)
    settings = XmcSettings(**SIZES, **changes)
    frozen = ColourLayout()
    example = frozen.extract(torch.zeros(1, 3, 16, 16)) if settings.pretrained else None
    return XmcLosses(
        XmcGenerator(16, 10, settings), XmcDiscriminator(16, 10, settings, example), settings, frozen, ("translation",)
    )


@pytest.mark.parametrize("off", NAMES)
def test_each_contrastive_loss_can_be_switched_off(off):
    names = set(NAMES) - {off}
    assert set(xmc(**{off: 0.0}).generator_loss(batch()).facts) == names | {"adversarial"}
    found = {name for name in xmc(**{off: 0.0}).discriminator_loss(batch()).facts if name.startswith("real ")}
    assert found == {f"real {name}" for name in names & {"sentence", "word"}}


def test_all_off_is_a_plain_projection_gan():
    losses = xmc(**dict.fromkeys(NAMES, 0.0))
    step = losses.generator_loss(batch())
    assert float(step.loss) == pytest.approx(float(step.facts["adversarial"]), rel=1e-6)
    step = losses.discriminator_loss(batch())
    assert float(step.loss) == pytest.approx(float(step.facts["hinge"]), rel=1e-6)


def test_a_weight_multiplies_its_loss():
    one, three = (xmc(word=weight).generator_loss(batch()) for weight in (1.0, 3.0))
    difference = float(three.loss - one.loss)
    assert difference == pytest.approx(2 * float(one.facts["word"]), rel=1e-4)


def test_without_centring_the_cosines_are_of_the_features_as_they_are():
    """By hand: the loss of the frozen network's cosines, with and without the batch's mean."""
    torch.manual_seed(2)
    made, real = torch.rand(4, 6) + 3, torch.rand(4, 6) + 3
    same = batch().same

    def by_hand(one, other):
        scores = torch.tensor([[float(a @ b / (a.norm() * b.norm())) / 0.1 for b in other] for a in one])
        own = torch.arange(4)
        to = [torch.nn.functional.cross_entropy(each, own) for each in (scores, scores.T)]
        return float(sum(to)) / 2

    as_is = xmc(centre=False)._compare(made, real, batch())
    assert bool(same.sum() == 4)
    assert float(as_is) == pytest.approx(by_hand(made, real), rel=1e-4)
    mean = real.mean(0)
    assert float(xmc()._compare(made, real, batch())) == pytest.approx(by_hand(made - mean, real - mean), rel=1e-4)
    assert float(xmc(centre=False).generator_loss(batch()).loss) != float(xmc().generator_loss(batch()).loss)


def test_the_words_are_summed_where_that_is_asked():
    one = dataclasses.replace(batch(), mask=torch.tensor([[True, False, False]]).repeat(4, 1))
    mean, total = (xmc(word_mean=kept).generator_loss(one).facts["word"] for kept in (True, False))
    assert float(mean) == pytest.approx(float(total), rel=1e-6)  # of one word each
    uneven = torch.tensor([[True, True, True], [True, False, False], [True, True, False], [True, True, True]])
    uneven = dataclasses.replace(batch(), mask=uneven)
    mean, total = (xmc(word_mean=kept).generator_loss(uneven).facts["word"] for kept in (True, False))
    assert abs(float(mean) - float(total)) > 1e-3


def test_each_region_can_be_told_real_or_generated_on_its_own():
    """The patch hinge is the hinge loss over all regions of all images, weighted and added."""
    off = dict.fromkeys(NAMES, 0.0)
    step = xmc(patches=0.5, **off).discriminator_loss(batch())
    facts = {name: float(value) for name, value in step.facts.items()}
    assert float(step.loss) == pytest.approx(facts["hinge"] + 0.5 * facts["patch hinge"], rel=1e-6)
    losses = xmc(patches=0.5, **off)
    output = losses.discriminator(batch().images, batch().sentence)
    assert output.patches.shape == (4, 64)
    step = losses.generator_loss(batch())
    assert float(step.loss) == pytest.approx(float(step.facts["adversarial"]), rel=1e-6)
    losses.discriminator.requires_grad_(False)
    step.loss.backward()
    assert all(each.grad is not None for each in losses.generator.start.parameters())


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_discriminators_turn_leaves_the_generator_without_gradient(pretrained):
    losses = xmc(pretrained=pretrained)
    losses.discriminator_loss(batch()).loss.backward()
    assert all(each.grad is None for each in losses.generator.parameters())
    assert all(each.grad is not None for each in losses.discriminator.parameters())


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_generators_turn_reaches_all_of_it(pretrained):
    losses = xmc(pretrained=pretrained)
    losses.discriminator.requires_grad_(False)
    losses.generator_loss(batch()).loss.backward()
    lacking = [name for name, each in losses.generator.named_parameters() if each.grad is None]
    assert not lacking


def test_the_discriminator_learns_its_contrast_on_real_images_alone():
    """With no adversarial term left, the generator's weights would not matter to the discriminator's loss."""
    losses = xmc()
    torch.manual_seed(5)
    facts = losses.discriminator_loss(batch()).facts
    with torch.no_grad():
        for each in losses.generator.parameters():
            each.add_(1.0)
    torch.manual_seed(5)
    torch.manual_seed(5)
    again = xmc()
    again.generator = losses.generator
    torch.manual_seed(5)
    others = again.discriminator_loss(batch()).facts
    assert float(facts["real word"]) == pytest.approx(float(others["real word"]), rel=1e-5)
    assert float(facts["real sentence"]) == pytest.approx(float(others["real sentence"]), rel=1e-5)


def x_mrs(**changes):
    torch.manual_seed(0)
    settings = XMrsSettings(width=4, most=2, noise=5, condition_width=6, **changes)
    return XMrsLosses(XMrsGenerator(16, 10, settings), XMrsDiscriminator(16, 2, settings), settings, ColourLayout())


def test_the_generators_loss_of_x_mrs_is_its_weighted_sum():
    step = x_mrs(classes=0.5, kl=2.0, to_image=32.0, to_text=16.0).generator_loss(batch())
    facts = {name: float(value) for name, value in step.facts.items()}
    wanted = facts["adversarial"] + 0.5 * facts["classes"] + 2 * facts["kl"]
    wanted += 32 * facts["to image"] + 16 * facts["to text"]
    assert float(step.loss) == pytest.approx(wanted, rel=1e-5)


def test_the_retrieval_terms_pull_the_image_to_its_pair():
    losses = x_mrs(classes=0.0, kl=0.0, to_image=32.0, to_text=0.0)
    losses.discriminator.requires_grad_(False)
    here = batch()
    optimiser = torch.optim.Adam(losses.generator.parameters(), lr=1e-2)
    first = float(losses.generator_loss(here).facts["to image"])
    for _ in range(40):
        optimiser.zero_grad()
        step = losses.generator_loss(here)
        step.loss.backward()
        optimiser.step()
    assert float(step.facts["to image"]) < first - 0.05


def test_x_mrs_without_embeddings_or_classes():

    bare = dataclasses.replace(batch(), image_embedding=None)
    with pytest.raises(ConfigError, match="needs the frozen encoder"):
        x_mrs().generator_loss(bare)
    unknown = dataclasses.replace(batch(), label=torch.full((4,), -1))
    assert float(x_mrs().discriminator_loss(unknown).facts["classes"]) == 0


def test_kl_by_hand():
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    one = 0.5 * 1.0  # (m^2 + v - log v - 1) / 2
    two = 0.5 * (4 - math.log(4) - 1)
    assert float(kl_to_standard(mean, log_variance)) == pytest.approx((one + two) / 2, rel=1e-5)
    assert float(kl_to_standard(torch.zeros(2, 3), torch.zeros(2, 3))) == 0


def test_augmentation_is_the_same_for_both_and_has_gradients():
    torch.manual_seed(0)
    change = Augmentation.draw(("colour", "translation", "cutout"), 5, torch.device("cpu"))
    images = torch.rand(5, 3, 16, 16, requires_grad=True)
    changed = change.apply(images)
    assert torch.equal(changed, change.apply(images.detach().clone()))
    changed.sum().backward()
    assert images.grad is not None
    assert torch.equal(Augmentation.draw((), 5, torch.device("cpu")).apply(images), images)
    with pytest.raises(ConfigError, match=r"unknown augmentation 'colours'; .*did you mean 'colour'"):
        Augmentation.draw(("colours",), 1, torch.device("cpu"))


def test_a_shift_moves_and_a_hole_covers():
    images = torch.ones(1, 3, 16, 16)
    shift = Augmentation(None, torch.tensor([[1 / 8, -1 / 8]]), None).apply(images)
    assert torch.equal(shift[0, 0, :14, 2:], torch.ones(14, 14))  # two pixels of grey came in from two sides
    assert float(shift.sum()) == 3 * 14 * 14
    hole = Augmentation(None, None, torch.tensor([[0.5, 0.5]])).apply(images)
    assert 3 * (256 - 8 * 8) <= float(hole.sum()) <= 3 * (256 - 7 * 7)


def test_collapse_is_noticed():
    real = torch.rand(20, 3, 16, 16)
    one = torch.rand(1, 1, 3, 16, 16).expand(4, 3, -1, -1, -1)
    assert diversity(one, real) == {"diversity of noise": 0.0, "diversity of texts": 0.0}
    assert len(alarms(diversity(one, real))) == 2
    varied = torch.rand(4, 3, 3, 16, 16)
    assert alarms(diversity(varied, real)) == [] or "texts" in alarms(diversity(varied, real))[0]
    assert alarms({"discriminator right on real": 1.0, "discriminator right on generated": 0.995})
    assert not alarms({"discriminator right on real": 0.8, "discriminator right on generated": 1.0})


def test_the_frozen_network_is_chosen_by_name():
    from diptych.core.config import Part

    assert isinstance(frozen_network(Part("layout")), ColourLayout)
    with pytest.raises(ConfigError, match="unknown frozen network"):
        frozen_network(Part("vgg"))
    with pytest.raises(ConfigError, match="unknown option"):
        frozen_network(Part("layout", {"size": 3}))


def test_the_reconstruction_is_weighted_and_added():
    one, three = (xmc(reconstruct=weight, nearest=1).generator_loss(batch()) for weight in (1.0, 3.0))
    apart = float(one.facts["reconstruct"])
    assert apart > 0
    assert float(three.loss - one.loss) == pytest.approx(2 * apart, rel=1e-3)


def test_of_some_noises_the_one_nearest_to_the_real_image_is_taken():
    """A generator that paints its noise as a grey: the nearest of 50 greys to each image's own, found slowly."""

    class Grey(torch.nn.Module):
        noise = 1

        def forward(self, noise, sentence, words, mask):
            return noise[:, :, None, None].expand(-1, 3, 16, 16)

    losses = XmcLosses(Grey(), torch.nn.Identity(), XmcSettings(**SIZES, reconstruct=1.0, nearest=50), ColourLayout())
    greys = torch.tensor([-1.0, -0.3, 0.2, 0.9])
    wanted = greys[:, None, None, None].expand(-1, 3, 16, 16)
    torch.manual_seed(5)
    chosen = losses._nearest_noise(
        AdversarialBatch(wanted, *(getattr(batch(), name) for name in ("sentence", "words", "mask", "same")))
    )
    torch.manual_seed(5)
    drawn = torch.stack([torch.randn(4, 1) for _ in range(50)])
    slow = [min((float(z) for z in drawn[:, row, 0]), key=lambda z: abs(z - float(greys[row]))) for row in range(4)]
    assert chosen[:, 0].tolist() == pytest.approx(slow)
