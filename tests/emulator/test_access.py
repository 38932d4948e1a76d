"""The loopback port: Hosts and Origins, keys, callbacks to ports that were asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from jupyter_mjci.emulator.__main__ import build_parser
from jupyter_mjci.emulator.access import AccessPolicy, is_known_host
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.http import WebhookDelivery
from jupyter_mjci.emulator.server import LoopbackServer
from jupyter_mjci.emulator.webhooks import WebhookDispatcher
from tests.emulator.cos_client import authorization

pytestmark = pytest.mark.anyio

PAGE = "http://localhost:8888"
STRANGER = "https://attacker.example"
PREFLIGHT = {
    "access-control-request-method": "PUT",
    "access-control-request-headers": "authorization,x-cos-meta-a",
}


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with Sandbox(origins=["https://hub.example"]) as sandbox, sandbox.serve() as running:
        yield running


def send(server: LoopbackServer, method: str, path: str, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(trust_env=False) as client:
        return client.request(method, server.url + path, headers=names)


PATHS = ["/in/deer.jpg", "/", "/jobs", "/mj/task/list", "/mj/submit/imagine", "/_sandbox/stats"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example:8080"},
        {"host": "demo.cos.attacker.example"},
        {"host": "x.cos.ap-chongqing.attacker.example"},
        {"host": "127.0.0.1.attacker.example"},
        {"origin": STRANGER},
        {"origin": "null"},
        {"origin": "http://localhost.attacker.example"},
        {"origin": "http://attacker.localhost:8000"},
        {"origin": "https://127.0.0.1@attacker.example"},
        {"origin": "file://"},
        {"origin": "chrome-extension://localhost"},
    ],
)
def test_stranger_is_refused(
    server: LoopbackServer, path: str, method: str, headers: dict[str, str]
) -> None:
    """A page of another site gets 403, without a word that its script could read."""
    answer = send(server, method, path, **headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "xml" not in answer.headers["content-type"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin", [PAGE, "http://127.0.0.1:1", "http://[::1]:2", "https://hub.example"]
)
def test_known_origin_may_read_every_answer(server: LoopbackServer, path: str, origin: str) -> None:
    """Answers, errors and preflights; without a signature, too."""
    answer = send(server, "GET", path, origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {name for name in answer.headers if name.startswith("x-c")} <= set(exposed)
    preflight = send(server, "OPTIONS", path, origin=origin, **PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization,x-cos-meta-a"


def test_unsigned_object_at_an_address_is_refused_by_cos(server: LoopbackServer) -> None:
    """Who a request is for does not hang on a signature."""
    answer = send(server, "GET", "/in/deer.jpg", origin=PAGE)
    assert (answer.status_code, answer.headers["server"]) == (403, "tencent-cos")
    assert "<Code>AccessDenied</Code>" in answer.text


def test_bucket_rules_let_an_origin_in(server: LoopbackServer) -> None:
    """What the account's own rules allow is no stranger, on that bucket."""
    sandbox = server.sandbox
    assert isinstance(sandbox, Sandbox)
    host = f"{sandbox.options['bucket']}.cos.{sandbox.options['region']}.myqcloud.com"
    rules = (
        "<CORSConfiguration><CORSRule><AllowedOrigin>https://attacker.example</AllowedOrigin>"
        "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    now = int(sandbox.clock.now())
    keys = {"key_id": sandbox.options["secret_id"], "key": sandbox.options["secret_key"]}
    signed = authorization("PUT", "/", {"cors": ""}, {"host": host}, f"{now};{now + 60}", **keys)
    with httpx.Client(trust_env=False) as client:
        names = {"host": host, "authorization": signed}
        put = client.put(f"{server.url}/?cors=", headers=names, content=rules)
    assert put.status_code == 200, put.text
    try:
        assert (
            send(server, "GET", "/in/deer.jpg", origin=STRANGER).headers["server"] == "tencent-cos"
        )
        assert send(server, "PUT", "/in/deer.jpg", origin=STRANGER).status_code == 403
        assert send(server, "GET", "/mj/task/list", origin=STRANGER).status_code == 403
    finally:
        sandbox.restart("ci")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8123", True),
        ("LOCALHOST", True),
        ("[::1]:8123", True),
        ("mj.sandbox.localhost", True),
        ("demo-1250000000.cos.ap-chongqing.myqcloud.com:80", True),
        ("demo-1250000000.ci.ap-chongqing.tencentci.cn", True),
        ("demo-1250000000.cos.ap-chongqing.tencentcos.cn", True),
        ("cos.ap-chongqing.myqcloud.com", True),
        ("service.cos.myqcloud.com", True),
        ("", True),
        ("myqcloud.com.attacker.example", False),
        ("attacker-myqcloud.com", False),
        ("0.0.0.0", False),
        ("192.168.0.1", False),
        ("127.0.0.1:80:80", False),
        ("a b", False),
    ],
)
def test_hosts_that_are_answered_for(host: str, known: bool) -> None:
    assert is_known_host(host) is known


