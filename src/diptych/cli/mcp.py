"""`diptych mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.core.extras import need

from .shared import Common

COMMON = Common()


def mcp(
    *,
    library: Path,
    allow: Annotated[list[Path] | None, Parameter(negative=())] = None,
    common: Common = COMMON,
) -> None:
    """Let an assistant use a library (Model Context Protocol, over stdin and stdout).

    The assistant can search it, describe it and look at its pictures. It can add pictures only from
    folders named by --allow, and delete nothing.

    For example:

        diptych mcp --library ~/pictures.library

        diptych mcp --library ~/pictures.library --allow ~/Pictures

    Args:
        library: Folder of the library.
        allow: A folder whose pictures may be added; may be given several times.
    """
    need("mcp", "diptych mcp")
    from diptych.library import Library, card
    from diptych.serve import assistant

    opened = Library.open(library, card.read(library).model)
    assistant.build(opened, allow or []).run("stdio")
