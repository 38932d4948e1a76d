"""Links of answers lead to this machine and its network only where a service is, too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import httpx
import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.address_guard import AddressGuard, classify_address
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.errors import InvalidResponse, SettingsError, TransportError
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session
from tests.gateway import PICTURE

KINDS = {
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "0.0.0.0": "loopback",
    "::": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "2002:7f00:1::": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "169.254.169.254": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "168.63.129.16": "link-local",
    "fe80::1%lo": "link-local",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "100.100.100.200": "private",
    "192.0.0.192": "private",
    "fd00:ec2::254": "private",
    "fec0::1": "private",
    "224.0.0.1": "private",
    "255.255.255.255": "private",
    "198.18.0.9": "",
    "93.184.216.34": "",
    "2606:2800:220:1::1": "",
}


@pytest.mark.parametrize(("address", "kind"), KINDS.items())
def test_address_is_of_its_kind(address: str, kind: str) -> None:
    assert classify_address(address) == kind


NAMES = {
    "proxy.example": ["93.184.216.34"],
    "cdn.example": ["93.184.216.35", "2606:2800:220:1::1"],
    "inside.example": ["10.0.0.7"],
    "both.example": ["93.184.216.35", "127.0.0.1"],
    "rebound.example": ["::ffff:127.0.0.1"],
}


async def look_up(host: str, port: int) -> list[str]:
    """Resolve names of this test, and whatever the system takes for an address."""
    if host in NAMES:
        return NAMES[host]
    found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def choose(url: str, service: str = "https://proxy.example", *, is_proxied: bool = False) -> object:
    guard = AddressGuard((service,), look_up)
    choice = guard.choose_addresses
    return anyio.run(lambda: choice(httpx.URL(url), is_proxied=is_proxied))


INSIDE = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://017700000001/",
    "http://0x7f.1/",
    "http://[::1]/",
    "http://[::ffff:7f00:1]/",
    "http://0/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://192.168.0.1/",
    "http://[fd00:ec2::254]/",
    "http://inside.example/",
    "http://both.example/",
    "http://rebound.example/",
]


@pytest.mark.parametrize("url", INSIDE)
def test_link_into_a_network_without_service_is_refused(url: str) -> None:
    with pytest.raises(InvalidResponse, match="was not followed"):
        choose(url)


@pytest.mark.parametrize("url", INSIDE[:13])
def test_written_out_address_is_refused_behind_a_proxy_too(url: str) -> None:
    with pytest.raises(InvalidResponse, match="was not followed"):
        choose(url, is_proxied=True)


def test_public_link_has_its_addresses() -> None:
    assert choose("https://cdn.example/0.png") == NAMES["cdn.example"]
    assert choose("https://cdn.example/0.png", is_proxied=True) == []


def test_link_of_the_services_own_kind_of_network_is_followed() -> None:
    assert choose("http://10.9.9.9/", "http://inside.example:8080") == ["10.9.9.9"]
    assert choose("http://127.0.0.2/", "http://127.0.0.1", is_proxied=True) == []


def test_private_service_opens_no_other_kind_of_network() -> None:
    for url in ("http://127.0.0.1/", "http://169.254.169.254/"):
        with pytest.raises(InvalidResponse):
            choose(url, "http://inside.example")


# --- over the network -------------------------------------


class Handler(BaseHTTPRequestHandler):
    requests: list[str]
    location = ""

    def do_GET(self) -> None:
        self.requests.append(self.headers["Host"])
        self.send_response(302 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        self.wfile.write(PICTURE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    """Listen on another loopback address than 127.0.0.1, which some proxies mean themselves by."""
    handler = type("Own", (Handler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.2", 0), handler) as listening:
        handler.port = listening.server_port
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield handler
        listening.shutdown()
        thread.join()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Let names resolve to other addresses: each to the next of its list, and then to the last."""
    table = {"proxy.example": ["93.184.216.34"]}
    find = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        addresses = table.get(host)
        if addresses:
            host = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return find(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


Connect = Callable[..., Session]


@pytest.fixture(params=[True, False], ids=["aiohttp", "httpx"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    sessions = []

    def build(**settings: Any) -> Session:
        session = Session(load_settings({"timeout": 10.0, **settings}, environ={}))
        session.client.transport.use_aiohttp = request.param
        sessions.append(session)
        return session

    yield build
    for session in sessions:
        session.close()


def test_link_to_loopback_of_a_remote_service_is_not_sent(
    connect: Connect, server: Any, names: object
) -> None:
    url = f"http://127.0.0.2:{server.port}/0.png"
    with pytest.raises(InvalidResponse, match="was not followed"):
        connect(mj_url="http://proxy.example").picture(url).run()
    assert server.requests == []
    assert connect(mj_url="http://proxy.example", allow_private="yes").picture(url).run() == PICTURE
    assert connect(mj_url="http://127.0.0.1:9").picture(url).run() == PICTURE
    assert len(server.requests) == 2


def test_redirect_into_another_network_is_not_followed(connect: Connect, server: Any) -> None:
    server.location = "http://169.254.169.254/latest/meta-data/"
    session = connect(mj_url="http://127.0.0.1:9")
    with pytest.raises(InvalidResponse, match=r"169\.254\.169\.254, and was not followed"):
        session.picture(f"http://127.0.0.2:{server.port}/0.png").run()


def test_connection_goes_to_the_address_that_was_checked(
    connect: Connect, server: Any, names: dict[str, list[str]]
) -> None:
    """A name that has another address at the second look is connected to at the first."""
    names["pictures.example"] = ["127.0.0.2", "169.254.169.254"]
    session = connect(mj_url="http://127.0.0.1:9")
    url = f"http://pictures.example:{server.port}/0.png"
    assert session.picture(url).run() == PICTURE
    assert server.requests == [f"pictures.example:{server.port}"]
    with pytest.raises(InvalidResponse, match="was not followed"):
        session.picture(url).run()


def test_certificate_is_that_of_the_name_not_of_the_address(
    connect: Connect, names: dict[str, list[str]]
) -> None:
    names["other.example"] = ["127.0.0.1"]
    with Sandbox() as sandbox, sandbox.serve(tls=True) as running:
        session = connect(mj_url="http://127.0.0.1:9", ca_file=str(running.settings["ca_file"]))
        get = session.client.transport.get
        url = f"https://localhost:{running.port}/_sandbox/stats"
        assert event_loop.run(get(url)).status == 200
        with pytest.raises(TransportError):
            event_loop.run(get(url.replace("localhost", "other.example")))


def test_setting_is_a_switch() -> None:
    for text, value in {"1": True, "no": False, "TRUE": True}.items():
        settings = load_settings({}, environ={"MJCI_ALLOW_PRIVATE": text})
        assert settings.allow_private is value
    with pytest.raises(SettingsError, match="yes or no"):
        load_settings({}, environ={"MJCI_ALLOW_PRIVATE": "perhaps"})
