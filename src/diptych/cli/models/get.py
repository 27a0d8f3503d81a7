"""`diptych models get`."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from diptych.cli.shared import Common
from diptych.core.errors import ConfigError


def get(
    address: Annotated[str, Parameter(name="ADDRESS")],
    /,
    *,
    yes: bool = False,
    common: Common = Common(),
) -> None:
    """Fetch a pretrained model into the Hugging Face cache; the one command that downloads weights.

    Size, licence, revision and files are shown before, and you are asked. Safetensors are preferred; code is never
    fetched. What was cut off goes on where it stopped, and every file's hash is checked.

    Examples:
        diptych models get open_clip:ViT-B-32/laion2b_s34b_b79k
        diptych models get hf:google/siglip2-base-patch16-224 --yes

    Args:
        address: hf:ORG/NAME, open_clip:ARCHITECTURE/TAG, open_clip:hf-hub:ORG/NAME, sentence-transformers:NAME or
            timm:NAME. "@REVISION" behind it pins a commit, branch or tag.
        yes: Fetch without asking, as scripts must.
    """
    from diptych.encoders.fetching import fetch, plan

    planned = plan(address)
    if not (common.json and yes):  # one JSON document in all
        common.show(planned.to_json(), planned.to_text())
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"nothing was fetched: there is no terminal to ask on; to fetch {address}, add --yes")
        print("Fetch it? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ConfigError("nothing was fetched")
    fetch(planned, progress=common.progress())
    done = f"fetched into {planned.parts[0].folder}; every hash is right\nuse it as {address}"
    common.show(planned.to_json(), done)
