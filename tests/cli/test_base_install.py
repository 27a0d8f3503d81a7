"""Without the packages of extras, every command works or says in one line which extra to install."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.cli.tree import commands
from diptych.core.extras import EXTRAS

SCRIPT = Path(__file__).parents[1] / "every_command.py"
spec = importlib.util.spec_from_file_location("every_command", SCRIPT)
every_command = importlib.util.module_from_spec(spec)
sys.modules["every_command"] = every_command
spec.loader.exec_module(every_command)


def run_script(*arguments: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_with_the_base_alone_what_is_refused_says_what_to_install(cache: Path) -> None:
    run_script("--refused", "--without", "all")


@pytest.mark.slow  # `make test-base` runs the same where the base alone is really installed
def test_with_the_base_alone_every_command_works_or_says_what_to_install(cache: Path) -> None:
    run_script("--without", "all")


def test_with_pytorch_but_nothing_else_too(cache: Path) -> None:
    run_script("--refused", "--without", *(name for name in EXTRAS if name not in ("train", "tokens")))


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_without_one_extra(extra: str, cache: Path) -> None:
    run_script("--without", extra)


def test_no_command_is_left_out() -> None:
    lines = [case.line for case in every_command.CASES]
    for chain, _ in commands():
        assert any(line.startswith(" ".join(chain)) for line in lines), " ".join(chain)
