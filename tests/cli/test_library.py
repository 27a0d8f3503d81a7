"""`diptych library ...`, as from a shell."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")


def ids(diptych, library):
    return {hit["path"].rpartition("/")[2]: hit["id"] for hit in hits(diptych, library)}


def hits(diptych, library):
    return json.loads(diptych("search", "red", "--library", library, "--json")[1])["hits"]


def test_delete_trash_undo_purge(diptych, library):
    known = ids(diptych, library)
    code, out, _ = diptych("library", "rm", "--library", library, known["red.png"])
    assert (code, "1 image put into the trash" in out, "undo" in out) == (0, True, True)
    batch = out.partition("undo ")[2].split()[0]
    assert known["red.png"] not in [hit["id"] for hit in hits(diptych, library)]
    assert "red.png" in diptych("library", "trash", "--library", library)[1]
    assert diptych("library", "undo", "--library", library, batch)[1].endswith("1 image brought back\n")
    assert diptych("library", "trash", "--library", library)[1] == "the trash is empty\n"
    deletion = json.loads(diptych("library", "rm", "--library", library, "--where", "width > 0", "--json")[1])
    assert (len(deletion["ids"]), hits(diptych, library)) == (5, [])
    assert diptych("library", "undo", "--library", library, "--ids", known["red.png"])[0] == 0
    assert json.loads(diptych("library", "purge", "--library", library, "--json")[1]) == {"purged": 0}
    said = diptych("library", "purge", "--library", library, "--days", "0.5")[1]
    assert said.endswith(
        "0 images purged; 4 were put into the trash less than 0.5 days ago and stay; --now takes all\n"
    )
    assert json.loads(diptych("library", "purge", "--library", library, "--now", "--json")[1]) == {"purged": 4}
    assert list(ids(diptych, library)) == ["red.png"]
    code, _, err = diptych("library", "undo", "--library", library)
    assert (code, "trash has nothing" in err) == (3, True)
    assert diptych("library", "rm", "--library", library)[0] == 2
    assert diptych("library", "rm", "--library", library, "x", "--where", "width > 0")[0] == 2


def test_images_near_a_place_are_found_and_removed(diptych, library, photos):
    code, _, err = diptych("search", "red", "--library", library, "--near", "1,1")
    assert (code, "cannot use --near: no image of this library says its latitude" in err) == (2, True)
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 0.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    Image.new("RGB", (40, 30), "teal").save(photos / "sydney.jpg", exif=exif)
    assert diptych("index", photos, "--library", library)[0] == 0
    search = ("search", "red", "--library", library, "--near", "-33.86,151.2")
    code, out, err = diptych(*search, "--paths")
    assert (code, out) == (0, f"{photos / 'sydney.jpg'}\n")
    assert err.endswith("note: images without coordinates, which are not found by a place: 5\n")
    assert "0 of 6 pass the filter; latitude has: -33.85" in diptych(*search, "--km", "1")[2]
    assert diptych(*search[:4], "--near", "-33.86")[0] == 2
    assert diptych(*search[:4], "--km", "1")[0] == 2
    listed = json.loads(diptych("library", "list", "--library", library, "--near", "-33.86,151.2", "--json")[1])
    assert [one["name"] for one in listed["items"]] == ["sydney.jpg"]
    assert "1 image put" in diptych("library", "rm", "--library", library, "--near", "-33.86,151.2")[1]


def test_images_are_searched_and_listed_in_order(diptych, library, photos):
    assert diptych("library", "list", "--library", library, "--sort", "taken")[0] == 2  # none says a date
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "1969:05:01 14:30:05"})
    Image.new("RGB", (80, 30), "teal").save(photos / "old.jpg", exif=exif)
    assert diptych("index", photos, "--library", library)[0] == 0
    code, out, err = diptych("search", "red", "--library", library, "--sort", "taken")
    assert (code, out.splitlines()[0].split()[3:]) == (0, ["1969-05-01", str(photos / "old.jpg")])
    assert "note: 5 of the 6 found say no date and come last" in err
    out = diptych("search", "red", "--library", library, "--sort", "size", "--paths")[1]
    assert out.splitlines()[0] == str(photos / "old.jpg")
    listing = ("library", "list", "--library", library, "--sort", "taken", "-k", "1")
    code, out, _ = diptych(*listing)
    first, total, following, note = out.splitlines()
    assert (code, first.split()[1], total) == (0, "1969-05-01", "6 images in all")
    assert note == "note: images without a date, which come last: 5"
    code, out, _ = diptych(*shlex.split(following.removeprefix("the next: diptych ")), "--json")
    assert (code, len(json.loads(out)["items"])) == (0, 1)
    assert diptych(*listing, "--where", "width > 900")[1].startswith("0 images in all")


def test_texts_are_listed_as_texts(diptych, tmp_path):
    (tmp_path / "lines.txt").write_text("a dog  runs\na red apple\n")
    assert diptych("index", tmp_path / "lines.txt", "--texts", "--library", tmp_path / "texts.library")[0] == 0
    code, out, _ = diptych("library", "list", "--library", tmp_path / "texts.library")
    *lines, total = out.splitlines()
    assert {line.split("  ", 1)[1] for line in lines} == {"a dog runs  (line 1)", "a red apple  (line 2)"}
    assert (code, total) == (0, "2 texts in all")


def test_what_is_removed_is_named_by_id_or_by_path_and_never_guessed(diptych, library, photos, tmp_path, monkeypatch):
    known = ids(diptych, library)
    code, _, err = diptych("library", "rm", "--library", library, known["red.png"], photos / "blue.png")
    assert (code, "found ids and paths; expected ids, paths, --where or --near" in err) == (2, True)
    code, out, _ = diptych("library", "rm", "--library", library, tmp_path / "elsewhere")
    assert code == 0
    assert f"no image at or below {tmp_path / 'elsewhere'}; named: 1" in out
    monkeypatch.chdir(photos)
    (photos / "red.png").rename(photos / known["blue.png"])  # a file whose name is the id of another image
    assert diptych("index", photos, "--library", library)[0] == 0
    assert "1 image " in diptych("library", "rm", f"./{known['blue.png']}", "--library", library)[1]
    left = set(ids(diptych, library))
    assert left == {"blue.png", "green.png", "black.png", "white.png"}
    assert "1 image " in diptych("library", "rm", known["blue.png"], "--library", library)[1]
    assert set(ids(diptych, library)) == left - {"blue.png"}


@pytest.mark.parametrize("command", [("info",), ("trash",), ("verify",)])
def test_the_environment_names_the_library_of_every_command(diptych, library, tmp_path, monkeypatch, command):
    given = diptych("library", *command, "--library", library)
    code, _, err = diptych("library", *command)
    assert code == 2
    assert "--library is missing; name the library's folder, as --library FOLDER or in DIPTYCH_LIBRARY" in err
    monkeypatch.setenv("DIPTYCH_LIBRARY", str(library))
    assert diptych("library", *command) == given
    assert diptych("search", "red")[0] == 0
    assert diptych("library", *command, "--library", tmp_path / "none")[0] == 4  # the command line counts more
    monkeypatch.setenv(f"DIPTYCH_LIBRARY_{command[0].upper()}_LIBRARY", str(tmp_path / "none"))
    assert diptych("library", *command)[0] == 4  # and so does the variable of one command


def test_export_import_backup_restore(diptych, library, tmp_path):
    found = hits(diptych, library)
    assert diptych("library", "export", "--library", library, tmp_path / "out.tar")[0] == 0
    assert diptych("library", "export", "--library", library, tmp_path / "out.tar")[0] == 4
    assert diptych("library", "import", tmp_path / "out.tar", "--library", tmp_path / "again")[0] == 0
    assert hits(diptych, tmp_path / "again") == found
    assert "read again and whole" in diptych("library", "backup", "--library", library, tmp_path / "backups")[1]
    (backup,) = (tmp_path / "backups").iterdir()
    assert diptych("library", "import", backup, "--library", tmp_path / "third")[0] == 0
    assert hits(diptych, tmp_path / "third") == found
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    backup.write_bytes(data)
    assert diptych("library", "import", backup, "--library", tmp_path / "fourth")[0] == 4


def test_reembed_with_another_model(diptych, library, models, photos, tmp_path):
    (photos / "red.png").unlink()
    code, _, err = diptych(
        "library", "reembed", "--library", library, "--model", models[1], "--missing", tmp_path / "missing.json"
    )
    assert (code, "red.png" in err, "--thumbnails" in err) == (4, True, True)
    assert json.loads((tmp_path / "missing.json").read_text()) == [str(photos / "red.png")]
    code, out, _ = diptych("library", "reembed", "--library", library, "--model", models[1], "--thumbnails")
    assert (code, "5 images have vectors of" in out) == (0, True)
    assert len(hits(diptych, library)) == 5
    assert json.loads(diptych("library", "info", "--library", library, "--json")[1])["model"] == str(models[1])


def test_repair(diptych, library):
    next(library.glob("thumbs/*/*.jpg")).unlink()
    (library / ".library.json.xyz.tmp").touch()
    assert diptych("library", "verify", "--library", library)[0] == 1
    code, out, _ = diptych("library", "repair", "--library", library)
    assert (code, "1 leftover_file, 1 missing_thumb" in out) == (0, True)
    assert diptych("library", "verify", "--library", library)[0] == 0
    assert diptych("library", "repair", "--library", library, "--vectors")[1].endswith(
        "repaired nothing, no problems left\n"
    )


def test_a_library_stays_in_its_store(diptych, library, photos):
    code, _, err = diptych("index", photos, "--library", library, "--store", "milvus://localhost:1/x")
    assert (code, "keeps its rows in lance" in err) == (2, True)


@pytest.mark.parametrize(
    "command",
    ["verify", "repair", "rm", "undo", "trash", "purge", "export", "import", "backup", "reembed"],
)
def test_every_command_has_examples(diptych, command):
    code, out, _ = diptych("library", command, "--help")
    assert (code, f"diptych library {command}" in out) == (0, True)


def test_a_library_of_an_earlier_model_of_that_name_is_read_and_reembedded_but_not_searched(
    diptych, library, models, photos, tmp_path
):
    card = json.loads((library / "library.json").read_text())
    (library / "library.json").write_text(json.dumps({**card, "fingerprint": "0123456789abcdef"}))
    command = f"diptych library reembed --library {library} --model {models[0]}"
    for refused in (["search", "red"], ["search", photos / "red.png"], ["search", "red", "--rerank", "2"]):
        code, out, err = diptych(*refused, "--library", library)
        assert (code, out) == (4, "")
        assert f"{library} was made by an earlier" in err
        assert err.strip().endswith(command)
    (photos / "new.png").write_bytes((photos / "red.png").read_bytes()[:-1] + b"\x00")
    code, _, err = diptych("index", photos, "--library", library)
    assert (code, command in err) == (4, True)
    for read in (["info"], ["verify"], ["trash"], ["export", tmp_path / "exported"]):
        assert diptych("library", *read, "--library", library)[0] == 0
    assert diptych("library", "reembed", "--library", library, "--model", models[0])[0] == 0
    code, out, _ = diptych("search", photos / "red.png", "--library", library, "-k", "5", "--json")
    assert (code, len(json.loads(out)["hits"])) == (0, 5)


def test_duplicates_prints_the_command_that_removes_them_and_undo_takes_it_back(diptych, tmp_path, models):
    folder, library = tmp_path / "copies", tmp_path / "library"
    folder.mkdir()
    gradient = np.add.outer(np.arange(120) * 2 % 256, np.arange(160) // 2 % 90).astype(np.uint8)
    for name, size in (("large.png", (160, 120)), ("small.png", (80, 60))):
        Image.fromarray(gradient).resize(size).save(folder / name)
    assert diptych("index", folder, "--library", library, "--model", models[0])[0] == 0
    code, out, _ = diptych("library", "duplicates", "--library", library)
    assert code == 0
    assert "2 images: 1 group of copies, 1 of them spare" in out
    assert "large.png (160 x 120" in out
    assert "most pixels (160 x 120)" in out
    (command,) = [line.partition("trash: ")[2] for line in out.splitlines() if line.startswith("to put the spare")]
    assert diptych(*shlex.split(command)[1:])[0] == 0
    code, out, _ = diptych("library", "duplicates", "--library", library, "--json")
    assert (code, json.loads(out)["groups"]) == (0, [])
    diptych("library", "undo", "--library", library)
    (group,) = json.loads(diptych("library", "duplicates", "--library", library, "--json")[1])["groups"]
    assert [copy["kinds"] for copy in group["others"]] == [["resized"]]


def test_an_index_is_named_or_refused(diptych, library, tmp_path):
    code, _, err = diptych("library", "tune", "--library", library)
    assert (code, "5 vectors" in err, "no index to choose" in err) == (2, True, True)
    pytest.importorskip("faiss", reason="needs the [fast] extra")
    code, out, _ = diptych("library", "tune", "--library", library, "--use", "ivf,int8,share=0.1,candidates=50")
    assert (code, "from 10,000 images on" in out) == (0, True)
    assert "index: ivf,int8,share=0.1,candidates=50, chosen" in diptych("library", "info", "--library", library)[1]
    assert len(hits(diptych, library)) == 5
    assert "the usual index" in diptych("library", "tune", "--library", library, "--use", "usual")[1]
    assert "index:" not in diptych("library", "info", "--library", library)[1]
    for wrong in (("--use", "hnsw"), ("--use", "exact", "--apply"), ("--recall", "1"), ("--queries", tmp_path / "no")):
        assert diptych("library", "tune", "--library", library, *wrong)[0] == 2


def test_an_index_is_measured_and_used(diptych, tmp_path, monkeypatch):
    pytest.importorskip("faiss", reason="needs the [fast] extra")
    from diptych.core.cosine import normalise
    from diptych.library import Library
    from diptych.library.maintenance import tune as measuring
    from diptych.library.store.rows import Row
    from diptych.library.view import accelerator
    from diptych.models import load

    monkeypatch.setattr(accelerator, "LEAST_ROWS", 1_000)
    monkeypatch.setattr(measuring, "CODES", ("fp32", "int8"))
    monkeypatch.setattr(measuring, "_CUTS", ())
    made = Library.create(tmp_path / "many.library", load("base"))
    random, about = (
        np.random.default_rng(0),
        {"content": "0" * 32, "bytes": 1, "modified_ns": 1, "width": 1, "height": 1},
    )
    vectors = normalise(random.normal(size=(1_000, made.card.dim)).astype(np.float32))
    with made.opened.writing() as store:
        store.write([Row(f"{at:016x}", f"/v/{at}", "/v", vector=vector, **about) for at, vector in enumerate(vectors)])
        made.opened.view.refresh()
    np.save(tmp_path / "asked.npy", vectors[:40])
    asked = ("library", "tune", "--library", tmp_path / "many.library", "--queries", tmp_path / "asked.npy")
    code, out, _ = diptych(*asked, "--recall", "0.5")
    assert (code, "recall of the exact 10 nearest by held-out queries: 20 given queries" in out) == (0, True)
    assert "to use it: diptych library tune --library" in out
    found = json.loads(diptych(*asked, "--recall", "0.5", "--apply", "--json")[1])
    assert (found["applied"], found["images"]) == (True, 1_000)
    assert {one["index"].split(",")[1] for one in found["measured"]} == {"fp32", "int8"}
