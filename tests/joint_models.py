"""Narrow joint models with random weights, of the real architectures, and tokenizers trained on a few lines.

Each maker writes a folder as its library saves it and returns that folder. No network, no weights from elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from diptych.encoders.pretrained import import_transformers

from .joint_tokenizers import save_gemma, save_sentencepiece, save_t5, save_unigram, save_wordpiece

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
    """A byte-level BPE tokenizer as CLIP's, the same in every run."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    transformers = import_transformers()
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    lowered = [normalizers.Lowercase().normalize_str(text) for text in TEXTS]
    merges = learn_merges([word for text in lowered for word, _ in splitter.pre_tokenize_str(text)], 90)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    listed = ["<|startoftext|>", "<|endoftext|>", *dict.fromkeys(pieces)]
    vocabulary = {piece: number for number, piece in enumerate(listed)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)
    tokenizer.save_pretrained(folder)
    return tokenizer


def learn_merges(words: list[str], most: int) -> list[tuple[str, str]]:
    """Byte-pair merges, the most frequent pair first; the library's trainer orders equal ones otherwise in each run."""
    split = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        counts = Counter(pair for pieces in split for pair in pairwise(pieces))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for pieces in split:
            for place in range(len(pieces) - 1, 0, -1):
                if place < len(pieces) and (pieces[place - 1], pieces[place]) == best:
                    pieces[place - 1 : place + 1] = ["".join(best)]
    return merges


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
    return _open_clip(folder, seed, width, {"context_length": 24, "vocab_size": 49408}, preprocess)


