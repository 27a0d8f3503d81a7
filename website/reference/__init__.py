"""The pages of the reference, which are made from the code: commands, configs, parts, Python and HTTP."""

from __future__ import annotations

from website.contents import Section

from . import commands, configs, http, parts, python


def pages() -> tuple[dict[str, str], list[tuple[str, str] | Section]]:
    """Each page by its place on the site, and their order."""
    made: dict[str, str] = {}
    order: list[tuple[str, str] | Section] = []
    for module in (commands, configs, python):
        found = module.pages()
        made |= {place: text for place, (_, text) in found.items()}
        order.append(Section(module.TITLE, [(title, place) for place, (title, _) in found.items()]))
    for one in (parts, http):
        made[one.PLACE] = one.page()
        order.append((one.TITLE, one.PLACE))
    return made, order
