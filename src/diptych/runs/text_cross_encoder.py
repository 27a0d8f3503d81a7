"""The training of a text cross-encoder: which of two texts answers a third, read together with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diptych.core.config import Part, check_least, unknown
from diptych.core.errors import ConfigError
from diptych.core.notes import cut_note
from diptych.core.registry import get
from diptych.core.shapes import Float32, Int64
from diptych.core.types import Role, Text
from diptych.data.features import FeaturePairs
from diptych.data.repeats import Contents
from diptych.data.seen import Seen
from diptych.encoders.export import GraphSpec, trace
from diptych.encoders.text.tokens import TokenTower
from diptych.models import DualEncoder, card, load, require_cosine
from diptych.models import text_cross_encoder as text_cross
from diptych.models.text_cross_encoder.encoder import TextCrossConfig, save
from diptych.models.text_cross_encoder.network import PairNetwork, build_pair_network
from diptych.training.batch_order import BatchRows, TextBatches
from diptych.training.text_relations import nearest_wrong, text_relations, word_numbers

from . import towers
from .config import TrainConfig
from .reading import Splits
from .run import Fitted, RunContext
from .text_distilled import texts_alone
from .trained import TrainedRecipe

RANKING, BINARY = "ranking", "binary"
_CANDIDATES = 20  # of each held-out text that is validated with
_VALIDATION_TEXTS = 100
_ROWS = 64  # scored at once
_ANY_TEXTS = ["a query and a text"] * 100  # to build a tokenizer before the data is read


@dataclass(frozen=True)
class TextObjective:
    """What is minimised over one right text and some wrong ones.

    "ranking": the cross-entropy of choosing the right one. "binary": for each whether it is related, yes or no, or to
    the degree that its label says; so the score's sigmoid is a probability.
    """

    name: str = RANKING  # ranking | binary
    negatives: int = 7  # wrong texts beside each right one: first those labelled unrelated, then mined ones
    mined: int = 30  # of so many of the dual encoder's nearest wrong texts, drawn at random

    def __post_init__(self) -> None:
        if self.name not in (RANKING, BINARY):
            raise unknown("objective", self.name, (RANKING, BINARY))
        check_least(self, negatives=1, mined=1)


@dataclass(frozen=True)
class PairReader:
    """The tokenizer, and the network over the rows of pairs."""

    tower: Part = field(default_factory=lambda: Part("wordpiece", {"max_tokens": 32}))  # a tokenizer
    network: Part = field(default_factory=lambda: Part("transformer"))  # reads the tokens of both texts in one row


@dataclass(frozen=True, kw_only=True)
class TextCrossEncoderConfig(TrainConfig):
    """Everything that the training of a text cross-encoder needs; configs/text_cross_encoder.toml is one in TOML."""

    kind: str = "text-cross-encoder"
    model: str = "base"  # the dual encoder that finds the wrong texts: its name, folder or address
    text: PairReader = field(default_factory=PairReader)
    objective: TextObjective = field(default_factory=TextObjective)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_unused("a text cross-encoder")
        if self.training.chunk:
            raise ConfigError("each text is scored with its own candidates alone; leave out training.chunk")


class TextCrossEncoderRecipe(TrainedRecipe[TextCrossEncoderConfig]):
    """A text network over pairs of texts."""

    training: FeaturePairs
    validation: FeaturePairs

    def __init__(self, config: TextCrossEncoderConfig, place: RunContext) -> None:
        super().__init__(config, place)
        self.dual_encoder: DualEncoder = load(config.model, device=place.device)
        require_cosine(self.dual_encoder, "finding wrong texts")
        self._build(self._tokens(_ANY_TEXTS))

    @staticmethod
    def load(folder: Path) -> text_cross.TextCrossEncoder:
        """The saved model."""
        return text_cross.load_text_cross_encoder(folder)

    @property
    def towers(self) -> list[str]:
        """Fingerprints of the dual encoder and of the tokenizer."""
        return [self.dual_encoder.fingerprint, self.pairs.tokens.fingerprint]

    def _tokens(self, texts: list[str]) -> TokenTower:
        tower = towers.text_tower(self.config.text.tower, lambda: texts, device=self.place.device)
        if not isinstance(tower, TokenTower):
            name = self.config.text.tower.name
            raise ConfigError(
                f'the text tower {name!r} gives no token ids; set text.tower = "wordpiece" or "tokens:FOLDER"'
            )
        return tower

    def _build(self, tokens: TokenTower) -> PairNetwork:
        self.pairs = text_cross.PairTokens(tokens)
        torch.manual_seed(self.config.seed)
        return build_pair_network(self.config.text.network, self.pairs)

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """The texts of both splits, their vectors by the dual encoder, and the nearest wrong texts of each."""
        config, place = self.config, self.place
        selection = config.data.selection(("full",))
        training, validation = (
            texts_alone(pairs, self.dual_encoder.text_tower, place, selection) for pairs in (splits.train, splits.val)
        )
        self._tokens_of(training)
        self.relations = text_relations(training.text_owner, training.written)
        vectors = self._vectors(training)
        self.wrong = nearest_wrong(
            self.relations, vectors, training.text_owner, training.written, config.objective.mined
        )
        place.notes.extend(
            cut_note(training.captions, self.pairs.tokens.count_tokens, self.pairs.tokens.max_tokens, "training texts")
        )
        return training, validation

    def counts(self) -> dict[str, int]:
        """Records of each split, without documents that only stand in the gallery."""
        return {
            split: len({owner for owner, _ in _asking(texts)})
            for split, texts in (("train", self.training), ("val", self.validation))
        }

    def contents(self) -> tuple[Contents, Contents]:
        """Texts that may ask. A document is one text wherever it stands, so that no right answer counts as wrong."""
        return _contents(self.training), _contents(self.validation)

    def _tokens_of(self, training: FeaturePairs) -> None:
        tokens = self._tokens(list(training.captions)) if towers.trains_tokenizer(self.config.text.tower) else None
        self.network = self._build(tokens or self.pairs.tokens)

    def _vectors(self, texts: FeaturePairs) -> Float32[np.ndarray, "m d"]:
        parts = np.array_split(np.arange(len(texts.texts)), -(-len(texts.texts) // 1024))
        return np.concatenate([self.dual_encoder.text_head(texts.texts[part]) for part in parts])

    def fit(self) -> Fitted:
        """Train the network; the epoch that orders the held-out candidates best is kept."""
        network, config = self.network, self.config
        network.network.start()
        ids = self.pairs.tokens.embed(self.training.captions)
        place = np.full(len(ids), -1, dtype=np.int64)
        place[self.relations.asking] = np.arange(len(self.relations.asking))
        validation = _Validation(self)

        def step(rows: BatchRows) -> Tensor:
            draw = np.random.default_rng([config.seed, *map(int, rows.text[:8])])
            asked, given, wanted = self._candidates(place[rows.text], draw)
            device = network.output.weight.device
            count = given.shape[1]
            pairs = self.pairs.rows(ids[np.repeat(asked, count)], ids[given.ravel()]).astype(np.int64)
            scores = network(torch.from_numpy(pairs).to(device)).view(-1, count)
            targets = torch.from_numpy(wanted).to(device)
            if config.objective.name == RANKING:
                return functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=device))
            return functional.binary_cross_entropy_with_logits(scores, targets)

        order = TextBatches(
            np.arange(self.training.records),
            self.training.text_owner,
            batch_size=config.training.batch_size,
            seed=config.seed,
            shown=self.relations.asking,
        )
        trainer = self.trainer(network, step, lambda: validation.measure(network), order)
        result = trainer.fit()
        network.cpu().eval()
        return Fitted(validation.measure(network), (result,), trainer.fabric.is_global_zero)

    def _candidates(
        self, asking: Int64[np.ndarray, " b"], draw: np.random.Generator
    ) -> tuple[Int64[np.ndarray, " b"], Int64[np.ndarray, "b c"], Float32[np.ndarray, "b c"]]:
        """Of each asking text: its row, the rows of one right text and of the wrong ones, and how related each is."""
        relations, objective = self.relations, self.config.objective
        given = np.empty((len(asking), 1 + objective.negatives), dtype=np.int64)
        wanted = np.zeros(given.shape, dtype=np.float32)
        for number, asked in enumerate(asking):
            right = draw.integers(len(relations.answers[asked]))
            given[number, 0], wanted[number, 0] = relations.answers[asked][right], relations.related[asked][right]
            labelled = draw.permutation(relations.unrelated[asked])[: objective.negatives]
            mined = draw.permutation(self.wrong[asked])
            given[number, 1:] = np.resize(np.concatenate([labelled, mined]), objective.negatives)
        return relations.asking[asking], given, wanted

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the network as a graph, with its tokenizer."""
        config, tokens = self.config, self.pairs.tokens
        network = self.network.for_export().eval()
        example = torch.from_numpy(self.pairs.embed(["a text", "another"], ["its answer", "no"]).astype(np.int64))
        part = config.text.network
        save(
            folder,
            config=TextCrossConfig(
                name=config.name,
                tower=towers.registered_part(config.text.tower, "text", tokens),
                network=get("network", part.name).saved(part),
                objective=config.objective.name,
                licence=config.card.licence,
                training=record,
            ),
            tokens=tokens,
            graph=trace(GraphSpec(network, example, outputs=("score",), free=(0, 1))),
            card=_card(config, record),
            seen=Seen(self.training.marks, self.validation.marks),
        )


