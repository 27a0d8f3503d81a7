"""Where long work on many images is done: in this process, or by workers on other machines.

A `Task` says what is done. `InProcess` and `on_ray.RayEngine` do it; whoever has one of them does not know which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from diptych.core.devices import AUTO
from diptych.core.errors import LibraryError
from diptych.core.notes import Notes
from diptych.core.types import BytesImage, ImageRef

_BATCHES = 8  # of a chunk
_MOST_CARRIED = 16 * 2**20  # bytes of images that a chunk brings along, because they are in no file of their own


@runtime_checkable
class Located(Protocol):
    """An image whose bytes have not been read."""

    @property
    def ref(self) -> ImageRef:
        """Where it is."""

    @property
    def path(self) -> str:
        """What a person would call it in a message."""


L = TypeVar("L", bound=Located)
L_contra = TypeVar("L_contra", bound=Located, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
M_co = TypeVar("M_co", covariant=True)


@dataclass(frozen=True)
class SentModel(Generic[M_co]):
    """A model that is sent as its name, and loaded by each worker; in this process it is used as it is.

    `name` is a name, folder or address; `fingerprint` is the one that it has to have there. `load` takes the name,
    `threads` and `device`; it is a function of a module, because it is sent by its name too.
    """

    load: Callable[..., M_co]
    name: str
    fingerprint: str
    here: M_co | None = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return SentModel, (self.load, self.name, self.fingerprint)

    def get(self, threads: int, device: str) -> M_co:
        """The model. Raises LibraryError when another one is called so on this machine."""
        if self.here is not None:
            return self.here
        model = self.load(self.name, threads=threads, device=device)
        if getattr(model, "fingerprint", None) != self.fingerprint:
            raise LibraryError(
                f"the model {self.name} is another one there; install the same version of Diptych, and put the "
                "same model, on every machine"
            )
        return model


@runtime_checkable
class Task(Protocol[L_contra, R_co]):
    """What is done to images. It pickles small: models by their names."""

    @property
    def batch_size(self) -> int:
        """Images that go through the model at once; eight times as many make a chunk."""

    @property
    def threads(self) -> int:
        """Threads that decode; on a cluster the cores of each worker."""

    def start(self, threads: int, device: str) -> Callable[[Sequence[L_contra]], Sequence[R_co]]:
        """Load what is needed, and give what does it to a chunk: a result for each image, in order.

        An image that cannot be read becomes a `Skipped`.
        """


@runtime_checkable
class Engine(Protocol):
    """Does a task."""

    def run(self, task: Task[L, R], images: Iterable[L], notes: Notes) -> Iterator[tuple[L, R]]:
        """Each image with its result, in order.

        A bounded number of images is taken ahead. What went wrong on the way, and was put right, goes into `notes`.

        Raises LibraryError when the work cannot be done there, DataError for images that are only there for this
        process.
        """


class InProcess:
    """This process, with its own models."""

    def run(self, task: Task[L, R], images: Iterable[L], notes: Notes) -> Iterator[tuple[L, R]]:
        """As `Engine.run`."""
        work = task.start(task.threads, AUTO)
        for chunk in chunks(images, task.batch_size):
            yield from zip(chunk, work(chunk), strict=True)


def chunks(images: Iterable[L], batch_size: int) -> Iterator[list[L]]:
    """Of eight batches each, or of fewer where they bring many bytes along."""
    chunk: list[L] = []
    carried = 0
    for image in images:
        chunk.append(image)
        carried += len(image.ref.data) if isinstance(image.ref, BytesImage) else 0
        if len(chunk) == _BATCHES * batch_size or carried >= _MOST_CARRIED:
            yield chunk
            chunk, carried = [], 0
    if chunk:
        yield chunk
