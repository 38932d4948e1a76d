"""The engine in a real kernel: queued cells, interrupts, and a pool that stays whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.kernel

SETUP = """
import anyio, jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
s = mjci.connect(mj_url={url!r}, at_once=5, timeout=30)
async def many(n=20):
    async with anyio.create_task_group() as group:
        for i in range(n):
            group.start_soon(s.fetch, s.mj.task(f"slow{{i}}"))
"""


class SlowProxy(BaseHTTPRequestHandler):
    """Answers tasks whose id begins with "slow" only when the server is let go."""

    protocol_version = "HTTP/1.1"
    let_go = threading.Event()

    def do_GET(self) -> None:
        if "/slow" in self.path:
            self.let_go.wait(30)
        body = b'{"id":"1","status":"SUCCESS"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was interrupted has hung up: that is what is tested."""


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    server = QuietServer(("127.0.0.1", 0), SlowProxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    SlowProxy.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def kernel(proxy: str) -> Iterator[tuple[Any, BlockingKernelClient]]:
    manager, client = start_new_kernel(kernel_name="python3")
    run(client, SETUP.format(url=proxy))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str, timeout: float = 60) -> dict[str, Any]:
    """The reply of a cell; its stdout is under "text"."""
    texts: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            texts.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hear, timeout=timeout, allow_stdin=False)
    return {**reply["content"], "text": "".join(texts)}


def wait_for_stream(client: BlockingKernelClient, message: str) -> None:
    """Returns once the kernel runs the cell; an interrupt that comes earlier is nobody's."""
    while True:
        heard = client.get_iopub_msg(timeout=20)
        if heard["msg_type"] == "execute_input" and heard["parent_header"]["msg_id"] == message:
            return


def test_queued_cells_are_kept(kernel: tuple[Any, BlockingKernelClient]) -> None:
    """ "Run All": cells that are sent while one blocks are all answered, in their order."""
    _, client = kernel
    codes = [
        "event_loop.run(anyio.sleep(1.0))",
        *(f"n = {number}; s.mj.task('1').run()" for number in range(4)),
    ]
    sent = [client.execute(code) for code in codes]
    answered = {}
    while len(answered) < len(sent):
        reply = client.get_shell_msg(timeout=30)
        answered[reply["parent_header"]["msg_id"]] = reply["content"]
    assert [answered[one]["status"] for one in sent] == ["ok"] * len(sent)
    counts = [answered[one]["execution_count"] for one in sent]
    assert counts == sorted(counts)


@pytest.mark.parametrize("code", ["event_loop.run(many())", "await event_loop.run_async(many())"])
def test_interrupts_end_the_wait_and_leave_the_pool_whole(
    kernel: tuple[Any, BlockingKernelClient], code: str
) -> None:
    """Twenty requests in flight over five connections, interrupted again and again: the next
    request still works.
    """
    manager, client = kernel
    for _ in range(5):
        message = client.execute(code, stop_on_error=False)  # else the next may be aborted with it
        wait_for_stream(client, message)
        time.sleep(0.5)
        began = time.monotonic()
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=20)
        assert reply["parent_header"]["msg_id"] == message
        assert reply["content"]["ename"] in ("KeyboardInterrupt", "CancelledError")
        assert time.monotonic() - began < 5
    after = run(client, "print(s.mj.task('1').run().status)")
    assert after["text"].strip() == "SUCCEEDED"
    assert run(client, "print(s.client.transport.in_flight)")["text"].strip() == "0"


def test_a_listener_may_block(kernel: tuple[Any, BlockingKernelClient]) -> None:
    """A listener that runs another call, in a kernel whose own loop stays untouched."""
    _, client = kernel
    code = """
import asyncio
busy = []
s.listeners.append(lambda event, value: busy or (busy.append(1), s.mj.task("1").run()))
print(s.mj.task("1").run().status, type(asyncio.get_running_loop()).__dict__.get("_nest_patched"))
s.listeners.pop()
"""
    assert run(client, code)["text"].split() == ["SUCCEEDED", "None"]


def test_loading_the_extension_is_light(kernel: tuple[Any, BlockingKernelClient]) -> None:
    """`%load_ext` in a fresh kernel imports none of the heavy libraries and patches no loop."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        heavy = ["pandas", "httpx", "ipywidgets", "PIL", "xmltodict", "nest_asyncio", "starlette"]
        assert run(client, "%load_ext jupyter_mjci")["status"] == "ok"
        code = f"import sys, asyncio\nprint([m for m in {heavy} if m in sys.modules], vars(asyncio).get('_nest_patched'))"  # noqa: E501
        assert run(client, code)["text"].strip() == "[] None"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
