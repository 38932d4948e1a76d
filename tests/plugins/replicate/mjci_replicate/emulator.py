"""An emulator of Replicate's predictions, for `mjci.sandbox()` and `jupyter mjci sandbox`."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery
from jupyter_mjci.emulator.image_generator import encode_png, get_pixel_size, imagine
from jupyter_mjci.emulator.service import GetUrl, Options, ServiceSpec, generate_key

TOKEN = generate_key("r8_")
# Seconds from the creation of a prediction to its next statuses.
START, END = 1.0, 6.0
PAGE_SIZE = 100
NEVER = 1e18
ENDED = ("succeeded", "failed", "canceled")
Prediction = dict[str, Any]


def format_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def reply(status: int, document: object) -> Response:
    return Response(status, json.dumps(document).encode(), {"content-type": "application/json"})


class ReplicateEmulator:
    """An account with predictions that start after a second and end five seconds later."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self.clock = clock
        self.outbox: list[WebhookDelivery] = []
        self._random = random.Random(seed)
        self._predictions: dict[str, Prediction] = {}
        # When each prediction changes next.
        self._due: dict[str, float] = {}

    def handle(self, request: Request) -> Response:
        self.advance()
        if picture := re.fullmatch(r"/v1/delivery/(\w+)/out\.png", request.path):
            return self._draw(picture[1])
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return reply(
                401, {"title": "Unauthenticated", "detail": "Invalid token.", "status": 401}
            )
        route = request.method, request.path
        if route == ("GET", "/v1/predictions"):
            return self._list(request)
        if route[0] == "POST" and (model := re.fullmatch(r"/v1/models/(.+)/predictions", route[1])):
            return self._create(model[1], request)
        named = re.fullmatch(r"/v1/predictions/(\w+)(/cancel)?", request.path)
        if not named or named[1] not in self._predictions:
            return reply(404, {"detail": "The requested resource could not be found. Not found."})
        if named[2]:
            self._end(named[1], "canceled")
        return reply(200, self._predictions[named[1]])

    def _create(self, model: str, request: Request) -> Response:
        body = json.loads(request.body)
        if not body.get("input", {}).get("prompt"):
            detail = "- input: prompt is required\n"
            return reply(422, {"title": "Input validation failed", "detail": detail, "status": 422})
        now = self.clock.now()
        letters = string.ascii_lowercase + string.digits
        job_id = "".join(self._random.choices(letters, k=26))
        base = f"{request.scheme}://{request.host}/v1"
        url = f"{base}/predictions/{job_id}"
        self._predictions[job_id] = {
            "id": job_id,
            "model": model,
            "version": "hidden",
            "input": body["input"],
            "logs": "",
            "output": None,
            "error": None,
            "status": "starting",
            "created_at": format_time(now),
            "started_at": None,
            "completed_at": None,
            "metrics": {},
            "data_removed": False,
            "webhook": body.get("webhook"),
            "webhook_events_filter": body.get("webhook_events_filter"),
            "urls": {"get": url, "cancel": f"{url}/cancel", "web": f"{base}/delivery/{job_id}"},
        }
        self._due[job_id] = now + START
        self._notify(job_id, "start")
        return reply(201, self._predictions[job_id])

    def _list(self, request: Request) -> Response:
        query = {name: texts[0] for name, texts in parse_qs(request.query).items()}
        after, before = query.get("created_after", ""), query.get("created_before", "~")
        window = [
            prediction
            for prediction in reversed(self._predictions.values())
            if _parse(after) <= _parse(prediction["created_at"]) <= _parse(before, NEVER)
        ]
        start = int(query.get("cursor", 0))
        following = None
        if len(window) > start + PAGE_SIZE:
            kept = "".join(f"&created_after={quote(after)}" if after else "")
            cursor = f"?cursor={start + PAGE_SIZE}{kept}"
            following = f"{request.scheme}://{request.host}/v1/predictions{cursor}"
        results = window[start : start + PAGE_SIZE]
        return reply(200, {"previous": None, "next": following, "results": results})

    def _draw(self, job_id: str) -> Response:
        prediction = self._predictions.get(job_id, {"output": None})
        if not prediction["output"]:
            return Response(404, b"gone")
        (picture, *_) = imagine(prediction["input"]["prompt"], int(job_id, 36) % 10_000)
        image = encode_png(picture.draw(get_pixel_size(picture)))
        return Response(200, image, {"content-type": "image/png"})

    def advance(self) -> None:
        for job_id, due in sorted(self._due.items(), key=lambda item: item[1]):
            if due <= self.clock.now():
                self._step(job_id, due)

    def _step(self, job_id: str, moment: float) -> None:
        prediction = self._predictions[job_id]
        if prediction["status"] == "starting":
            prediction |= {"status": "processing", "started_at": format_time(moment)}
            self._due[job_id] = moment + END - START
            if self._due[job_id] <= self.clock.now():
                self._step(job_id, self._due[job_id])
        elif "fail" in prediction["input"]["prompt"].split():
            self._end(job_id, "failed", moment, error="E1001: the model ran out of memory")
        else:
            base = prediction["urls"]["web"]
            self._end(job_id, "succeeded", moment, output=[f"{base}/out.png"], logs="100%|####|")

    def _end(self, job_id: str, status: str, moment: float = 0.0, **values: object) -> None:
        prediction = self._predictions[job_id]
        if prediction["status"] not in ENDED:
            started = _parse(prediction["started_at"] or "")
            moment = moment or self.clock.now()
            metrics = {"predict_time": round(moment - started, 6)} if started else {}
            ended = {"status": status, "completed_at": format_time(moment), "metrics": metrics}
            prediction |= {**ended, **values}
            self._due.pop(job_id, None)
            self._notify(job_id, "completed")

    def _notify(self, job_id: str, event: str) -> None:
        prediction = self._predictions[job_id]
        if prediction["webhook"] and event in (prediction["webhook_events_filter"] or [event]):
            body = json.dumps(prediction).encode()
            headers = {"content-type": "application/json"}
            self.outbox.append(WebhookDelivery(prediction["webhook"], body, headers))

    def next_event(self) -> float | None:
        return min((due for due in self._due.values() if due < NEVER), default=None)

    def freeze(self, job_id: str) -> None:
        self._due[job_id] = NEVER

    def forget(self, job_id: str) -> None:
        self._due.pop(job_id, None)
        self._predictions.pop(job_id, None)

    def snapshot(self) -> dict[str, Any]:
        return {"predictions": self._predictions, "due": self._due}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._predictions, self._due = snapshot["predictions"], snapshot["due"]


def _parse(text: str, default: float = 0.0) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return default


def build_service(clock: Clock, seed: int, _: Options) -> ReplicateEmulator:
    return ReplicateEmulator(clock, seed)


def build_account(get_url: GetUrl, _: Options) -> Mapping[str, str]:
    return {"rp_url": get_url("rp"), "rp_token": TOKEN}


def find_job_ids(request: Request, response: Response) -> list[str]:
    named = re.match(r"/v1/predictions/(\w+)", request.path)
    if named:
        return [named[1]]
    return re.findall(r'"id": "(\w+)"', response.body.decode()) if request.method == "POST" else []


SERVICE = ServiceSpec(
    name="rp",
    claims=lambda request: request.host.startswith("rp.sandbox."),
    path_pattern=re.compile(r"/v1/(predictions|models|delivery)(/|$)"),
    build=build_service,
    too_large_response=Response(413, b"", {"connection": "close"}),
    find_job_ids=find_job_ids,
    claims_rest=lambda _: False,
    build_account=build_account,
)
