"""Narrow joint models with random weights, of the real architectures, and tokenizers trained on a few lines.

Each maker writes a folder as its library saves it and returns that folder. No network, no weights from elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diptych.encoders.pretrained import import_transformers

TEXTS = [
    "a photo of a red circle",
    "two dogs run on the beach",
    "ein blauer Kreis auf weißem Grund",
    "un chat dort sur le tapis",
    "一只狗在海滩上奔跑",
    "собака бежит по пляжу",
    "a green square, a yellow triangle & a café 🙂",
]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}


def save_clip_tokenizer(folder: Path, length: int = 24) -> Any:
    """A byte-level BPE tokenizer as CLIP's, with 600 tokens."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    transformers = import_transformers()
    made = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    made.normalizer = normalizers.Lowercase()
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS * 3,
        trainers.BpeTrainer(
            vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False,
            special_tokens=["<|startoftext|>", "<|endoftext|>"],
        ),
    )  # fmt: skip
    model = json.loads(made.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for letter in alphabet:  # a letter at the end of a word, which few lines do not show
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(each) if isinstance(each, list) else tuple(each.split(" ")) for each in model["merges"]]
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_clip(folder: Path, *, seed: int = 0, width: int = 12, length: int = 24) -> Path:
    """A CLIP of transformers: shortest edge to 32 pixels and the centre cut, softmax probabilities."""
    import torch

    transformers = import_transformers()
    torch.manual_seed(seed)
    tokenizer = save_clip_tokenizer(folder, length)
    text = {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": length}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPConfig(text_config={**text, **ids}, vision_config=VISION, projection_dim=width)
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    said = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True, "size": {"shortest_edge": 32}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
        "do_rescale": True, "do_normalize": True, "do_convert_rgb": True, "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def make_open_clip(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """A CLIP of open_clip with its own tokenizer and full vocabulary, 16 wide."""
    from diptych.encoders.compat import import_torchvision

    import_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    made: dict[str, Any] = {
        "embed_dim": width,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    model = open_clip.CLIP(**made).eval()
    prepared = {"size": 32, "mean": MEAN, "std": STD, "resize_mode": "shortest", "interpolation": "bicubic"}
    folder.mkdir(parents=True, exist_ok=True)
    said = {"model_cfg": made, "preprocess_cfg": {**prepared, **preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder
