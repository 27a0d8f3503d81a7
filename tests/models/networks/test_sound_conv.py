"""The network over spectrograms: masks, loudness, and the rows it refuses."""

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.models.networks.sound_conv import SoundConv  # noqa: E402


def rows(frames: int, real: int, seed: int = 0) -> torch.Tensor:
    levels = torch.zeros(1, frames, 64)
    levels[:, :real] = torch.randint(1, 200, (1, real, 64), generator=torch.Generator().manual_seed(seed)).float()
    return levels.reshape(1, -1)


@pytest.fixture
def network() -> SoundConv:
    torch.manual_seed(0)
    made = SoundConv(64 * 100, widths=(8, 12)).eval()
    with torch.no_grad():
        for layer in made.layers:
            layer[1].bias.fill_(0.3)  # so that what stands behind the end would show
    return made


@pytest.mark.parametrize("real", [1, 4, 37, 60])
def test_what_stands_behind_the_end_makes_no_difference(network, real):
    short, long = network(rows(60, real)), network(rows(100, real))
    assert short.shape == (1, network.dim) == (1, 24)
    torch.testing.assert_close(short, long)


def test_neither_does_how_loud_it_is(network):
    quiet = rows(100, 50)
    louder = torch.where(quiet > 0, quiet + 40, quiet)
    torch.testing.assert_close(network(quiet), network(louder), rtol=1e-3, atol=1e-3)


def test_silence_and_nothing_are_finite(network):
    for levels in (torch.zeros(1, 6400), torch.ones(1, 6400)):
        assert network(levels).isfinite().all()


def test_reads_spectrograms_alone():
    with pytest.raises(ConfigError, match='set the tower "log-mel"'):
        SoundConv(100)
    with pytest.raises(ConfigError, match="at least one layer"):
        SoundConv(640, widths=())
