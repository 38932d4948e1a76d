"""No credential is left in anything that a session writes, logs, shows or raises.

Each credential setting of both services, found in their sections, gets a value of its own; the
server repeats whatever it is sent.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from IPython.core.ultratb import VerboseTB
from rich.console import Console
from rich.traceback import Traceback

from jupyter_mjci.cli.main import main
from jupyter_mjci.client.redaction import iter_encodings
from jupyter_mjci.client.settings import list_section_settings
from jupyter_mjci.errors import MjciError
from jupyter_mjci.services import get_section_types, load_settings
from jupyter_mjci.session import Session
from tests.virtual_clock import VirtualClock

LOGGERS = ("", "httpx", "httpcore", "aiohttp", "asyncio", "jupyter_mjci")
TASK = {"id": "1767225600000230", "status": "SUCCESS", "progress": "100%", "prompt": "a fox"}
JOB = (
    "<Response><JobsDetail><JobId>j0123456789abcdef0123456789abcdef</JobId><State>Success</State>"
    "<Tag>PicProcess</Tag><Input><Object>{echo}</Object></Input></JobsDetail></Response>"
)
# What the server answers: status, content type, body. {echo}
# stands for all the headers of the request.
RESPONSES = {
    "task": (200, "application/json", json.dumps({**TASK, "failReason": "{echo}"})),
    "job": (200, "application/xml", JOB),
    "refusal": (401, "application/json", '{"code": 4, "description": "invalid {echo}"}'),
    "forbidden": (403, "application/xml", "<Error><Code>X</Code><Message>{echo}</Message></Error>"),
    "page": (502, "text/html", "<html><title>{echo}</title></html>"),
    "text": (429, "text/plain", "slow down, {echo}"),
    "not JSON": (200, "application/json", "{{echo}"),
    "not XML": (200, "application/xml", "<Response><a>{echo}"),
    "redirect": (302, "text/plain", "see {echo}"),
    "missing": (404, "text/plain", "{echo}"),
    "broken": (500, "application/json", '{"error": {"message": "{echo}"}}'),
}


class EchoHandler(BaseHTTPRequestHandler):
    """Repeats the headers of a request in the body and in a header of its response."""

    response = "task"

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.rfile.read(length)
        if self.response == "hang up":
            self.connection.close()
            return
        status, content_type, body = RESPONSES[self.response]
        echo = " ".join(f"{name} {value}" for name, value in self.headers.items())
        content = body.replace("{echo}", echo).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Echo", echo)
        if status == 302:
            self.send_header("Location", f"/elsewhere?secret={echo}".replace(" ", "+"))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keep stderr clean."""


