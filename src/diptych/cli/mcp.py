"""`diptych mcp`."""

from __future__ import annotations

from pathlib import Path

from diptych.core.extras import need

from .shared import Common, LibraryFolder


def mcp(
    *,
    library: LibraryFolder,
    allow: list[Path] | None = None,
    common: Common = Common(),
) -> None:
    """Let an assistant use a library (Model Context Protocol, over stdin and stdout).

    The assistant can search it, describe it and look at its images. It can add images only from
    folders named by --allow, and delete nothing.

    Examples:
        diptych mcp --library ~/pictures.library
        diptych mcp --library ~/pictures.library --allow ~/Pictures

    Args:
        allow: A folder whose images may be added; repeat for several.
    """
    need("mcp", "diptych mcp")
    from diptych.library import Library
    from diptych.serve import assistant

    opened = Library.open(library, device=common.device)
    opened.required_model()
    assistant.build(opened, allow or []).run("stdio")
