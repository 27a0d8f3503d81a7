"""Libraries on object storage: the writer's lock on a store in memory, and everything on a real S3 server."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

from diptych.core.errors import ConfigError, LibraryError
from diptych.library import Library, NewItem, bucket
from diptych.library.bucket import Bucket, address_of, folder_of
from diptych.library.card import Card
from diptych.library.maintenance import restore, transfer
from diptych.library.maintenance.reembed import Reembedding
from diptych.library.rendering.thumbnails import BucketThumbnails
from diptych.library.store import bucket_lock, lance_bucket
from diptych.library.view import snapshot

from .test_items import RED, png

pytest.importorskip("obstore", reason="needs obstore: pip install 'diptych[s3]'")

LOCK = "writer.lock"


@pytest.fixture
def memory():
    """A library's objects, in memory."""
    from obstore.store import MemoryStore

    return Bucket("s3://pictures/holidays", MemoryStore())


# -- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["s3://photos/holidays", "s3:/photos/holidays", "s3://photos/holidays/"])
def test_an_address_has_a_folder_of_its_own(written, monkeypatch, tmp_path):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    folder = folder_of(written)
    assert folder.is_relative_to(tmp_path)
    assert address_of(folder) == bucket.shown(folder) == "s3://photos/holidays"
    assert address_of(folder_of("gs://photos/of/2024")) == "gs://photos/of/2024"
    assert folder_of("s3://photos/holidays/more") != folder / "more"
    assert (address_of(tmp_path), folder_of(tmp_path)) == (None, tmp_path)


def test_buckets_of_one_name_on_two_servers_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    at_aws, elsewhere = folder_of("s3://photos/holidays"), folder_of("gs://photos/holidays")
    assert at_aws == tmp_path / "libraries/s3/photos/holidays"  # where versions before kept it
    folders = {at_aws}
    for endpoint in ("http://minio.example:9000", "http://minio.example:9001"):
        monkeypatch.setenv("AWS_ENDPOINT", endpoint)
        folders.add(folder := folder_of("s3://photos/holidays"))
        assert address_of(folder) == "s3://photos/holidays"
        monkeypatch.setenv("AWS_ENDPOINT", f"{endpoint}/")
        assert folder_of("s3://photos/holidays") == folder
        assert folder_of("gs://photos/holidays") == elsewhere  # which has no such endpoint
    assert len(folders) == 3


@pytest.mark.parametrize("written", ["s3://photos", "s3://", "s3:///holidays", "az://a b/c"])
def test_an_address_needs_a_bucket_and_a_name(written):
    with pytest.raises(ConfigError, match="expected a folder or s3://BUCKET/NAME"):
        folder_of(written)


@pytest.mark.parametrize(
    "written", ["S3://photos/holidays", "gcs://photos/holidays", "https://photos.example/holidays"]
)
def test_another_scheme_is_no_folder(written):
    with pytest.raises(ConfigError, match="expected a folder or s3://BUCKET/NAME"):
        folder_of(written)


@pytest.mark.parametrize("name", ["a#1", "a?b", "100%", "a%20b", "..", "a/../b", "a//b", ".", "/a"])
def test_a_name_that_means_another_address_is_refused(name):
    with pytest.raises(ConfigError, match="choose another name"):
        folder_of(f"s3://photos/{name}")


def test_a_name_may_hold_other_signs():
    for name in ("my photos", "für a~b", "..a/b.", "a&b=c+d", "x/.y"):
        assert address_of(folder_of(f"s3://photos/{name}")) == f"s3://photos/{name}"


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("<Error><Code>NoSuchBucket</Code>", "no such bucket"),
        ("403 Forbidden: <Error><Code>AccessDenied</Code><Message>Access Denied</Message>", "may not do this"),
        ("<Code>RequestTimeTooSkewed</Code><Message>The difference between the request time", "set the clock"),
        ("<Code>SignatureDoesNotMatch</Code>", "refuses the secret key"),
        ("Error performing PUT http://169.254.169.254/latest/api/token in 54ms", "no credentials were found"),
        ('Generic { store: "S3", source: Throttled }', "object storage failed"),
        ("Invalid input, no such column", None),
    ],
)
def test_errors_say_what_to_do(said, meaning):
    found = bucket.reason(said)
    assert found is None if meaning is None else meaning in found


# -- one writer ------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_until_the_first_has_finished(memory):
    with bucket_lock.held(memory, LOCK, 0.0):
        with (
            pytest.raises(LibraryError, match=f"being written by process {os.getpid()}"),
            bucket_lock.held(memory, LOCK, 0.0),
        ):
            pass
        bucket_lock.check(memory.address)
    with bucket_lock.held(memory, LOCK, 0.0):
        bucket_lock.check(memory.address)


