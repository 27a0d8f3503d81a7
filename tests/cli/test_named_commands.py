"""Every command that a message, a help text or the docs name exists, and takes the flags that stand behind it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import cyclopts
import pytest

import diptych
from diptych.cli import help
from diptych.cli.app import build, function_of, run
from diptych.cli.lists import spread
from diptych.cli.tree import TREE, Command, Group, commands, find

SOURCE = Path(diptych.__file__).parent
ROOT = SOURCE.parents[1]
# "diptych" before these is the program, not the beginning of a command
NOT_COMMANDS = {"version", "reads", "session", "cannot", "command", "shares", "itself", "is", "was"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_NAMED = re.compile(r"(?<![\w/.~:-])diptych ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")


def strings(path: Path) -> Iterator[str]:
    """The string literals of a file but for its docstrings; what an f-string fills in becomes X1."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr):
            skipped.add(id(node.body[0].value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


MESSAGES = [
    (f"{path.relative_to(SOURCE)}: {text[:60]}", text)
    for path in sorted(SOURCE.rglob("*.py"))
    for text in strings(path)
    if _NAMED.search(text)
]


class Parser:
    """The parser of one command, and its flags."""

    def __init__(self, chain: tuple[str, ...], command: Command) -> None:
        self.chain = chain
        self.function = function_of(command)
        self.app = build(chain, self.function)

    def parse(self, arguments: list[str]) -> None:
        """Raise CycloptsError for arguments that the command does not take."""
        self.app.parse_args(spread([*self.chain, *arguments]), exit_on_error=False, print_error=False)

    @cached_property
    def arguments(self) -> list[cyclopts.Argument]:
        return help.described(self.chain, self.app)

    @property
    def flags(self) -> set[str]:
        return {name for one in self.arguments for name in one.names} | {"--help", "--help-env", "--version"}


CHAINS = {" ".join(chain): Parser(chain, command) for chain, command in commands()}
GROUPS = [name for name, entry in TREE.items() if isinstance(entry, Group)]


@pytest.mark.parametrize("text", [text for _, text in MESSAGES], ids=[name for name, _ in MESSAGES])
def test_commands_in_messages_exist_and_take_their_flags(text: str) -> None:
    for match in _NAMED.finditer(text):
        words = match[1].split()
        if words[0] in NOT_COMMANDS or (words[0] in GROUPS and len(words) == 1):
            continue
        chain = " ".join(words) if words[0] in GROUPS else words[0]
        assert chain in CHAINS, f"there is no command {match[0]!r}"
        behind = re.split(r"[;`)\n]|\. |, ", text[match.end() :])[0]
        unknown = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", behind)) - CHAINS[chain].flags
        assert not unknown, f"diptych {chain} has no {unknown}"
        if re.search(r": *$|^ +$", text[: match.start()]) and re.match(r"\s+[A-Z~./'\"-]", behind):  # to be copied
            arguments = shlex.split(re.split(r" \((?!\))", behind)[0])
            CHAINS[chain].parse(arguments)


@pytest.mark.parametrize("chain", CHAINS)
def test_every_help_has_examples_and_describes_every_part(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*chain.split(), "--help"]) == 0
    told = capsys.readouterr().out
    usage, _, rest = told.partition("\n\n")
    summary, _, rest = rest.partition("\n\n")
    assert usage.startswith(f"Usage: diptych {chain}")
    assert summary.endswith(".")
    assert rest.startswith(f"Examples:\n  diptych {chain}")
    assert not re.search(r"\[default: *(\(\)|None|\"\"|False)?\]|\[env var|DIPTYCH_(?!\w*TOKEN)", told)
    for argument in CHAINS[chain].arguments:
        assert argument.parameter.help, f"{argument.names} is not described"


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_a_group_describes_each_of_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*group.split(), "--help"]) == 0
    told = capsys.readouterr().out
    entry = TREE[group] if group else Group("", TREE)
    assert isinstance(entry, Group)
    for name, below in entry.commands.items():
        assert re.search(rf"^  {name} +{re.escape(below.summary)}$", told, re.MULTILINE)
    assert run(group.split()) == 0
    assert capsys.readouterr().out == told


def documents() -> Iterator[tuple[str, str]]:
    """Whole commands: examples in docstrings and help, shell blocks of the docs, heads of configs, deployment."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, DOCUMENTED):
                yield from _commands_in(str(path.relative_to(SOURCE)), ast.get_docstring(node) or "")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield from _commands_in(path.name, block)
    for path in [*sorted((ROOT / "configs").rglob("*.toml")), *sorted((ROOT / "deploy").iterdir())]:
        yield from _commands_in(path.name, re.sub(r"^# *", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def _commands_in(where: str, text: str) -> Iterator[tuple[str, str]]:
    for line in text.replace("\\\n", " ").splitlines():
        if found := re.match(r"\s*(?:\$ |\w+=\S+ |ExecStart=\S*bin/)?(diptych [a-z].*)", line):
            yield where, found[1].strip()


def inline() -> Iterator[tuple[str, str]]:
    """Commands within sentences of the docs: `diptych data check`."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for found in re.findall(r"`diptych ([a-z][^`]*)`", text):
            yield path.name, " ".join(found.split())


@pytest.mark.parametrize(("where", "command"), list(dict.fromkeys(documents())))
def test_whole_commands_can_be_parsed(where: str, command: str) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    for end in ("|", ">", "&&", ";", "...", "&"):
        if end in arguments:
            arguments = arguments[: arguments.index(end)]
    chain, _ = find(arguments)
    if "--help" not in arguments:
        CHAINS[" ".join(chain)].parse(arguments[len(chain) :])


@pytest.mark.parametrize(("where", "command"), list(dict.fromkeys(inline())))
def test_commands_within_sentences_exist_and_take_their_flags(where: str, command: str) -> None:
    words = command.split()
    chain, entry = find(words)
    if isinstance(entry, Command):
        unknown = {word for word in words if re.fullmatch(r"--[a-z][a-z-]*", word)} - CHAINS[" ".join(chain)].flags
        assert not unknown, f"diptych {' '.join(chain)} has no {unknown}"
