"""The `diptych` command: a table of thin commands, each imported only when it is called."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from diptych.core.errors import DataError, DiptychError, Interrupted
from diptych.core.extras import needed_by
from diptych.core.text import one_line

from .lists import spread

if TYPE_CHECKING:
    import cyclopts

USAGE = 2
INTERRUPTED = 130
RESUMED = {"index", "train", "distill", "demo", "generate", "data translate", "library reembed", "library add-tokens"}

ABOUT = "Find pictures by words and words by pictures, in many languages, on your own machine."

# name -> (where the function lives, one line for `diptych --help`)
COMMANDS = {
    "demo": ("diptych.cli.demo:demo", "Everything on real images, in about a minute."),
    "data": ("diptych.cli.data:app", "Look at a source of pairs before you train on it."),
    "train": ("diptych.cli.train:train", "Train a model from a TOML config."),
    "eval": ("diptych.cli.eval:evaluate", "Measure retrieval by the field's protocols."),
    "eval-generated": ("diptych.cli.eval_generated:eval_generated", "Measure a generator of pictures."),
    "audit": ("diptych.cli.audit:audit", "Which attributes of a text survive in its generated picture."),
    "report": ("diptych.cli.report:report", "One page about a run: curves, samples, measures, failures."),
    "filter": ("diptych.cli.filter:filter_source", "Find the texts that do not belong to their picture."),
    "compare": ("diptych.cli.compare:compare", "Several models in one table, with paired tests."),
    "map": ("diptych.cli.map:draw_map", "Lay out pictures, texts and words on an interactive map."),
    "explain": ("diptych.cli.explain:explain", "Show which regions and which words make a match."),
    "index": ("diptych.cli.index:index", "Put pictures into a library, or bring it up to date."),
    "search": ("diptych.cli.search:search", "Find pictures by words, by picture, or by both."),
    "caption": ("diptych.cli.caption:caption", "Describe pictures in words."),
    "generate": ("diptych.cli.generate:generate", "Make small pictures from words."),
    "distill": ("diptych.cli.distill:distill", "Teach a dual encoder what a cross-encoder knows."),
    "explain-match": ("diptych.cli.explain_slow:explain_match", "Draw which regions of a picture a text looked at."),
    "fit-rerank": ("diptych.cli.fit_rerank:fit_rerank", "Fit a cross-encoder to a dual encoder, for search --rerank."),
    "calibration": (
        "diptych.cli.fit_rerank:calibration",
        "How far the probabilities of re-ranked hits can be trusted.",
    ),
    "serve": ("diptych.cli.serve:serve", "A page for people and an API for programs."),
    "mcp": ("diptych.cli.mcp:mcp", "Let an assistant use a library (Model Context Protocol)."),
    "library": ("diptych.cli.library:app", "Look after a library: verify, repair, delete, undo, export, reembed, ..."),
    "models": ("diptych.cli.models:models", "List the models at hand."),
}


def build(called: str | None = None) -> cyclopts.App:
    """The command table, registered lazily, so that no other command is imported than the one called.

    The `called` command speaks for itself: its help is its own docstring, with the examples.
    """
    import cyclopts

    app = cyclopts.App(
        name="diptych",
        help=ABOUT,
        config=cyclopts.config.Env("DIPTYCH_"),
        version=_version,
        default_parameter=cyclopts.Parameter(negative=(), show_env_var=False, show_default=_shown),
        suppress_keyboard_interrupt=False,  # `run` has more to say than an exit code
    )
    for name, (target, summary) in COMMANDS.items():
        app.command(target, name=name, **({} if name == called else {"help": summary}))
    return app


def _shown(default: Any) -> str | None:
    """A default as a person would type it; None for what is off, empty or not there."""
    if default is None or default is False or default in ("", ()):
        return None
    return ", ".join(map(str, default)) if isinstance(default, tuple | list) else str(default)


def _version() -> str:
    from diptych.core.version import __version__

    return __version__


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; errors become one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in _before_words(arguments) or os.environ.get("DIPTYCH_DEBUG", "") not in ("", "0")
    try:
        return _dispatch(arguments)
    except DiptychError as error:
        if debug:
            raise
        print(f"diptych: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        if debug:
            raise
        goes_on = not RESUMED.isdisjoint({arguments[0], " ".join(arguments[:2])} if arguments else ())
        kept = str(stop) if isinstance(stop, Interrupted) else "what was finished is kept"
        more = f"{kept}; run the same command to go on" if goes_on else "nothing was written"
        print(f"diptych: interrupted; {more}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        if debug:
            raise
        said = one_line(f"{error.strerror or error}: {error.filename or 'no file named'}")
        print(f"diptych: {said}", file=sys.stderr)
        return DataError.exit_code
    except SystemExit as stop:
        if "--help" in _before_words(arguments):  # its printer exits with 1 where the reader of a pipe went away
            return 0
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        if pulse := sys.modules.get("diptych.cli.pulse"):  # most commands have none
            pulse.PULSE.stop()


def _dispatch(arguments: list[str]) -> int:
    """Call what the arguments name; errors of usage become one line on stderr."""
    if arguments in ([], ["--help"], ["-h"]):
        print(_overview())
        return 0
    import cyclopts

    from diptych.core.registry import allow

    # code of the user's own, as in a config: --format my_package.my_module:read
    allow([value for flag, value in pairwise(arguments) if flag.startswith("--")])
    try:
        with needed_by(f"diptych {arguments[0]}"):
            build(arguments[0])(
                spread(_signs_as_words(arguments)), exit_on_error=False, print_error=False, result_action="return_value"
            )
    except cyclopts.UnknownCommandError as error:
        # its own message would import every command to find a near one
        from diptych.core.config import unknown

        name = (error.unused_tokens or ["?"])[0]
        print(f"diptych: {unknown('command', name, COMMANDS)}", file=sys.stderr)
        return USAGE
    except cyclopts.CycloptsError as error:
        said = one_line(" ".join(str(error).split()).removesuffix("."))
        command = " ".join(["diptych", *(error.command_chain or ())])
        print(f"diptych: {said}{_words_hint(arguments, said)} (see {command} --help)", file=sys.stderr)
        return USAGE
    return 0


def _overview() -> str:
    """All commands, a line each. Written here, because laying out a page of help takes longer than reading it."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{summary}" for name, (_, summary) in COMMANDS.items()]
    more = "diptych COMMAND --help describes a command with examples; diptych --version tells the version.\n"
    more += "A flag can be set in the environment too: DIPTYCH_SEARCH_LIBRARY stands for search --library."
    return "\n".join(["Usage: diptych COMMAND [OPTIONS]", "", ABOUT, "", *lines, "", more])


def _before_words(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments that may be options: those before `--`."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _signs_as_words(arguments: list[str]) -> list[str]:
    """With a space before each lone - of a search, a sign of a sum, which would be taken for an option."""
    if arguments[:1] != ["search"]:
        return arguments
    options = _before_words(arguments)
    return [*(" -" if one == "-" else one for one in options), *arguments[len(options) :]]


def _words_hint(arguments: list[str], said: str) -> str:
    """What to do with words or a name that begin with -, where the error that was `said` may come from them."""
    for one in _before_words(arguments):
        has_space = re.match(r"-[^=]*\s", one)
        if has_space or (re.match(r"-[^-]{2}", one) and one in said):
            return f"; words or names that begin with - go last, after --, such as: -- {one_line(shlex.quote(one))}"
    return ""


def main() -> None:
    """Entry point."""
    sys.exit(run())
