"""Which arithmetic suits a machine: by its flags, else measured once."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from diptych.encoders import half_precision as module  # noqa: E402
from diptych.encoders.half_precision import cpu_flags, half_on  # noqa: E402

X86 = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse avx2 {more}\nbugs\t\t: none\n"


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("text", "quicker", "why"),
    [
        (X86.format(more="avx512f avx512_bf16 amx_bf16"), True, "the CPU has bfloat16 units (amx_bf16)"),
        (X86.format(more="avx512f avx512_vnni"), False, "the CPU has no bfloat16 units"),
        ("processor : 0\nFeatures : fp asimd bf16 i8mm\n", True, "the CPU has bfloat16 units (bf16)"),
        ("processor : 0\nFeatures : fp asimd\n", False, "the CPU has no bfloat16 units"),
    ],
)
def test_the_flags_say_it(info: Path, text: str, quicker: bool, why: str) -> None:
    info.write_text(text)
    assert half_on("cpu") == module.Half(quicker, why)


@pytest.mark.parametrize(("ratio", "quicker"), [(0.024, False), (1.1, False), (1.9, True)])
@pytest.mark.parametrize("text", [None, "processor : 0\nmodel name : says nothing\n"])
def test_where_nothing_says_it_it_is_measured_once(
    info: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, ratio: float, quicker: bool
) -> None:
    if text is not None:
        info.write_text(text)
    asked = []
    monkeypatch.setattr(module, "measured", lambda: asked.append(1) or ratio)
    module._on_cpu.cache_clear()
    found = half_on("cpu")
    assert found.quicker is quicker
    assert f"{ratio:.2g} times as quick" in found.why
    module._on_cpu.cache_clear()  # another process
    assert half_on("cpu") == found
    assert len(asked) == 1
    (file,) = (info.parent / "cache").iterdir()
    assert list(json.loads(file.read_text()).values()) == [ratio]
    file.write_text("{half of it")
    module._on_cpu.cache_clear()
    assert half_on("cpu") == found  # measured again


def test_measuring_gives_a_ratio_and_no_cpu_info_is_no_error(tmp_path: Path) -> None:
    assert module.measured() > 0
    assert cpu_flags(tmp_path / "none") is None
