"""The training of a cross-encoder: a network over cached feature maps and the words of the texts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.core import registry
from diptych.core.config import Part, check_least, stated_without
from diptych.core.errors import ConfigError
from diptych.core.notes import cut_note
from diptych.core.protocols import MapTower
from diptych.core.shapes import Float32
from diptych.data import views
from diptych.data.alternatives import TextAlternatives, originals_of
from diptych.data.features import CaptionedImages, collect_captions
from diptych.data.seen import Seen
from diptych.encoders.half_precision import half_on
from diptych.evaluation import Positives, ranks_from_scores
from diptych.evaluation.metrics import recall_at
from diptych.models import card
from diptych.models.cross_encoder import TrainedCrossEncoder, load_trained_cross_encoder
from diptych.models.cross_encoder import folder as files
from diptych.models.cross_encoder.initial_words import begin_words
from diptych.models.cross_encoder.network import CrossNetwork
from diptych.models.cross_encoder.objectives import captioning_loss, matching_loss
from diptych.models.cross_encoder.saving import save
from diptych.models.cross_encoder.scorer import Scorer
from diptych.models.cross_encoder.settings import TEXT_TO_IMAGE, NetworkSettings, ObjectiveSettings, ScoringSettings
from diptych.models.cross_encoder.torch_backend import TorchBackend
from diptych.models.cross_encoder.vocabulary import FILE, Vocabulary, both_directions
from diptych.training.batch_order import BatchRows, GroupedBatches, NearRecords

from .config import TrainConfig
from .initial_words import words_lookup
from .near_records import RecordMiner
from .reading import Splits, videos_note
from .run import Fitted, RunContext
from .several_sources import scores_of_each, shares_of
from .towers import registered_part
from .trained import TrainedRecipe

_VALIDATION_IMAGES = 64
_STATISTICS_IMAGES = 256
_FITTED_IMAGES = 100  # held-out images that the scoring of image -> text is fitted on
_PRIORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
_LENGTHS = (0.0, 0.5, 1.0)
_MATCHING = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # weights of the matching score beside the likelihood
_EMBEDDED_TOGETHER = 64


@dataclass(frozen=True)
class TokenSettings:
    """Where the region tokens come from."""

    tower: Part = field(default_factory=lambda: Part("efficientnet-lite0-maps"))  # one that gives feature maps


@dataclass(frozen=True, kw_only=True)
class CrossEncoderConfig(TrainConfig):
    """Everything that the training of a cross-encoder needs; configs/cross_encoder.toml is one in TOML."""

    kind: str = "cross-encoder"
    vocabulary: int = 4000  # word pieces, learnt from the training texts
    texts_per_image: int = 0  # in one batch; 0 for all. ITM and VSE take 1
    model: str = "base"  # the dual encoder that finds wrong partners for objective.mined: its name, folder or address
    image: TokenSettings = field(default_factory=TokenSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_unused(
            "a cross-encoder (texts_per_image says how many texts of an image stand in a batch)",
            but=("language", "sources"),
        )
        if self.vocabulary < 100:
            raise ConfigError(f"vocabulary must be at least 100 word pieces, found {self.vocabulary}")
        check_least(self, texts_per_image=0)

    def stated(self) -> dict[str, Any]:
        """The fields without those that came later and have their default."""
        return stated_without(self, "model")

    @property
    def texts_in_batch(self) -> int:
        """Texts of an image in a batch: for ITM and VSE one, since another would count as a wrong text."""
        return self.texts_per_image if self.is_captioner else 1

    @property
    def is_captioner(self) -> bool:
        """Whether the network is trained to write the texts, not only to tell right from wrong ones."""
        return self.objective.name == "captioning"


class CrossEncoderRecipe(TrainedRecipe[CrossEncoderConfig]):
    """A decoder over region tokens of a frozen image tower."""

    own_files = (FILE,)

    def __init__(self, config: CrossEncoderConfig, place: RunContext) -> None:
        super().__init__(config, place)
        self.tower = map_tower(config.image.tower, place.device)
        self._miner = RecordMiner(config.model, place) if config.objective.mined else None
        self._near: NearRecords | None = None
        self._alternatives: TextAlternatives | None = None
        self._vectors = words_lookup(config.network.vectors, place) if config.network.vectors else None

    @staticmethod
    def load(folder: Path) -> TrainedCrossEncoder:
        """The saved model."""
        return load_trained_cross_encoder(folder)

    @property
    def towers(self) -> list[str]:
        """Fingerprint of the image tower, and of the dual encoder that finds wrong partners."""
        return [self.tower.fingerprint, *([self._miner.dual_encoder.fingerprint] if self._miner else [])]

    def collect(self, splits: Splits) -> tuple[CaptionedImages, CaptionedImages]:
        """Cached feature maps of every view of the training images, and of the whole validation images."""
        data, place = self.config.data, self.place
        place.notes.extend(videos_note([*splits.train, *splits.val], self.tower.preprocess))
        training, validation = (
            collect_captions(pairs, self.tower, place.features, data.selection(names), progress=place.progress)
            for pairs, names in ((splits.train, data.views), (originals_of(splits.val, data.language), (views.FULL,)))
        )
        if data.language is not None:
            self._alternatives = TextAlternatives(training.text_owner, training.written, data.language)
            place.notes.extend(self._alternatives.notes())
        vocabulary = place.folder / FILE
        if not vocabulary.exists():  # learnt once; a resumed run reads it again
            Vocabulary.learn(training.captions, self.config.vocabulary).write(vocabulary)
        self.words = Vocabulary.read(vocabulary)
        most = self.config.network.max_tokens
        place.notes.extend(cut_note(training.captions, self.words.count, most, "training texts"))
        if self._miner is not None:
            objective, selection = self.config.objective, data.selection((views.FULL,))
            found = self._miner.near(splits.train, training, selection, objective.mined)
            self._near = NearRecords(found, objective.group)
            place.progress.say(
                f"{self._near.share(self.config.seed):.0%} of the partners in a group are among the {objective.mined} "
                f"that {self.config.model} finds nearest to its first record; the others are of any record"
            )
        return training, validation

    def fit(self) -> Fitted:
        """Train the network, then fit how its scores of image -> text are corrected."""
        config, images = self.config, self.training.images[0]
        torch.manual_seed(config.seed)
        self.network = CrossNetwork(self.tower.maps, len(self.words), config.network, self.tower.preprocess.frames)
        self._begin_words()
        sample = np.random.default_rng(config.seed).permutation(len(images))[:_STATISTICS_IMAGES]
        self.network.fusion.fit_statistics(torch.from_numpy(images[np.sort(sample)]))
        trainer = self.trainer(
            self.network, self._loss(), lambda: self._measured(ScoringSettings()), self._batch_order()
        )
        result = trainer.fit()
        self.network.cpu().eval()
        held_out = self._held_out(self.validation)
        self.matching_weight = held_out.fit_matching() if config.objective.matching else 0.0
        self.scoring = held_out.fit_scoring()
        return Fitted(self._measured(self.scoring), (result,), trainer.fabric.is_global_zero)

    def _held_out(self, pairs: CaptionedImages) -> _Validation:
        return _Validation(self.config, self.network, self.words, pairs)

    def _measured(self, scoring: ScoringSettings) -> dict[str, float]:
        """Validation scores of the network as it is now."""
        chosen_on = self.config.data.chosen_on
        return scores_of_each(
            self.sources, self.validation, chosen_on, lambda pairs: self._held_out(pairs).measure(scoring)
        )

    def _begin_words(self) -> None:
        network, place = self.network, self.place
        if self._vectors is None:
            return
        decoders = [network.decoder, *filter(None, [network.backward_decoder])]
        begun = begin_words(decoders, self.words, self._vectors, Path(self.config.network.vectors).name)
        place.progress.say(begun.to_text())
        place.notes.extend(begun.notes)

    def _batch_order(self) -> GroupedBatches:
        config, texts = self.config, self._alternatives
        return GroupedBatches(
            self.training.image_owner,
            self.training.text_owner,
            texts=config.texts_in_batch,
            views=len(self.training.images),
            batch_size=config.training.batch_size,
            seed=config.seed,
            plain=config.data.plain,
            near=self._near,
            shares=shares_of(self.sources, self.training),
            shown=texts.originals if texts else None,
            substitute=texts.draw if texts else None,
        )

    def _loss(self) -> Any:
        """Batch rows -> mean loss."""
        config, network = self.config, self.network
        pieces = self.words.encode(self.training.captions, config.network.max_tokens)

        def loss(rows: BatchRows) -> Tensor:
            device = network.empty_image_token.device
            flat, inputs, targets = (
                torch.from_numpy(array).to(device) for array in batch_arrays(self.training, pieces, rows)
            )
            regions, empty = network.training_regions(flat)
            if config.is_captioner:
                return captioning_loss(network, regions, empty, inputs, targets, config.objective)
            return matching_loss(network, regions, inputs, config.objective)

        return loss

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the network, its vocabulary and, where it may travel, its image tower."""
        config, tower = self.config, self.tower
        part = registered_part(config.image.tower, "image", tower)
        save(
            folder,
            config=files.CrossConfig(
                name=config.name,
                image=files.TowerConfig(
                    part.name, tower.maps, tower.preprocess, tower.fingerprint, options=part.options
                ),
                vocabulary=len(self.words),
                network=dataclasses.replace(config.network, vectors=""),  # they are among the weights
                objective=config.objective,
                scoring=self.scoring,
                licence=config.card.licence,
                training=record,
            ),
            network=self.network,
            words=self.words,
            tower=tower,
            card=_card(config, record, self.scoring, self.matching_weight),
            seen=Seen(self.training.marks, self.validation.marks),
        )