def test_any_origin_may_be_allowed() -> None:
    assert AccessPolicy(["*"]).is_known_origin(STRANGER)
    assert AccessPolicy(["HTTPS://Attacker.example/"]).is_known_origin(STRANGER)
    assert not AccessPolicy().is_known_origin(STRANGER)
    assert not AccessPolicy().is_known_origin("http://[::1")


def test_keys_differ_from_start_to_start() -> None:
    """No key stands in the source; the sandboxes of one process share theirs."""
    code = "from jupyter_mjci.emulator.app import Sandbox; print(*Sandbox().settings.values())"
    answers = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)]
    accounts = [dict(zip(Sandbox().settings, text.split(), strict=True)) for text in answers]
    accounts.append(Sandbox().settings)
    assert Sandbox().settings == Sandbox().settings
    for name in ("secret_id", "secret_key", "mj_secret"):
        assert len({account[name] for account in accounts}) == 3
    args = build_parser().parse_args(["--keys", "AKID1:se:cret", "--mj-secret", "m"])
    assert (args.secret_id, args.secret_key, args.mj_secret) == ("AKID1", "se:cret", "m")


@pytest.mark.parametrize("keys", ["", "AKID1", ":x", "AKID1:"])
def test_incomplete_keys_are_refused(keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--keys", keys])
    assert "must be ID:SECRET" in capsys.readouterr().err


class _Hook(BaseHTTPRequestHandler):
    seen: list[str]

    def do_POST(self) -> None:
        self.seen.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[int, list[str]]]:
    seen: list[str] = []
    handler = type("Hook", (_Hook,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running.server_port, seen
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("allowed", [True, False])
async def test_callbacks_go_only_to_ports_that_were_asked_for(
    hook: tuple[int, list[str]], allowed: bool
) -> None:
    """Another service of this machine gets nothing; what was dropped is told."""
    port, seen = hook
    url = f"http://127.0.0.1:{port}/hook"
    sandbox = Sandbox(callback_ports=[port] if allowed else [1])
    transport = sandbox.transport()
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.post(
            "/mj/submit/imagine",
            json={"prompt": "a fox", "notifyHook": url},
            headers={"mj-api-secret": sandbox.options["mj_secret"]},
        )
        await sandbox.clock.sleep(600)
        await client.get("/mj/task/list", headers={"mj-api-secret": sandbox.options["mj_secret"]})
        await sandbox.drain_webhooks()
        stats = (await client.get("/_sandbox/stats")).json()["callbacks"]
    assert bool(seen) is allowed
    assert bool(stats["dropped"]) is not allowed
    assert set(stats["dropped_urls"]) == (set() if allowed else {url})


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://127.0.0.1:8001/x", True),
        ("http://localhost/x", False),
        ("https://localhost/x", False),
        ("http://127.0.0.1:8002/x", False),
    ],
)
def test_port_of_a_callback_counts(url: str, sent: bool) -> None:
    dispatcher = WebhookDispatcher([8001])
    dispatcher.enqueue([WebhookDelivery(url, b"")])
    assert (dispatcher.dropped_count == 0) is sent
