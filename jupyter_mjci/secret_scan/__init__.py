"""Find secrets in files before they are shared: file, location and kind, never the secret itself.

Notebooks are scanned by cell (source, outputs, metadata,
attachments, widget state), SQLite databases by row and in the
space of deleted rows, archives and images by what is in them, and
anything else as text; encoded text is decoded before it is
searched. This is `jupyter mjci scan`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.secret_scan.databases import MAGIC, iter_database_texts
from jupyter_mjci.secret_scan.decoding import Decoder, LocatedText, decode_text
from jupyter_mjci.secret_scan.notebooks import (
    LocatedContent,
    iter_json_content,
    iter_notebook_content,
)
from jupyter_mjci.secret_scan.patterns import Patterns, compile_patterns, iter_secrets

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
MAX_FILE_BYTES = 512_000_000  # of anything but a database


@dataclass(frozen=True, slots=True)
class Leak:
    """One kind of secret at one location. It does not hold the secret.

    Args:
        path: the file
        location: "cell 3, output 1", "table jobs"; "" for the
            file as a whole
        kind: what kind of secret it is, or why the file could not
            be read
        is_secret: whether a secret was found; False for a file
            that could not be read, or not all of it
        fingerprints: a mark of each secret here, too short to
            guess the secret from; a baseline knows them again
    """

    path: Path
    location: str
    kind: str
    is_secret: bool = True
    fingerprints: frozenset[str] = field(default=frozenset(), compare=False)

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.path), self.location, self.kind)))


def scan(paths: Iterable[Path], environ: Mapping[str, str] | None = None) -> Iterator[Leak]:
    """Yield the secrets in files and in the files of folders.

    A file that cannot be read is reported like a leak, with
    `is_secret` False, and the scan goes on. Raises InvalidRequest
    for a missing path.

    Args:
        paths: files and folders
        environ: variables whose secret values are searched too;
            by default the process's
    """
    patterns = compile_patterns()
    known = {f"the value of {name}": value for name, value in load_known_secrets(environ).items()}
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"There is no {path}.")
        for file in _iter_files(path):
            if isinstance(file, Leak):
                yield file
            else:
                yield from _scan_file(file, patterns, known)


def _iter_files(path: Path) -> Iterator[Path | Leak]:
    """Yield the files of a folder in order, and a leak for a folder that cannot be read."""
    if not path.is_dir():
        yield path
        return
    try:
        children = sorted(path.iterdir())
    except OSError as error:
        yield _report_unreadable(path, error.strerror)
        return
    for child in children:
        # Neither pipes nor devices: reading them might never end.
        is_readable = child.is_dir() or child.is_file()
        if is_readable and not child.is_symlink() and child.name not in IGNORED_DIRS:
            yield from _iter_files(child)


def _report_unreadable(path: Path, reason: object) -> Leak:
    return Leak(path, "", f"cannot be read ({reason})", is_secret=False)


def _scan_file(path: Path, patterns: Patterns, known: Mapping[str, str]) -> Iterator[Leak]:
    decoder = Decoder()
    found: dict[str, _Findings] = {}
    problems = []
    try:
        for location, text in _iter_texts(path, decoder):
            for kind, secret in iter_secrets(text, patterns, known):
                found.setdefault(location, _Findings()).add(kind, secret)
    except OSError as error:
        problems.append(error.strerror)
    except (MemoryError, RecursionError, ValueError) as error:
        problems.append(type(error).__name__)
    for location, findings in found.items():
        for kind, fingerprints in findings.fingerprints.items():
            yield Leak(path, location, kind, fingerprints=frozenset(fingerprints))
    for problem in dict.fromkeys([*problems, *decoder.problems]):
        yield _report_unreadable(path, problem)


class _Findings:
    """What was found at one location. A secret has the first kind that found it."""

    def __init__(self) -> None:
        self.fingerprints: dict[str, set[str]] = {}
        self._secrets: set[str] = set()

    def add(self, kind: str, secret: str) -> None:
        if kind in self.fingerprints or not any(secret in known for known in self._secrets):
            self.fingerprints.setdefault(kind, set()).add(_make_fingerprint(kind, secret))
        self._secrets.add(secret)


def _make_fingerprint(kind: str, secret: str) -> str:
    """Return 16 bits: a guess at the secret cannot be confirmed with them."""
    return hashlib.sha256(f"{kind}\0{secret}".encode("utf-8", "replace")).hexdigest()[:4]


def _iter_texts(path: Path, decoder: Decoder) -> Iterator[LocatedText]:
    with path.open("rb") as file:
        is_database = file.read(len(MAGIC)) == MAGIC
    if is_database:
        for location, text in iter_database_texts(path):
            yield from _join_location(location, decoder.iter_text(text))
        return
    if path.stat().st_size > MAX_FILE_BYTES:
        decoder.problems.append(f"more than {MAX_FILE_BYTES:,} bytes")
        return
    yield from _iter_content_texts(path.suffix, path.read_bytes(), decoder)


def _iter_content_texts(suffix: str, content: bytes, decoder: Decoder) -> Iterator[LocatedText]:
    reader = _READERS.get(suffix)
    if reader is not None:
        try:
            parts = list(reader(json.loads(decode_text(content))))
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
            # an invalid notebook may contain secrets all the same
            pass
        else:
            for location, part in parts:
                yield from _join_location(location, _iter_part_texts(part, decoder))
            return
    yield from decoder.iter_texts(content)


def _iter_part_texts(part: str | bytes, decoder: Decoder) -> Iterator[LocatedText]:
    if isinstance(part, bytes):
        return decoder.iter_texts(part)
    return decoder.iter_text(part)


def _join_location(location: str, texts: Iterator[LocatedText]) -> Iterator[LocatedText]:
    for inner, text in texts:
        yield ", ".join(filter(None, (location, inner))), text


_READERS: Mapping[str, Callable[[Any], Iterator[LocatedContent]]] = {
    ".ipynb": iter_notebook_content,
    ".json": iter_json_content,
}
