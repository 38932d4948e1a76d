"""`jupyter mjci scan`: secrets in files that are about to be given away, by file, cell and kind;
never what they are.

Notebooks are looked at cell by cell (source, outputs, metadata, attachments, widget state),
pictures as the bytes that they are, journals row by row and in the space of deleted rows, anything
else as text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_mjci.client.redaction import find_secrets
from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import InvalidRequest

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
_SECRET_PREFIXES = re.compile(
    r"(?=AKID|sk-|eyJ)"
)  # in a database's bytes a text begins right behind another
SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Leak:
    """One kind of secret at one place. What it is stays where it is."""

    path: Path
    location: str  # "cell 3, output 1", "table jobs"; "" for a file as a whole
    kind: str

    def __str__(self) -> str:
        return ": ".join(
            str(getattr(self, one.name)) for one in fields(self) if getattr(self, one.name)
        )


LocatedText = tuple[str, str]  # where a text stands, and the text


def scan(paths: Iterable[Path], environ: Mapping[str, str] | None = None) -> Iterator[Leak]:
    """Every secret in the files, and in the files of the folders. The values of secrets that stand
    in the environment are looked for, too; a file that cannot be read is told like one. Raises
    CallError for a path that is not there.
    """
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
    for inside in path.iterdir():
        if (
            inside.name not in IGNORED_DIRS
            and not inside.is_symlink()
            and (inside.is_dir() or inside.is_file())
        ):
            yield from _iter_files(inside)


def _scan_file(path: Path, known: Mapping[str, str]) -> Iterator[Leak]:
    try:
        content = path.read_bytes()
    except OSError as error:  # nobody has looked into it: that is no reason to say nothing
        yield Leak(path, "", f"cannot be read ({error.strerror})")
        return
    seen = set()
    for place, text in _iter_texts(path, content):
        for kind in find_secrets(text, known):
            if (place, kind) not in seen:
                seen.add((place, kind))
                yield Leak(path, place, kind)


def _iter_texts(path: Path, content: bytes) -> Iterator[LocatedText]:
    if content.startswith(SQLITE_MAGIC):
        yield from _iter_database_texts(path)
        yield "free space", _SECRET_PREFIXES.sub(" ", content.decode("latin-1"))
        return
    text = _decode(content)
    if path.suffix in _READERS:
        try:
            yield from _READERS[path.suffix](json.loads(text))
            return
        except (ValueError, AttributeError, TypeError):
            pass  # a notebook that cannot be read can hold secrets all the same
    yield "", text


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _iter_notebook_texts(notebook: Mapping[str, Any]) -> Iterator[LocatedText]:
    """A notebook's texts by cell. Cells are counted from 1, as a person does."""
    for number, cell in enumerate(notebook["cells"], 1):
        where = f"cell {number}"
        yield where, _join_source(cell.get("source", ""))
        for count, output in enumerate(cell.get("outputs", ()), 1):
            yield from ((f"{where}, output {count}", text) for text in _iter_strings(output))
        for part in ("metadata", "attachments"):
            yield from ((f"{where}, {part}", text) for text in _iter_strings(cell.get(part, {})))
    for name, value in notebook.get("metadata", {}).items():
        where = "widget state" if name == "widgets" else "notebook metadata"
        yield from ((where, text) for text in _iter_strings({name: value}))


def _iter_json_texts(value: Any) -> Iterator[LocatedText]:
    """The texts of any JSON, as one place: what it says unescaped."""
    yield from (("", text) for text in _iter_strings(value))


def _iter_strings(value: Any, name: str = "") -> Iterator[str]:
    """Every text inside parsed JSON. A short one comes with its name, which may tell what it is; a
    list of lines, as notebooks have them, comes joined; a picture comes as its bytes.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key)
            yield from _iter_strings(one, str(key))
    elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        yield from _iter_strings("".join(value), name)
        yield from (text for one in value for text in _iter_strings(one, name))
    elif isinstance(value, list):
        yield from (text for one in value for text in _iter_strings(one, name))
    elif isinstance(value, str):
        yield (
            _decode_image(value)
            if name.startswith("image/") and name != "image/svg+xml"
            else f'{name}: "{value}"'
        )


def _decode_image(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode("latin-1")
    except (binascii.Error, ValueError):
        return text


def _join_source(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


_READERS: Mapping[str, Callable[[Any], Iterator[LocatedText]]] = {
    ".ipynb": _iter_notebook_texts,
    ".json": _iter_json_texts,
}


def _iter_database_texts(path: Path) -> Iterator[LocatedText]:
    """The texts of a database, by table: a row may be spread over pages, so that the file's bytes
    do not show it.
    """
    with closing(
        sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    ) as database:
        try:
            tables = [
                name
                for (name,) in database.execute(
                    "select name from sqlite_master where type = 'table'"
                )
            ]
            for table in tables:
                columns = [
                    row[1]
                    for row in database.execute(f"pragma table_info({_quote_identifier(table)})")
                ]
                for row in database.execute(f"select * from {_quote_identifier(table)}"):
                    for column, value in zip(columns, row, strict=True):
                        if isinstance(value, (str, bytes)):
                            yield (
                                f"table {table}",
                                f'{column}: "{value if isinstance(value, str) else _decode(value)}"',
                            )
        except sqlite3.DatabaseError:
            return  # its bytes are looked at in any case


def _quote_identifier(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
