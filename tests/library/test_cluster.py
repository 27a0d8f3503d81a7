"""Embedding by workers: the same rows as here, by an engine in this process and by a real Ray cluster."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from diptych.core import on_ray
from diptych.core.batched import batched
from diptych.core.errors import LibraryError
from diptych.core.workers import SentModel
from diptych.library import IndexOptions, Library, image_reading
from diptych.library.store.protocol import values
from diptych.library.tokens import TokenStore


class InChunks:
    """An engine whose worker is this process, with an encoder of its own."""

    def __init__(self, encoder):
        self.encoder, self.chunks = encoder, []

    def run(self, task, images, notes):
        assert task.model.fingerprint == self.encoder.fingerprint
        sent = dataclasses.replace(task, model=dataclasses.replace(task.model, here=self.encoder))
        work = sent.start(1, "cpu")
        for chunk in batched(images, 2):
            self.chunks.append([image.path for image in chunk])
            yield from zip(chunk, work(chunk), strict=True)


def rows(library):
    """Everything that is stored, without the vectors, and the vectors."""
    store = library.opened.store()
    found = store.get(list(values(store, "id", "all")), "all")
    without = {row.id: {**dataclasses.asdict(row), **dict.fromkeys(UNLIKE)} for row in found}
    return without, {row.id: row.vector for row in found}


UNLIKE = ("vector", "deleted_at", "batch")  # compared apart, or of the clock


def assert_same(one, other):
    (left, left_vectors), (right, right_vectors) = rows(one), rows(other)
    assert left == right
    for identifier, vector in left_vectors.items():
        assert float(vector @ right_vectors[identifier]) > 0.9999


def counted(report):
    return {**dataclasses.asdict(report), "seconds": None, "embedded": None, "batch": bool(report.batch)}


def test_an_engine_gives_the_rows_of_this_process(tmp_path, pictures, painter, encoder):
    here = Library.create(tmp_path / "here", encoder)
    there = Library.create(tmp_path / "there", encoder)
    engine = InChunks(type(encoder)())

    def both():
        one, other = here.index([pictures, table]), there.index([pictures, table], engine=engine)
        assert counted(one) == counted(other)
        assert_same(here, there)
        return other

    table = tmp_path / "inside.tar"
    with tarfile.open(table, "w") as tar:
        tar.add(painter(tmp_path / "a.png", "red", mark=9), "a.png")
        (tmp_path / "a.txt").write_text("a red image")
        tar.add(tmp_path / "a.txt", "a.txt")
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n of nothing")
    shutil.copy(pictures / "red.png", pictures / "copy.png")
    report = both()
    assert (report.added, report.embedded, len(report.skipped)) == (8, 7, 1)
    assert engine.encoder.embedded >= 7

    embedded = engine.encoder.embedded
    (pictures / "moved").mkdir()
    (pictures / "blue.png").rename(pictures / "moved/blau.png")
    shutil.copy(pictures / "white.png", pictures / "white again.png")
    report = both()
    assert (report.moved, report.added, report.embedded) == (1, 1, 0)
    assert engine.encoder.embedded == embedded  # what is known is not embedded again

    # green's content is known when the run begins, and has no row any more when it is met again: it is embedded then
    shutil.copy(pictures / "green.png", pictures / "zz later.png")
    painter(pictures / "green.png", "red", mark=5)
    report = both()
    assert (report.updated, report.added, report.embedded) == (1, 1, 2)

    (pictures / "black.png").unlink()
    report = both()
    assert report.removed == 1
    assert not any("black" in path for chunk in engine.chunks[-1:] for path in chunk)


def test_embedding_again_by_an_engine_gives_the_vectors_of_this_process(
    tmp_path, pictures, painter, encoder, other_encoder
):
    table = tmp_path / "inside.tar"
    with tarfile.open(table, "w") as tar:
        tar.add(painter(tmp_path / "a.png", "red", mark=9), "a.png")
    here, there = (Library.create(tmp_path / name, encoder) for name in ("here", "there"))
    for library in (here, there):
        library.index([pictures, table])
        library.delete(where="name = 'white.png'")
    engine = InChunks(type(other_encoder)("other", seed=1))
    assert engine.encoder.fingerprint == other_encoder.fingerprint
    (pictures / "white.png").unlink()  # in the trash: by its thumbnail, in this process
    one, other = here.reembed(other_encoder), there.reembed(other_encoder, engine=engine)
    assert one == other
    assert other.from_thumbnails == (str(pictures / "white.png"),)
    assert engine.encoder.embedded == 6
    assert_same(Library.open(here.folder, other_encoder), Library.open(there.folder, other_encoder))


def test_tokens_by_an_engine_are_those_of_this_process(tmp_path, pictures, encoder):
    from .test_reranker import MosaicCrossEncoder

    here, there = (Library.create(tmp_path / name, encoder) for name in ("here", "there"))
    for library in (here, there):
        library.index(pictures)
    (pictures / "red.png").write_bytes(b"other")
    (pictures / "blue.png").unlink()
    engine = InChunks(MosaicCrossEncoder())
    one, other = here.add_tokens(MosaicCrossEncoder()), there.add_tokens(MosaicCrossEncoder(), engine=engine)
    assert one == other
    assert (one.added, [Path(skipped.name).name for skipped in one.skipped]) == (4, ["blue.png", "red.png"])
    assert engine.encoder.encoded == 4
    contents = [item.content for item in here.items().items if item.name not in ("red.png", "blue.png")]
    stores = [TokenStore(library.folder, MosaicCrossEncoder()) for library in (here, there)]
    assert (stores[0].get(contents) == stores[1].get(contents)).all()


# -- a real cluster --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """400 images of noise, and one that is broken."""
    import PIL.Image

    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(400):
        PIL.Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n of nothing")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_model):
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", 0)


@pytest.fixture(scope="module")
def here(tmp_path_factory, photos, model):
    library = Library.create(tmp_path_factory.mktemp("here") / "library", model)
    library.index(photos)
    return library


ROOM = {"object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster():
    """A head that takes no work, and two machines of one core each: as processes here."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **ROOM})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, **ROOM)
        yield made
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            made.shutdown()


