"""Tiny translation models, really trained on the spot: they know four sentences each way, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SENTENCES = {
    "a black dog runs on the beach.": "un perro negro corre en la playa.",
    "two men sit in the park.": "dos hombres se sientan en el parque.",
    "a girl rides a red bicycle.": "una niña monta en una bicicleta roja.",
    "the cat sleeps.": "el gato duerme.",
}
MARIAN_STEPS = 150


def learn(model, examples, steps, rate=5e-3):
    """Adam on one batch until the sentences are known by heart; returns the last loss.

    The padding's embedding stays zero, as in all published models: CTranslate2 relies on it.
    """
    import torch

    torch.manual_seed(0)
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        loss = model(**examples).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            model.get_input_embeddings().weight[model.config.pad_token_id] = 0
    model.eval()
    return float(loss.detach())


def small(vocabulary: int, **others):
    """Sizes of a model of some ten thousand weights, by the names that Marian and M2M-100 share."""
    sizes = {f"{part}_{what}": size for part in ("encoder", "decoder") for what, size in _SIZES.items()}
    plain = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    return {"vocab_size": vocabulary, "d_model": 32, "max_position_embeddings": 64, **sizes, **plain, **others}


_SIZES = {"layers": 1, "attention_heads": 2, "ffn_dim": 64, "layerdrop": 0.0}


def marian(folder: Path, source: str, target: str, sentences: dict[str, str]) -> float:
    """Train and save a MarianMT model; returns its last loss."""
    import sentencepiece
    import torch

    from diptych.encoders.pretrained import import_transformers

    transformers = import_transformers()
    folder.mkdir(parents=True)
    vocabulary = {"</s>": 0, "<unk>": 1}
    for name, texts in (("source", sentences.keys()), ("target", sentences.values())):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(list(texts) * 10),
            model_prefix=str(folder / name),
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        (folder / f"{name}.vocab").unlink()
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        for number in range(pieces.get_piece_size()):
            if not (pieces.is_control(number) or pieces.is_unknown(number)):
                vocabulary.setdefault(pieces.id_to_piece(number), len(vocabulary))
    vocabulary["<pad>"] = pad = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        source_lang=source,
        target_lang=target,
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = transformers.MarianMTModel(
        transformers.MarianConfig(
            **small(len(vocabulary), decoder_vocab_size=len(vocabulary)),
            pad_token_id=pad,
            eos_token_id=0,
            bos_token_id=0,
            decoder_start_token_id=pad,
            forced_eos_token_id=0,
            scale_embedding=True,
            activation_function="swish",
        )
    )
    examples = tokenizer(list(sentences), text_target=list(sentences.values()), return_tensors="pt", padding=True)
    examples["labels"][examples["labels"] == pad] = -100
    loss = learn(model, examples, MARIAN_STEPS)
    model.save_pretrained(folder)
    return loss


@pytest.fixture(scope="session")
def marian_models(tmp_path_factory):
    """`<folder>/en-es` and `<folder>/es-en`."""
    for package in ("torch", "transformers", "sentencepiece"):
        pytest.importorskip(package, reason=f"needs {package}, of the [hub] and [translate] extras")
    folder = tmp_path_factory.mktemp("marian")
    back = {spanish: english for english, spanish in SENTENCES.items()}
    assert marian(folder / "en-es", "en", "es", SENTENCES) < 0.05
    assert marian(folder / "es-en", "es", "en", back) < 0.05
    return folder
