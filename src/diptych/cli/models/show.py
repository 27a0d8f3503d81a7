"""`diptych models show`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from diptych.cli.shared import Common


def show(address: Annotated[str, Parameter(name="MODEL")], /, *, common: Common = Common()) -> None:
    """What one model is: kind, towers, heads, dimensions, languages, training data, licence, scores, card.

    Of a pretrained joint model also its preprocessing, context length, temperature, parameters, revision and hashes.

    Examples:
        diptych models show base
        diptych models show hf:google/siglip2-base-patch16-224
        diptych models show runs/mine/model --json

    Args:
        address: A shipped model's or generator's name, a model folder of any kind, or a pretrained model's address.
    """
    from diptych.inspection.models import describe_model

    found = describe_model(address)
    common.show(found.to_json(), found.to_text())
