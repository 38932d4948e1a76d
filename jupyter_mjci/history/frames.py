"""Build typed DataFrames of jobs: one table of columns, the same for no rows and for a million.

Two ways lead to the same cells. `jobs_to_frame` takes Jobs.
Listings are decoded from bytes to columns without a Job per row
(`listing_to_frame`, `rows_to_frame`): the services' fields tell
which wire fields make a column and how they are parsed. Most
kinds of fields have a vectorized counterpart for a whole column
of the expected types (VECTORIZED); where a column holds anything
else, its cells are parsed one by one by the same function that
makes Jobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import astuple

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import MARKER_PREFIX, Button, Job, Status, select_newest
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services import (
    MAX_TIMESTAMP_MS,
    SECONDS_CUTOFF,
    FieldSpec,
    Row,
    list_paths,
    service,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TIME_DTYPE = "datetime64[us, UTC]"

# from wire values to a field of Job
Parser: TypeAlias = Callable[..., Any]
# from a field of Job to a cell
CellConverter: TypeAlias = Callable[[Any], Any]
# the cells of a column: a list, or an array or Series of pandas
Cells: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Column:
    """A column of every frame of jobs.

    Args:
        name: the name, also of the field of Job
        dtype: the dtype; "status" is a categorical
        to_cell: from the field's value to the cell
        help: what it means, and its unit
    """

    name: str
    dtype: str
    to_cell: CellConverter
    help: str


def _keep_value(value: object) -> object:
    return value


def _get_status_value(status: Status) -> str:
    return status.value


def _empty_to_none(text: str) -> str | None:
    """Return None for an empty text: a missing value, which does not count."""
    return text or None


def _join_urls(urls: Iterable[str]) -> str | None:
    return " ".join(urls) or None


def _join_button_names(buttons: Iterable[Button]) -> str | None:
    return ", ".join([button.name for button in buttons]) or None


COLUMNS = (
    Column("service", "string", _empty_to_none, "the key of its service: mj, ci, …"),
    Column("id", "string", _empty_to_none, "the service's id"),
    Column("action", "string", _empty_to_none, "the service's own word: IMAGINE, PicProcess, …"),
    Column("status", "status", _get_status_value, "the status, in the same words for all services"),
    Column("progress", "Int64", _keep_value, "percent, where the service reports it"),
    Column("subject", "string", _empty_to_none, "the prompt, or the input object"),
    Column("submitted", TIME_DTYPE, _keep_value, "accepted by the service (UTC)"),
    Column("started", TIME_DTYPE, _keep_value, "started (UTC)"),
    Column("finished", TIME_DTYPE, _keep_value, "ended, successfully or not (UTC)"),
    Column("reason", "string", _empty_to_none, "why it failed"),
    Column("outputs", "string", _join_urls, "URLs of the results, separated by spaces"),
    Column("buttons", "string", _join_button_names, "next actions, by name"),
    Column("parent", "string", _empty_to_none, "the task whose button was pressed"),
    Column("user_data", "string", _empty_to_none, "your own text, sent with the job"),
    Column("origin", "string", _empty_to_none, "the server or account: ids are unique only there"),
    Column("account", "string", _empty_to_none, "the account or bot that ran it"),
    Column("queue", "string", _empty_to_none, "the queue or speed that it ran in"),
    Column("rule", "string", _empty_to_none, "the picture rule, or the template"),
    Column("bucket", "string", _empty_to_none, "where the results are"),
    Column("size_in", "Int64", _keep_value, "bytes of the input, where the service tells"),
    Column("size_out", "Int64", _keep_value, "bytes of the result"),
    Column("cost", "Float64", _keep_value, "what the service charged, in its own unit"),
    Column("final_prompt", "string", _empty_to_none, "the prompt that was sent in the end"),
)

# Differences of two times: (name, later, earlier, meaning).
DURATION_COLUMNS = (
    ("queue_time", "started", "submitted", "from submitted to started"),
    ("run_time", "finished", "started", "from started to finished"),
)


def jobs_to_frame(jobs: Iterable[Job]) -> pd.DataFrame:
    """Return one row per job, in the given order, with the columns of every frame of jobs."""
    rows = list(jobs)
    cells = {}
    for column in COLUMNS:
        cells[column.name] = [column.to_cell(getattr(job, column.name)) for job in rows]
    return _build_frame(cells)


def set_origin(frame: pd.DataFrame, origin: str) -> None:
    """Fill in where the jobs of a listing ran, which its bytes do not tell."""
    frame["origin"] = _build_series([origin or None] * len(frame), "string").array


def list_columns(table: object) -> list[str]:
    """Return the columns of a user's DataFrame, also where it has no rows."""
    return [str(column) for column in getattr(table, "columns", ())]


