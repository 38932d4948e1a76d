"""Write a text into a picture's file, and read it again, without touching a pixel.

PNG has it as a text chunk, JPEG and WebP as XMP, in which other
programs find the description, too. The file is taken apart by its
chunks, and everything else in it stays as it was.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from html import escape, unescape

from jupyter_mjci.imaging.thumbnails import identify

KEYWORD = "jupyter_mjci"
MAX_TEXT = 60_000  # bytes; one segment of a JPEG holds 65,533
_PNG_START = b"\x89PNG\r\n\x1a\n"
_XMP_MARKER = b"http://ns.adobe.com/xap/1.0/\0"
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:mjci="urn:jupyter_mjci">'
    "<mjci:provenance>{text}</mjci:provenance>"
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt>'
    "</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
)
_XMP_TEXT = re.compile(r"<mjci:provenance>([^<]*)</mjci:provenance>")
_VP8X_ALPHA, _VP8X_XMP = 0x10, 0x04


def embed_text(content: bytes, text: str, description: str = "") -> bytes | None:
    """Return a picture with a text in it; None where its format or its size leaves no room.

    Args:
        content: the bytes of the picture's file
        text: the text, which `extract_text` returns
        description: what the picture shows, for other programs
    """
    header = identify(content)
    embed = _EMBEDDERS.get(header.format) if header else None
    if embed is None or len(text.encode()) + len(description.encode()) > MAX_TEXT:
        return None
    return embed(content, text, description)


def extract_text(content: bytes) -> str:
    """Return the text that `embed_text` has put into a picture; "" where there is none."""
    if content.startswith(_PNG_START):
        return _extract_from_png(content)
    for packet in _iter_xmp(content):
        match = _XMP_TEXT.search(packet.decode("utf-8", "replace"))
        if match:
            return unescape(match[1])
    return ""


def _iter_xmp(content: bytes) -> Iterator[bytes]:
    if content.startswith(b"\xff\xd8"):
        for kind, data in _iter_jpeg_segments(content):
            if kind == 0xE1 and data.startswith(_XMP_MARKER):
                yield data
    elif content.startswith(b"RIFF"):
        for name, data in _iter_webp_chunks(content):
            if name == b"XMP ":
                yield data


def _build_xmp(text: str, description: str) -> bytes:
    return _XMP.format(text=escape(text), description=escape(description)).encode()


# --- PNG --------------------------------------------------------


def _embed_in_png(content: bytes, text: str, description: str) -> bytes | None:
    end = content.rfind(b"IEND") - 4
    if end < 0:
        return None
    chunks = [_build_png_text(KEYWORD, text)]
    if description:
        chunks.append(_build_png_text("Description", description))
    return content[:end] + b"".join(chunks) + content[end:]


def _build_png_text(keyword: str, text: str) -> bytes:
    """Return an iTXt chunk: keyword, not compressed, no language, UTF-8."""
    data = keyword.encode() + b"\0\0\0\0\0" + text.encode()
    crc = zlib.crc32(b"iTXt" + data)
    return struct.pack(">I", len(data)) + b"iTXt" + data + struct.pack(">I", crc)


def _extract_from_png(content: bytes) -> str:
    start = KEYWORD.encode() + b"\0\0\0\0\0"
    position = len(_PNG_START)
    while position + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        data = content[position + 8 : position + 8 + length]
        if content[position + 4 : position + 8] == b"iTXt" and data.startswith(start):
            return data[len(start) :].decode("utf-8", "replace")
        position += 12 + length
    return ""


# --- JPEG -------------------------------------------------------


def _embed_in_jpeg(content: bytes, text: str, description: str) -> bytes | None:
    segments = list(_iter_jpeg_segments(content))
    if any(data.startswith(_XMP_MARKER) for _, data in segments):
        return None  # somebody else's XMP stays what it is
    data = _XMP_MARKER + _build_xmp(text, description)
    if len(data) > 65_533:
        return None
    # Behind JFIF and EXIF, which readers expect first.
    position = 2
    for kind, segment in segments:
        if kind not in (0xE0, 0xE1):
            break
        position += 4 + len(segment)
    marker = b"\xff\xe1" + struct.pack(">H", len(data) + 2)
    return content[:position] + marker + data + content[position:]


def _iter_jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the segments before the pixels: marker and data."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        kind = content[position + 1]
        (length,) = struct.unpack_from(">H", content, position + 2)
        if kind == 0xDA or length < 2:
            return
        yield kind, content[position + 4 : position + 2 + length]
        position += 2 + length


# --- WebP -------------------------------------------------------


def _embed_in_webp(content: bytes, text: str, description: str) -> bytes | None:
    chunks = list(_iter_webp_chunks(content))
    names = [name for name, _ in chunks]
    if b"XMP " in names:
        return None
    if b"VP8X" not in names:
        chunks.insert(0, (b"VP8X", _build_vp8x(content)))
    name, extended = chunks[0]
    if name != b"VP8X" or len(extended) != 10:
        return None
    chunks[0] = (name, bytes([extended[0] | _VP8X_XMP]) + extended[1:])
    chunks.append((b"XMP ", _build_xmp(text, description)))
    body = b"WEBP" + b"".join(map(_pack_webp_chunk, chunks))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _pack_webp_chunk(chunk: tuple[bytes, bytes]) -> bytes:
    name, data = chunk
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _iter_webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, position + 4)
        yield content[position : position + 4], content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _build_vp8x(content: bytes) -> bytes:
    """Return the header that a simple WebP lacks: flags, and the size less one in 24 bits each."""
    header = identify(content)
    width, height = (header.width, header.height) if header else (1, 1)
    # A lossless picture says in its own header whether it has
    # transparency.
    is_lossless = content[12:16] == b"VP8L"
    has_alpha = is_lossless and bool(content[24] & 0x10)
    flags = _VP8X_ALPHA if has_alpha else 0
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes([flags, 0, 0, 0]) + sizes


_EMBEDDERS = {"png": _embed_in_png, "jpeg": _embed_in_jpeg, "webp": _embed_in_webp}
