"""How calls leave: origins, credentials, and what is said when no answer comes."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.settings import load
from jupyter_mjci.client.transport import AiohttpTransport, ShardedTransport, SystemClock, Transport
from jupyter_mjci.errors import InvalidRequest, SettingsError, TransportError
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.session import Session

Handler = Callable[[httpx.Request], httpx.Response]
SECRETS = {
    "mj_secret": "mj-s3cr3t",
    "ci_secret_id": "AKID1",
    "ci_secret_key": "k3y",
    "ci_token": "t0ken",
}
GIVEN = {"mj_url": "http://proxy:8080/mj/", "ci_bucket": "demo-1", "ci_region": "ap-x", **SECRETS}


def session(handler: Handler, **given: Any) -> Session:
    return Session(load({**GIVEN, **given}, environ={}), transport=httpx.MockTransport(handler))


@pytest.fixture
def seen() -> list[httpx.Request]:
    return []


def prepared(call: Call[Any], **given: Any) -> httpx.Request:
    return session(lambda _: httpx.Response(200), **given).transport.build_request(call)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:8080", "http://h:8080/mj/task/17/fetch"),
        ("http://h:8080/", "http://h:8080/mj/task/17/fetch"),
        ("http://h:8080/mj", "http://h:8080/mj/task/17/fetch"),
        ("http://h/mj-fast", "http://h/mj-fast/mj/task/17/fetch"),
        ("http://h/mj-fast/mj/", "http://h/mj-fast/mj/task/17/fetch"),
    ],
)
def test_base_urls_of_every_habit(base: str, url: str) -> None:
    assert str(prepared(Midjourney().task("17"), mj_url=base).url) == url


@pytest.mark.parametrize(
    ("style", "header", "value"),
    [
        ("secret", "mj-api-secret", "mj-s3cr3t"),
        ("bearer", "authorization", "Bearer mj-s3cr3t"),
        ("raw", "authorization", "mj-s3cr3t"),
    ],
)
def test_auth_styles(style: str, header: str, value: str) -> None:
    """One header only: some servers take the first that they know, and it would be the wrong
    one.
    """
    request = prepared(Midjourney().task("17"), mj_auth=style)
    sent = {
        name: text
        for name, text in request.headers.items()
        if name in ("mj-api-secret", "authorization")
    }
    assert sent == {header: value}


def test_ci_requests_are_signed_for_the_services_own_host() -> None:
    """Through another endpoint the Host, and so the signature, stays the service's."""
    call = (
        TencentCI(bucket="demo-1", region="ap-x").jobs(start="2022-07-18T00:00:00+0800").first_page
    )
    request = prepared(call, ci_endpoint="http://127.0.0.1:9/")
    assert request.url.host == "127.0.0.1"
    assert request.headers["host"] == "demo-1.ci.ap-x.myqcloud.com"
    assert b"startCreationTime=2022-07-18T00%3A00%3A00%2B0800" in request.url.query
    assert "q-header-list=host;x-ci-security-token&" in request.headers["authorization"]
    assert "q-url-param-list=size;startcreationtime;tag&" in request.headers["authorization"]


def test_ci_without_an_endpoint_goes_to_tencent_over_https() -> None:
    request = prepared(TencentCI().put_object("in/a b.jpg", b"x"))
    assert str(request.url) == "https://demo-1.cos.ap-x.myqcloud.com/in/a%20b.jpg"
    assert request.headers["x-cos-security-token"] == "t0ken"


def test_a_service_that_is_not_configured_is_told_before_anything_is_sent() -> None:
    with pytest.raises(SettingsError, match="No Tencent CI account"):
        prepared(TencentCI().job("c1"), ci_bucket="")
    with pytest.raises(SettingsError, match="No Midjourney proxy"):
        prepared(Midjourney().task("1"), mj_url="")


FAILURES = [
    (httpx.ConnectError("Connection refused"), "GET", False, "refused"),
    (httpx.ConnectError("Connection refused"), "POST", False, "refused"),
    (httpx.ConnectTimeout("t"), "POST", False, "accepted the connection"),
    (httpx.ReadTimeout("t"), "POST", True, "did not come"),
    (httpx.ReadTimeout("t"), "GET", False, "did not come"),
    (httpx.RemoteProtocolError("Server disconnected"), "POST", True, "disconnected"),
    (httpx.ReadError(""), "POST", True, "broke"),
    (httpx.UnsupportedProtocol("missing http://"), "GET", False, "http://"),
]


