"""CI's XML <-> plain dicts, through xmltodict. Elements that may repeat are always lists, named
here once.

Pages of jobs have a second, faster way: `parse_rows` walks the tree once and takes only the texts that
are wanted, the same that `get_text` finds in xmltodict's dicts.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from operator import itemgetter
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers.expat import ExpatError

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


_REPEATED_SET = frozenset(REPEATED)


def parse(body: bytes | str) -> dict[str, Any]:
    """The document as nested dicts under its root name; texts stay texts, empty elements are None.

    Raises ExpatError (with line and column) when it is not well-formed.
    """
    declared = isinstance(body, str) and body.startswith(
        "<?xml"
    )  # an encoding that a text does not have
    with pause_gc():
        tree = None if declared else _parse_plain(body.encode() if isinstance(body, str) else body)
        if tree is not None:
            with suppress(RecursionError):
                return _add_child({}, tree)
    return parse_with_xmltodict(body)


def parse_with_xmltodict(body: bytes | str) -> dict[str, Any]:
    """The same through xmltodict: for documents that are not as plain as the service's own."""
    import xmltodict

    return dict(xmltodict.parse(body, force_list=REPEATED, strip_whitespace=True))


def _add_child(siblings: dict[str, Any], element: Element) -> dict[str, Any]:
    """Puts an element among its siblings, as xmltodict does: what comes again, or may, makes a
    list.
    """
    name, value = element.tag, _convert_element(element)
    if name not in siblings:
        siblings[name] = [value] if name in _REPEATED_SET else value
    elif isinstance(siblings[name], list):
        siblings[name].append(value)
    else:
        siblings[name] = [siblings[name], value]
    return siblings


def _convert_element(element: Element) -> Any:
    text = element.text
    if not len(element):
        return (text.strip() or None) if text else None
    made: dict[str, Any] = {}
    for part in element:
        _add_child(made, part)
        if part.tail:
            text = (text or "") + part.tail
    if text and (words := text.strip()):
        made["#text"] = words
    return made


Row = tuple[str | None, ...]


def get_text(tree: Mapping[str, Any], path: str) -> Any:
    """The text at a path ("Operation.Output.Object"); None where there is none, or more than a
    text.

    On the way the first of several alike counts; a leaf that comes several times is no text.
    """
    *containers, name = _split_path(path)
    for container in containers:
        value = tree.get(container)
        value = value[0] if isinstance(value, list) and value else value
        if not isinstance(value, dict):
            return None
        tree = value
    found = tree.get(name)
    return None if isinstance(found, (dict, list)) else found


def parse_rows(
    body: bytes, root: str, item: str, paths: Sequence[str], sibling_path: str
) -> tuple[list[Row], str | None]:
    """Of each `item` right under the root the texts at the wanted paths; and the text of the leaf
    `sibling_path` them.

    The same as `leaf` tells of what `read` gives, several times as fast. Raises ExpatError.
    """
    with pause_gc():
        walked = _collect_rows(body, root, item, tuple(paths), sibling_path)
    return (
        _collect_rows_from_dict(parse(body).get(root), item, paths, sibling_path)
        if walked is None
        else walked
    )


@contextmanager
def pause_gc() -> Iterator[None]:
    """Without Python's search for circles meanwhile: there are none in what is read here, and it
    takes half the time. For moments only, since it is meant for the whole process.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _collect_rows(
    body: bytes, root: str, item: str, paths: tuple[str, ...], sibling_path: str
) -> tuple[list[Row], str | None] | None:
    tree = _parse_plain(body)
    if tree is None:
        return None
    if tree.tag != root:
        return [], None
    found = [_extract_texts(one, paths) for one in tree if one.tag == item and len(one)]
    return found, _strip_text(_find_leaf(tree, sibling_path))


def _collect_rows_from_dict(
    document: Any, item: str, paths: Sequence[str], sibling_path: str
) -> tuple[list[Row], str | None]:
    tree = document if isinstance(document, dict) else {}
    items = tree.get(item)
    items = items if isinstance(items, list) else [items]
    made = [
        tuple(get_text(one, path) for path in paths)
        for one in items
        if isinstance(one, dict) and one
    ]
    return made, get_text(tree, sibling_path)


@lru_cache(maxsize=256)
def _split_path(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


# What xmltodict tells apart and a bare tree does not: attributes; comments, CDATA, document types,
# instructions.
_ATTRIBUTE_RE = re.compile(rb"""=\s*["']""")
_EMPTY_ELEMENT = Element("nothing")


