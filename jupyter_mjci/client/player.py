"""Replay a recording: answer each request from the exchange that was recorded for it.

Exchanges with equal requests form a track and are returned in
their recorded order, whatever runs beside them. Each response is
held back until the recorded moment on the replay's virtual clock,
so that jobs age as they did, without any waiting.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from jupyter_mjci.client import redaction
from jupyter_mjci.client.cassette import (
    MANIFEST,
    MARKER_RE,
    Exchange,
    RequestKey,
    build_request_key,
    build_response,
    describe_request,
    join_lines,
    load_recording,
    require_valid,
)
from jupyter_mjci.client.jsonlib import JsonObject
from jupyter_mjci.client.replay_clock import ReplayClock
from jupyter_mjci.errors import NotRecorded

# Seconds by which the requested times of the same listing may
# differ.
TIME_TOLERANCE = 60.0

# Responses about a job that is still active: more polls must
# follow in the recording.
ACTIVE_RE = re.compile(
    rb'"status"\s*:\s*"(NOT_START|SUBMITTED|IN_PROGRESS)"'
    rb"|<State>\s*(Submitted|Running|Auditing|Snapshoting)\s*</State>"
)


@dataclass(slots=True)
class Track:
    """Exchanges with equal requests, and how many of them were replayed."""

    exchanges: list[Exchange] = field(default_factory=list)
    position: int = 0

    @property
    def next_number(self) -> float:
        """The number of the next exchange; infinite at the end of the track."""
        if self.position < len(self.exchanges):
            return self.exchanges[self.position].number
        return math.inf

    def compute_distance(self, key: RequestKey) -> float:
        """Return the seconds between the requested and the recorded times."""
        recorded = self.exchanges[0].request_key.times
        pairs = zip(recorded, key.times, strict=False)
        return sum(abs(before - now) for before, now in pairs)

    def pop(self) -> Exchange | None:
        """Return the next exchange, or the last one again if it is repeatable."""
        if self.next_number < math.inf:
            self.position += 1
            return self.exchanges[self.position - 1]
        last = self.exchanges[-1]
        if last.is_submission or "error" in last.response or _is_active(last):
            return None
        return last


def _is_active(exchange: Exchange) -> bool:
    response = exchange.response
    if "json" in response:
        text = json.dumps(response["json"])
    else:
        text = join_lines(response.get("text", ""))
    return ACTIVE_RE.search(text.encode()) is not None


class Player(httpx.AsyncBaseTransport):
    """An httpx transport that replays a recording on a virtual clock.

    Jobs of a batch that ended at the same moment may change
    places, but in the same way in every replay.

    Raises:
        NotRecorded: for a request that the recording has no
            response to
        SettingsError: when it is created, for a recording that is
            incomplete or was changed
    """

    in_flight = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest, exchanges = load_recording(folder)
        self.marker_seed = str(self.manifest.get("marks", ""))
        with require_valid(folder / MANIFEST):
            self.clock = ReplayClock(float(self.manifest["started"]))
            self.settings = {
                name: str(value) for name, value in self.manifest["settings"].items() if value
            }
        self._tracks: dict[RequestKey, Track] = defaultdict(Track)
        for exchange in exchanges:
            self._tracks[exchange.request_key].exchanges.append(exchange)
        self._tracks_without_times: dict[RequestKey, list[Track]] = defaultdict(list)
        for key, track in self._tracks.items():
            self._tracks_without_times[key.without_times].append(track)
        # Markers as they were recorded -> those that this session
        # uses in their place.
        self._markers: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        key = build_request_key(**describe_request(request, content, redaction.redact))
        track = self._find_track(key)
        exchange = track.pop() if track else None
        if exchange is None:
            raise self._build_not_recorded_error(key, track)
        markers = MARKER_RE.findall(content.decode("utf-8", "replace"))
        self._markers.update(zip(exchange.markers, markers, strict=False))
        started = float(self.manifest["started"])
        await self.clock.sleep_until(started + exchange.responded_at, exchange.number)
        if "error" in exchange.response:
            raise _build_error(exchange.response)
        return build_response(exchange.response, self.folder, self._markers)

    def _find_track(self, key: RequestKey) -> Track | None:
        """Find the track of a request. Among those that differ
        only in the requested times: one that is not at its end,
        of about the same time, then the one that is next in the
        recording.
        """

        def rank(track: Track) -> tuple[bool, bool, float, float]:
            distance = track.compute_distance(key)
            is_at_end = track.next_number == math.inf
            return is_at_end, distance > TIME_TOLERANCE, track.next_number, distance

        tracks = self._tracks_without_times.get(key.without_times, ())
        return min(tracks, key=rank, default=None)

    def _build_not_recorded_error(self, key: RequestKey, track: Track | None) -> NotRecorded:
        return NotRecorded(
            f"The recording has no response to {str(key)[:200]}.",
            detail=self._explain_not_recorded(key, track),
            hint="Record the notebook again: %mjci replay record.",
        )

    def _explain_not_recorded(self, key: RequestKey, track: Track | None) -> str:
        if track is not None:
            times = "1 time" if track.position == 1 else f"{track.position} times"
            return f"It was recorded {times}, last in {track.exchanges[-1].name}."
        nearest = self._find_nearest(key)
        return _describe_difference(key, nearest) if nearest else "The recording is empty."

    def _find_nearest(self, key: RequestKey) -> Exchange | None:
        def likeness(recorded: RequestKey) -> tuple[bool, bool, float]:
            matcher = difflib.SequenceMatcher(
                None, recorded.full_text[:2000], key.full_text[:2000], autojunk=False
            )
            same_method = recorded.method == key.method
            return same_method, recorded.host_path == key.host_path, matcher.ratio()

        nearest = max(self._tracks, key=likeness, default=None)
        return self._tracks[nearest].exchanges[0] if nearest else None


def _describe_difference(key: RequestKey, nearest: Exchange) -> str:
    """Return the nearest exchange's name and what differs in its request."""
    recorded = nearest.request_key
    parts = []
    for name in ("method", "host_path", "query", "headers", "body"):
        if getattr(recorded, name) != getattr(key, name):
            parts.append(name.replace("host_path", "host or path"))
    intro = f"Nearest is {nearest.name} ({str(recorded)[:200]})"
    if parts == ["body"]:
        return f"{intro}, with another body: {_excerpt_difference(recorded.body, key.body)}."
    return f"{intro}, with another {', '.join(parts)}."


def _excerpt_difference(recorded: str, requested: str, width: int = 60) -> str:
    """Return both texts around the first character in which they differ."""
    start = 0
    for before, now in zip(recorded, requested, strict=False):
        if before != now:
            break
        start += 1
    begin = max(0, start - width // 3)
    end = begin + width
    return f"recorded …{recorded[begin:end]}…, requested …{requested[begin:end]}…"


def _build_error(recorded: JsonObject) -> Exception:
    kind: object = getattr(httpx, str(recorded["error"]), None)
    if isinstance(kind, type) and issubclass(kind, httpx.TransportError):
        return kind(recorded["text"])
    return httpx.ReadError(recorded["text"])