@pytest.mark.parametrize(
    ("failure", "method", "maybe", "words"), FAILURES, ids=lambda value: str(value)[:20]
)
def test_no_answer(failure: Exception, method: str, maybe: bool, words: str) -> None:
    """Each says what happened, whether the request may have been carried out, and no secret."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    desk = session(handler)
    call: Call[Any] = desk.mj.imagine("x") if method == "POST" else desk.mj.task("17")
    with pytest.raises(TransportError) as caught:
        event_loop.run(desk.client.send_once(call))
    assert caught.value.may_have_been_sent is maybe
    assert words in str(caught.value)
    assert len(caught.value.format_lines()) == 3
    assert "s3cr3t" not in str(caught.value)


def test_credentials_go_to_the_services_own_hosts_only(seen: list[httpx.Request]) -> None:
    """A picture host, and one that it redirects to, see none; the bucket's own host sees a
    signature, and only one.
    """

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/a":
            return httpx.Response(302, headers={"location": "https://other.example/b"})
        return httpx.Response(200, content=b"x")

    desk = session(handler)
    own = "https://demo-1.cos.ap-x.myqcloud.com/k.jpg"
    for url in (
        "http://proxy:8080/a",
        "https://cdn.example/p.png",
        own,
        f"{own}?q-sign-algorithm=sha1&q-signature=0",
    ):
        assert desk.picture(url).run() == b"x"
    credentials = [
        sorted({"authorization", "mj-api-secret", "x-cos-security-token"} & set(request.headers))
        for request in seen
    ]
    assert credentials == [["mj-api-secret"], [], [], ["authorization", "x-cos-security-token"], []]


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("http://proxy:8080", "/attachments/1.png", "http://proxy:8080/attachments/1.png"),
        ("http://proxy:8080", "http://localhost:3000/mj/image/1", "http://proxy:8080/mj/image/1"),
        ("http://127.0.0.1:8080", "http://localhost:3000/x", "http://localhost:3000/x"),
        ("https://proxy", "//cdn.example/1.png", "https://cdn.example/1.png"),
        (
            "http://proxy",
            "https://cdn.example/1.png?ex=1&hm=2",
            "https://cdn.example/1.png?ex=1&hm=2",
        ),
    ],
)
def test_picture_links_are_repaired(base: str, url: str, expected: str) -> None:
    """Relative links, and a proxy's own idea of localhost."""
    assert (
        session(lambda _: httpx.Response(200), mj_url=base).transport.resolve_url(url) == expected
    )


def test_redirects_in_circles_end() -> None:
    desk = session(lambda request: httpx.Response(302, headers={"location": str(request.url)}))
    with pytest.raises(TransportError, match="circles"):
        desk.picture("http://proxy:8080/a").run()


def test_what_cannot_be_a_url_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        prepared(Call("mj", "x", "GET", "/x", parse=Response.json), mj_url="http://[::1")


def test_never_more_in_flight_than_allowed() -> None:
    """Waiting happens outside the HTTP library's pool, which breaks when a waiter is cancelled."""
    now, most = 0, 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.sleep(0.001)
        now -= 1
        return httpx.Response(200, json={"id": "1"})

    desk = Session(
        load({**GIVEN, "at_once": 3}, environ={}), transport=httpx.MockTransport(handler)
    )

    async def many() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(desk.fetch, desk.mj.task("1"))

    event_loop.run(many())
    assert most == 3


