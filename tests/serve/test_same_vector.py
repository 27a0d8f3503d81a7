"""One image, every way in: indexed, uploaded, asked for, embedded, evaluated: the same vector, the same facts."""

from __future__ import annotations

import base64
import io

import numpy as np
import PIL.Image

from diptych.core.cosine import normalise
from diptych.library import Library, NewItem

from .conftest import MOSAIC
from .test_decoding import UPLOADS


def test_every_way_in_gives_the_same_vector_size_and_thumbnail(ask, site, tmp_path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, (data, _) in UPLOADS.items():
        (folder / name).write_bytes(data)
    indexed = Library.create(tmp_path / "indexed", MOSAIC.MosaicEncoder())
    indexed.index([folder])
    items = {item.name: item for item in indexed.items().items}
    vectors = {name: indexed.vector_of(item.id) for name, item in items.items()}
    added = Library.create(tmp_path / "added", MOSAIC.MosaicEncoder())
    by_bytes = added.add([NewItem(data, name) for name, (data, _) in UPLOADS.items()])
    evaluated = normalise(site.encoder.encode_images([data for data, _ in UPLOADS.values()]))

    async def scenario(client):
        files = [("files", (name, data)) for name, (data, _) in UPLOADS.items()]
        uploads = (await client.post("/libraries/colours/items", files=files)).json()["added"]
        uris = ["data:image/jpeg;base64," + base64.b64encode(data).decode() for data, _ in UPLOADS.values()]
        embedded = (await client.post("/v1/embeddings", json={"input": uris})).json()["data"]
        asked = [
            (await client.post("/libraries/colours/search/image", files={"file": data}, data={"k": 1})).json()["hits"]
            for data, _ in UPLOADS.values()
        ]
        about = [(await client.get(f"/libraries/colours/items/{one['id']}")).json() for one in uploads]
        thumbs = [(await client.get(f"/libraries/colours/items/{one['id']}/thumbnail")).content for one in uploads]
        return uploads, embedded, asked, about, thumbs

    uploads, embedded, asked, about, thumbs = ask(scenario)
    served = Library.open(site.folder, site.encoder)
    for at, (name, (_, size)) in enumerate(UPLOADS.items()):
        uploaded = served.vector_of(uploads[at]["id"])
        assert np.array_equal(uploaded, vectors[name]), name
        assert np.array_equal(added.vector_of(by_bytes.items[at].id), vectors[name]), name
        assert np.array_equal(np.float32(embedded[at]["embedding"]), vectors[name]), name
        assert np.array_equal(evaluated[at], vectors[name]), name
        assert abs(asked[at][0]["score"] - 1) < 1e-6
        assert (items[name].width, items[name].height) == (about[at]["width"], about[at]["height"]) == size
        assert thumbs[at] == indexed.thumbnail(items[name].id)
        assert max(PIL.Image.open(io.BytesIO(thumbs[at])).size) == 256
