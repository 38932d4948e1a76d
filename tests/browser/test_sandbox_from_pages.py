"""Web pages and the sandbox's loopback port, with web security on: pages of this machine read every
answer, pages of other sites reach nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.server import LoopbackServer
from tests.browser.conftest import FLAGS
from tests.emulator.cos_client import authorization

ATTACKER = "attacker.example"
READ = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    const exposed = {};
    answer.headers.forEach((value, name) => { exposed[name] = value; });
    return {status: answer.status, text: await answer.text(), headers: exposed};
  } catch (error) { return {error: String(error)}; }
}"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """The port of a web site on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with Sandbox() as sandbox, sandbox.serve() as running:
        yield running


def visit(chromium: str, url: str, requests: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Open a page in a browser of its own thread, and let it send requests."""
    answers: list[Any] = []

    def drive() -> None:
        rules = f"--host-resolver-rules=MAP {ATTACKER} 127.0.0.1"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, rules])
            page = browser.new_page()
            opened = page.goto(url)
            answers.append(opened.status if opened else 0)
            answers.extend(page.evaluate(READ, [target, options]) for target, options in requests)
            browser.close()

    # Playwright's blocking API keeps an event loop in its thread.
    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    return answers


def sign(server: LoopbackServer, method: str, path: str) -> dict[str, str]:
    sandbox = server.sandbox
    assert isinstance(sandbox, Sandbox)
    now = int(sandbox.clock.now())
    keys = {"key_id": sandbox.options["secret_id"], "key": sandbox.options["secret_key"]}
    value = authorization(method, path, {}, {}, f"{now - 9};{now + 999}", **keys)
    return {"authorization": value, "x-cos-meta-a": "1"}


def test_page_of_this_machine_reads_answers_and_errors(
    chromium: str, site: int, server: LoopbackServer
) -> None:
    """A signed upload with its preflight, its checksum headers, an unsigned object's error."""
    put = {"method": "PUT", "headers": sign(server, "PUT", "/page.txt"), "body": "hello"}
    requests: list[tuple[str, dict[str, Any]]] = [
        (f"{server.url}/page.txt", put),
        (f"{server.url}/page.txt", {"headers": sign(server, "GET", "/page.txt")}),
        (f"{server.url}/page.txt", {}),
    ]
    _, stored, read, refused = visit(chromium, f"http://localhost:{site}/", requests)
    assert stored["status"] == 200, stored
    assert {"etag", "x-cos-request-id", "x-cos-hash-crc64ecma"} <= set(stored["headers"])
    assert (read["text"], read["headers"]["x-cos-meta-a"]) == ("hello", "1")
    assert (refused["status"], "AccessDenied" in refused["text"]) == (403, True)


def test_page_of_another_site_reaches_nothing(
    chromium: str, site: int, server: LoopbackServer
) -> None:
    """Not by text/plain, which needs no preflight, and not by a name bound to 127.0.0.1."""
    sandbox = server.sandbox
    assert isinstance(sandbox, Sandbox)
    before = sandbox.services["ci"].request_count, sandbox.services["mj"].snapshot()
    plain = {"method": "POST", "headers": {"content-type": "text/plain"}, "body": "<Request/>"}
    requests = [(f"{server.url}{path}", plain) for path in ("/jobs", "/mj/submit/imagine", "/x")]
    requests.append((f"{server.url}/_sandbox/stats", {}))
    opened, *answers = visit(chromium, f"http://{ATTACKER}:{site}/", requests)
    assert opened == 200
    assert [set(answer) for answer in answers] == [{"error"}] * 4
    rebound, own = visit(
        chromium,
        f"http://{ATTACKER}:{server.port}/_sandbox/stats",
        [("/mj/submit/imagine", plain)],
    )
    assert (rebound, own["status"]) == (403, 403)
    assert (sandbox.services["ci"].request_count, sandbox.services["mj"].snapshot()) == before
