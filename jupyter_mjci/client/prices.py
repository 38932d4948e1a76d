"""Prices of submissions, as the user sets them: in any unit, by service, action and queue.

    [default.prices]
    imagine = 0.03
    "mj/imagine/turbo" = 0.08
    "ci/*" = 0.0005
    "*" = 0.02

A key is ACTION, SERVICE/ACTION or SERVICE/ACTION/QUEUE, and "*"
stands for any. The action is the job's (IMAGINE, PicProcess) or
the builder's name (imagine, picture_job), the queue that of a
history (fast, relax, turbo, or the ID of a queue); case does not
matter. Of several keys the one that says more counts: the service
first, then the action, then the queue.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from jupyter_mjci.errors import MjciError, SettingsError

ANY = "*"
# What the parts of a key are, in their order: columns of a history.
PARTS = ("service", "action", "queue")
HINT = 'Give numbers by action: imagine = 0.03, "mj/imagine/turbo" = 0.08, "*" = 0.02.'

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prices:
    """A table of prices.

    Args:
        by_key: the prices, by the parts of their keys
    """

    by_key: Mapping[Key, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_key)

    def __str__(self) -> str:
        """Return the table as `parse_prices` reads it."""
        return ", ".join(f"{_format_key(key)}={price:g}" for key, price in self.by_key.items())

    def __iter__(self) -> Iterator[Key]:
        return iter(self.by_key)

    def find(self, service: str, actions: Iterable[str], queue: str = "") -> float | None:
        """Return the price of a job; None where the table has none.

        Args:
            service: the key of its service
            actions: the names of what is done, the best first
            queue: the queue or speed that it runs in
        """
        parts = ((service, ANY), (*actions, ANY), (queue, ANY))
        for key in product(*parts):
            price = self.by_key.get(tuple(part.casefold() for part in key))
            if price is not None:
                return price
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a history that its keys tell apart."""
        return tuple(
            name for place, name in enumerate(PARTS) if any(key[place] != ANY for key in self)
        )


def parse_prices(
    raw: object, name: str = "prices", error: type[MjciError] = SettingsError
) -> Prices:
    """Return a table of prices.

    Args:
        raw: numbers by key, or as text: "imagine=0.03, *=0.02"
        name: what the user calls it
        error: what is raised

    Raises:
        SettingsError: a key or a price is not valid
    """
    if isinstance(raw, Prices):
        return raw
    entries = _split_text(raw) if isinstance(raw, str) else raw
    if not isinstance(entries, Mapping):
        raise error(f"{name}: {raw!r} is no table of prices.", hint=HINT)
    try:
        return Prices({_parse_key(key): _parse_price(key, entries[key]) for key in entries})
    except ValueError as problem:
        raise error(f"{name}: {problem}", hint=HINT) from None


def _split_text(text: str) -> dict[str, str]:
    entries = (entry.partition("=") for entry in re.split(r"[,\s]+", text.strip()) if entry)
    return {key: price for key, _, price in entries}


def _parse_key(key: object) -> Key:
    parts = str(key).casefold().split("/")
    if len(parts) == 1:
        parts = [ANY, *parts]
    if len(parts) > len(PARTS) or not all(part.strip() for part in parts):
        raise ValueError(f"{key!r} is not ACTION, SERVICE/ACTION or SERVICE/ACTION/QUEUE.")
    return (*parts, *[ANY] * (len(PARTS) - len(parts)))


def _format_key(key: Key) -> str:
    service, action, queue = key
    if queue != ANY:
        return "/".join(key)
    return action if service == ANY else f"{service}/{action}"


def _parse_price(key: object, price: object) -> float:
    try:
        number = float(str(price))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{price!r} is no price of {key!r}.")
    return number


def format_cost(cost: float) -> str:
    """Return a cost without the noise of binary fractions: 1,234.5."""
    return f"{cost:,.10g}" if cost >= 1 else f"{cost:.4g}"
