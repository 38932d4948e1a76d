"""What the query of a CI request says: filters, pages and tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from jupyter_mjci.emulator.cos.requests import RequestContext, parse_int_param
from jupyter_mjci.emulator.tencent_ci.events import NEVER, parse_time
from jupyter_mjci.emulator.tencent_ci.jobs import JOB_STATES, JobFilter
from jupyter_mjci.emulator.xml import Element, invalid_argument

Row = TypeVar("Row")


def parse_bool(value: str) -> bool:
    """Return whether a flag is set."""
    return value.lower() in ("true", "1")


def split_list(value: str) -> list[str]:
    """Split at commas; empty parts are dropped."""
    parts = [part.strip() for part in value.split(",")]
    return [part for part in parts if part]


def lowercase_keys(params: Mapping[str, str]) -> dict[str, str]:
    """Lower the parameters' names: the documents spell one of them in two ways."""
    return {name.lower(): value for name, value in params.items()}


def is_newest_first(params: Mapping[str, str]) -> bool:
    """Return whether a listing starts with the newest row, which it does by default."""
    return (params.get("orderbytime", "") or "Desc").lower() == "desc"


def parse_filter(params: Mapping[str, str]) -> JobFilter:
    """Parse the filter of a listing.

    Raises:
        ErrorResponse: a state, the order or a time is not valid
    """
    states = frozenset(part.capitalize() for part in split_list(params.get("states", "")))
    if not states <= {*JOB_STATES, "All"}:
        raise invalid_argument(f"states are {', '.join(JOB_STATES)} or All.")
    if params.get("orderbytime", "").lower() not in ("", "desc", "asc"):
        raise invalid_argument("orderByTime must be Desc or Asc.")
    since = params.get("startcreationtime", "")
    until = params.get("endcreationtime", "")
    return JobFilter(
        queue=params.get("queueid", ""),
        states=frozenset() if "All" in states else states,
        since=parse_time(since) if since else -NEVER,
        until=parse_time(until) if until else NEVER,
        workflow=params.get("workflowid", ""),
        batch=params.get("inventorytriggerjobid", ""),
        source=params.get("inputobject", "").lstrip("/"),
        newest_first=is_newest_first(params),
    )


def parse_token(params: Mapping[str, str]) -> int | None:
    """Parse nextToken: the number of the first row of the page, None for the first page.

    Raises:
        ErrorResponse: it is not a token of this service
    """
    token = params.get("nexttoken", "")
    if not token:
        return None
    if not re.fullmatch(r"\d{1,15}", token, re.ASCII):
        raise invalid_argument("nextToken is not one that a previous page returned.")
    return int(token)


def check_cancel(context: RequestContext) -> None:
    """Check that a PUT of a job asks for a cancellation.

    Some official SDKs send `PUT …/{id}` without `?cancel`: with
    an empty body that is meant.

    Raises:
        ErrorResponse: it asks for another change
    """
    if "cancel" not in context.params and context.request.body.strip():
        raise invalid_argument("The only change that can be requested is ?cancel.")


def paginate_by_number(
    rows: Sequence[Row], params: Mapping[str, str]
) -> tuple[Sequence[Row], Element]:
    """Return the rows of the page `pagenumber`, and the elements that count rows and pages."""
    number = parse_int_param(params, "pagenumber", 1, 1, 10**8)
    size = parse_int_param(params, "pagesize", 10, 1, 100)
    counts = {"TotalCount": len(rows), "PageNumber": number, "PageSize": size}
    return rows[(number - 1) * size : number * size], counts


def paginate_by_token(
    rows: Iterable[Row], matches: Callable[[Row], bool], params: Mapping[str, str]
) -> tuple[list[Row], str]:
    """Return a page of rows, and the token of the next page ("" at the end).

    The rows come in the order of their creation; a token is the
    number of a row in that order.
    """
    size = parse_int_param(params, "size", 10, 1, 100)
    start = parse_token(params)
    newest_first = is_newest_first(params)
    numbered = list(enumerate(rows, 1))
    if newest_first:
        numbered.reverse()
    page: list[Row] = []
    for number, row in numbered:
        if start is not None and (number > start if newest_first else number < start):
            continue
        if not matches(row):
            continue
        if len(page) == size:
            return page, str(number)
        page.append(row)
    return page, ""
