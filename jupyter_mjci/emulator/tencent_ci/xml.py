"""The XML that Tencent CI and COS speak, read and written; and the refusals they answer with.

A document becomes nested dicts of text: an element that repeats becomes a list, an empty one "".
Reading is strict (an ill-formed body is refused with tag, line and column) and bounded: no document
types, no bottomless nesting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

Element = dict[str, Any]

MAX_DEPTH = 40
_INVALID_CHARS_RE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})


class ErrorResponse(Exception):
    """The request is answered with an error: HTTP status, the service's code, a message, further
    XML elements.
    """

    def __init__(self, status: int, code: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra_elements = more


def invalid_argument(message: str) -> ErrorResponse:
    return ErrorResponse(400, "InvalidArgument", message)


def malformed_xml(message: str) -> ErrorResponse:
    return ErrorResponse(
        400, "MalformedXML", f"The XML you provided was not well-formed: {message}"
    )


# -- writing


def build_xml(root: str, content: Mapping[str, Any]) -> bytes:
    """`{"A": "x", "B": [1, 2], "C": None}` becomes `<root><A>x</A><B>1</B><B>2</B><C/></root>`."""
    parts: list[str] = []
    _append_element(root, content, parts)
    return "".join(parts).encode()


def _append_element(tag: str, value: Any, parts: list[str]) -> None:
    if isinstance(value, Mapping):
        parts.append(f"<{tag}>")
        for name, inner in value.items():
            _append_element(name, inner, parts)
        parts.append(f"</{tag}>")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _append_element(tag, inner, parts)
    else:
        text = to_text(value)
        parts.append(f"<{tag}>{escape(text)}</{tag}>" if text else f"<{tag}/>")


def to_text(value: Any) -> str:
    """How a value is spelled: XML knows no booleans, numbers or nulls."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def escape(text: str) -> str:
    return _INVALID_CHARS_RE.sub("\ufffd", text).translate(_ESCAPES)


# -- reading


class _TreeBuilder:
    """Builds the tree while expat reads; keeps the open elements, to name the one that is not
    closed.
    """

    def __init__(self) -> None:
        self.root = ""
        self.open_elements: list[tuple[str, Element, list[str]]] = []
        self.tree: Any = ""
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _get_position(self) -> str:
        return f"line {self.parser.CurrentLineNumber}, column {self.parser.CurrentColumnNumber + 1}"

    def _doctype(self, *_: object) -> None:
        raise malformed_xml(f"a document type is not allowed, {self._get_position()}")

    def _start(self, tag: str, _attributes: object) -> None:
        if len(self.open_elements) >= MAX_DEPTH:
            raise malformed_xml(f"<{tag}> is nested too deep, {self._get_position()}")
        self.root = self.root or tag
        self.open_elements.append((tag, {}, []))

    def _text(self, text: str) -> None:
        self.open_elements[-1][2].append(text)

    def _end(self, _tag: str) -> None:
        tag, children, texts = self.open_elements.pop()
        value: Any = children or "".join(texts).strip()
        if not self.open_elements:
            self.tree = value
            return
        siblings = self.open_elements[-1][1]
        if tag not in siblings:
            siblings[tag] = value
        elif isinstance(siblings[tag], list):
            siblings[tag].append(value)
        else:
            siblings[tag] = [siblings[tag], value]

    def describe_error(self, error: expat.ExpatError, body: bytes) -> str:
        inside = f"<{self.open_elements[-1][0]}>" if self.open_elements else "the document"
        if error.code != expat.errors.codes[expat.errors.XML_ERROR_TAG_MISMATCH]:
            return f"{expat.ErrorString(error.code)} in {inside}, line {error.lineno}, column {error.offset + 1}"
        name = re.match(rb"[^\s<>/]{0,80}", body[self.parser.ErrorByteIndex :])
        wrong = name[0].decode(errors="replace") if name else ""
        # expat points behind the "</"; people look for the whole tag
        return f"</{wrong}> does not close {inside}, line {error.lineno}, column {error.offset - 1}"


def parse_xml(body: bytes, root_tag: str) -> Element:
    """The children of the root element, which must have this name. Raises Refused, never anything
    else.
    """
    if not body.strip():
        raise ErrorResponse(
            400, "MissingRequestBodyError", f"A request body with a <{root_tag}> element is needed."
        )
    reader = _TreeBuilder()
    try:
        reader.parser.Parse(body, True)
    except expat.ExpatError as error:
        raise malformed_xml(reader.describe_error(error, body)) from None
    except (ValueError, LookupError) as error:  # an encoding that nobody speaks
        raise malformed_xml(f"{error}, line 1, column 1") from None
    if reader.root != root_tag:
        raise malformed_xml(
            f"the root element is <{reader.root}>, not <{root_tag}>, line 1, column 1"
        )
    return reader.tree if isinstance(reader.tree, dict) else {}


def find(tree: Any, path: str) -> Any:
    """What stands at `A/B/C`; the first one where an element repeats; "" where there is none."""
    for name in path.split("/"):
        if isinstance(tree, list):
            tree = tree[0]
        if not isinstance(tree, dict) or name not in tree:
            return ""
        tree = tree[name]
    return tree


def get_text(tree: Any, path: str) -> str:
    """The text at `A/B/C`, "" where there is none or where elements stand instead of text."""
    value = find(tree, path)
    if isinstance(value, list):
        value = value[0]
    return value if isinstance(value, str) else ""


def require_text(tree: Element, path: str) -> str:
    found = get_text(tree, path)
    if not found:
        raise invalid_argument(f"{path.replace('/', '.')} is needed.")
    return found


def find_element(tree: Any, path: str) -> Element:
    """The elements at `A/B/C`, {} where there are none."""
    value = find(tree, path)
    if isinstance(value, list):
        value = value[0]
    return value if isinstance(value, dict) else {}


def find_all(tree: Any, path: str) -> list[Any]:
    """All that stand at `A/B/C`, as a list."""
    value = find(tree, path)
    if isinstance(value, list):
        return value
    return [value] if value != "" else []
