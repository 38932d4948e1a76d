"""Build the calls of Replicate's HTTP API, https://replicate.com/docs/reference/http."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.services.findings import Finding, ProbeContext
from mjci_replicate import responses

T = TypeVar("T")
MODEL = re.compile(r"[\w.-]+/[\w.-]+")


class Replicate:
    """Builds calls; nothing is sent before `.run()` or `await`."""

    def __init__(self, sender: Sender | None = None) -> None:
        self._sender = sender

    def predict(
        self,
        prompt: str,
        *,
        model: str,
        input: Mapping[str, str] | None = None,
        wait: int = 0,
        webhook: str = "",
        webhook_events: Sequence[str] = (),
    ) -> Call[Job]:
        """Run an official model on a prompt.

        POST /v1/models/{owner}/{name}/predictions

        Args:
            prompt: what the model is asked for
            model: OWNER/NAME, such as black-forest-labs/flux-schnell
            input: further inputs of the model, each as JSON or as text
            wait: seconds (1 to 60) that the response may wait for the output
            webhook: a URL that is told of changes
            webhook_events: the changes: start, output, logs, completed; by default all
        """
        if not MODEL.fullmatch(model):
            raise InvalidRequest(f"{model!r} is not a model.", hint="Write OWNER/NAME.")
        inputs = {name: parse_input(text) for name, text in (input or {}).items()}
        body: dict[str, object] = {"input": {"prompt": prompt, **inputs}}
        if webhook:
            body["webhook"] = webhook
        if webhook_events:
            body["webhook_events_filter"] = list(webhook_events)
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        return build_submission(
            self._sender, f"/v1/models/{model}/predictions", jsonlib.dumps(body).encode(), headers
        )

    def prediction(self, prediction_id: str) -> Call[Job]:
        """Fetch a prediction by its ID: GET /v1/predictions/{id}."""
        path = f"/v1/predictions/{prediction_id}"
        return self._build("prediction", "GET", path, responses.parse_prediction)

    def predictions(
        self, *, limit: int | None = 100, created_after: str = "", created_before: str = ""
    ) -> Paginator[Job]:
        """List the account's predictions, newest first: GET /v1/predictions.

        Args:
            limit: how many, at most; None for all
            created_after: an ISO 8601 time
            created_before: an ISO 8601 time
        """
        window = {"created_after": created_after, "created_before": created_before}

        def build_page(cursor: str) -> Call[Page[Job]]:
            texts = {**window, "cursor": cursor}
            params = {name: text for name, text in texts.items() if text}
            return self._build(
                "predictions", "GET", "/v1/predictions", responses.parse_page, params
            )

        return Paginator(build_page, limit)

    def cancel(self, prediction_id: str) -> Call[None]:
        """Cancel a prediction: POST /v1/predictions/{id}/cancel."""
        path = f"/v1/predictions/{prediction_id}/cancel"
        return self._build("cancel", "POST", path, responses.parse_cancel)

    def _build(
        self,
        name: str,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        params: Mapping[str, str] | None = None,
    ) -> Call[T]:
        return Call("rp", name, method, path, parse, params=params or {}, sender=self._sender)


def build_submission(
    sender: Sender | None, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> Call[Job]:
    """Build the call that creates a prediction, which is never repeated blindly."""
    return Call(
        "rp",
        "predict",
        "POST",
        path,
        responses.parse_prediction,
        headers={"Content-Type": "application/json", **(headers or {})},
        body=body,
        is_submission=True,
        sender=sender,
    )


def parse_input(text: str) -> object:
    """Return a number, true, a list …; what is no JSON is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


async def diagnose(context: ProbeContext) -> list[Finding]:
    """Check address and token by one page of the listing."""
    listing: Call[Any] = Replicate().predictions().first_page
    try:
        listing.parse(await context.build_transport().send(listing))
    except MjciError as error:
        return [Finding("Replicate token", False, error.message, error.hint)]
    return [Finding("Replicate token", True, "accepted")]
