"""Canonical correlations against the textbook, and what the power does."""

import numpy as np
import pytest

from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError
from diptych.training.closed_form import CCA


def two_views(rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two noisy linear views of three hidden numbers, and which rows are paired: each with its own."""
    draw = np.random.default_rng(0).normal
    hidden = draw(size=(rows, 3))
    x = hidden @ draw(size=(3, 8)) + 0.3 * draw(size=(rows, 8))
    y = hidden @ draw(size=(3, 5)) + 0.3 * draw(size=(rows, 5))
    return x + 3, y - 2, np.arange(rows)


def test_projections_are_as_correlated_as_the_eigenvalues_say() -> None:
    """Hardoon et al., equation 7: the squared correlations are eigenvalues of Cxx^-1 Cxy Cyy^-1 Cyx."""
    x, y, own = two_views()
    left, right = CCA(regularisation=1e-8, power=0.0).maps(x, y, own, 3)
    a, b = (x - x.mean(0)) @ left, (y - y.mean(0)) @ right
    found = [float(np.corrcoef(a[:, i], b[:, i])[0, 1]) for i in range(3)]
    xd, yd = (side - side.mean(0) for side in (x, y))
    cxx, cyy, cxy = (p.T @ q / len(p) for p, q in ((xd, xd), (yd, yd), (xd, yd)))
    product = np.linalg.inv(cxx) @ cxy @ np.linalg.inv(cyy) @ cxy.T
    wanted = np.sqrt(np.sort(np.linalg.eigvals(product).real)[::-1][:3])
    assert found == pytest.approx(wanted, abs=1e-4)
    assert a.T @ a / len(a) == pytest.approx(np.eye(3), abs=1e-3)  # whitened


def test_pairs_find_each_other() -> None:
    x, y, own = two_views(400)
    left, right = CCA().maps(x, y, own, 3)
    a, b = (normalise((side - side.mean(0)) @ maps) for side, maps in ((x, left), (y, right)))
    assert ((a @ b.T).argmax(1) == own).mean() > 0.2  # chance is 0.0025


def test_the_power_weighs_directions_by_their_correlation() -> None:
    x, y, own = two_views()
    plain, _ = CCA(1e-3, power=0.0).maps(x, y, own, 5)
    weighted, _ = CCA(1e-3, power=1.0).maps(x, y, own, 5)
    ratio = np.linalg.norm(weighted, axis=0) / np.linalg.norm(plain, axis=0)
    assert (ratio[:3] > 0.7).all()
    assert (ratio[3:] < 0.2).all()  # noise


def test_more_directions_than_there_are_and_no_regularisation_are_refused() -> None:
    x, y, own = two_views(50)
    with pytest.raises(ConfigError, match="at most 5 directions here, dim asks for 6"):
        CCA().maps(x, y, own, 6)
    with pytest.raises(ConfigError, match="regularisation must be above 0"):
        CCA(regularisation=0)
    with pytest.raises(ConfigError, match="text_regularisation must be at least 0, found -1"):
        CCA(text_regularisation=-1)


def test_an_image_with_several_texts_is_the_same_as_equal_images_with_one_each() -> None:
    x, y, own = two_views(60)
    image_of = own // 3
    left, right = CCA().maps(x[:20], y, image_of, 4)
    wanted = CCA().maps(x[image_of], y, own, 4)
    for found, expected in zip((left, right), wanted, strict=True):
        assert abs(found) == pytest.approx(abs(expected), abs=1e-5)  # the sign of a direction is free


def test_fewer_pairs_than_features_give_the_same_maps_as_the_full_covariance() -> None:
    """The eigenvectors outside the rows' span are left out: they have no covariance with anything."""
    draw = np.random.default_rng(1).normal
    x, y = draw(size=(12, 30)), draw(size=(12, 5))
    left, right = CCA(0.5, 1.0, 0.2).maps(x, y, np.arange(12), 5)
    xc, yc = x - x.mean(0), y - y.mean(0)

    def root(rows: np.ndarray, regularisation: float) -> np.ndarray:
        covariance = rows.T @ rows / len(rows)
        floor = regularisation * covariance.diagonal().mean()
        values, vectors = np.linalg.eigh(covariance + floor * np.eye(len(covariance)))
        return (vectors / np.sqrt(values)) @ vectors.T

    root_x, root_y = root(xc, 0.5), root(yc, 0.2)
    u, s, v = np.linalg.svd(root_x @ (xc.T @ yc / 12) @ root_y, full_matrices=False)
    assert xc @ left @ right.T @ yc.T == pytest.approx(xc @ root_x @ u * s**2 @ v @ root_y @ yc.T, abs=1e-4)
