"""The `diptych` command itself: light help, exit codes, one line of error."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.cli import app
from diptych.cli.app import run
from diptych.cli.tree import TREE, Group
from diptych.core.errors import ConfigError, DataError, DiptychError, LibraryError, ModelError


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "diptych", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", ["", "data", "library"])
def test_an_overview_imports_nothing_heavy(group: str) -> None:
    code = (
        "import sys; before = set(sys.modules); from diptych.cli.app import run; "
        f"code = run({[*group.split(), '--help']}); "
        "names = 'torch numpy cyclopts rich importlib.metadata jaxtyping ast inspect shutil unicodedata'; "
        "heavy = set(names.split()) & (set(sys.modules) - before); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    entry = TREE[group] if group else Group("", TREE)
    assert isinstance(entry, Group)
    assert all(f"{name} " in done.stdout for name in entry.commands)


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for columns in (50, 110):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run(["rerank", "fit", "--help"]) == 0
        pages.append(capsys.readouterr().out)
        written = [line for line in pages[-1].splitlines() if not line.lstrip().startswith(("diptych ", "Usage"))]
        assert 0.8 * columns < max(map(len, written)) <= columns
    assert "--queries N                 Texts, and images, that are searched for, at most. [default: 400]" in pages[1]
    headings = [line for line in pages[1].splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == ["Examples:", "Arguments:", "Options:", "How the source is read:", "Options of every command:"]


def test_the_environments_names_are_told_apart_from_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["library", "rm", "--help-env"]) == 0
    told = capsys.readouterr().out
    assert "DIPTYCH_LIBRARY_RM_WHERE    --where\n" in told
    assert "DIPTYCH_LIBRARY             --library, of every command that uses a library\n" in told
    assert "TARGETS" not in told


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import diptych

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == diptych.__version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; choose from"),
        (["trian"], "did you mean 'train'?"),
        (["train"], "CONFIG is missing: TOML file"),
        (["train", "x.toml", "--no-such-flag", "1"], "--no-such-flag"),
        (["train", "x.toml", "--data", "x.csv"], "unknown option --data; without a flag it takes CONFIG, SOURCE (see"),
        (["search", "x", "--fast", "base"], "unknown option --fast; without a flag it takes WORDS (see"),
        (["search", "x", "--libary", "y"], "unknown option --libary; did you mean --library? (see"),
        (["train", "x.toml", "--seed", "many"], "--seed: found 'many', expected a whole number (see"),
        (["index", "x", "--library", "y", "--max-megabytes", "big"], "--max-megabytes: found 'big', expected a number"),
        (["train", "x.toml", "a b", "c"], "found c too many; without a flag it takes CONFIG, SOURCE (see"),
        (["search", "x", "-k"], "--k needs a value (see"),
        (["train", "x.toml", "x.csv", "--set"], "--set needs a value (see"),
        (["train", "--seed"], "(see diptych train --help)"),
        (["library", "verify", "--librari", "x"], "(see diptych library verify --help)"),
        (["library", "verfy"], "diptych: unknown command 'library verfy'; choose from info, verify"),
        (["library", "verfy"], "did you mean 'verify'?"),
        (["audit", "emoji"], "did you mean 'generator audit'?"),
        (["fit-rerank"], "did you mean 'rerank fit'?"),
        (["--json", "search", "x"], "options follow the command"),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("diptych: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def failing(error: BaseException) -> Callable[..., None]:
    def call(*arguments: object, **options: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DiptychError("a"), 1, "diptych: a\n"),
        (ConfigError("b"), 2, "diptych: b\n"),
        (DataError("c"), 3, "diptych: c\n"),
        (ModelError("d"), 4, "diptych: d\n"),
        (LibraryError("e"), 4, "diptych: e\n"),
        (OSError(28, "No space left on device", "/x/y"), 3, "diptych: No space left on device: /x/y\n"),
        (KeyboardInterrupt(), 130, "diptych: interrupted; nothing was written\n"),
        (SystemExit(5), 5, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("gone"), 1, ""),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(app, "build", lambda *arguments: failing(error))
    assert run(["models", "list"]) == code
    assert capsys.readouterr().err == message


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "build", lambda *arguments: failing(ConfigError("b")))
    with pytest.raises(ConfigError):
        run(["models", "list", "--debug"])
    monkeypatch.setenv("DIPTYCH_DEBUG", "1")
    with pytest.raises(ConfigError):
        run(["models", "list"])
    monkeypatch.setenv("DIPTYCH_DEBUG", "0")
    assert run(["models", "list"]) == 2


def test_as_a_module_and_with_a_reader_that_goes_away(small_model: Path) -> None:
    assert shell("trian").returncode == 2
    command = f"{sys.executable} -m diptych models list {small_model} --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("command", ["eval --help", "--help"])
def test_help_with_a_reader_that_goes_away(command: str) -> None:
    line = f"{sys.executable} -m diptych {command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["index", "x", "--library", "y"], "what was finished is kept"),
        (["data", "translate", "x"], "what was finished is kept"),
        (["data", "check", "x"], "nothing was written"),
        (["search", "x"], "nothing was written"),
        (["generator", "draw", "x"], "what was finished is kept"),
    ],
)
def test_an_interrupted_command_says_what_is_kept(arguments, said, monkeypatch, capsys) -> None:
    monkeypatch.setattr(app, "build", lambda *arguments: failing(KeyboardInterrupt()))
    assert run(arguments) == 130
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "said"), [("--seed", "-1", "0 or more"), ("--device", "gpu", "choose from auto")]
)
def test_flags_of_all_commands_are_checked(flag, value, said, capsys) -> None:
    for command in (["eval", "x"], ["generator", "draw", "words"], ["search", "words", "--library", "x"]):
        assert run([*command, flag, value]) == 2
        err = capsys.readouterr().err
        assert (said in err, err.count("\n")) == (True, 1), err


def test_results_go_to_stdout_and_nothing_else_does(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = shell("eval", "no-such-file", "--model", str(small_model), "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no-such-file" in done.stderr
    assert json.dumps(done.stderr.count("\n")) == "1"
