"""Who may use the loopback port: a check of Host and Origin, before a body is read.

Every web page that is open on this machine can send requests to
loopback ports. A page of a name that was bound to 127.0.0.1 after
it was loaded (DNS rebinding) is recognized by its Host, any other
one by its Origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from jupyter_mjci.emulator.http import Request, Response

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# The names of the services, and those that the sandbox has itself.
_SERVICE_HOST_RE = re.compile(
    r"(?:[a-z0-9-]+\.){1,3}(?:myqcloud\.com|tencentcos\.cn|tencentci\.cn|sandbox\.localhost)"
    r"|(?:[a-z0-9-]+\.){0,3}localhost"
)


class AccessPolicy:
    """Decides about requests by their Host and their Origin.

    Args:
        origins: the origins that may come in beside those of this
            machine (localhost, 127.0.0.1), such as
            "https://hub.example"; "*" for any
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self.origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def check(self, request: Request, *, is_proxied: bool, is_allowed: bool) -> Response | None:
        """Return the response to a request that may not come in, None for one that may.

        Args:
            request: the request, before its body is read
            is_proxied: whether it came in the form that a proxy
                gets, which no web page can choose
            is_allowed: whether the service itself allows the
                origin, by the rules of a bucket
        """
        if not is_proxied and not is_known_host(request.host):
            return _build_refusal(
                f"This sandbox does not answer for {request.host[:200]!r}; let a gateway "
                "in front of it send 'Host: localhost'."
            )
        origin = request.headers.get("origin", "")
        if not origin or self.is_known_origin(origin) or is_allowed:
            return None
        return _build_refusal(
            f"Pages of {origin[:200]!r} may not use this sandbox; start it with "
            "--allow-origin to let them.",
        )

    def is_known_origin(self, origin: str) -> bool:
        """Return whether an origin is one of this machine's, or was named."""
        origin = origin.lower().rstrip("/")
        if "*" in self.origins or origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
            host = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return host in _LOCAL_HOSTS or host.endswith(".sandbox.localhost")


def is_known_host(host: str) -> bool:
    """Return whether a Host means this machine or one of the services.

    A request without one is none of a browser's.
    """
    if not host or is_local_host(host):
        return True
    return bool(_SERVICE_HOST_RE.fullmatch(split_host(host)))


def is_local_host(host: str) -> bool:
    """Return whether a Host is this machine's, which says nothing about the service."""
    return split_host(host) in _LOCAL_HOSTS


def split_host(host: str) -> str:
    """Return the name of a Host without its port."""
    match = re.fullmatch(r"\[?([^\[\]]*?)\]?(?::\d*)?", host.lower())
    return match[1] if match else host.lower()


def _build_refusal(message: str) -> Response:
    headers = {"content-type": "text/plain; charset=utf-8", "connection": "close"}
    return Response(403, f"{message}\n".encode("utf-8", "replace"), headers)
