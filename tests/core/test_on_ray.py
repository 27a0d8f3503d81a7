"""How a Ray cluster is divided and reached. `tests/library/test_cluster.py` runs one."""

import dataclasses
import socket
import time

import pytest

from diptych.core import on_ray
from diptych.core.errors import ConfigError, LibraryError
from diptych.core.extras import is_installed
from diptych.core.notes import Notes

needs_ray = pytest.mark.skipif(not is_installed("ray"), reason="needs Ray: pip install 'diptych[cluster]'")


@pytest.mark.parametrize(
    ("nodes", "cores", "device", "expected"),
    [
        ([{"CPU": 8.0}, {"CPU": 5.0}], 2, "auto", (6, 2, 0)),
        ([{"CPU": 8.0}, {"CPU": 1.0}], 4, "auto", (9, 1, 0)),  # as many as the smallest machine has
        ([{"memory": 1.0}, {"CPU": 4.0}], 4, "cpu", (1, 4, 0)),  # a head that takes no work
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 4.0}], 4, "auto", (2, 4, 1)),
        ([{"CPU": 3.0, "GPU": 2.0}], 4, "cuda", (2, 1, 1)),
        ([{"CPU": 16.0, "GPU": 2.0}], 4, "cpu", (4, 4, 0)),
    ],
)
def test_a_cluster_is_shared_out(nodes, cores, device, expected):
    assert dataclasses.astuple(on_ray._share(nodes, cores, device)) == expected


def test_a_cluster_that_cannot_take_the_work():
    with pytest.raises(ConfigError, match="no GPU; leave --device cuda out"):
        on_ray._share([{"CPU": 4.0}], 2, "cuda")
    with pytest.raises(LibraryError, match="offers a core; start workers with: ray start"):
        on_ray._share([{"memory": 1.0}], 2, "auto")


@needs_ray
@pytest.mark.parametrize("address", ["head.example", "head.example:", ":6379", "ray://head"])
def test_an_address_needs_a_port(address):
    with pytest.raises(ConfigError, match="expected HOST:PORT"), on_ray.RayEngine(address):
        pass


@needs_ray
def test_a_cluster_that_is_not_there():
    with pytest.raises(LibraryError, match=r"127.0.0.1:9 cannot be reached .*ray start --head"):
        on_ray.RayEngine("127.0.0.1:9").__enter__()


@needs_ray
def test_a_device_is_given_by_the_cluster():
    with pytest.raises(ConfigError, match="choose auto, cpu or cuda"):
        on_ray.RayEngine(device="cuda:1")


class Silent:
    """Ray whose workers never answer. Nobody may be told anything: Ray would wait for the head."""

    class exceptions:  # noqa: N801
        RayError = RuntimeError

    def wait(self, tasks, timeout):
        time.sleep(timeout)
        return [], tasks

    def kill(self, actor):
        assert self.may_be_told

    may_be_told = False


class Actor:
    """A worker that never comes."""

    class host:  # noqa: N801
        @staticmethod
        def remote():
            return "task"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_cluster_that_stops_is_noticed(monkeypatch, is_there):
    monkeypatch.setattr(on_ray, "_LOOK", 0.05)
    monkeypatch.setattr(on_ray, "_AWAY", 0.05)
    share = on_ray._Share(1, 1, 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        head = f"127.0.0.1:{server.getsockname()[1]}"
        if not is_there:
            server.close()
        ray = Silent()
        ray.may_be_told = is_there
        pool = on_ray._Pool(ray, Actor, share, 0.2, Notes(), head)
        if is_there:
            with pytest.raises(LibraryError, match="gave no worker"):
                list(pool.run(iter([["image"]])))
        else:
            with pytest.raises(on_ray.ClusterStoppedError, match=r"stopped in the middle.*run this again"):
                list(pool.run(iter([["image"]])))
