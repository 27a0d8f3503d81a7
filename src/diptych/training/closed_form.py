"""Linear maps into one space, computed in one step, in NumPy: the baseline that training must beat.

A one-step fit is registered with `@register.fit` and has `maps(x, y, partner, dim)`. One that also has `image_head`
gives images another head than its linear map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.core.checks import at_least, positive
from diptych.core.errors import ConfigError
from diptych.core.registry import register
from diptych.core.shapes import Float, Float32, Int
from diptych.models.linear_map import LinearMap
from diptych.models.nearest_texts import NearestTexts


@register.fit("cca")
@dataclass(frozen=True)
class CCA:
    """Regularised canonical correlation analysis between centred X (n, p) and Y (m, q).

    A row of Y is paired with one row of X; a row of X may have several. With C the covariances over the pairs,
    lambda and mu the regularisation and r how far a direction's correlation counts,

        Cxx' = Cxx + lambda * mean(diag Cxx) * I,  Cyy' = Cyy + mu * mean(diag Cyy) * I
        U S V^T = svd(Cxx'^(-1/2) Cxy Cyy'^(-1/2))
        A = Cxx'^(-1/2) U_d S_d^r,   B = Cyy'^(-1/2) V_d S_d^r

    so that cos(A^T x, B^T y) ranks pairs. Source: Hardoon et al. 2004, section 3; directions weighted by
    their correlations as in Gong et al. 2014 (arXiv 1212.4522), equation 10.

    Args:
        regularisation: lambda; the more features there are for each image, the more it takes.
        power: r.
        text_regularisation: mu; 0 is `regularisation`.
    """

    regularisation: float = 0.1
    power: float = 2.0
    text_regularisation: float = 0.0

    def __post_init__(self) -> None:
        positive("regularisation", self.regularisation)
        at_least("text_regularisation", self.text_regularisation, 0)

    def maps(
        self, x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "m q"], partner: Int[np.ndarray, " m"], dim: int
    ) -> tuple[Float32[np.ndarray, "p d"], Float32[np.ndarray, "q d"]]:
        """A and B; `partner[j]` is the row of x that row j of y is paired with.

        Raises ConfigError when the narrower side has fewer than `dim` directions.
        """
        if dim > min(x.shape[1], y.shape[1]):
            raise ConfigError(
                f"cca has at most {min(x.shape[1], y.shape[1])} directions here, dim asks for {dim}; lower dim"
            )
        share = np.bincount(partner, minlength=len(x)) / len(y)  # of each row of x in the pairs
        x, y = x.astype(np.float64), y.astype(np.float64)
        x, y = x - share @ x, y - y.mean(0)
        root_x = _inverse_root(x * np.sqrt(share)[:, None], self.regularisation)
        root_y = _inverse_root(y / np.sqrt(len(y)), self.text_regularisation or self.regularisation)
        sums = np.zeros((len(x), y.shape[1]))
        np.add.at(sums, partner, y)
        left, strength, right = np.linalg.svd(root_x.T @ (x.T @ sums / len(y)) @ root_y, full_matrices=False)
        weight = strength[:dim] ** self.power
        return _widened(root_x @ left[:, :dim] * weight, dim), _widened(root_y @ right[:dim].T * weight, dim)


@register.fit("cknn")
@dataclass(frozen=True)
class CkNN(CCA):
    """A query image is answered through its nearest training images: their texts' vectors are averaged.

    Both are looked up and averaged in the space of `CCA`; a text is its own vector there. Source: the baseline of
    Fain et al. 2019 (arXiv 1911.12763) as X-MRS (arXiv 2012.01345) compares with it; where the neighbours are looked
    up is this package's choice.

    Args:
        neighbours: training images that answer for a query image.
        regularisation, power, text_regularisation: of `CCA`.
    """

    neighbours: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("neighbours", self.neighbours, 1)

    def image_head(
        self,
        image: LinearMap,
        text: LinearMap,
        x: Float32[np.ndarray, "n p"],
        y: Float32[np.ndarray, "m q"],
        partner: Int[np.ndarray, " m"],
    ) -> NearestTexts:
        """What takes the place of the image's map; `partner` as for `maps`.

        Raises ConfigError for fewer training images than neighbours.
        """
        if len(x) < self.neighbours:
            raise ConfigError(
                f"cknn takes the texts of {self.neighbours} training images, found {len(x)} images; lower neighbours"
            )
        texts = np.zeros((len(x), len(text.bias)))
        np.add.at(texts, partner, text(y))
        texts /= np.bincount(partner, minlength=len(x))[:, None]
        return NearestTexts(image, image(x), texts.astype(np.float32), self.neighbours)


def _inverse_root(rows: Float[np.ndarray, "n p"], regularisation: float) -> Float[np.ndarray, "p r"]:
    """W (C + lambda * mean(diag C) * I)^(-1/2) with C = rows^T rows, W its r = min(n, p) first eigenvectors.

    What lies outside of them has no covariance with anything.
    """
    if len(rows) < rows.shape[1]:
        _, lengths, directions = np.linalg.svd(rows, full_matrices=False)
        values, vectors = lengths**2, directions.T
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows)
    floor = regularisation * values.sum() / rows.shape[1]
    inverse: Float[np.ndarray, "p r"] = vectors / np.sqrt(np.maximum(values + floor, 1e-12))
    return inverse


def _widened(maps: Float[np.ndarray, "p k"], dim: int) -> Float32[np.ndarray, "p d"]:
    """With zeros for the directions that so few pairs do not have."""
    return np.pad(maps, ((0, 0), (0, dim - maps.shape[1]))).astype(np.float32)
