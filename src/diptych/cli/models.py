"""`diptych models`."""

from .shared import Common


def models(*, common: Common = Common()) -> None:
    """List the models at hand."""
    common.show({}, "none")