def test_of_many_writers_at_once_one_wins(memory):
    start, locks, refused = threading.Barrier(8), [], []

    def take():
        start.wait()
        try:
            locks.append(bucket_lock._taken(memory, LOCK, 0.0))
        except LibraryError as error:
            refused.append(error)

    for _ in range(2):  # a lock that was never there, and one that was given back
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(locks), len(refused)) == (1, 7)
        locks.pop().release()
        refused.clear()


def test_a_writer_that_is_gone_is_replaced_and_may_not_write_any_more(memory, monkeypatch):
    monkeypatch.setattr(bucket_lock, "_RENEW", 0.05)
    first = bucket_lock._taken(memory, LOCK, 0.0)
    before = memory.get(LOCK)
    while memory.get(LOCK) == before:  # until it renewed the lock
        time.sleep(0.01)
    first.check()
    monkeypatch.setattr(bucket_lock, "_STALE", -1.0)  # as if it had not for long
    second = bucket_lock._taken(memory, LOCK, 5.0)
    first._thread.join()  # it sees that the lock is another's
    with pytest.raises(LibraryError, match="another writer may have taken over"):
        first.check()
    first.release()  # which leaves the lock to the second
    second.check()
    assert bucket_lock._read(memory.get(LOCK))
    second.release()
    assert not bucket_lock._read(memory.get(LOCK))


def test_a_server_that_ignores_conditions_is_refused(memory, monkeypatch):
    memory.check_conditions()
    monkeypatch.setattr(Bucket, "create", lambda self, name, data: {"e_tag": "x"})
    with pytest.raises(LibraryError, match="does not know conditional writes"):
        memory.check_conditions()


def test_thumbnails_are_there_before_rows_are_acknowledged(memory, monkeypatch):
    thumbnails = BucketThumbnails(memory, "thumbs")
    contents = [f"{number:032x}" for number in range(20)]
    for content in contents:
        thumbnails.write(content, content.encode())
    thumbnails.flush()
    assert [thumbnails.read(content) for content in contents] == [content.encode() for content in contents]
    assert thumbnails.orphans(contents[1:]) == [f"s3://pictures/holidays/thumbs/00/{contents[0]}.jpg"]

    def fails(self, name, data):
        raise LibraryError("s3://pictures/holidays: the server cannot be reached")

    monkeypatch.setattr(Bucket, "put", fails)
    thumbnails.write(contents[0], b"x")
    with pytest.raises(LibraryError, match="cannot be reached"):
        thumbnails.flush()


def test_storage_that_is_away_is_not_asked_with_every_search(memory, monkeypatch, tmp_path):
    monkeypatch.setattr(lance_bucket, "_FRESH_SECONDS", 0.0)
    memory.put("store/pictures.lance/_versions/1.manifest", b"1234")
    place, asked = lance_bucket.BucketPlace(memory, "store", Card("x", "base", "f", 4, "now"), tmp_path), []
    assert place.token() == "1-4"

    def fails(self, below):
        asked.append(below)
        raise LibraryError("s3://pictures/holidays: the server cannot be reached")

    monkeypatch.setattr(Bucket, "names", fails)
    assert [place.token() for _ in range(5)] == ["1-4"] * 5
    assert len(asked) == 1


# -- on a server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("moto.server", reason="needs a server: pip install 'diptych[s3-server]'")
    from .s3_server import running

    with running() as started:
        yield started


@pytest.fixture
def machine(server, tmp_path, monkeypatch):
    """Go to a machine, which has a cache of its own."""

    def go(name):
        monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / name))

    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    go("here")
    return go


@pytest.fixture
def address(machine):
    return f"s3://pictures/{uuid.uuid4().hex}"


