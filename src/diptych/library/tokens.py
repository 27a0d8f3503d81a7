"""Region tokens of a library's images and moments of videos, kept so that re-ranking encodes nothing again.

One memory-mapped file a cross-encoder, keyed by their content: copies share their tokens, moved files
keep them, an edited one gets new ones. Rows are durable before they count, so an interrupted run goes on.

Tokens of a `TrainedCrossEncoder` are kept in 8 bits (the folder ends in "-regions-int8"), those of others in half
precision ("-regions"), as those of libraries made before December 2026 are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

import numpy as np

from diptych.core.errors import DataError, Interrupted, LibraryError, Reason
from diptych.core.file_names import escape
from diptych.core.files import write_json
from diptych.core.notes import Note, Notes
from diptych.core.protocols import SILENT, CrossEncoder, Progress
from diptych.core.shapes import Float16, Shaped
from diptych.core.text import one_line
from diptych.core.types import BytesImage, ImageRef, Skipped
from diptych.core.workers import Engine, InProcess, SentModel
from diptych.data.cache import FeatureCache, folder_of
from diptych.data.images import stream
from diptych.data.video import VideoImage
from diptych.library.kinds import content_of_ref

from .token_codec import pack, packed_size, unpack

FOLDER = "tokens"
VIEW, BYTES_VIEW = "regions", "regions-int8"
MADE_BY = "matcher.json"
_WRITE = 128  # images that become durable together
_CHANGED = "it changed since it was indexed; index its folder again, then add tokens"


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What a run that adds tokens did."""

    added: int
    known: int  # images and moments whose content had tokens already, copies included
    skipped: tuple[Skipped, ...]
    others: Mapping[str, int] = field(default_factory=dict)  # rows of other kinds: they have no tokens
    notes: tuple[Note, ...] = ()  # on what went wrong on the way, and was put right

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        skipped = [one.to_json() for one in self.skipped]
        return {"added": self.added, "known": self.known, "skipped": skipped, "others": dict(self.others)}

    def to_text(self) -> str:
        """The counts, on one line."""
        others = "".join(f", {count} {kind} have none" for kind, count in self.others.items())
        return f"tokens of {self.added} items added, {self.known} known, {len(self.skipped)} skipped{others}"


class TokenStore:
    """The tokens that one cross-encoder made of a library's images and moments."""

    def __init__(self, library: Path, cross_encoder: CrossEncoder) -> None:
        regions, width = cross_encoder.token_shape
        self._shape = (regions, width)
        self._library = library
        self._cross_encoder = cross_encoder
        root, made_by = library / FOLDER, cross_encoder.fingerprint
        self._in_bytes = _in_bytes(cross_encoder) and not folder_of(root, made_by, VIEW).is_dir()
        if self._in_bytes:
            self._cache = FeatureCache(root, made_by, BYTES_VIEW, packed_size(regions, width), "uint8")
        else:
            self._cache = FeatureCache(root, made_by, VIEW, regions * width)

    def __len__(self) -> int:
        return len(self._cache)

    def __contains__(self, content: str) -> bool:
        return bytes.fromhex(content) in self._cache

    def get(self, contents: Sequence[str]) -> Float16[np.ndarray, "n r w"]:
        """Tokens of these contents. Raises KeyError for one that has none."""
        rows = self._cache.rows([bytes.fromhex(content) for content in contents])
        found = np.asarray(self._cache.map()[rows])
        return unpack(found, *self._shape) if self._in_bytes else found.reshape(-1, *self._shape)

    def add(
        self,
        images: Iterable[tuple[ImageRef, str]],
        *,
        batch_size: int = 32,
        workers: int = 2,
        progress: Progress = SILENT,
        engine: Engine | None = None,
    ) -> TokenReport:
        """Encode the images and moments (with their contents) without tokens; a bad one is skipped and named.

        By the workers of an `engine`, where one is given.
        """
        wanted: dict[str, ImageRef] = {}
        known = 0
        for ref, content in images:
            if content in self or content in wanted:
                known += 1
            else:
                wanted[content] = ref
        skipped: list[Skipped] = []
        notes = Notes()
        pending: list[tuple[bytes, Float16[np.ndarray, "r w"]]] = []
        added = 0
        asked = progress.track((_Unread(*one) for one in wanted.items()), "tokens", total=len(wanted))
        task = EncodeTokens.by(self._cross_encoder, batch_size, workers)
        try:
            for image, found in (engine or InProcess()).run(task, asked, notes):
                if found is None:
                    skipped.append(Skipped(image.path, Reason.MISSING, _CHANGED))
                elif isinstance(found, Skipped):
                    skipped.append(found)
                else:
                    pending.append((bytes.fromhex(image.content), found))
                if len(pending) >= _WRITE:
                    added += self._write(pending)
        except KeyboardInterrupt as stop:
            added += self._write(pending)
            raise Interrupted(f"the tokens of {added} items of this run are kept") from stop
        added += self._write(pending)
        return TokenReport(added, known, tuple(skipped), notes=tuple(notes))

    def keep(self, content: str, tokens: Float16[np.ndarray, "r w"]) -> None:
        """Keep the tokens of one content, durably."""
        self._cache.add([bytes.fromhex(content)], self._rows(tokens[None]))

    def _write(self, pending: list[tuple[bytes, Float16[np.ndarray, "r w"]]]) -> int:
        if not pending:
            return 0
        self._cache.add([key for key, _ in pending], self._rows(np.stack([tokens for _, tokens in pending])))
        count = len(pending)
        pending.clear()
        return count

    def _rows(self, tokens: Float16[np.ndarray, "n r w"]) -> Shaped[np.ndarray, "n d"]:
        """Tokens as they are stored."""
        return pack(tokens) if self._in_bytes else tokens.reshape(len(tokens), -1)


