"""The names of array shapes cost nothing outside the tests."""

import subprocess
import sys

from diptych.core import shapes


def test_without_jaxtyping_a_shape_is_the_bare_array() -> None:
    script = (
        "import sys, typing, numpy as np; from diptych.core import cosine; "
        "assert set(typing.get_type_hints(cosine.normalise).values()) == {np.ndarray}; "
        "assert 'jaxtyping' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_in_the_tests_the_names_are_jaxtypings() -> None:
    import jaxtyping

    assert all(getattr(shapes, name) is getattr(jaxtyping, name) for name in shapes.__all__)
