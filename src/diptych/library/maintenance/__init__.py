"""Keeping a library whole: verify, repair, compact, export, import, and embedding with another model."""
