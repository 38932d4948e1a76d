"""Record a session's exchanges into a folder, redacted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx

from jupyter_mjci.client import event_loop, redaction
from jupyter_mjci.client.cassette import (
    FORMAT_VERSION,
    IMAGE_FOLDER,
    MANIFEST,
    REQUEST_HEADERS,
    build_response,
    compute_checksum,
    get_target_url,
    normalize_request_body,
    split_lines,
)
from jupyter_mjci.client.image_input import detect_image_format
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import SettingsError

RESPONSE_HEADERS = re.compile(
    r"content-type|location|etag|last-modified|retry-after|content-range|x-(cos|ci)-(?!.*token).*"
)


class TransportFactory(Protocol):
    """The door behind a recorder, made when it is first needed."""

    def __call__(self) -> httpx.AsyncBaseTransport: ...


class Recorder(httpx.AsyncBaseTransport):
    """A door that lets everything through and writes it down. A recording that is there already is
    replaced.

    `secrets` are stripped wherever they stand; `shrink` makes a picture smaller, before anybody
    sees it. `marker_seed` is what the recorded session makes its marks of, which nobody else has: played
    back, they are the same.
    """

    def __init__(
        self,
        folder: Path,
        make_transport: TransportFactory,
        clock: Clock,
        *,
        settings: Mapping[str, str],
        secrets: Iterable[str] = (),
        shrink: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.folder, self.clock, self.shrink, self.marker_seed = folder, clock, shrink, uuid4().hex
        self._make_transport = make_transport
        self._inner: httpx.AsyncBaseTransport | None = None
        self._loop_thread: event_loop.LoopThread | None = None
        self._redact = partial(redaction.redact, secrets=tuple(secrets))
        self._signed_urls: dict[str, str] = {}  # links as they are shown, and as they work
        self._count = 0
        self._started_at = round(clock.now(), 3)
        self._manifest: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "started": self._started_at,
            "marks": self.marker_seed,
            "exchanges": 0,
            "settings": {
                name: redaction.strip_signature(value) for name, value in settings.items() if value
            },
        }
        prepare_folder(folder)
        self._write_manifest()

    @property
    def in_flight(self) -> int:
        return int(getattr(self._inner, "in_flight", 0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        sent = self.clock.now()
        told = {
            "method": request.method,
            "url": redaction.strip_signature(get_target_url(request)),
            "headers": {
                name: self._redact(request.headers[name])
                for name in REQUEST_HEADERS
                if name in request.headers
            },
            "body": normalize_request_body(content, self._redact),
        }
        try:
            response = await self._ensure_transport().handle_async_request(
                self._restore_signature(request, content)
            )
            body = await response.aread()
            await response.aclose()
        except (httpx.TransportError, OSError) as error:
            self._write_exchange(
                told, sent, {"error": type(error).__name__, "text": self._redact(str(error))}
            )
            raise
        headers = {
            name: self._redact(self._remember_signed_urls(value))
            for name, value in sorted(response.headers.items())
            if RESPONSE_HEADERS.fullmatch(name)
        }
        answer = {"status": response.status_code, "headers": headers, **self._serialize_body(body)}
        self._write_exchange(told, sent, answer)
        return build_response(answer, self.folder)

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()
            self._inner = None

    def _ensure_transport(self) -> httpx.AsyncBaseTransport:
        engine = event_loop.get_loop_thread()
        if self._inner is None or self._loop_thread is not engine:
            self._inner, self._loop_thread = self._make_transport(), engine
        return self._inner

    def _restore_signature(self, request: httpx.Request, content: bytes) -> httpx.Request:
        """The request as it was meant: a link without its signature gets it back."""
        signed = self._signed_urls.get(str(request.url))
        if signed is None:
            return request
        headers = [
            (name, value) for name, value in request.headers.multi_items() if name.lower() != "host"
        ]
        return httpx.Request(
            request.method,
            signed,
            headers=headers,
            content=content or None,
            extensions=request.extensions,
        )

    def _serialize_body(self, body: bytes) -> dict[str, Any]:
        """An answer's body as it is told: JSON or text, stripped; anything else as a file of its
        own.
        """
        kind = detect_image_format(body)
        if kind or b"\0" in body:
            return {"file": self._save_file(body, kind)}
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return {"file": self._save_file(body, kind)}
        try:
            value = json.loads(text)
        except ValueError:
            return {"text": split_lines(self._redact_text(text))}
        return {"json": redaction.redact_value(value, self._redact_text)}

    def _save_file(self, body: bytes, kind: str) -> str:
        if kind and self.shrink is not None:
            body = self.shrink(body)
            kind = detect_image_format(body)
        name = f"{IMAGE_FOLDER}/{hashlib.sha256(body).hexdigest()[:32]}.{kind or 'bin'}"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
        return name

    def _redact_text(self, text: str) -> str:
        return self._redact(self._remember_signed_urls(text))

    def _remember_signed_urls(self, text: str) -> str:
        """The text itself; its signed links are kept in mind, to be fetched with their
        signatures.
        """
        for link in redaction.find_urls(text):
            plain = redaction.strip_signature(link)
            if plain != link:
                self._signed_urls[str(httpx.URL(plain.replace("&amp;", "&")))] = link.replace(
                    "&amp;", "&"
                )
        return text

    def _write_exchange(
        self, request: Mapping[str, Any], sent: float, answer: Mapping[str, Any]
    ) -> None:
        self._count += 1
        started, now = self._started_at, self.clock.now()
        exchange = {
            "sent": round(sent - started, 3),
            "answered": round(now - started, 3),
            "request": request,
            "answer": answer,
        }
        exchange["seal"] = compute_checksum(exchange)
        path = urlsplit(str(request["url"])).path
        slug = re.sub(r"[^A-Za-z0-9]+", "-", unquote(path)).strip("-")[:60]
        _write_json(self.folder / f"{self._count:04d}-{request['method']}-{slug}.json", exchange)
        self._write_manifest()

    def _write_manifest(self) -> None:
        self._manifest["exchanges"] = self._count
        _write_json(self.folder / MANIFEST, self._manifest)


def prepare_folder(folder: Path) -> None:
    """Makes the folder, or empties the recording that it holds. Raises SettingsError for a folder
    of anything else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise SettingsError(
            f"{folder} holds something else than a recording.", hint="Give another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in [
        *folder.glob("[0-9][0-9][0-9][0-9]*-*.json"),
        *folder.glob(f"{IMAGE_FOLDER}/*"),
        folder / MANIFEST,
    ]:
        old.unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
