"""Read the bodies of responses, each up to the bound of its kind, also when it is compressed.

A server may send gigabytes, by mistake or on purpose, and four
megabytes of gzip can become four gigabytes. So a body is
decompressed as it arrives, and reading ends at the bound, or
where it has been compressed better than data ever is. Both
transports read with `read_response`.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import PurePosixPath

import httpx

MIB = 1024 * 1024
# Bytes, decompressed. A task has some kilobytes, a listing of
# 100,000 of them about 150 MB; a page of CI has at most 1,000
# small elements.
MAX_ANSWER_SIZE = 8 * MIB
MAX_LISTING_SIZE = 160 * MIB
MAX_PICTURE_SIZE = 128 * MIB
MAX_FILM_SIZE = 160 * MIB
# Of an error, more is never shown.
MAX_ERROR_SIZE = 4 * MIB
# bytes of a body that is too large that the error keeps
KEPT_SIZE = 64 * 1024
# A listing of equal tasks becomes 40 times larger, a bomb 1,000
# times. A small body may be anything.
MAX_RATIO = 100
MAX_UNPROVEN_SIZE = 8 * MIB

FILM_SUFFIXES = frozenset({".mp4", ".webm", ".mov", ".m4v", ".mkv"})
# Key of `httpx.Request.extensions`; a function from the headers
# of the response to the bound.
BOUND_EXTENSION = "mjci_choose_bound"
BoundChooser = Callable[[httpx.Headers], int]


class BodyTooLarge(Exception):
    """A body is larger than its bound. Never leaves the transport.

    Args:
        status: the HTTP status
        headers: the headers of the response
        head: the first bytes of the body
        bound: the bound, in bytes
    """

    def __init__(self, status: int, headers: httpx.Headers, head: bytes, bound: int) -> None:
        super().__init__(f"more than {bound // MIB} MB")
        self.status = status
        self.headers = headers
        self.head = head[:KEPT_SIZE]
        self.bound = bound


def choose_file_bound(url: str) -> BoundChooser:
    """Return the function that chooses the bound of a file: a film may be larger than a picture."""
    is_film = PurePosixPath(httpx.URL(url).path).suffix.lower() in FILM_SUFFIXES

    def choose(headers: httpx.Headers) -> int:
        if is_film or headers.get("content-type", "").lower().startswith("video/"):
            return MAX_FILM_SIZE
        return MAX_PICTURE_SIZE

    return choose


async def read_response(
    request: httpx.Request, status: int, headers: httpx.Headers, chunks: AsyncIterable[bytes]
) -> httpx.Response:
    """Read a body from the network and return the response, decompressed.

    Args:
        request: the request; its extension has the bound
        status: the HTTP status
        headers: the headers of the response
        chunks: the body as it arrives

    Raises:
        BodyTooLarge: the body does not end at its bound
        httpx.DecodingError: it is compressed in a way that was
            not asked for, or damaged
    """
    bound = get_bound(request, status, headers)
    length = headers.get("content-length", "")
    if request.method != "HEAD" and length.isdecimal() and len(length) < 20 and int(length) > bound:
        raise BodyTooLarge(status, headers, b"", bound)
    # Unlike a bytearray it gives its bytes away without a copy.
    body = io.BytesIO()
    received = 0
    decoder = _build_decoder(headers.get("content-encoding", ""))
    async for chunk in chunks:
        received += len(chunk)
        limit = min(bound, max(MAX_UNPROVEN_SIZE, received * MAX_RATIO))
        for piece in decoder.feed(chunk, limit + 1):
            if body.tell() + len(piece) > limit:
                head = bytes(body.getbuffer()[:KEPT_SIZE]) or piece
                # The traceback keeps this frame, and what is in it.
                body.close()
                raise BodyTooLarge(status, headers, head, limit)
            body.write(piece)
    decoder.finish()
    kept = [pair for pair in headers.multi_items() if pair[0].lower() != "content-encoding"]
    return httpx.Response(status, headers=kept, content=body.getvalue())


def get_bound(request: httpx.Request, status: int, headers: httpx.Headers) -> int:
    """Return the bound of the body of a response, in bytes."""
    if status >= 300:
        return MAX_ERROR_SIZE
    choose: BoundChooser | None = request.extensions.get(BOUND_EXTENSION)
    return MAX_ANSWER_SIZE if choose is None else choose(headers)


# --- decompression ----------------------------------------


class _Identity:
    def feed(self, data: bytes, _: int) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        """Do nothing: the length of the body is the HTTP library's business."""


class _Inflater:
    """Decompresses gzip or deflate, a bounded piece at a time.

    Args:
        wbits: the format, as `zlib.decompressobj` takes it
    """

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream = zlib.decompressobj(wbits)
        self._started = False

    def feed(self, data: bytes, piece_size: int) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                # gzip files may have several members
                self._stream = zlib.decompressobj(self._wbits)
            yield self._inflate(data, min(piece_size, MIB))
            self._started = True
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def _inflate(self, data: bytes, piece_size: int) -> bytes:
        try:
            return self._stream.decompress(data, piece_size)
        except zlib.error as error:
            if self._started or self._wbits != zlib.MAX_WBITS:
                raise httpx.DecodingError(f"it cannot be decompressed ({error})") from None
        # Some servers send deflate without zlib's header.
        self._wbits = -zlib.MAX_WBITS
        self._stream = zlib.decompressobj(self._wbits)
        return self._inflate(data, piece_size)

    def finish(self) -> None:
        if self._started and not self._stream.eof:
            raise httpx.RemoteProtocolError("the compressed body is incomplete")


_WBITS = {
    "gzip": zlib.MAX_WBITS | 16,
    "x-gzip": zlib.MAX_WBITS | 16,
    "deflate": zlib.MAX_WBITS,
}


def _build_decoder(encoding: str) -> _Identity | _Inflater:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Identity()
    if name not in _WBITS:
        raise httpx.DecodingError(f"it is compressed by {name[:40]!r}, which was not asked for")
    return _Inflater(_WBITS[name])