def map_tower(part: Part, device: str = "auto") -> MapTower:
    """A tower that gives feature maps. Raises ConfigError for one that does not."""
    tower = registry.build("image_tower", part, device=device)
    if not isinstance(tower, MapTower):
        raise ConfigError(
            f"the image tower {part.name!r} gives no feature maps; choose efficientnet-lite0-maps, timm-maps:NAME, or "
            "a tower with `maps`"
        )
    return tower


def batch_arrays(
    training: CaptionedImages, pieces: Sequence[Sequence[int]], rows: BatchRows
) -> tuple[Float32[np.ndarray, "b f"], np.ndarray, np.ndarray]:
    """Features of the batch's images, and inputs and targets (b, 2 c, t) of the c texts of each.

    An image with fewer texts than another has empty sequences, which cost nothing.
    """
    starts = np.flatnonzero(np.r_[True, rows.owner[1:] != rows.owner[:-1]])
    counts = np.diff(np.r_[starts, len(rows.owner)])
    flat = np.empty((len(starts), training.images[0].dim), dtype=np.float32)
    for view, stored in enumerate(training.images):
        here = rows.view[starts] == view
        if here.any():
            flat[here] = stored[rows.image[starts][here]]
    read, wanted = both_directions([pieces[text] for text in rows.text])
    most, longest = int(counts.max()), read.shape[1]
    inputs = np.zeros((len(starts), 2 * most, longest), dtype=np.int64)
    targets = np.zeros_like(inputs)
    image = np.repeat(np.arange(len(starts)), counts)
    slot = np.arange(len(rows.text)) - np.repeat(starts, counts)
    for way in range(2):
        chosen = slice(way * len(rows.text), (way + 1) * len(rows.text))
        inputs[image, 2 * slot + way] = read[chosen]
        targets[image, 2 * slot + way] = wanted[chosen]
    return flat, inputs, targets


