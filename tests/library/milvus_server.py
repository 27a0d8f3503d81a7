"""A real Milvus standalone server in a folder of its own, for tests: started, killed, started again.

One at a time on a machine: its built-in etcd listens on a port that cannot be chosen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# a server that outlived an interrupted test would hold the port
_TOGETHER = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


class Server:
    """The server of the PyPI package `milvus`, run without its wrapper so that it can be killed."""

    def __init__(self, folder: Path) -> None:
        import milvus

        wrapped = milvus.MilvusServer()
        wrapped.set_base_dir(str(folder))
        wrapped.config.configs["proxy_port"] = free_port()
        wrapped.config.resolve()
        milvus._initialize_data_files(str(folder))
        self._folder = folder
        self.port = wrapped.listen_port
        self._health = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Seconds until it says that it is well."""
        program = self._folder / "bin" / "milvus"
        environment = os.environ | {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
            "LD_LIBRARY_PATH": str(program.parent),
        }
        begun = time.monotonic()
        with (self._folder / "milvus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_TOGETHER, program, "run", "standalone"], cwd=self._folder, env=environment, stdout=log, stderr=log
            )
        while time.monotonic() - begun < 240:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended by itself; see {self._folder / 'milvus.log'}")
            health = f"http://127.0.0.1:{self._health}/healthz"
            with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=5) as answer:
                if b"OK" in answer.read():
                    return time.monotonic() - begun
            time.sleep(0.1)
        raise RuntimeError("the server did not get well in four minutes")

    def kill(self) -> None:
        """As a power cut of the process."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def address(self) -> str:
        return f"milvus://127.0.0.1:{self.port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
