"""Every command, as its `--help` describes it."""

from __future__ import annotations

from diptych.cli.app import build, function_of
from diptych.cli.help import about
from diptych.cli.tree import TREE, Chain, Command, Group

from .markup import code, table, told

TITLE = "Command line"


def pages() -> dict[str, tuple[str, str]]:
    """A page for each word after `diptych`: place -> title and text."""
    return {f"reference/commands/{name}.md": (name, _page(name, entry)) for name, entry in TREE.items()}


def _page(name: str, entry: Command | Group) -> str:
    if isinstance(entry, Command):
        return f"# diptych {name}\n\n{_command((name,), entry)}\n"
    parts = [f"# diptych {name}", told(entry.summary)]
    for below, one in entry.commands.items():
        if isinstance(one, Command):
            parts += [f"## diptych {name} {below}", _command((name, below), one)]
    return "\n\n".join(parts) + "\n"


def _command(chain: Chain, command: Command) -> str:
    function = function_of(command)
    found = about(chain, function, build(chain, function))
    examples = "\n".join(found.examples)
    parts = [f"<p>{told(found.summary)}</p>", f"```text\n{found.usage}\n```", f"```sh\n{examples}\n```"]
    parts += [_paragraph(one) for one in found.more]
    for title, options in found.options.items():
        parts.append(table([title, "what it means"], [(code(signature), told(means)) for signature, means in options]))
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    return f"```text\n{text}\n```" if text.startswith("    ") else f"<p>{told(text)}</p>"
