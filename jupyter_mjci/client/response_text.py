"""Read the words of any response body: JSON of every shape, text, a web page, XML, nothing.

Gateways answer in place of the service, and each family of
servers puts its explanation somewhere else. `read_message` finds
it, so that an error shows what the server said.

The shapes, by family: `{"error": {"message", "code"}}` (OpenAI,
one-api, new-api), `{"code", "description"}` (midjourney-proxy),
`{"code", "msg"}` (Chinese frameworks), `{"detail"}`, also as a
list (FastAPI), `{"timestamp", "status", "error", "path"}`
(Spring), `{"title", "errors"}` (.NET, RFC 9457), `{"message"}`
(Express, Kong, AWS), `{"errors": [{"message"}]}` (GraphQL),
`<Error><Code><Message>` (COS, S3), `<title>` (nginx, Cloudflare).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jupyter_mjci.client import jsonlib

# characters of a message that are shown
MAX_MESSAGE_LENGTH = 300
# bytes of a page or an XML document that are searched for words
MAX_SEARCHED = 16_384
# entries of a list of errors that are shown
MAX_ENTRIES = 5
MAX_DEPTH = 6

# Fields of an explanation, the more general first, as they are
# joined: "Not Found: no route for /mj/x".
MESSAGE_FIELDS = (
    "title",
    "error",
    "error_description",
    "description",
    "message",
    "msg",
    "errmsg",
    "errMsg",
    "error_msg",
    "errorMessage",
    "error_message",
    "Message",
    "reason",
    "detail",
    "details",
    "errors",
    "Error",
    "Response",
)
# Fields that hold a number or a word for programs.
CODE_FIELDS = ("code", "Code", "error_code", "errorCode", "errcode", "errCode")
CONTAINER_FIELDS = ("error", "Error", "Response")


def decode_text(body: bytes) -> str:
    """Return a body as text: UTF-8, else GB 18030, which holds GBK; never raises."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return body.decode("gb18030")
    except UnicodeDecodeError:
        return body.decode("utf-8", "replace")


def is_html(body: bytes) -> bool:
    """Return whether a body is a web page, by its first bytes: content types get it wrong."""
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<title")) or (
        start.startswith((b"<!--", b"<?xml")) and b"<html" in start
    )


def parse_object(body: bytes) -> Any:
    """Return the JSON of a body; None where it is not JSON."""
    try:
        return jsonlib.loads(body)
    except ValueError:
        return None


def read_message(body: bytes, document: Any = None) -> str:
    """Return what a body says, on one line and of bounded length; "" where it says nothing.

    Args:
        body: the body
        document: its JSON, where it is parsed already
    """
    if not body.strip():
        return ""
    if is_html(body):
        return shorten(_read_page(body))
    if body.lstrip()[:1] == b"<":
        return shorten(_read_xml(body))
    document = parse_object(body) if document is None else document
    if document is None:
        return shorten(decode_text(body[:MAX_SEARCHED]))
    return shorten(read_json_message(document))


def read_code(body: bytes, document: Any = None) -> str:
    """Return the code for programs that a body holds, as text; "" without one."""
    if isinstance(document, Mapping):
        return _find_scalar(document, CODE_FIELDS)
    if body.lstrip()[:1] == b"<" and not is_html(body):
        return _find_element(body, "Code")
    return ""


def read_type(document: Any) -> str:
    """Return the type of a JSON error: some relays send the code there."""
    return _find_scalar(document, ("type",)) if isinstance(document, Mapping) else ""


def read_request_id(body: bytes) -> str:
    """Return the request ID of an XML error; "" without one."""
    return _find_element(body, "RequestId") if body.lstrip()[:1] == b"<" else ""


def shorten(text: str, length: int = MAX_MESSAGE_LENGTH) -> str:
    """Return a text on one line, of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


# --- JSON -------------------------------------------------


def read_json_message(document: object) -> str:
    """Return the explanation in a parsed document; of an unknown shape, the document itself."""
    message = ": ".join(_unique(_iter_parts(document, 0)))
    if message or not isinstance(document, Mapping):
        return message
    if all(name in (*CODE_FIELDS, "type") or not value for name, value in document.items()):
        return ""
    return jsonlib.dumps(document)


def _iter_parts(value: object, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list):
        entries = [": ".join(_unique(_iter_parts(item, depth + 1))) for item in value[:MAX_ENTRIES]]
        yield "; ".join(filter(None, entries))
    elif isinstance(value, Mapping):
        yield from _iter_object_parts(value, depth)


def _iter_object_parts(value: Mapping[str, object], depth: int) -> Iterator[str]:
    if isinstance(value.get("loc"), list):
        # FastAPI names the field that is wrong.
        yield ".".join(map(str, value["loc"]))  # type: ignore[call-overload]
    known = [name for name in MESSAGE_FIELDS if value.get(name)]
    for name in known:
        yield from _iter_parts(value[name], depth + 1)
    if not known and depth:
        # .NET: the field's name with a list of complaints.
        for name, complaints in list(value.items())[:MAX_ENTRIES]:
            text = ": ".join(_unique(_iter_parts(complaints, depth + 1)))
            if text and name not in CODE_FIELDS:
                yield f"{name}: {text}"


def _unique(parts: Iterable[str]) -> list[str]:
    """Return the parts that are not empty and not contained in another one before."""
    kept: list[str] = []
    for part in parts:
        if part and not any(part in other for other in kept):
            kept.append(part)
    return kept


def _find_scalar(document: Mapping[str, object], names: Sequence[str]) -> str:
    """Return the first of the fields that is a number or a text, in the error or beside it."""
    containers = [document.get(name) for name in CONTAINER_FIELDS]
    if isinstance(containers[-1], Mapping):
        # Tencent Cloud's API 3.0: {"Response": {"Error": {"Code"}}}
        containers.append(containers[-1].get("Error"))
    for container in (*containers, document):
        if not isinstance(container, Mapping):
            continue
        for name in names:
            value = container.get(name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
                return str(value)
    return ""


# --- pages and XML ----------------------------------------

_TITLE = re.compile(r"<title[^<>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"<h1[^<>]*>(.*?)</h1>", re.IGNORECASE | re.DOTALL)
_INVISIBLE = re.compile(
    r"<(script|style|head)\b.*?</\1>|<!--.*?-->|<[^<>]*>", re.IGNORECASE | re.DOTALL
)


def _read_page(body: bytes) -> str:
    """Return the title of a page, else its heading, else its visible text."""
    text = decode_text(body[:MAX_SEARCHED])
    for pattern in (_TITLE, _HEADING):
        match = pattern.search(text)
        words = strip_tags(match[1]) if match else ""
        if words:
            return words
    return strip_tags(text)


def strip_tags(text: str) -> str:
    """Return the visible words of HTML or XML."""
    return " ".join(html.unescape(_INVISIBLE.sub(" ", text)).split())


def _read_xml(body: bytes) -> str:
    """Return the message of an XML error, or its visible text.

    By patterns, because an error may be cut off or ill-formed.
    """
    message = _find_element(body, "Message") or _find_element(body, "message")
    return message or strip_tags(decode_text(body[:MAX_SEARCHED]))


def _find_element(body: bytes, name: str) -> str:
    match = re.search(rf"<{name}>([^<]*)</{name}>".encode(), body[:MAX_SEARCHED])
    return html.unescape(decode_text(match[1])).strip() if match else ""
