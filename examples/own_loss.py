"""Train the shipped model's heads with a loss of your own: python examples/own_loss.py pairs.csv."""

import sys

from torch import Tensor
from torch.nn.functional import softplus

import diptych
from diptych.losses import Embedded, Loss


@diptych.register.loss("soft_hinge")
class SoftHinge(Loss):
    """How much nearer than the partner the negatives are, softly."""

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embedded: Embedded) -> Tensor:
        """The mean over all negatives of a batch of pairs."""
        scores = embedded.scores()
        return softplus(self.margin + scores - scores.diagonal()[:, None])[embedded.negatives()].mean()


base = {"tower": "model:base"}
config = {"name": "soft_hinge", "init": "base", "image": base, "text": base, "training": {"epochs": 3}}
run = diptych.train(config | {"loss": {"name": "soft_hinge", "margin": 0.1}}, sys.argv[1])
print(run.folder, run.scores)
