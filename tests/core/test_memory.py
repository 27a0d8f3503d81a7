import os
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.core.memory import share_arenas, trim_memory


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_freed_memory_goes_back():
    """Small pieces below one that is kept stay with the C library until they are asked for."""
    import ctypes

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("another C library")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(100_000) for _ in range(1000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 100_000)
    for piece in pieces[:-1]:
        libc.free(piece)
    before = resident()
    trim_memory()
    after = resident()
    libc.free(pieces[-1])
    assert before - after > 50_000_000


def test_they_may_be_called_at_any_time():
    share_arenas()
    trim_memory()
    share_arenas()
    trim_memory()


@pytest.mark.parametrize(("chosen", "expected"), [(None, "system"), ("jemalloc", "jemalloc")])
def test_arrow_shares_the_pools_unless_somebody_chose_otherwise(chosen, expected):
    arrow = pytest.importorskip("pyarrow", reason="needs the [library] extra")
    if expected not in arrow.supported_memory_backends():
        pytest.skip(f"this Arrow has no {expected}")
    environment = {key: value for key, value in os.environ.items() if key != "ARROW_DEFAULT_MEMORY_POOL"}
    if chosen is not None:
        environment["ARROW_DEFAULT_MEMORY_POOL"] = chosen
    code = (
        "from diptych.core.memory import share_arenas\n"
        "share_arenas()\n"
        "import pyarrow\n"
        "print(pyarrow.default_memory_pool().backend_name)"
    )
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == expected
