"""Record a session's exchanges into a folder, without secrets.

The recorder sits between the session and its transport. It
returns the responses as they are written down, so that the
recorded session already sees what a replay will show: URLs
without their signatures, images scaled down. A signed URL still
works while recording, because the recorder adds its signature
again when it is fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx

from jupyter_mjci.client import event_loop, redaction
from jupyter_mjci.client.cassette import (
    EXCHANGE_FILES,
    FORMAT_VERSION,
    IMAGE_FOLDER,
    MANIFEST,
    RecordedRequest,
    build_response,
    compute_checksum,
    describe_request,
    split_lines,
)
from jupyter_mjci.client.jsonlib import JsonObject
from jupyter_mjci.client.private_files import make_private_folder, write_atomically
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.imaging.picture_check import detect_image_format

# Response headers that are stored. No header with a token is.
RESPONSE_HEADERS = re.compile(
    r"content-type|location|etag|last-modified|retry-after|content-range|x-(cos|ci)-(?!.*token).*"
)


class Recorder(httpx.AsyncBaseTransport):
    """An httpx transport that passes every request on and writes the exchange down.

    Args:
        folder: where the recording is written; an existing
            recording is replaced
        make_transport: builds the transport that carries the
            requests
        clock: the session's clock
        settings: the settings to store
        secrets: texts to redact wherever they occur
        shrink: scales down an image, before the session sees it
    """

    def __init__(
        self,
        folder: Path,
        make_transport: Callable[[], httpx.AsyncBaseTransport],
        clock: Clock,
        *,
        settings: Mapping[str, str],
        secrets: Iterable[str] = (),
        shrink: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.shrink = shrink
        # Submission markers derive from it: a replay makes the
        # same ones.
        self.marker_seed = uuid4().hex
        self._make_transport = make_transport
        self._inner: httpx.AsyncBaseTransport | None = None
        self._loop_thread: event_loop.LoopThread | None = None
        self._redact = partial(redaction.redact, secrets=tuple(secrets))
        # URLs as they are shown -> as they work.
        self._signed_urls: dict[str, str] = {}
        self._count = 0
        self._started_at = round(clock.now(), 3)
        self._settings = {
            name: redaction.strip_signature(value) for name, value in settings.items() if value
        }
        prepare_folder(folder)
        self._write_manifest()

    @property
    def in_flight(self) -> int:
        return int(getattr(self._inner, "in_flight", 0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        sent_at = self.clock.now()
        described = describe_request(request, content, self._redact)
        try:
            response = await self._ensure_transport().handle_async_request(
                self._restore_signature(request, content)
            )
            body = await response.aread()
            await response.aclose()
        except (httpx.TransportError, OSError) as error:
            failure = {"error": type(error).__name__, "text": self._redact(str(error))}
            self._write_exchange(described, sent_at, failure)
            raise
        recorded = self._serialize_response(response, body)
        self._write_exchange(described, sent_at, recorded)
        return build_response(recorded, self.folder)

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()
            self._inner = None

    def _ensure_transport(self) -> httpx.AsyncBaseTransport:
        """Return the inner transport, a new one after a fork."""
        loop_thread = event_loop.get_loop_thread()
        if self._inner is None or self._loop_thread is not loop_thread:
            self._inner = self._make_transport()
            self._loop_thread = loop_thread
        return self._inner

    def _restore_signature(self, request: httpx.Request, content: bytes) -> httpx.Request:
        """Return the request with the original signature of its URL."""
        signed_url = self._signed_urls.get(str(request.url))
        if signed_url is None:
            return request
        headers = request.headers.copy()
        headers.pop("host", None)
        return httpx.Request(
            request.method,
            signed_url,
            headers=headers,
            content=content or None,
            extensions=request.extensions,
        )

    def _serialize_response(self, response: httpx.Response, body: bytes) -> JsonObject:
        headers = {
            name: self._redact_text(value)
            for name, value in sorted(response.headers.items())
            if RESPONSE_HEADERS.fullmatch(name)
        }
        content = self._serialize_body(body)
        return {"status": response.status_code, "headers": headers, **content}

    def _serialize_body(self, body: bytes) -> JsonObject:
        """Return a body as JSON or text, redacted; anything else is saved as a file."""
        image_format = detect_image_format(body)
        if image_format or b"\0" in body:
            return {"file": self._save_file(body, image_format)}
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            return {"file": self._save_file(body, "")}
        try:
            value = json.loads(text)
        except ValueError:
            return {"text": split_lines(self._redact_text(text))}
        return {"json": redaction.redact_value(value, self._redact_text)}

    def _save_file(self, body: bytes, image_format: str) -> str:
        if image_format and self.shrink is not None:
            body = self.shrink(body)
            image_format = detect_image_format(body)
        digest = hashlib.sha256(body).hexdigest()[:32]
        name = f"{IMAGE_FOLDER}/{digest}.{image_format or 'bin'}"
        path = self.folder / name
        write_atomically(path, body, is_durable=False)
        return name

    def _redact_text(self, text: str) -> str:
        self._remember_signed_urls(text)
        return self._redact(text)

    def _remember_signed_urls(self, text: str) -> None:
        """Remember the signed URLs of a response, to fetch them later."""
        for url in redaction.find_urls(text):
            plain = redaction.strip_signature(url)
            if plain != url:
                # XML escapes the ampersands of a URL.
                shown = str(httpx.URL(plain.replace("&amp;", "&")))
                self._signed_urls[shown] = url.replace("&amp;", "&")

    def _write_exchange(
        self, request: RecordedRequest, sent_at: float, response: JsonObject
    ) -> None:
        self._count += 1
        exchange: dict[str, object] = {
            "sent": round(sent_at - self._started_at, 3),
            "answered": round(self.clock.now() - self._started_at, 3),
            "request": request,
            "answer": response,
        }
        exchange["seal"] = compute_checksum(exchange)
        path = unquote(urlsplit(request["url"]).path)
        slug = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-")[:60]
        _write_json(self.folder / f"{self._count:04d}-{request['method']}-{slug}.json", exchange)
        self._write_manifest()

    def _write_manifest(self) -> None:
        manifest = {
            "format": FORMAT_VERSION,
            "started": self._started_at,
            "marks": self.marker_seed,
            "exchanges": self._count,
            "settings": self._settings,
        }
        _write_json(self.folder / MANIFEST, manifest)


def prepare_folder(folder: Path) -> None:
    """Create the folder of a recording, or remove the recording that is in it.

    Raises:
        SettingsError: the folder contains something else
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise SettingsError(
            f"{folder} contains other files than a recording.", hint="Choose another folder."
        )
    make_private_folder(folder)
    for pattern in (EXCHANGE_FILES, f"{IMAGE_FOLDER}/*", MANIFEST):
        for path in folder.glob(pattern):
            path.unlink()


def _write_json(path: Path, value: JsonObject) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, text.encode(), is_durable=False)
