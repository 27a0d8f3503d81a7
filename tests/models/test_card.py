"""The model card."""

from diptych.models.card import CardText, recall_table, write

RECORD = {"data": {"train": 1000, "val": 100, "train_fingerprint": "a" * 32, "val_fingerprint": "b" * 32}}


def test_a_card_holds_the_measured_facts() -> None:
    card = write("small", CardText(), RECORD, "On 100 records.", ["tower `words`, frozen", "seed 7"])
    assert card == (
        "# small\n\n## Data\n\nNot stated by whoever trained it.\n\n## Figures\n\nOn 100 records.\n\n"
        "## How it was made\n\n- tower `words`, frozen\n- seed 7\n"
        "- records: 1000 for training (fingerprint `aaaaaaaaaaaaaaaa`), 100 for validation\n"
        "- the full config is in `config.json`\n"
    )


def test_a_card_holds_what_its_author_says() -> None:
    text = CardText("Finds shapes.", "Drawn here.", "CC0-1.0", "Nothing but shapes.")
    card = write("small", text, RECORD, "", [])
    for part in (
        "# small\n\nFinds shapes.",
        "## Data\n\nDrawn here.",
        "## Limits\n\nNothing but shapes.",
        "## Licence\n\nCC0-1.0",
    ):
        assert part in card


def test_a_table_has_a_row_for_each_direction_that_was_measured() -> None:
    scores = {f"{way} R@{k}": value + k for way, value in (("i2t", 20.0), ("t2i", 10.0)) for k in (1, 5, 10)}
    table = recall_table(scores, {"i2t": "image → text", "t2i": "text → image", "t2t": "text → text"})
    assert table.splitlines()[2:] == ["| image → text | 21.0 | 25.0 | 30.0 |", "| text → image | 11.0 | 15.0 | 20.0 |"]
