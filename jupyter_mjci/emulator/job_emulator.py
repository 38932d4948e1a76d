"""What an emulated service needs whose jobs are JSON documents: storage, time, IDs, callbacks."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery, json_response
from jupyter_mjci.emulator.image_generator import encode_png, get_pixel_size, imagine
from jupyter_mjci.emulator.service import Options

JobDocument = dict[str, Any]


class JobEmulator:
    """Keeps jobs by their IDs, and lets each change when it is due.

    A subclass gives `handle`, which calls `advance` first, and
    `change`.

    Args:
        clock: tells the time
        seed: where `random` starts
        options: those of the sandbox
    """

    def __init__(self, clock: Clock, seed: int, options: Options) -> None:
        self.clock = clock
        self.options = options
        self.random = Random(seed)
        self.outbox: list[WebhookDelivery] = []
        self.jobs: dict[str, JobDocument] = {}
        # When each job changes by itself next.
        self.due: dict[str, float] = {}

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        raise NotImplementedError

    def change(self, job: JobDocument, moment: float) -> float | None:
        """Let a job change; return when it changes again, None if it has ended."""
        raise NotImplementedError

    def generate_id(self, length: int) -> str:
        """Return a random ID of lower-case letters and digits."""
        return "".join(self.random.choices(string.ascii_lowercase + string.digits, k=length))

    def add(self, job_id: str, job: JobDocument, due: float) -> None:
        """Keep a new job, which changes at a time."""
        self.jobs[job_id] = job
        self.due[job_id] = due

    def advance(self) -> None:
        """Let everything happen that is due by now, in its order."""
        while (moment := self.next_event()) is not None and moment <= self.clock.now():
            job_id = min(self.due, key=self.due.__getitem__)
            del self.due[job_id]
            following = self.change(self.jobs[job_id], moment)
            if following is not None:
                self.due[job_id] = following

    def next_event(self) -> float | None:
        """Return when the next job changes by itself (epoch seconds)."""
        return min(self.due.values(), default=None)

    def build_page(self, request: Request, jobs: list[JobDocument], size: int = 100) -> Response:
        """Build a page of a listing, from the request's cursor on, with the URL of the next one."""
        query = dict(parse_qsl(request.query))
        end = int(query.get("cursor", 0)) + size
        following = urlencode({**query, "cursor": end})
        url = f"{request.scheme}://{request.host}{request.path}?{following}"
        page = {"previous": None, "next": url if len(jobs) > end else None}
        return json_response({**page, "results": jobs[end - size : end]})

    def notify(self, url: str, job: JobDocument) -> None:
        """Deliver a job to a webhook."""
        response = json_response(job)
        self.outbox.append(WebhookDelivery(url, response.body, response.headers))

    def freeze(self, job_id: str) -> None:
        """Stop a job from changing by itself."""
        self.due.pop(job_id, None)

    def forget(self, job_id: str) -> None:
        """Forget a job, as if it had never been submitted."""
        self.due.pop(job_id, None)
        self.jobs.pop(job_id, None)

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        return {"jobs": self.jobs, "due": self.due}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Replace the state by one that `snapshot` returned."""
        self.jobs, self.due = snapshot["jobs"], snapshot["due"]


def build_id_finder(
    path: re.Pattern[str], body: re.Pattern[str]
) -> Callable[[Request, Response], list[str]]:
    """Return a `find_job_ids`: the IDs in a request's path, else those that it has made.

    Args:
        path: finds the IDs, with commas between them, in a path
        body: finds them in the response to a POST
    """

    def find_job_ids(request: Request, response: Response) -> list[str]:
        named = path.search(request.path)
        if named:
            return re.split(r",|%2C", named[1])
        if request.method != "POST":
            return []
        made = body.findall(response.body.decode("utf-8", "replace"))
        return [job_id for ids in made for job_id in ids.split(",")]

    return find_job_ids


def draw_response(prompt: str, seed: int) -> Response:
    """Draw a picture of a prompt; the same seed draws the same."""
    (picture, *_) = imagine(prompt, seed)
    image = encode_png(picture.draw(get_pixel_size(picture)))
    return Response(200, image, {"content-type": "image/png"})


def format_iso_time(moment: float) -> str:
    """Return a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def parse_iso_time(text: str | None, default: float = 0.0) -> float:
    """Return a time in epoch seconds; the default for what is none."""
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return default
