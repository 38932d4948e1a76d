"""The bodies of the Midjourney proxies: parsing requests, building responses."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Mapping
from email import message_from_bytes
from typing import Any

from jupyter_mjci.emulator.http import Request, Response, json_response

TEXT_HEADERS = {"content-type": "text/plain; charset=utf-8"}
HTML_HEADERS = {"content-type": "text/html; charset=utf-8"}
EMPTY_RESPONSE = Response(200, b"", {})


def secrets_equal(value: str, secret: str) -> bool:
    """Compare in a time that does not depend on the secret."""
    return hmac.compare_digest(value.encode("utf-8", "replace"), secret.encode("utf-8", "replace"))


def build_relay_error(description: str, code: int = 4, status: int = 400) -> Response:
    """Build a relay's own error; the description ends in a blank, as the original's does."""
    content = {"code": code, "description": f"{description} ", "type": "upstream_error"}
    return json_response(content, status)


class ErrorResponse(Exception):
    """Ends a request with a response of its own."""

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
    """Build the response that every submit endpoint has.

    Args:
        code: 1 accepted, 22 queued, 21 exists or needs input,
            others are refusals
        description: the message
        result: the task's ID
        properties: further facts
        status: the HTTP status
    """
    content = {
        "code": code,
        "description": description,
        "result": result,
        "properties": dict(properties or {}),
    }
    if code == 24:  # a banned prompt
        del content["result"]
    return json_response(content, status)


def validation_error(description: str, status: int = 200) -> ErrorResponse:
    """Build the error for a field that is missing or not valid."""
    return ErrorResponse(submit_response(4, description, status=status))


MAGIC_NUMBERS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def image_response(body: bytes) -> Response:
    """Build the response for a picture, with the content type of its first bytes."""
    content_type = "application/octet-stream"
    for start, name in MAGIC_NUMBERS:
        if body.startswith(start):
            content_type = name
    headers = {"content-type": content_type, "cache-control": "public, max-age=31536000"}
    return Response(200, body, headers)


# ── requests ──

TEXT_FIELDS = frozenset(
    """
    prompt state notifyHook base64 botType taskId content action customId maskBase64 dimensions link
    language image endImage motion videoType sourceBase64 targetBase64 sourceUrl targetUrl jobId
    mode sort status description failReason id instanceId promptEn
    """.split()  # noqa: SIM905
)
LIST_FIELDS = frozenset({"base64Array", "ids", "statusSet"})
INTEGER_FIELDS = frozenset({"index", "batchSize", "pageNumber", "pageSize"})
BOOLEAN_FIELDS = frozenset({"enableRemix", "loop", "chooseSameChannel"})
OBJECT_FIELDS = frozenset({"accountFilter", "filter"})


class InvalidBody(Exception):
    """The body is not a JSON object, or a field of it has a type
    that the server does not accept.
    """


class Body(dict[str, Any]):
    """The fields of a request, each of its type; missing and null fields read as empty."""

    def get_text(self, name: str) -> str:
        """Return a text without surrounding blanks."""
        return str(self.get(name) or "").strip()

    def get_texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        return list(self.get(name) or [])

    def get_int(self, name: str, default: int = 0) -> int:
        """Return a number."""
        value = self.get(name)
        return default if value is None else int(value)

    def get_bool(self, name: str) -> bool:
        """Return a flag."""
        return bool(self.get(name))

    def get_object(self, name: str) -> dict[str, Any]:
        """Return an object."""
        return dict(self.get(name) or {})


def parse_body(raw: bytes, strict: bool) -> Body:
    """Parse a JSON body.

    Args:
        raw: the body
        strict: refuse a number where a text is expected; the Java
            servers convert it

    Raises:
        InvalidBody: it is not an object, or a field has the wrong
            type
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidBody("not an object")
    body = Body()
    for name, value in document.items():
        body[name] = None if value is None else _coerce_field(name, value, strict)
    return body


def _coerce_field(name: str, value: object, strict: bool) -> object:
    for names, coerce in COERCIONS:
        if name in names:
            return coerce(name, value, strict)
    return value


def _coerce_text(name: str, value: object, strict: bool) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if strict or isinstance(value, dict | list):
        raise InvalidBody(f"{name} must be a string")
    return json.dumps(value)


def _coerce_texts(name: str, value: object, strict: bool) -> list[str]:
    if not isinstance(value, list):
        raise InvalidBody(f"{name} must be an array")
    return [_coerce_text(name, item, strict) for item in value if item is not None]


def _coerce_int(name: str, value: object, strict: bool) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    is_text = isinstance(value, str) and not strict
    if not (is_number or is_text) or not re.fullmatch(r"-?\d{1,9}", str(value)):
        raise InvalidBody(f"{name} must be an integer")
    return int(str(value))


def _coerce_bool(name: str, value: object, strict: bool) -> bool:
    if isinstance(value, bool):
        return value
    if not strict and value in ("true", "false", ""):
        return value == "true"
    raise InvalidBody(f"{name} must be a boolean")


def _coerce_object(name: str, value: object, _: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidBody(f"{name} must be an object")
    return value


COERCIONS: tuple[tuple[frozenset[str], Callable[[str, object, bool], object]], ...] = (
    (TEXT_FIELDS, _coerce_text),
    (LIST_FIELDS, _coerce_texts),
    (INTEGER_FIELDS, _coerce_int),
    (BOOLEAN_FIELDS, _coerce_bool),
    (OBJECT_FIELDS, _coerce_object),
)

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,(.*)", re.S)


def decode_base64(text: str) -> bytes | None:
    """Decode base64; None if it is not valid or empty."""
    try:
        return base64.b64decode("".join(text.split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def decode_data_url(text: str) -> bytes | None:
    """Decode a base64 data URL; None if it is not one."""
    match = _DATA_URL.fullmatch(text.strip())
    return decode_base64(match[1]) if match else None


def parse_form(request: Request) -> Body:
    """Parse a multipart form; files become data URLs, named like the JSON fields."""
    content_type = request.headers["content-type"].encode("latin-1", "replace")
    message = message_from_bytes(b"content-type: " + content_type + b"\r\n\r\n" + request.body)
    body = Body()
    for part in list(message.walk())[1:]:
        if part.is_multipart():
            continue
        name = part.get_param("name", header="content-disposition")
        raw = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(raw, bytes):
            continue
        if part.get_filename() is None:
            body[name] = raw.decode("utf-8", "replace")
        else:
            encoded = base64.b64encode(raw).decode()
            body[f"{name}Base64"] = f"data:application/octet-stream;base64,{encoded}"
    return body
