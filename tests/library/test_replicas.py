"""Three servers of one library on object storage: one is killed, and a client that tries the next sees no error."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from .s3_server import running
from .test_items import BLUE, RED, png

pytest.importorskip("obstore", reason="needs obstore: pip install 'diptych[s3]'")

L = "/libraries/holidays"


@contextlib.contextmanager
def replica(address, environment):
    """A server of its own, as on another machine; gives the process and where it is."""
    command = [sys.executable, "-m", "diptych", "serve", "--library", f"holidays={address}", "--port", "0", "--json"]
    process = subprocess.Popen([*command, "--quiet"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        printed = ""
        while not printed.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "the server did not start"
            printed += line
        yield process, json.loads(printed)["address"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Client(threading.Thread):
    """Searches again and again, each time at the next server, and at the one after that where it does not answer."""

    def __init__(self, addresses):
        super().__init__()
        self.addresses, self.stopped = itertools.cycle(addresses), threading.Event()
        self.count, self.errors, self.passed_over = len(addresses), [], 0
        self.answers = 0

    def run(self):
        with httpx.Client(timeout=60.0) as client:
            while not self.stopped.is_set():
                self._search(client)

    def _search(self, client):
        wrong = []
        for address in itertools.islice(self.addresses, self.count):
            try:
                answer = client.post(f"{address}{L}/search", json={"text": "red", "k": 5})
            except httpx.TransportError as error:
                wrong.append(error)
                self.passed_over += 1
                continue
            if answer.status_code == 200 and answer.json()["hits"]:
                self.answers += 1
                return
            wrong.append(answer.text)
        self.errors.append(wrong)


@pytest.mark.server
@pytest.mark.slow
def test_one_of_three_is_killed(tmp_path, tiny_model, monkeypatch):
    pytest.importorskip("moto.server", reason="needs a server: pip install 'diptych[s3-server]'")
    from diptych.library import Library, NewItem

    model = tiny_model(tmp_path / "tiny", 0)
    with running() as storage, contextlib.ExitStack() as stack:
        for name, value in {**storage.environment, "DIPTYCH_CACHE": str(tmp_path / "here")}.items():
            monkeypatch.setenv(name, value)
        address = "s3://pictures/holidays"
        Library.create(address, model).add([NewItem(png(RED, mark=mark), f"{mark}.png") for mark in range(1, 6)])
        replicas = [
            stack.enter_context(replica(address, {**os.environ, "DIPTYCH_CACHE": str(tmp_path / name)}))
            for name in ("one", "two", "three")
        ]
        addresses = [where for _, where in replicas]
        client = Client(addresses)
        client.start()
        try:
            with httpx.Client(timeout=60.0) as writer:
                while client.answers < 6:
                    time.sleep(0.05)
                replicas[0][0].send_signal(signal.SIGKILL)  # also in the middle of an answer
                before = client.answers
                added = writer.post(f"{addresses[1]}{L}/items", files=[("files", ("new.png", png(BLUE, mark=3)))])
                assert added.status_code == 200, added.text
                done, (new,) = time.monotonic(), added.json()["added"]
                while writer.get(f"{addresses[2]}{L}/items/{new['id']}").status_code != 200:
                    assert time.monotonic() < done + 30.0
                    time.sleep(0.05)
                preview = writer.get(f"{addresses[2]}{L}/items/{new['id']}/preview")
                assert (preview.status_code, preview.headers["content-type"]) == (200, "image/jpeg")
                while client.answers < before + 10:
                    time.sleep(0.05)
        finally:
            client.stopped.set()
            client.join()
        assert client.errors == []
        assert client.passed_over > 0  # the one that was killed was asked, too
