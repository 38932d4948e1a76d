"""Turn bytes into the texts that are in them: unpacked, decoded, unescaped.

A secret in a traceback is coloured, in an exported page escaped,
in a cell's output base64, in an archive compressed. What a reader
could undo is undone here, and each text is given before and after.
Depth and size are bounded, so that no bomb fills the memory.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import html
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any
from urllib.parse import unquote

MAX_DEPTH = 6
MAX_UNPACKED_BYTES = 160_000_000  # of one file, all that was unpacked together
PIECE_BYTES = 1_000_000  # that are inflated together
MAX_ROUNDS = 4  # a JSON text in JSON in a query has three

# Where a text is inside its content ("member a.txt"; "" for all), and the text.
LocatedText = tuple[str, str]


class UnpackError(ValueError):
    """Something packed that cannot be unpacked; its words say why."""


# --- characters -----------------------------------------------

# The longer marks first: that of UTF-32 begins as that of UTF-16.
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_PRINTABLE_RUN = re.compile(rb"[\x20-\x7e\t\r\n]{8,}")
# In the bytes of a database a text begins right behind another
# one, without a word boundary.
_SECRET_PREFIXES = re.compile(r"(?=AKID|AKIA|AIza|sk-|eyJ|gh[pousr]_|hf_|xox[abp]-)")


def decode_text(content: bytes) -> str:
    """Return bytes as text; of what is no text, the runs of printable characters."""
    encoding = _guess_encoding(content)
    for name in (encoding, "utf-8", "gb18030"):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    if b"\0" in content:
        return extract_strings(content)
    return content.decode("latin-1")


def extract_strings(content: bytes) -> str:
    """Return the printable parts of binary data, a line each."""
    runs = b"\n".join(_PRINTABLE_RUN.findall(content)).decode("ascii")
    return f"{runs}\n{_SECRET_PREFIXES.sub(' ', runs)}"


def _guess_encoding(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    sample = content[:4096]
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if half and odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if half and even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    return "utf-8"


# --- escapes --------------------------------------------------

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[@-Z\\^_]|[\u200b\u2060\ufeff\xad]"
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([nrtbf])|([\"'/\\]))")
# Of the tags only those that highlight a text: `<token>` in a
# document stands for one.
_TAG = re.compile(
    r"(?i)</?(?:span|a|b|i|u|em|strong|code|mark|font|kbd|samp|tt|wbr|small)\b[^<>]{0,2000}>"
)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_SOFT_BREAK = re.compile(r"=\r?\n")
_QUOTED_PRINTABLE = re.compile(r"=([0-9A-F]{2})")


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code:
        return chr(int(code, 16))
    return _CONTROLS.get(match[3] or "", match[4] or "") or match[0]


def _strip_ansi(text: str) -> str:
    return _ANSI.sub("", text)


def _unescape_backslashes(text: str) -> str:
    return _ESCAPE.sub(_unescape, text)


def _strip_tags(text: str) -> str:
    return html.unescape(_TAG.sub("", text))


def _decode_quoted_printable(text: str) -> str:
    joined = _SOFT_BREAK.sub("", text)
    return _QUOTED_PRINTABLE.sub(lambda match: chr(int(match[1], 16)), joined)


# What occurs in a text that the decoder would change, and the
# decoder. In this order: a later one's escapes are inside.
_DECODERS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("\x1b", _strip_ansi),
    ("&", html.unescape),
    ("%", unquote),
    ("\\", _unescape_backslashes),
)
# Those that lose something: beside the chain, not in it.
_SIDE_DECODERS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("<", _strip_tags),
    ("=3D", _decode_quoted_printable),
    ("\u200b", _strip_ansi),
)


def iter_views(text: str) -> Iterator[str]:
    """Yield a text as it is, and each time that a decoder changes it."""
    yield text
    for _ in range(MAX_ROUNDS):
        before = text
        for sign, decoder in _SIDE_DECODERS:
            yield from _iter_changed(text, sign, decoder)
        for sign, decoder in _DECODERS:
            for decoded in _iter_changed(text, sign, decoder):
                text = decoded
                yield text
        if text == before:
            return


def _iter_changed(text: str, sign: str, decoder: Callable[[str], str]) -> Iterator[str]:
    if sign in text:
        decoded = decoder(text)
        if decoded != text:
            yield decoded


# --- text that stands for bytes -------------------------------

_BASE64_RUN = re.compile(
    r"[A-Za-z0-9+/_-]{16,}={0,2}(?:[ \t]*\r?\n[ \t]*[A-Za-z0-9+/_-]{2,}={0,2})*"
)
_HEX_RUN = re.compile(r"(?<![0-9A-Za-z])(?:[0-9A-Fa-f]{2}[ :]?){12,}(?![0-9A-Za-z])")
_URL_SAFE = str.maketrans("-_", "+/")


def iter_encoded(text: str) -> Iterator[bytes]:
    """Yield what stands in a text as base64 (also URL-safe, unpadded, in lines) or hexadecimal."""
    for match in _BASE64_RUN.finditer(text):
        for run in dict.fromkeys([match[0], *match[0].split("\n")]):
            yield from _decode_base64(run)
    for match in _HEX_RUN.finditer(text):
        digits = re.sub("[ :]", "", match[0])
        yield from filter(is_readable, [bytes.fromhex(digits)])


def _decode_base64(run: str) -> Iterator[bytes]:
    digits = re.sub(r"[\s=]", "", run).translate(_URL_SAFE)
    # A rest of one digit is no byte.
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    try:
        content = base64.b64decode(digits + "=" * (-len(digits) % 4))
    except (binascii.Error, ValueError):
        return
    if is_readable(content):
        yield content


def is_readable(content: bytes) -> bool:
    """Return whether decoded bytes are text or a container, not what chance makes of words."""
    if find_unpacker(content) is not None:
        return True
    sample = content[:4096]
    try:
        text = sample.decode(
            _guess_encoding(sample), "strict" if len(content) <= 4096 else "ignore"
        )
    except UnicodeDecodeError:
        return False
    ascii_count = sum(" " <= character <= "~" or character in "\t\r\n" for character in text)
    return ascii_count > 0.9 * len(text)


# --- containers -----------------------------------------------

# Where a part is, and its bytes.
Part = tuple[str, bytes]
Unpacker = Callable[[bytes, "Budget"], Iterator[Part]]


class Budget:
    """The bytes that may still be unpacked from one file."""

    def __init__(self, left: int = MAX_UNPACKED_BYTES) -> None:
        self.left = left

    def read(self, stream: IO[bytes] | Any) -> bytes:
        """Read a stream to its end.

        Raises:
            UnpackError: it holds more than is left
        """
        # Python 3.14 would hold the whole twice if it read it at once.
        content = io.BytesIO()
        while piece := stream.read(PIECE_BYTES):
            self.take(len(piece))
            content.write(piece)
        return content.getvalue()

    def take(self, size: int) -> None:
        """Note that so many bytes were unpacked.

        Raises:
            UnpackError: they are more than were left
        """
        self.left -= size
        if self.left < 0:
            raise UnpackError(f"more than {MAX_UNPACKED_BYTES:,} bytes once it is unpacked")


def _unpack_gzip(content: bytes, budget: Budget) -> Iterator[Part]:
    with gzip.open(io.BytesIO(content)) as stream:
        yield "", budget.read(stream)


def _unpack_bz2(content: bytes, budget: Budget) -> Iterator[Part]:
    with bz2.open(io.BytesIO(content)) as stream:
        yield "", budget.read(stream)


def _unpack_xz(content: bytes, budget: Budget) -> Iterator[Part]:
    with lzma.open(io.BytesIO(content)) as stream:
        yield "", budget.read(stream)


def _unpack_zip(content: bytes, budget: Budget) -> Iterator[Part]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.comment:
            yield "comment", archive.comment
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as stream:
                    yield f"member {member.filename}", budget.read(stream)


def _unpack_tar(content: bytes, budget: Budget) -> Iterator[Part]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield f"member {member.name}", budget.read(stream)


_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset([b"IDAT", b"PLTE", b"fdAT", b"IHDR"])


def _unpack_png(content: bytes, budget: Budget) -> Iterator[Part]:
    """Yield the chunks that are no pixels, and what is behind the last one."""
    position = len(_PNG)
    while position + 12 <= len(content):
        size = int.from_bytes(content[position : position + 4])
        kind = content[position + 4 : position + 8]
        data = content[position + 8 : position + 8 + size]
        position += size + 12
        if kind not in _PIXELS and data:
            yield "", _read_png_chunk(kind, data, budget)
    if position < len(content):
        yield "", content[position:]


def _read_png_chunk(kind: bytes, data: bytes, budget: Budget) -> bytes:
    keyword, _, text = data.partition(b"\0")
    if kind == b"tEXt":
        return keyword + b": " + text
    if kind == b"zTXt":
        return keyword + b": " + _inflate(text[1:], budget)
    if kind == b"iTXt":
        compressed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
        return keyword + b": " + (_inflate(text, budget) if compressed else text)
    return data


def _inflate(content: bytes, budget: Budget) -> bytes:
    inflated = io.BytesIO()
    stream = zlib.decompressobj()
    while content and not stream.eof:
        # zlib would hold the whole twice while it joins it.
        piece = stream.decompress(content, PIECE_BYTES)
        budget.take(len(piece))
        inflated.write(piece)
        content = stream.unconsumed_tail
    return inflated.getvalue()


_UNPACKERS: tuple[tuple[int, bytes, Unpacker], ...] = (
    (0, b"\x1f\x8b\x08", _unpack_gzip),
    (0, b"BZh", _unpack_bz2),
    (0, b"\xfd7zXZ\0", _unpack_xz),
    (0, b"PK\x03\x04", _unpack_zip),
    (0, b"PK\x05\x06", _unpack_zip),
    (0, _PNG, _unpack_png),
    (257, b"ustar", _unpack_tar),
)
# What the libraries above raise for what is damaged or encrypted.
_UNPACK_ERRORS = (
    UnpackError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


def find_unpacker(content: bytes) -> Unpacker | None:
    """Return what takes this content apart, by its first bytes."""
    for offset, magic, unpacker in _UNPACKERS:
        if content.startswith(magic, offset):
            return unpacker
    return None


class Decoder:
    """Yields every text inside a file's content.

    Args:
        problems: what could not be unpacked, and why; filled
            meanwhile
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._budget = Budget()

    def iter_texts(self, content: bytes, depth: int = 0) -> Iterator[LocatedText]:
        """Yield the texts of bytes, whatever they are."""
        unpacker = find_unpacker(content)
        if unpacker is None:
            yield from self.iter_text(decode_text(content), depth)
            return
        if depth >= MAX_DEPTH:
            self.problems.append(f"packed more than {MAX_DEPTH} times")
            return
        try:
            for location, part in unpacker(content, self._budget):
                for inner, text in self.iter_texts(part, depth + 1):
                    yield " / ".join(filter(None, (location, inner))), text
        except _UNPACK_ERRORS as error:
            self.problems.append(str(error) or type(error).__name__)
            yield "", extract_strings(content)

    def iter_text(self, text: str, depth: int = 0) -> Iterator[LocatedText]:
        """Yield a text, what it is without escapes, and what is encoded in it."""
        for view in iter_views(text):
            yield "", view
            if depth < MAX_DEPTH:
                for content in iter_encoded(view):
                    yield from self.iter_texts(content, depth + 1)