def workers(cluster):
    """Process ids of the workers of this cluster's machines."""
    raylets = {
        process.process.pid for machine in cluster.worker_nodes for process in machine.all_processes.get("raylet", [])
    }
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if entry.name.isdigit() and b"TaskWorker" in (entry / "cmdline").read_bytes():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(entry.name)] * (parent in raylets)
    return found


OPTIONS = IndexOptions(batch_size=4, workers=1, commit_rows=16)  # chunks of 32


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("lost", ["worker", "machine"])
def test_one_of_two_workers_is_lost(cluster, here, photos, model, tmp_path, lost):
    library = Library.create(tmp_path / "there", model)
    seen = []

    def acknowledge(paths):
        seen.extend(paths)
        if len(seen) > 48 and not done:
            done.append(lost)
            if lost == "machine":
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            else:
                os.kill(workers(cluster)[0], signal.SIGKILL)

    done = []
    with on_ray.RayEngine(cluster.address) as engine:
        report = library.index(photos, options=OPTIONS, acknowledge=acknowledge, engine=engine)
    assert done
    assert (report.added, report.embedded, len(report.skipped)) == (400, 400, 1)
    assert [note.count for note in report.notes if note.kind == "lost_worker"] == [1]
    assert len(seen) == len(set(seen)) == 400  # nothing twice, nothing lost
    assert seen == sorted(seen)
    assert_same(here, library)
    if lost == "machine":
        cluster.add_node(num_cpus=1, **ROOM)  # for the next test


