"""CI's XML <-> plain dicts, through xmltodict. Elements that may repeat are always lists, named
here once.

Pages of jobs have a second, faster way: `rows` walks the tree once and takes only the texts that
are wanted, the same that `leaf` finds in xmltodict's dicts.
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

from jupyter_mjci.errors import CallError

LISTS = (
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


_LISTS = frozenset(LISTS)


def read(body: bytes | str) -> dict[str, Any]:
    """The document as nested dicts under its root name; texts stay texts, empty elements are None.

    Raises ExpatError (with line and column) when it is not well-formed.
    """
    declared = isinstance(body, str) and body.startswith(
        "<?xml"
    )  # an encoding that a text does not have
    with collecting_later():
        tree = None if declared else _tree(body.encode() if isinstance(body, str) else body)
        if tree is not None:
            with suppress(RecursionError):
                return _joined({}, tree)
    return read_any(body)


def read_any(body: bytes | str) -> dict[str, Any]:
    """The same through xmltodict: for documents that are not as plain as the service's own."""
    import xmltodict

    return dict(xmltodict.parse(body, force_list=LISTS, strip_whitespace=True))


def _joined(into: dict[str, Any], one: Element) -> dict[str, Any]:
    """Puts an element among its siblings, as xmltodict does: what comes again, or may, makes a
    list.
    """
    name, value = one.tag, _value(one)
    if name not in into:
        into[name] = [value] if name in _LISTS else value
    elif isinstance(into[name], list):
        into[name].append(value)
    else:
        into[name] = [into[name], value]
    return into


def _value(one: Element) -> Any:
    text = one.text
    if not len(one):
        return (text.strip() or None) if text else None
    made: dict[str, Any] = {}
    for part in one:
        _joined(made, part)
        if part.tail:
            text = (text or "") + part.tail
    if text and (words := text.strip()):
        made["#text"] = words
    return made


Row = tuple[str | None, ...]


def leaf(tree: Mapping[str, Any], path: str) -> Any:
    """The text at a path ("Operation.Output.Object"); None where there is none, or more than a
    text.

    On the way the first of several alike counts; a leaf that comes several times is no text.
    """
    *containers, name = _steps(path)
    for container in containers:
        value = tree.get(container)
        value = value[0] if isinstance(value, list) and value else value
        if not isinstance(value, dict):
            return None
        tree = value
    found = tree.get(name)
    return None if isinstance(found, (dict, list)) else found


def rows(
    body: bytes, root: str, item: str, wanted: Sequence[str], beside: str
) -> tuple[list[Row], str | None]:
    """Of each `item` right under the root the texts at the wanted paths; and the text of the leaf
    `beside` them.

    The same as `leaf` tells of what `read` gives, several times as fast. Raises ExpatError.
    """
    with collecting_later():
        walked = _walked(body, root, item, tuple(wanted), beside)
    return _rows_of(read(body).get(root), item, wanted, beside) if walked is None else walked


@contextmanager
def collecting_later() -> Iterator[None]:
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


def _walked(
    body: bytes, root: str, item: str, wanted: tuple[str, ...], beside: str
) -> tuple[list[Row], str | None] | None:
    tree = _tree(body)
    if tree is None:
        return None
    if tree.tag != root:
        return [], None
    found = [_texts(one, wanted) for one in tree if one.tag == item and len(one)]
    return found, _stripped(_under(tree, beside))


def _rows_of(
    found: Any, item: str, wanted: Sequence[str], beside: str
) -> tuple[list[Row], str | None]:
    tree = found if isinstance(found, dict) else {}
    items = tree.get(item)
    items = items if isinstance(items, list) else [items]
    made = [
        tuple(leaf(one, path) for path in wanted) for one in items if isinstance(one, dict) and one
    ]
    return made, leaf(tree, beside)


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


# What xmltodict tells apart and a bare tree does not: attributes; comments, CDATA, document types,
# instructions.
_ATTRIBUTE = re.compile(rb"""=\s*["']""")
_NOTHING = Element("nothing")


def _tree(body: bytes) -> Element | None:
    """The parsed document where it is as plain as the service's own; None where xmltodict must read
    it.
    """
    begin = max(body.find(b"?>"), 0) + 2 if body.startswith(b"<?xml") else 0
    if _ATTRIBUTE.search(body, begin) or any(
        body.find(mark, begin) >= 0 and body.find(b"<" + mark, begin) >= 0 for mark in (b"!", b"?")
    ):
        return None
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None


def _texts(one: Element, wanted: tuple[str, ...]) -> Row:
    """Jobs are alike: where the wanted elements stand is found once for each shape (names and
    numbers of children, in document order), and then only looked up.
    """
    parts = list(one.iter())
    shape = (*[part.tag for part in parts], *map(len, parts), wanted)
    places = _PLACES.get(shape)
    if places is None:
        places = _learn(shape, one, parts, wanted)
    parts.append(_NOTHING)
    return tuple([text.strip() or None if (text := part.text) else None for part in places(parts)])


_PLACES: dict[tuple[Any, ...], Callable[[list[Element]], tuple[Element, ...]]] = {}


def _learn(
    shape: tuple[Any, ...], one: Element, parts: list[Element], wanted: tuple[str, ...]
) -> Callable[[list[Element]], tuple[Element, ...]]:
    if len(_PLACES) > 500:  # a service that sends ever new shapes would fill the memory
        _PLACES.clear()
    at = {id(part): number for number, part in enumerate(parts)}
    # The last of the parts is always "nothing"; asking for it twice more makes a tuple of a single
    # one, too.
    places = [at.get(id(_under(one, path)), len(parts)) for path in wanted]
    taken = itemgetter(*places, len(parts), len(parts))
    _PLACES[shape] = lambda found: taken(found)[:-2]
    return _PLACES[shape]


def _under(one: Element, path: str) -> Element | None:
    """The leaf at a path, as `leaf` finds it."""
    *containers, name = _steps(path)
    for container in containers:
        inside = one.find(container)
        if inside is None:
            return None
        one = inside
    found = one.findall(name)
    return found[0] if len(found) == 1 and not len(found[0]) and name not in LISTS else None


def _stripped(found: Element | None) -> str | None:
    return (found.text or "").strip() or None if found is not None else None


def write(root: str, content: Mapping[str, Any]) -> bytes:
    """One document without a declaration. None leaves an element out, True and False are "true" and
    "false".
    """
    import xmltodict

    text = xmltodict.unparse({root: _prune(content)}, full_document=False)
    return text.encode()


def read_request(body: str) -> dict[str, Any]:
    """A person's `<Request>` document as a dict. Raises CallError with line and column where it is
    not well-formed.
    """
    try:
        document = read(body)
    except ExpatError as error:
        raise CallError(
            f"The body is not well-formed XML: line {error.lineno}, column {error.offset + 1}.",
            why=_complaint(body, error),
            hint="Nothing was sent. Correct the line and run the cell again.",
        ) from None
    root = next(iter(document))
    if root != "Request":
        raise CallError(
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


def _complaint(body: str, error: ExpatError) -> str:
    reason = str(error).partition(":")[0]
    lines = body.splitlines()
    line = lines[error.lineno - 1].strip() if 0 < error.lineno <= len(lines) else ""
    return f"{reason.capitalize()}: {line[:100]}" if line else f"{reason.capitalize()}."
