"""A pretrained joint model of another library as a dual encoder: its own towers, no heads, its own temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diptych.core import fingerprint
from diptych.core.config import Part
from diptych.core.protocols import Preprocess
from diptych.encoders.joint import JointModel
from diptych.models.dual import DualEncoder
from diptych.models.folder import ModelConfig, SideConfig


@dataclass(frozen=True, kw_only=True)
class JointConfig(ModelConfig):
    """The config of a joint model, which stands in no folder of ours.

    `computing` is what changes its features beside weights, tokenizer and preprocessing, for each side.
    """

    computing: Sequence[Any] = ()

    @property
    def fingerprint(self) -> str:
        """Changes when weights, tokenizer, preprocessing or what is computed do; where they are does not count."""
        return fingerprint.of_json(["joint", self.dim, self.image.fingerprint, self.text.fingerprint, *self.computing])


def joint_encoder(model: JointModel, *, threads: int | None = None) -> DualEncoder:
    """The dual encoder that a joint model is: its features, brought to unit length."""

    def side(part: Part, tower: Any, preprocess: Preprocess | None = None) -> SideConfig:
        return SideConfig(
            tower=part.name,
            features=tower.dim,
            head=Part("identity"),
            options=part.options,
            preprocess=preprocess,
            fingerprint=tower.fingerprint,
        )

    config = JointConfig(
        name=model.address,
        dim=model.image.dim,
        licence=model.licence,
        image=side(model.image_part, model.image, model.image.preprocess),
        text=side(model.text_part, model.text),
        logit_scale=model.logit_scale,
        logit_bias=model.logit_bias,
        training=dict(model.facts),
        computing=[getattr(tower, "computing", ()) for tower in (model.image, model.text)],
    )
    return DualEncoder(model.folder, config, threads=threads, joint=model)
