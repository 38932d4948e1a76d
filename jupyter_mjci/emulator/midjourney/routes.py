"""Which endpoint a path and a method mean, and a request taken apart."""

from __future__ import annotations

import re
from typing import NamedTuple

from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.midjourney.bodies import Body


class ParsedRequest(NamedTuple):
    """A request that is known to be allowed, taken apart."""

    request: Request
    endpoint: str
    speed_mode: str
    path_id: str  # the ID in the path
    body: Body


SUBMIT_ENDPOINTS = (
    "imagine",
    "change",
    "simple-change",
    "describe",
    "blend",
    "shorten",
    "action",
    "modal",
    "upload-discord-images",
    "edits",
    "retexture",
    "video",
    "show",
)


ROUTES: dict[str, tuple[str, str]] = {
    **{f"/submit/{name}": (name, "POST") for name in SUBMIT_ENDPOINTS},
    "/submit/edit": ("edits", "POST"),
    "/insight-face/swap": ("swap", "POST"),
    "/insight-face/video-swap": ("video-swap", "POST"),
    "/task/list": ("list", "GET"),
    "/task/queue": ("queue", "GET"),
    "/task/list-by-condition": ("list-by-condition", "POST"),
    "/task/list-by-ids": ("list-by-ids", "POST"),
    "/task/query": ("query", "POST"),
    "/account/list": ("account-list", "GET"),
}


ID_ROUTES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"/task/([^/]+)/fetch"), "fetch", "GET"),
    (re.compile(r"/task/([^/]+)/image-seed"), "image-seed", "GET"),
    (re.compile(r"/task/([^/]+)/cancel"), "cancel", "POST"),
    (re.compile(r"/account/([^/]+)/fetch"), "account", "GET"),
    (re.compile(r"/image/([^/]+)"), "image", "GET"),
)


ENDPOINTS_WITHOUT_BODY = frozenset({"cancel"})


MULTIPART_ENDPOINTS = frozenset({"swap", "video-swap"})


class Endpoint(NamedTuple):
    """An endpoint's name and method, and the ID in the path; all "" for an unknown path."""

    name: str
    method: str
    path_id: str = ""


UNKNOWN_ENDPOINT = Endpoint("", "")


def resolve_endpoint(path: str) -> Endpoint:
    """Return the endpoint of a path (without its prefix, up to /mj)."""
    if path in ROUTES:
        return Endpoint(*ROUTES[path])
    for pattern, name, method in ID_ROUTES:
        match = pattern.fullmatch(path)
        if match:
            return Endpoint(name, method, match[1])
    return UNKNOWN_ENDPOINT
