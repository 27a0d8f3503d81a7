"""The `diptych` command: a tree of thin commands over the package."""
