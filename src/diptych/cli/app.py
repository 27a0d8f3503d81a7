"""The `diptych` command: a table of thin commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from diptych.core.errors import DataError, DiptychError, Interrupted
from diptych.core.extras import needed_by
from diptych.core.text import one_line

from .help import ABOUT, described, environment, overview, page
from .lists import spread
from .tree import TREE, Chain, Command, Group, find

if TYPE_CHECKING:
    import cyclopts

USAGE = 2
INTERRUPTED = 130
_NUMBERS: dict[object, str] = {int: "a whole number", float: "a number"}
LIBRARY = "DIPTYCH_LIBRARY"  # the environment's name for --library of every command


def build(chain: Chain, function: Callable[..., Any]) -> cyclopts.App:
    """The parser of one command, which its words and the function behind it make."""
    import cyclopts

    app = cyclopts.App(
        name="diptych",
        config=[cyclopts.config.Env("DIPTYCH_"), _library_of_environment],
        help_flags=(),
        version_flags=(),
        suppress_keyboard_interrupt=False,  # `run` has more to say than an exit code
    )
    above = app
    for name in chain[:-1]:
        group = cyclopts.App(name=name, help_flags=(), version_flags=())
        above.command(group)
        above = group
    plain = cyclopts.Parameter(negative="")  # no --no-json, no --empty-languages
    above.command(function, name=chain[-1], default_parameter=plain, help_flags=(), version_flags=())
    return app


def _library_of_environment(app: cyclopts.App, chain: Chain, arguments: cyclopts.ArgumentCollection) -> None:
    """Set --library from the environment where neither the command line nor a narrower variable does."""
    from cyclopts import Token

    folder = os.environ.get(LIBRARY, "")
    for argument in arguments:
        if folder and argument.name == "--library" and not argument.tokens:
            argument.append(Token(keyword=LIBRARY, value=folder, source="env"))


def function_of(command: Command) -> Callable[..., Any]:
    """The function behind a command; its module is imported now."""
    module, _, name = command.target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"diptych.cli.{module}"), name)
    return found


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
        kept = str(stop) if isinstance(stop, Interrupted) else "what was finished is kept"
        resumes = bool(arguments) and getattr(find(arguments)[1], "resumes", False)
        more = f"{kept}; run the same command to go on" if resumes else "nothing was written"
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
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        if pulse := sys.modules.get("diptych.cli.pulse"):  # most commands have none
            pulse.PULSE.stop()


def _dispatch(arguments: list[str]) -> int:
    """Call what the arguments name; errors of usage become one line on stderr."""
    if arguments in ([], ["--help"], ["-h"]):
        print(overview("", Group(ABOUT, TREE)))
        return 0
    if arguments == ["--version"]:
        from diptych.core.version import __version__

        print(__version__)
        return 0
    chain, entry = find(arguments)
    if isinstance(entry, Group):
        print(overview(chain[0], entry))
        return 0
    with needed_by(f"diptych {' '.join(chain)}"):
        return _call(chain, entry, arguments)


def _call(chain: Chain, command: Command, arguments: list[str]) -> int:
    import cyclopts

    from diptych.core.registry import allow

    options = _before_words(arguments)
    # code of the user's own, as in a config: --format my_package.my_module:read
    allow([value for flag, value in pairwise(options) if flag.startswith("--")])
    function = function_of(command)
    app = build(chain, function)
    if "--help-env" in options:
        print(environment(chain, app))
        return 0
    if not {"--help", "-h"}.isdisjoint(options):
        print(page(chain, function, app))
        return 0
    try:
        app(spread(_signs_as_words(arguments)), exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        said = _usage(error, options, described(chain, app))
        print(f"diptych: {said}{_words_hint(arguments, said)} (see diptych {' '.join(chain)} --help)", file=sys.stderr)
        return USAGE
    return 0


def _usage(error: cyclopts.CycloptsError, options: Sequence[str], about: Sequence[cyclopts.Argument]) -> str:
    """What the parser's error means, in one line, given the command line and the arguments that the command takes."""
    from difflib import get_close_matches

    import cyclopts

    places = ", ".join(one.name for one in about if not one.name.startswith("-")) or "nothing"
    if isinstance(error, cyclopts.MissingArgumentError) and error.argument:
        name = error.argument.name
        if not set(error.argument.names).isdisjoint(options):
            return f"{name} needs a value"
        if name == "--library":
            return f"--library is missing; name the library's folder, as --library FOLDER or in {LIBRARY}"
        meaning = next(" ".join((one.parameter.help or "").split()) for one in about if one.name == name)
        return f"{name} is missing: {meaning.removesuffix('.')}"
    if isinstance(error, cyclopts.UnknownOptionError):
        found = error.token.keyword or error.token.value
        near = get_close_matches(found, [one.name for one in about], n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else f"without a flag it takes {places}"
        return f"unknown option {one_line(found)}; {hint}"
    if isinstance(error, cyclopts.UnusedCliTokensError):
        unused = one_line(shlex.join(error.unused_tokens or ()))
        return f"found {unused} too many; without a flag it takes {places}"
    if isinstance(error, cyclopts.CoercionError) and error.argument and error.token and error.target_type in _NUMBERS:
        found = one_line(repr(error.token.value))
        return f"{error.argument.name}: found {found}, expected {_NUMBERS[error.target_type]}"
    said = one_line(" ".join(str(error).split()).removesuffix("."))
    return said[:1].lower() + said[1:]


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
    # Pillow says what is odd in a file as it reads it; what that means for the image is said by `index`
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    sys.exit(run())
