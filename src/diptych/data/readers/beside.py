"""Masks, depth maps and their like: images that lie beside an image and are no further images of its texts."""

from __future__ import annotations

import re

BESIDE = "images beside the image of a record, such as masks, not read (--extra-images reads them)"
_WORDS = (
    r"seg(m|mentation|map)?|masks?|depth(map)?|disp(arity)?|normals?|matte|alpha|trimap|edges?|canny|hed|pose|openpose|"
    r"label_?ids?|instance_?ids?|semantic|instances?|panoptic|annot(ation)?s?|flow|saliency|parsing|sketch"
)
_MASK = re.compile(rf"(.*[._\-\s])?({_WORDS})[\d._\-]*", re.IGNORECASE)
_ENDS_IN_MASK = re.compile(rf"(?P<base>.+)[._\-\s]({_WORDS})[\d._\-]*", re.IGNORECASE)


def names_mask(part: str) -> bool:
    """Whether a word of a file's name says that it is a mask or the like: "seg", "depth", "0_mask"."""
    return _MASK.fullmatch(part) is not None


def masked_stem(stem: str) -> str | None:
    """The stem of the image that a file lies beside, as its own stem says: "a" for "a_mask"; None for others."""
    match = _ENDS_IN_MASK.fullmatch(stem)
    return match["base"] if match else None
