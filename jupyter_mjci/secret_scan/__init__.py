"""Find secrets in files before they are shared: file, location and kind, never the secret itself.

Notebooks are scanned by cell (source, outputs, metadata,
attachments, widget state), images as the bytes that they contain,
SQLite databases by row and in the space of deleted rows, and
anything else as text. This is `jupyter mjci scan`.

The patterns are our own (`client.redaction`): of the texts in
tests/test_secret_scan.py, detect-secrets 1.5 finds 7 of 19
secrets and reports 2 of 17 harmless ones.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_mjci.client.redaction import find_secrets
from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services import services

IGNORED_DIRS = {
    ".git",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
}
SQLITE_MAGIC = b"SQLite format 3\0"
# In the bytes of a database a text begins right behind another
# one, without a word boundary.
_SECRET_PREFIXES = re.compile(r"(?=AKID|sk-|eyJ)")

# Where a text is in its file, and the text.
LocatedText = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Leak:
    """One kind of secret at one location. It does not hold the secret.

    Args:
        path: the file
        location: "cell 3, output 1", "table jobs"; "" for the
            file as a whole
        kind: what kind of secret it is
    """

    path: Path
    location: str
    kind: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.path), self.location, self.kind)))


def scan(paths: Iterable[Path], environ: Mapping[str, str] | None = None) -> Iterator[Leak]:
    """Yield the secrets in files and in the files of folders.

    A file that cannot be read is reported like a leak. Raises
    InvalidRequest for a missing path.

    Args:
        paths: files and folders
        environ: variables whose secret values are searched too;
            by default the process's
    """
    services()  # each adds the patterns of its secrets
    known = {f"the value of {name}": value for name, value in load_known_secrets(environ).items()}
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"There is no {path}.")
        for file in sorted(_iter_files(path)):
            yield from _scan_file(file, known)


def _iter_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for child in path.iterdir():
        # Neither pipes nor devices: reading them might never end.
        is_readable = child.is_dir() or child.is_file()
        if is_readable and not child.is_symlink() and child.name not in IGNORED_DIRS:
            yield from _iter_files(child)


def _scan_file(path: Path, known: Mapping[str, str]) -> Iterator[Leak]:
    try:
        content = path.read_bytes()
    except OSError as error:
        yield Leak(path, "", f"cannot be read ({error.strerror})")
        return
    reported = set()
    for location, text in _iter_texts(path, content):
        for kind in find_secrets(text, known):
            if (location, kind) not in reported:
                reported.add((location, kind))
                yield Leak(path, location, kind)


def _iter_texts(path: Path, content: bytes) -> Iterator[LocatedText]:
    if content.startswith(SQLITE_MAGIC):
        yield from _iter_database_texts(path)
        yield "free space", _SECRET_PREFIXES.sub(" ", content.decode("latin-1"))
        return
    text = _decode(content)
    reader = _READERS.get(path.suffix)
    if reader is not None:
        try:
            yield from reader(json.loads(text))
            return
        except (ValueError, AttributeError, TypeError):
            # an invalid notebook may contain secrets all the same
            pass
    yield "", text


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _iter_notebook_texts(notebook: Mapping[str, Any]) -> Iterator[LocatedText]:
    """Yield the texts of a notebook by cell; cells are counted from 1."""
    for number, cell in enumerate(notebook["cells"], 1):
        location = f"cell {number}"
        # a string, or a list of lines
        yield location, "".join(cell.get("source", ""))
        for count, output in enumerate(cell.get("outputs", ()), 1):
            yield from _locate(f"{location}, output {count}", _iter_strings(output))
        for part in ("metadata", "attachments"):
            yield from _locate(f"{location}, {part}", _iter_strings(cell.get(part, {})))
    for name, value in notebook.get("metadata", {}).items():
        location = "widget state" if name == "widgets" else "notebook metadata"
        yield from _locate(location, _iter_strings({name: value}))


def _iter_json_texts(document: object) -> Iterator[LocatedText]:
    """Yield the unescaped texts of a JSON document, without a location."""
    yield from _locate("", _iter_strings(document))


def _locate(location: str, texts: Iterable[str]) -> Iterator[LocatedText]:
    for text in texts:
        yield location, text


def _iter_strings(value: object, name: str = "") -> Iterator[str]:
    """Yield every text inside parsed JSON.

    A text comes with its key, which may tell what it is; a list
    of lines, as notebooks have them, comes joined and line by
    line; an image comes as its bytes.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _iter_strings(item, str(key))
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield from _iter_strings("".join(value), name)
        for item in value:
            yield from _iter_strings(item, name)
    elif isinstance(value, str):
        is_image = name.startswith("image/") and name != "image/svg+xml"
        yield _decode_image(value) if is_image else f'{name}: "{value}"'


def _decode_image(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode("latin-1")
    except (binascii.Error, ValueError):
        return text


_READERS: Mapping[str, Callable[[Any], Iterator[LocatedText]]] = {
    ".ipynb": _iter_notebook_texts,
    ".json": _iter_json_texts,
}


def _iter_database_texts(path: Path) -> Iterator[LocatedText]:
    """Yield the texts of a database by table.

    The file's bytes alone would not do: a text may be spread over
    several pages.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        try:
            tables = database.execute("select name from sqlite_master where type = 'table'")
            for (table,) in tables.fetchall():
                yield from _locate(f"table {table}", _iter_rows(database, table))
        except sqlite3.DatabaseError:
            return  # the file's bytes are scanned in any case


def _iter_rows(database: sqlite3.Connection, table: str) -> Iterator[str]:
    doubled = table.replace('"', '""')
    rows = database.execute(f'select * from "{doubled}"')
    columns = [description[0] for description in rows.description]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            text = _decode(value) if isinstance(value, bytes) else value
            if isinstance(text, str):
                yield f'{column}: "{text}"'
