"""Looking after a library: verify, repair, compact, export, embed anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.core.protocols import SILENT, Progress
from diptych.library import card
from diptych.library.encoder import Encoder
from diptych.library.opened import lasting_name, loaded
from diptych.library.writing import Items

if TYPE_CHECKING:
    from .reembed import Reembedded
    from .repair import Repair
    from .transfer import Exported
    from .verify import Parts, Verdict

_YOUNG_SECONDS = 60.0  # a snapshot that lies aside may be one that a reader is making
_GENERATION_SECONDS = 3600.0  # for which readers of the model used before may still be at work


class Care(Items):
    """A library that is looked after."""

    def verify(self) -> Verdict:
        """Check rows, vectors, files, thumbnails, trash and snapshot against each other. Nothing is changed."""
        from .verify import check

        return check(self._parts())

    def repair(self) -> Repair:
        """Put right what `verify` names, as far as that is possible; what is left says what to do about it.

        Vectors are made again when the library was opened with its model. Of two rows for one path one goes into
        the trash; uploaded files without a row move to the folder `lost` in the library.
        """
        from . import repair as repairing

        before = self.verify()
        with self._writing() as store:
            repairing.separate_ids(store)
            surplus = repairing.doubles(store, self.folder)
            if surplus:
                self._trash_rows(store, surplus)
            parts = self._parts()
            repairing.remove_leftovers(parts)
            if self._model is not None:
                repairing.remake_vectors(store, before.problems, self._model, self.folder)
            self._tidied(keep_generations=_GENERATION_SECONDS)
        return repairing.difference(before.problems, self.verify().problems)

    def compact(self) -> None:
        """Drop old versions and generations, merge small files, put thumbnails in order, rewrite the snapshot."""
        from . import repair as repairing

        with self._writing():
            repairing.remove_leftovers(self._parts())
            self._tidied(keep_generations=0.0)

    def export(self, target: Path | str, *, progress: Progress = SILENT) -> Exported:
        """Write everything a library is made of to one folder, or one file when the name ends in .tar.

        Rows, vectors, trash, thumbnails and uploaded pictures, with a hash of each file; pictures that were
        indexed where they lie are named, not copied. `transfer.restore` makes a library of it, anywhere.
        Raises LibraryError when the target is there already.
        """
        from diptych.library.opened import disk_errors

        from .transfer import export

        with disk_errors(self.folder):
            store, _ = self._place.standing()
            return export(self.card, store, self.thumbs, self.originals, Path(target), progress)

    def reembed(
        self,
        model: Encoder | str | Path,
        loaded_by: str | None = None,
        *,
        thumbnails: bool = False,
        progress: Progress = SILENT,
    ) -> Reembedded:
        """Give all pictures vectors of another model (or the one of a name or folder), then switch to it in one step.

        The library can be searched and written meanwhile; killed, the same call goes on. Processes that have it
        open keep to the model used before until they open it again (`is_current` tells). With `thumbnails`,
        pictures whose files are gone or changed are embedded from their thumbnails instead of refused.
        Raises LibraryError, naming them, when pictures are missing.
        """
        from .reembed import Reembedding

        run = Reembedding(
            self, loaded(model), loaded_by or lasting_name(model), thumbnails=thumbnails, progress=progress
        )
        return run.run()

    # -- inside ------------------------------------------------------------------------------------

    def _parts(self) -> Parts:
        from .verify import Parts

        token = self._place.token()
        return Parts(
            folder=self.folder,
            store=self._store(),
            thumbs=self.thumbs,
            originals=self.originals,
            snapshot=self._snapshot_on_disk(),
            version=token,
            dim=self.card.dim,
            versions_kept=self._place.versions_kept(),
            leftovers=tuple(self._leftovers()),
            old_generations=tuple(path.name for path in self._old_generations(_GENERATION_SECONDS)),
        )

    def _leftovers(self) -> Iterator[Path]:
        from diptych.library.view.snapshot import in_use

        from .verify import is_leftover

        for folder in (self.folder, self._snapshots):
            yield from (path for path in sorted(folder.glob(".*.tmp")) if is_leftover(path))
        yield from (path for path in self.originals.files() if is_leftover(path))
        if self._snapshots.is_dir() and not self.is_rebuilding_snapshot:
            used = in_use(self._snapshots)
            for path in self._snapshots.iterdir():
                if path.is_dir() and path.name != used and time.time() - path.stat().st_mtime > _YOUNG_SECONDS:
                    yield path

    def _old_generations(self, keep_seconds: float) -> list[Path]:
        """Folders of models used before the present one, left alone for `keep_seconds` after the switch."""
        from diptych.library.store.generations import folders_before

        switched = (self.folder / card.FILE).stat().st_mtime
        if time.time() - switched < keep_seconds:
            return []
        return folders_before(self.folder, self.card.generation)

    def _tidied(self, keep_generations: float) -> None:
        """Small files merged, old versions gone, thumbnails complete, a fresh snapshot. The caller holds the lock."""
        from diptych.library.store.generations import drop_before

        from . import repair as repairing

        store = self._store()
        store.compact(keep_seconds=0.0)
        repairing.remake_thumbs(store, self.thumbs, self.folder)
        if self._old_generations(keep_generations):
            drop_before(self.card, self.folder)
        still, token = self._place.standing()
        self._current = self._laid_out(still, token)