class _Validation:
    """Retrieval among held-out images, one text each, with the network as it is now."""

    def __init__(
        self, config: CrossEncoderConfig, network: CrossNetwork, words: Vocabulary, pairs: CaptionedImages
    ) -> None:
        self._network, self._words, self._pairs = network, words, pairs
        self._is_captioner = config.is_captioner
        count = min(_VALIDATION_IMAGES, pairs.records)
        # spread over the records, so that a sorted source does not give only its beginning
        self._records = np.linspace(0, pairs.records - 1, count).astype(np.int64)

    def measure(self, scoring: ScoringSettings) -> dict[str, float]:
        """R@1, 5, 10 of both directions in percent; "score" is their sum."""
        first = np.searchsorted(self._pairs.text_owner, self._records)
        texts = [self._pairs.captions[place] for place in first]
        scorer = self._scorer(scoring)
        regions = self._regions(self._records)
        labels = np.arange(len(texts))
        found: dict[str, float] = {}
        h = scorer.matrix(regions, texts, TEXT_TO_IMAGE)
        for name, queries in (("i2t", scorer.corrected(h, texts).T), ("t2i", h)):
            ranks = ranks_from_scores(queries, Positives.from_labels(labels, labels))
            found |= {f"{name} R@{k}": round(100 * float(recall_at(ranks, k).mean()), 2) for k in card.CUTS}
        return {"score": round(sum(found.values()), 2), **found}

    def fit_matching(self) -> float:
        """Make the matching score a part of the likelihood, with the weight of the best text -> image ranks."""
        texts = [self._pairs.captions[place] for place in np.searchsorted(self._pairs.text_owner, self._records)]
        regions, labels = self._regions(self._records), np.arange(len(texts))
        h, matched = (
            self._scorer(ScoringSettings(), captioner).matrix(regions, texts, TEXT_TO_IMAGE)
            for captioner in (True, False)
        )
        positives = Positives.from_labels(labels, labels)

        def badness(weight: float) -> float:
            return float(np.log1p(ranks_from_scores(h + weight * matched, positives).best).mean())

        weight = min(_MATCHING, key=badness)
        network = self._network
        with torch.no_grad():
            network.match.weight.mul_(weight)
            network.match.bias.mul_(weight)
        network.adds_matching = True
        return weight

    def fit_scoring(self) -> ScoringSettings:
        """Prior weight and length exponent with the best image -> text ranks on held-out images."""
        if not self._is_captioner:
            return ScoringSettings(prior=0.0, length=0.0)
        records = self._records[:: max(1, len(self._records) // _FITTED_IMAGES)]
        owned = np.flatnonzero(np.isin(self._pairs.text_owner, records))
        texts = [self._pairs.captions[place] for place in owned]
        scorer = self._scorer(ScoringSettings())
        h = scorer.matrix(self._regions(records), texts, TEXT_TO_IMAGE)
        prior = scorer.prior(texts)[:, None]
        lengths = scorer.lengths(texts)
        positives = Positives.from_labels(records, self._pairs.text_owner[owned])
        best, best_rank = ScoringSettings(), math.inf
        for weight in _PRIORS:
            for length in _LENGTHS:
                scores = (h - weight * prior) / lengths[:, None] ** length
                rank = float(np.log1p(ranks_from_scores(scores.T, positives).best).mean())
                if rank < best_rank:
                    best, best_rank = ScoringSettings(prior=weight, length=length), rank
        return best

    def _scorer(self, scoring: ScoringSettings, captioner: bool | None = None) -> Scorer:
        captioner = self._is_captioner if captioner is None else captioner
        return Scorer(self._backend, self._words, scoring, captioner=captioner)

    @property
    def _backend(self) -> TorchBackend:
        """The network where it is now: on the training's device, or on the CPU when that has ended."""
        device = self._network.empty_image_token.device
        return TorchBackend(self._network, half=half_on(str(device)).quicker)

    def _regions(self, records: np.ndarray) -> np.ndarray:
        first = np.searchsorted(self._pairs.image_owner, records)
        chunks = np.array_split(first, -(-len(first) // _EMBEDDED_TOGETHER))
        return np.concatenate([self._backend.fuse(self._pairs.images[0][chunk]) for chunk in chunks])


def _card(config: CrossEncoderConfig, record: Mapping[str, Any], scoring: ScoringSettings, matching: float) -> str:
    held_out = record["data"]["val"]
    each = ", or at most so many of each source" if record["data"].get("sources") else ""
    objective = config.objective
    beside = [f"{name.replace('_', ' ')} {weight}" for name, weight in objective.beside.items()]
    hard = f", of {objective.mined} that `{config.model}` finds near" if objective.mined else ""
    partners = (
        [f"{', '.join(beside) or 'wrong partners'} in groups of {objective.group}{hard}"]
        if objective.has_partners
        else []
    )
    if objective.matching:
        partners.append(f"the matching score is added to the likelihood {matching} times, fitted on held-out records")
    labels = {"i2t": "image → text", "t2i": "text → image"}
    return card.write(
        config.name,
        config.card,
        record,
        f"Among {min(_VALIDATION_IMAGES, held_out)} of the {held_out} held-out records{each}, one text each (the best "
        f"epoch was chosen by the same):\n\n{card.recall_tables(record, labels)}",
        [
            f"image tower `{config.image.tower.name}`, frozen; decoder of {config.network.layers} layers, width "
            f"{config.network.width}",
            f"objective `{objective.name}`; seed {config.seed}; best epoch {record['best_epochs'][0]}",
            *partners,
            f"image → text scores: prior {scoring.prior}, length {scoring.length}, fitted on the held-out records",
        ],
    )
