"""CI's XML <-> plain dicts, through xmltodict. Elements that may repeat are always lists, named here once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.parsers.expat import ExpatError

import xmltodict

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


def read(body: bytes | str) -> dict[str, Any]:
    """The document as nested dicts under its root name; texts stay texts, empty elements are None.

    Raises ExpatError (with line and column) when it is not well-formed.
    """
    document = xmltodict.parse(body, force_list=LISTS, strip_whitespace=True)
    return dict(document)


def write(root: str, content: Mapping[str, Any]) -> bytes:
    """One document without a declaration. None leaves an element out, True and False are "true" and "false"."""
    text = xmltodict.unparse({root: _prune(content)}, full_document=False)
    return text.encode()


def read_request(body: str) -> dict[str, Any]:
    """A person's `<Request>` document as a dict. Raises CallError with line and column where it is not well-formed."""
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
