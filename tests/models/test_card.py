"""The model card."""

from diptych.models.card import CardText, write

RECORD = {
    "data": {"train": 1000, "val": 100, "train_fingerprint": "a" * 32, "val_fingerprint": "b" * 32},
    "validation": {f"{way} R@{k}": value + k for way, value in (("i2t", 20.0), ("t2i", 10.0)) for k in (1, 5, 10)},
    "config": {
        "seed": 7,
        "members": 2,
        "image": {"tower": {"name": "fake"}, "head": {"name": "mlp"}},
        "text": {"tower": {"name": "words"}, "network": {"name": "gru"}, "head": {"name": "linear"}},
        "loss": {"name": "info_nce"},
    },
}


def test_a_card_holds_the_measured_facts() -> None:
    card = write("small", CardText(), RECORD)
    assert card.startswith("# small\n\n## Data\n\nNot stated")
    assert "| image → text | 21.0 | 25.0 | 30.0 |\n| text → image | 11.0 | 15.0 | 20.0 |" in card
    assert "the 100 validation records" in card
    assert "tower `words`, frozen → network `gru`, trained → head `linear`, trained" in card
    assert "seed 7, 2 member(s)" in card
    assert "1000 for training (fingerprint `aaaaaaaaaaaaaaaa`)" in card
    assert "## Limits" not in card
    assert "## Licence" not in card


def test_a_card_holds_what_its_author_says() -> None:
    card = write("small", CardText("Finds shapes.", "Drawn here.", "CC0-1.0", "Nothing but shapes."), RECORD)
    for part in (
        "# small\n\nFinds shapes.",
        "## Data\n\nDrawn here.",
        "## Limits\n\nNothing but shapes.",
        "## Licence\n\nCC0-1.0",
    ):
        assert part in card
