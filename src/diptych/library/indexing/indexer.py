"""What brings a library up to date with sources. Each kind of run is imported when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.core import checks
from diptych.core.errors import LibraryError
from diptych.core.file_names import escape
from diptych.core.protocols import SILENT, CrossEncoder, Progress
from diptych.core.types import BytesImage
from diptych.core.workers import Engine
from diptych.library.encoder import with_images
from diptych.library.opened import Opened
from diptych.library.store.below import known_below

from .options import Acknowledge, IndexOptions
from .report import IndexReport

if TYPE_CHECKING:
    from diptych.data.readers import SourceOptions
    from diptych.data.video import MomentPlan, VideoLimits
    from diptych.library.sources import Survey
    from diptych.library.tokens import TokenReport

    from .words import WordReport

_KEEP_SECONDS = 3600.0  # old versions that a reader may still be using
_COMPACT_FROM = 20  # versions; fewer are not worth the work after a run


class Indexer:
    """Indexing runs of one open library."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def index(
        self,
        paths: Path | str | Iterable[Path | str] | Survey,
        *,
        format: str | None = None,
        options: IndexOptions | None = None,
        progress: Progress = SILENT,
        acknowledge: Acknowledge | None = None,
        engine: Engine | None = None,
    ) -> IndexReport:
        """Bring the library up to date with files, folders, or sources of pairs (`format`: a reader's name).

        New and edited images are embedded; moved files and copies keep their vectors; files gone from
        the folders named now go into the trash, unless all of their folder is away. What was said about an
        image here stays when its file is edited, moved, or comes back. A finished `survey` may stand in for
        the paths. `acknowledge` is called with the paths of each batch once it is durable. An `engine`, such as a
        `RayEngine`, reads and embeds the images by workers on other machines; the rows are the same.

        Raises DataError for a path that is missing or has no images and never had, before anything is changed;
        LibraryError when another process is writing; Interrupted, which says what is kept, for a Ctrl-C.
        """
        from diptych.library.kinds import holds_texts
        from diptych.library.sources import Survey, survey

        from .images import ImageRun

        options = checks.of_type(options or IndexOptions(), IndexOptions, "IndexOptions as options")
        opened, model = self._opened, with_images(self._opened.required_model())
        with opened.writing() as store:
            if holds_texts(store):
                raise LibraryError("the library holds texts; make another for images, or index with texts")
            sounds = model.preprocess.is_of_sounds
            found = paths if isinstance(paths, Survey) else survey(paths, format, is_known=self.knows, sounds=sounds)
            report = ImageRun(store, opened.thumbnails, model, found, options, progress, acknowledge, engine).run()
            if store.version >= _COMPACT_FROM and opened.place.versions_kept() >= _COMPACT_FROM:
                store.compact(_KEEP_SECONDS)
            opened.view.refresh()
        return report

    def index_videos(
        self,
        paths: Path | str | Iterable[Path | str],
        *,
        plan: MomentPlan | None = None,
        limits: VideoLimits | None = None,
        progress: Progress = SILENT,
    ) -> IndexReport:
        """Bring the library up to date with the videos at these paths: one row a moment, searched as images are.

        A moment's vector is the mean of its frames'; a model that reads several frames says how many. A video that
        cannot be read is skipped and named. Raises DataError when there is no video, and LibraryError when another
        process is writing.
        """
        from diptych.data.video import MomentPlan, VideoLimits
        from diptych.encoders.video import MeanPooledVideo

        from .videos import VideoRun

        opened, model = self._opened, with_images(self._opened.required_model())
        embed = MeanPooledVideo(model.encode_pixels, model.preprocess).embed
        plan, limits = plan or MomentPlan(), limits or VideoLimits()
        if model.preprocess.frames > 1:
            plan = replace(plan, frames=model.preprocess.frames)
        with opened.writing() as store:
            report = VideoRun(store, opened.thumbnails, embed, plan, limits).run(checks.paths(paths), progress)
            opened.view.refresh()
        return report

    def index_texts(
        self,
        paths: Path | str | Iterable[Path | str],
        *,
        format: str | None = None,
        source: SourceOptions | None = None,
        progress: Progress = SILENT,
    ) -> IndexReport:
        """Bring the library up to date with the texts of these sources: one row a text, searched as images are.

        `format` and `source` say how to read them, as for `open_source`.

        Raises DataError when there is no text, and LibraryError for a library of images, or when another
        process is writing.
        """
        from diptych.data.readers import TextSourceOptions
        from diptych.library.sources import ANY_SOURCE

        from .texts import TextRun

        opened, model = self._opened, self._opened.required_model()
        options = TextSourceOptions.of(source or ANY_SOURCE)
        options = replace(options, format=format or options.format)
        with opened.writing() as store:
            report = TextRun(store, opened.thumbnails, model).run(checks.paths(paths), options, progress)
            opened.view.refresh()
        return report

    def add_tokens(
        self,
        cross_encoder: CrossEncoder,
        *,
        progress: Progress = SILENT,
        engine: Engine | None = None,
        workers: int = 2,
    ) -> TokenReport:
        """Keep the cross-encoder's tokens of every image and moment that has none yet, so that `search` can re-rank.

        They are read again from where they were indexed; a missing or bad one is skipped and named. Of a moment it
        reads as many frames as the cross-encoder was trained on. Interrupted, it goes on where it was. Needs no model.
        An `engine`, such as a `RayEngine`, reads and encodes them by workers on other machines; `workers` are the
        threads that decode, or the cores of each of those.

        Raises LibraryError for a library of texts, which have no tokens.
        """
        from diptych.library.images import references
        from diptych.library.tokens import TokenStore

        folder = self._opened.folder
        others: Counter[str] = Counter()
        with self._opened.writing() as store:
            report = TokenStore(folder, cross_encoder).add(
                references(store, folder, others), workers=workers, progress=progress, engine=engine
            )
        if others and not (report.added or report.known or report.skipped):
            raise LibraryError(
                f"the library {escape(str(folder))} holds {' and '.join(others)} and no image; tokens for "
                "re-ranking are kept for images and moments of videos only"
            )
        return replace(report, others=dict(others))

    def read_words(
        self,
        reader: Callable[[BytesImage], str],
        *,
        among: Collection[str] | None = None,
        progress: Progress = SILENT,
    ) -> WordReport:
        """Read the words inside every image that was never asked, so that `search` finds images by them too.

        With `among`, only of the images with these ids.

        `reader` gives the words of an image, such as a `data.words.WordReader`; an image that it refuses by a DataError
        is skipped and named, and asked again next time. Interrupted, it goes on where it was. Needs no model.

        Raises LibraryError for a library of texts, or one on a Milvus server.
        """
        from .words import read_words

        return read_words(self._opened, reader, progress, among)

    def knows(self, root: str) -> bool:
        """Whether there are rows of a source, or at or below a path; by its written form."""
        return bool(self._opened.store().count(where=known_below(root)))