@pytest.mark.server
@pytest.mark.slow
class TestOnServer:
    """With moto's server."""

    def test_it_answers_as_a_folder_does(self, address, filled, pictures, encoder):
        made = Library.create(address, encoder)
        assert made.index([pictures]).added == 6
        assert [(hit.id, hit.score) for hit in made.search("red blue", 9)] == [
            (hit.id, hit.score) for hit in filled.search("red blue", 9)
        ]
        assert made.verify().problems == ()
        info = made.info()
        assert (info.folder, info.images) == (address, 6)
        assert info.bytes_on_disk > 5_000
        assert made.count("name = 'red.png'") == 1
        assert made.index([pictures]).unchanged == 6
        with pytest.raises(LibraryError, match="is a library already"):
            Library.create(address, encoder)

    def test_another_machine_follows_each_write(self, address, pictures, encoder, machine, monkeypatch):
        made = Library.create(address, encoder)
        made.index([pictures])
        machine("there")
        there = Library.open(address, encoder)
        first = there.search("red", 1)[0].id
        assert there.get(first).name == "red.png"
        assert there.thumbnail(first) == made.thumbnail(first)
        monkeypatch.setattr(snapshot, "build", None)  # it follows the journal, and reads no table again
        made.delete(first)
        time.sleep(1.1)
        assert len(there) == 5
        assert first not in [hit.id for hit in there.search("red", 9)]
        made.undo()
        time.sleep(1.1)
        assert there.search("red", 1)[0].id == first
        assert there.verify().problems == ()

    def test_it_is_looked_after_as_a_folder_is(self, address, pictures, encoder, machine, tmp_path):
        made = Library.create(address, encoder)
        made.index([pictures])
        (pictures / "red.png").unlink()
        made.index([pictures])
        assert made.purge(0) == 1
        made.thumbnails.write("f" * 32, b"of no image")
        made.thumbnails.flush()
        assert made.verify().kinds == {"orphan_thumb": 1}
        made.compact()
        machine("there")
        there = Library.open(address, encoder)
        assert (len(there), there.verify().problems) == (5, ())
        exported = there.export(tmp_path / "out")
        assert (exported.images, exported.files) == (5, 5 + 3)

    def test_uploads_are_objects(self, address, pictures, encoder, machine):
        made = Library.create(address, encoder)
        made.index([pictures])
        added = made.add([NewItem(png(RED, mark=7), "up.png", meta={"k": 1}), NewItem(b"none", "bad.png")])
        assert (len(added.created), [one.name for one in added.skipped]) == (1, ["bad.png"])
        assert made.add([NewItem(png(RED, mark=7), "up.png")]).created == ()
        machine("there")
        there = Library.open(address, encoder)
        (item,) = there.items("k = 1").items
        assert (item.owned, item.path.startswith(f"{address}/files/")) == (True, True)
        assert there.image(item.id).data == png(RED, mark=7)
        assert there.verify().problems == ()
        there.uploads.write("./files/aa/lost.png", b"of no row")
        assert there.verify().kinds == {"orphan_file": 1}
        assert there.repair().repaired == {"orphan_file": 1}
        assert [one.name for one in Bucket(address).names("lost")] == ["lost/lost.png"]
        there.delete([item.id])
        assert there.purge(0) == 1
        assert list(Bucket(address).names("files")) == []

    def test_it_is_embedded_again(self, address, pictures, encoder, other_encoder, machine, monkeypatch):
        made = Library.create(address, encoder)
        made.index([pictures])
        made.add([NewItem(png(RED, mark=7), "up.png")])
        (item,) = made.items("name = 'up.png'").items

        def die(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as killed:
            killed.setattr(Reembedding, "_catch_up", die)
            with pytest.raises(KeyboardInterrupt):
                made.reembed(other_encoder)
        assert made.search("red", 1)[0].path == str(pictures / "red.png")  # the old vectors
        assert made.verify().problems == ()

        machine("there")  # which goes on where the other one stopped
        reader = Library.open(address, encoder)
        assert len(reader) == 7
        (pictures / "blue.png").unlink()
        made.delete(where="name = 'blue.png'")
        report = Library.open(address, encoder).reembed(other_encoder)
        assert (report.images, report.embedded) == (6, 0)
        time.sleep(1.1)
        assert len(reader.search(reader.vector_of(item.id), 9)) == 6
        assert not reader.is_current
        with pytest.raises(LibraryError, match="embedded again"):
            reader.delete([item.id])
        there = Library.open(address, other_encoder)
        expected = other_encoder.encode_images([png(RED, mark=7)])[0]
        assert there.vector_of(item.id) == pytest.approx(expected, abs=1e-5)
        assert there.undo().restored
        assert there.verify().kinds == {"missing_file": 1}
        there.compact()
        assert not list(Bucket(address).names("store"))
        assert there.index([pictures]).embedded == 0

    def test_a_card_that_was_replaced_is_noticed(self, address, encoder, other_encoder, machine):
        made = Library.create(address, encoder)
        machine("there")
        there = Library.open(address, encoder)
        copy = there.folder / "library.json"
        there.version  # noqa: B018 - asks the storage
        before = copy.stat().st_mtime_ns
        machine("here")
        made.reembed(other_encoder)
        machine("there")
        time.sleep(1.1)
        there.version  # noqa: B018
        assert copy.stat().st_mtime_ns != before  # by which a server knows

    def test_an_export_is_imported(self, address, filled, encoder, tmp_path, monkeypatch):
        def interrupted(*_):
            raise KeyboardInterrupt

        filled.add([NewItem(png(RED, mark=7), "up.png", meta={"k": 1})])
        filled.delete(where="name = 'white.png'")
        filled.export(tmp_path / "out.tar")
        with monkeypatch.context() as broken:
            broken.setattr(transfer, "_write_rows", interrupted)
            with pytest.raises(KeyboardInterrupt):
                restore(tmp_path / "out.tar", address)
        with pytest.raises(LibraryError, match="is not a library"):
            Library.open(address)
        report = restore(tmp_path / "out.tar", address)
        assert (report.target, report.images, report.trashed) == (address, 6, 1)
        made = Library.open(address, encoder)
        assert [(hit.id, hit.score) for hit in made.search("red blue", 9)] == [
            (hit.id, hit.score) for hit in filled.search("red blue", 9)
        ]
        assert made.image(made.items("k = 1").items[0].id).data == png(RED, mark=7)
        assert (len(made.undo().restored), made.verify().problems) == (1, ())
        with pytest.raises(LibraryError, match="is a library already"):
            restore(tmp_path / "out.tar", address)
        other = f"{address}-2"
        Bucket(other).put("something.txt", b"else")
        with pytest.raises(LibraryError, match="holds other objects"):
            restore(tmp_path / "out.tar", other)
        assert [one.name for one in Bucket(other).names()] == ["something.txt"]

    def test_two_processes_cannot_both_write(self, address, pictures, encoder, monkeypatch):
        made = Library.create(address, encoder)
        made.index([pictures])
        monkeypatch.setattr(bucket_lock, "_STALE", 3.0)
        hold = (
            "import sys, time\n"
            "from diptych.library.bucket import Bucket\n"
            "from diptych.library.store import bucket_lock\n"
            "bucket_lock._RENEW = 0.5\n"
            "with bucket_lock.held(Bucket(sys.argv[1]), 'writer.lock', 0.0):\n"
            "    print('held', flush=True)\n"
            "    time.sleep(600)\n"
        )
        other = subprocess.Popen([sys.executable, "-c", hold, address], stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout.readline() == "held\n"
            for _ in range(2):
                with pytest.raises(LibraryError, match=f"being written by process {other.pid}"):
                    made.delete(where="name = 'red.png'", wait=0.0)
                time.sleep(4)  # it lives: its lock does not grow old
        finally:
            other.send_signal(signal.SIGKILL)
            other.wait()
            other.stdout.close()
        assert len(made) == 6
        assert len(made.delete(where="name = 'red.png'", wait=60.0).ids) == 1

    def test_a_reader_that_is_killed_holds_nothing_up(self, address, pictures, encoder, machine):
        made = Library.create(address, encoder)
        made.index([pictures])
        machine("there")
        read = (
            "import sys, itertools\n"
            "from diptych.library import Library\n"
            "library = Library.open(sys.argv[1])\n"
            "for _ in itertools.count():\n"
            "    print(len(library), flush=True)\n"
        )
        other = subprocess.Popen([sys.executable, "-c", read, address], stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout.readline() == "6\n"
            made.delete(where="name = 'red.png'", wait=0.0)
            done = time.monotonic()
            while other.stdout.readline() != "5\n":
                assert time.monotonic() < done + 20.0
        finally:
            other.kill()
            other.wait()
            other.stdout.close()
        made.purge(0, wait=0.0)
        made.compact()
        assert (len(made), made.verify().problems) == (5, ())

    def test_what_is_missing_is_said_in_one_line(self, address, encoder, monkeypatch):
        with pytest.raises(LibraryError, match="is not a library"):
            Library.open(address)
        with pytest.raises(LibraryError, match="no such bucket"):
            Library.open("s3://nowhere-at-all/x")
        with pytest.raises(LibraryError, match="no such bucket"):
            Library.create("s3://nowhere-at-all/x", encoder)
        with pytest.raises(ConfigError, match="leave the store"):
            Library.create(address, encoder, store="milvus://localhost:19530/x")
        Library.create(address, encoder)
        monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(LibraryError, match="cannot be reached"):
            Library.open(address)

    def test_a_reader_goes_on_while_the_server_is_away(self, pictures, encoder, machine, monkeypatch, caplog):
        from .s3_server import running

        with running() as other:
            for name, value in other.environment.items():
                monkeypatch.setenv(name, value)
            made = Library.create("s3://pictures/x", encoder)
            made.index([pictures])
            before = [(hit.id, hit.score) for hit in made.search("red blue", 9)]
            other.process.kill()
            other.process.wait()
            time.sleep(1.1)
            assert [(hit.id, hit.score) for hit in made.search("red blue", 9)] == before
            assert "cannot be reached" in caplog.text
            with pytest.raises(LibraryError, match="cannot be reached"):
                made.delete(where="name = 'red.png'", wait=0.0)
