"""A request and an answer as plain values, so that the stand-in services need no web framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived. `path` is the raw (still percent-encoded) path, `query` the raw query string
    without "?"; header names are lower case; an absolute-form target has already been cut into
    `host`, `path` and `query`.
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
    """What is sent back. Content-Length is added by the door."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A callback that a service wants delivered: an HTTP POST to `url`."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
