"""What the Midjourney proxies are sent and what they say: reading bodies, wording answers."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Mapping
from email import message_from_bytes
from typing import Any

from jupyter_mjci.emulator.http import Request, Response

JSON_HEADERS = {"content-type": "application/json"}
TEXT_HEADERS = {"content-type": "text/plain; charset=utf-8"}
HTML_HEADERS = {"content-type": "text/html; charset=utf-8"}
EMPTY_RESPONSE = Response(200, b"", {})


def dump_json(value: object) -> bytes:
    """JSON as these servers write it. Relays replace the very characters `"code":22`, so no space
    may get in.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, dump_json(value), JSON_HEADERS)


def secrets_equal(value: str, secret: str) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(value.encode("utf-8", "replace"), secret.encode("utf-8", "replace"))


def build_relay_error(description: str, code: int = 4, status: int = 400) -> Response:
    """Go writes the keys in order, and the description with a space and an empty result after
    it.
    """
    return json_response(
        {"code": code, "description": f"{description} ", "type": "upstream_error"}, status
    )


class ErrorResponse(Exception):
    """Ends a request with an answer of its own."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def submit_response(
    code: int,
    description: str,
    result: object = None,
    properties: Mapping[str, Any] | None = None,
    status: int = 200,
) -> Response:
    """What every submit endpoint says."""
    said = {
        "code": code,
        "description": description,
        "result": result,
        "properties": dict(properties or {}),
    }
    if code == 24:
        del said["result"]
    return json_response(said, status)


def validation_error(description: str, status: int = 200) -> ErrorResponse:
    return ErrorResponse(submit_response(4, description, status=status))


MAGIC_NUMBERS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def image_response(body: bytes) -> Response:
    kind = next(
        (name for start, name in MAGIC_NUMBERS if body.startswith(start)),
        "application/octet-stream",
    )
    return Response(200, body, {"content-type": kind, "cache-control": "public, max-age=31536000"})


# ── reading a body
# ───────────────────────────────────────────────────────────────────────────────────────────────────

TEXT_FIELDS = frozenset(
    "prompt state notifyHook base64 botType taskId content action customId maskBase64 dimensions link language image "  # noqa: SIM905
    "endImage motion videoType sourceBase64 targetBase64 sourceUrl targetUrl jobId mode sort status description "
    "failReason id instanceId promptEn".split()
)
LIST_FIELDS = frozenset({"base64Array", "ids", "statusSet"})
INTEGER_FIELDS = frozenset({"index", "batchSize", "pageNumber", "pageSize"})
BOOLEAN_FIELDS = frozenset({"enableRemix", "loop", "chooseSameChannel"})
OBJECT_FIELDS = frozenset({"accountFilter", "filter"})


class InvalidBody(Exception):
    """The body is no JSON object, or a field of it has a type that the server cannot take."""


class Body(dict[str, Any]):
    """The fields of a request, each of the type it should have; what is missing or null reads as
    nothing.
    """

    def get_text(self, name: str) -> str:
        return str(self.get(name) or "").strip()

    def get_texts(self, name: str) -> list[str]:
        return list(self.get(name) or [])

    def get_int(self, name: str, default: int = 0) -> int:
        value = self.get(name)
        return default if value is None else int(value)

    def get_bool(self, name: str) -> bool:
        return bool(self.get(name))

    def get_object(self, name: str) -> dict[str, Any]:
        return dict(self.get(name) or {})


def parse_body(raw: bytes, strict: bool) -> Body:
    """Strict servers take a number for a text amiss; the Java ones turn one into the other."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidBody("not an object")
    return Body((name, _coerce_field(name, value, strict)) for name, value in found.items())


def _coerce_field(name: str, value: Any, strict: bool) -> Any:
    if value is None:
        return None
    for names, fit in COERCIONS:
        if name in names:
            return fit(name, value, strict)
    return value


def _coerce_text(name: str, value: Any, strict: bool) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if strict or isinstance(value, dict | list):
        raise InvalidBody(f"{name} must be a string")
    return json.dumps(value)


def _coerce_texts(name: str, value: Any, strict: bool) -> list[str]:
    if not isinstance(value, list):
        raise InvalidBody(f"{name} must be an array")
    return [_coerce_text(name, item, strict) for item in value if item is not None]


def _coerce_int(name: str, value: Any, strict: bool) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | str)
        or (strict and isinstance(value, str))
    ):
        raise InvalidBody(f"{name} must be an integer")
    if not re.fullmatch(r"-?\d{1,9}", str(value)):
        raise InvalidBody(f"{name} must be an integer")
    return int(value)


def _coerce_bool(name: str, value: Any, strict: bool) -> bool:
    if isinstance(value, bool):
        return value
    if not strict and value in ("true", "false", ""):
        return bool(value == "true")
    raise InvalidBody(f"{name} must be a boolean")


def _coerce_object(name: str, value: Any, _: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidBody(f"{name} must be an object")
    return value


COERCIONS: tuple[tuple[frozenset[str], Callable[[str, Any, bool], Any]], ...] = (
    (TEXT_FIELDS, _coerce_text),
    (LIST_FIELDS, _coerce_texts),
    (INTEGER_FIELDS, _coerce_int),
    (BOOLEAN_FIELDS, _coerce_bool),
    (OBJECT_FIELDS, _coerce_object),
)

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,(.*)", re.S)


def decode_base64(text: str) -> bytes | None:
    """The bytes of a base64 text, None if it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def decode_data_url(text: str) -> bytes | None:
    found = _DATA_URL.fullmatch(text.strip())
    return decode_base64(found[1]) if found else None


def parse_form(request: Request) -> Body:
    """The fields and files of a multipart form; files as data URLs, named like the JSON fields."""
    kind = request.headers["content-type"].encode("latin-1", "replace")
    message = message_from_bytes(b"content-type: " + kind + b"\r\n\r\n" + request.body)
    body = Body()
    for part in list(message.walk())[1:]:
        name = part.get_param("name", header="content-disposition")
        raw = part.get_payload(decode=True) if not part.is_multipart() else None
        if not isinstance(name, str) or not isinstance(raw, bytes):
            continue
        if part.get_filename() is None:
            body[name] = raw.decode("utf-8", "replace")
        else:
            body[f"{name}Base64"] = (
                f"data:application/octet-stream;base64,{base64.b64encode(raw).decode()}"
            )
    return body
