"""Endpoints, credentials and transports, and the errors when no response arrives."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.http_pool import AiohttpTransport, ShardedTransport
from jupyter_mjci.client.transport import SystemClock, Transport
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.errors import InvalidRequest, SettingsError, TransportError
from jupyter_mjci.services import load_settings
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


def make_session(handler: Handler, **given: Any) -> Session:
    return Session(
        load_settings({**GIVEN, **given}, environ={}), transport=httpx.MockTransport(handler)
    )


@pytest.fixture
def seen() -> list[httpx.Request]:
    return []


def build_request(call: Call[Any], **given: Any) -> httpx.Request:
    return make_session(lambda _: httpx.Response(200), **given).client.transport.build_request(call)


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
def test_base_urls_with_and_without_mj_lead_to_same_path(base: str, url: str) -> None:
    assert str(build_request(Midjourney().task("17"), mj_url=base).url) == url


@pytest.mark.parametrize(
    ("style", "header", "value"),
    [
        ("secret", "mj-api-secret", "mj-s3cr3t"),
        ("bearer", "authorization", "Bearer mj-s3cr3t"),
        ("raw", "authorization", "mj-s3cr3t"),
    ],
)
def test_each_auth_style_sends_one_header(style: str, header: str, value: str) -> None:
    """Some servers use the first header that they know, which could be the wrong one."""
    request = build_request(Midjourney().task("17"), mj_auth=style)
    sent = {
        name: text
        for name, text in request.headers.items()
        if name in ("mj-api-secret", "authorization")
    }
    assert sent == {header: value}


def test_ci_requests_through_endpoint_are_signed_for_service_host() -> None:
    """The Host header, and so the signature, stays the service's."""
    call = (
        TencentCI(bucket="demo-1", region="ap-x").jobs(start="2022-07-18T00:00:00+0800").first_page
    )
    request = build_request(call, ci_endpoint="http://127.0.0.1:9/")
    assert request.url.host == "127.0.0.1"
    assert request.headers["host"] == "demo-1.ci.ap-x.myqcloud.com"
    assert b"startCreationTime=2022-07-18T00%3A00%3A00%2B0800" in request.url.query
    assert "q-header-list=host;x-ci-security-token&" in request.headers["authorization"]
    assert "q-url-param-list=size;startcreationtime;tag&" in request.headers["authorization"]


def test_ci_requests_without_endpoint_use_tencent_https_host() -> None:
    request = build_request(TencentCI().put_object("in/a b.jpg", b"x"))
    assert str(request.url) == "https://demo-1.cos.ap-x.myqcloud.com/in/a%20b.jpg"
    assert request.headers["x-cos-security-token"] == "t0ken"


def test_unconfigured_service_raises_settings_error_before_sending() -> None:
    with pytest.raises(SettingsError, match="Tencent CI is not configured"):
        build_request(TencentCI().job("c1"), ci_bucket="")
    with pytest.raises(SettingsError, match="Midjourney is not configured"):
        build_request(Midjourney().task("1"), mj_url="")


FAILURES = [
    (httpx.ConnectError("Connection refused"), "GET", False, "refused"),
    (httpx.ConnectError("Connection refused"), "POST", False, "refused"),
    (httpx.ConnectTimeout("t"), "POST", False, "accepted the connection"),
    (httpx.ReadTimeout("t"), "POST", True, "did not arrive"),
    (httpx.ReadTimeout("t"), "GET", False, "did not arrive"),
    (httpx.RemoteProtocolError("Server disconnected"), "POST", True, "disconnected"),
    (httpx.ReadError(""), "POST", True, "broke"),
    (httpx.UnsupportedProtocol("missing http://"), "GET", False, "http://"),
]


@pytest.mark.parametrize(
    ("failure", "method", "maybe", "words"), FAILURES, ids=lambda value: str(value)[:20]
)
def test_lost_response_raises_transport_error(
    failure: Exception, method: str, maybe: bool, words: str
) -> None:
    """The error says what happened and whether the request may have been processed; no secret."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    session = make_session(handler)
    call: Call[Any] = session.mj.imagine("x") if method == "POST" else session.mj.task("17")
    with pytest.raises(TransportError) as caught:
        event_loop.run(session.client.send_once(call))
    assert caught.value.may_have_been_sent is maybe
    assert words in str(caught.value)
    assert len(caught.value.format_lines()) == 3
    assert "s3cr3t" not in str(caught.value)


def test_credentials_are_sent_to_service_hosts_only(seen: list[httpx.Request]) -> None:
    """An image host, and one that it redirects to, gets none; the bucket's own host gets a
    signature, and only one.
    """

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/a":
            return httpx.Response(302, headers={"location": "https://other.example/b"})
        return httpx.Response(200, content=b"x")

    session = make_session(handler)
    own = "https://demo-1.cos.ap-x.myqcloud.com/k.jpg"
    for url in (
        "http://proxy:8080/a",
        "https://cdn.example/p.png",
        own,
        f"{own}?q-sign-algorithm=sha1&q-signature=0",
    ):
        assert event_loop.run(session.client.transport.get(url)).body == b"x"
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
def test_relative_and_localhost_urls_are_resolved(base: str, url: str, expected: str) -> None:
    """Relative links, and a proxy's own idea of localhost."""
    assert (
        make_session(lambda _: httpx.Response(200), mj_url=base).client.transport.resolve_url(url)
        == expected
    )


