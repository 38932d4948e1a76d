"""Answers that no honest server gives, each made by code: bodies, pictures, and raw HTTP.

A body is also given to everything that reads files: it comes from outside there, too.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, PngImagePlugin

MIB = 1024 * 1024
TASK = {"id": "17", "status": "SUCCESS", "action": "IMAGINE", "prompt": "a fox", "progress": "100%"}
HOSTILE_TEXT = "\x1b]0;owned\x07\x1b[2J\x00\u202e\u2066<script>alert(1)</script>'\"`&\r\n\ud800"
JOB_XML = (
    "<Response><JobsDetail><JobId>{id}</JobId><State>{state}</State><Tag>PicProcess</Tag>"
    "<Input><Object>{object}</Object></Input></JobsDetail></Response>"
)


@dataclass(frozen=True)
class Answer:
    """One answer.

    Args:
        name: what is wrong with it
        make: returns the body
        head: status line and headers; Content-Length is added
            where it is not there
    """

    name: str
    make: Callable[[], bytes]
    head: str = "200 OK\r\nContent-Type: application/json"

    def iter_http(self, body: bytes) -> Iterator[bytes]:
        length = "" if "Content-Length" in self.head else f"\r\nContent-Length: {len(body)}"
        head = f"HTTP/1.1 {self.head}{length}\r\nConnection: close\r\n\r\n"
        yield head.encode("utf-8", "surrogatepass") + body


@dataclass(frozen=True)
class Conversation:
    """An answer that is more than a head and a body.

    Args:
        name: what is wrong with it
        stream: yields the pieces, from the answer's own base URL
        is_endless: whether it can end only when the client has
            waited long enough
    """

    name: str
    stream: Callable[[str], Iterator[bytes]]
    is_endless: bool = False


# --- JSON -------------------------------------------------


def make_task(**changes: Any) -> Callable[[], bytes]:
    return lambda: json.dumps({**TASK, **changes}).encode()


def wrap_task(field: str, text: str) -> Callable[[], bytes]:
    """Return a task of which one field is JSON that no encoder writes."""
    return lambda: b'{"id": "17", "status": "SUCCESS", "%b": %b}' % (field.encode(), text.encode())


JSON_ANSWERS = (
    Answer("arrays within arrays", lambda: b"[" * 200_000),
    Answer("objects within objects", lambda: b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    Answer("closed arrays below a field", wrap_task("properties", "[" * 5000 + "]" * 5000)),
    Answer("a million empty arrays", lambda: b"[" + b"[]," * 1_000_000 + b"[]]"),
    Answer("a million empty tasks", lambda: b"[" + b"{}," * 1_000_000 + b"{}]"),
    Answer("objects with a million keys", lambda: _make_keys(300_000)),
    Answer("equal keys", lambda: b'{"id":"1","id":[],"id":"17","status":"SUCCESS","status":{}}'),
    Answer("number of 100,000 digits", wrap_task("progress", "9" * 100_000)),
    Answer("number of a million digits as ID", lambda: b'{"id":%b}' % (b"7" * 1_000_000)),
    Answer("numbers out of range", wrap_task("submitTime", "1e999")),
    Answer("NaN and Infinity", wrap_task("progress", "[NaN, Infinity, -Infinity]")),
    Answer("NaN as time", wrap_task("finishTime", "NaN")),
    Answer("time far in the future", make_task(submitTime=10**18, finishTime=2**62)),
    Answer("negative time", make_task(submitTime=-(10**15), startTime=-1)),
    Answer("time as an object", make_task(submitTime={"$date": 1}, finishTime=["2020"])),
    Answer("progress 1e999%", make_task(progress="1e999%")),
    Answer("progress of digits that are none", make_task(progress="²³½%")),
    Answer("progress of 100,000 digits", make_task(progress="9" * 100_000 + "%")),
    Answer("cost of every kind", make_task(cost="1e400", properties={"cost": [[]]})),
    Answer("text of a megabyte", make_task(prompt="fox " * 250_000, failReason="x" * 1_000_000)),
    Answer("text of 4 MB without a blank", make_task(prompt="<" * 4_000_000)),
    Answer("lone surrogates", lambda: b'{"id":"17","status":"SUCCESS","prompt":"\\ud800\\udfff"}'),
    Answer("NUL and control characters", make_task(prompt=HOSTILE_TEXT, failReason="\x00" * 100)),
    Answer("raw NUL bytes", lambda: b'{"id":"17","status":"SUCCESS","prompt":"\x00\x1b[2J"}'),
    Answer("ID that is a path", make_task(id="../../../../etc/passwd")),
    Answer("ID with quotes and slashes", make_task(id="17'\"/\\;--\x00\n")),
    Answer("ID that is an object", make_task(id={"$ne": None})),
    Answer("ID of a megabyte", make_task(id="7" * 1_000_000)),
    Answer("status of every kind", make_task(status=["SUCCESS", {"a": 1}])),
    Answer("status that is a number", make_task(status=1e308)),
    Answer("buttons that are none", make_task(buttons={"label": 1, "x": [None, 3, "a"]})),
    Answer(
        "buttons with JavaScript",
        make_task(
            buttons=[{"customId": "javascript:alert(1)", "label": HOSTILE_TEXT, "emoji": {}}] * 40
        ),
    ),
    Answer("100,000 buttons", make_task(buttons=[{"customId": "a", "label": "U1"}] * 100_000)),
    Answer(
        "picture links of every kind",
        make_task(
            imageUrl="javascript:alert(1)",
            imageUrls=["file:///etc/passwd", None, {"url": []}, "http://[::1", HOSTILE_TEXT],
        ),
    ),
    Answer("100,000 picture links", make_task(imageUrls=[{"url": "http://a.example/1"}] * 100_000)),
    Answer("data URL that is none", make_task(imageUrl="data:image/png;base64,%%%%")),
    Answer("state that is JSON of depth", make_task(state="[" * 100_000)),
    Answer("parent that is the task itself", make_task(parentId="17", properties={"parentId": 17})),
    Answer("properties that are a text", make_task(properties="x")),
    Answer(
        "sizes that are none", make_task(width="1e99", height=-(2**70), imageWidth=float("inf"))
    ),
    Answer("wrapped wrappers", lambda: b'{"data":' * 90 + b"[]" + b"}" * 90),
    Answer("result that is a listing", lambda: b'{"code":1,"result":[[[["17"]]]]}'),
    Answer("code of 5,000 digits", lambda: b'{"code":%b,"description":"x"}' % (b"1" * 5000)),
    Answer("error within an error", lambda: b'{"error":' * 80 + b'{"message":"x"}' + b"}" * 80),
    Answer("UTF-16", lambda: json.dumps(TASK).encode("utf-16")),
    Answer("UTF-32 without a mark", lambda: json.dumps(TASK).encode("utf-32-le")),
    Answer("bytes of no charset", lambda: b'{"id":"17","prompt":"\xff\xfe\x80\x81"}'),
    Answer(
        "charset that does not exist",
        make_task(prompt="狐"),
        "200 OK\r\nContent-Type: application/json; charset=klingon-\x22\x00".replace("\x00", "x"),
    ),
    Answer("cut within an escape", lambda: b'{"id":"17","prompt":"\\u12'),
    Answer("JSON lines", lambda: (json.dumps(TASK).encode() + b"\n") * 1000),
    Answer("blanks alone", lambda: b" " * 1_000_000),
)


def _make_keys(count: int) -> bytes:
    return b"{" + b",".join(b'"k%d":0' % number for number in range(count)) + b"}"


# --- XML --------------------------------------------------


def make_job(**changes: str) -> Callable[[], bytes]:
    """Return CI's description of a job."""
    fields = {"id": "j" + "0" * 32, "state": "Success", "object": "a.jpg"} | changes
    return lambda: JOB_XML.format(**fields).encode("utf-8", "replace")


