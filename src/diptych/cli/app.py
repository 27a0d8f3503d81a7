"""The `diptych` command: a table of thin commands, each imported only when it is called."""

from __future__ import annotations

import os
import sys

import cyclopts

from diptych.core.errors import DiptychError

INTERRUPTED = 130

app = cyclopts.App(
    name="diptych",
    help="Find pictures by words and words by pictures, in many languages, on your own machine.",
    config=cyclopts.config.Env("DIPTYCH_"),
    version="--version",
    default_parameter=cyclopts.Parameter(negative=()),
)

# name -> (where the function lives, one line for `diptych --help`)
COMMANDS = {
    "demo": ("diptych.cli.demo:demo", "The whole story on real pictures, in about two minutes."),
    "data": ("diptych.cli.data:app", "Look at a source of pairs before you train on it."),
    "train": ("diptych.cli.train:train", "Train a model from a TOML config."),
    "eval": ("diptych.cli.eval:evaluate", "Measure retrieval by the field's protocols."),
    "index": ("diptych.cli.index:index", "Put pictures into a library, or bring it up to date."),
    "search": ("diptych.cli.search:search", "Find pictures by words, by picture, or by both."),
    "library": ("diptych.cli.library:app", "Look after a library: info, verify, compact."),
    "models": ("diptych.cli.models:models", "List the models at hand."),
}


def build() -> cyclopts.App:
    """Register the commands lazily, so that `diptych --help` imports none of them."""
    for name, (target, summary) in COMMANDS.items():
        app.command(target, name=name, help=summary)
    return app


def main() -> None:
    """Entry point: run the command and turn errors into one line and an exit code."""
    debug = "--debug" in sys.argv or os.environ.get("DIPTYCH_DEBUG", "") not in ("", "0")
    try:
        build()()
    except DiptychError as error:
        if debug:
            raise
        print(f"diptych: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if debug:
            raise
        print("diptych: interrupted; what was finished is kept, run the same command to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
