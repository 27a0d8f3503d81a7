"""What a detector's file does not compute but a reader must know: its classes, its threshold, its preprocessing."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diptych.core.config import from_dict
from diptych.core.errors import ConfigError, ModelError
from diptych.core.protocols import Preprocess

KEY = "diptych_detector"  # in an ONNX file's metadata: the facts as JSON
_ULTRALYTICS = "names"  # there too, as that package's export writes it: "{0: 'person', 1: 'bicycle'}"
_COCO = "coco"

# The 80 classes of MS-COCO's detection task in the order of their numbers.
COCO: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

# Values from 0 to 1, the whole image in a grey square: what most exports expect.
PREPROCESS = Preprocess(
    size=640, mode="longest", mean=(0, 0, 0), std=(255, 255, 255), interpolation="bilinear", fill=(114, 114, 114)
)


@dataclass(frozen=True)
class DetectorFacts:
    """Beside what the file itself says.

    Args:
        classes: in the order of their numbers, from 0; `"coco"` in a file stands for COCO's 80.
        threshold: the least score that counts as found.
        licence: of the weights, and whose they are, for reports.
        preprocess: how an image is resized and scaled; the size is the graph's own where that is fixed.
    """

    classes: tuple[str, ...]
    threshold: float = 0.5
    licence: str = ""
    preprocess: Preprocess = PREPROCESS

    def __post_init__(self) -> None:
        if not self.classes or any(not isinstance(name, str) or not name.strip() for name in self.classes):
            raise ConfigError("a detector's classes must be names, one for each of its numbers")
        check_threshold(self.threshold)

    def to_json(self) -> str:
        """As it is written into a file."""
        return json.dumps(asdict(self) | {"preprocess": self.preprocess.stated()})


def check_threshold(threshold: float) -> float:
    """The threshold, where it is one. Raises ConfigError."""
    if not 0 < threshold <= 1:
        raise ConfigError(f"a detector's threshold must be above 0 and at most 1, found {threshold}")
    return threshold


_SCALES = {"0..255": (0.0, 1.0), "0..1": (0.0, 255.0), "-1..1": (127.5, 127.5)}


def facts_of(classes: tuple[str, ...], threshold: float, values: str, fit: str, licence: str = "") -> DetectorFacts:
    """Facts from the words that a person gives: `values` is 0..255, 0..1 or -1..1, `fit` squash or longest."""
    mean, std = ((number,) * 3 for number in _SCALES[values])
    return DetectorFacts(classes, threshold, licence, replace(PREPROCESS, mode=fit, mean=mean, std=std))


def classes_named(classes: str) -> tuple[str, ...]:
    """COCO's for "coco", else the lines of a text file. Raises ConfigError for a file that is not there or is empty."""
    if classes == _COCO:
        return COCO
    try:
        lines = Path(classes).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the classes from {classes}: {error}; expected coco or a text file") from error
    found = tuple(line.strip() for line in lines)
    if not found:
        raise ConfigError(f"{classes} names no class; expected a class a line, in the order of their numbers")
    if "" in found:
        where = found.index("") + 1
        raise ConfigError(f"line {where} of {classes} is empty; expected a class for every number, such as unused")
    return found


def read_facts(model: Path, metadata: Mapping[str, str]) -> DetectorFacts:
    """The facts of an ONNX file: of NAME.detector.json beside it, else of its metadata.

    Raises ModelError where neither says the classes, and where what they say cannot be used.
    """
    found = facts_beside(model)
    if found is None:
        with _said_of(model):
            if KEY in metadata:
                found = _facts(json.loads(metadata[KEY]), f"the metadata of {model}")
            elif _ULTRALYTICS in metadata:
                names = ast.literal_eval(metadata[_ULTRALYTICS])
                classes = tuple(names[place] for place in range(len(names)))
                found = DetectorFacts(classes, licence=metadata.get("license", ""))
    if found is None:
        raise ModelError(
            f"{model} does not say its classes; write {beside(model)} with them in the order of their numbers: "
            '{"classes": ["person", ...]}, or {"classes": "coco"} for COCO\'s 80'
        )
    return found


def beside(model: Path) -> Path:
    """The file of facts beside a model: NAME.detector.json."""
    return model.with_suffix(".detector.json")


def facts_beside(model: Path) -> DetectorFacts | None:
    """What that file says; None where it is not there. Raises ModelError where it cannot be used."""
    file = beside(model)
    if not file.is_file():
        return None
    with _said_of(model):
        return _facts(json.loads(file.read_text(encoding="utf-8")), str(file))


@contextlib.contextmanager
def _said_of(model: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, ConfigError) as error:
        raise ModelError(f"cannot use what is said about the detector {model}: {error}") from error


def _facts(found: Any, where: str) -> DetectorFacts:
    if not isinstance(found, dict):
        raise ConfigError(f"{where} must be a JSON object with classes, found {type(found).__name__}")
    if found.get("classes") == _COCO:
        found = found | {"classes": list(COCO)}
    if isinstance(found.get("preprocess"), dict):
        found = found | {"preprocess": PREPROCESS.stated() | found["preprocess"]}
    return from_dict(DetectorFacts, found, where)
