"""Generators and discriminators: shapes, what reaches what, standing statistics."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from diptych.core.config import from_dict, to_dict
from diptych.core.errors import ConfigError
from diptych.synthesis.blocks import ImageLayer, StandingNorm, UpBlock, WordContext, collecting_statistics
from diptych.synthesis.frozen_features import ColourLayout
from diptych.synthesis.settings import XmcSettings, XMrsSettings, widths
from diptych.synthesis.x_mrs_networks import XMrsDiscriminator, XMrsGenerator
from diptych.synthesis.xmc_discriminator import XmcDiscriminator
from diptych.synthesis.xmc_generator import XmcGenerator

SMALL = XmcSettings(width=4, most=2, noise=6, sentence_width=8, word_width=8, space=8, region_side=8)


def texts(count, words=3, dim=10):
    draw = torch.Generator().manual_seed(5)
    mask = torch.ones(count, words, dtype=torch.bool)
    mask[0, 1:] = False
    return torch.randn(count, dim, generator=draw), torch.randn(count, words, dim, generator=draw), mask


def test_widths():
    assert widths(64, 32, 8) == [256, 256, 128, 64, 32]
    assert widths(128, 16, 4) == [64, 64, 64, 64, 32, 16]
    with pytest.raises(ConfigError, match=r"power of two.*found 48"):
        widths(48, 32, 8)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_images_have_the_size_and_the_range(size):
    torch.manual_seed(0)
    generator = XmcGenerator(size, 10, SMALL)
    made = generator(torch.randn(2, 6), *texts(2))
    assert made.shape == (2, 3, size, size)
    assert made.abs().max() <= ImageLayer.REACH


def test_the_first_images_have_the_mean_colour_of_real_ones():
    """White, grey and black channels: tanh alone would need an infinite number for white."""
    real = torch.tensor([1.0, 0.0, -1.0])[None, :, None, None].expand(5, 3, 8, 8)
    paint = ImageLayer(4)
    with torch.no_grad():
        paint.weight.zero_()
    paint.start_from_mean_of(real)
    made = paint(torch.randn(2, 4, 8, 8))
    assert made[0, :, 3, 3].tolist() == pytest.approx([0.99, 0.0, -0.99], abs=1e-5)  # 1.1 * 0.9


def test_a_plain_tanh_never_reaches_white():
    paint = ImageLayer(4, reach=1.0)
    with torch.no_grad():
        paint.weight.zero_()
    paint.start_from_mean_of(torch.ones(5, 3, 8, 8))
    assert float(paint(torch.randn(2, 4, 8, 8)).max().detach()) == pytest.approx(0.9, abs=1e-5)
    assert XmcGenerator(16, 10, dataclasses.replace(SMALL, reach=1.0)).picture.reach == 1.0


def test_a_block_may_enlarge_before_its_first_convolution():
    """By hand: norm, relu, up, conv, norm, relu, conv, beside the straight way."""
    torch.manual_seed(0)
    before = UpBlock(3, 2, 4, up_first=True).eval()
    x, condition = torch.randn(2, 3, 4, 4), torch.randn(2, 4)

    def up(each):
        return each.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    h = before.conv(up(before.first(x, condition).relu()))
    wanted = before.conv_fine(before.second(h, condition).relu()) + up(before.straight(x))
    words = torch.zeros(2, 1, 4), torch.ones(2, 1, dtype=torch.bool)
    assert torch.allclose(before(x, condition, *words), wanted, atol=1e-6)
    after = UpBlock(3, 2, 4).eval()
    after.load_state_dict(before.state_dict())
    assert not torch.allclose(after(x, condition, *words), wanted, atol=1e-3)


def test_settings_that_came_later_leave_older_runs_their_identity():
    later = {"standardise", "centre", "word_mean", "up_first", "reach", "mean_colour"}
    assert not later & set(to_dict(XmcSettings()))
    assert len(to_dict(XmcSettings())) == 22
    assert to_dict(XmcSettings(centre=False, reach=1.0)) == {**to_dict(XmcSettings()), "centre": False, "reach": 1.0}
    assert from_dict(XmcSettings, to_dict(XmcSettings(centre=False))) == XmcSettings(centre=False)


def test_the_largest_size_is_built():
    assert len(XmcGenerator(256, 10, SMALL).blocks) == 6


def test_words_reach_the_image_from_32_pixels_on_and_padding_never_does():
    torch.manual_seed(0)
    generator = XmcGenerator(32, 10, SMALL).eval()
    sentence, words, mask = texts(2)
    noise = torch.randn(2, 6)
    made = generator(noise, sentence, words, mask)
    assert not torch.allclose(made[1], generator(noise, sentence, -words, mask)[1], atol=1e-4)
    padded = words.clone()
    padded[0, 1:] = 50.0
    assert torch.equal(made[0], generator(noise, sentence, padded, mask)[0])
    without = XmcGenerator(32, 10, XmcSettings(word_attention=False, width=4, most=2, noise=6)).eval()
    assert torch.equal(without(noise, sentence, words, mask), without(noise, sentence, -words, mask))


def test_a_mapping_puts_layers_between_the_sentence_and_what_it_modulates():
    torch.manual_seed(0)
    linear, mapped = (XmcGenerator(16, 10, dataclasses.replace(SMALL, mapping=count)).eval() for count in (0, 2))
    one, other = torch.randn(2, 1, 10)
    read = [generator.sentence for generator in (linear, mapped)]
    bent = [float((side(one + other) - side(one) - side(other) + side(0 * one)).detach().norm()) for side in read]
    assert bent[0] < 1e-5 < 1e-3 < bent[1]  # a linear map keeps sums
    assert [sum(part.numel() > 512 for part in side.parameters()) for side in read] == [0, 3]
    made = mapped(torch.randn(3, 6), *texts(3))
    assert made.shape == (3, 3, 16, 16)


def test_a_region_reads_the_word_that_fits_it():
    context = WordContext(2, 2, sharpness=50.0)
    with torch.no_grad():
        context.query.weight.copy_(torch.eye(2)[:, :, None, None])
        context.query.bias.zero_()
    words = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    h = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]]]])  # the first position points to word 0, the second to word 1
    found = context(h, words, mask)
    assert torch.allclose(found[0, :, 0, 0], words[0, 0], atol=1e-3)
    assert torch.allclose(found[0, :, 0, 1], words[0, 1], atol=1e-3)


def test_standing_statistics_are_means_over_batches():
    norm = StandingNorm(3)
    batches = torch.randn(4, 8, 3, 2, 2, generator=torch.Generator().manual_seed(2)) * 3 + 1
    with collecting_statistics(norm):
        for batch in batches:
            norm(batch)
    assert torch.allclose(norm.mean, batches.mean((0, 1, 3, 4)), atol=1e-5)
    wanted = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    assert torch.allclose(norm.variance, wanted, atol=1e-4)
    before = norm.mean.clone()
    norm.train()(batches[0])
    assert torch.equal(norm.mean, before)  # training leaves them alone
    shown = norm.eval()(batches[0])
    assert torch.allclose(shown[:, 1], (batches[0][:, 1] - norm.mean[1]) / (norm.variance[1] + 1e-5).sqrt(), atol=1e-5)


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_discriminator_sees_image_text_and_regions(pretrained):
    torch.manual_seed(0)
    frozen = ColourLayout()
    example = frozen.extract(torch.zeros(1, 3, 16, 16)) if pretrained else None
    discriminator = XmcDiscriminator(16, 10, SMALL, example).eval()
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    sentence, words, _ = texts(4)
    below = frozen.extract(images) if pretrained else None
    output = discriminator(images, sentence, below)
    assert output.logit.shape == (4,)
    assert output.embedding.shape == (4, 8)
    assert output.regions.shape == (4, 64, 8)
    other = discriminator(images, sentence.flip(0), below)
    assert not torch.allclose(output.logit, other.logit)
    assert torch.equal(output.embedding, other.embedding)  # the image encoder does not see the text
    for one, shape in zip(discriminator.read(sentence, words), ((4, 8), (4, 3, 8)), strict=True):
        assert one.shape == shape


def test_regions_that_are_no_map_are_refused():
    with pytest.raises(ConfigError, match=r"one of 16, 8, 4 pixels; found 32"):
        XmcDiscriminator(16, 10, XmcSettings(width=4, region_side=32))
    with pytest.raises(ConfigError, match="power of two"):
        XmcSettings(region_side=12)


def test_the_stack_generator_draws_around_its_condition():
    torch.manual_seed(0)
    settings = XMrsSettings(width=4, most=2, noise=5, condition_width=6)
    generator = XMrsGenerator(32, 10, settings)
    assert generator.noise == 11
    embedding = torch.randn(3, 10)
    drawn = generator.sample(torch.randn(3, 11), embedding)
    assert drawn.images.shape == (3, 3, 32, 32)
    assert drawn.images.abs().max() <= ImageLayer.REACH
    assert drawn.mean.shape == drawn.log_variance.shape == (3, 6)
    logit, label = XMrsDiscriminator(32, 4, settings)(drawn.images, drawn.mean)
    assert logit.shape == (3,)
    assert label.shape == (3, 4)
    assert XMrsDiscriminator(32, 1, settings)(drawn.images, drawn.mean)[1] is None


def test_what_the_embedding_says_does_not_begin_by_drowning_in_what_is_drawn_around_it():
    torch.manual_seed(0)
    generator = XMrsGenerator(16, 256, XMrsSettings(width=4, condition_width=64, noise=8))
    drawn = generator.sample(torch.randn(200, generator.noise), torch.randn(200, 256))
    assert 0.7 < drawn.mean.var() < 1.5
    assert drawn.log_variance.exp().mean() < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word": -1.0}, "word must be at least 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"width": 0}, "width must be at least 1"),
        ({"reach": 0.0}, "reach must be above 0"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(ConfigError, match=message):
        XmcSettings(**change)
    with pytest.raises(ConfigError, match="unknown condition"):
        XMrsSettings(condition="sound")
    with pytest.raises(ConfigError, match="multiple of 32 pixels, found 50"):
        XMrsSettings(encoder_size=50)