def test_redirect_loops_raise_transport_error() -> None:
    session = make_session(
        lambda request: httpx.Response(302, headers={"location": str(request.url)})
    )
    with pytest.raises(TransportError, match="Too many redirects"):
        session.picture("http://proxy:8080/a").run()


def test_headers_that_http_cannot_carry_raise_invalid_request() -> None:
    for value in ("image/gräfin", "a\nb", "\ud800"):
        with pytest.raises(InvalidRequest, match="cannot hold"):
            build_request(TencentCI().put_object("k", b"x", content_type=value))


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://proxy/a.png", True),
        ("https://proxy:443/a.png", True),
        ("http://proxy/a.png", False),
        ("http://proxy:443/a.png", False),
        ("https://proxy:8443/a.png", False),
        ("https://proxy.example/a.png", False),
        ("https://proxy@evil.example/a.png", False),
    ],
)
def test_secret_is_sent_only_to_the_same_scheme_host_and_port(
    seen: list[httpx.Request], url: str, sent: bool
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"x")

    event_loop.run(make_session(handler, mj_url="https://proxy").client.transport.get(url))
    assert ("mj-api-secret" in seen[0].headers) is sent


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("http://localhost:3000/mj/image/1", "https://gw/fast/mj/image/1"),
        ("/mj/image/1?x=%2F", "https://gw/fast/mj/image/1?x=%2F"),
        ("/fast/mj/image/1", "https://gw/fast/mj/image/1"),
        ("mj/image/1", "https://gw/fast/mj/image/1"),
    ],
)
def test_links_of_a_gateway_with_a_path_keep_its_path(link: str, expected: str) -> None:
    transport = make_session(
        lambda _: httpx.Response(200), mj_url="https://gw/fast"
    ).client.transport
    assert transport.resolve_url(link) == expected


@pytest.mark.parametrize(
    "mirrors",
    [
        "cdn.discordapp.com=https://mirror.example/discord, media.example=other.example",
        {
            "https://CDN.discordapp.com/": "https://mirror.example/discord/",
            "media.example": "other.example",
        },
    ],
)
def test_picture_hosts_are_replaced_by_their_mirrors(mirrors: Any) -> None:
    transport = make_session(lambda _: httpx.Response(200), image_mirrors=mirrors).client.transport
    for url, expected in (
        (
            "https://cdn.discordapp.com/a/0.png?ex=1&hm=2",
            "https://mirror.example/discord/a/0.png?ex=1&hm=2",
        ),
        ("http://media.example:81/x%20y.png", "https://other.example/x%20y.png"),
        ("https://elsewhere.example/0.png", "https://elsewhere.example/0.png"),
    ):
        assert transport.resolve_url(url) == expected


def test_password_of_a_url_is_sent_as_basic_and_never_in_the_url(
    seen: list[httpx.Request],
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "17", "status": "SUCCESS"})

    session = make_session(handler, mj_url="http://me:p%40ss@proxy:8080/mj")
    session.mj.task("17").run()
    for url in ("http://proxy:8080/0.png", "http://other:word@elsewhere/0.png"):
        event_loop.run(session.client.transport.get(url))
    assert [request.headers["authorization"] for request in seen] == [
        "Basic bWU6cEBzcw==",
        "Basic bWU6cEBzcw==",
        "Basic b3RoZXI6d29yZA==",
    ]
    assert not any(request.url.userinfo for request in seen)
    assert seen[0].headers["mj-api-secret"] == "mj-s3cr3t"
    for shown in (repr(session), str(session.settings), repr(session.journal.get_origin("mj"))):
        assert "p@ss" not in shown
        assert "p%40ss" not in shown


