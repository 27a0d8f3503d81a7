"""Every command that a message, a help text or the docs name exists, and takes the flags that stand behind it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import cyclopts
import pytest

import diptych
from diptych.cli.app import COMMANDS, build, run

SOURCE = Path(diptych.__file__).parent
ROOT = SOURCE.parents[1]
# "diptych" before these is the program, not the beginning of a command
NOT_COMMANDS = {"version", "reads", "session", "cannot", "command", "shares", "itself", "is", "was"}
_NAMED = re.compile(r"(?<![\w/.~:-])diptych ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")


def strings(path: Path) -> Iterator[str]:
    """The string literals of a file but for its docstrings; what an f-string fills in becomes X1."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr):
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


def chains() -> dict[str, cyclopts.App]:
    """Name -> app of every command and subcommand."""
    found = {}
    for name in COMMANDS:
        app = found[name] = build(name)[name]
        found |= {f"{name} {below}": app[below] for below in app if not below.startswith("-")}
    return found


CHAINS = chains()


def flags(chain: str) -> set[str]:
    arguments = CHAINS[chain].assemble_argument_collection() if CHAINS[chain].default_command else []
    return {name for argument in arguments for name in argument.names} | {"--help", "--version"}


@pytest.mark.parametrize("text", [text for _, text in MESSAGES], ids=[name for name, _ in MESSAGES])
def test_commands_in_messages_exist_and_take_their_flags(text: str) -> None:
    for match in _NAMED.finditer(text):
        words = match[1].split()
        chain = " ".join(words) if " ".join(words) in CHAINS else words[0]
        if words[0] in NOT_COMMANDS:
            continue
        assert chain in CHAINS, f"there is no command {match[0]!r}"
        assert len(words) == 1 or chain not in ("data", "library"), f"there is no command {match[0]!r}"
        behind = re.split(r"[;`)\n]|\. |, ", text[match.end() :])[0]
        unknown = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", behind)) - flags(chain)
        assert not unknown, f"diptych {chain} has no {unknown}"
        if re.search(r": *$|^ +$", text[: match.start()]) and re.match(r"\s+[A-Z~./'\"-]", behind):  # to be copied
            arguments = shlex.split(re.split(r" \((?!\))", behind)[0])
            build(chain.split()[0]).parse_args([*chain.split(), *arguments], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("chain", CHAINS)
def test_every_help_has_examples_and_describes_every_part(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*chain.split(), "--help"]) == 0
    told = capsys.readouterr().out
    assert "For example:" in told
    assert re.search(rf"diptych (data )?{chain}", told.partition("For example:")[2])
    assert not re.search(r"\[default: *(\(\)|None|\"\"|False)?\]|\[env var", told)
    app = CHAINS[chain]
    for argument in app.assemble_argument_collection(parse_docstring=True) if app.default_command else []:
        assert argument.parameter.help or not argument.show, f"{argument.names} is not described"
    for below in app:
        assert below.startswith("-") or re.search(rf"│ {below} +\w", told), f"{below} is not described"


def documents() -> Iterator[tuple[str, str]]:
    """Whole commands: the examples of every help text, and the shell blocks of the docs."""
    for chain, app in CHAINS.items():
        told = app.default_command.__doc__ if app.default_command else ""
        for line in (told or "").splitlines():
            if line.strip().startswith("diptych "):
                yield f"{chain} --help", line.strip()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```(?:sh|bash|console)?\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip().startswith("diptych "):
                    yield path.name, line.strip()


@pytest.mark.parametrize(("where", "command"), list(dict.fromkeys(documents())))
def test_whole_commands_can_be_parsed(where: str, command: str) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    for end in ("|", ">", "&&", ";", "..."):
        if end in arguments:
            arguments = arguments[: arguments.index(end)]
    app = build(arguments[0])
    if "--help" in arguments or arguments[:1] == ["COMMAND"]:
        return
    app.parse_args(arguments, exit_on_error=False, print_error=False)
