"""Bodies of any size and encoding, from a loopback server, over both transports."""

from __future__ import annotations

import contextlib
import gzip
import json
import socketserver
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import httpx
import pytest

from jupyter_mjci.client import bodies, event_loop
from jupyter_mjci.client.bodies import MIB
from jupyter_mjci.client.outcomes import Outcome, get_outcome
from jupyter_mjci.errors import InvalidResponse, MjciError, TransportError
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session
from tests.virtual_clock import VirtualClock

Write = Callable[[bytes], object]


class Handler(socketserver.StreamRequestHandler):
    server: BodyServer

    def handle(self) -> None:
        # A client that has read enough closes the connection.
        with contextlib.suppress(OSError):
            length = 0
            for line in iter(lambda: self.rfile.readline().strip(), b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.rfile.read(length)
            self.server.answer(self.wfile.write)


class BodyServer(socketserver.ThreadingTCPServer):
    """Answers every request by `answer`, and closes the connection."""

    allow_reuse_address = True
    daemon_threads = True
    answer: Callable[[Write], object]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[BodyServer]:
    with BodyServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=[True, False], ids=["aiohttp", "httpx"])
def session(request: pytest.FixtureRequest, server: BodyServer) -> Iterator[Session]:
    settings = load_settings({"mj_url": server.url, "timeout": 20.0}, environ={})
    # Only pauses between two attempts pass at once.
    with Session(settings, clock=VirtualClock()) as session:
        session.client.transport.use_aiohttp = request.param
        yield session


def send(server: BodyServer, head: str, *chunks: bytes) -> None:
    def answer(write: Write) -> None:
        write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode())
        for chunk in chunks:
            write(chunk)

    server.answer = answer


def fetch_task(session: Session) -> object:
    return event_loop.run(session.client.send_once(session.mj.task("17")))


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "identity"])
def test_body_is_decompressed(session: Session, server: BodyServer, encoding: str) -> None:
    body = b'{"id": "17", "status": "SUCCESS", "prompt": "%s"}' % (b"fox " * 100_000)
    compress = {
        "deflate": zlib.compress,
        "raw deflate": lambda data: zlib.compress(data, wbits=-zlib.MAX_WBITS),
        "identity": bytes,
    }.get(encoding, gzip.compress)
    content = compress(body)
    name = encoding.removeprefix("raw ")
    head = f"200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(content)}"
    send(server, head, content)
    assert session.mj.task("17").run().subject.startswith("fox fox")


def test_gzip_of_several_members_is_decompressed(session: Session, server: BodyServer) -> None:
    send(
        server,
        "200 OK\r\nContent-Encoding: gzip",
        gzip.compress(b'{"id": "17", '),
        gzip.compress(b'"status": "SUCCESS"}'),
    )
    assert session.mj.task("17").run().status == "SUCCEEDED"


@cache
def make_bomb(size: int) -> bytes:
    """Compress so many zeros, without holding them."""
    compressor = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    zeros = bytes(MIB)
    parts = [compressor.compress(zeros) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush()])


