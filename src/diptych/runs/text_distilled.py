"""Several languages by distillation: a new text side learns to give what the teacher's gives for the originals.

Images stay the teacher's: the result is one model, with the teacher's image side and the student's text side. A teacher
that embeds texts alone has no image side, and so has its student: it finds texts by texts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.core.config import Part
from diptych.core.cosine import normalise
from diptych.core.errors import ConfigError, DataError, Reason
from diptych.core.notes import cut_note
from diptych.core.protocols import TextTower
from diptych.core.registry import get
from diptych.core.types import Pair
from diptych.data.features import FeaturePairs, Selection, collect, text_rows
from diptych.data.seen import Seen, as_marks, marks_of, read_seen, value_marks
from diptych.encoders.graphs import read_graph
from diptych.encoders.none import NONE, NoImages
from diptych.models import DualEncoder, card, load, require_cosine
from diptych.models import folder as files
from diptych.models.heads import IdentityHead
from diptych.models.save import TrainedSide, save
from diptych.models.side import Side, build_side
from diptych.training.batch_order import BatchRows, TextBatches
from diptych.training.engine import Trainer
from diptych.training.text_targets import TextTargets, text_targets

from . import towers
from .before_after import FILE
from .config import SideSettings, TrainConfig
from .dual_encoder import embedder
from .reading import Splits
from .run import Fitted, RunContext
from .scores import Embed, retrieval_scores, vector_scores
from .trained import TrainedRecipe

UNPAIRED, WITHOUT = "unpaired_text", "text_without_original"  # kinds of notes
_LABELS = {"i2t": "image → text", "t2i": "text → image", "t2o": "text → the teacher's vectors of its record"}
_STATISTICS_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class TextDistilledConfig(TrainConfig):
    """Everything that distilling a text side needs; configs/finetune/multilingual.toml is one in TOML."""

    kind: str = "distilled-text"
    teacher: str = ""  # a dual encoder: its name, folder or address
    text: SideSettings  # the student: a tower, a network where one is wanted, a head into the teacher's space
    original: str = "en"  # language of the texts that the teacher reads; so are texts of no stated language
    # texts in other languages that state no original: true: they learn the mean of their record's originals;
    # false: they are left out
    unpaired: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_unused("a text side that is distilled", but=("also",))
        if self.text.tower is None:
            raise ConfigError("the student needs a tower; set text.tower")
        if self.training.chunk:
            raise ConfigError("each text is compared with its own target alone; leave out training.chunk")

    @property
    def tower(self) -> Part:
        """The student's tower."""
        return self.text.tower or Part("")

    @property
    def head(self) -> Part:
        """The student's head."""
        return self.text.head or Part("mlp")


