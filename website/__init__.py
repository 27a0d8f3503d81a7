"""The documentation as a site: `python -m website.build`.

`sources` copies docs/ and each file that it links to; `contents` reads the order of the pages from docs/index.md;
`build` runs the generator (Zensical) on the copy; `check` reads what came out.
"""