def test_cos_domain_is_asked_and_signed_for_and_an_endpoint_keeps_the_default_host(
    seen: list[httpx.Request],
) -> None:
    default = "demo-1.cos.ap-x.myqcloud.com"
    call = TencentCI().put_object("in/a.jpg", b"x")
    own = build_request(call, cos_domain="img.example.com")
    assert (str(own.url), own.headers["host"]) == (
        "https://img.example.com/in/a.jpg",
        "img.example.com",
    )
    in_front = build_request(call, cos_endpoint="http://gw:9/")
    assert (str(in_front.url), in_front.headers["host"]) == ("http://gw:9/in/a.jpg", default)

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"x")

    session = make_session(handler, cos_domain="https://img.example.com")
    for url in (f"https://{default}/k.jpg", "https://img.example.com/k.jpg"):
        event_loop.run(session.client.transport.get(url))
    assert [str(request.url) for request in seen] == ["https://img.example.com/k.jpg"] * 2
    assert all("q-signature" in request.headers["authorization"] for request in seen)


def test_user_agent_names_the_toolkit(seen: list[httpx.Request]) -> None:
    """Some CDNs answer 403 without one."""

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "17", "status": "SUCCESS"})

    session = make_session(handler)
    session.mj.task("17").run()
    event_loop.run(session.client.transport.get("https://cdn.example/0.png"))
    for request in seen:
        assert re.fullmatch(r"jupyter_mjci/[\w.]+", request.headers["user-agent"])


def test_refusal_before_sending_keeps_the_request_back(seen: list[httpx.Request]) -> None:
    session = make_session(lambda request: seen.append(request) or httpx.Response(200))

    async def refuse() -> None:
        raise LookupError("taken over")

    with pytest.raises(LookupError):
        event_loop.run(session.client.transport.send(session.mj.imagine("a fox"), refuse))
    assert seen == []
    assert session.client.transport.in_flight == 0


def test_requests_in_flight_are_limited() -> None:
    """Waiting happens outside the HTTP library's pool, which breaks when a waiter is cancelled."""
    now, most = 0, 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.sleep(0.001)
        now -= 1
        return httpx.Response(200, json={"id": "1"})

    session = Session(
        load_settings({**GIVEN, "at_once": 3}, environ={}), transport=httpx.MockTransport(handler)
    )

    async def many() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(session.fetch, session.mj.task("1"))

    event_loop.run(many())
    assert most == 3


# --- over a real network, by both transports --------------


