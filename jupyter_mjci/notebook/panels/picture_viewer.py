"""Look at the pictures of a live notebook: large, compared, rated, sent on, used again.

One widget without a view finds the pictures of this kernel's jobs
in the page (`viewer.js`), and asks here for what it shows.
They are no output: the notebook saves the same with and without.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import cache, partial
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import anyio.to_thread

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, split_picture_name
from jupyter_mjci.client.translation import translate
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels.html import error_lines, format_size
from jupyter_mjci.notebook.panels.subshells import allow_subshell
from jupyter_mjci.services import PictureTarget, find_service, list_configured

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

# of a picture in full size: the longer side in pixels, and bytes
FULL_LIMITS = (4096, 12_000_000)
# the same of a relative beside it
LINEAGE_LIMITS = (120, 8_000)
MAX_RELATIVES = 16
MAX_JOBS = 2000  # jobs whose pictures are known, the last ones

Request = Mapping[str, Any]
Answer = tuple[dict[str, object], bytes]


class PictureReceiver(Protocol):
    """A panel; its forms of some builders take pictures."""

    session: Session
    model_id: str
    picture_builders: Collection[str]

    async def receive_picture(self, target: PictureTarget, name: str) -> str: ...

    async def use_again(self, job: Job) -> str: ...


class PictureViewer:
    """Answers what the page asks about pictures of this kernel's jobs."""

    def __init__(self) -> None:
        from jupyter_mjci.notebook.panels.browser_widgets import PictureViewerWidget

        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._panels: weakref.WeakValueDictionary[str, PictureReceiver] = (
            weakref.WeakValueDictionary()
        )
        self.widget = PictureViewerWidget(self._on_request)
        allow_subshell(self.widget)

    def attach(self, session: Session, jobs: Iterable[Job]) -> None:
        """Make the pictures of jobs known, and show how they are rated."""
        with self._lock:
            for job in jobs:
                self._sessions.pop(job.id, None)
                self._sessions[job.id] = session
            while len(self._sessions) > MAX_JOBS:
                self._sessions.pop(next(iter(self._sessions)))
        self.update_ratings()

    def add_panel(self, panel: PictureReceiver) -> None:
        """Let pictures be sent to a panel, as long as it lives."""
        self._panels[panel.model_id] = panel

    def update_ratings(self) -> None:
        """Show the ratings of the journals."""
        with self._lock:
            sessions = dict(self._sessions)
        ratings: dict[str, dict[str, object]] = {}
        for session in set(sessions.values()):
            for rating in session.journal.ratings():
                if sessions.get(rating.id) is session:
                    ratings[f"{rating.id}[{rating.picture}]"] = {
                        "stars": rating.stars,
                        "tags": ", ".join(rating.tags),
                        "note": rating.note,
                    }
        self.widget.ratings = ratings

    # --- requests of the page ---

    def _on_request(self, request: Request) -> None:
        event_loop.start(self._run(request))

    async def _run(self, request: Request) -> None:
        content = b""
        try:
            answer, content = await HANDLERS[request["kind"]](self, request)
        except Exception as error:
            answer = {"error": " ".join(error_lines(error))}
        self.widget.answer(request["id"], answer, content)

    def get_panel(self, request: Request) -> PictureReceiver | None:
        return self._panels.get(request.get("panel", ""))

    def find_job(self, request: Request) -> tuple[Session, Job]:
        """Return the job of a picture, and the session that knows it.

        Raises:
            InvalidRequest: this kernel does not know the job
        """
        job_id, _ = split_picture_name(request["name"])
        panel = self.get_panel(request)
        session = panel.session if panel else self._sessions.get(job_id)
        if session is not None:
            known = [job for job in session.client.known_jobs() if job.id == job_id]
            job = known[-1] if known else session.journal.find_job(job_id)
            if job is not None:
                return session, job
        raise InvalidRequest(
            f"This kernel does not know the job {job_id}.", hint="Run its cell again."
        )

    def find_receiver(self, request: Request, target: PictureTarget) -> PictureReceiver | None:
        """Return the panel that takes a picture: its own, or another one of the same session."""
        own = self.get_panel(request)
        if own is None:
            return None
        others = [panel for panel in self._panels.values() if panel.session is own.session]
        receivers = [panel for panel in (own, *others) if target.builder in panel.picture_builders]
        return next(iter(receivers), None)


# --- what the page can ask --------------------------------------


async def _show(viewer: PictureViewer, request: Request) -> Answer:
    """Return the picture in full size, and what can be done with it."""
    session, job = viewer.find_job(request)
    picture = await session.picture(request["name"])
    content, mime = await anyio.to_thread.run_sync(_prepare, picture, request["name"])
    width, height = picture.size
    targets = [
        {
            "key": f"{key}.{target.builder}",
            "label": translate(target.label),
            "tooltip": _format_line(target, request["name"]),
        }
        for key, target in _list_targets(session)
    ]
    answer: dict[str, object] = {
        "mime": mime,
        "title": images.format_alt_text(job),
        "caption": f"{request['name']} · {width}×{height} {picture.format} · "
        f"{format_size(len(picture))}",
        "parent": _get_parent_name(job),
        "targets": targets,
        "reuse": _get_command(job),
    }
    return answer, content


