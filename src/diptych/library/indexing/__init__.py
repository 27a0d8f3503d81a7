"""From sources to rows: what is found, what is new, what is read and embedded, and the report of a run."""
