"""Check a tag, and print its section of the changelog: `python -m tests.release v0.2.0`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from jupyter_mjci import __version__

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def read_notes(version: str) -> str:
    """Return the section of a version, without its heading."""
    text = CHANGELOG.read_text("utf-8")
    found = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.M | re.S
    )
    if found is None:
        raise SystemExit(f"CHANGELOG.md has no dated section [{version}].")
    return found[1].strip()


def main(tag: str) -> None:
    if tag != f"v{__version__}":
        raise SystemExit(f"The tag is {tag}, the version of the package {__version__}.")
    print(read_notes(__version__))


if __name__ == "__main__":
    main(sys.argv[1])
