"""What the API takes and gives. Unknown keys in a request are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_QUERY = 1_000  # characters
MAX_TEXT = 8_192  # characters of a text to embed or rerank
MAX_HITS = 1_000
SEEDS = 2**31  # of them, from 0: few enough to be written down
_DATA_URI = 28_000_000  # characters

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Scalar = Annotated[str, StringConstraints(max_length=1_000)] | int | float | bool
Meta = dict[Annotated[str, StringConstraints(min_length=1, max_length=64)], Scalar | None]
By = Literal["occlusion", "attention"]
OCCLUSION: By = "occlusion"
ATTENTION: By = "attention"
Sort = Literal["score", "taken", "size"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


_Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUERY)]


class Request(BaseModel):
    """A body that is sent here."""

    model_config = ConfigDict(extra="forbid")


class OpenAIProblem(BaseModel):
    """The same error as OpenAI's clients read it."""

    message: str
    type: str
    code: str
    param: str | None = None


class Problem(BaseModel):
    """Every error, whatever went wrong."""

    code: str = Field(description="A word for programs, such as not_an_image", examples=["not_an_image"])
    message: str = Field(description="What was found")
    hint: str = Field(description="What to do; may be empty")
    request_id: str = Field(description="Also in the header X-Request-ID and in the server's log")
    error: OpenAIProblem | None = Field(default=None, description="Under /v1 only")


class SentImage(Request):
    """An image in JSON: `data` (a data URI), the `id` of one in the library, or, if the server allows it, a `url`."""

    data: str | None = Field(default=None, max_length=_DATA_URI, examples=["data:image/jpeg;base64,/9j/4AAQ…"])
    id: Id | None = None
    url: str | None = Field(default=None, max_length=2_000)


class Term(Request):
    """One part of a sum: words or an image, with a weight; a negative weight takes it away."""

    weight: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = 1.0
    text: str | None = Field(default=None, max_length=MAX_QUERY)
    image: SentImage | None = None


class Condition(Request):
    """One condition on a column; all of them must hold."""

    column: str = Field(max_length=80, examples=["width"])
    op: Literal["eq", "ne", "lt", "le", "gt", "ge", "contains", "in", "exists"] = "eq"
    value: Scalar | list[Scalar] | None = Field(default=None, examples=[800])


