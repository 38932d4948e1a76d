"""HTTP requests and responses as plain values, so that the
emulated services need no web framework.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived.

    `path` is the raw (still percent-encoded) path, `query` the
    raw query string without "?". Header names are lower case. An
    absolute-form target has already been split into `host`,
    `path` and `query`.
    """

    method: str
    host: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Response:
    """A response to send. The server adds Content-Length."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A callback that a service wants delivered: an HTTP POST to `url`."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def dump_json(value: object) -> bytes:
    """Dump JSON as most servers do, without spaces: relays replace the very text `"code":22`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(value: object, status: int = 200) -> Response:
    """Build a JSON response."""
    return Response(status, dump_json(value), JSON_HEADERS)
