"""transformers text towers from tiny models made and saved here."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import TextTower, WordTower

if find_spec("torch") is None or find_spec("transformers") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

import torch
from safetensors.torch import save_file

from diptych.encoders import pytorch
from diptych.encoders.pretrained import import_transformers
from diptych.encoders.text.sentence_transformers import read_recipe
from diptych.encoders.text.transformers import TransformersTextTower, _pool

transformers = import_transformers()
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "cat", "runs", "on", "the", "mat", "##s", "café"]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 12,
}
TEXTS = ["a dog runs", "", "the cats on the mat"]


def save_tokenizer(folder: Path, **options: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), strip_accents=False, model_max_length=512, **options
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    model = transformers.BertModel(transformers.BertConfig(**SMALL)).eval()
    model.save_pretrained(folder)
    return folder, model, save_tokenizer(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    text = {**SMALL, "eos_token_id": WORDS.index("[SEP]")}
    vision = {k: v for k, v in SMALL.items() if k not in ("vocab_size", "max_position_embeddings")}
    model = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=text, vision_config={**vision, "image_size": 32, "patch_size": 16}, projection_dim=10
        )
    ).eval()
    model.save_pretrained(folder)
    return folder, model, save_tokenizer(folder)


def states_of(model: Any, tokenizer: Any, text: str) -> Any:
    with torch.no_grad():
        return model(**tokenizer([text], return_tensors="pt"))


def test_pooling_by_hand(bert: tuple[Path, Any, Any]) -> None:
    """Against each text alone, where there is no padding to get wrong."""
    folder, model, tokenizer = bert
    pool = {
        "auto": lambda output: output.last_hidden_state[0].mean(0),
        "mean": lambda output: output.last_hidden_state[0].mean(0),
        "cls": lambda output: output.last_hidden_state[0, 0],
        "last": lambda output: output.last_hidden_state[0, -1],
        "max": lambda output: output.last_hidden_state[0].amax(0),
        "pooler": lambda output: output.pooler_output[0],
    }
    for pooling, by_hand in pool.items():
        tower = TransformersTextTower(folder, pooling=pooling, device="cpu")
        assert isinstance(tower, TextTower)
        assert tower.dim == 16
        expected = torch.stack([by_hand(states_of(model, tokenizer, text)) for text in TEXTS]).numpy()
        np.testing.assert_allclose(tower.embed(TEXTS), expected, rtol=1e-3, atol=1e-4)
    assert tower.embed([]).shape == (0, 16)


@pytest.mark.parametrize(
    ("pooling", "expected"), [("cls", [1, 4]), ("last", [3, 4]), ("mean", [2, 4]), ("max", [3, 4])]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side(pooling: str, expected: list[int], side: str) -> None:
    padded = {"right": [[1, 3, 9], [4, 9, 9]], "left": [[9, 1, 3], [9, 9, 4]]}[side]
    states = torch.tensor(padded, dtype=torch.float32).unsqueeze(-1)
    mask = (states[..., 0] != 9).long()
    assert _pool(states, mask, pooling)[:, 0].tolist() == expected


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_text_of_no_tokens_is_zeros(pooling: str) -> None:
    assert _pool(torch.ones(1, 2, 3), torch.zeros(1, 2), pooling).tolist() == [[0.0, 0.0, 0.0]]


def test_clip_gives_its_projected_features(clip: tuple[Path, Any, Any]) -> None:
    folder, model, tokenizer = clip
    tower = TransformersTextTower(folder)
    assert tower.pooling == "projected"
    assert tower.max_tokens == 12
    with torch.no_grad():
        pooled = [model.text_model(**_ids(tokenizer, text)).pooler_output for text in TEXTS]
        expected = model.text_projection(torch.cat(pooled)).numpy()
    np.testing.assert_allclose(tower.embed(TEXTS), expected, rtol=1e-3, atol=1e-4)


def test_the_states_of_words_are_those_of_each_text_alone(bert: tuple[Path, Any, Any]) -> None:
    """Without [CLS] and [SEP], which are the first and the last token; padding changes nothing."""
    folder, model, tokenizer = bert
    tower = TransformersTextTower(folder, pooling="cls", device="cpu")
    assert isinstance(tower, WordTower)
    assert tower.split(TEXTS) == [["a", "dog", "runs"], [""], ["the", "cat", "##s", "on", "the", "mat"]]
    features, words, mask = tower.embed_words(TEXTS, 4)
    np.testing.assert_allclose(features, tower.embed(TEXTS), rtol=1e-3, atol=1e-4)
    assert mask.tolist() == [[True] * 3 + [False], [True] + [False] * 3, [True] * 4]
    for row, count in ((0, 3), (2, 4)):
        expected = states_of(model, tokenizer, TEXTS[row]).last_hidden_state[0, 1 : 1 + count].numpy()
        np.testing.assert_allclose(words[row, :count], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(words[1, 0], features[1], rtol=1e-5)  # a text of no words is one itself
    assert not words[~mask].any()
    in_context = np.abs(words[2, 0] - tower.embed_words(["the"], 1)[1][0, 0]).max()
    assert in_context > 1e-3  # the same token alone has another state


def test_words_of_many_texts_take_one_pass_a_batch(
    bert: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = TransformersTextTower(bert[0], pooling="cls", device="cpu")
    expected = tower.embed_words(TEXTS, 4)
    monkeypatch.setattr(pytorch, "_TEXTS_ON_CPU", 2)
    passes: list[int] = []
    hook = tower._module.register_forward_hook(lambda module, given, found: passes.append(len(found[0])))
    found = tower.embed_words(TEXTS, 4)
    hook.remove()
    assert passes == [2, 1]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_states_of_words_go_through_what_is_behind_the_pooling(
    bert: tuple[Path, Any, Any], clip: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    folder = sentence_transformers(tmp_path, bert, "pooling_mode_mean_tokens", ["Transformer", "Pooling", "Normalize"])
    _, words, mask = TransformersTextTower(folder, device="cpu").embed_words(["a dog runs"], 9)
    expected = states_of(bert[1], bert[2], "a dog runs").last_hidden_state[:, 1:-1]
    np.testing.assert_allclose(words, torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-3)
    assert mask.all()
    folder, model, tokenizer = clip
    _, words, _ = TransformersTextTower(folder, device="cpu").embed_words(["a dog runs"], 2)
    with torch.no_grad():
        states = model.text_model(**_ids(tokenizer, "a dog runs")).last_hidden_state
        expected = model.text_projection(states)[:, 1:3]
    np.testing.assert_allclose(words, expected.numpy(), rtol=1e-3, atol=1e-4)


def _ids(tokenizer: Any, text: str) -> dict[str, Any]:
    found = tokenizer([text], return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def test_both_sides_of_a_clip_share_one_copy(clip: tuple[Path, Any, Any]) -> None:
    from diptych.encoders.image.transformers import TransformersImageTower

    folder = clip[0]
    said = {"image_processor_type": "CLIPImageProcessor", "crop_size": 32, "size": {"shortest_edge": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    text, image = TransformersTextTower(folder), TransformersImageTower(folder)
    assert text._module is image._module
    assert text.fingerprint != image.fingerprint


def test_the_cut_and_the_count_before_it(bert: tuple[Path, Any, Any]) -> None:
    tower = TransformersTextTower(bert[0])
    assert tower.max_tokens == 12  # the model's positions, below the tokenizer's 512
    assert tower.count_tokens(["", "a dog", "dog " * 30]) == [2, 4, 32]
    assert tower.count_tokens([]) == []
    np.testing.assert_allclose(*tower.embed(["dog " * 30, "dog " * 10]), atol=1e-5)


def test_texts_are_cleaned_and_prefixed(bert: tuple[Path, Any, Any]) -> None:
    tower = TransformersTextTower(bert[0])
    np.testing.assert_allclose(*tower.embed(["a\0 cafe\u0301\n", "a café"]), atol=1e-6)
    assert np.isfinite(tower.embed(["\ud800 \udfff"])).all()
    prefixed = TransformersTextTower(bert[0], prefix="the ")
    np.testing.assert_allclose(prefixed.embed(["dog"]), tower.embed(["the dog"]), atol=1e-6)


def test_fingerprints_follow_everything_that_matters(bert: tuple[Path, Any, Any], tmp_path: Path) -> None:
    folder, model, _ = bert
    first = TransformersTextTower(folder).fingerprint
    assert first == TransformersTextTower(str(folder), pooling="mean", languages=["en"]).fingerprint
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, do_lower_case=False)
    others = [
        TransformersTextTower(folder, pooling="cls"),
        TransformersTextTower(folder, prefix="query: "),
        TransformersTextTower(tmp_path),
    ]
    assert len({first, *(tower.fingerprint for tower in others)}) == 4


def sentence_transformers(folder: Path, bert: tuple[Path, Any, Any], pooling: str, layers: list[str]) -> Path:
    bert[1].save_pretrained(folder)
    save_tokenizer(folder)
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense", "Normalize": "3_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{name}", "path": kinds.get(name, "x")} for name in layers]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 16, pooling: True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6, "do_lower_case": True}))
    return folder


def test_a_sentence_transformers_folder(bert: tuple[Path, Any, Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    layers = ["Transformer", "Pooling", "Dense", "Normalize"]
    folder = sentence_transformers(tmp_path, bert, "pooling_mode_cls_token", layers)
    linear = torch.nn.Linear(16, 5)
    (folder / "2_Dense").mkdir()
    save_file({f"linear.{k}": v for k, v in linear.state_dict().items()}, folder / "2_Dense/model.safetensors")
    activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense/config.json").write_text(json.dumps({"in_features": 16, "out_features": 5, **activation}))
    tower = TransformersTextTower(folder)
    assert (tower.pooling, tower.max_tokens, tower.dim) == ("cls", 6, 5)
    first_token = states_of(bert[1], bert[2], "a dog runs").last_hidden_state[:, 0]
    with torch.no_grad():
        expected = torch.nn.functional.normalize(torch.tanh(linear(first_token)), dim=-1).numpy()
    np.testing.assert_allclose(tower.embed(["A DOG runs"]), expected, rtol=1e-3, atol=1e-4)
    assert tower.fingerprint != TransformersTextTower(folder, pooling="cls").fingerprint


def test_a_sentence_transformers_folder_of_unknown_layers(bert: tuple[Path, Any, Any], tmp_path: Path) -> None:
    odd = sentence_transformers(tmp_path / "a", bert, "pooling_mode_mean_tokens", ["Transformer", "Pooling", "LSTM"])
    with pytest.raises(ModelError, match="has a LSTM layer"):
        TransformersTextTower(odd)
    plain = ["Transformer", "Pooling"]
    odd = sentence_transformers(tmp_path / "b", bert, "pooling_mode_weightedmean_tokens", plain)
    with pytest.raises(ModelError, match="pools by pooling_mode_weightedmean_tokens"):
        TransformersTextTower(odd)
    odd = sentence_transformers(tmp_path / "c", bert, "pooling_mode_mean_tokens", plain)
    (odd / "config_sentence_transformers.json").write_text('{"prompts": {"q": "query: "}, "default_prompt_name": "q"}')
    pooling = next(odd.glob("*Pooling/config.json"))
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "include_prompt": False}))
    with pytest.raises(ModelError, match="leaves its prompt 'query: ' out of the mean"):
        read_recipe(odd)
    odd = sentence_transformers(tmp_path / "d", bert, "pooling_mode_mean_tokens", plain)
    (odd / "sentence_bert_config.json").write_text('{"processing_kwargs": {"text": {"max_length": 8}}}')
    with pytest.raises(ModelError, match="has processing_kwargs"):
        read_recipe(odd)


def test_the_encoder_of_a_translation_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    configuration = transformers.T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5Model(configuration).eval()
    model.save_pretrained(tmp_path)
    tokenizer = save_tokenizer(tmp_path, model_input_names=["input_ids", "attention_mask"])
    tower = TransformersTextTower(tmp_path)
    with torch.no_grad():
        states = [model.encoder(**_ids(tokenizer, text)).last_hidden_state[0].mean(0) for text in TEXTS]
    np.testing.assert_allclose(tower.embed(TEXTS), torch.stack(states).numpy(), rtol=1e-3, atol=1e-4)


def test_loading_says_nothing(bert: tuple[Path, Any, Any], capfd: pytest.CaptureFixture[str]) -> None:
    TransformersTextTower(bert[0])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_what_does_not_fit_is_refused(bert: tuple[Path, Any, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose from auto, projected"):
        TransformersTextTower(bert[0], pooling="sum")
    with pytest.raises(ConfigError, match="not a CLIP-like model"):
        TransformersTextTower(bert[0], pooling="projected")
    with pytest.raises(ModelError, match="has no weights"):
        TransformersTextTower(tmp_path)
    bert[1].save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no tokenizer; expected one of tokenizer\.json, vocab\.txt"):
        TransformersTextTower(tmp_path)


def test_the_fingerprint_does_not_depend_on_what_was_embedded_before(clip_folder: Path) -> None:
    fresh, used = TransformersTextTower(clip_folder), TransformersTextTower(clip_folder)
    used.embed(["a dog", "many words " * 40])
    assert used.fingerprint == fresh.fingerprint
    np.testing.assert_array_equal(used.embed(["many words " * 40]), fresh.embed(["many words " * 40]))
