"""What the endpoints have in common: errors, and the rows that a path or a filter names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from jupyter_mjci.emulator.cos.requests import RequestContext
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Execution
from jupyter_mjci.emulator.tencent_ci.jobs import JobFilter
from jupyter_mjci.emulator.tencent_ci.params import split_list
from jupyter_mjci.emulator.xml import Element, ErrorResponse, require_text

Endpoint = Callable[[RequestContext], "Element | None"]
# By method, the first part of the path, and whether an ID follows.
Routes = dict[tuple[str, str, bool], Endpoint]


class BucketItem(Protocol):
    """A job, batch or execution: something of a bucket that has an ID."""

    id: str
    bucket: str


Item = TypeVar("Item", bound=BucketItem)


def not_found(what: str) -> ErrorResponse:
    """Build the error for a resource that does not exist."""
    return ErrorResponse(404, "ResourceNotFound", f"The {what} does not exist.")


def not_served(what: str) -> ErrorResponse:
    """Build the error for work of the service that is not emulated."""
    return ErrorResponse(501, "NotImplemented", f"The {what} is not served here; PicProcess is.")


def check_tag(request: Element) -> None:
    """Check that a request is about picture processing, the only work that is emulated.

    Raises:
        ErrorResponse: it has no Tag, or another one
    """
    tag = require_text(request, "Tag")
    if tag != "PicProcess":
        raise not_served(f"Tag {tag!r}")


def find_by_ids(items: Mapping[str, Item], context: RequestContext) -> tuple[list[Item], list[str]]:
    """Return the bucket's items that the path names, and the IDs that are unknown."""
    found: list[Item] = []
    unknown: list[str] = []
    for item_id in split_list(context.key):
        item = items.get(item_id)
        if item is not None and item.bucket == context.bucket.name:
            found.append(item)
        else:
            unknown.append(item_id)
    return found, unknown


def passes(row: Batch | Execution, row_filter: JobFilter) -> bool:
    """Return whether a row is in one of the filter's states and in its time window."""
    if row_filter.states and row.state not in row_filter.states:
        return False
    return row_filter.since <= int(row.created) <= row_filter.until
