"""Convert between CI's XML and plain dicts.

xmltodict does it. Elements that may repeat (REPEATED, REPEATED_INSIDE) are
always lists, so that one job and many look the same. Texts lose
the blanks around them, but for those that are data (VERBATIM).

Pages of jobs have a second way: `parse_rows` takes only the
wanted texts from expat's events, and builds no tree. For 10,000
jobs on 100 pages it takes 0.33 s of processor time; xmltodict
takes 1.2 s, ElementTree 0.7 s with `findtext` and 0.4 s with a
walk over the tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.parsers import expat
from xml.parsers.expat import ExpatError

from jupyter_mjci.client.response_text import decode_text
from jupyter_mjci.errors import InvalidRequest

REPEATED = (
    "JobsDetail",
    "NonExistJobIds",
    "NonExistPIDs",
    "QueueList",
    "TemplateList",
    "PicBucketList",
    "MediaWorkflowList",
    "WorkflowExecutionList",
    "Contents",
    "CommonPrefixes",
    "CosHeaders",
)
# What repeats in these, by a name that is single elsewhere.
REPEATED_INSIDE = {"ProcessResults": "Object", "WorkflowExecution": "Tasks"}
# Texts of users, and keys of objects: blanks are part of them.
VERBATIM = frozenset(
    """
    InputObjectName Key Marker NextMarker Object ObjectName Prefix UserData
    """.split()  # noqa: SIM905
)

Row = tuple[str | None, ...]


def parse(body: bytes | str) -> dict[str, Any]:
    """Return a document as nested dicts under its root's name.

    Texts stay texts, empty elements are None.

    Raises:
        ExpatError: the document is not well-formed; it has the
            line and the column
        ValueError: it declares entities, or is nested too deeply
    """
    import xmltodict

    document = xmltodict.parse(
        _to_text(body),
        force_list=REPEATED,
        strip_whitespace=False,
        postprocessor=_clean_text,
    )
    _check_depth(document)
    _wrap_repeated(document)
    return dict(document)


def _wrap_repeated(document: dict[str, Any]) -> None:
    """Make lists of the elements of REPEATED_INSIDE that occur once."""
    level: list[object] = [document]
    while level:
        for element in level:
            for name, value in element.items() if isinstance(element, dict) else ():
                inner = REPEATED_INSIDE.get(name, "")
                if isinstance(value, dict) and not isinstance(value.get(inner, []), list):
                    value[inner] = [value[inner]]
        level = [child for element in level for child in _get_children(element)]


def _clean_text(_: object, name: str, value: Any) -> Any:
    """Return a text without the blanks around it; what is between elements is nothing."""
    if not isinstance(value, str):
        return name, value
    text = strip_text(name, value)
    if name == "#text" and text is None:
        return None
    return name, text


def strip_text(name: str, text: str) -> str | None:
    """Return the text of an element without the layout of its document, None for no text."""
    # Blanks alone are data, too, unless they are a line's layout.
    if name in VERBATIM and text and (text.strip() or not set(text) & set("\r\n\t")):
        return text
    return text.strip() or None


MAX_DEPTH = 64
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding=["']([\w.:-]+)["']""")


def _to_text(body: bytes | str) -> bytes | str:
    """Return a body that expat can read: it knows no GBK, and raises LookupError for others."""
    match = _ENCODING.match(body[:200]) if isinstance(body, bytes) else None
    if match is None or match[1].lower() in (b"utf-8", b"utf-16", b"us-ascii"):
        return body
    try:
        return bytes(body).decode(match[1].decode())  # type: ignore[arg-type]
    except (LookupError, UnicodeDecodeError):
        return decode_text(bytes(body))  # type: ignore[arg-type]


