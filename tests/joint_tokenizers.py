"""The tokenizers of pretrained joint models in their real forms, with small vocabularies trained on a few lines.

Each writes what its library saves into a folder, and returns the tokenizer of transformers.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from diptych.encoders.pretrained import import_transformers

from .strange_texts import EMOJI, LANGUAGES

LINES = [
    *LANGUAGES,
    *EMOJI,
    "a photo of a red circle",
    "the dogs and the cats",
    "a green square & a café",
    "0123456789",
] * 3


def save_wordpiece(folder: Path, length: int = 64, *, lower: bool = True, **names: str) -> Any:
    """BERT's, as of ALIGN and Chinese-CLIP; cased as of the multilingual DistilBERT."""
    from tokenizers import BertWordPieceTokenizer

    made = BertWordPieceTokenizer(lowercase=lower)
    made.train_from_iterator(LINES, vocab_size=900, min_frequency=1, show_progress=False)
    vocabulary = made.get_vocab()
    return _saved(folder, "BertTokenizer", vocab=vocabulary, do_lower_case=lower, model_max_length=length, **names)


def save_unigram(folder: Path, length: int = 77) -> Any:
    """XLM-R's, as of AltCLIP and MetaCLIP 2."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(piece, score) for piece, score in _pieces(_sentencepiece("unigram", 700)) if piece not in special]
    vocabulary = [*((token, 0.0) for token in special), *pieces, ("<mask>", 0.0)]
    return _saved(folder, "XLMRobertaTokenizer", vocab=vocabulary, model_max_length=length)


def save_sentencepiece(folder: Path, length: int = 64, *, masks: bool = False) -> Any:
    """SigLIP's: SentencePiece run by its own package, lower case without punctuation, padded to the full length."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "spiece.model"
    file.write_bytes(_sentencepiece("unigram", 700))
    names = ["input_ids", *(["attention_mask"] if masks else [])]
    return _saved(folder, "SiglipTokenizer", str(file), model_max_length=length, model_input_names=names)


def save_t5(folder: Path, length: int = 64) -> Any:
    """T5's, as open_clip has it for SigLIP: run by the package `tokenizers`, padded by the closing token."""
    pieces = _pieces(_sentencepiece("unigram", 700))
    return _saved(folder, "T5Tokenizer", vocab=pieces, extra_ids=0, pad_token="</s>", model_max_length=length)


def save_gemma(folder: Path, length: int = 64, side: str = "right") -> Any:
    """SigLIP 2's: byte-fallback BPE that keeps every space, lower case, a closing token, padded to the full length."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    found = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    found.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    found.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    letters = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    found.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=900, special_tokens=letters, limit_alphabet=120, show_progress=False)
    )
    import json

    model = json.loads(found.to_str())["model"]
    merges = [tuple(each) if isinstance(each, list) else tuple(each.split(" ")) for each in model["merges"]]
    made = import_transformers().Siglip2Tokenizer(
        vocab=model["vocab"], merges=merges, model_max_length=length, padding_side=side, model_input_names=["input_ids"]
    )
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", special.index("<eos>"))]
    )
    made.save_pretrained(folder)
    return made


def _saved(folder: Path, kind: str, *arguments: Any, **options: Any) -> Any:
    made = getattr(import_transformers(), kind)(*arguments, **options)
    made.save_pretrained(folder)
    return made


def _sentencepiece(kind: str, size: int) -> bytes:
    """A SentencePiece model as T5's: <pad>, </s>, <unk> and then the pieces."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=written, model_type=kind, vocab_size=size, hard_vocab_limit=False,
        character_coverage=0.995, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return written.getvalue()


def _pieces(model: bytes) -> list[tuple[str, float]]:
    import sentencepiece

    found = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [(found.id_to_piece(number), found.get_score(number)) for number in range(found.get_piece_size())]
