"""A Midjourney proxy behind a gateway, on loopback, whose odd responses a test puts in between."""

from __future__ import annotations

import io
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from tests.relays import OddResponse


def _draw_picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


PICTURE = _draw_picture()


class GatewayHandler(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        route = self.server.get_route(self.path)
        with self.server.lock:
            self.server.requests[route] += 1
            odd_responses = self.server.odd[route]
            odd = odd_responses.pop(0) if odd_responses else None
        if odd is not None:
            self.send(odd.status, odd.content, odd.content_type, odd.headers)
            return
        status, answer = self.server.answer(route, self.path, body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send(status, content, "application/json", {})

    def send(self, status: int, content: bytes, kind: str, headers: Any) -> None:
        self.send_response(status)
        has_body = status >= 200 and status not in (204, 304)
        for name, value in headers.items():
            if name != "content-type":
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if has_body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Gateway(ThreadingHTTPServer):
    """The proxy, and its gateway.

    A task succeeds when it is polled for the `polls_needed`th time.

    Args:
        has_bulk_fetch: whether list-by-condition exists
        has_listing: whether the list of tasks exists
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *, has_bulk_fetch: bool = False, has_listing: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), GatewayHandler)
        self.has_bulk_fetch = has_bulk_fetch
        self.has_listing = has_listing
        self.polls_needed = 3
        self.lock = threading.Lock()
        self.requests: dict[str, int] = defaultdict(int)
        self.odd: dict[str, list[OddResponse]] = defaultdict(list)
        self.tasks: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_route(self, path: str) -> str:
        """Return what a path is for: submit, fetch/ID, bulk, list, picture."""
        parts = path.strip("/").split("/")
        if parts[:2] == ["mj", "submit"]:
            return "submit"
        if parts[-1] == "fetch":
            return f"fetch/{parts[2]}"
        names = {"list-by-condition": "bulk", "list": "list", "0.png": "picture"}
        return names.get(parts[-1], parts[-1])

    def answer(self, route: str, path: str, body: bytes) -> tuple[int, Any]:
        with self.lock:
            if route == "submit":
                return 200, self.submit(json.loads(body))
            if route.startswith("fetch/"):
                return self.fetch(route.removeprefix("fetch/"))
            if route == "bulk" and self.has_bulk_fetch:
                ids = json.loads(body)["ids"]
                return 200, [self.fetch(task_id)[1] for task_id in ids if task_id in self.tasks]
            if route == "list" and self.has_listing:
                return 200, list(self.tasks.values())
            if route == "picture":
                return 200, PICTURE
        return 404, {"status": 404, "error": "Not Found", "path": path}

    def submit(self, request: dict[str, Any]) -> dict[str, Any]:
        task_id = str(1_700_000_000_000_000 + len(self.tasks))
        self.tasks[task_id] = {
            "id": task_id,
            "action": "IMAGINE",
            "status": "IN_PROGRESS",
            "progress": "0%",
            "prompt": request["prompt"],
            "state": request.get("state", ""),
            "polls": 0,
        }
        return {"code": 1, "description": "ok", "result": task_id}

    def fetch(self, task_id: str) -> tuple[int, Any]:
        task = self.tasks.get(task_id)
        if task is None:
            return 200, b""
        task["polls"] += 1
        task["progress"] = f"{min(100, 100 * task['polls'] // self.polls_needed)}%"
        if task["polls"] >= self.polls_needed:
            task["status"] = "SUCCESS"
            task["imageUrl"] = f"{self.url}/mj/image/0.png"
        return 200, task


@contextmanager
def serve(gateway: Gateway) -> Iterator[Gateway]:
    """Serve until the block ends."""
    with gateway:
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield gateway
        finally:
            gateway.shutdown()
            thread.join()