def _prepare(picture: bytes, name: str) -> tuple[bytes, str]:
    """Return a picture as the page can show it, and its media type."""
    try:
        content, mime, *_ = images.make_thumbnail(picture, *FULL_LIMITS)
    except ValueError:
        raise InvalidRequest(
            f"{name} is no picture that can be shown here.",
            hint="session.download(job) writes it to a file.",
        ) from None
    return content, mime


def _get_parent_name(job: Job) -> str:
    """Return the name of the picture that a job was made of; "" where there is none."""
    if not job.parent:
        return ""
    service = find_service(job.service)
    _, index = service.get_step(job) if service else ("", None)
    return job.parent if index is None else f"{job.parent}[{index}]"


def _list_targets(session: Session) -> list[tuple[str, PictureTarget]]:
    services = list_configured(session.settings)
    return [(each.key, target) for each in services for target in each.picture_targets]


def _format_line(target: PictureTarget, name: str) -> str:
    return target.line.format(picture=name, job=split_picture_name(name)[0])


def _get_command(job: Job) -> str:
    service = find_service(job.service)
    return service.get_command(job) if service else ""


async def _show_relatives(viewer: PictureViewer, request: Request) -> Answer:
    return {"html": await render_lineage(*viewer.find_job(request))}, b""


async def _rate(viewer: PictureViewer, request: Request) -> Answer:
    session, _ = viewer.find_job(request)
    tags = request.get("tags")
    words = None if tags is None else tags.split(",")
    rate = partial(
        session.rate, request["name"], request.get("stars"), tags=words, note=request.get("note")
    )
    await anyio.to_thread.run_sync(rate)
    viewer.update_ratings()
    return {}, b""


async def _send(viewer: PictureViewer, request: Request) -> Answer:
    session, _ = viewer.find_job(request)
    targets = {f"{key}.{target.builder}": target for key, target in _list_targets(session)}
    target = targets[request["target"]]
    receiver = viewer.find_receiver(request, target)
    if receiver is None:
        return {"cell": _format_line(target, request["name"])}, b""
    return {"note": await receiver.receive_picture(target, request["name"])}, b""


async def _use_again(viewer: PictureViewer, request: Request) -> Answer:
    _, job = viewer.find_job(request)
    panel = viewer.get_panel(request)
    note = await panel.use_again(job) if panel else ""
    return {"note": note} if note else {"cell": _get_command(job)}, b""


HANDLERS: Mapping[str, Callable[[PictureViewer, Request], Awaitable[Answer]]] = {
    "show": _show,
    "relatives": _show_relatives,
    "rate": _rate,
    "send": _send,
    "reuse": _use_again,
}


# --- lineage ----------------------------------------------------


async def render_lineage(session: Session, job: Job) -> str:
    """Render the job that a job was made of, and those made of it, as a strip of thumbnails."""
    relatives = await anyio.to_thread.run_sync(session.journal.find_relatives, job)
    shown = [relative for relative in relatives if relative.outputs][:MAX_RELATIVES]
    figures = [""] * len(shown)

    async def render(position: int, relative: Job) -> None:
        figures[position] = await _render_relative(session, job, relative)

    async with anyio.create_task_group() as group:
        for position, relative in enumerate(shown):
            group.start_soon(render, position, relative)
    return "".join(figures)


async def _render_relative(session: Session, job: Job, relative: Job) -> str:
    """Render one relative; nothing where its picture is no longer available."""
    name = relative.id
    service = find_service(relative.service)
    step, _ = service.get_step(relative) if service else ("", None)
    label = step or relative.action.capitalize()
    if relative.id == job.parent:
        name = _get_parent_name(job)
        label = "made of"
    try:
        picture = await session.picture(name)
        url = await anyio.to_thread.run_sync(images.data_url, picture, *LINEAGE_LIMITS)
    except (MjciError, ValueError):
        return ""
    alt = escape(f"{label}: {images.format_alt_text(relative)}")
    return (
        f'<figure><img src="{url}" alt="{alt}" data-picture="{escape(name)}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


# --- this kernel's viewer ---------------------------------------


@cache
def get_viewer() -> PictureViewer:
    """Return the viewer of this kernel; ImportError without anywidget."""
    return PictureViewer()


def find_viewer() -> PictureViewer | None:
    """Return the viewer of this kernel; None without anywidget, where pictures stay as they are."""
    try:
        return get_viewer()
    except ImportError:
        return None


def attach_pictures(session: Session, jobs: Iterable[Job]) -> None:
    """Let the pictures of jobs be looked at in the page."""
    viewer = find_viewer()
    if viewer is not None:
        viewer.attach(session, jobs)


def connect_panel(panel: PictureReceiver) -> None:
    """Let the pictures of a panel be looked at, and sent to its forms."""
    viewer = find_viewer()
    if viewer is not None:
        viewer.add_panel(panel)
