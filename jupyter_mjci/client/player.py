"""Replay a recording: answer each request by the recorded exchange."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from jupyter_mjci.client import redaction
from jupyter_mjci.client.cassette import (
    MARKER_RE,
    RECORDED_SETTINGS,
    REQUEST_HEADERS,
    SECRET_SETTINGS,
    Exchange,
    RequestKey,
    build_request_key,
    build_response,
    get_target_url,
    join_lines,
    load_recording,
    normalize_request_body,
)
from jupyter_mjci.client.replay_clock import ReplayClock
from jupyter_mjci.errors import NotRecorded

TIME_TOLERANCE = 60.0  # seconds that they differ by, where they mean the same


# Answers that tell of a job which still moves: there is more to come after them.
ACTIVE_RE = re.compile(
    rb'"status"\s*:\s*"(NOT_START|SUBMITTED|IN_PROGRESS)"|<State>\s*(Submitted|Running|Auditing|Snapshoting)\s*</State>'
)


@dataclass(slots=True)
class Track:
    """Equal requests in their recorded order, and how many of them were answered."""

    exchanges: list[Exchange] = field(default_factory=list)
    position: int = 0

    @property
    def next_number(self) -> float:
        """The place of the next one in the whole recording; infinite where none is left."""
        return (
            self.exchanges[self.position].number
            if self.position < len(self.exchanges)
            else math.inf
        )

    def compute_distance(self, key: RequestKey) -> float:
        """How many seconds the times that are asked for are from those that were."""
        return sum(
            abs(one - other)
            for one, other in zip(self.exchanges[0].request_key.times, key.times, strict=False)
        )

    def pop(self) -> Exchange | None:
        """The next one. The last is given again where nothing more can come after it."""
        if self.next_number < math.inf:
            self.position += 1
            return self.exchanges[self.position - 1]
        last = self.exchanges[-1]
        return None if last.is_submission or "error" in last.response or _is_active(last) else last


def _is_active(exchange: Exchange) -> bool:
    answer = exchange.response
    text = json.dumps(answer["json"]) if "json" in answer else join_lines(answer.get("text", ""))
    return ACTIVE_RE.search(text.encode()) is not None


class Player(httpx.AsyncBaseTransport):
    """A door behind which a recording answers, at the recorded times of its own virtual clock.

    Jobs of a batch that were seen to end at one moment may change places, but once and for all.
    Raises NotRecorded for any other request, and SettingsError for a recording that is not whole.
    """

    in_flight = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest, exchanges = load_recording(folder)
        self.clock = ReplayClock(float(self.manifest["started"]))
        self.marker_seed = str(self.manifest.get("marks", ""))
        self.settings: dict[str, str] = {
            name: str(self.manifest["settings"].get(name, ""))
            for name in RECORDED_SETTINGS + SECRET_SETTINGS
        }
        self._tracks: dict[RequestKey, Track] = defaultdict(Track)
        self._tracks_without_times: dict[RequestKey, list[Track]] = defaultdict(list)
        for exchange in exchanges:
            self._tracks[exchange.request_key].exchanges.append(exchange)
        for key, row in self._tracks.items():
            self._tracks_without_times[key.without_times].append(row)
        self._markers: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        body = normalize_request_body(content, redaction.redact)
        headers = {
            name: redaction.redact(request.headers[name])
            for name in REQUEST_HEADERS
            if name in request.headers
        }
        wanted = build_request_key(
            request.method, redaction.strip_signature(get_target_url(request)), headers, body
        )
        row = self._find_track(wanted)
        exchange = row.pop() if row else None
        if exchange is None:
            raise self._build_not_recorded_error(wanted, row)
        self._markers.update(
            zip(
                exchange.markers,
                MARKER_RE.findall(content.decode("utf-8", "replace")),
                strict=False,
            )
        )
        await self.clock.sleep_until(
            float(self.manifest["started"]) + exchange.responded_at, exchange.number
        )
        if "error" in exchange.response:
            raise _build_error(exchange.response)
        return build_response(exchange.response, self.folder, self._markers)

    def _find_track(self, key: RequestKey) -> Track | None:
        """The requests that are equal but for the times that they ask for: those whose turn it is,
        if there are any among those of about the same time.
        """

        def fitting(row: Track) -> tuple[bool, bool, float, float]:
            away = row.compute_distance(key)
            return row.next_number == math.inf, away > TIME_TOLERANCE, row.next_number, away

        return min(self._tracks_without_times.get(key.without_times, ()), key=fitting, default=None)

    def _build_not_recorded_error(self, key: RequestKey, track: Track | None) -> NotRecorded:
        what = f"The recording has no answer to {str(key)[:200]}."
        hint = "Record the notebook again: %mjci replay record."
        if track is not None:
            last = track.exchanges[-1]
            times = f"{track.position} time{'s' * (track.position != 1)}"
            return NotRecorded(
                what,
                detail=f"It was asked {times} when it was recorded, last in {last.name}.",
                hint=hint,
            )
        near = self._find_nearest(key)
        return NotRecorded(
            what,
            detail=_describe_difference(key, near) if near else "It holds no exchange at all.",
            hint=hint,
        )

    def _find_nearest(self, key: RequestKey) -> Exchange | None:
        def likeness(one: RequestKey) -> tuple[bool, bool, float]:
            alike = difflib.SequenceMatcher(
                None, one.full_text[:2000], key.full_text[:2000], autojunk=False
            )
            return one.method == key.method, one.host_path == key.host_path, alike.ratio()

        near = max(self._tracks, key=likeness, default=None)
        return self._tracks[near].exchanges[0] if near else None


def _describe_difference(key: RequestKey, nearest: Exchange) -> str:
    """Which exchange is nearest, and what is different about it."""
    parts = [
        name
        for name in ("method", "host_path", "query", "headers", "body")
        if getattr(key, name) != getattr(nearest.request_key, name)
    ]
    told = f"Nearest is {nearest.name} ({str(nearest.request_key)[:200]})"
    if parts == ["body"]:
        return (
            f"{told}, with another body: {_excerpt_difference(nearest.request_key.body, key.body)}."
        )
    return f"{told}: another {', '.join(parts).replace('host_path', 'host or path')}."


def _excerpt_difference(recorded: str, actual: str, width: int = 60) -> str:
    """The place where two texts part."""
    start = next(
        (at for at, (one, other) in enumerate(zip(recorded, actual, strict=False)) if one != other),
        min(len(recorded), len(actual)),
    )
    begin = max(0, start - width // 3)
    return f"recorded …{recorded[begin : begin + width]}…, asked …{actual[begin : begin + width]}…"


def _build_error(recorded: Mapping[str, Any]) -> Exception:
    kind = getattr(httpx, str(recorded["error"]), httpx.ReadError)
    return (
        kind(recorded["text"])
        if issubclass(kind, httpx.TransportError)
        else httpx.ReadError(recorded["text"])
    )
