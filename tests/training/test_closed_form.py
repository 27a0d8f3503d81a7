"""Canonical correlations against the textbook, and what the power does."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the [train] extra")

from diptych.core.errors import ConfigError  # noqa: E402
from diptych.training.closed_form import CCA  # noqa: E402


def two_views(rows: int = 4000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two noisy linear views of three hidden numbers."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, 3, generator=draw)
    x = hidden @ torch.randn(3, 8, generator=draw) + 0.3 * torch.randn(rows, 8, generator=draw)
    y = hidden @ torch.randn(3, 5, generator=draw) + 0.3 * torch.randn(rows, 5, generator=draw)
    return x + 3, y - 2, hidden


def test_projections_are_as_correlated_as_the_eigenvalues_say() -> None:
    """Hardoon et al., equation 7: the squared correlations are eigenvalues of Cxx^-1 Cxy Cyy^-1 Cyx."""
    x, y, _ = two_views()
    left, right = CCA(regularisation=1e-8, power=0.0).maps(x, y, 3)
    a, b = (x - x.mean(0)) @ left, (y - y.mean(0)) @ right
    found = [float(np.corrcoef(a[:, i], b[:, i])[0, 1]) for i in range(3)]
    xd, yd = (side.double().numpy() - side.double().numpy().mean(0) for side in (x, y))
    cxx, cyy, cxy = (p.T @ q / len(p) for p, q in ((xd, xd), (yd, yd), (xd, yd)))
    product = np.linalg.inv(cxx) @ cxy @ np.linalg.inv(cyy) @ cxy.T
    wanted = np.sqrt(np.sort(np.linalg.eigvals(product).real)[::-1][:3])
    assert found == pytest.approx(wanted, abs=1e-4)
    assert torch.allclose(a.T @ a / len(a), torch.eye(3), atol=1e-3)  # whitened


def test_pairs_find_each_other() -> None:
    x, y, _ = two_views(400)
    left, right = CCA().maps(x, y, 3)
    a, b = (
        torch.nn.functional.normalize((side - side.mean(0)) @ maps, dim=1) for side, maps in ((x, left), (y, right))
    )
    assert ((a @ b.T).argmax(1) == torch.arange(400)).float().mean() > 0.2  # chance is 0.0025


def test_the_power_weighs_directions_by_their_correlation() -> None:
    x, y, _ = two_views()
    plain, _ = CCA(1e-3, power=0.0).maps(x, y, 5)
    weighted, _ = CCA(1e-3, power=1.0).maps(x, y, 5)
    ratio = weighted.norm(dim=0) / plain.norm(dim=0)
    assert (ratio[:3] > 0.7).all()
    assert (ratio[3:] < 0.2).all()  # noise


def test_more_directions_than_there_are_and_no_regularisation_are_refused() -> None:
    x, y, _ = two_views(50)
    with pytest.raises(ConfigError, match="at most 5 directions here, dim asks for 6"):
        CCA().maps(x, y, 6)
    with pytest.raises(ConfigError, match="regularisation must be above 0"):
        CCA(regularisation=0)