def _parse_plain(body: bytes) -> Element | None:
    """The parsed document where it is as plain as the service's own; None where xmltodict must read
    it.
    """
    begin = max(body.find(b"?>"), 0) + 2 if body.startswith(b"<?xml") else 0
    if _ATTRIBUTE_RE.search(body, begin) or any(
        body.find(mark, begin) >= 0 and body.find(b"<" + mark, begin) >= 0 for mark in (b"!", b"?")
    ):
        return None
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None


def _extract_texts(element: Element, paths: tuple[str, ...]) -> Row:
    """Jobs are alike: where the wanted elements stand is found once for each shape (names and
    numbers of children, in document order), and then only looked up.
    """
    parts = list(element.iter())
    shape = (*[part.tag for part in parts], *map(len, parts), paths)
    places = _GETTERS.get(shape)
    if places is None:
        places = _compile_getter(shape, element, parts, paths)
    parts.append(_EMPTY_ELEMENT)
    return tuple([text.strip() or None if (text := part.text) else None for part in places(parts)])


_GETTERS: dict[tuple[Any, ...], Callable[[list[Element]], tuple[Element, ...]]] = {}


def _compile_getter(
    shape: tuple[Any, ...], element: Element, elements: list[Element], paths: tuple[str, ...]
) -> Callable[[list[Element]], tuple[Element, ...]]:
    if len(_GETTERS) > 500:  # a service that sends ever new shapes would fill the memory
        _GETTERS.clear()
    at = {id(part): number for number, part in enumerate(elements)}
    # The last of the parts is always "nothing"; asking for it twice more makes a tuple of a single
    # one, too.
    places = [at.get(id(_find_leaf(element, path)), len(elements)) for path in paths]
    taken = itemgetter(*places, len(elements), len(elements))
    _GETTERS[shape] = lambda found: taken(found)[:-2]
    return _GETTERS[shape]


def _find_leaf(element: Element, path: str) -> Element | None:
    """The leaf at a path, as `leaf` finds it."""
    *containers, name = _split_path(path)
    for container in containers:
        inside = element.find(container)
        if inside is None:
            return None
        element = inside
    found = element.findall(name)
    return found[0] if len(found) == 1 and not len(found[0]) and name not in REPEATED else None


def _strip_text(element: Element | None) -> str | None:
    return (element.text or "").strip() or None if element is not None else None


def build(root: str, content: Mapping[str, Any]) -> bytes:
    """One document without a declaration. None leaves an element out, True and False are "true" and
    "false".
    """
    import xmltodict

    text = xmltodict.unparse({root: _prune(content)}, full_document=False)
    return text.encode()


def parse_request(body: str) -> dict[str, Any]:
    """A person's `<Request>` document as a dict. Raises CallError with line and column where it is
    not well-formed.
    """
    try:
        document = parse(body)
    except ExpatError as error:
        raise InvalidRequest(
            f"The body is not well-formed XML: line {error.lineno}, column {error.offset + 1}.",
            detail=_describe_error(body, error),
            hint="Nothing was sent. Correct the line and run the cell again.",
        ) from None
    root = next(iter(document))
    if root != "Request":
        raise InvalidRequest(
            f"The body's root element is <{root}>, not <Request>.",
            hint="Nothing was sent. See the service's documents of POST /jobs and POST /inventorytriggerjob.",
        )
    return dict(document["Request"] or {})


def _prune(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _prune(part) for name, part in value.items() if part is not None}
    if isinstance(value, (list, tuple)):
        return [_prune(part) for part in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _describe_error(body: str, error: ExpatError) -> str:
    reason = str(error).partition(":")[0]
    lines = body.splitlines()
    line = lines[error.lineno - 1].strip() if 0 < error.lineno <= len(lines) else ""
    return f"{reason.capitalize()}: {line[:100]}" if line else f"{reason.capitalize()}."