# --- over a real network, both ways ---------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    """Answers by the task's id: "slow" when it is let go, "broken" with half an answer, "rude" with
    none.
    """

    protocol_version = "HTTP/1.1"
    let_go = threading.Event()
    lines: set[Any] = set()

    def do_GET(self) -> None:
        self.lines.add(self.client_address)
        if "/slow" in self.path:
            self.let_go.wait(30)
        if "/rude" in self.path:
            self.close_connection = True
            return
        body = b'{"id":"1","status":"SUCCESS"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 10 * ("/broken" in self.path)))
        self.send_header("Set-Cookie", "who=you")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = "/broken" in self.path

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was interrupted has hung up: that is what is tested."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = Quiet(("127.0.0.1", 0), Answers)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Answers.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=[False, True], ids=["shards", "aiohttp"])
def way(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[Session]:
    """A session whose requests go over the network, without and with the extra `fast`."""
    desk = Session(
        load(
            {**GIVEN, "mj_url": server, "ci_endpoint": server, "at_once": 5, "timeout": 20},
            environ={},
        )
    )
    desk.transport.use_aiohttp = request.param
    yield desk
    desk.close()


def test_both_ways_answer(way: Session) -> None:
    """And keep what they are told to themselves: no cookies, one connection for one request after
    another.
    """
    Answers.lines.clear()
    for _ in range(3):
        assert way.mj.task("1").run().id == "1"
    assert type(way.transport._pool) is (
        AiohttpTransport if way.transport.use_aiohttp else ShardedTransport
    )
    assert len(Answers.lines) == 1
    assert way.transport.in_flight == 0


def test_the_fast_way_is_found_by_itself() -> None:
    assert Transport({}, clock=SystemClock()).use_aiohttp


def test_cancelled_requests_leave_nothing_in_use(way: Session) -> None:
    """Two hundred, twenty at a time over five connections, ended by anyio scopes; then the next
    request works.
    """

    async def cancelled(scope: anyio.CancelScope) -> None:
        with scope:
            await way.transport.send(way.mj.task("slow"))

    async def rounds() -> None:
        for _ in range(10):
            scopes = [anyio.CancelScope() for _ in range(20)]
            async with anyio.create_task_group() as group:
                for scope in scopes:
                    group.start_soon(cancelled, scope)
                with anyio.fail_after(10):
                    while way.transport.in_flight < 10:  # five slots, five connections
                        await anyio.lowlevel.checkpoint()
                for scope in scopes:
                    scope.cancel()
            assert all(scope.cancelled_caught for scope in scopes)
            assert way.transport.in_flight == 0

    event_loop.run(rounds())
    Answers.lines.clear()
    assert way.mj.task("1").run().id == "1"


@pytest.mark.parametrize(
    ("task", "maybe", "words"),
    [("rude", True, "broke"), ("broken", True, "broke"), ("slow", True, "did not come")],
)
def test_a_lost_answer_may_have_arrived(way: Session, task: str, maybe: bool, words: str) -> None:
    """A POST whose answer is lost is never told as "never arrived", whichever way it went; and no
    slot is lost.
    """
    way.transport.timeout = 0.2 if task == "slow" else 20
    for _ in range(7):
        with pytest.raises(TransportError) as caught:
            event_loop.run(way.transport.send(way.mj.cancel(task)))
        assert caught.value.may_have_been_sent is maybe
        assert words in str(caught.value)
    assert way.transport.in_flight == 0


def test_a_refused_connection_never_arrived(way: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    desk = Session(load({**GIVEN, "mj_url": f"http://127.0.0.1:{port}"}, environ={}))
    desk.transport.use_aiohttp = way.transport.use_aiohttp
    with pytest.raises(TransportError) as caught:
        event_loop.run(desk.transport.send(desk.mj.cancel("1")))
    assert not caught.value.may_have_been_sent
    desk.close()


def test_no_secret_and_no_signature_is_logged(
    way: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the libraries below write into the log, at any level."""
    with caplog.at_level(logging.DEBUG):
        way.mj.task("1").run()
        event_loop.run(way.transport.send(way.ci.job("c1")))
        event_loop.run(way.transport.get(f"{way.settings.mj_url}/p.png?q-signature=abcdef0123"))
    for secret in (*SECRETS.values(), "q-sign", "q-ak", "abcdef0123"):
        assert secret not in caplog.text


def test_idle_connections_are_bounded(server: str) -> None:
    """Shards keep no more than they are told, however many were in use at once."""

    async def many() -> int:
        shards = ShardedTransport(max_idle=2)
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(shards.handle_async_request, httpx.Request("GET", f"{server}/x"))
        kept = sum(map(len, shards._idle.values()))
        await shards.aclose()
        return kept

    assert event_loop.run(many()) == 2


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://a/", None),
        ({"https_proxy": "http://p:1"}, "https://a/", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://a/", None),
        ({"all_proxy": "http://p:2"}, "http://a/", "http://p:2"),
        ({"http_proxy": "http://p:1", "no_proxy": "a,127.0.0.1"}, "http://a/", None),
    ],
)
def test_proxies_of_the_environment(
    environ: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_mjci.client.transport import _find_proxy

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert _find_proxy(httpx.URL(url)) == proxy


def test_an_answer_that_trickles_for_ever_is_none() -> None:
    """Each byte comes in time, the whole never: the wait ends all the same, and the connection is
    given up.
    """
    held: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection, _ = server.accept()
        held.append(connection)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b" ")
                ended.wait(0.05)

    ended = threading.Event()
    thread = threading.Thread(target=trickle)
    thread.start()
    desk = Session(
        load(
            {**GIVEN, "mj_url": f"http://127.0.0.1:{server.getsockname()[1]}", "timeout": 0.2},
            environ={},
        )
    )
    with pytest.raises(TransportError, match="did not come"):
        event_loop.run(desk.client.send_once(desk.mj.task("1")))
    thread.join(10)
    assert not thread.is_alive()
    desk.close()
    for one in (server, *held):
        one.close()
