"""Looking after a library: verify, repair, compact, export, choose an index, embed again by another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core.protocols import SILENT, Progress
from diptych.core.workers import Engine
from diptych.library.encoder import Encoder
from diptych.library.index_choice import IndexChoice
from diptych.library.opened import Opened, disk_errors, lasting_name, loaded
from diptych.library.store.trash import Batch
from diptych.library.writer import Writer

if TYPE_CHECKING:
    from .problems import Verdict
    from .reembed import Reembedded
    from .repair import Repair
    from .reread import Reread
    from .transfer import Exported
    from .tune import Tuning

_GENERATION_SECONDS = 3600.0  # for which readers of the model used before may still be at work


class Maintenance:
    """Maintenance of one open library."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def verify(self) -> Verdict:
        """Check rows, vectors, files, thumbnails, trash and snapshot against each other. Nothing is changed."""
        from .verify import check

        return check(self._opened, self._old_generations(_GENERATION_SECONDS))

    def repair(self) -> Repair:
        """Put right what `verify` names, as far as that is possible; what is left says what to do about it.

        Vectors are made again when the library was opened with its model. Of two rows for one path one goes into
        the trash; uploaded files without a row move to the folder `lost` in the library.
        """
        from . import repair as repairing

        opened, before = self._opened, self.verify()
        with opened.writing() as store:
            repairing.separate_ids(store)
            if surplus := repairing.doubles(store, opened.folder):
                Writer(opened).put_in_trash(store, surplus, Batch.of_person())
            repairing.remove_leftovers(opened)
            if opened.model is not None:
                repairing.remake_vectors(store, before.problems, opened.model, opened.folder)
            self._compact(keep_generations=_GENERATION_SECONDS)
        return repairing.difference(before.problems, self.verify().problems)

    def compact(self) -> None:
        """Drop old versions and generations, merge small files, put thumbnails in order, rewrite the snapshot."""
        from . import repair as repairing

        with self._opened.writing():
            repairing.remove_leftovers(self._opened)
            self._compact(keep_generations=0.0)

    def export(self, target: Path | str, *, progress: Progress = SILENT) -> Exported:
        """Write everything a library is made of to one folder, or one file when the name ends in .tar.

        Rows, vectors, trash, thumbnails and uploaded images, with a hash of each file; images that were
        indexed where they are on disk are named, not copied. `restore` makes a library of it, anywhere.
        Raises LibraryError when the target is there already.
        """
        from .transfer import export

        with disk_errors(self._opened.folder):
            return export(self._opened, Path(target), progress)

    def reread(self, *, progress: Progress = SILENT) -> Reread:
        """Ask images what they say about themselves (`Item.photo`) where an earlier version did not.

        Nothing is embedded. Raises LibraryError for a library of texts.
        """
        from .reread import reread

        return reread(self._opened, progress)

    def tune(
        self,
        recall: float = 0.99,
        *,
        queries: Sequence[str] | np.ndarray[Any, Any] | None = None,
        k: int = 10,
        count: int = 1_000,
        prefer: str = "speed",
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> Tuning:
        """Measure which index of FAISS finds so much of the exact `k` nearest, and how quickly; nothing is changed.

        Args:
            recall: Share of the exact k nearest that is to be found, for each kind of query, more than 0 and below 1.
            queries: Texts, or vectors (q, dim). None: vectors of `count` images of the library drawn by chance, and
                their texts, where they have any. Half of each kind choose, the other half measure.
            k: Images of a search.
            count: Images that are drawn.
            prefer: "speed": the quickest, and the smallest of those that are about as quick; or "size": the smallest
                that is quicker than the exact search.
            seed: Of what is drawn.
            progress: Where progress is shown.

        Raises ConfigError for a library on a server or of fewer than 10,000 vectors, MissingExtraError without faiss.
        """
        from .tune import tune

        return tune(
            self._opened, recall, queries=queries, k=k, count=count, prefer=prefer, seed=seed, progress=progress
        )

    def use_index(self, index: IndexChoice | None) -> bool:
        """Let all searches of the library use an index, which is made now; whether there is one then.

        None is the usual one, from 200,000 vectors on. The choice stays through additions, compaction and a change of
        the model. Raises ConfigError for a library on a server, or an index that its vectors are too short for.
        """
        from .tune import apply

        return apply(self._opened, index)

    def reembed(
        self,
        model: Encoder | str | Path,
        loaded_by: str | None = None,
        *,
        thumbnails: bool = False,
        progress: Progress = SILENT,
        engine: Engine | None = None,
        workers: int = 2,
    ) -> Reembedded:
        """Give all images vectors of another model, then switch to it in one step.

        The model is given as an object, a shipped name, a folder or an address. The library can be searched and
        written meanwhile; killed, the same call goes on. Processes that have it open keep to the model used before
        until they open it again (`is_current` is False then). With `thumbnails`, images whose files are gone or
        changed are embedded from their thumbnails instead of refused. An `engine`, such as a `RayEngine`, reads and
        embeds the images by workers on other machines; `workers` are the threads that decode, or the cores of each of
        those.
        Raises LibraryError, naming them, when images are missing.
        """
        from .reembed import Reembedding

        encoder = loaded(model)
        loaded_by = loaded_by or lasting_name(encoder)
        return Reembedding(
            self._opened, encoder, loaded_by, thumbnails=thumbnails, progress=progress, engine=engine, threads=workers
        ).run()

    def _old_generations(self, keep_seconds: float) -> list[str]:
        from diptych.library.store.generations import names_before

        return names_before(self._opened.folder, self._opened.card.generation, keep_seconds)

    def _compact(self, keep_generations: float) -> None:
        """Small files merged, old versions gone, thumbnails complete, a new snapshot. The caller is `writing`."""
        from diptych.library.store.generations import drop_before

        from . import repair as repairing

        opened, store = self._opened, self._opened.store()
        store.compact(keep_seconds=0.0)
        repairing.remake_thumbnails(store, opened.thumbnails, opened.folder)
        if self._old_generations(keep_generations):
            drop_before(opened.card, opened.folder)
        opened.view.rewrite()
