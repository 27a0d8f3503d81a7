"""Dual encoders: loading, saving, and the models that ship with the package."""

from diptych.models.dual import DualEncoder
from diptych.models.shipped import SHIPPED, load

__all__ = ["SHIPPED", "DualEncoder", "load"]
