"""Nothing is sent anywhere: switches off the usage reports of the packages that send some."""

from __future__ import annotations

import os

# variable -> the value that keeps its package quiet; each is read once, when that package is imported
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime: a device id and events under ~/.cache, sent when it can
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, transformers, datasets, hf_xet: what runs here, with a download
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets: a request that counts the download
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray, where the user's own environment has it
}


def switch_off() -> None:
    """Set the variables, for this process and those it starts; what the user has set stays."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