def _check_depth(document: object) -> None:
    """Raise ValueError for a document whose depth would break the code that walks it."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _get_children(value)]
        if not level:
            return
    raise ValueError("its elements are nested too deeply")


def _get_children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def get_text(element: Mapping[str, Any], path: str) -> Any:
    """Return the text at a path such as "Operation.Output.Object", or None.

    Of several containers with the same name the first one counts.
    A leaf that occurs several times has no text.
    """
    *containers, name = path.split(".")
    for container in containers:
        value = element.get(container)
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict):
            return None
        element = value
    text = element.get(name)
    return None if isinstance(text, (dict, list)) else text


def build(root: str, content: Mapping[str, Any]) -> bytes:
    """Return a document without an XML declaration.

    Args:
        root: the name of the root element
        content: its elements; None leaves one out, booleans
            become "true" and "false"

    Raises:
        InvalidRequest: a text has a character that XML cannot
            hold
    """
    import xmltodict

    return xmltodict.unparse({root: _to_xml_values(content)}, full_document=False).encode()


# XML has no way to write these.
_INVALID_CHARS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _check_text(text: str) -> str:
    found = _INVALID_CHARS.search(text)
    if found:
        raise InvalidRequest(
            f"{text[:80]!r} has the character {found[0]!r}, which XML cannot hold.",
            hint="Nothing was sent. Remove it.",
        )
    return text


def _to_xml_values(value: object) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_xml_values(part) for name, part in value.items() if part is not None}
    if isinstance(value, (list, tuple)):
        return [_to_xml_values(part) for part in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return _check_text(str(value))


# --- Requests written by hand -----------------------------------

_DECLARATION = re.compile(r"^\s*<\?xml\s[^>]*\?>")


def encode_request(body: str) -> bytes:
    """Encode a document that a person wrote as UTF-8, without a declaration of another encoding."""
    return _DECLARATION.sub("", body).encode()


def parse_request(body: str) -> dict[str, Any]:
    """Return the elements of a `<Request>` document that a person wrote.

    Raises:
        InvalidRequest: it is not well-formed (with line and
            column), or has another root element
    """
    try:
        document = parse(body)
    except ExpatError as error:
        raise InvalidRequest(
            f"The body is not well-formed XML: line {error.lineno}, column {error.offset + 1}.",
            detail=_describe_error(body, error),
            hint="Nothing was sent. Correct the line and run the cell again.",
        ) from None
    except ValueError as error:  # xmltodict refuses entities
        raise InvalidRequest(
            f"The body cannot be parsed as XML: {error}.",
            hint="Nothing was sent. Write the characters themselves.",
        ) from None
    root = next(iter(document))
    if root != "Request":
        raise InvalidRequest(
            f"The body's root element is <{root}>, not <Request>.",
            hint="Nothing was sent. See the documents of POST /jobs and /inventorytriggerjob.",
        )
    return dict(document["Request"] or {})


def _describe_error(body: str, error: ExpatError) -> str:
    reason = str(error).partition(":")[0].capitalize()
    lines = body.splitlines()
    line = ""
    if 0 < error.lineno <= len(lines):
        line = lines[error.lineno - 1].strip()
    return f"{reason}: {line[:100]}" if line else f"{reason}."


# --- Pages of jobs ----------------------------------------------


def parse_rows(
    body: bytes, root: str, item: str, paths: Sequence[str], token: str
) -> tuple[list[Row], str | None]:
    """Return the wanted texts of every item, and the text of the token.

    The texts are those that `get_text` finds in the result of
    `parse`.

    Args:
        body: the document
        root: the name of its root element; a document with
            another root has no items
        item: the name of the items, directly below the root
        paths: paths of the wanted texts, from the item
        token: the name of a leaf directly below the root

    Raises:
        ExpatError: the document is not well-formed
        ValueError: it declares entities, or is nested too deeply
    """
    return _RowParser(root, item, paths, token).parse(body)


class _Node:
    """A wanted element: one with children is a container, one without is a leaf."""

    __slots__ = ("children",)

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}

    def add_path(self, path: str) -> _Node:
        node = self
        for name in path.split("."):
            node = node.children.setdefault(name, _Node())
        return node


_UNWANTED = _Node()


def _refuse_entities(*_: object) -> None:
    raise ValueError("entities are disabled")


class _RowParser:
    """Follows expat's events with a stack of nodes, `_UNWANTED` for all elements but the wanted.

    Not reusable: one object parses one document.
    """

    def __init__(
        self,
        root: str,
        item: str,
        paths: Sequence[str],
        token: str,
    ) -> None:
        document = _Node()
        self._item = document.add_path(f"{root}.{item}")
        self._token = document.add_path(f"{root}.{token}")
        self._columns = [self._item.add_path(path) for path in paths]
        self._stack = [document]
        self._rows: list[Row] = []
        self._tokens: list[str | None] = []
        # The nodes that were seen in the current item, and the
        # texts of the leaves among them.
        self._texts: dict[_Node, str | None] = {}
        self._is_empty = True
        # The leaf that was started last, until another element
        # starts, and its text so far.
        self._leaf = _UNWANTED
        self._leaf_name = ""
        self._characters: list[str] = []

    def parse(self, body: bytes) -> tuple[list[Row], str | None]:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters.append
        parser.EntityDeclHandler = _refuse_entities
        parser.Parse(_to_text(body), True)
        token = self._tokens[0] if len(self._tokens) == 1 else None
        return self._rows, token

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        parent = self._stack[-1]
        if parent is _UNWANTED:
            if len(self._stack) > MAX_DEPTH:
                raise ValueError("its elements are nested too deeply")
            self._stack.append(parent)
            return
        node = parent.children.get(name, _UNWANTED)
        self._leaf = _UNWANTED
        if parent is self._item:
            self._is_empty = False
        if node is self._item:
            self._texts.clear()
            self._is_empty = not attributes
        elif node.children:
            if node in self._texts:
                # of several containers, only the first counts
                node = _UNWANTED
            self._texts[node] = None
        elif node is not _UNWANTED and not attributes:
            self._leaf = node
            self._leaf_name = name
            self._characters.clear()
        self._stack.append(node)

    def _end(self, _: str) -> None:
        node = self._stack.pop()
        if node is _UNWANTED:
            return
        if node is self._item:
            if not self._is_empty:
                self._rows.append(tuple(map(self._texts.get, self._columns)))
        elif node is self._token:
            self._tokens.append(self._take_text(node))
        elif not node.children:
            is_repeated = node in self._texts
            self._texts[node] = None if is_repeated else self._take_text(node)

    def _take_text(self, node: _Node) -> str | None:
        """Return the text of a leaf that ends; None if it has elements or attributes in it."""
        if node is not self._leaf:
            return None
        return strip_text(self._leaf_name, "".join(self._characters))