@pytest.fixture
def server() -> Iterator[type[EchoHandler]]:
    handler = type("Handler", (EchoHandler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        handler.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield handler
        listening.shutdown()
        thread.join()


def make_canaries() -> dict[str, str]:
    """Return a value for every credential setting of every service."""
    settings = list_section_settings(get_section_types())
    names = [setting.name for setting in settings if setting.is_credential]
    return {name: f"canary/{index}+{name}=x" for index, name in enumerate(names)}


def list_forms(canaries: dict[str, str]) -> list[str]:
    return [*iter_encodings(canaries.values()), "passw0rd-canary"]


def connect(url: str, home: Path) -> Session:
    address = url.replace("http://", "http://me:passw0rd-canary@")
    own = {"mj_url": address, "ci_endpoint": url, "cos_endpoint": url, "home": str(home)}
    own |= {
        "ci_bucket": "demo-1250000000",
        "ci_region": "ap-chongqing",
        "timeout": 5.0,
        "wait": 300.0,
    }
    settings = load_settings({**make_canaries(), **own}, environ={})
    return Session(settings, clock=VirtualClock(), home=home)


def list_calls(session: Session) -> list[Callable[[], object]]:
    """Return a submission, a poll, a listing and a picture of each service, a probe and a sync."""
    task, job = TASK["id"], "j0123456789abcdef0123456789abcdef"
    picture = {"input": "a.jpg", "rule": "imageMogr2/rotate/90", "output": "b.jpg"}
    return [
        lambda: session.mj.imagine("a fox").run(),
        lambda: session.mj.task(task).run(),
        lambda: session.mj.queue().run(),
        lambda: session.ci.picture_job(**picture).run(),
        lambda: session.ci.job(job).run(),
        lambda: session.ci.jobs().first_page.run(),
        lambda: session.cancel(job).run(),
    ]


@contextmanager
def capture_logs(stream: io.StringIO) -> Iterator[None]:
    """Write everything that is logged at DEBUG."""
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    try:
        yield
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def try_call(call: Callable[[], object]) -> object:
    """Return the value or the error; its traceback begins here."""
    try:
        return call()
    except MjciError as error:
        return error


def format_every_way(error: BaseException) -> str:
    """Return an error as Python, rich, IPython and the notebook show it, with local variables."""
    console = Console(file=io.StringIO(), width=250)
    trace = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000
    )
    console.print(trace)
    verbose = VerboseTB(include_vars=True)
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join(
        [
            "".join(captured.format()),
            console.file.getvalue(),  # type: ignore[attr-defined]
            verbose.text(type(error), error, error.__traceback__),
            repr(error),
            repr(vars(error)),
            repr(getattr(error, "args", "")),
        ]
    )


def describe_objects(session: Session) -> str:
    """Return what the objects of a session show of themselves."""
    objects: list[Any] = [session, session.client, session.client.transport, session.settings]
    objects += session.settings.sections.values()
    objects += session.client.transport.endpoints.values()
    texts = [repr(each) for each in objects]
    texts += [repr(vars(each)) for each in objects if hasattr(each, "__dict__")]
    # A SecretId is a name: whoever asks for its value gets it.
    texts += [
        repr({**dataclasses.asdict(each), "secret_id": ""})
        for each in session.settings.sections.values()
    ]
    texts += [repr(copy.deepcopy(section)) for section in session.settings.sections.values()]
    return "\n".join(texts)


def read_folder(folder: Path) -> str:
    return "\n".join(
        path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("use_aiohttp", [False, True], ids=["httpx", "aiohttp"])
def test_no_credential_is_in_anything_that_a_session_leaves(
    use_aiohttp: bool,
    server: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Successes and every kind of error: what is written, logged, printed and shown."""
    log, shown = io.StringIO(), []
    formatted = set()
    with capture_logs(log), connect(server.url, tmp_path / "home") as session:
        session.client.transport.use_aiohttp = use_aiohttp
        for response in (*RESPONSES, "hang up"):
            server.response = response
            for call in list_calls(session):
                result = try_call(call)
                shown.append(repr(result))
                if isinstance(result, MjciError):
                    shown.append(repr(vars(result)))
                    if type(result) not in formatted:
                        formatted.add(type(result))
                        shown.append(format_every_way(result))
        server.response = "task"
        with session.record_to(tmp_path / "a.mjci") as recorded:
            recorded.client.transport.use_aiohttp = use_aiohttp
            shown.append(repr(recorded.mj.task(TASK["id"]).run()))
        frame = session.history()
        shown += [frame.to_csv(), str(frame), frame.to_html()]
        shown.append(describe_objects(session))
    assert len(formatted) >= 4
    places = {
        "shown": "\n".join(shown),
        "logged": log.getvalue(),
        "written": read_folder(tmp_path),
        "printed": "".join(capfd.readouterr()),
    }
    assert "canary" in "".join(make_canaries().values())
    leaks = [
        (place, form)
        for place, text in places.items()
        for form in list_forms(make_canaries())
        if form in text
    ]
    assert leaks == []


def test_nothing_with_a_credential_can_be_pickled(tmp_path: Path) -> None:
    with connect("http://127.0.0.1:9", tmp_path) as session:
        for value in (session.settings, *session.settings.sections.values(), session):
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(value)


def test_doctor_shows_no_credential(
    server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Against a server that refuses everything and repeats it."""
    server.response = "refusal"
    for name, value in make_canaries().items():
        monkeypatch.setenv(f"MJCI_{name.upper()}", value)
    for name in ("MJ_URL", "CI_ENDPOINT", "COS_ENDPOINT"):
        monkeypatch.setenv(f"MJCI_{name}", server.url)
    monkeypatch.setenv("MJCI_CI_BUCKET", "demo-1250000000")
    monkeypatch.setenv("MJCI_CI_REGION", "ap-chongqing")
    assert main(["doctor"]) == 1
    printed = "".join(capfd.readouterr())
    assert [form for form in list_forms(make_canaries()) if form in printed] == []
