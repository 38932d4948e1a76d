"""A loopback server with a base URL for each hostile answer: /0, /1, … in the order of ANSWERS."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator

from tests.hostile.answers import ANSWERS, Answer, load_body


class Handler(socketserver.StreamRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        # A client that has read enough closes the connection.
        with contextlib.suppress(OSError):
            self.request.settimeout(30)
            request_line = self.rfile.readline()
            if not request_line:
                return  # a connection that was not needed
            length = 0
            for line in iter(lambda: self.rfile.readline().strip(), b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self.rfile.read(length)
            index = request_line.split(b" ")[1].split(b"/")[1]
            if not index.isdigit():
                return  # a redirect led nowhere
            for piece in self.answer(int(index)):
                self.wfile.write(piece)
                if self.server.is_closing:
                    return

    def answer(self, index: int) -> Iterator[bytes]:
        answer = ANSWERS[index]
        if isinstance(answer, Answer):
            return answer.iter_http(load_body(answer))
        return answer.stream(self.server.get_url(index))


class HostileServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    is_closing = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def get_url(self, index: int) -> str:
        return f"{self.url}/{index}"


@contextlib.contextmanager
def serve() -> Iterator[HostileServer]:
    """Serve until the block ends."""
    with HostileServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.is_closing = True
            server.shutdown()
            thread.join()
