"""Guessing languages."""

import pytest

from diptych.data.language import guess_language


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("A black dog and a spotted dog are fighting", "en"),
        ("Ein schwarzer Hund und ein gefleckter Hund kämpfen.", "de"),
        ("Une petite fille grimpe dans une maisonnette en bois.", "fr"),
        ("Malá dívka leze do dřevěného hračkového domu na ulici.", "cs"),
        ("Dos perros corren por la calle con el hombre", "es"),
        ("小龙虾刷干净去虾线", "zh"),
        ("犬が走っている", "ja"),
        ("개가 달린다", "ko"),
        ("Собака бежит", "ru"),
        ("สุนัขวิ่ง", "th"),
        ("12 34 !?", None),
        ("", None),
        ("xyzzy plugh", None),
    ],
)
def test_captions(text, lang):
    assert guess_language(text) == lang
