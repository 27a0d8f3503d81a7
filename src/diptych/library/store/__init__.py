"""Where rows are kept: the protocol of a store, Lance (a folder or object storage), Milvus, and their common filters.

The door gives what others need to ask by filter and to name content; a store itself is opened by `diptych.library`.
"""

from __future__ import annotations

from collections.abc import Mapping

from .near import Near
from .row_codec import column_name
from .rows import WORDS, Row, content_of, location, text_of
from .where import AllOf, AnyOf, Condition, FilterError, Where, column_of, columns_of, condition


def parse_where(text: str, columns: Mapping[str, str]) -> Where:
    """The tree of a filter in SQL over these columns, name -> kind. Raises FilterError or LimitError."""
    from .where_sql import parse  # a search without such a filter needs no parser

    return parse(text, columns)


__all__ = [
    "WORDS", "AllOf", "AnyOf", "Condition", "FilterError", "Near", "Row", "Where", "column_name", "column_of",
    "columns_of", "condition", "content_of", "location", "parse_where", "text_of",
]  # fmt: skip
