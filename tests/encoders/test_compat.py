"""torchvision beside a CPU torch: repaired on exactly one error, left alone otherwise."""

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_transforms_work_after_the_import() -> None:
    if find_spec("timm") is None:
        pytest.skip("needs the [train] extra")
    printed = run(
        """
        from diptych.encoders.compat import import_torchvision
        first = import_torchvision()
        assert import_torchvision() is first
        import torch
        from torchvision.transforms import v2
        print(tuple(v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape))
        import timm
        """
    )
    assert printed == "(3, 4, 4)"


def fake_torchvision(body: str) -> str:
    return f"""
        import importlib.abc, importlib.util, sys
        BODY = {body!r}
        class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            runs = 0
            def find_spec(self, name, path=None, target=None):
                return importlib.util.spec_from_loader(name, self) if name == "torchvision" else None
            def exec_module(self, module):
                Finder.runs += 1
                exec(BODY, module.__dict__)
        sys.meta_path.insert(0, Finder())
        from diptych.encoders import compat
    """


def test_a_working_torchvision_is_left_alone() -> None:
    code = (
        fake_torchvision("__version__ = 'working'")
        + """
        assert compat.import_torchvision().__version__ == "working"
        assert Finder.runs == 1 and not compat._declared and "torch" not in sys.modules
    """
    )
    run(code)


def test_the_one_known_error_is_repaired() -> None:
    body = "import torch; torch.library.register_fake('torchvision::nms')(lambda *a: None); __version__ = 'ok'"
    code = (
        fake_torchvision(body)
        + """
        assert compat.import_torchvision().__version__ == "ok"
        assert Finder.runs == 2 and len(compat._declared) == 1
        import torch
        assert "dets" in str(torch.ops.torchvision.nms.default._schema)
        assert "dets" in str(torch.ops.torchvision.qnms.default._schema)
    """
    )
    run(code)


@pytest.mark.parametrize("message", ["operator torchvision::roi_align does not exist", "something else"])
def test_any_other_error_comes_through(message: str) -> None:
    code = (
        fake_torchvision(f"raise RuntimeError({message!r})")
        + f"""
        try:
            compat.import_torchvision()
        except RuntimeError as error:
            assert str(error) == {message!r}
        else:
            raise SystemExit("no error")
        assert Finder.runs == 1 and not compat._declared
    """
    )
    run(code)


def test_an_absent_torchvision_names_the_extra() -> None:
    run(
        """
        import sys
        sys.modules["torchvision"] = None
        from diptych.core.errors import MissingExtraError
        from diptych.encoders.compat import import_torchvision
        try:
            import_torchvision()
        except MissingExtraError as error:
            assert "diptych[train]" in str(error)
        else:
            raise SystemExit("no error")
        """
    )