class Near(Request):
    """Images taken near a place; those without coordinates are not found, and counted in `notes`."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False, examples=[35.34])]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False, examples=[25.13])]
    km: Annotated[float, Field(gt=0, le=20_100, allow_inf_nan=False)] = 5.0


class SearchRequest(Request):
    """What to look for: exactly one of `text`, `image`, `vector` and `terms`."""

    text: str | None = Field(default=None, max_length=MAX_QUERY, examples=["a dog in the snow"])
    image: SentImage | None = None
    vector: list[Finite] | None = Field(default=None, max_length=8_192)
    terms: list[Term] | None = Field(default=None, min_length=1, max_length=32)
    k: int = Field(default=20, ge=1, le=MAX_HITS)
    filter: list[Condition] = Field(default_factory=list, max_length=16)
    where: str | None = Field(
        default=None,
        max_length=1_000,
        description="Comparisons of the library's columns, joined by AND, OR and NOT: docs/library.md",
    )
    near: Near | None = Field(default=None, description="Refused by a server that does not give places")
    sort: Sort = Field(
        default="score",
        description="Order of the k nearest: best first; or the newest photo, those without a date last and counted in "
        "`notes`; or the one with most pixels",
    )
    language: str | None = Field(default=None, pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*$", examples=["de"])
    rerank: bool = Field(default=False, description="Put the best in order with the cross-encoder, if one is loaded")
    candidates: int | None = Field(
        default=None,
        ge=1,
        le=200,
        description="How many of the best hits the cross-encoder scores; by default as many as fit it",
    )
    budget_ms: float | None = Field(
        default=None, gt=0, le=10_000, description="Time for the cross-encoder, which then scores fewer hits if need be"
    )
    only_relevant: bool = Field(
        default=False,
        description="Leave out those of the k nearest that hardly belong to `text` or `image`, and count them in "
        "`hidden`; where the library's feature `relevant` is true",
    )
    ocr: bool = Field(
        default=False,
        description="Find images by the words inside them too, where `diptych index --ocr` read some (the library has "
        "the column PHOTO_WORDS): with `text` alone",
    )
    explain: bool = Field(default=False, description="Explain the first three hits: see `why`")
    on_map: bool = Field(default=False, description="Say where hits and query lie on the map")


class WhyWord(BaseModel):
    """A word of the query. `regions` is a grid over the image, rows from the top."""

    word: str
    weight: float = Field(description="How much it speaks for the match, in the unit of `Why`; below 0 against it")
    regions: list[list[float]]


class Why(BaseModel):
    """Why an image and a text match.

    By occlusion (dual encoder): what the cosine loses when the word is left out, and which covered regions cost as
    much. By attention (cross-encoder): by how many nats the image makes the word likelier, and which regions the word
    attends to (sum 1).
    """

    by: By
    model: str
    unit: Literal["cosine", "nats"]
    text: str
    score: float = Field(description="The cosine, or the log-likelihood")
    words: list[WhyWord]
    from_thumbnail: bool = Field(default=False, description="The image's file is gone or changed")
    overlay: str | None = Field(default=None, description="The same as an image: a PNG as a data URI")


class Item(BaseModel):
    """An image of a library."""

    id: str
    name: str
    path: str | None = Field(default=None, description="Only given on this machine")
    width: int | None = None
    height: int | None = None
    texts: list[str] = []
    meta: dict[str, Any] = {}
    photo: dict[str, Any] = Field(
        default={},
        description="What the image says about itself: taken, taken_zone, camera, lens, rating, title, keywords, "
        "words (read in the image); "
        "latitude and longitude only where paths are given. Not in hits.",
    )


class Hit(Item):
    """One result, best first."""

    rank: int = Field(description="1 is the best")
    score: float = Field(description="What `scored_by` says: a cosine in [-1, 1], or the score of a re-ranker")
    scored_by: str = "cosine"
    relevance: float | None = Field(
        default=None, description="Calibrated probability in [0, 1] that this is right, where the cross-encoder ranked"
    )
    cosine: float | None = Field(
        default=None, description="Where the cross-encoder, or the fusion with words in images, ranked: the cosine"
    )
    probability: float | None = Field(
        default=None,
        description="The model's own probability that image and text belong together, where it has one (SigLIP) and "
        "ranked by the cosine: of an image for `text`, of a text for `image`",
    )
    belongs: float | None = Field(
        default=None,
        description="Where only_relevant was asked for: calibrated probability in [0, 1] that this belongs to the "
        "query rather than to another one",
    )
    words: str | None = Field(default=None, description="Where it was found by the words inside it: these")
    why: Why | None = None
    x: float | None = None
    y: float | None = None


class SearchResponse(BaseModel):
    """What was found."""

    hits: list[Hit]
    total: int = Field(description="Images that passed the filter")
    hidden: int = Field(
        default=0, description="Of the k nearest, those that only_relevant left out; with ocr of at least 50"
    )
    took_ms: float
    version: str
    nothing_matches: float | None = Field(
        default=None, description="Calibrated probability in [0, 1] that no image here is right"
    )
    notes: list[str] = Field(default_factory=list, description="Such as: 0 of 7,000 pass the filter; folder has: …")
    lands: tuple[float, float] | None = Field(default=None, description="Where the query lies on the map")


class Items(BaseModel):
    """A page of images, by id or in another order. Ask for `after=next` until `next` is null."""

    items: list[Item]
    total: int
    next: str | None
    notes: list[str] = Field(default_factory=list, description="Such as: 0 of 7,000 pass the filter; what there is")


class Added(BaseModel):
    """What became of one uploaded image."""

    name: str
    id: str | None = None
    created: bool = False
    left_out: list[str] = Field(default=[], description="What the image says about itself and what is not kept")
    error: Problem | None = None


class AddedAll(BaseModel):
    """What became of an upload."""

    added: list[Added]
    created: int
    failed: int


class Patch(Request):
    """Changes to what is known about an image: a key set to null goes."""

    meta: Meta = Field(default_factory=dict, max_length=64)
    texts: list[Annotated[str, StringConstraints(max_length=MAX_TEXT)]] | None = Field(default=None, max_length=64)


class DeleteByFilter(Request):
    """Which images to delete. At least one condition is needed."""

    filter: list[Condition] = Field(default_factory=list, max_length=16)
    where: str | None = Field(default=None, max_length=1_000)
    near: Near | None = None
    ids: list[Id] = Field(default_factory=list, max_length=1_000)


class ExportRequest(Request):
    """Which images to export, in this order, and as what."""

    ids: list[Id] = Field(min_length=1, max_length=10_000)
    format: Literal["csv", "json", "zip"] = "csv"


class Deleted(BaseModel):
    """How many went into the trash, and the token that brings them back until it is purged."""

    deleted: int
    undo: str | None


class Restored(BaseModel):
    """How many came back."""

    restored: int


class UndoRequest(Request):
    """The token of a deletion."""

    token: str = Field(max_length=64)


class Features(BaseModel):
    """What this server can do with a library beyond searching it."""

    write: bool
    rerank: bool = False
    explain: bool = False
    attention: bool = Field(default=False, description="Whether `why` can ask the cross-encoder too")
    calibrated: bool = False
    relevant: bool = Field(default=False, description="Whether only_relevant can be asked for with words")
    caption: bool = False
    copies: bool = Field(default=False, description="Whether copies of one image can be found: not among texts")
    files: bool = Field(default=False, description="Whether the files of images can be exported")
    generate: bool = False
    fetch_urls: bool = False


class LibraryInfo(BaseModel):
    """A library."""

    name: str
    images: int
    model: str
    dim: int
    created: str
    version: str
    languages: list[str]
    features: Features


class LibraryDetails(LibraryInfo):
    """A library, and what its filters can ask about."""

    columns: dict[str, str]


class Libraries(BaseModel):
    """All libraries of this server."""

    libraries: list[LibraryInfo]


class Facet(BaseModel):
    """A value of a column and how many images have it."""

    value: str | float | bool
    count: int


class Facets(BaseModel):
    """The most frequent values of a column."""

    column: str
    values: list[Facet]


class Month(BaseModel):
    """A month and how many photos were taken in it."""

    month: str = Field(examples=["2024-05"])
    count: int


class Dates(BaseModel):
    """When the photos of a library were taken, by what their cameras' clocks showed."""

    months: list[Month] = Field(description="Those with photos, the first first")
    undated: int = Field(description="Images that say no date")