_LAUGHS = "".join(f'<!ENTITY a{level + 1} "{f"&a{level};" * 10}">' for level in range(9))
XML = "200 OK\r\nContent-Type: application/xml"
XML_ANSWERS = (
    Answer(
        "a billion laughs",
        lambda: f'<!DOCTYPE r [<!ENTITY a0 "ha">{_LAUGHS}]><Response>&a9;</Response>'.encode(),
        XML,
    ),
    Answer(
        "external entity",
        lambda: (
            b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response>'
            b"<RequestId>&x;</RequestId></Response>"
        ),
        XML,
    ),
    Answer(
        "external DTD",
        lambda: b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/a.dtd"><Response>&b;</Response>',
        XML,
    ),
    Answer(
        "parameter entities",
        lambda: b"<!DOCTYPE r [<!ENTITY % a \"<!ENTITY b 'c'>\"> %a;]><Response>&b;</Response>",
        XML,
    ),
    Answer("elements within elements", lambda: b"<Response>" + b"<a>" * 200_000, XML),
    Answer(
        "closed elements of depth",
        lambda: b"<Response>" + b"<a>" * 9000 + b"</a>" * 9000 + b"</Response>",
        XML,
    ),
    Answer(
        "300,000 empty elements",
        lambda: b"<Response>" + b"<a/>" * 300_000 + b"</Response>",
        XML,
    ),
    Answer(
        "100,000 attributes",
        lambda: b"<Response " + b" ".join(b'a%d=""' % n for n in range(100_000)) + b"/>",
        XML,
    ),
    Answer(
        "100,000 namespaces",
        lambda: b"<Response " + b" ".join(b'xmlns:a%d="b"' % n for n in range(100_000)) + b"/>",
        XML,
    ),
    Answer("equal attributes", lambda: b'<Response a="1" a="2"/>', XML),
    Answer("text of a megabyte in XML", make_job(object="x" * 1_000_000), XML),
    Answer("key that is a path", make_job(object="../../etc/passwd"), XML),
    Answer("state that is none", make_job(state="<b>Success</b>"), XML),
    Answer("job ID that is XML", make_job(id="<JobId>j</JobId>"), XML),
    Answer("character references", make_job(object="&#x1b;&#0;&#xD800;"), XML),
    Answer("CDATA that does not end", lambda: b"<Response><![CDATA[" + b"x" * 1_000_000, XML),
    Answer("comment that does not end", lambda: b"<Response><!--" + b"-" * 1_000_000, XML),
    Answer(
        "encoding that does not exist",
        lambda: b'<?xml version="1.0" encoding="klingon"?><Response/>',
        XML,
    ),
    Answer(
        "encoding that is another",
        lambda: b'<?xml version="1.0" encoding="utf-16"?><Response>x</Response>',
        XML,
    ),
    Answer("UTF-7", lambda: b'<?xml version="1.0" encoding="utf-7"?><R>+ADw-a+AD4-</R>', XML),
    Answer("other root", lambda: b"<html xmlns='x'><Response/></html>", XML),
    Answer("error of a megabyte", lambda: b"<Error><Message>" + b"<" * 1_000_000, XML),
)

