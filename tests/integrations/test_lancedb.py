"""An embedding function of LanceDB, in a table on disk."""

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import PIL.Image
import pytest
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector

from diptych import ConfigError, load
from diptych.integrations.lancedb import SkippedImages


def made(small_model: Path, **options: Any) -> Any:
    return get_registry().get("diptych").create(model=str(small_model), **options)


def test_images_are_found_by_texts_and_images(small_model: Path, shapes: Path, tmp_path: Path) -> None:
    function = made(small_model)

    class Photo(LanceModel):  # type: ignore[misc]
        path: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()  # type: ignore[valid-type]

    files = sorted(shapes.parent.glob("*-20.png"))[:4]
    table = lancedb.connect(tmp_path).create_table("photos", schema=Photo)
    table.add([{"path": str(files[0])}, {"path": files[1].as_uri()}, *({"path": str(file)} for file in files[2:])])
    model = load(small_model)
    rows = table.search().limit(4).to_list()
    np.testing.assert_allclose([row["vector"] for row in rows], model.encode_images(files), atol=1e-6)

    again = lancedb.connect(tmp_path).open_table("photos")  # knows its function by itself
    for place, file in enumerate(files):
        assert again.search(PIL.Image.open(file)).limit(1).to_list()[0]["path"] == rows[place]["path"]
    nearest = model.encode_images(files) @ model.encode_texts("a red circle")[0]
    assert again.search("a red circle").limit(1).to_list()[0]["path"] == rows[int(nearest.argmax())]["path"]

    with pytest.warns(SkippedImages, match=r"1 images have no vector: nowhere\.png \(missing\)"):
        table.add([{"path": "nowhere.png"}, {"path": str(files[0])}], on_bad_vectors="drop")
    assert table.count_rows() == 5


def test_a_column_of_texts(small_model: Path) -> None:
    function = made(small_model, column="texts")
    found = function.compute_source_embeddings(["a", "b"])
    np.testing.assert_allclose(found, load(small_model).encode_texts(["a", "b"]), atol=1e-6)
    with pytest.raises(ConfigError, match="choose from images, texts"):
        made(small_model, column="sounds")