class TextDistilledRecipe(TrainedRecipe[TextDistilledConfig]):
    """A text side trained towards the teacher's text vectors."""

    own_files = (FILE,)
    training: FeaturePairs
    validation: FeaturePairs

    def __init__(self, config: TextDistilledConfig, place: RunContext) -> None:
        if not config.teacher:
            raise ConfigError("no teacher to distil from; name one as teacher (--teacher)")
        super().__init__(dataclasses.replace(config, text=config.text.with_network_resolved()), place)
        self.teacher = load(config.teacher, device=place.device)
        self._of_texts = not self.teacher.has_images
        require_cosine(self.teacher, "learning its text vectors")
        self.text_tower: TextTower = towers.text_tower(
            config.tower, lambda: ["an image of a thing"] * 100, device=place.device
        )
        self._side()

    @staticmethod
    def load(folder: Any) -> DualEncoder:
        """The saved model."""
        return load(folder)

    @property
    def towers(self) -> list[str]:
        """Fingerprints of the teacher and of the student's tower."""
        return [self.teacher.fingerprint, self.text_tower.fingerprint]

    def _side(self) -> Side:
        torch.manual_seed(self.config.seed)
        settings = self.config.text
        return build_side(settings.network, self.config.head, self.text_tower, self.teacher.dim)

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """The student's features of all texts with the teacher's vectors of the originals; images to validate with."""
        config, place = self.config, self.place
        selection = config.data.selection(("full",))
        if towers.trains_tokenizer(config.tower):
            self.text_tower = self._tokenizer(splits, selection)
        training = texts_alone(splits.train, self.text_tower, place, selection)
        if self._of_texts:
            validation = texts_alone(splits.val, self.text_tower, place, selection)
            self._of_records = self._record_vectors(validation)
        else:
            validation = collect(
                splits.val,
                self.teacher.image_tower,
                self.text_tower,
                place.features,
                selection,
                progress=place.progress,
            )
        self._targets = text_targets(training.text_owner, training.written, config.original, unpaired=config.unpaired)
        captions = training.captions
        self._wanted = self._targets.vectors(self._teachers(captions))
        self._note(self._targets)
        reads, originals = self.teacher.text_tower, [captions[row] for row in np.unique(self._targets.originals)]
        for tower, texts, what in (
            (self.text_tower, captions, "training texts"),
            (reads, originals, "training texts of the teacher"),
        ):
            place.notes.extend(cut_note(texts, tower.count_tokens, tower.max_tokens, what))
        return training, validation

    def _tokenizer(self, splits: Splits, selection: Selection) -> TextTower:
        texts = [text for pair in splits.train for text in pair.texts if selection.takes(text)]
        languages = {text.lang for text in texts if text.lang}
        return towers.text_tower(self.config.tower, lambda: [text.value for text in texts], languages)

    def _teachers(self, captions: tuple[str, ...]) -> Any:
        """The teacher's vectors of some captions, by their rows; the features below them stay in the cache."""

        def encode(rows: list[int]) -> Any:
            chosen = [captions[row] for row in rows]
            read = text_rows(chosen, self.teacher.text_tower, self.place.features, self.place.progress)
            parts = np.array_split(np.arange(len(chosen)), -(-len(chosen) // 1024))
            return np.concatenate([self.teacher.text_head(read[part]) for part in parts])

        return encode

    def _record_vectors(self, pairs: FeaturePairs) -> Any:
        """The teacher's mean vector of each record's originals, (records, d) of unit length."""
        found = text_targets(pairs.text_owner, pairs.written, self.config.original)
        without = sorted(set(range(pairs.records)) - set(pairs.text_owner[found.originals].tolist()))
        if without:
            raise DataError(
                f"{len(without)} validation records have no text in {self.config.original!r} for the teacher to read, "
                f"such as {pairs.keys[without[0]]}",
                Reason.EMPTY_TEXT,
            )
        vectors = self._teachers(pairs.captions)(found.originals.tolist())
        summed = np.zeros((pairs.records, vectors.shape[1]), dtype=np.float32)
        np.add.at(summed, pairs.text_owner[found.originals], vectors)
        return normalise(summed)

    def _scores(self, text: Embed) -> dict[str, float]:
        """Of the student: with the teacher's images; where it has none, how texts find their record's vector."""
        pairs = self.validation
        if not self._of_texts:
            return retrieval_scores(self.teacher.image_head, text, pairs)
        return vector_scores(self._of_records, text, pairs)

    def _note(self, targets: TextTargets) -> None:
        if targets.unpaired:
            detail = "texts that state no original, and learn the mean of their record's originals"
            self.place.notes.add(UNPAIRED, detail, count=targets.unpaired)
        if targets.without:
            detail = f"texts without an original in {self.config.original!r}, not learnt from"
            self.place.notes.add(WITHOUT, detail, count=targets.without)

    def fit(self) -> Fitted:
        """Train the text side, and measure it with the teacher's images."""
        side, training = self._side(), self.training
        sample = np.sort(np.random.default_rng(self.config.seed).permutation(len(training.texts))[:_STATISTICS_ROWS])
        side.fit_statistics(torch.from_numpy(training.texts[sample]))
        if found := side.begin_words(self.text_tower):
            self.place.progress.say(found.to_text())
            self.place.notes.extend(found.notes)
        side.start()
        place = np.full(len(training.texts), -1, dtype=np.int64)
        place[self._targets.texts] = np.arange(len(self._targets.texts))
        wanted = self._wanted

        def step(rows: BatchRows) -> Tensor:
            device = trainer.fabric.device
            given = side(torch.from_numpy(training.texts[rows.text]).to(device))
            target = torch.from_numpy(wanted[place[rows.text]]).to(device)
            return torch.mean(1 - (given * target).sum(-1))

        def validate() -> dict[str, float]:
            return self._scores(embedder(side, trainer.fabric.device))

        order = TextBatches(
            np.arange(training.records),
            training.text_owner,
            batch_size=self.config.training.batch_size,
            seed=self.config.seed,
            shown=self._targets.texts,
        )
        trainer: Trainer = self.trainer(side, step, validate, order)
        fits = (trainer.fit(),)
        writes = trainer.fabric.is_global_zero
        self._trained = side.cpu().eval()
        with torch.inference_mode():
            scores = self._scores(embedder(self._trained))
        return Fitted(scores, fits, writes)

    def save(self, folder: Any, record: Mapping[str, Any]) -> None:
        """Save one model: the teacher's image side, the student's text side."""
        config, made = self.config, self.teacher.config
        settings = config.text
        save(
            folder,
            name=config.name,
            image=_image_side(self.teacher),
            text=TrainedSide(
                self.text_tower,
                towers.registered_part(config.tower, "text", self.text_tower),
                config.head,
                self._trained.for_export(),
                settings.network and get("network", settings.network.name).saved(settings.network),
            ),
            dim=self.teacher.dim,
            card=self._card(record),
            training=record,
            licence=config.card.licence or made.licence,
            seen=self._seen(),
            logits=None if made.logit_scale is None else (made.logit_scale, made.logit_bias),
        )

    def starts(self) -> dict[str, DualEncoder]:
        """The teacher; none where it has no images to find texts by."""
        return {} if self._of_texts else {"teacher": self.teacher}

    def _image_words(self) -> str:
        if self._of_texts:
            return "none, as the teacher has none"
        return f"that of {self.teacher.name} (fingerprint `{self.teacher.fingerprint[:16]}`), as it is"

    def _seen(self) -> Seen:
        earlier = None if self.teacher.joint else read_seen(self.teacher.folder)
        return Seen(self.training.marks, self.validation.marks).after(earlier)

    def _card(self, record: Mapping[str, Any]) -> str:
        config = self.config
        table = card.recall_table(record["validation"], _LABELS)
        network = f" → network `{config.text.network.name}`" if config.text.network else ""
        return card.write(
            config.name,
            config.card,
            record,
            f"On the {record['data']['val']} validation records, all against all, in all their languages:\n\n{table}",
            [
                f"image side: {self._image_words()}",
                f"text side: tower `{config.tower.name}`{network} → head `{config.head.name}`",
                f"trained to give, for texts in {config.original!r} and their translations, the teacher's vector of "
                f"the original; seed {config.seed}",
            ],
        )


def texts_alone(pairs: Sequence[Pair], tower: TextTower, place: RunContext, selection: Selection) -> FeaturePairs:
    """Records by their texts; their images are not read."""
    chosen = ((pair, [text for text in pair.texts if selection.takes(text)]) for pair in pairs)
    kept = [(pair, texts) for pair, texts in chosen if texts]
    written = tuple(text for _, texts in kept for text in texts)
    return FeaturePairs(
        images=(),
        texts=text_rows([text.value for text in written], tower, place.features, place.progress),
        written=written,
        image_owner=np.zeros(0, dtype=np.int64),
        text_owner=np.repeat(np.arange(len(kept)), [len(texts) for _, texts in kept]),
        ids=tuple(pair.id for pair, _ in kept),
        keys=tuple(pair.identity for pair, _ in kept),
        image_keys=(),
        groups=tuple(pair.group for pair, _ in kept),
        marks=as_marks(mark for pair, _ in kept for mark in (*marks_of(pair), *value_marks(pair.texts))),
    )


def _image_side(teacher: DualEncoder) -> TrainedSide:
    """The teacher's image side as it is saved again."""
    side = teacher.config.image
    if not teacher.has_images:
        dim = teacher.dim
        return TrainedSide(NoImages(dim), Part(NONE, {"dim": dim}), Part("identity"), IdentityHead(dim, dim))
    if teacher.joint:
        part = Part(side.tower, dict(side.options))
        return TrainedSide(teacher.image_tower, part, Part("identity"), IdentityHead(side.features, teacher.dim))
    named = Part(f"model:{teacher.address}")
    tower, graph = towers.image_tower(named), read_graph(teacher.folder, files.IMAGE_HEAD)
    return TrainedSide(tower, towers.registered_part(named, "image", tower), side.head, graph, side.network)
