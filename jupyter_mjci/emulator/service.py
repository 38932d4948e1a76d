"""What the engine knows of an emulated service: one protocol, and
one descriptor per service folder.

Everything outside a service's own folder goes through
`EmulatedService` and `ServiceSpec`; the list of services is in
`registry.py`.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.cos.cors import ANY_ORIGIN, CorsRule
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery

BUCKET = "demo-1250000000"
REGION = "ap-chongqing"
_LETTERS = string.ascii_letters + string.digits


def generate_key(prefix: str = "") -> str:
    """Return a random key: one that stood in the source would be known to every web page."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(32))


# The keys of all sandboxes of a process.
MJ_SECRET = generate_key()
SECRET_ID = generate_key("AKID")
SECRET_KEY = generate_key()


class EmulatedService(Protocol):
    """An emulated service: bytes in, bytes out; its jobs age by the clock it was given."""

    outbox: list[WebhookDelivery]

    def handle(self, request: Request) -> Response:
        """Answer a request."""

    def advance(self) -> None:
        """Let everything happen that is due by now."""

    def next_event(self) -> float | None:
        """Return when the next job changes by itself (epoch seconds)."""

    def freeze(self, job_id: str) -> None:
        """Stop a job from changing by itself."""

    def forget(self, job_id: str) -> None:
        """Forget a job, as if it had never been submitted."""

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values and bytes."""

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Replace the state by one that `snapshot` returned."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What the services of one sandbox are built from.

    Args:
        dialect: the family of the Midjourney proxy
        mj_secret: its secret (default: one that is random, the
            same for every sandbox of a process)
        bucket: the name of the bucket, with its APPID
        region: the region of the bucket
        secret_id: the key ID of the Tencent Cloud account
            (default: as above)
        secret_key: its secret key (default: as above)
        mj_options: further arguments of `MidjourneyProxy`
        ci_options: further arguments of `TencentCI`
    """

    dialect: str = "plus"
    mj_secret: str = MJ_SECRET
    bucket: str = BUCKET
    region: str = REGION
    secret_id: str = SECRET_ID
    secret_key: str = SECRET_KEY
    mj_options: Mapping[str, Any] = field(default_factory=dict)
    ci_options: Mapping[str, Any] = field(default_factory=dict)


# Returns the base URL of a service or of a further host of it, by
# a name: that of the sandbox's own host, or a loopback server.
GetUrl = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """The descriptor of a service.

    `claims` recognizes a request of this service by its host or
    its signature, whatever its path; `path_pattern` recognizes
    one by its path, for hosts that say nothing (an address,
    localhost). `claims_rest` recognizes what no service did
    before.

    `build_account` returns the client's settings, by their names,
    that lead to this service; `build_connection` how other
    programs reach it, where that has other names.

    `find_cors_rule` returns whether a service has cross-origin
    rules of its own for a request, and the one that allows it.
    """

    name: str
    claims: Callable[[Request], bool]
    path_pattern: re.Pattern[str]
    build: Callable[[Clock, int, SandboxOptions], EmulatedService]
    too_large_response: Response
    find_job_ids: Callable[[Request, Response], list[str]]
    build_account: Callable[[GetUrl, SandboxOptions], Mapping[str, str]]
    build_connection: Callable[[GetUrl, SandboxOptions], Mapping[str, str]] | None = None
    claims_rest: Callable[[Request], bool] = lambda _: True
    find_cors_rule: Callable[[Any, Request], tuple[bool, CorsRule | None]] = lambda *_: (
        False,
        ANY_ORIGIN,
    )