def make_open_clip_siglip(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """A SigLIP of open_clip: a T5 tokenizer, lower case without punctuation, the last of 16 places pooled, no mask."""
    tokenizer = save_t5(folder)
    text = {
        "context_length": 16, "vocab_size": len(tokenizer), "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
        "tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
    }  # fmt: skip
    return _open_clip(folder, seed, width, text, preprocess)


def make_open_clip_clipa(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """A CLIPA of open_clip: BERT's tokenizer without its closing token, the last of 16 places pooled, no mask."""
    tokenizer = save_wordpiece(folder, 512)
    text = {
        "context_length": 16, "vocab_size": len(tokenizer), "hf_tokenizer_name": "bert-base-uncased",
        "tokenizer_kwargs": {"strip_sep_token": True}, "no_causal_mask": True, "pool_type": "last",
    }  # fmt: skip
    return _open_clip(folder, seed, width, text, preprocess)


def make_open_clip_clips(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """A CLIPS of open_clip: BERT's tokenizer between two unused tokens, and a class token in the last of 16 places."""
    tokenizer = save_wordpiece(folder, 512, bos_token="[unused0]", eos_token="[unused1]")
    text = {
        "context_length": 16, "vocab_size": len(tokenizer), "hf_tokenizer_name": "bert-base-uncased",
        "tokenizer_mode": "clips", "no_causal_mask": True, "pool_type": "last",
    }  # fmt: skip
    return _open_clip(folder, seed, width, text, preprocess)


def make_open_clip_xlm(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """A CLIP of open_clip whose texts go through a model of transformers, XLM-RoBERTa, which masks the padding."""
    transformers = import_transformers()
    tokenizer = save_unigram(folder, 512)
    config = transformers.XLMRobertaConfig(**TOWER, **_tokens(tokenizer), max_position_embeddings=40)
    config.save_pretrained(folder / "text")
    text = {
        "context_length": 16, "hf_model_name": str(folder / "text"), "hf_tokenizer_name": "xlm-roberta-base",
        "hf_model_pretrained": False, "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler",
    }  # fmt: skip
    return _open_clip(folder, seed, width, text, preprocess)


def _open_clip(folder: Path, seed: int, width: int, text: dict[str, Any], preprocess: dict[str, Any]) -> Path:
    from diptych.encoders.compat import import_torchvision

    import_torchvision()
    import open_clip
    from safetensors.torch import save_file

    _seed(seed)
    made: dict[str, Any] = {
        "embed_dim": width,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"width": 16, "heads": 2, "layers": 2, **text},
    }
    kind = open_clip.CustomTextCLIP if "hf_tokenizer_name" in text else open_clip.CLIP
    model = kind(**made).eval()
    said = {**made, "custom_text": True} if "hf_tokenizer_name" in text else made
    prepared = {"size": 32, "mean": MEAN, "std": STD, "resize_mode": "shortest", "interpolation": "bicubic"}
    folder.mkdir(parents=True, exist_ok=True)
    stated = {"model_cfg": said, "preprocess_cfg": {**prepared, **preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def save_preprocessing(folder: Path, kind: str, **fields: Any) -> None:
    """How images are prepared, as the folder of a model of transformers states it."""
    said = {
        "image_processor_type": kind, "do_resize": True, "resample": 3, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": True, "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, **fields}))


SHORTEST = {"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
SQUASHED = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def make_siglip(folder: Path, *, seed: int = 0, **preprocess: Any) -> Path:
    """A SigLIP of transformers: squashed, sigmoid probabilities, texts padded to the full length."""
    return _siglip(folder, seed, save_sentencepiece, {**SQUASHED, **preprocess})


def make_siglip2(folder: Path, *, seed: int = 2, **preprocess: Any) -> Path:
    """A SigLIP 2 of one size, which transformers loads as a SigLIP: squashed by the bilinear filter."""
    return _siglip(folder, seed, save_gemma, {**SQUASHED, "resample": 2, **preprocess})


def _siglip(folder: Path, seed: int, save: Callable[..., Any], preprocess: dict[str, Any]) -> Path:
    transformers = import_transformers()
    _seed(seed)
    tokenizer = save(folder, length=16)
    text = {**TOWER, **_tokens(tokenizer), "max_position_embeddings": 16}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    transformers.SiglipModel(config).eval().save_pretrained(folder)
    save_preprocessing(folder, "SiglipImageProcessor", **preprocess)
    return folder


def make_naflex(folder: Path, *, seed: int = 2, **preprocess: Any) -> Path:
    """A SigLIP 2 of NaFlex: the image's proportions are kept, at most 16 patches of 8 pixels."""
    transformers = import_transformers()
    _seed(seed)
    tokenizer = save_gemma(folder, length=16)
    config = transformers.Siglip2Config(
        text_config={**TOWER, **_tokens(tokenizer), "max_position_embeddings": 16},
        vision_config={**TOWER, "patch_size": 8, "num_patches": 16},
    )
    transformers.Siglip2Model(config).eval().save_pretrained(folder)
    said = {"resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 8, "max_num_patches": 16}
    save_preprocessing(folder, "Siglip2ImageProcessor", **{**said, **preprocess})
    return folder


def make_align(folder: Path, *, seed: int = 0, **preprocess: Any) -> Path:
    """An ALIGN of transformers: squashed to 40 pixels, 32 cut out, values from -1 to 1."""
    transformers = import_transformers()
    _seed(seed)
    tokenizer = save_wordpiece(folder, 24)
    config = transformers.AlignConfig(
        text_config={**TOWER, **_tokens(tokenizer), "max_position_embeddings": 24},
        vision_config={
            "image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 16,
            "kernel_sizes": [3, 3], "in_channels": [32, 32], "out_channels": [32, 64], "strides": [1, 2],
            "num_block_repeats": [1, 1], "expand_ratios": [1, 2], "depthwise_padding": [],
            "initializer_range": 0.5,  # at the usual 0.02 features vanish, since the batch norms have seen nothing
        },
        projection_dim=16,
    )  # fmt: skip
    transformers.AlignModel(config).eval().save_pretrained(folder)
    said = {
        "size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
        "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "include_top": False,
        "resample": 2,
    }  # fmt: skip
    save_preprocessing(folder, "EfficientNetImageProcessor", **{**said, **preprocess})
    return folder


def make_altclip(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """An AltCLIP of transformers: CLIP's images, texts by XLM-RoBERTa."""
    transformers = import_transformers()
    _seed(seed)
    tokenizer = save_unigram(folder, 24)
    text = {**TOWER, **_tokens(tokenizer), "max_position_embeddings": 28, "project_dim": 16}
    config = transformers.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=width)
    transformers.AltCLIPModel(config).eval().save_pretrained(folder)
    save_preprocessing(folder, "CLIPImageProcessor", **{**SHORTEST, **preprocess})
    return folder


def make_chinese_clip(folder: Path, *, seed: int = 0, width: int = 12, length: int = 24, **preprocess: Any) -> Path:
    """A Chinese-CLIP of transformers: squashed images, texts by BERT."""
    transformers = import_transformers()
    _seed(seed)
    tokenizer = save_wordpiece(folder, length)
    text = {**TOWER, **_tokens(tokenizer), "max_position_embeddings": length}
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=width)
    transformers.ChineseCLIPModel(config).eval().save_pretrained(folder)
    said = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
    save_preprocessing(folder, "ChineseCLIPImageProcessor", **{**said, **preprocess})
    return folder


def make_metaclip2(folder: Path, *, seed: int = 0, width: int = 12, **preprocess: Any) -> Path:
    """A MetaCLIP 2 of transformers: CLIP's images, texts in the vocabulary of XLM-V."""
    transformers = import_transformers()
    _seed(seed)
    tokenizer = save_unigram(folder, 24)
    text = {**TOWER, **_tokens(tokenizer), "max_position_embeddings": 24, "projection_dim": width}
    config = transformers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=width)
    transformers.MetaClip2Model(config).eval().save_pretrained(folder)
    save_preprocessing(folder, "CLIPImageProcessor", **{**SHORTEST, **preprocess})
    return folder


def make_sentences(folder: Path, *, seed: int = 0, width: int = 12, lower: bool = False, prompt: str = "") -> Path:
    """A multilingual text side of sentence-transformers: DistilBERT, the mean of its tokens, a dense layer.

    `prompt` goes before every text; `lower` says that all texts become lower case, though the tokenizer is cased.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from torch import nn

    transformers = import_transformers()
    _seed(seed)
    inner = folder / "made"
    tokenizer = save_wordpiece(inner, 20, lower=False)
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 40}
    config = transformers.DistilBertConfig(vocab_size=len(tokenizer), **sizes)
    transformers.DistilBertModel(config).save_pretrained(inner)
    parts = [Transformer(str(inner)), Pooling(16), Dense(16, width, bias=False, activation_function=nn.Identity())]
    prompts = {"default": prompt} if prompt else None
    made = SentenceTransformer(modules=parts, prompts=prompts, default_prompt_name="default" if prompt else None)
    made.save(str(folder / "saved"))
    if lower:
        (folder / "saved" / "sentence_bert_config.json").write_text('{"max_seq_length": 16, "do_lower_case": true}')
    return folder / "saved"


OPEN_CLIP_FAMILIES = {
    "clip": make_open_clip, "siglip": make_open_clip_siglip, "clipa": make_open_clip_clipa,
    "clips": make_open_clip_clips, "xlm": make_open_clip_xlm,
}  # fmt: skip
FAMILIES = {
    "clip": make_clip, "siglip": make_siglip, "siglip2": make_siglip2, "naflex": make_naflex, "align": make_align,
    "altclip": make_altclip, "chinese_clip": make_chinese_clip, "metaclip2": make_metaclip2,
}  # fmt: skip


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _tokens(tokenizer: Any) -> dict[str, Any]:
    """The vocabulary as a text model's config states it."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    stated = {name: getattr(tokenizer, name) for name in names}
    return {"vocab_size": len(tokenizer), **{name: value for name, value in stated.items() if value is not None}}
