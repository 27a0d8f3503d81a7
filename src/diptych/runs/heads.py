"""What every dual encoder's run shares, trained or computed: features of frozen towers in, a model folder out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.core.notes import cut_note
from diptych.core.protocols import ImageTower, TextTower
from diptych.core.registry import get
from diptych.core.types import Pair
from diptych.data.alternatives import originals_of
from diptych.data.features import FeaturePairs, Selection, by_class, collect
from diptych.data.online import collect_online
from diptych.data.seen import Seen
from diptych.data.views import FULL
from diptych.encoders.sound import cut_note as cut_sounds
from diptych.models import DualEncoder, card, familiarity, load
from diptych.models.save import TrainedSide, save
from diptych.training.batch_order import CLASS

from . import towers
from .config import DualEncoderConfig, SideSettings
from .reading import Splits, require_classes, videos_note
from .run import Recipe, RunContext
from .scores import QUERY_VIEWS, Embed, retrieval_scores
from .several_sources import scores_of_each

_FAMILIAR = 1000  # training images that stand for all of them, and half as many held-out ones
_FAMILIAR_TOGETHER = 100
_ANY_TEXTS = ["an image of a thing"] * 100  # for trying whether a config can be built
_LABELS = {
    "i2t": "image → text",
    "t2i": "text → image",
    "t2t": "text → text of the same record",
    "q2d": "query → document",
    "i2i": "other views of an image → the image",
}


_LABELS_BY_CLASS = {"t2t": "text → text of the same class", "i2i": "image → image of the same class"}


class HeadsRecipe(Recipe[DualEncoderConfig]):
    """Heads on cached features of frozen towers. Needs no PyTorch where the towers need none."""

    training: FeaturePairs
    validation: FeaturePairs

    def __init__(self, config: DualEncoderConfig, place: RunContext) -> None:
        super().__init__(config.resolved(), place)
        image, text = self.config.image.named_tower, self.config.text.named_tower
        self.image_tower: ImageTower = towers.image_tower(image, place.device)
        if self.image_tower.preprocess.is_of_sounds and (config.data.images or config.data.views != (FULL,)):
            raise ConfigError(
                f'the tower {image.name} reads sounds, which are not cropped or flipped; set data.views = ["full"], '
                "and leave out data.images"
            )
        self.text_tower: TextTower = towers.text_tower(text, lambda: _ANY_TEXTS, device=place.device)

    @staticmethod
    def load(folder: Path) -> DualEncoder:
        """The saved model."""
        return load(folder)

    @property
    def towers(self) -> list[str]:
        """Fingerprints of both towers."""
        return [self.image_tower.fingerprint, self.text_tower.fingerprint]

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """Features of the training records, under every view or read while training, and of what validation uses."""
        data, place = self.config.data, self.place
        if towers.trains_tokenizer(self.config.text.named_tower):
            self.text_tower = self._tokenizer(splits.train)
        shares = self.config.pairs
        within, by = shares.images > 0, shares.by
        if by == CLASS:
            splits = dataclasses.replace(splits, train=by_class(splits.train), val=by_class(splits.val))
            require_classes(splits)
        place.notes.extend(videos_note([*splits.train, *splits.val], self.image_tower.preprocess))
        common = self.image_tower, self.text_tower, place.features
        learnt = [pair for pair in splits.train if not pair.is_gallery]
        if data.images is None:
            training = collect(learnt, *common, self._selected(), progress=place.progress)
        else:
            views = 2 if within else 1  # augmented views of an image in an epoch
            training = collect_online(learnt, *common, self._selected(), views=views, progress=place.progress)
        measured = self._selected(("full", *(QUERY_VIEWS if within and by != CLASS else ())))
        held = [pair for pair in self.measured(splits.val) if not pair.is_gallery]
        validation = collect(held, *common, measured, progress=place.progress)
        tower = self.text_tower
        place.notes.extend(note for rows in training.cached[:1] for note in cut_sounds(rows, self.image_tower))
        place.notes.extend(cut_sounds(training.texts, tower))
        place.notes.extend(cut_note(training.captions, tower.count_tokens, tower.max_tokens, "training texts"))
        return training, validation

    def _selected(self, view_names: tuple[str, ...] = ()) -> Selection:
        """Which texts are used, and these views of images; nothing of a modality that takes part in no pair."""
        shares = self.config.pairs
        chosen = self.config.data.selection(view_names)
        return dataclasses.replace(chosen, images=shares.need_images, texts=shares.need_texts)

    def measured(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Validation pairs with the texts that count: the originals, where a language policy has others in training."""
        return originals_of(pairs, self.config.data.language)

    def _tokenizer(self, pairs: Sequence[Pair]) -> TextTower:
        """A tokenizer trained on the texts that training will use."""
        selection = self.config.data.selection()
        texts = [text for pair in pairs for text in pair.texts if selection.takes(text)]
        languages = {text.lang for text in texts if text.lang}
        named, values = self.config.text.named_tower, [text.value for text in texts]
        return towers.text_tower(named, lambda: values, languages, self.place.device)

    def scores(self, image: Embed, text: Embed, query: Embed | None = None) -> dict[str, float]:
        """Validation scores of what the config trains for."""
        config = self.config

        def measured(pairs: FeaturePairs) -> dict[str, float]:
            return retrieval_scores(image, text, pairs, config.similarity, config.pairs, query)

        return scores_of_each(self.sources, self.validation, config.data.chosen_on, measured)

    def save_heads(
        self,
        folder: Path,
        record: Mapping[str, Any],
        image: Any,
        text: Any,
        embed: Embed,
        logits: tuple[float, float | None] | None = None,
        query: Any = None,
    ) -> None:
        """Save the model.

        Args:
            folder: where.
            record: of the run.
            image, text: what embeds the rows of each tower: modules, or graphs.
            embed: the image side as a function of arrays.
            logits: scale and bias of the probabilities, where the loss learnt them.
            query: as `text`, of queries that have a side of their own.
        """
        config = self.config
        save(
            folder,
            name=config.name,
            image=self._side("image", self.image_tower, image),
            text=self._side("text", self.text_tower, text),
            query=None if query is None else self._side("query", self.text_tower, query),
            dim=config.dim * config.members,
            similarity=config.similarity,
            card=write_card(config, record),
            training=record,
            licence=config.card.licence,
            compact=config.compact,
            seen=self.seen(),
            familiar=self._familiarity(embed),
            logits=logits,
        )

    def _side(self, side: str, tower: Any, head: Any) -> TrainedSide:
        settings: SideSettings = getattr(self.config, side)
        part = towers.registered_part(settings.named_tower, "text" if side == "query" else side, tower)
        network = settings.network and get("network", settings.network.name).saved(settings.network)
        return TrainedSide(tower, part, self.head_part(settings), head, network)

    def head_part(self, settings: SideSettings) -> Part:
        """How the saved model's config names a head."""
        return settings.head or Part("mlp")

    def seen(self) -> Seen:
        """The records of this run."""
        return Seen(self.training.marks, self.validation.marks)

    def _familiarity(self, embed: Embed) -> familiarity.Familiarity | None:
        """The embeddings of some training images, and how near to them held-out ones usually are; of `init`, if it has
        the image side.
        """
        if not self.config.pairs.need_images:
            return load(self.config.init).familiarity if self.config.init else None
        draw = np.random.default_rng(self.config.seed)
        vectors = []
        for rows, most in ((self.training.images[0], _FAMILIAR), (self.validation.images[0], _FAMILIAR // 2)):
            chosen = np.sort(draw.permutation(len(rows))[:most])
            chunks = np.array_split(chosen, -(-len(chosen) // _FAMILIAR_TOGETHER))
            vectors.append(np.concatenate([embed(np.asarray(rows[chunk])) for chunk in chunks]))
        return familiarity.fit(vectors[0], vectors[1], self.config.seed)


def write_card(config: DualEncoderConfig, record: Mapping[str, Any]) -> str:
    """The model card of a dual encoder."""
    made, aim, stopped = "trained", f"loss: `{config.loss and config.loss.name}`", ""
    if config.fit:
        made, aim = "computed", f"computed by `{config.fit.name}`"
    else:
        stopped = " (early stopping looked at the same records)"
    labels = _LABELS | (_LABELS_BY_CLASS if config.pairs.by == CLASS else {})
    table = card.recall_tables(record, labels)
    apart = " of a source" if record["data"].get("sources") else ""
    return card.write(
        config.name,
        config.card,
        record,
        f"On the {record['data']['val']} validation records, all against all{apart}{stopped}:\n\n{table}",
        [
            *([f"starts from `{config.init}`"] if config.init else []),
            f"image side: {_described(config.image, made)}",
            f"text side: {_described(config.text, made)}",
            *([f"queries: {_described(config.query, made)}"] if config.query else []),
            f"{aim}; seed {config.seed}, {config.members} member(s)",
        ],
    )


def _described(side: SideSettings, made: str) -> str:
    """A side's parts by name, from the bottom up."""
    network = f" → network `{side.network.name}`, {'frozen' if side.frozen else 'trained'}" if side.network else ""
    if side.network and (started := side.network.options.get("begins_as")):
        network += f" from the weights in `{started}`"
    head = (side.head or Part("mlp")).name
    learnt = "" if head == "identity" else f", {made}"  # it has no weights
    return f"tower `{side.named_tower.name}`, frozen{network} → head `{head}`{learnt}"