class Copy(BaseModel):
    """One of several copies of an image; the fields from `kinds` on compare it with the best of its group."""

    id: str
    name: str
    path: str | None = Field(default=None, description="Only given on this machine")
    width: int
    height: int
    bytes: int
    grey: bool = Field(description="Without colours")
    kinds: list[str] = Field(
        description="Of exact, encoded, resized, cropped, larger, mirrored, turned, grey, coloured; empty for the best"
    )
    turned: int = Field(description="Degrees clockwise, after it was mirrored if it is")
    kept: float = Field(description="Share of the best image's area that it shows")
    how: str = Field(description="The same in words")


class CopyGroup(BaseModel):
    """Copies of one image: the best, why it is that, and the others."""

    best: Copy
    reason: str
    others: list[Copy]


class Copies(BaseModel):
    """Groups of copies, those whose other copies take most bytes first."""

    groups: list[CopyGroup]
    total: int = Field(description="Groups in all")
    spare: int = Field(description="Copies in all groups but the best of each")
    spare_bytes: int
    images: int = Field(description="Images that were looked at")
    version: str
    notes: list[str] = Field(default_factory=list, description="Such as how many images were not compared, and why")


class MapInfo(BaseModel):
    """The embedding map: two coordinates in [-1, 1] for each image, and a shade in [0, 1]."""

    version: str
    method: str = Field(description="pca, or pacmap once that was computed in the background")
    ids: list[str]
    x: list[float]
    y: list[float]
    shade: list[float]
    total: int = Field(description="images of the library; of one on a server a sample of them is on the map")


class EmbeddingRequest(Request):
    """OpenAI's shape. An input that begins with `data:image/` is an image."""

    input: (
        Annotated[str, StringConstraints(max_length=_DATA_URI)]
        | list[Annotated[str, StringConstraints(max_length=_DATA_URI)]]
    )
    model: str | None = Field(default=None, max_length=200)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, le=8_192)
    user: str | None = Field(default=None, max_length=200)


class Embedding(BaseModel):
    """One vector of unit length: numbers, or little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """OpenAI's shape."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Document(Request):
    """A text or an image (a data URI) to rank."""

    text: str | None = Field(default=None, max_length=MAX_TEXT)
    image: str | None = Field(default=None, max_length=_DATA_URI)


class RerankRequest(Request):
    """Cohere's shape. Query and documents may be texts or images as data URIs."""

    query: Annotated[str, StringConstraints(max_length=_DATA_URI)]
    documents: list[Annotated[str, StringConstraints(max_length=_DATA_URI)] | Document] = Field(min_length=1)
    model: str | None = Field(default=None, max_length=200)
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = False


