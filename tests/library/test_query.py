import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.cosine import normalise
from diptych.core.errors import DataError, DiptychError, LimitError, Reason
from diptych.library.query import Term, check_k, check_text, join, parse, remark, vector


@pytest.fixture
def folder(tmp_path, painter):
    painter(tmp_path / "a.jpg", "red")
    painter(tmp_path / "my photo.png", "blue")
    (tmp_path / "noending").write_bytes((tmp_path / "a.jpg").read_bytes())
    return tmp_path


def test_a_sum_of_words_and_pictures(folder):
    assert parse('"red" + a.jpg - "snow"', folder) == (
        Term(1.0, text="red"),
        Term(1.0, image=folder / "a.jpg"),
        Term(-1.0, text="snow"),
    )


def test_weights_quotes_and_a_first_sign(folder):
    assert parse("- 0.5*'old car' + .25*\"my photo.png\" + 2*noending", folder) == (
        Term(-0.5, text="old car"),
        Term(0.25, image=folder / "my photo.png"),
        Term(2.0, image=folder / "noending"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "a dog",
        "black - white",
        "rock + roll",
        '"red" - blue',
        '"red"',
        '"red" "blue"',
        '"red"+"blue"',
        '"black - white" photo',
        "a.jpg",
        '"red" +',
        '+ "red"',
        '"red" + "blue',
        "0.5*red + 0.5*blue",
        "C++ - the language",
        "-",
    ],
)
def test_everything_else_is_plain_words(folder, text):
    assert parse(text, folder) == (Term(1.0, text=text),)


@given(st.text(max_size=60))
def test_any_text_is_words_or_a_sum_or_an_error_of_ours(text):
    assert "\n" not in (remark(text) or "")
    try:
        terms = parse(text)
    except DiptychError:
        return
    assert terms == (Term(1.0, text=text),) or len(terms) > 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("snow - people", """as in '"snow" - "people"'"""),
        ("snow -people", """as in '"snow" - "people"'"""),
        ("a red car + a.jpg - 0.5*snow", """as in '"a red car" + "a.jpg" - 0.5*"snow"'"""),
        ('"snow" - people', """as in '"snow" - "people"'"""),
        ('- "cat"', """as in '"red car" - "snow"'"""),
        ("“snow” + “dog”", """as in '"snow" + "dog"'"""),
        ("“snow” - people", """as in '"snow" - "people"'"""),
        ('"snow" – "people"', """as in '"snow" - "people"'"""),
        ('"snow" − "people"', """as in '"snow" - "people"'"""),
        ('"snow"+"dog"', """as in '"snow" + "dog"'"""),
        ('2 * "snow" + "dog"', """as in '2*"snow" + "dog"'"""),
        ('"snow" + "dog', """as in '"snow" + "dog"'"""),
        ("a.jpg", "'a.jpg' is the name of a file"),
        (" my photo.png ", "--image 'my photo.png'"),
        ("noending", "is the name of a file"),
        ("b.jpg", "no file has that name"),
    ],
)
def test_plain_words_that_read_like_something_else(folder, text, said):
    assert len(parse(text, folder)) == 1
    assert said in (remark(text, folder) or "")


@pytest.mark.parametrize(
    "text", ["a dog", "well-known", "at -5 degrees", "C++ book", "e-mail", '"a" - "b"', "-5", "a beach — at dusk"]
)
def test_ordinary_words_and_sums_get_no_remark(folder, text):
    assert remark(text, folder) is None


def test_a_missing_picture_of_a_sum(folder):
    with pytest.raises(DataError, match=r"nope\.jpg, but there is no such file") as caught:
        parse('"red" + nope.jpg', folder)
    assert caught.value.reason is Reason.MISSING


def test_the_words_of_a_shell(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert join(["a", "red", "car"]) == "a red car"
    assert join(["black - white"]) == "black - white"
    assert join(["rock", "-", "paper", "scissors"]) == "rock - paper scissors"
    words = ["red car", "+", "0.5*a.jpg", "-", "2*snow", "+", "noending"]
    assert parse(join(words)) == (
        Term(1.0, text="red car"),
        Term(0.5, image=folder.__class__("a.jpg")),
        Term(-2.0, text="snow"),
        Term(1.0, image=folder.__class__("noending")),
    )
    assert parse(join(['say "x"', "+", "'y'"])) == (Term(1.0, text='say "x"'), Term(1.0, text="y"))


def test_the_vector_is_the_sum_by_hand(folder, encoder):
    found = vector(parse('"red" + 0.5*a.jpg - 2*"blue"', folder), encoder)
    red, blue = encoder.encode_texts(["red", "blue"])
    (picture,) = encoder.encode_images([folder / "a.jpg"])
    assert found == pytest.approx(normalise(red + 0.5 * picture - 2 * blue), abs=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_terms_that_cancel_out(encoder):
    with pytest.raises(DataError, match="cancel"):
        vector(parse('"red" - "red"'), encoder)


def test_limits():
    assert check_text("x" * 1000) == "x" * 1000
    with pytest.raises(LimitError, match=r"100,000 characters, the limit is 1,000.*--cut"):
        check_text("x" * 100_000)
    assert check_text("x" * 100_000, cut=True) == "x" * 1000
    for empty in ("", "  \n\t", "\u200b\u200d", "\u3164"):
        with pytest.raises(DataError, match="empty"):
            check_text(empty)
    with pytest.raises(DataError, match=r"lone surrogate \(\\udcff\)"):
        check_text("a\udcff")
    with pytest.raises(LimitError, match="33 terms"):
        parse(" + ".join(['"a"'] * 33))
    for k in (0, -1, 1001):
        with pytest.raises(LimitError, match="from 1 to 1,000"):
            check_k(k)
    with pytest.raises(DataError, match="empty"):
        parse('"red" + ""')
