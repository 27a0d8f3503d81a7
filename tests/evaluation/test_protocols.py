import numpy as np
import pytest

from diptych.core.errors import ConfigError, DataError
from diptych.evaluation import PROTOCOLS, Bagged, First, Folds, Full, parse_protocol

OWNER = np.repeat(np.arange(12), [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3])


def test_full_is_everything_once():
    (draw,) = Full().draws(np.arange(12), OWNER, seed=0)

    assert draw.images.tolist() == list(range(12))
    assert draw.texts.tolist() == list(range(24))


def test_first_takes_the_first_images_with_all_their_texts_wherever_those_stand():
    owner = OWNER[::-1]
    (draw,) = First(3).draws(np.arange(12), owner, seed=0)

    assert draw.images.tolist() == [0, 1, 2]
    assert sorted(owner[draw.texts].tolist()) == [0, 1, 1, 2, 2, 2]


def test_folds_are_consecutive_and_do_not_overlap():
    draws = Folds(3, 4).draws(np.arange(12), OWNER, seed=0)

    assert [draw.images.tolist() for draw in draws] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert np.concatenate([draw.texts for draw in draws]).tolist() == list(range(24))


def test_bags_hold_one_text_an_image_and_no_image_twice():
    for draw in Bagged(20, 7).draws(np.arange(12), OWNER, seed=4):
        assert len(set(draw.images.tolist())) == 7
        assert np.array_equal(OWNER[draw.texts], draw.images)


def test_bags_are_seeded_and_reach_every_image_and_text():
    bags = Bagged(60, 7).draws(np.arange(12), OWNER, seed=4)
    again = Bagged(60, 7).draws(np.arange(12), OWNER, seed=4)
    other = Bagged(60, 7).draws(np.arange(12), OWNER, seed=5)

    assert all(np.array_equal(one.texts, two.texts) for one, two in zip(bags, again, strict=True))
    assert not all(np.array_equal(one.texts, two.texts) for one, two in zip(bags, other, strict=True))
    assert len({int(text) for bag in bags for text in bag.texts}) == 24


@pytest.mark.parametrize("protocol", [First(13), Folds(4, 4), Bagged(1, 13)])
def test_too_few_images_are_named_with_the_way_out(protocol):
    with pytest.raises(DataError, match=r"found 12; use the protocol full"):
        protocol.draws(np.arange(12), OWNER, seed=0)


@pytest.mark.parametrize("protocol", [Full(), First(3), Folds(2, 9), Bagged(10, 500)])
def test_a_protocols_name_can_be_parsed_again(protocol):
    assert parse_protocol(protocol.name) == protocol


def test_short_names_are_the_fields_protocols():
    assert parse_protocol("5k") == First(5000)
    assert parse_protocol("5fold") == Folds(5, 1000)
    assert parse_protocol("bagged-10k") == Bagged(10, 10_000)
    assert all(parse_protocol(name).description for name in PROTOCOLS)


@pytest.mark.parametrize("name", ["2k", "first:0", "folds:5", "bagged:0x5", "first:-3", "FULL", "folds:5x1000x"])
def test_other_names_are_refused_with_the_choices(name):
    with pytest.raises(ConfigError, match="choose from full, 1k, 5k, 5fold, bagged-1k, bagged-10k"):
        parse_protocol(name)
