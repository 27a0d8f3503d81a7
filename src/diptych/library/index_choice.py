"""Which index of FAISS searches use, and how: what `library tune` chooses, and a library's card keeps."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace

from diptych.core.errors import ConfigError

KINDS = ("exact", "ivf")
CODES = ("fp32", "fp16", "int8", "pq")
_PQ_NUMBERS = 4  # of a vector, or more, that one byte of pq stands for


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """An index over the vectors of a library. The nearest by it are scored again from the stored vectors, in 32 bits.

    Raises ConfigError for what there is not.
    """

    kind: str = "ivf"  # "exact": none, all vectors are compared
    code: str = "fp16"  # how the index holds a vector
    share: float = 1 / 16  # of the cells, that a search reads
    candidates: int = 200  # nearest by the index that are scored again, for 20 hits or fewer
    cut: int = 0  # first numbers of a vector that the index holds; 0: all

    def __post_init__(self) -> None:
        for name, choices in (("kind", KINDS), ("code", CODES)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"found the {name} {getattr(self, name)!r} of an index; choose {', '.join(choices)}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"found share={self.share:g} of an index; expected more than 0 and at most 1")
        if self.candidates < 1 or self.cut < 0:
            raise ConfigError(
                f"found candidates={self.candidates} and cut={self.cut} of an index; expected at least 1 and 0"
            )

    @classmethod
    def parse(cls, text: str) -> IndexChoice:
        """What `str` wrote: `exact`, or such as `ivf,int8,share=0.012,candidates=200`."""
        kind, _, rest = text.strip().partition(",")
        code, _, settings = rest.partition(",")
        types = {"share": float, "candidates": int, "cut": int}
        found: dict[str, float] = {}
        for part in filter(None, settings.split(",")):
            match = re.fullmatch(r"(share|candidates|cut)=([\d.]+)", part.strip())
            try:
                found[match[1]] = types[match[1]](match[2])  # type: ignore[index]
            except (TypeError, ValueError):
                raise ConfigError(
                    f"found {part.strip()!r} in an index; expected such as ivf,int8,share=0.012,candidates=200,cut=192"
                ) from None
        return cls(kind, code.strip() or cls().code, **found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        if self.kind == "exact":
            return self.kind
        cut = f",cut={self.cut}" if self.cut else ""
        share = f"{self.share:.6f}".rstrip("0").rstrip(".")
        return f"{self.kind},{self.code},share={share},candidates={self.candidates}{cut}"

    def width(self, dim: int) -> int:
        """How many numbers of each vector of `dim` the index holds. Raises ConfigError for a cut that leaves none."""
        if self.cut >= dim:
            raise ConfigError(f"found cut={self.cut} of an index; vectors here have {dim} numbers, expected fewer")
        return self.cut or dim

    def probes(self, cells: int) -> int:
        """How many of the cells a search reads."""
        return max(1, math.ceil(cells * self.share - 1e-6))

    def for_other_vectors(self) -> IndexChoice:
        """The same for the vectors of another model, which need not begin with what matters."""
        return replace(self, cut=0)


def pq_bytes(width: int) -> int:
    """Bytes of a vector as pq: one for four numbers or a few more, as `width` can be divided."""
    return next(parts for parts in range(max(1, width // _PQ_NUMBERS), 0, -1) if width % parts == 0)


def code_bytes(code: str, width: int) -> int:
    """Bytes of a vector of so many numbers in a code."""
    return {"fp32": 4 * width, "fp16": 2 * width, "int8": width, "pq": pq_bytes(width)}[code]


def from_json(value: object) -> IndexChoice | None:
    """What a card holds. Raises TypeError for anything else."""
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() - {field.name for field in fields(IndexChoice)}:
        raise TypeError("its index is none")
    return IndexChoice(**value)