@pytest.mark.server
@pytest.mark.slow
def test_the_command(cluster, here, photos, model, tmp_path, capsys, monkeypatch):
    from diptych.cli.app import run

    def diptych(*arguments):
        capsys.readouterr()
        code = run([str(one) for one in arguments])
        return code, *capsys.readouterr()

    place = ("--library", tmp_path / "there", "--engine", "ray", "--address", cluster.address, "--workers", "1")
    code, out, _ = diptych("index", photos, *place, "--model", model)
    assert code == 0
    assert "400 added, 1 skipped" in out
    assert "broken.png" in out
    assert_same(here, Library.open(tmp_path / "there", model))
    code, out, _ = diptych("index", photos, *place)
    assert "400 unchanged, 1 skipped" in out

    # a path that means another folder to each process, as one that is not shared does
    shutil.copytree(photos, tmp_path / "unshared")
    monkeypatch.chdir(tmp_path / "unshared")
    code, _, err = diptych("index", "/proc/self/cwd", *place[:1], tmp_path / "other", *place[2:], "--model", model)
    assert code == 3
    assert "a worker of the cluster cannot read /proc/self/cwd/" in err
    assert "put the images where every machine finds them under the same path" in err

    # a model that is another one there
    moved = tmp_path / "elsewhere"
    monkeypatch.setattr(
        image_reading, "SentModel", lambda load, name, fingerprint, here: SentModel(load, str(moved), "x" * 32, here)
    )
    code, _, err = diptych("index", photos, *place[:1], tmp_path / "third", *place[2:], "--model", model)
    assert (code, err.count("\n")) == (4, 1)
    assert "a worker of the cluster cannot do its work" in err
    shutil.copytree(model, moved)
    code, _, err = diptych("index", photos, *place[:1], tmp_path / "third", *place[2:], "--model", model)
    assert "is another one there" in err


@pytest.mark.server
@pytest.mark.slow
def test_embedding_again_tokens_and_filtering(
    cluster, photos, model, tiny_model, small_model, shapes, cross_encoder_run, tmp_path, capsys, monkeypatch
):
    from diptych.cli.app import run

    def diptych(*arguments):
        capsys.readouterr()
        assert run([str(one) for one in arguments]) == 0
        return json.loads(capsys.readouterr().out)

    some = [path for path in sorted(photos.iterdir())[:40] if path.stem != "broken"]
    other = tiny_model(tmp_path / "other", 1)
    by_ray = ("--engine", "ray", "--address", cluster.address, "--workers", "1", "--json", "--quiet")
    found = []
    for name, flags in (("here", ("--json", "--quiet")), ("there", by_ray)):
        folder = tmp_path / name
        Library.create(folder, model).index(some)
        tokens = diptych("rerank", "prepare", "--library", folder, "--reranker", cross_encoder_run.model, *flags)
        again = diptych("library", "reembed", "--library", folder, "--model", other, *flags)
        monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / f"{name}-cache"))
        line = ("--model", small_model, "--out", tmp_path / f"{name}-out", "--criterion", "equal-error")
        kept = diptych("data", "filter", shapes, *line, *flags)
        found.append((tokens, again, kept["pairs"], kept["kept"], kept["skipped"]))
        assert (tokens["added"], again["embedded"], kept["pairs"]) == (40, 40, 135)
    assert found[0] == found[1]
    assert_same(Library.open(tmp_path / "here", other), Library.open(tmp_path / "there", other))


@pytest.mark.server
@pytest.mark.slow
def test_workers_that_are_always_lost(cluster, photos, model, tmp_path):
    library = Library.create(tmp_path / "there", model)
    stop = threading.Event()

    def kill():
        while not stop.is_set():
            for pid in workers(cluster):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with (
            on_ray.RayEngine(cluster.address) as engine,
            pytest.raises(LibraryError, match=r"workers of the cluster were lost.*out of memory.*--workers 2"),
        ):
            library.index(photos, options=OPTIONS, engine=engine)
    finally:
        stop.set()
        killer.join()


@pytest.mark.server
@pytest.mark.slow
def test_a_cluster_without_room(cluster, photos, model, tmp_path):
    import ray

    library = Library.create(tmp_path / "there", model)
    with on_ray.RayEngine(cluster.address, patience=5.0) as engine:
        busy = [ray.remote(num_cpus=1)(lambda: time.sleep(300)).remote() for _ in range(2)]
        ray.wait(busy, timeout=10)
        with pytest.raises(LibraryError, match=r"gave no worker 1 cores for 5 s"):
            library.index(photos, options=OPTIONS, engine=engine)
