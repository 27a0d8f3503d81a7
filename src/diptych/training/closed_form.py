"""Linear maps into one space, computed in one step: the baseline that training must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.core.errors import ConfigError
from diptych.core.shapes import Float


@dataclass(frozen=True)
class CCA:
    """Regularised canonical correlation analysis between centred X (n, p) and Y (n, q).

    With C the covariances, lambda the regularisation and r how far a direction's correlation counts,

        Cxx' = Cxx + lambda * mean(diag Cxx) * I,  Cyy' likewise
        U S V^T = svd(Cxx'^(-1/2) Cxy Cyy'^(-1/2))
        A = Cxx'^(-1/2) U_d S_d^r,   B = Cyy'^(-1/2) V_d S_d^r

    so that cos(A^T x, B^T y) ranks pairs. Source: Hardoon et al. 2004, section 3; directions weighted by
    their correlations as in Gong et al. 2014 (arXiv 1212.4522), equation 10.
    """

    regularisation: float = 0.1
    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.regularisation > 0:
            raise ConfigError(f"regularisation must be above 0, found {self.regularisation}")

    def maps(
        self, x: Float[Tensor, "n p"], y: Float[Tensor, "n q"], dim: int
    ) -> tuple[Float[Tensor, "p d"], Float[Tensor, "q d"]]:
        """A and B. Raises ConfigError when the narrower side has fewer than `dim` directions."""
        if dim > min(x.shape[1], y.shape[1]):
            raise ConfigError(
                f"cca has at most {min(x.shape[1], y.shape[1])} directions here, dim asks for {dim}; lower dim"
            )
        x, y = (side.double() - side.double().mean(0) for side in (x, y))
        root_x, root_y = (_inverse_root(side.T @ side / len(side), self.regularisation) for side in (x, y))
        left, strength, right = torch.linalg.svd(root_x @ (x.T @ y / len(x)) @ root_y, full_matrices=False)
        weight = strength[:dim] ** self.power
        return (root_x @ left[:, :dim] * weight).float(), (root_y @ right[:dim].T * weight).float()


def _inverse_root(covariance: Tensor, regularisation: float) -> Tensor:
    """(C + lambda * mean(diag C) * I)^(-1/2)."""
    floor = regularisation * covariance.diagonal().mean()
    values, vectors = torch.linalg.eigh(covariance + floor * torch.eye(len(covariance), dtype=covariance.dtype))
    inverse: Tensor = (vectors * values.clamp(min=1e-12).rsqrt()) @ vectors.T
    return inverse


FITS = {"cca": CCA}
