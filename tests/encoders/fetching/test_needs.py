"""What an address needs, as the libraries' own tables say."""

from importlib.util import find_spec

import pytest

from diptych.core.errors import ConfigError, ModelError

if find_spec("open_clip") is None:
    pytest.skip("needs the [hub] extra", allow_module_level=True)

from diptych.encoders.fetching.needs import HF, OPEN_CLIP, TIMM, Repository, WebFile, needs


def test_a_name_of_the_hub_is_itself() -> None:
    assert needs("hf:google/siglip2-base-patch16-224") == [
        Repository("google/siglip2-base-patch16-224", None, HF, strict=True)
    ]
    assert needs("hf:google/siglip2-base-patch16-224@v2")[0] == Repository(
        "google/siglip2-base-patch16-224", "v2", HF, strict=True
    )
    assert needs("open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K") == [
        Repository("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", None, OPEN_CLIP)
    ]
    assert needs("sentence-transformers:clip-ViT-B-32") == [Repository("sentence-transformers/clip-ViT-B-32")]
    assert needs("sentence-transformers:BAAI/bge-m3") == [Repository("BAAI/bge-m3")]


def test_texts_that_are_bound_to_images_bring_both() -> None:
    texts = Repository("sentence-transformers/clip-ViT-B-32-multilingual-v1")
    assert needs("sentence-transformers:clip-ViT-B-32-multilingual-v1") == [
        texts,
        Repository("sentence-transformers/clip-ViT-B-32"),
    ]
    both = needs("hf:org/images+sentence-transformers:org/texts")
    assert both == [Repository("org/images", None, HF, strict=True), Repository("org/texts")]


def test_tags_of_open_clip_are_where_its_table_says() -> None:
    (weights,) = needs("open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert weights == Repository("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", None, OPEN_CLIP)
    (weights,) = needs("open_clip:RN50x64/openai")
    assert isinstance(weights, Repository)
    assert weights.name == "timm/resnet50x64_clip.openai"


def test_a_model_of_open_clip_brings_the_tokenizer_of_another_repository() -> None:
    weights, words = needs("open_clip:xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k")
    assert weights == Repository("laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k", None, OPEN_CLIP)
    assert words == Repository("xlm-roberta-base", weights=())


def test_old_weights_of_open_clip_are_at_a_url_that_states_their_hash() -> None:
    from diptych.encoders.fetching.needs import _tagged

    sha = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    openai = f"https://openaipublic.azureedge.net/clip/models/{sha}/ViT-B-32.pt"
    assert _tagged({"url": openai}, None) == WebFile(openai, sha)
    other = (
        "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights/rn50-quickgelu-yfcc15m-455df137.pt"
    )
    assert _tagged({"url": other}, None) == WebFile(other, "455df137")
    assert _tagged({"url": "https://example.org/a-455df137.pt"}, None).sha256 == ""


def test_weights_of_timm() -> None:
    (weights,) = needs("timm:resnet18.a1_in1k")
    assert weights == Repository("timm/resnet18.a1_in1k", None, TIMM)
    assert needs("timm:hf-hub:timm/vit_tiny@main") == [Repository("timm/vit_tiny", "main", TIMM)]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("open_clip:ViT-B-33/laion2b_s34b_b79k", "did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79", "did you mean 'laion2b_s34b_b79k'"),
        ("open_clip:ViT-B-32", "no TAG after ViT-B-32; choose from openai"),
        ("timm:resnet18.a1_in1", "did you mean 'resnet18.a1_in1k'"),
        ("timm:resnet19", "timm knows no weights 'resnet19'"),
        ("openai/clip-vit-base-patch32", "names no source of models; expected one of hf:ORG/NAME"),
        ("hf:/tmp", "hf:/tmp is a folder on this disk, so there is nothing to fetch"),
        ("hf:", "names no model"),
    ],
)
def test_unknown_names_say_the_nearest(address: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        needs(address)


def test_an_unknown_prefix_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="choose from blip, hf, open_clip, sentence-transformers, timm"):
        needs("ollama:llava")
