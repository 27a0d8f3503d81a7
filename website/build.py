"""Build the site: `python -m website.build [--out build/docs]`.

The generator is Zensical, in strict mode: a link or an anchor that leads nowhere stops the build.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from . import contents, reference, sources

ROOT = Path(__file__).parents[1]


def prepare(out: Path) -> None:
    """Write into `out` what the generator needs: the pages below docs/, and zensical.toml."""
    shutil.rmtree(out, ignore_errors=True)
    pages = out / "docs"
    sources.publish(ROOT, pages)
    for name in ("style.css", "landmarks.js"):
        shutil.copy(ROOT / "website" / name, pages)
    found = contents.sections((ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    made, order = reference.pages()
    next(section for section in found if section.title == "Reference").entries += order
    for place, text in made.items():
        (pages / place).parent.mkdir(parents=True, exist_ok=True)
        (pages / place).write_text(text, encoding="utf-8")
    settings = (ROOT / "website" / "zensical.toml").read_text(encoding="utf-8")
    nav = contents.toml([("Contents", "index.md"), *found])
    head, project, rest = settings.partition("[project]\n")
    (out / "zensical.toml").write_text(f"{head}{project}nav = {nav}\n{rest}", encoding="utf-8")


def build(out: Path) -> Path:
    """Build the site below `out`, strictly, and return its folder. Raises CalledProcessError with what was wrong."""
    prepare(out)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(out / "zensical.toml")]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return out / "site"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="folder that the site is built in")
    out = parser.parse_args().out
    try:
        site = build(out)
    except sources.LinkError as error:
        print(f"the site was not built: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stdout.decode(errors="replace"), file=sys.stderr)
        return 1
    print(f"{site}/index.html (its search needs a server: python -m http.server --bind 127.0.0.1 -d {site})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
