"""Dual encoders: loading, saving, and the models that ship with the package."""

from diptych.models.dual import DualEncoder, require_cosine
from diptych.models.shipped import SHIPPED, as_model, lasting_name, load

__all__ = ["SHIPPED", "DualEncoder", "as_model", "lasting_name", "load", "require_cosine"]