def _asking(texts: FeaturePairs) -> list[tuple[int, Text]]:
    """The record of each text that is not a document, and the text."""
    pairs = zip(texts.text_owner.tolist(), texts.written, strict=True)
    return [(owner, text) for owner, text in pairs if text.role is not Role.DOCUMENT]


def _contents(texts: FeaturePairs) -> Contents:
    asking = _asking(texts)
    return Contents((), (), (), [text.value for _, text in asking], [owner for owner, _ in asking])


class _Validation:
    """The order of each held-out text's nearest candidates, by the network as it is now."""

    def __init__(self, recipe: TextCrossEncoderRecipe) -> None:
        texts = recipe.validation
        relations = text_relations(texts.text_owner, texts.written)
        vectors = recipe._vectors(texts)
        spread = np.linspace(0, len(relations.asking) - 1, min(_VALIDATION_TEXTS, len(relations.asking)))
        self._asking = spread.astype(np.int64)
        rows = relations.asking[self._asking]
        scores = vectors[rows] @ vectors[relations.gallery].T
        itself = rows[:, None] == relations.gallery[None]
        scores[itself] = -np.inf
        others = len(relations.gallery) - int(itself.any())
        near = np.argsort(-scores, axis=1, kind="stable")[:, : min(_CANDIDATES, others)]
        words = word_numbers(texts.written)  # an answer is one wherever it stands
        self._positives = [
            np.isin(words[relations.gallery[near[i]]], words[relations.answers[asked]])
            for i, asked in enumerate(self._asking)
        ]
        ids = recipe.pairs.tokens.embed(texts.captions)
        count = near.shape[1]
        self._rows = recipe.pairs.rows(ids[np.repeat(rows, count)], ids[relations.gallery[near].ravel()]).astype(
            np.int64
        )
        self._count = count

    def measure(self, network: PairNetwork) -> dict[str, float]:
        """R@1, R@5, R@10 in percent among the candidates; a text with no answer among them is a miss."""
        was_training = network.training
        network.eval()
        device = network.output.weight.device
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(self._rows), _ROWS)
            scores = torch.cat([network(part.to(device)).cpu() for part in parts]).view(-1, self._count).numpy()
        network.train(was_training)
        best = np.argsort(-scores, axis=1, kind="stable")
        found = {}
        for k in card.CUTS:
            hits = [bool(right[order[:k]].any()) for right, order in zip(self._positives, best, strict=True)]
            found[f"t2t R@{k}"] = round(100 * float(np.mean(hits)), 2)
        return {"score": round(sum(found.values()), 2), **found}


def _card(config: TextCrossEncoderConfig, record: Mapping[str, Any]) -> str:
    return card.write(
        config.name,
        config.card,
        record,
        f"Of {_VALIDATION_TEXTS} texts of the held-out records at most, among each one's {_CANDIDATES} nearest by "
        f"`{config.model}` (the best epoch was chosen by the same):\n\n"
        + card.recall_table(record["validation"], {"t2t": "text → text"}),
        [
            f"tokenizer `{config.text.tower.name}` → network `{config.text.network.name}` over both texts in one row",
            f"objective `{config.objective.name}`, {config.objective.negatives} wrong texts beside each right one, "
            f"found by `{config.model}`; seed {config.seed}; best epoch {record['best_epochs'][0]}",
        ],
    )