def parse_records(table: object, name: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Read the rows of a user's table.

    Args:
        table: a DataFrame, or a list of dicts
        name: what the user calls it, for messages

    Returns:
        A label for each row, and each row without its missing
        values.

    Raises:
        InvalidRequest: it is something else, or two of its
            columns have the same name
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        if not table.columns.is_unique:
            raise InvalidRequest(
                f"{name} has two columns of the same name.", detail=", ".join(list_columns(table))
            )
        rows = table.to_dict("records")
        labels = [str(label) for label in table.index]
    elif isinstance(table, (list, tuple)) and all(isinstance(row, Mapping) for row in table):
        rows = list(table)
        labels = [str(number) for number in range(len(table))]
    else:
        raise InvalidRequest(
            f"{name} is neither a DataFrame nor a list of dicts.",
            detail=f"It is a {type(table).__name__}.",
        )
    return labels, [_drop_missing(row) for row in rows]


def _drop_missing(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): cell for key, cell in row.items() if not _is_missing(cell)}


def _is_missing(cell: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def join_rows(jobs: Iterable[Job], table: Any) -> pd.DataFrame:
    """Join the jobs that were made of a table's rows with the table's own columns.

    Args:
        jobs: one job per row, in the table's order
        table: a DataFrame, or a list of dicts

    Returns:
        A frame of jobs under the table's index. A column of the
        table with the name of one of ours gets the suffix
        `_input`.
    """
    import pandas as pd

    frame = jobs_to_frame(jobs)
    rows = table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))
    own_names = set(frame.columns)
    added = {}
    for name in rows.columns:
        label = f"{name}_input" if name in own_names else str(name)
        added[label] = rows[name].array
    return frame.assign(**added).set_axis(rows.index, axis=0)


def records_to_frame(items: Sequence[Any], item_type: type | None = None) -> pd.DataFrame:
    """Return what a service lists besides jobs (queues, templates, objects) as a frame.

    Args:
        items: dataclasses or mappings
        item_type: the dataclass; it gives the columns also where
            there are no items

    Returns:
        One column per field; fields of a nested mapping are
        `Outer.Inner`, deeper ones stay as they are.
    """
    import pandas as pd

    if item_type is not None:
        names = [field.name for field in fields_of(item_type)]
        frame = pd.DataFrame([asdict(item) for item in items], columns=names)
    else:
        frame = pd.json_normalize([dict(item) for item in items], max_level=1)
    if frame.empty:
        return frame
    dtypes = {name: "string" for name in frame if _is_text(frame[name])}
    # pandas 2 makes nanoseconds of them.
    dtypes |= dict.fromkeys(frame.select_dtypes("datetimetz").columns, TIME_DTYPE)
    return frame.astype(dtypes)


def _is_text(column: pd.Series) -> bool:
    return all(isinstance(cell, str) or _is_missing(cell) for cell in column)


