"""The training of a dual encoder: frozen towers, trained networks and heads, one loss over a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import fingerprint
from diptych.core.config import Part
from diptych.core.errors import ConfigError
from diptych.data.alternatives import TextAlternatives
from diptych.data.features import FeaturePairs
from diptych.data.seen import Seen, read_seen
from diptych.encoders.joint import is_joint
from diptych.losses import Embedded
from diptych.models import DualEncoder, load
from diptych.models.heads import EnsembleHead, ensemble_of
from diptych.models.save import TrainedSide
from diptych.models.side import Side
from diptych.training.batch_order import (
    CLASS,
    BatchOrder,
    BatchRows,
    GroupedBatches,
    ImageBatches,
    MixedBatches,
    TextBatches,
)
from diptych.training.engine import Trainer
from diptych.training.objectives import Contrastive
from diptych.training.online_images import ImageLoader
from diptych.training.two_sides import TwoSides, class_numbers

from . import parts
from .before_after import BEFORE, FILE
from .config import DualEncoderConfig, SideSettings
from .frozen import FrozenTower
from .heads import HeadsRecipe
from .negatives import MinedNegatives
from .reading import Splits
from .related import RelatedPairs, related_pairs, require_several_texts
from .run import Fitted, RunContext
from .scores import Embed
from .several_sources import shares_of
from .trained import TrainedRecipe

if TYPE_CHECKING:
    from diptych.training.distillation import TeacherLoss

_ANY_CLASSES = 2  # for trying whether a config can be built


class DualEncoderRecipe(HeadsRecipe, TrainedRecipe[DualEncoderConfig]):
    """Heads, and networks where the config names them, trained by one loss."""

    own_files = (FILE,)
    extra_loss: TeacherLoss | None = None  # beside the config's own
    mined: MinedNegatives | None = None
    query: Any = None  # a side for queries
    related: RelatedPairs | None = None  # of texts with roles

    def __init__(self, config: DualEncoderConfig, place: RunContext) -> None:
        super().__init__(config, place)
        self._freeze()
        built = self._built(self.config.seed, _ANY_CLASSES)
        if not config.pairs.are_across and built.loss is not None and built.loss.needs_modalities:
            raise ConfigError(
                f"the loss {config.loss and config.loss.name!r} treats images and texts differently, so it cannot "
                "learn from pairs within a modality; leave out [pairs], or choose a loss such as info_nce"
            )
        if built.loss is not None and built.loss.needs_labels and not config.pairs.are_texts:
            raise ConfigError(
                f"the loss {config.loss and config.loss.name!r} learns from pairs of texts with labels; set across = 0 "
                "and texts = 1 in [pairs], or choose another loss"
            )
        if config.data.mined:
            self.mined = MinedNegatives.read(Path(config.data.mined))

    def _freeze(self) -> None:
        """Put the networks that are frozen into the towers, so that their features are cached."""
        config, device = self.config, self.place.device
        self._frozen: dict[str, FrozenTower] = {}
        for side in ("image", "text"):
            if getattr(config, side).frozen:
                tower = getattr(self, f"{side}_tower")
                made = FrozenTower(tower, parts.frozen_network(config, side, tower), device)
                self._frozen[side] = made
                setattr(self, f"{side}_tower", made)

    def _built(self, seed: int, classes: int) -> TwoSides:
        return parts.build(self.config, (self.image_tower, self.text_tower), seed, classes)

    @property
    def unmined(self) -> int:
        """Training records that the file of mined negatives does not name."""
        return self.mined.unmined(self.training) if self.mined else 0

    def fingerprints(self) -> dict[str, str]:
        """Of both splits, and of the mined negatives where there are any."""
        return super().fingerprints() | ({"mined": self.mined.fingerprint} if self.mined else {})

    def collect(self, splits: Splits) -> tuple[FeaturePairs, FeaturePairs]:
        """As of every dual encoder; then the extra loss and the mined negatives are checked against the pairs."""
        training, validation = super().collect(splits)
        if policy := self.config.data.language:
            self.place.notes.extend(TextAlternatives(training.text_owner, training.written, policy).notes())
        if self.config.pairs.are_texts:
            built = self._built(self.config.seed, _ANY_CLASSES)
            needs_labels = built.loss is not None and built.loss.needs_labels
            self.related = related_pairs(training, self.config, needs_labels, self.place.notes)
        if self.config.pairs.texts and self.related is None and self.config.pairs.by != CLASS:
            require_several_texts(validation)
        if self.extra_loss is not None:
            self.extra_loss.begin(training)
        if self.mined is not None:
            self.mined.check(training)
            if unmined := self.mined.unmined(training):
                self.place.progress.say(
                    f"{self.mined.path} has no negatives of {unmined} of {training.records} records"
                )
        return training, validation

    def fit(self) -> Fitted:
        """Train every member, and measure the model of all of them."""
        config, writes = self.config, True
        classes = len({group for group in self.training.groups if group is not None})
        fits, trained = [], []
        for member in range(config.members):
            seed = config.seed + member
            module = self._built(seed, classes)
            parts.fit_statistics(module, self.training, seed, config)
            for side in filter(None, (module.text, module.query)):
                found = side.begin_words(self.text_tower)
                if found and member == 0 and side is module.text:
                    self.place.progress.say(found.to_text())
                    self.place.notes.extend(found.notes)
            folder = self.place.folder if config.members == 1 else self.place.folder / f"member-{member}"
            trainer = self._trainer(module, folder, seed)
            fits.append(trainer.fit())
            writes = trainer.fabric.is_global_zero
            trained.append(module.cpu().eval())
            self._logits = module.loss.logits() if module.loss and config.members == 1 else None
        self.image, self.text = (
            _joined([getattr(module, side).for_export() for module in trained]) for side in ("image", "text")
        )
        self.query = trained[0].query and trained[0].query.for_export()
        with torch.inference_mode():
            scores = self.scores(*(embedder(side) for side in (self.image, self.text, self.query) if side))
        return Fitted(scores, tuple(fits), writes)

    def _trainer(self, module: TwoSides, folder: Path, seed: int) -> Trainer:
        loss, training = module.loss, self.training
        if loss is None:
            raise ConfigError("the config has no loss to train for")
        by_class = self.config.pairs.by == CLASS  # then the owners of a batch's rows are classes
        groups = np.arange(training.records) if by_class else class_numbers(training.groups)
        extra, share = self._extra(module.image)
        draws = self.draws(seed)

        def measured() -> dict[str, float]:
            sides = (module.image, module.text, module.query)
            return self.scores(*(embedder(side, trainer.fabric.device) for side in sides if side))

        trainer = self.trainer(
            module,
            Contrastive(
                lambda rows: module.embed(training, rows, groups),
                loss,
                self.config.training.chunk,
                extra=extra,
                weight=1 - share,
            ),
            measured,
            self._batch_order(draws),
            folder=folder,
            seed=seed,
            identity={"extra_loss": self.extra_loss.fingerprint} if self.extra_loss else {},
            images=self._image_loader(draws),
            report=loss.report,
            start_epoch=loss.start_epoch,
            start_step=loss.start_step,
        )
        return trainer

    def draws(self, seed: int) -> int:
        """The seed of batches and crops: of a model that training goes on from, others than those it was trained on.

        The same ones again teach it by heart: their loss is then half that of others, and held-out records lose.
        """
        init = self.config.init
        return seed if not init or is_joint(init) else fingerprint.short(str(seed), load(init).fingerprint)

    def row_names(self, rows: BatchRows) -> list[str]:
        """The records of a batch's rows."""
        training = self.training
        texts = self.config.pairs.need_texts
        owner = training.text_owner[rows.text] if texts else training.image_owner[rows.image]
        return [training.keys[record] for record in owner]

    def _image_loader(self, seed: int) -> ImageLoader | None:
        """What reads images while training, where the config says so."""
        settings, training = self.config.data.images, self.training
        if settings is None:
            return None
        return ImageLoader(
            training.image_refs,
            self.image_tower,
            settings,
            seed=seed,
            views=len(training.images),
            batch_size=self.config.training.batch_size,
            progress=self.place.progress,
        )

    def _extra(self, image: nn.Module) -> tuple[Callable[[BatchRows, Embedded], Tensor] | None, float]:
        """The extra loss, weighted by its share, and that share."""
        extra = self.extra_loss
        if extra is None or not extra.share:
            return None, 0.0
        return lambda rows, made: extra.share * extra.loss(image, self.training, rows, made.text), extra.share

    def _batch_order(self, seed: int) -> BatchOrder:
        """Which rows stand in which batch."""
        config, data, training = self.config, self.config.data, self.training
        of_record = training.classes if config.pairs.by == CLASS else np.arange(training.records)
        owners = of_record[training.image_owner], of_record[training.text_owner]
        if not config.pairs.need_images:
            owners = owners[1], owners[1]  # in place of images, of which nothing is read
        views = max(1, len(training.images))
        common: Any = {
            "views": views,
            "batch_size": config.training.batch_size,
            "seed": seed,
            "plain": data.plain,
        }
        if self.related is not None:
            return self.related.batches(config.training.batch_size, seed)
        order: TextBatches
        shares = shares_of(self.sources, training)
        why = "one record has so many that the others cannot stand beside them in every batch"
        if data.language and config.pairs.need_texts:
            texts = TextAlternatives(training.text_owner, training.written, data.language)
            common |= {"shown": texts.originals, "substitute": texts.draw}
        if not config.pairs.need_texts:
            order = ImageBatches(owners[0], **common)
        elif data.together:
            order = GroupedBatches(*owners, texts=data.together, shares=shares, **common)
            why = f"data.together is {data.together} texts a record"
        else:
            hard = self.mined.hard_negatives(training, data.hard) if self.mined else None
            order = TextBatches(*owners, **common, hard_negatives=hard, shares=shares)
        if order.left_out:
            every = f"{len(training.texts)} texts" if config.pairs.need_texts else f"{len(owners[0])} images"
            self.place.progress.say(
                f"{order.left_out} of {every} are left out of an epoch, other ones each time: {why}"
            )
        return order if config.pairs.are_across else MixedBatches(order, config.pairs, *owners, views=views, seed=seed)

    def starts(self) -> dict[str, DualEncoder]:
        """The model that training begins from."""
        return {BEFORE: load(self.config.init, device=self.place.device)} if self.config.init else {}

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the model of all members."""
        with torch.inference_mode():
            self.save_heads(folder, record, self.image, self.text, embedder(self.image), self._logits, self.query)

    def _side(self, side: str, tower: Any, head: Any) -> TrainedSide:
        """A frozen network is saved as a trained one is: with the head, over the tower below it."""
        frozen = self._frozen.get(side)
        if frozen is None:
            return super()._side(side, tower, head)
        return super()._side(side, frozen.tower, Side(frozen.network.cpu().for_export(), head).eval())

    def head_part(self, settings: SideSettings) -> Part:
        """The head, or the ensemble of all members' heads."""
        return ensemble_of(super().head_part(settings), self.config.members)

    def seen(self) -> Seen:
        """The records of this run, and those that the models before it were trained on."""
        own = self.config.init and not is_joint(self.config.init)
        before = [read_seen(load(self.config.init).folder)] if own else []
        teachers = self.extra_loss.seen if self.extra_loss else []
        return super().seen().after(*before, *teachers)


def embedder(side: nn.Module, device: torch.device = torch.device("cpu")) -> Embed:  # noqa: B008
    """A side as a function of arrays."""
    return lambda rows: cast(np.ndarray, side(torch.from_numpy(rows).to(device)).float().cpu().numpy())


def _joined(sides: list[nn.Module]) -> nn.Module:
    return sides[0] if len(sides) == 1 else EnsembleHead(sides)
