"""Read hostile answers in a process of its own, whose memory is measured.

`python -m tests.hostile.readers` takes lines of JSON from its input:
[READER, TRANSPORT, PLACE, FIRST, STEP]. Each is carried out by a
fork, which need not import anything, and answered by a line for each
answer and one with the fork's exit status. PLACE is the server's
address for a reader of answers, the folder of the bodies for a
reader of files. With a step only each so many-th answer is read,
from the first one on.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupyter_mjci as mjci
from jupyter_mjci import secret_scan
from jupyter_mjci.client import cassette, transport
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.player import Player
from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import MjciError
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.imaging.model import RuleError
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.imaging.rule_syntax import apply_rule
from jupyter_mjci.jobs import submission
from jupyter_mjci.notebook.cards import card_html, card_text, progress_html
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session
from tests.hostile.answers import ANSWERS, BODIES, Conversation
from tests.virtual_clock import VirtualClock

CI_JOB = "j" + "0" * 32
# seconds of one reader with all answers
TIMEOUT = int(os.environ.get("HOSTILE_TIMEOUT", "1200"))
# Far above what is promised, so that the machine survives a miss.
MAX_ADDRESS_SPACE = 6 * 2**30


@dataclass(frozen=True)
class Source:
    """What a reader reads: a session with the server of one answer, or the file of a body."""

    session: Session
    url: str
    file: Path


Reader = Callable[[Source], object]


def show(jobs: list[Job]) -> None:
    """Show jobs as a cell, a terminal and a table do."""
    for job in jobs[:20]:
        str(job)
        card_text(job)
        card_html(job)
        progress_html(job)


def show_picture(content: bytes) -> None:
    """Show a picture as a cell does, and read what is in it."""
    shown = Picture(content)
    repr(shown)
    shown._repr_mimebundle_()


def read_submission(source: Source) -> None:
    show([source.session.mj.imagine("a fox").run()])


def read_poll(source: Source) -> None:
    show([source.session.mj.task("17").run()])


def read_listing(source: Source) -> None:
    show(source.session.mj.tasks().run())


def read_table(source: Source) -> None:
    source.session.frame(source.session.mj.tasks())


def plot_listing(source: Source) -> None:
    # Here, because matplotlib would add to the memory of all readers.
    from jupyter_mjci.history.plots import render_plot

    frame = source.session.frame(source.session.mj.tasks())
    if len(frame):
        render_plot(frame.mjci, "timeline")
        render_plot(frame.mjci, "failures", by="reason")


def read_status(source: Source) -> None:
    """Record jobs, and tell what is under way and what they cost."""
    from jupyter_mjci.notebook.current_session import Selection
    from jupyter_mjci.notebook.doctor import build_status

    source.session.mj.tasks().run()
    build_status(Selection(source.session, "s"))


def open_panels(source: Source) -> None:
    """Record jobs, and show them in the panels of no service."""
    source.session.mj.tasks().run()
    for kind in ("status", "history"):
        panel = mjci.panel(kind, source.session)
        try:
            concurrent.futures.wait([task.future for task in panel._tasks])
            show_widget(panel)
        finally:
            panel.close()


def show_widget(widget: Any) -> None:
    """Read what a widget and its children send to the browser."""
    json.dumps(widget.get_state(), default=str)
    for child in getattr(widget, "children", ()):
        show_widget(child)


def read_batch(source: Source) -> None:
    ids = ["1700000000000017", "1700000000000018"]
    show(source.session.batch(ids).run())


def read_followed(source: Source) -> None:
    session = source.session
    show([session.follow("1700000000000017", timeout=60).run()])


def read_picture(source: Source) -> None:
    show_picture(source.session.picture(f"{source.url}/0.png").run())


def download(source: Source) -> None:
    """Download, and archive, the results of a job whose ID and links are hostile, too."""
    job = Job("mj", "../17", outputs=(f"{source.url}/..%2f..%2fCON.png",))
    with tempfile.TemporaryDirectory() as folder:
        source.session.download(job, folder).run()


def read_ci_submission(source: Source) -> None:
    call = source.session.ci.picture_job(input="a.jpg", rule="imageMogr2/rotate/90", output="b.jpg")
    show([call.run()])


def read_ci_job(source: Source) -> None:
    show([source.session.ci.job(CI_JOB).run()])


def read_ci_listing(source: Source) -> None:
    source.session.frame(source.session.ci.jobs(limit=100))


def read_objects(source: Source) -> None:
    source.session.ci.objects(limit=10).run()


def read_webhook(source: Source) -> None:
    """Post a body to a webhook server of a session that follows jobs."""
    with source.session.receive() as server:
        request = urllib.request.Request(server.url, data=source.file.read_bytes(), method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with contextlib.suppress(OSError):
            opener.open(request, timeout=20).close()
    source.session.history()


def read_import(source: Source, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"export{suffix}"
        file.symlink_to(source.file)
        source.session.history.load(file)
    source.session.history()


def read_scan(source: Source, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"saved{suffix}"
        file.symlink_to(source.file)
        list(secret_scan.scan([file], {}))


def read_recording(source: Source) -> None:
    """Load a recording whose manifest, or whose one exchange, is the body."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / cassette.MANIFEST).symlink_to(source.file)
        with contextlib.suppress(MjciError):
            Player(path)
        (path / cassette.MANIFEST).unlink()
        manifest = {"format": 1, "exchanges": 1, "started": 0, "settings": {}}
        (path / cassette.MANIFEST).write_text(json.dumps(manifest))
        (path / "0001-mj-imagine.json").symlink_to(source.file)
        Player(path)


