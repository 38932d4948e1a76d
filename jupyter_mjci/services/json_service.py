"""What a service needs whose jobs are JSON documents: a table of fields, and its answers.

The Midjourney proxy reads its tasks by the same table. A service
that other packages add has all of this for a few lines; see
docs/how-to/add-a-service.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx

from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import (
    GATEWAY_ERRORS,
    Outcome,
    Reason,
    ServiceCodes,
    attach,
    classify,
    no_answer,
)
from jupyter_mjci.client.settings import Secret
from jupyter_mjci.client.transport import AuthFunc, Clock, Endpoint
from jupyter_mjci.errors import InvalidResponse, MjciError, ServiceError, Unsupported
from jupyter_mjci.services import FieldSpec

T = TypeVar("T")
JsonObject = Mapping[str, Any]


def to_text(value: object) -> str:
    """Return a JSON scalar as text; null, objects and arrays are ""."""
    # the common case first: listings call this for every field
    if type(value) is str:
        return value
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def coalesce(*values: object) -> str:
    """Return the first value that is not empty, as text."""
    for value in values:
        text = to_text(value)
        if text:
            return text
    return ""


def build_status_parser(statuses: Mapping[str, Status]) -> Callable[[object], Status]:
    """Return what finds the status of a service's word, whatever its case.

    An unknown word counts as running, because the job may still
    end.
    """
    by_word = {word.casefold(): status for word, status in statuses.items()}
    return lambda value: by_word.get(to_text(value).strip().casefold(), Status.RUNNING)


def parse_iso_time(value: object) -> datetime | None:
    """Return an ISO 8601 time as an aware datetime in UTC, which it is in without an offset."""
    try:
        moment = datetime.fromisoformat(to_text(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_urls(value: object) -> tuple[str, ...]:
    """Return the URLs of an output: one, a list of them, or the values of an object."""
    values = list(value.values()) if isinstance(value, dict) else value
    texts = map(to_text, values if isinstance(values, list) else [values])
    return tuple(text for text in texts if text.startswith(("http://", "https://")))


def get_value(document: JsonObject, path: str) -> object:
    """Return the value at a path such as "properties.finalPrompt", or None."""
    outer, _, name = path.partition(".")
    value = document.get(outer)
    if not name:
        return value
    return value.get(name) if isinstance(value, dict) else None


def _is_plain(spec: FieldSpec) -> bool:
    """Return whether a field has one path, which names a value of the document itself."""
    return len(spec.paths) == 1 and "." not in spec.paths[0]


class JobParser:
    """Reads a document as a `Job`. Odd values never raise: a listing keeps all its rows.

    Args:
        service: the key of the service
        fields: its table of fields
    """

    def __init__(self, service: str, fields: tuple[FieldSpec, ...]) -> None:
        self.service = service
        self.fields = fields
        # Most fields are plain, and listings are long: they are
        # read without taking their paths apart.
        self._plain = [(spec.name, spec.parse, spec.paths[0]) for spec in fields if _is_plain(spec)]
        self._others = [spec for spec in fields if not _is_plain(spec)]

    def __call__(self, document: JsonObject) -> Job:
        get = document.get
        values = {name: parse(get(path)) for name, parse, path in self._plain}
        for spec in self._others:
            values[spec.name] = spec.parse(*[get_value(document, path) for path in spec.paths])
        return Job(self.service, raw=document, **values)


@dataclass(frozen=True, slots=True)
class JsonAnswers:
    """Reads the answers of a service, and raises the errors that they report.

    Args:
        label: the service's name for people
        parse_job: from a document to its job
        codes: how it says yes and no
        hints: what to do, by the reason of an error
    """

    label: str
    parse_job: JobParser
    codes: ServiceCodes
    hints: Mapping[Reason, str]

    def read(self, response: Response, name: str = "id") -> JsonObject:
        """Return the document of a response, which has a field of that name.

        Raises:
            ServiceError: it reports an error; the code is
                "not_found" where there is no such job
            Unsupported: there is no such endpoint
            InvalidResponse: it is no answer
        """
        classified = classify(response, self.codes)
        document = classified.document
        if classified.is_result and isinstance(document, dict) and name in document:
            return document
        raise self._build_error(response)

    def read_job(self, response: Response) -> Job:
        """Return the job of a response; raises as `read` does."""
        return self.parse_job(self.read(response))

    def read_page(self, response: Response) -> Page[Job]:
        """Return a page of `{"results": […], "next": "https://…?cursor=…"}`; raises as `read`."""
        document = self.read(response, "results")
        jobs = [self.parse_job(job) for job in document["results"] if isinstance(job, dict)]
        query = parse_qs(urlsplit(to_text(document.get("next"))).query)
        return Page(tuple(jobs), query.get("cursor", [""])[0])

    def read_nothing(self, response: Response) -> None:
        """Check that a response is an answer; raises as `read` does."""
        self.read(response)

    def _build_error(self, response: Response) -> MjciError:
        classified = no_answer(response, self.codes)
        reason, key = classified.reason, self.parse_job.service
        if classified.outcome is Outcome.UNREADABLE or classified.status < 300:
            message = f"The response of {self.label} is no answer (HTTP {classified.status})."
            error = InvalidResponse(message, detail=classified.message, body=response.body)
            return attach(error, classified)
        summary = f"{self.label} responded with an error (HTTP {classified.status})."
        summary, hint = GATEWAY_ERRORS.get(reason, (summary, self.hints.get(reason, "")))
        error_class = Unsupported if reason is Reason.NO_ENDPOINT else ServiceError
        return attach(
            error_class(
                summary,
                service=key,
                status=classified.status,
                code="not_found" if reason is Reason.NOT_FOUND else classified.code,
                service_message=classified.message,
                request_id=classified.request_id,
                hint=hint.format(setting=f"MJCI_{key.upper()}_URL"),
            ),
            classified,
        )


class JsonApi:
    """What the methods of an API build their calls with; nothing is sent before `.run()`.

    Args:
        sender: the session
    """

    answers: ClassVar[JsonAnswers]

    def __init__(self, sender: Sender | None = None) -> None:
        self.sender = sender

    def build(
        self,
        name: str,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        params: Mapping[str, str] | None = None,
    ) -> Call[T]:
        """Build a call; parameters without a value are left out."""
        sent = {key: value for key, value in (params or {}).items() if value}
        service = self.answers.parse_job.service
        return Call(service, name, method, path, parse, params=sent, sender=self.sender)

    def build_listing(
        self, name: str, path: str, params: Mapping[str, str], limit: int | None
    ) -> Paginator[Job]:
        """Build a listing whose pages have a cursor."""

        def build_page(cursor: str) -> Call[Page[Job]]:
            sent = {**params, "cursor": cursor}
            return self.build(name, "GET", path, self.answers.read_page, sent)

        return Paginator(build_page, limit)

    def build_submission(
        self, name: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Call[Job]:
        """Build a call that creates a job, which is never repeated blindly."""
        call = self.build(name, "POST", path, self.answers.read_job)
        headers = {"Content-Type": "application/json", **(headers or {})}
        return replace(call, headers=headers, body=body, is_submission=True)


def build_header_auth(header: str, template: str, secret: Secret) -> AuthFunc | None:
    """Return what adds a secret to a request, or None without a secret.

    Args:
        header: the header's name
        template: its value, with {} for the secret: "Bearer {}"
        secret: the secret
    """

    def authorize(request: httpx.Request, _: str) -> None:
        request.headers[header] = template.format(secret.reveal())

    return authorize if secret else None


def get_base_url(settings: Any) -> str:
    """Return the setting `url`, which IDs are unique within."""
    return to_text(settings.url).rstrip("/")


def build_bearer_endpoints(key: str) -> Callable[[Any, Clock], dict[str, Endpoint]]:
    """Return the `build_endpoints` of a service with the settings `url` and `token`."""

    def build_endpoints(settings: Any, _: Clock) -> dict[str, Endpoint]:
        authorize = build_header_auth("Authorization", "Bearer {}", settings.token)
        return {key: Endpoint(get_base_url(settings), authorize=authorize)}

    return build_endpoints


def parse_json_or_text(text: str) -> object:
    """Return a number, true, a list …; what is no JSON is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
