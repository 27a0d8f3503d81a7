"""BEIR's layout of retrieval among texts (Thakur et al., arXiv 2104.08663): documents, queries, and who judged what.

corpus.jsonl       {"_id": "d1", "title": "Fox", "text": "A fox is ..."}
queries.jsonl      {"_id": "q1", "text": "what is a fox"}
qrels/test.tsv     query-id  corpus-id  score      (a header, and a line a judgement; train.tsv, dev.tsv likewise)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diptych.core.errors import DataError, Reason
from diptych.core.registry import register
from diptych.core.types import Pair, Role, Text

from .jsonl import objects
from .options import normalise_split, split_of_name
from .reading import Reading
from .sides import LabelReader
from .textfile import lines

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
_HEADER = "query-id"


def is_beir(folder: Path) -> bool:
    """Whether a folder has the three parts."""
    return (folder / CORPUS).is_file() and (folder / QUERIES).is_file() and bool(_judgements(folder))


@register.reader("beir", "corpus.jsonl, queries.jsonl and qrels/: documents found by queries", lists_once=True)
def read(reading: Reading) -> Iterator[Pair]:
    """One Pair for each query that was judged in a split, then one for each document, which is of every split.

    A document is its title and its text, separated by a space, as BEIR does it. Raises DataError for a folder
    without the three parts.
    """
    folder = reading.path if reading.path.is_dir() else reading.path.parent
    if not is_beir(folder):
        raise DataError(f"{folder} is no BEIR folder; expected {CORPUS}, {QUERIES} and {QRELS}/*.tsv", Reason.MISSING)
    documents = _texts(reading, folder / CORPUS, Role.DOCUMENT)
    queries = _texts(reading, folder / QUERIES, Role.QUERY)
    asked = set()
    for path in _judgements(folder):
        split = split_of_name(path.name) or (normalise_split(path.stem) if path.parent != folder else None)
        for identifier, labels in _judged(reading, path, queries, documents).items():
            asked.add(identifier)
            judged = [replace(documents[item], label=label) for item, label in labels.items()]
            yield Pair(identifier, (), (queries[identifier], *judged), split)
    if unused := len(queries.keys() - asked):
        reading.notes.add("no_judgement", "queries without a judgement, not read", count=unused)
    for identifier, document in documents.items():
        yield Pair(identifier, (), (document,))


def _judgements(folder: Path) -> list[Path]:
    inside = [*sorted((folder / QRELS).glob("*.tsv"))] if (folder / QRELS).is_dir() else []
    return inside or sorted(folder.glob("qrels*.tsv"))


def _texts(reading: Reading, path: Path, role: Role) -> dict[str, Text]:
    """The texts of a file of objects by their `_id`; a repeated id is skipped."""
    found: dict[str, Text] = {}
    for where, row in objects(reading, path):
        identifier = _identifier(row)
        parts = [part.strip() for part in (row.get("title"), row.get("text")) if isinstance(part, str) and part.strip()]
        if identifier is None:
            reading.skip(where, Reason.BAD_ROW, "no _id")
        elif identifier in found:
            reading.skip(where, Reason.BAD_ROW, f"the _id {identifier} stands on an earlier line")
        else:
            lang = row.get("language") if isinstance(row.get("language"), str) else None
            for text in reading.texts(where, [" ".join(parts)], lang=lang, field=role.value):
                found[identifier] = replace(text, role=role, item=identifier)
    return found


def _identifier(row: dict[str, Any]) -> str | None:
    value = row.get("_id", row.get("id"))
    return str(value) if isinstance(value, str | int) and str(value).strip() else None


def _judged(
    reading: Reading, path: Path, queries: dict[str, Text], documents: dict[str, Text]
) -> dict[str, dict[str, float]]:
    """Query -> document -> label, of one file: three columns, or TREC's four (query, 0, document, label)."""
    found: dict[str, dict[str, float]] = {}
    labels = LabelReader(reading)
    skip = partial(reading.skip, reason=Reason.BAD_ROW)
    for where, line in lines(reading, path):
        cells = line.split("\t") if "\t" in line else line.split()
        if cells[0].strip().lower() == _HEADER:
            continue
        if len(cells) not in (3, 4):
            skip(where, detail=f"{len(cells)} cells; expected query, document and label, separated by tabs")
            continue
        query, item = cells[0].strip(), cells[-2].strip()
        if query not in queries or item not in documents:
            kind, missing = ("query", query) if query not in queries else ("document", item)
            skip(where, detail=f"no {kind} has the _id {missing}")
            continue
        label = labels.read(cells[-1], where)
        if label is not None and found.setdefault(query, {}).setdefault(item, label) != label:
            reading.note("conflict", "documents judged twice for one query, of which the first label is kept", where)
    return found