def read_sealed_recording(source: Source) -> None:
    """Load a recording whose exchange has the body for a response, and a checksum that is right."""
    body = source.file.read_bytes()[:1_000_000].decode("utf-8", "replace")
    values: list[Any] = [body]
    with contextlib.suppress(ValueError, RecursionError):
        values.append(json.loads(body))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for value in values:
            for exchange in (value, {"request": value}, {"request": {}, "answer": value}):
                if not isinstance(exchange, dict):
                    continue
                sealed = {**exchange, "seal": cassette.compute_checksum(exchange)}
                (path / "0001-mj-imagine.json").write_text(json.dumps(sealed))
                manifest = {"format": 1, "exchanges": 1, "started": 0, "settings": value}
                (path / cassette.MANIFEST).write_text(json.dumps(manifest))
                Player(path)


def read_profiles(source: Source) -> None:
    load_known_secrets({}, source.file)
    load_settings({}, environ={}, file=source.file)


def read_journal(source: Source) -> None:
    """Open a journal that is the body, alone and behind SQLite's first bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for start in (b"x", b"SQLite format 3\0"):
            path = Path(folder) / f"journal{len(start)}.db"
            path.write_bytes(start + source.file.read_bytes() + bytes(600))
            with contextlib.suppress(MjciError):
                Journal(path).count()
                raise AssertionError("a damaged journal is no journal")


def open_picture(source: Source) -> None:
    picture = Picture.open(source.file)
    show_picture(picture)
    with contextlib.suppress(ValueError):
        picture.image()


def apply_rules(source: Source) -> None:
    """Apply rules here, as a preview and the sandbox do."""
    content = source.file.read_bytes()
    for rule in ("imageMogr2/thumbnail/256x", "imageMogr2/rotate/90", "imageInfo"):
        with contextlib.suppress(RuleError):
            apply_rule(rule, content)


ANSWER_READERS: dict[str, Reader] = {
    "submission": read_submission,
    "poll": read_poll,
    "listing": read_listing,
    "table of a listing": read_table,
    "plot of a listing": plot_listing,
    "status": read_status,
    "panels": open_panels,
    "batch": read_batch,
    "followed job": read_followed,
    "picture": read_picture,
    "download": download,
    "CI submission": read_ci_submission,
    "CI job": read_ci_job,
    "CI listing": read_ci_listing,
    "listing of a bucket": read_objects,
}
FILE_READERS: dict[str, Reader] = {
    "webhook": read_webhook,
    "import of .json": lambda source: read_import(source, ".json"),
    "import of .jsonl": lambda source: read_import(source, ".jsonl"),
    "import of .csv": lambda source: read_import(source, ".csv"),
    "import of .xml": lambda source: read_import(source, ".xml"),
    "import of .parquet": lambda source: read_import(source, ".parquet"),
    "scan of .ipynb": lambda source: read_scan(source, ".ipynb"),
    "scan of .png": lambda source: read_scan(source, ".png"),
    "recording": read_recording,
    "sealed recording": read_sealed_recording,
    "profiles.toml": read_profiles,
    "journal": read_journal,
    "picture file": open_picture,
    "picture rules": apply_rules,
}


# --- measuring --------------------------------------------


def reset_peak() -> None:
    """Give free memory back, and let the kernel count the peak anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def read_peak() -> int:
    """Return the most memory that was resident since, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    raise AssertionError("Linux only")


def open_session(url: str, home: Path, *, use_aiohttp: bool) -> Session:
    settings = {
        "mj_url": url,
        "ci_endpoint": url,
        "cos_endpoint": url,
        "ci_bucket": "demo-1250000000",
        "ci_region": "ap-chongqing",
        "ci_secret_id": "AKID" + "x" * 32,
        "ci_secret_key": "y" * 32,
        "timeout": 20.0,
        "wait": 60.0,
        "home": str(home),
    }
    session = Session(load_settings(settings, environ={}), clock=VirtualClock(), home=home)
    session.client.transport.use_aiohttp = use_aiohttp
    return session


def describe_error(error: BaseException) -> str:
    """Return "" for an error of ours that can be shown, else what it is."""
    if isinstance(error, MjciError):
        str(error).encode()
        return ""
    return f"{type(error).__name__}: {str(error)[:200]}"


def list_sources(
    place: str, home: Path, share: slice, *, use_aiohttp: bool
) -> Iterator[tuple[str, Source]]:
    is_server = place.startswith("http://")
    for index, answer in list(enumerate(ANSWERS if is_server else BODIES))[share]:
        url = f"{place}/{index}" if is_server else "http://127.0.0.1:9"
        with open_session(url, home / str(index), use_aiohttp=use_aiohttp) as session:
            if isinstance(answer, Conversation) and answer.is_endless:
                session.client.transport.timeout = 0.2
            yield answer.name, Source(session, url, Path(place) / str(index))


def main() -> None:
    for line in sys.stdin:
        process = os.fork()
        if not process:
            run_and_exit(*json.loads(line))
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run_and_exit(*arguments: Any) -> None:
    status = 1
    try:
        signal.alarm(TIMEOUT)
        run_reader(*arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def run_reader(name: str, transport_name: str, place: str, first: int, step: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
    transport.IMAGE_TIMEOUT_FACTOR = transport.TOTAL_TIMEOUT_FACTOR  # type: ignore[misc]
    # Each look at a listing reads the same answer again; a few looks show as much as many.
    submission.get_settling_time = lambda _: 2.0
    read = {**ANSWER_READERS, **FILE_READERS}[name]
    only = os.environ.get("HOSTILE_ANSWER", "")
    output, sys.stdout = sys.stdout, io.StringIO()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        share = slice(first, None, step)
        sources = list_sources(place, Path(home), share, use_aiohttp=transport_name == "aiohttp")
        for answer, source in sources:
            if only not in answer:
                continue
            reset_peak()
            start, problem = time.process_time(), ""
            try:
                read(source)
            except BaseException as error:  # also what is no Exception is a finding
                problem = describe_error(error)
                if only:
                    raise
            seconds = round(time.process_time() - start, 2)
            output.write(json.dumps([answer, problem, seconds, read_peak()]) + "\n")
            output.flush()


if __name__ == "__main__":
    main()
