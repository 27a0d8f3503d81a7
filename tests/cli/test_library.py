"""`diptych library ...`, as from a shell."""

import json

import pytest

pytest.importorskip("torch", reason="writing a model folder needs the [train] extra")


def ids(diptych, library):
    return {hit["path"].rpartition("/")[2]: hit["id"] for hit in hits(diptych, library)}


def hits(diptych, library):
    return json.loads(diptych("search", "red", "--library", library, "--json")[1])["hits"]


def test_delete_trash_undo_purge(diptych, library):
    known = ids(diptych, library)
    code, out, _ = diptych("library", "delete", library, known["red.png"])
    assert (code, "1 pictures deleted" in out, "undo" in out) == (0, True, True)
    batch = out.split()[-1]
    assert known["red.png"] not in [hit["id"] for hit in hits(diptych, library)]
    assert "red.png" in diptych("library", "trash", library)[1]
    assert diptych("library", "undo", library, batch)[1].endswith("1 pictures are back\n")
    assert diptych("library", "trash", library)[1] == "the trash is empty\n"
    deletion = json.loads(diptych("library", "delete", library, "--where", "width > 0", "--json")[1])
    assert (len(deletion["ids"]), hits(diptych, library)) == (5, [])
    assert diptych("library", "undo", library, "--ids", known["red.png"])[0] == 0
    assert json.loads(diptych("library", "purge", library, "--json")[1]) == {"purged": 0}
    assert json.loads(diptych("library", "purge", library, "--now", "--json")[1]) == {"purged": 4}
    assert list(ids(diptych, library)) == ["red.png"]
    code, _, err = diptych("library", "undo", library)
    assert (code, "trash has nothing" in err) == (3, True)
    assert diptych("library", "delete", library)[0] == 2
    assert diptych("library", "delete", library, "x", "--where", "width > 0")[0] == 2


@pytest.mark.parametrize("command", ["info", "verify", "repair", "compact", "trash"])
def test_the_library_may_be_said_as_everywhere_else(diptych, library, command):
    assert diptych("library", command, "--library", library) == diptych("library", command, library)


def test_export_import_backup_restore(diptych, library, tmp_path):
    found = hits(diptych, library)
    assert diptych("library", "export", library, tmp_path / "out.tar")[0] == 0
    assert diptych("library", "export", library, tmp_path / "out.tar")[0] == 4
    assert diptych("library", "import", tmp_path / "out.tar", tmp_path / "again")[0] == 0
    assert hits(diptych, tmp_path / "again") == found
    assert "read again and whole" in diptych("library", "backup", library, tmp_path / "backups")[1]
    (backup,) = (tmp_path / "backups").iterdir()
    assert diptych("library", "restore", backup, tmp_path / "third")[0] == 0
    assert hits(diptych, tmp_path / "third") == found
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    backup.write_bytes(data)
    assert diptych("library", "restore", backup, tmp_path / "fourth")[0] == 4


def test_reembed_with_another_model(diptych, library, models, photos, tmp_path):
    (photos / "red.png").unlink()
    code, _, err = diptych("library", "reembed", library, "--model", models[1], "--missing", tmp_path / "missing.json")
    assert (code, "red.png" in err, "--thumbnails" in err) == (4, True, True)
    assert json.loads((tmp_path / "missing.json").read_text()) == [str(photos / "red.png")]
    code, out, _ = diptych("library", "reembed", library, "--model", models[1], "--thumbnails")
    assert (code, "5 pictures have vectors of" in out) == (0, True)
    assert len(hits(diptych, library)) == 5
    assert json.loads(diptych("library", "info", library, "--json")[1])["model"] == str(models[1])


def test_repair(diptych, library):
    next(library.glob("thumbs/*/*.jpg")).unlink()
    (library / ".library.json.xyz.tmp").touch()
    assert diptych("library", "verify", library)[0] == 1
    code, out, _ = diptych("library", "repair", library)
    assert (code, "1 leftover_file, 1 missing_thumb" in out) == (0, True)
    assert diptych("library", "verify", library)[0] == 0
    assert diptych("library", "repair", library, "--model")[1].endswith("repaired nothing, no problems left\n")


def test_a_library_stays_in_its_store(diptych, library, photos):
    code, _, err = diptych("index", photos, "--library", library, "--store", "milvus://localhost:1/x")
    assert (code, "keeps its rows in lance" in err) == (2, True)


@pytest.mark.parametrize(
    "command",
    ["verify", "repair", "delete", "undo", "trash", "purge", "export", "import", "backup", "restore", "reembed"],
)
def test_every_command_has_examples(diptych, command):
    code, out, _ = diptych("library", command, "--help")
    assert (code, f"diptych library {command}" in out) == (0, True)
