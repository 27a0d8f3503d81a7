"""All commands of `diptych`: where the function of each lives, and the line that describes it.

Nothing else is imported here, so that an overview of the commands costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """One command: `module:function` within `diptych.cli`, and what it does in one line."""

    target: str
    summary: str
    resumes: bool = False  # whether, when it is interrupted, the same command goes on


class Group(NamedTuple):
    """Several commands under one word: what they are about, and each by its name."""

    summary: str
    commands: Mapping[str, Command | Group]


Chain = tuple[str, ...]  # the words that name a command: ("data", "check")

TREE: dict[str, Command | Group] = {
    "demo": Command("demo:demo", "Everything on real images, in about a minute.", True),
    "index": Command("index:index", "Put images into a library, or bring it up to date.", True),
    "search": Command("search:search", "Find images by words, by image, or by both."),
    "serve": Command("serve:serve", "A page for people and an API for programs."),
    "mcp": Command("mcp:mcp", "Let an assistant use a library (Model Context Protocol)."),
    "classify": Command("classify:classify", "Give images the nearest of some labels, by words alone."),
    "relate": Command("relate:relate", "Say whether an image and a text, or two of a kind, are related."),
    "caption": Command("caption:caption", "Describe images in words."),
    "map": Command("map:draw_map", "Lay out images, texts and words on an interactive map."),
    "explain": Command("explain:explain", "Show which regions and which words make a match."),
    "data": Group(
        "Check a source of pairs, clean it, translate it, or make one.",
        {
            "check": Command("data.check:check", "Read a source once and say what is wrong with it."),
            "filter": Command("data.filter:filter_source", "Find the texts that do not belong to their image."),
            "translate": Command("data.translate:translate", "Add machine translations to a source of texts.", True),
            "mine": Command("data.mine:mine", "Find hard negatives: wrong pairs that a model takes for right."),
            "emoji": Command("data.emoji:emoji", "Make a data set of emoji drawings and their names."),
        },
    ),
    "train": Command("train:train", "Train a model from a TOML config.", True),
    "distill": Command("distill:distill", "Teach a dual encoder what another model knows.", True),
    "eval": Command("eval:evaluate", "Measure retrieval by the field's protocols."),
    "compare": Command("compare:compare", "Several models in one table, with paired tests."),
    "rerank": Group(
        "Re-rank search results with a cross-encoder: fit it, check it, prepare a library.",
        {
            "fit": Command("rerank.fit:fit", "Fit a re-ranker to a dual encoder, for search --rerank."),
            "check": Command("rerank.check:check", "Measure the calibration of re-ranked hits' probabilities."),
            "prepare": Command("rerank.prepare:prepare", "Store a library's image tokens, for quick re-ranking.", True),
        },
    ),
    "generator": Group(
        "Draw small images from words, and measure what draws them.",
        {
            "draw": Command("generator.draw:draw", "Draw small images from words.", True),
            "eval": Command("generator.eval:evaluate", "Measure a generator beside real images."),
            "audit": Command("generator.audit:audit", "Which attributes of a text survive in its generated image."),
            "report": Command("generator.report:report", "One page about a run: curves, samples, measures, failures."),
            "rate": Command("generator.rate:rate", "Let people choose the best image of several systems, blind."),
        },
    ),
    "detector": Group(
        "Object detectors, which look for what a text names in its generated image.",
        {
            "eval": Command("detector.eval:evaluate", "Check a detector on real images against their captions."),
            "convert": Command("detector.convert:convert", "Write a TF.js detector as an ONNX file."),
        },
    ),
    "models": Group(
        "The models at hand, and fetching others.",
        {
            "get": Command("models.get:get", "Fetch a pretrained model; the one command that uses the network.", True),
            "list": Command("models.list:list_models", "List the models that ship with Diptych, and folders given."),
            "parts": Command("models.parts:parts", "The losses, towers, readers, ... that configs and flags can name."),
            "export": Command("models.export:export", "Write a model so that it runs without PyTorch.", True),
            "blend": Command("models.blend:blend", "Blend a model and its fine-tuned version, weight by weight."),
            "show": Command("models.show:show", "What one model is: towers, languages, training data, scores, card."),
        },
    ),
    "library": Group(
        "Look after a library: inspect, repair, tune, delete, undo, copy, change its model.",
        {
            "info": Command("library.upkeep:info", "What a library holds, and what --where can ask about."),
            "verify": Command("library.upkeep:verify", "Check that a library is whole; changes nothing."),
            "repair": Command("library.upkeep:repair", "Put right what verify names, as far as that is possible."),
            "compact": Command("library.upkeep:compact", "Free disk space: drop old versions and left-overs."),
            "tune": Command("library.tune:tune", "Measure which index finds the nearest quickly and rightly; use it."),
            "list": Command("library.listing:list_items", "List the images: all, or by a filter, in order of date."),
            "duplicates": Command("library.duplicates:duplicates", "Find copies of one image; changes nothing."),
            "reread": Command("library.upkeep:reread", "Ask photos again when, where and with what they were taken."),
            "rm": Command("library.trash:rm", "Put images into the trash: by id, path or --where."),
            "undo": Command("library.trash:undo", "Bring back what was put into the trash."),
            "trash": Command("library.trash:trash", "List the trash, newest first."),
            "purge": Command("library.trash:purge", "Delete old trash for good."),
            "export": Command("library.copies:export", "Write a library to one portable folder or .tar file."),
            "import": Command("library.copies:import_", "Make a library of an export or a backup."),
            "backup": Command("library.copies:backup", "Export to a dated .tar file and check every hash."),
            "reembed": Command("library.copies:reembed", "Change a library's model while the old one serves.", True),
        },
    ),
}


def commands() -> Iterator[tuple[Chain, Command]]:
    """Every command with the words that name it."""
    for name, entry in TREE.items():
        if isinstance(entry, Group):
            yield from (((name, below), one) for below, one in entry.commands.items() if isinstance(one, Command))
        else:
            yield (name,), entry


def find(arguments: list[str]) -> tuple[Chain, Command | Group]:
    """What the first arguments name: a command, or a group when no command of it is named.

    Raises ConfigError for what is not there; the message names the nearest.
    """
    name, *rest = arguments
    entry = TREE.get(name)
    if entry is None:
        raise _unknown(name, TREE)
    if isinstance(entry, Command) or not rest or rest[0] in ("--help", "-h", "--help-env"):
        return (name,), entry
    if rest[0] not in entry.commands:
        raise _unknown(rest[0], entry.commands, f"{name} ")
    return (name, rest[0]), entry.commands[rest[0]]


def _unknown(name: str, choices: Mapping[str, object], group: str = "") -> Exception:
    """The error for a command that is not there: the choices, and the nearest of all commands."""
    import difflib

    from diptych.core.errors import ConfigError
    from diptych.core.text import one_line

    if name.startswith("-"):
        return ConfigError(f"found {one_line(name)} where a command was expected; options follow the command")
    by_name = {name: name for name in choices}
    for chain, _ in commands():  # `audit` is near `generator audit`
        by_name.setdefault(chain[-1], " ".join(chain))
        by_name.setdefault("-".join(chain), " ".join(chain))
        by_name.setdefault("-".join(reversed(chain)), " ".join(chain))
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.65)
    hint = f"; did you mean {by_name[near[0]]!r}?" if near else ""
    return ConfigError(f"unknown command {one_line(group + name)!r}; choose from {', '.join(choices)}{hint}")
