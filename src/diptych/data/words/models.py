"""The weights that come with RapidOCR, by their places in its package."""

from __future__ import annotations

from pathlib import Path

from diptych.core.errors import ConfigError
from diptych.core.extras import need

_MODELS = {"Det": "det_small", "Rec": "rec_small", "Cls": "cls_mobile"}  # finds lines, reads them, turns them upright


def found_models() -> dict[str, str]:
    """Part -> file. Raises ConfigError where one is missing: RapidOCR would download it."""
    folder = Path(str(need("rapidocr", "diptych index --ocr").__file__)).parent / "models"
    found = {part: sorted(folder.glob(f"*{name}*.onnx")) for part, name in _MODELS.items()}
    if missing := [_MODELS[part] for part, files in found.items() if not files]:
        raise ConfigError(
            f"RapidOCR's models are not all in {folder} ({', '.join(missing)} missing), and nothing is downloaded; "
            "install a version that brings them: pip install --force-reinstall 'rapidocr>=3.10'"
        )
    return {part: str(files[-1]) for part, files in found.items()}