class RerankResult(BaseModel):
    """A document's place. `relevance_score` in [0, 1] is (1 + cosine) / 2, or the cross-encoder's probability."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankResponse(BaseModel):
    """Best first."""

    id: str
    results: list[RerankResult]
    model: str
    scored_by: str


class ClassifyRequest(Request):
    """Images as data URIs, and labels: words, or a name for each label, or several.

    Each template is filled with each name of a label in the place of `{}`; the average of their vectors is the label's.
    """

    images: list[Annotated[str, StringConstraints(max_length=_DATA_URI)]] = Field(min_length=1)
    labels: list[_Label] | dict[_Label, _Label | list[_Label]] = Field(
        min_length=1, max_length=1_000, examples=[["dog", "cat"], {"dog": ["dog", "hound"]}]
    )
    templates: Literal["plain", "photo", "clip"] | list[_Label] = Field(
        default="photo", description="A built-in set, or sentences with {} in them"
    )
    top: int = Field(default=5, ge=1, le=1_000)
    least: Finite | None = Field(
        default=None, description="Where the first score is below this, an image has none of the labels: label is null"
    )
    model: str | None = Field(default=None, max_length=200)


class LabelScore(BaseModel):
    """A label and its score."""

    label: str
    score: float


class ClassifiedImage(BaseModel):
    """An image's labels, best first. `label` is the first one, or null for none of them."""

    index: int
    label: str | None
    scores: list[LabelScore]


class ClassifyResponse(BaseModel):
    """The images in the order in which they came."""

    results: list[ClassifiedImage]
    model: str
    scored_by: Literal["probability", "cosine"] = Field(
        description="probability where the model keeps its temperature: with a bias (SigLIP) of each label by itself, "
        "without one (CLIP) among these labels; else cosine"
    )
    notes: list[str] = []


Share = Annotated[float, Field(gt=0, lt=1)]
_Side = Annotated[str, StringConstraints(max_length=_DATA_URI)]


class RelateRequest(Request):
    """Two things, or two lists of the same length: texts, or images as data URIs, on either side."""

    left: _Side | list[_Side] = Field(examples=["a dog on a beach"])
    right: _Side | list[_Side] = Field(examples=["ein Hund am Strand"])
    prior: Share | None = Field(
        default=None, description="Share of related pairs among those asked about; by default the calibration's"
    )
    threshold: Share | None = Field(
        default=None, description="Probability from which on a pair is related; by default the calibration's"
    )
    model: str | None = Field(default=None, max_length=200)


class PairAnswer(BaseModel):
    """Whether a pair is related. Both are null where nothing was calibrated for such pairs and this model."""

    index: int
    kind: Literal["image-text", "text-text", "image-image"]
    related: bool | None
    probability: float | None
    scores: dict[str, float] = Field(description="What the probability comes from", examples=[{"cosine": 0.31}])


class PairJudge(BaseModel):
    """Where the probabilities of a kind of pair come from."""

    origin: str
    least: float = Field(description="The probability from which on a pair is related")
    prior: float | None = Field(description="The share of related pairs that it assumes; null for a model's own")


class RelateResponse(BaseModel):
    """The pairs in the order in which they came, and by what each kind was judged."""

    results: list[PairAnswer]
    model: str
    judged_by: dict[str, PairJudge]
    notes: list[str] = []


class Model(BaseModel):
    """A loaded model, in OpenAI's shape and with what it can do."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "diptych"
    dim: int | None = Field(default=None, description="Of its vectors; null where it makes none")
    fingerprint: str
    languages: list[str]
    tasks: list[str]


class Models(BaseModel):
    """All loaded models."""

    object: Literal["list"] = "list"
    data: list[Model]


class CaptionRequest(Request):
    """An image to describe. `image.id` is one of `library`, which need not be named when there is only one."""

    image: SentImage
    library: str | None = Field(default=None, max_length=64)
    decode: Literal["beam", "greedy", "nucleus"] = Field(
        default="beam", description="nucleus draws at random among the likely words, so that seeds differ"
    )
    seed: int = Field(default=0, ge=0, lt=SEEDS)


class Caption(BaseModel):
    """What a model says about an image."""

    text: str
    log_likelihood: float
    model: str


class GenerateRequest(Request):
    """An image to draw. Equal texts and seeds give equal images."""

    text: str = Field(max_length=MAX_QUERY)
    seed: int | None = Field(default=None, ge=0, lt=SEEDS, description="Without one the server draws one, and tells it")
    count: int = Field(default=1, ge=1, le=8)
    language: str = Field(default="", pattern=r"^([a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*)?$", examples=["de"])


class GeneratedImage(BaseModel):
    """One image, a PNG as a data URI."""

    data: str
    width: int
    height: int


class Generated(BaseModel):
    """Images for one text, and the seed that makes them again."""

    text: str
    seed: int
    model: str
    images: list[GeneratedImage]


class Health(BaseModel):
    """Whether the server can do its work: a text was embedded by each model within the last second."""

    status: Literal["ok"]
    version: str
    models: dict[str, float] = Field(description="Milliseconds that an embedding took")
    libraries: int
