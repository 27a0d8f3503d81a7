"""What `diptych generator eval` and `report` share: the flags of a measurement, and the measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from diptych.core.extras import is_installed

if TYPE_CHECKING:
    from diptych.cli.shared import Common
    from diptych.core.notes import Notes
    from diptych.core.protocols import Progress
    from diptych.data.readers import SourceOptions
    from diptych.inspection.generators import DrawnImages, GeneratorReport, MeasuringModels


@Parameter(name="*", group="How the generator is measured")
@dataclass(frozen=True)
class Measuring:
    """How a generator is measured."""

    train_split: str = "train"
    """Split that the generator learnt from, for the check of copies; "" for none."""
    protocol: Literal["all", "captions"] = "all"
    """all: texts of the split, and every real image beside what is drawn of them; captions: one image of one text of
    each of N distinct real images, beside these N, as papers do with 30,000."""
    texts: int = 0
    """Texts to draw, at most; every pair once before any comes again. 0 is 1,000, and 30,000 with captions."""
    noises: int = 0
    """Images of each text; 0 is 2, and 1 with captions."""
    given: Literal["text", "image"] = "text"
    """What the generator is given: each text, or the first image of its pair (X-MRS's generators can read both)."""
    languages: tuple[str, ...] = ()
    """The first is the language of the texts (en when left out); R-precision is also reported for the others."""
    fields: tuple[str, ...] = ()
    """Only texts of this field, such as name; repeat for several."""
    pool: int = 100
    """Texts that R-precision chooses from."""
    bootstrap: int = 1000
    """Resamples behind the intervals of means; 0 for none."""
    features: str = "auto"
    """Features behind the distances: efficientnet-lite0, base (the same without PyTorch and without classes),
    inception:WEIGHTS.pth, or any image tower; auto is the first, or the second without the [train] extra."""
    maps: str = "auto"
    """Feature maps behind the diversity; "" leaves it out; auto is efficientnet-lite0-maps, or "" without [train]."""
    detector: str = "none"
    """Which detector looks for the objects that English texts name: imagenet, onnx:FILE, torchvision:NAME[:WEIGHTS], or
    a registered one; diptych detector eval says how good it is."""
    detector_threshold: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lte=1))] = None
    """The least score that counts as found; the detector's own when left out."""

    def measure(
        self, generator: str, source: str, options: SourceOptions, model: str, common: Common, name: str = ""
    ) -> tuple[GeneratorReport, DrawnImages, Notes]:
        """Measure a generator on a source: the measures, what they were computed from, and notes on the source."""
        from diptych.inspection.generators import (
            About,
            MeasureSettings,
            choose_splits,
            measure_generated,
            open_generator,
        )
        from diptych.inspection.generators.caption_protocol import CAPTIONS

        tools = self._tools(model, common.device, common.progress())
        lang, *others = self.languages or ("en",)
        usual = (CAPTIONS, 1) if self.protocol == "captions" else (1000, 2)
        settings = MeasureSettings(
            self.texts or usual[0],
            self.noises or usual[1],
            lang,
            tuple(others),
            self.fields,
            self.pool,
            bootstrap=self.bootstrap,
            given=self.given,
            protocol=self.protocol,
        )
        chosen = choose_splits(source, options, self.train_split)
        outcome, looked = measure_generated(
            open_generator(generator, common.device),
            chosen.pairs,
            tools,
            settings,
            training=chosen.training,
            seed=common.seed or 0,
            about=About(name or generator, chosen.source.name, chosen.split, chosen.remarks),
            progress=common.progress(),
        )
        return outcome, looked, chosen.source.notes

    def _tools(self, model: str, device: str, progress: Progress) -> MeasuringModels:
        """What looks at the images, by name. Raises MissingExtraError for what is not installed."""
        from diptych.inspection.generators import MapExtractor, MeasuringModels, open_extractor
        from diptych.inspection.generators.extractors import BUNDLED, DEFAULT
        from diptych.models import load

        lacks = not is_installed("torch")
        features = {"auto": BUNDLED if lacks else DEFAULT}.get(self.features, self.features)
        maps = {"auto": "" if lacks else "efficientnet-lite0-maps"}.get(self.maps, self.maps)
        detector = None
        if self.detector != "none":
            from diptych.encoders.detectors import open_detector

            detector = open_detector(self.detector, self.detector_threshold, device)
        tools = MeasuringModels(
            load(model, device=device) if model else None,
            open_extractor(features),
            MapExtractor(maps) if maps else None,
            detector,
        )
        if lacks and "auto" in (self.features, self.maps):
            progress.say("no class score and no diversity without PyTorch; for them: pip install 'diptych[train]'")
        return tools
