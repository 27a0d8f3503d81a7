"""A dual encoder as a SentenceTransformer: `encode` takes texts and images, and the folder opens by its name.

from diptych.integrations.sentence_transformers import as_sentence_transformer

model = as_sentence_transformer("base")
model.similarity(model.encode(["a dog on the beach"]), model.encode([PIL.Image.open("dog.jpg")]))
model.save("base-st")                 # then, elsewhere: SentenceTransformer("base-st", trust_remote_code=True)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modality import infer_modality
from sentence_transformers.base.modules import InputModule

from diptych.core.errors import ModelError
from diptych.models import DualEncoder, as_model

_CONFIG, _MODEL = "diptych.json", "model"


class DualEncoderModule(InputModule):
    """The only module of such a SentenceTransformer: texts and images to embeddings of unit length.

    The weights stay where the dual encoder has them (ONNX Runtime or its towers), frozen: this is for encoding. To
    train further, use `diptych train`, or `DualEncoder.torch()`.

    Args:
        model: the dual encoder, or its address.
    """

    config_file_name = _CONFIG
    save_in_root = False

    def __init__(self, model: DualEncoder | str | Path) -> None:
        super().__init__()
        self.model = as_model(model)
        # sentence-transformers asks the parameters for the device, and there are none outside the towers
        self.register_buffer("_device", torch.zeros(1), persistent=False)

    @property
    def modalities(self) -> list[Any]:
        """Texts and images."""
        return ["text", "image"]

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of the longest text that is read to its end."""
        return self.model.text_tower.max_tokens

    def get_embedding_dimension(self) -> int:
        """Width of the embeddings."""
        return self.model.dim

    def get_config_dict(self) -> dict[str, Any]:
        """The model's address and fingerprint."""
        return {"address": self.model.address, "fingerprint": self.model.fingerprint}

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Embeddings of a batch of texts or of images, each by itself or as `{"text": ...}` or `{"image": ...}`.

        A string is a text, unless it names an image file, as sentence-transformers sees it. Raises DataError for an
        image that cannot be read.
        """
        kind = infer_modality(inputs[0], self.modalities) if inputs else "text"
        own = [one[kind] if isinstance(one, dict) else one for one in inputs]
        if kind == "text":
            found = self.model.encode_texts([f"{prompt or ''}{text}" for text in own])
        else:
            found = self.model.encode_images([_image(image) for image in own])
        return {"sentence_embedding": torch.from_numpy(found)}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """What `preprocess` embedded."""
        return features

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """The address and fingerprint; a model in a folder of Diptych is copied in, so that it can be moved."""
        folder = Path(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        facts = self.get_config_dict()
        if self.model.joint is None:
            shutil.copytree(self.model.folder, folder / _MODEL, dirs_exist_ok=True)
            facts["address"] = _MODEL
        (folder / _CONFIG).write_text(json.dumps(facts, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **_: Any) -> DualEncoderModule:
        """What `save` wrote. Raises ModelError where the model is another one by now."""
        folder = Path(model_name_or_path) / subfolder
        facts = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        module = cls(folder / _MODEL if facts["address"] == _MODEL else facts["address"])
        if module.model.fingerprint != facts["fingerprint"]:
            raise ModelError(
                f"{folder} was saved with the model {facts['address']} of fingerprint {facts['fingerprint'][:8]}, "
                f"which is {module.model.fingerprint[:8]} now; save it again"
            )
        return module


def as_sentence_transformer(model: DualEncoder | str | Path, **options: Any) -> SentenceTransformer:
    """A SentenceTransformer that encodes texts and images by a dual encoder, compared by the cosine.

    Args:
        model: the dual encoder, or its address.
        options: of SentenceTransformer, such as `prompts` or `truncate_dim`.
    """
    return SentenceTransformer(modules=[DualEncoderModule(model)], device="cpu", **options)


def _image(image: Any) -> Any:
    """As `encode_images` takes it: tensors become arrays, channels last."""
    if isinstance(image, torch.Tensor):
        image = image.cpu().numpy()
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        image = np.ascontiguousarray(image.transpose(1, 2, 0))
    return image