def response_to_frame(
    key: str, response: Response, ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the response of a listing as a frame.

    Args:
        key: the key of its service
        response: the response
        ids: only these jobs, in this order

    Raises:
        ServiceError: the service refused
        InvalidResponse: it is not a listing
    """
    if response.status < 300 and response.body.startswith(b"["):
        chunk_size = 20_000 if len(response.body) > CHUNKED_DECODE_MIN_BYTES else 0
        return listing_to_frame(key, response.body, ids, chunk_size=chunk_size)
    frame = keep_newest_rows(jobs_to_frame(_parse_listing(key, response)))
    return frame if ids is None else _reorder(frame, ids)


def _parse_listing(
    key: str, response: Response, ids: frozenset[str] | None = None
) -> Iterable[Job]:
    parse_listing = service(key).parse_listing
    assert parse_listing is not None  # what has listings parses them
    return parse_listing(response, ids)


# from this size on a listing is decoded in chunks
CHUNKED_DECODE_MIN_BYTES = 512_000_000


def listing_to_frame(
    key: str, body: bytes, ids: Sequence[str] | None = None, *, chunk_size: int = 0
) -> pd.DataFrame:
    """Return a JSON array of jobs as a frame: faster than by way of Jobs.

    Every object makes a row, however odd its values, but a job
    that is there twice makes one; anything else makes none.

    Args:
        key: the key of its service
        body: the array
        ids: only these jobs, in this order
        chunk_size: decode so many jobs at a time, which bounds
            the memory and takes a little longer; 0 decodes all at
            once

    Raises:
        InvalidResponse: it is not a listing
    """
    frame = _decode_in_chunks(key, body, chunk_size) if chunk_size else _decode_to_frame(key, body)
    frame = keep_newest_rows(frame)
    return frame if ids is None else _reorder(frame, ids)


def keep_newest_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each job, in its newest state; see `client.job.select_newest`."""
    if not frame["id"].dropna().duplicated().any():
        return frame
    columns = (frame[name].astype(object).where(frame[name].notna(), None) for name in _STATE)
    rows = zip(*columns, strict=True)
    jobs = (Job(key, id or "", status=Status(word), progress=done) for key, id, word, done in rows)
    return frame.take(select_newest(jobs)).reset_index(drop=True)


# what says which of two states of a job is newer
_STATE = ("service", "id", "status", "progress")


def rows_to_frame(key: str, rows: Sequence[Row]) -> pd.DataFrame:
    """Return the rows of a service's listing (`Service.parse_rows`) as a frame."""
    job_service = service(key)
    paths = list_paths(job_service.fields)
    columns = zip(*rows, strict=True) if rows else [()] * len(paths)
    wire_columns = {}
    for path, column in zip(paths, columns, strict=True):
        values = [None if text == job_service.missing_text else text for text in column]
        wire_columns[path] = FieldColumn(values, OPTIONAL_TEXT)
    return _fields_to_frame(key, wire_columns, len(rows))


def _build_frame(cells: Mapping[str, Cells]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, pd.Series] = {}
    for column in COLUMNS:
        columns[column.name] = _build_series(cells[column.name], column.dtype)
        for name, later, earlier, _ in DURATION_COLUMNS:
            if later == column.name:
                columns[name] = columns[later] - columns[earlier]
    return pd.DataFrame(columns)


def _build_series(cells: Cells, dtype: str) -> pd.Series:
    import pandas as pd

    try:
        if dtype == "string" and _is_constant(cells):
            # One cell repeated: faster than converting each.
            return pd.Series(pd.array(cells[:1], dtype="string").repeat(len(cells)))
        series: pd.Series = pd.Series(cells, dtype=get_dtype(dtype))
    except UnicodeEncodeError:
        # Lone surrogates, which JSON may contain and Arrow cannot
        # hold.
        texts = [cell and cell.encode("utf-8", "replace").decode() for cell in cells]
        series = pd.Series(texts, dtype=get_dtype(dtype))
    return series


def _is_constant(cells: Sequence[object]) -> bool:
    return bool(cells) and cells[0] == cells[-1] and cells.count(cells[0]) == len(cells)


def get_dtype(name: str) -> Any:
    """Return a dtype for pandas; "status" is the categorical of all statuses."""
    if name != "status":
        return name
    import pandas as pd

    return pd.CategoricalDtype([status.value for status in Status], ordered=False)


def _reorder(frame: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    rows = {job_id: row for row, job_id in enumerate(frame["id"])}
    order = [rows[job_id] for job_id in dict.fromkeys(ids) if job_id in rows]
    return frame.take(order).reset_index(drop=True)


# --- listings ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing as a frame, from which Jobs are made only when needed.

    Args:
        service: key of the service
        frame: the frame
        responses: the responses that it was made of
    """

    service: str
    frame: pd.DataFrame
    responses: tuple[Response, ...]

    def iter_jobs(self, ids: frozenset[str] | None = None) -> Iterator[Job]:
        """Yield its jobs, or those with these ids, which costs little more than they are."""
        for response in self.responses:
            for job in _parse_listing(self.service, response, ids):
                if ids is None or job.id in ids:
                    yield job

    def changed_ids(self, known: pd.DataFrame) -> frozenset[str]:
        """Return the ids of jobs whose status or progress differs from an earlier frame."""
        before = _select_change_columns(known).drop_duplicates("id", keep="last").set_index("id")
        now = _select_change_columns(self.frame).set_index("id")
        same = before.reindex(now.index, fill_value=-2).to_numpy() == now.to_numpy()
        return frozenset(now.index[~same.all(axis=1)].dropna())


def _select_change_columns(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return what changes while a job runs, as integers, which compare fast."""
    progress = jobs["progress"].fillna(-1).astype("int64")
    return jobs[["id"]].assign(status=jobs["status"].cat.codes.astype("int64"), progress=progress)


# --- listings in JSON -------------------------------------------


def _decode_to_frame(key: str, body: bytes) -> pd.DataFrame:
    try:
        jsonlib.check_density(body)
        columns, row_count = _decode_fields(get_listing_decoder(key), body)
        return _fields_to_frame(key, columns, row_count)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # NaN, lone surrogates, …: Python's json accepts more than
        # the standard.
        return jobs_to_frame(_parse_listing(key, Response(200, body)))


def _decode_in_chunks(key: str, body: bytes, chunk_size: int) -> pd.DataFrame:
    import pandas as pd

    try:
        jsonlib.check_density(body)
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _decode_to_frame(key, body)
    frames = []
    for start in range(0, max(len(items), 1), chunk_size):
        chunk = b",".join(items[start : start + chunk_size])
        frames.append(_decode_to_frame(key, b"[%b]" % chunk))
    return pd.concat(frames, ignore_index=True)


def _decode_fields(decoder: ListingDecoder, body: bytes) -> tuple[dict[str, FieldColumn], int]:
    """Decode the fields of every job that make columns.

    Nearly always all values have the expected types, which
    decoding checks in passing; otherwise the listing is decoded
    again with any types, and the types that occur are collected.

    Returns:
        The fields' values by name, and the number of jobs.
    """
    paths = decoder.paths
    types: Mapping[str, ValueTypes] = decoder.checked_types
    try:
        rows = decoder.strict.decode(body)
    except msgspec.ValidationError:
        rows = [row for row in decoder.lenient.decode(body) if isinstance(row, msgspec.Struct)]
        types = {}
    values: dict[str, list[object]] = {path: [] for path in paths}
    found_types: dict[str, set[type]] = {path: set() for path in paths if path not in types}
    fields = tuple(dict.fromkeys(path.partition(".")[0] for path in paths))
    # Batches are small enough to stay in the processor's cache.
    for start in range(0, len(rows), 200):
        batch = zip(*map(astuple, rows[start : start + 200]), strict=True)
        parts = dict(zip(fields, batch, strict=True))
        for path in paths:
            part = parts[path] if path in parts else _get_inner(parts, path)
            values[path].extend(part)
            if path in found_types:
                found_types[path].update(map(type, part))
    columns = {
        path: FieldColumn(values[path], types.get(path) or frozenset(found_types[path]))
        for path in paths
    }
    return columns, len(rows)


def _get_inner(parts: Mapping[str, Sequence[Any]], path: str) -> Sequence[Any]:
    """Return the values of "properties.finalPrompt" of some jobs; None where one has no object."""
    outer, _, name = path.partition(".")
    return [
        getattr(value, name) if isinstance(value, msgspec.Struct) else None
        for value in parts[outer]
    ]


# --- columns of wire fields -------------------------------------


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """The values of one wire field.

    Args:
        values: the values
        types: the types that occur among them, or more
    """

    values: Sequence[Any]
    types: ValueTypes

    @property
    def is_text(self) -> bool:
        """Whether it holds nothing but texts and None."""
        return self.types <= OPTIONAL_TEXT


ValueTypes = frozenset[type]
ONLY_NONE: ValueTypes = frozenset({type(None)})
OPTIONAL_TEXT: ValueTypes = frozenset({str, type(None)})
OPTIONAL_INT: ValueTypes = frozenset({int, type(None)})

_CELL_CONVERTERS = {column.name: column.to_cell for column in COLUMNS}


def _fields_to_frame(key: str, columns: Mapping[str, FieldColumn], row_count: int) -> pd.DataFrame:
    cells: dict[str, Cells] = {name: [None] * row_count for name in _CELL_CONVERTERS}
    cells["service"] = [key] * row_count
    specs = service(key).fields
    parsers = {spec.kind: spec.parse for spec in specs}
    for spec in specs:
        if spec.name in _CELL_CONVERTERS:
            sources = [columns[path] for path in spec.paths]
            cells[spec.name] = _convert_cells(spec, parsers, sources)
    return _build_frame(cells)


def _convert_cells(
    spec: FieldSpec, parsers: Mapping[str, Parser], columns: Sequence[FieldColumn]
) -> Cells:
    convert = VECTORIZED.get(spec.kind)
    cells = convert(Conversion(spec, parsers), *columns) if convert else None
    if cells is not None:
        return cells
    to_cell = _CELL_CONVERTERS[spec.name]
    if all(column.types == ONLY_NONE for column in columns):
        nothing = to_cell(spec.parse(*(None for _ in columns)))
        return [nothing] * len(columns[0].values)

    def make_cell(*values: object) -> object:
        return to_cell(spec.parse(*values))

    if all(column.is_text for column in columns):
        # Texts are hashable, and many of them are equal.
        make_cell = lru_cache(65_536)(make_cell)
    rows = zip(*(column.values for column in columns), strict=True)
    return [make_cell(*values) for values in rows]


class Conversion(NamedTuple):
    """What converts a column: the field, and the parsers of its service's fields by kind."""

    spec: FieldSpec
    parsers: Mapping[str, Parser]


# Each of these makes the cells of a whole column from its wire
# fields, or returns None where they have unexpected types.


def _convert_text(_: Conversion, *columns: FieldColumn) -> Cells:
    if not all(column.is_text for column in columns):
        return None
    *earlier, last = columns
    cells = [text or None for text in last.values]
    for column in reversed(earlier):
        cells = [text or other for text, other in zip(column.values, cells, strict=True)]
    return cells


def _convert_user_data(_: Conversion, column: FieldColumn) -> Cells:
    if not column.is_text:
        return None
    return [None if not text or text.startswith(MARKER_PREFIX) else text for text in column.values]


def _map_distinct(column: FieldColumn, parse: Callable[[str | None], int]) -> np.ndarray:
    """Parse every distinct text once, to an integer."""
    import numpy as np

    parsed = {text: parse(text) for text in set(column.values)}
    return np.fromiter(map(parsed.__getitem__, column.values), np.int64, len(column.values))


def _convert_status(conversion: Conversion, column: FieldColumn) -> Cells:
    if not column.is_text:
        return None
    import pandas as pd

    parse = conversion.spec.parse
    positions = {status: position for position, status in enumerate(Status)}
    codes = _map_distinct(column, lambda text: positions[parse(text)])
    return pd.Categorical.from_codes(codes, dtype=get_dtype("status"))  # type: ignore[call-overload,unused-ignore]


def _convert_percent(conversion: Conversion, column: FieldColumn) -> Cells:
    if not column.is_text:
        return None
    import pandas as pd

    def parse_or_minus_one(text: str | None) -> int:
        percent = conversion.spec.parse(text)
        return -1 if percent is None else percent

    percents = _map_distinct(column, parse_or_minus_one)
    return pd.arrays.IntegerArray(percents, percents < 0)


def _convert_epoch(_: Conversion, column: FieldColumn) -> Cells:
    if not column.types <= OPTIONAL_INT:
        return None
    import numpy as np
    import pandas as pd

    try:
        numbers = np.array([value or 0 for value in column.values], np.int64)
    except OverflowError:
        return None
    numbers[(numbers < 0) | (numbers >= MAX_TIMESTAMP_MS)] = 0
    unit = np.where(numbers >= SECONDS_CUTOFF, 1_000, 1_000_000)
    microseconds = numbers * unit
    microseconds[numbers == 0] = np.iinfo(np.int64).min  # NaT
    return pd.Series(microseconds.view("datetime64[us]")).dt.tz_localize("UTC")


def _convert_outputs(
    conversion: Conversion, status_column: FieldColumn, *columns: FieldColumn
) -> Cells:
    filled = [column for column in columns if column.types != ONLY_NONE]
    if len(filled) > 1 or not all(column.is_text for column in (status_column, *filled)):
        return None
    if not filled:
        return [None] * len(status_column.values)
    parse_status = conversion.parsers["status"]
    succeeded = {
        text for text in set(status_column.values) if parse_status(text) is Status.SUCCEEDED
    }
    pairs = zip(status_column.values, filled[0].values, strict=True)
    return [(url or None) if text in succeeded else None for text, url in pairs]


def _convert_sparse(conversion: Conversion, *columns: FieldColumn) -> Cells:
    """Parse only the rows that may have a value."""
    spec = conversion.spec
    if spec.maybe is None or not all(column.is_text for column in columns):
        return None
    return [
        spec.parse(*texts) or None if spec.maybe(*texts) else None
        for texts in zip(*(column.values for column in columns), strict=True)
    ]


# With one offset in all of them: a service's.
_ISO_TIME = r"(?:[12]\d{{3}}-\d\d-\d\dT\d\d:\d\d:\d\d{offset}|-)\n"


def _convert_iso_time(_: Conversion, column: FieldColumn) -> Cells:
    texts = [text or "-" for text in column.values]
    offset = next((text[19:] for text in texts if text != "-"), "Z")
    if not re.fullmatch(r"Z|[+-]\d\d:?\d\d", offset, re.ASCII):
        return None
    pattern = f"(?:{_ISO_TIME.format(offset=re.escape(offset))})*"
    if not re.fullmatch(pattern, "\n".join([*texts, ""]), re.ASCII):
        return None
    import numpy as np
    import pandas as pd

    try:
        times = ["NaT" if text == "-" else text[:19] for text in texts]
        local = np.array(times, "datetime64[s]")
    except ValueError:  # February 30
        return None
    utc = (local - np.timedelta64(_parse_offset(offset), "m")).astype("datetime64[us]")
    return pd.Series(utc).dt.tz_localize("UTC")


def _parse_offset(text: str) -> int:
    """Return the minutes of "Z", "+0800" or "+08:00"."""
    if text == "Z":
        return 0
    digits = text[1:].replace(":", "")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if text[0] == "-" else minutes


# --- buttons ----------------------------------------------------

# Every task lists its buttons in full, nearly always the same
# ones but for the image id in each customId. So parsed buttons
# are remembered as the bytes around that id: where those, joined
# by another task's id, are that task's bytes, its buttons have
# the same names and are not parsed. Decoding them into typed
# structs instead takes 0.22 s for 100,000 tasks, this 0.08 s, of
# 0.6 s for the whole frame.
_IMAGE_ID_RE = re.compile(rb"::([0-9A-Za-z-]{16,})")


class ButtonTemplate(NamedTuple):
    """Parsed buttons: where the image id is, the bytes around it, and the buttons' names."""

    start: int
    end: int
    pieces: list[bytes]
    names: str | None


def _convert_buttons(conversion: Conversion, column: FieldColumn) -> list[str | None]:
    parse = conversion.spec.parse
    names, image_ids = _match_templates(parse, column.values)
    # An id of letters and digits cannot end the JSON string that
    # it stands in.
    if image_ids and not b"".join(image_ids).replace(b"-", b"").isalnum():
        return [_parse_button_names(parse, bytes(raw)) for raw in column.values]
    return names


def _match_templates(
    parse: Parser, values: Sequence[msgspec.Raw]
) -> tuple[list[str | None], list[bytes]]:
    """Return the names of each task's buttons, and the image ids that matched a template."""
    templates: dict[int, ButtonTemplate] = {}  # by length
    # The last template is tried first, in locals: this runs for
    # every task of a listing.
    start, end, pieces, names = _NO_TEMPLATE
    all_names: list[str | None] = []
    image_ids: list[bytes] = []
    for raw_buttons in map(bytes, values):
        image_id = raw_buttons[start:end]
        if image_id.join(pieces) != raw_buttons:
            start, end, pieces, names = templates.get(len(raw_buttons), _NO_TEMPLATE)
            image_id = raw_buttons[start:end]
            if image_id.join(pieces) != raw_buttons:
                template = _make_template(raw_buttons, _parse_button_names(parse, raw_buttons))
                templates[len(raw_buttons)] = template
                start, end, pieces, names = template
                image_id = b""
        if image_id:
            image_ids.append(image_id)
        all_names.append(names)
    return all_names, image_ids


def _parse_button_names(parse: Parser, raw_buttons: bytes) -> str | None:
    return _join_button_names(parse(msgspec.json.decode(raw_buttons)))


_NO_TEMPLATE = ButtonTemplate(0, 0, [], None)


def _make_template(raw_buttons: bytes, names: str | None) -> ButtonTemplate:
    """Return the template of parsed buttons.

    The image id may differ where it always follows "::" (so
    stands inside strings), nothing is escaped and no name shows
    it; otherwise all bytes have to be the same.
    """
    exact = ButtonTemplate(0, 0, [raw_buttons], names)
    match = _IMAGE_ID_RE.search(raw_buttons)
    if match is None or b"\\" in raw_buttons or match[1].decode() in (names or ""):
        return exact
    pieces = raw_buttons.split(match[1])
    if not all(piece.endswith(b"::") for piece in pieces[:-1]):
        return exact
    return ButtonTemplate(match.start(1), match.end(1), pieces, names)


VECTORIZED: dict[str, Callable[..., Cells]] = {
    "text": _convert_text,
    "user_data": _convert_user_data,
    "status": _convert_status,
    "percent": _convert_percent,
    "epoch": _convert_epoch,
    "iso_time": _convert_iso_time,
    "outputs": _convert_outputs,
    "buttons": _convert_buttons,
    "sparse": _convert_sparse,
}


# --- decoders of listings ---------------------------------------

# For msgspec, and as the types that then occur.
_EXPECTED_TYPES: dict[str, tuple[Any, ValueTypes]] = {
    "epoch": (int | None, OPTIONAL_INT),
    **dict.fromkeys(("text", "user_data", "status", "percent"), (str | None, OPTIONAL_TEXT)),
}


@dataclass(frozen=True, slots=True)
class ListingDecoder:
    """Decodes the fields of a service's jobs that make columns.

    Args:
        paths: the names of the fields
        checked_types: the types that `strict` lets pass, by name
        strict: for the expected types
        lenient: for any
    """

    paths: tuple[str, ...]
    checked_types: Mapping[str, ValueTypes]
    strict: msgspec.json.Decoder[Any]
    lenient: msgspec.json.Decoder[Any]


@cache
def get_listing_decoder(key: str) -> ListingDecoder:
    """Build the decoder of a service's listing, once."""
    kinds = {
        path: spec.kind
        for spec in reversed(service(key).fields)
        if spec.name in _CELL_CONVERTERS
        for path in spec.paths
    }
    expected = {
        path: _EXPECTED_TYPES[kind] for path, kind in kinds.items() if kind in _EXPECTED_TYPES
    }
    json_types = {path: json_type for path, (json_type, _) in expected.items()}
    return ListingDecoder(
        paths=tuple(kinds),
        checked_types={path: types for path, (_, types) in expected.items()},
        strict=_make_decoder(kinds, json_types, None),
        lenient=_make_decoder(kinds, {}, str | int | float | bool | None | list),
    )


def _make_decoder(
    kinds: Mapping[str, str], json_types: Mapping[str, Any], item_types: Any
) -> msgspec.json.Decoder[Any]:
    """Return a decoder of an array of jobs, which leaves buttons undecoded.

    Args:
        kinds: the kind of each field; "a.b" is in an object
        json_types: types of fields; others may hold anything
        item_types: what else the array may hold
    """
    fields: dict[str, tuple[str, Any, Any]] = {}
    inner_fields: dict[str, list[tuple[str, Any, Any]]] = {}
    for path, kind in kinds.items():
        outer, _, name = path.partition(".")
        if name:
            inner_fields.setdefault(outer, []).append((name, json_types.get(path, Any), None))
            fields[outer] = (outer, None, None)
        elif kind == "buttons":
            fields[path] = (path, msgspec.Raw, msgspec.Raw(b"null"))
        else:
            fields[path] = (path, json_types.get(path, Any), None)
    for outer, names in inner_fields.items():
        inner: Any = msgspec.defstruct("Inner", names, gc=False)
        fields[outer] = (outer, inner | (item_types or None), None)
    item: Any = msgspec.defstruct("Item", list(fields.values()), gc=False)
    return msgspec.json.Decoder(list[item | item_types] if item_types else list[item])
