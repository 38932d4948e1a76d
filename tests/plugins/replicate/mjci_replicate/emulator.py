"""An emulator of Replicate's predictions, for `mjci.sandbox()` and `jupyter mjci sandbox`."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from jupyter_mjci.emulator.http import Request, Response, json_response
from jupyter_mjci.emulator.job_emulator import (
    JobEmulator,
    build_id_finder,
    draw_response,
    format_iso_time,
    parse_iso_time,
)
from jupyter_mjci.emulator.service import ServiceSpec, generate_key

TOKEN = generate_key("r8_")
START_DELAY, RUN_TIME = 1.0, 5.0  # seconds
ENDED = ("succeeded", "failed", "canceled")
UNAUTHENTICATED = {"title": "Unauthenticated", "detail": "Invalid token.", "status": 401}
NO_PROMPT = {"title": "Input validation failed", "detail": "- input: prompt is required\n"}
NOT_FOUND = {"detail": "The requested resource could not be found. Not found."}


class ReplicateEmulator(JobEmulator):
    """An account with predictions that start after a second and end five seconds later."""

    def handle(self, request: Request) -> Response:
        self.advance()
        if picture := re.fullmatch(r"/v1/delivery/(\w+)/out\.png", request.path):
            return self._draw(picture[1])
        if request.headers.get("authorization") != f"Bearer {self.options['rp_token']}":
            return json_response(UNAUTHENTICATED, 401)
        route = request.method, request.path
        if route == ("GET", "/v1/predictions"):
            return self._list(request)
        if route[0] == "POST" and (model := re.fullmatch(r"/v1/models/(.+)/predictions", route[1])):
            return self._create(model[1], request)
        named = re.fullmatch(r"/v1/predictions/(\w+)(/cancel)?", request.path)
        if not named or named[1] not in self.jobs:
            return json_response(NOT_FOUND, 404)
        prediction = self.jobs[named[1]]
        if named[2] and prediction["status"] not in ENDED:
            self._end(prediction, "canceled", self.clock.now())
        return json_response(prediction)

    def _create(self, model: str, request: Request) -> Response:
        body = json.loads(request.body)
        if not body.get("input", {}).get("prompt"):
            return json_response(NO_PROMPT, 422)
        now = self.clock.now()
        job_id = self.generate_id(26)
        base = f"{request.scheme}://{request.host}/v1"
        url = f"{base}/predictions/{job_id}"
        prediction = {
            "id": job_id,
            "model": model,
            "version": "hidden",
            "input": body["input"],
            "logs": "",
            "output": None,
            "error": None,
            "status": "starting",
            "created_at": format_iso_time(now),
            "started_at": None,
            "completed_at": None,
            "metrics": {},
            "data_removed": False,
            "webhook": body.get("webhook"),
            "webhook_events_filter": body.get("webhook_events_filter"),
            "urls": {"get": url, "cancel": f"{url}/cancel", "web": f"{base}/delivery/{job_id}"},
        }
        self.add(job_id, prediction, now + START_DELAY)
        self._notify(prediction, "start")
        return json_response(prediction, 201)

    def _list(self, request: Request) -> Response:
        query = dict(parse_qsl(request.query))
        earliest = parse_iso_time(query.get("created_after"))
        latest = parse_iso_time(query.get("created_before"), float("inf"))
        window = [
            prediction
            for prediction in reversed(self.jobs.values())
            if earliest <= parse_iso_time(prediction["created_at"]) <= latest
        ]
        return self.build_page(request, window)

    def _draw(self, job_id: str) -> Response:
        prediction = self.jobs.get(job_id, {})
        if not prediction.get("output"):
            return Response(404, b"gone")
        return draw_response(prediction["input"]["prompt"], int(job_id, 36) % 10_000)

    def change(self, job: dict[str, Any], moment: float) -> float | None:
        if job["status"] == "starting":
            job |= {"status": "processing", "started_at": format_iso_time(moment)}
            return moment + RUN_TIME
        if "fail" in job["input"]["prompt"].split():
            self._end(job, "failed", moment, error="E1001: the model ran out of memory")
        else:
            output = [f"{job['urls']['web']}/out.png"]
            self._end(job, "succeeded", moment, output=output, logs="100%|####|")
        return None

    def _end(self, job: dict[str, Any], status: str, moment: float, **values: object) -> None:
        seconds = moment - parse_iso_time(job["started_at"], moment)
        job |= {"status": status, "completed_at": format_iso_time(moment), **values}
        job["metrics"] = {"predict_time": round(seconds, 6)}
        self.freeze(job["id"])
        self._notify(job, "completed")

    def _notify(self, job: dict[str, Any], event: str) -> None:
        if job["webhook"] and event in (job["webhook_events_filter"] or [event]):
            self.notify(job["webhook"], job)


SERVICE = ServiceSpec(
    name="rp",
    path_pattern=re.compile(r"/v1/(predictions|models|delivery)(/|$)"),
    build=ReplicateEmulator,
    find_job_ids=build_id_finder(
        re.compile(r"/v1/predictions/(\w+)"), re.compile(r'^{"id":"(\w+)"')
    ),
    options={"rp_token": TOKEN},
)