def test_gzip_bomb_is_given_up_where_it_is_no_data(
    session: Session, server: BodyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a megabyte that becomes 512 MB is not read up to the bound of a picture."""
    read: list[int] = []
    inflate = bodies._Inflater._inflate

    def count(self: bodies._Inflater, data: bytes, size: int) -> bytes:
        piece = inflate(self, data, size)
        read.append(len(piece))
        return piece

    monkeypatch.setattr(bodies._Inflater, "_inflate", count)
    bomb = make_bomb(512 * MIB)
    send(server, "200 OK\r\nContent-Encoding: gzip", bomb)
    with pytest.raises(InvalidResponse, match=r"larger than \d+ MB"):
        session.picture(f"{server.url}/0.png").run()
    assert bodies.MAX_UNPROVEN_SIZE < sum(read) < len(bomb) * bodies.MAX_RATIO + 4 * MIB


def test_compressed_listing_of_thousands_of_equal_tasks_is_read(
    session: Session, server: BodyServer
) -> None:
    prompt = "a fox in the snow, at night; " * 8
    tasks = [{"id": f"{number}", "status": "SUCCESS", "prompt": prompt} for number in range(40_000)]
    body = json.dumps(tasks).encode()
    assert len(body) > bodies.MAX_UNPROVEN_SIZE
    compressed = gzip.compress(body)
    assert len(body) < len(compressed) * bodies.MAX_RATIO
    send(server, "200 OK\r\nContent-Encoding: gzip", compressed)
    assert len(event_loop.run(session.client.send_once(session.mj.tasks()))) == len(tasks)


KINDS = [
    ("0.png", "image/png", bodies.MAX_PICTURE_SIZE),
    ("0.mp4", "application/octet-stream", bodies.MAX_FILM_SIZE),
    ("watch?v=1", "video/mp4", bodies.MAX_FILM_SIZE),
]


@pytest.mark.parametrize(("name", "kind", "bound"), KINDS, ids=[case[0] for case in KINDS])
def test_length_beyond_the_bound_of_its_kind_is_not_read(
    session: Session, server: BodyServer, name: str, kind: str, bound: int
) -> None:
    head = f"200 OK\r\nContent-Type: {kind}\r\nContent-Length: {bound + 1}"
    send(server, head, b"x" * 100)
    with pytest.raises(InvalidResponse, match=f"larger than {bound // MIB} MB"):
        session.picture(f"{server.url}/{name}").run()


def test_length_beyond_the_bound_of_json_leaves_a_submission_unknown(
    session: Session, server: BodyServer
) -> None:
    send(server, "200 OK\r\nContent-Length: 10000000000", b"{")
    with pytest.raises(InvalidResponse) as caught:
        event_loop.run(session.client.send_once(session.mj.imagine("a fox")))
    assert get_outcome(caught.value).may_be_accepted


def test_endless_chunks_end_at_the_bound(
    session: Session, server: BodyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_PICTURE_SIZE", 8 * MIB)

    def answer(write: Write) -> None:
        write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:  # until the client closes the connection
            write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    server.answer = answer
    with pytest.raises(InvalidResponse, match="larger than 8 MB"):
        session.picture(f"{server.url}/0.png").run()


def test_endless_error_page_keeps_its_first_words(session: Session, server: BodyServer) -> None:
    page = b"<html><title>502 Bad Gateway</title>" + b" " * (bodies.MAX_ERROR_SIZE + 1)
    send(server, "502 Bad Gateway", page)
    with pytest.raises(MjciError, match="502 Bad Gateway") as caught:
        fetch_task(session)
    assert get_outcome(caught.value) is Outcome.UNKNOWN


BROKEN = [
    ("Content-Encoding: br", b"\x00" * 20, "not asked for"),
    ("Content-Encoding: zstd, gzip", b"\x00" * 20, "not asked for"),
    ("Content-Encoding: gzip", b"no gzip at all", "cannot be decompressed"),
    ("Content-Encoding: gzip", gzip.compress(b"x" * 10_000)[:-12], "incomplete"),
]


@pytest.mark.parametrize(("header", "content", "words"), BROKEN, ids=[case[2] for case in BROKEN])
def test_body_that_cannot_be_decompressed_raises_transport_error(
    session: Session, server: BodyServer, header: str, content: bytes, words: str
) -> None:
    send(server, f"200 OK\r\n{header}\r\nContent-Length: {len(content)}", content)
    with pytest.raises(TransportError, match=words) as caught:
        event_loop.run(session.client.send_once(session.mj.imagine("a fox")))
    assert caught.value.may_have_been_sent


DEEP = [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 300 + b"]" * 300, b'[{"id": ' * 90_000]


@pytest.mark.parametrize("body", DEEP, ids=["arrays", "objects", "closed", "listing"])
def test_deep_json_raises_an_error_that_keeps_the_bytes(
    session: Session, server: BodyServer, body: bytes
) -> None:
    send(server, f"200 OK\r\nContent-Length: {len(body)}", body)
    for call in (session.mj.task("17"), session.mj.tasks(), session.mj.imagine("a fox")):
        with pytest.raises(InvalidResponse) as caught:
            event_loop.run(session.client.send_once(call))
        assert caught.value.body == body


def test_gbk_body_is_read(session: Session, server: BodyServer) -> None:
    body = '{"id": "17", "status": "FAILURE", "failReason": "提示词违规"}'.encode("gbk")
    send(server, f"200 OK\r\nContent-Length: {len(body)}", body)
    assert session.mj.task("17").run().reason == "提示词违规"


BAD_URLS = [
    "http://127.0.0.1:99999/0.png",
    "http://127.0.0.1:port/0.png",
    "http://[::1/0.png",
    "http://a b/0.png",
    "http://\u2028/0.png",
    "http://xn--\udcff/0.png",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "http://",
    "//",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_bad_picture_url_raises_mjci_error(session: Session, server: BodyServer, url: str) -> None:
    """Also as the target of a redirect, where it comes from somebody else."""
    send(server, "404 Not Found\r\nContent-Length: 0")
    with pytest.raises(MjciError):
        session.picture(url).run()
    location = url.encode("utf-8", "surrogatepass").decode("latin-1")
    if location.isprintable() and location:
        send(server, f"302 Found\r\nLocation: {location}\r\nContent-Length: 0")
        with pytest.raises(MjciError):
            session.picture(f"{server.url}/0.png").run()


def test_header_with_a_line_break_is_refused_without_its_words(
    session: Session, server: BodyServer
) -> None:
    """No library's words about headers, which would repeat the secret, reach the user."""

    def authorize(request: httpx.Request, _: str) -> None:
        request.headers["mj-api-secret"] = "sk-s3cr3t\n"

    endpoint = session.client.transport.endpoints["mj"]
    object.__setattr__(endpoint, "authorize", authorize)
    with pytest.raises(MjciError) as caught:
        fetch_task(session)
    assert "s3cr3t" not in str(caught.value)
    assert not getattr(caught.value, "may_have_been_sent", False)
