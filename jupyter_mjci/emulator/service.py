"""What the engine knows of an emulated service: one protocol, and
one descriptor per service folder.

Everything outside a service's own folder goes through
`EmulatedService` and `ServiceSpec`; the list of services is in
`registry.py`.
"""

from __future__ import annotations

import argparse
import re
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.cos.cors import ANY_ORIGIN, CorsRule
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery

_LETTERS = string.ascii_letters + string.digits


def generate_key(prefix: str = "") -> str:
    """Return a random key: one that stood in the source would be known to every web page."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(32))


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


# What the services of one sandbox are built from, by the names of
# `ServiceSpec.options`.
Options = Mapping[str, Any]

TOO_LARGE = Response(
    413, b"Request Entity Too Large\n", {"content-type": "text/plain", "connection": "close"}
)
# Returns the base URL of a service or of a further host of it, by
# a name: that of the sandbox's own host, or a loopback server.
GetUrl = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Export:
    """A synthetic history of a service.

    Args:
        name: of the file: `.json` holds an array, any other one
            object a line
        share: how many jobs it has, compared to the others
        generate: yields so many records over so many days, from a
            seed
    """

    name: str
    share: int
    generate: Callable[[int, float, int], Iterable[dict[str, Any]]]


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

    `options` are the keyword arguments that `Sandbox` takes for
    this service, with their defaults; `add_arguments` adds those
    of them that the command line has.

    `export` is a synthetic history, see `datasets`.

    `find_cors_rule` returns whether a service has cross-origin
    rules of its own for a request, and the one that allows it.
    """

    name: str
    path_pattern: re.Pattern[str]
    build: Callable[[Clock, int, Options], EmulatedService]
    find_job_ids: Callable[[Request, Response], list[str]]
    claims: Callable[[Request], bool] = lambda _: False
    claims_rest: Callable[[Request], bool] = lambda _: False
    too_large_response: Response = TOO_LARGE
    build_account: Callable[[GetUrl, Options], Mapping[str, str]] | None = None
    build_connection: Callable[[GetUrl, Options], Mapping[str, str]] | None = None
    options: Options = field(default_factory=dict)
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None
    export: Export | None = None
    find_cors_rule: Callable[[Any, Request], tuple[bool, CorsRule | None]] = lambda *_: (
        False,
        ANY_ORIGIN,
    )

    def get_account(self, get_url: GetUrl, options: Options) -> Mapping[str, str]:
        """Return the client's settings; by default NAME_url and those of its options."""
        if self.build_account:
            return self.build_account(get_url, options)
        return {
            f"{self.name}_url": get_url(self.name),
            **{name: options[name] for name in self.options},
        }