def _in_bytes(cross_encoder: CrossEncoder) -> bool:
    """Whether 8 bits hold a cross-encoder's tokens: it says so itself."""
    return bool(getattr(cross_encoder, "tokens_fit_bytes", False))


_Tokens: TypeAlias = Float16[np.ndarray, "r w"] | Skipped | None


@dataclass(frozen=True, slots=True)
class _Unread:
    """An image or a moment that has no tokens yet."""

    content: str
    ref: ImageRef

    @property
    def path(self) -> str:
        """What a person would call it."""
        return escape(self.ref.name)


@dataclass(frozen=True)
class EncodeTokens:
    """The task of a cross-encoder's tokens (`core.workers.Task`).

    Those of each image, a `Skipped` for one that cannot be read, None for one that is not what was indexed.
    """

    model: SentModel[CrossEncoder]
    batch_size: int  # images encoded at once
    threads: int  # that decode

    @classmethod
    def by(cls, cross_encoder: CrossEncoder, batch_size: int, threads: int) -> EncodeTokens:
        """The task for a cross-encoder that is loaded here."""
        sent = getattr(cross_encoder, "sent", None)
        if sent is not None:
            return cls(sent(), batch_size, threads)
        name, made_by = cross_encoder.name, cross_encoder.fingerprint
        return cls(SentModel(_only_here, name, made_by, cross_encoder), batch_size, threads)

    def start(self, threads: int, device: str) -> Callable[[Sequence[_Unread]], list[_Tokens]]:
        """Encode a chunk by the cross-encoder that is loaded now."""
        model = self.model.get(threads, device)
        return lambda images: self._encode(images, model)

    def _encode(self, images: Sequence[_Unread], model: CrossEncoder) -> list[_Tokens]:
        results: dict[int, _Tokens] = {}
        streamed: list[int] = []  # by position in the stream: the one in `images`

        def unchanged() -> Iterator[ImageRef]:
            for at, image in enumerate(images):
                read = _read(image)
                if isinstance(read, ImageRef):
                    streamed.append(at)
                    yield read
                else:
                    results[at] = read

        for batch in stream(unchanged(), model.preprocess, batch_size=self.batch_size, workers=self.threads):
            tokens = model.encode_pixels(batch.pixels)
            results |= {streamed[at]: one for at, one in zip(batch.indices, tokens, strict=True)}
            results |= {streamed[at]: problem for at, problem in batch.skipped}
        return [results[at] for at in range(len(images))]


def _only_here(name: str, *, threads: int | None, device: str) -> CrossEncoder:
    raise LibraryError(f"the cross-encoder {name} cannot be loaded elsewhere by its name; encode without an engine")


def _read(image: _Unread) -> ImageRef | Skipped | None:
    """The image or moment, read; None where it is not what was indexed."""
    ref = image.ref
    try:
        read = ref if isinstance(ref, VideoImage) else BytesImage(ref.content(), ref.name)
        found = content_of_ref(read)
    except DataError as error:
        return Skipped(image.path, error.reason, one_line(str(error)))
    return read if found == image.content else None


def address_of(cross_encoder: CrossEncoder) -> str:
    """What --reranker names a cross-encoder by; its name where it has no address."""
    return str(getattr(cross_encoder, "address", cross_encoder.name))


def remember(library: Path, cross_encoder: str) -> None:
    """Note which cross-encoder's tokens the library holds (a folder by its full path), so that a search finds it."""
    folder = Path(cross_encoder).expanduser()
    cross_encoder = str(folder.resolve()) if folder.is_dir() else cross_encoder
    write_json(library / FOLDER / MADE_BY, {"matcher": cross_encoder})


def remembered(library: Path) -> str | None:
    """The folder of the cross-encoder whose tokens were added last, or None."""
    try:
        return str(json.loads((library / FOLDER / MADE_BY).read_bytes())["matcher"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unnamed(library: Path, trained: str | None) -> LibraryError:
    """The error for a search in a library that knows no cross-encoder; `trained` is one that is at hand, if any."""
    shown = escape(str(library))
    which = "" if trained else " (runs/cross-encoder/model is what diptych train configs/cross_encoder.toml makes)"
    named = quote(trained or "runs/cross-encoder/model")
    return LibraryError(
        f"no re-ranker was named, and none is known to the library {shown}; name one: --reranker {named}, whose tokens "
        f"are made as searches need them, or add them once: {_prepare(library, named)}{which}"
    )


def none_seen(library: Path, cross_encoder: str) -> LibraryError:
    """The error for a search none of whose candidates has tokens, nor can get them now."""
    return LibraryError(
        f"nothing can be re-ranked: no candidate in {escape(str(library))} has tokens of the cross-encoder "
        f"{cross_encoder}, and none could be made: the images are gone or have changed, or the library cannot be "
        "written to. Index their folders again where they have changed, then: "
        f"{_prepare(library, quote(cross_encoder))}"
    )


def _prepare(library: Path, named: str) -> str:
    return f"diptych rerank prepare --library {quote(escape(str(library)))} --reranker {named}"


def drop(library: Path) -> None:
    """Remove all tokens; searching without re-ranking goes on as before."""
    shutil.rmtree(library / FOLDER, ignore_errors=True)