class TaskServer(BaseHTTPRequestHandler):
    """Responds by the task's ID: "slow" when it is released, "broken" with half a response,
    "rude" with none.
    """

    protocol_version = "HTTP/1.1"
    release = threading.Event()
    client_addresses: set[Any] = set()

    def do_GET(self) -> None:
        self.client_addresses.add(self.client_address)
        if "/slow" in self.path:
            self.release.wait(30)
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


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were interrupted have disconnected: that is what is tested."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = QuietServer(("127.0.0.1", 0), TaskServer)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    TaskServer.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=[False, True], ids=["httpx", "aiohttp"])
def session(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[Session]:
    """A session whose requests go over the network, by httpx and by aiohttp."""
    session = Session(
        load_settings(
            {**GIVEN, "mj_url": server, "ci_endpoint": server, "at_once": 5, "timeout": 20},
            environ={},
        )
    )
    session.client.transport.use_aiohttp = request.param
    yield session
    session.close()


def test_transports_reuse_one_connection_and_send_no_cookies(session: Session) -> None:
    """Sequential requests share a connection."""
    TaskServer.client_addresses.clear()
    for _ in range(3):
        assert session.mj.task("1").run().id == "1"
    assert type(session.client.transport._pool) is (
        AiohttpTransport if session.client.transport.use_aiohttp else ShardedTransport
    )
    assert len(TaskServer.client_addresses) == 1
    assert session.client.transport.in_flight == 0


def test_aiohttp_is_used_where_installed() -> None:
    assert Transport({}, clock=SystemClock()).use_aiohttp


def test_cancelled_requests_leave_no_slot_in_use(session: Session) -> None:
    """Two hundred, twenty at a time over five connections, ended by anyio scopes; then the next
    request works.
    """

    async def cancelled(scope: anyio.CancelScope) -> None:
        with scope:
            await session.client.transport.send(session.mj.task("slow"))

    async def rounds() -> None:
        for _ in range(10):
            scopes = [anyio.CancelScope() for _ in range(20)]
            async with anyio.create_task_group() as group:
                for scope in scopes:
                    group.start_soon(cancelled, scope)
                with anyio.fail_after(10):
                    while session.client.transport.in_flight < 10:  # five slots, five connections
                        await anyio.lowlevel.checkpoint()
                for scope in scopes:
                    scope.cancel()
            assert all(scope.cancelled_caught for scope in scopes)
            assert session.client.transport.in_flight == 0

    event_loop.run(rounds())
    TaskServer.client_addresses.clear()
    assert session.mj.task("1").run().id == "1"


@pytest.mark.parametrize(
    ("task", "maybe", "words"),
    [("rude", True, "broke"), ("broken", True, "broke"), ("slow", True, "did not arrive")],
)
def test_lost_post_response_may_have_been_sent(
    session: Session, task: str, maybe: bool, words: str
) -> None:
    """The response to a POST that is lost never counts as "not sent", and no slot is lost."""
    session.client.transport.timeout = 0.2 if task == "slow" else 20
    for _ in range(7):
        with pytest.raises(TransportError) as caught:
            event_loop.run(session.client.transport.send(session.mj.cancel(task)))
        assert caught.value.may_have_been_sent is maybe
        assert words in str(caught.value)
    assert session.client.transport.in_flight == 0


def test_refused_connection_was_not_sent(session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    refused = Session(load_settings({**GIVEN, "mj_url": f"http://127.0.0.1:{port}"}, environ={}))
    refused.client.transport.use_aiohttp = session.client.transport.use_aiohttp
    with pytest.raises(TransportError) as caught:
        event_loop.run(refused.client.transport.send(refused.mj.cancel("1")))
    assert not caught.value.may_have_been_sent
    refused.close()


def test_secrets_and_signatures_are_not_logged(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """By any library, at any level."""
    with caplog.at_level(logging.DEBUG):
        session.mj.task("1").run()
        event_loop.run(session.client.transport.send(session.ci.job("c1")))
        event_loop.run(
            session.client.transport.get(f"{session.settings.mj_url}/p.png?q-signature=abcdef0123")
        )
    for secret in (*SECRETS.values(), "q-sign", "q-ak", "abcdef0123"):
        assert secret not in caplog.text


def test_idle_connections_are_limited(server: str) -> None:
    """However many were in use at once."""

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
def test_proxies_of_environment_are_found(
    environ: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_mjci.client.http_pool import _find_proxy

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert _find_proxy(httpx.Request("GET", url)) == proxy


def test_response_that_trickles_ends_at_total_timeout() -> None:
    """Each byte arrives in time, the whole never; the connection is closed."""
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
    session = Session(
        load_settings(
            {**GIVEN, "mj_url": f"http://127.0.0.1:{server.getsockname()[1]}", "timeout": 0.2},
            environ={},
        )
    )
    with pytest.raises(TransportError, match="did not arrive"):
        event_loop.run(session.client.send_once(session.mj.task("1")))
    thread.join(10)
    assert not thread.is_alive()
    session.close()
    for connection in (server, *held):
        connection.close()


@pytest.mark.parametrize("use_aiohttp", [False, True])
def test_verbose_traceback_of_a_failed_request_shows_no_secret(
    use_aiohttp: bool,
) -> None:
    """Frames of the HTTP libraries hold the headers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dead_port = listening.getsockname()[1]
    settings = load_settings(
        {"mj_url": f"http://127.0.0.1:{dead_port}", "mj_secret": "s3cr3t-canary"}, environ={}
    )
    with Session(settings) as session:
        session.client.transport.use_aiohttp = use_aiohttp
        with pytest.raises(TransportError) as caught:
            session.mj.queue().run()
    texts = []
    pending: list[BaseException | None] = [caught.value]
    while pending:
        error = pending.pop()
        if error is not None:
            trace = traceback.TracebackException.from_exception(error, capture_locals=True)
            texts.append("".join(trace.format(chain=False)))
            pending += [error.__cause__, error.__context__]
    assert len(texts) > 1
    assert "s3cr3t-canary" not in "".join(texts)


@pytest.mark.parametrize(("use_aiohttp", "count"), [(False, 1), (True, 5)])
def test_proxy_is_looked_up_once_at_most(
    monkeypatch: pytest.MonkeyPatch, use_aiohttp: bool, count: int
) -> None:
    """httpx asks for new connections only, aiohttp for each request: the environment is long."""
    lookups: list[httpx.Request] = []
    monkeypatch.setattr("jupyter_mjci.client.http_pool._find_proxy", lookups.append)
    with Sandbox() as sandbox:
        account = sandbox.serve().settings
        session = Session(
            load_settings(
                {"mj_url": account["mj_url"], "mj_secret": account["mj_secret"]}, environ={}
            )
        )
        session.client.transport.use_aiohttp = use_aiohttp
        with session:
            for _ in range(5):
                session.mj.tasks().run()
    assert len(lookups) == count