# --- compressed bodies ------------------------------------


def make_bomb(start: bytes, piece: bytes, size: int, wbits: int) -> bytes:
    """Compress a text that repeats a piece up to a size, without holding it.

    Behind a full flush a block does not depend on what is before
    it, so it is compressed once.
    """
    block = piece * (16 * MIB // len(piece))
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    first = deflate.compress(start) + deflate.flush(zlib.Z_FULL_FLUSH)
    compressed = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)
    header = zlib.compressobj(9, wbits=wbits).flush()[: 10 if wbits == GZIP else 2]
    return header + first + compressed * (size // len(block))


GZIP = zlib.MAX_WBITS | 16


def _encoded(name: str) -> str:
    return f"200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {name}"


COMPRESSED_ANSWERS = (
    Answer(
        "gzip bomb of 4 GB", lambda: make_bomb(b"[", b"[],", 4096 * MIB, GZIP), _encoded("gzip")
    ),
    Answer(
        "gzip bomb that is a text",
        lambda: make_bomb(b'{"id":"17","prompt":"', b"fox ", 1024 * MIB, GZIP),
        _encoded("gzip"),
    ),
    Answer(
        "deflate bomb",
        lambda: make_bomb(b"[", b'{"id":"1","status":"SUCCESS"},', 1024 * MIB, zlib.MAX_WBITS),
        _encoded("deflate"),
    ),
    Answer(
        "gzip bomb that is an error",
        lambda: make_bomb(b"", b"error ", 1024 * MIB, GZIP),
        _encoded("gzip").replace("200 OK", "500 Oops"),
    ),
    Answer(
        "gzip bomb that is XML",
        lambda: make_bomb(b"<Response>", b"<a/>", 1024 * MIB, GZIP),
        _encoded("gzip").replace("json", "xml"),
    ),
    Answer("gzip within gzip", lambda: gzip.compress(gzip.compress(b"{}")), _encoded("gzip, gzip")),
    Answer(
        "gzip of a gzip bomb",
        lambda: gzip.compress(make_bomb(b"[", b"[],", 1024 * MIB, GZIP)),
        _encoded("gzip"),
    ),
    Answer("brotli", lambda: b"\x8b\x00\x80" * 1000, _encoded("br")),
    Answer("cut gzip", lambda: gzip.compress(json.dumps(TASK).encode())[:-9], _encoded("gzip")),
    Answer("gzip that is none", lambda: b"{}", _encoded("gzip")),
    Answer(
        "100,000 empty gzip members",
        lambda: gzip.compress(b"", mtime=0) * 100_000,
        _encoded("gzip"),
    ),
    Answer("encoding of line noise", lambda: b"{}", _encoded("\x7f\x01gz;ip" * 50)),
)

# --- pictures ---------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, kind: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _small(kind: str = "PNG") -> bytes:
    return _encode(Image.new("RGB", (8, 8), "red"), kind)


def _make_large_png() -> bytes:
    """A true PNG of 13,000 × 13,000 pixels, black, of a few hundred kilobytes."""
    compressor = zlib.compressobj(9)
    parts = [compressor.compress(bytes(13_001)) for _ in range(13_000)]
    rows = b"".join([*parts, compressor.flush()])
    return _png(13_000, 13_000, _chunk(b"IDAT", rows), kind=0)


def _make_text_png(length: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("jupyter_mjci", "x" * length)
    return _encode(Image.new("RGB", (8, 8)), "PNG", pnginfo=info)


def _make_ztxt_png() -> bytes:
    bomb = b"jupyter_mjci\0\0" + make_bomb(b"", b"x", 512 * MIB, zlib.MAX_WBITS)
    return _png(8, 8, _chunk(b"zTXt", bomb), _chunk(b"IDAT", zlib.compress(bytes(25 * 8))))


def _make_apng(frames: int) -> bytes:
    """An animated PNG that says it has so many frames, and has none of them."""
    control = struct.pack(">II", frames, 0)
    return _png(8, 8, _chunk(b"acTL", control), _chunk(b"IDAT", zlib.compress(bytes(25 * 8))))


def _make_gif(frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"!\xf9\x04\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return head + frame * frames + b";"


def _make_gif_of_large_frames() -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b",\0\0\0\0\x60\xea\x60\xea\0\2\2D\1\0;"


def _make_tiff_loop() -> bytes:
    """A TIFF whose second directory is the first one again."""
    return b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"


def _make_webp_liar() -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\xff" * 2
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + body


def _make_mp4(size: int) -> bytes:
    return struct.pack(">I", 20) + b"ftypisom\0\0\0\0isom" + struct.pack(">I", size) + b"moov"


def _make_zip_png() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(64 * MIB))
    return _small() + file.getvalue()


_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
PNG = "200 OK\r\nContent-Type: image/png"
PICTURE_ANSWERS = (
    Answer("PNG of 2 billion pixels a side", lambda: _png(2**31 - 1, 2**31 - 1), PNG),
    Answer("PNG of 169 million black pixels", _make_large_png, PNG),
    Answer("PNG without pixels", lambda: _png(0, 0), PNG),
    Answer("PNG with a text of 4 MB", lambda: _make_text_png(4_000_000), PNG),
    Answer("PNG with a compressed text of 512 MB", _make_ztxt_png, PNG),
    Answer("PNG of a length that lies", lambda: _small()[:33] + b"\xff\xff\xff\xffIDAT", PNG),
    Answer("cut PNG", lambda: _small()[:-20], PNG),
    Answer("APNG of 2 billion frames", lambda: _make_apng(2**31 - 1), PNG),
    Answer("GIF of a million frames", lambda: _make_gif(1_000_000), PNG),
    Answer("GIF of a frame of 3.6 billion pixels", _make_gif_of_large_frames, PNG),
    Answer("TIFF that goes in a circle", _make_tiff_loop, PNG),
    Answer("WebP of 281 billion pixels", _make_webp_liar, PNG),
    Answer("BMP of a negative size", lambda: b"BM" + struct.pack("<i", -1) * 30, PNG),
    Answer("MP4 of a length that lies", lambda: _make_mp4(2**32 - 1), PNG),
    Answer("JPEG of comments", lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 500_000, PNG),
    Answer("JPEG with much behind it", lambda: _small("JPEG") + b"\xff\xd8" * 2_000_000, PNG),
    Answer("SVG with a script", lambda: _SVG, "200 OK\r\nContent-Type: image/svg+xml"),
    Answer("page that says it is a picture", lambda: b"<!DOCTYPE html><script>1</script>", PNG),
    Answer("picture that is a page, too", lambda: _small("GIF") + b"<html><script>1</script>", PNG),
    Answer("picture that is an archive, too", _make_zip_png, PNG),
    Answer("PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop", PNG),
    Answer("picture of nothing", lambda: b"", PNG),
)

# --- HTTP -------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"


def _redirect(location: str, status: int = 302) -> Callable[[str], Iterator[bytes]]:
    def stream(base: str) -> Iterator[bytes]:
        target = location.replace("BASE", base)
        yield (
            f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n"
        ).encode()

    return stream


def _send(*pieces: bytes) -> Callable[[str], Iterator[bytes]]:
    return lambda _: iter(pieces)


def _repeat(start: bytes, piece: bytes, pause: float = 0.0) -> Callable[[str], Iterator[bytes]]:
    """Send a piece again and again, until the client closes the connection."""

    def stream(_: str) -> Iterator[bytes]:
        yield start
        while True:
            yield piece
            time.sleep(pause)  # of the server; nobody waits for it

    return stream


CHUNKED = OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CONVERSATIONS = (
    Conversation("nothing", _send()),
    Conversation("line noise", _send(b"\x00\xff\x16\x03\x01" * 200)),
    Conversation("HTTP/0.9", _send(b"<html>hello</html>")),
    Conversation("status that is none", _send(b"HTTP/1.1 xyz OK\r\n\r\n")),
    Conversation("status 99999", _send(b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n")),
    Conversation("status 600", _send(b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n")),
    Conversation("status 204 with a body", _send(b"HTTP/1.1 204 No\r\n\r\n", b"[]" * 100)),
    Conversation("another protocol", _send(b"SSH-2.0-OpenSSH_9.9\r\n")),
    Conversation(
        "other protocol asked for",
        _send(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    ),
    Conversation(
        "interim answers without end", _repeat(b"", b"HTTP/1.1 103 Hints\r\n\r\n"), is_endless=True
    ),
    Conversation(
        "10,000 headers", _send(OK, *(b"X-%d: y\r\n" % n for n in range(10_000)), b"\r\n")
    ),
    Conversation("headers without end", _repeat(OK, b"X-Header: y\r\n" * 1000), is_endless=True),
    Conversation("header of a megabyte", _send(OK + b"X: " + b"y" * MIB + b"\r\n\r\n")),
    Conversation("header line that is folded", _send(OK + b"X: y\r\n z\r\n\r\n")),
    Conversation("header with NUL", _send(OK + b"X\x00Y: \x00\r\nContent-Length: 2\r\n\r\n{}")),
    Conversation(
        "header of no charset",
        _send(OK + b"X-Request-Id: \xff\xfe\x80\r\nContent-Length: 2\r\n\r\n{}"),
    ),
    Conversation(
        "longer than its length", _send(OK + b"Content-Length: 2\r\n\r\n{}" + b"x" * 9999)
    ),
    Conversation("shorter than its length", _send(OK + b"Content-Length: 99\r\n\r\n{}")),
    Conversation("negative length", _send(OK + b"Content-Length: -1\r\n\r\n{}")),
    Conversation(
        "length of 10,000 digits", _send(OK + b"Content-Length: " + b"9" * 10_000 + b"\r\n\r\n")
    ),
    Conversation("two lengths", _send(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")),
    Conversation(
        "length and chunks",
        _send(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
    ),
    # aiohttp 3.14 waits on, until its timeout, if it has read the headers before.
    Conversation("chunk that is none", _send(CHUNKED, b"xyz\r\n{}\r\n0\r\n\r\n"), is_endless=True),
    Conversation("chunk of 2**64", _send(CHUNKED, b"ffffffffffffffff\r\n{}"), is_endless=True),
    Conversation("chunk with an extension of a megabyte", _send(CHUNKED, b"2;" + b"x" * MIB)),
    Conversation(
        "chunks without end",
        _repeat(CHUNKED, b"10000\r\n" + b"[]," * 21845 + b"[\r\n"),
        is_endless=True,
    ),
    Conversation(
        "chunks of a byte that trickle", _repeat(CHUNKED, b"1\r\n[\r\n", 0.05), is_endless=True
    ),
    Conversation("headers that trickle", _repeat(OK, b"X: y\r\n", 0.05), is_endless=True),
    Conversation(
        "events without end",
        _repeat(OK + b"Content-Type: text/event-stream\r\n\r\n", b"data: {}\n\n", 0.05),
        is_endless=True,
    ),
    Conversation("redirect to itself", _redirect("BASE/mj/task/17/fetch")),
    Conversation("redirect with 303", _redirect("BASE/again", 303)),
    Conversation("redirect to a file", _redirect("file:///etc/passwd")),
    Conversation("redirect to gopher", _redirect("gopher://127.0.0.1:9/_x")),
    Conversation("redirect to the metadata service", _redirect("http://169.254.169.254/latest")),
    Conversation("redirect to nowhere", _redirect("http://127.0.0.1:9/")),
    Conversation("redirect to a script", _redirect("javascript:alert(1)")),
    Conversation("redirect with a password", _redirect("http://me:pw@127.0.0.1:9/")),
    Conversation("redirect with a line break", _redirect("/a%0d%0aSet-Cookie:%20a=b")),
    Conversation("redirect of a megabyte", _redirect("/" + "a" * MIB)),
    Conversation("redirect to no URL", _redirect("http://[::1")),
    Conversation("redirect to an empty address", _redirect("")),
    Conversation("redirect with control characters", _redirect("/\x1b[2J\x07")),
    Conversation(
        "10,000 cookies",
        _send(OK, *(b"Set-Cookie: a%d=b\r\n" % n for n in range(200)), b"\r\n{}"),
    ),
    Conversation(
        "Retry-After of a year",
        _send(b"HTTP/1.1 429 Slow\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n"),
    ),
    Conversation(
        "Retry-After that is none",
        _send(b"HTTP/1.1 503 Slow\r\nRetry-After: 1e999\r\nContent-Length: 0\r\n\r\n"),
    ),
    Conversation(
        "Date far in the future",
        _send(OK + b"Date: Fri, 31 Dec 99999 23:59:59 GMT\r\nContent-Length: 2\r\n\r\n{}"),
    ),
)

BODIES = (*JSON_ANSWERS, *XML_ANSWERS, *COMPRESSED_ANSWERS, *PICTURE_ANSWERS)


@cache
def load_body(answer: Answer) -> bytes:
    """Return the body, which is made once: a bomb takes seconds."""
    return answer.make()


ANSWERS: tuple[Answer | Conversation, ...] = (*BODIES, *CONVERSATIONS)
