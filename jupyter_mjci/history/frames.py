"""Jobs as typed pandas DataFrames: one table of columns, the same whether there are no rows or a
million.

Two ways lead to the same cells. `jobs_to_frame` takes Jobs. Listings go from bytes to columns without a Job
per row (`tasks_to_frame`, `rows_to_frame`): the services' own tables tell which wire fields make a
column and how they are read. Most readers have a quicker way for a whole column of the usual kind
(QUICK); where a column holds anything else, its cells are read one by one by the very function that
makes Jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import MARKER_PREFIX, Button, Job, Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.midjourney import responses as midjourney
from jupyter_mjci.services.tencent_ci import responses as tencent_ci
from jupyter_mjci.services.tencent_ci.xml import Row

if TYPE_CHECKING:
    import pandas as pd

TIME_DTYPE = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the Job's field of the same name as a cell, its dtype, and what it means (and its
    unit).
    """

    name: str
    dtype: str
    to_cell: Callable[[Any], Any]
    help: str


def _keep_value(value: Any) -> Any:
    return value


def _empty_to_none(text: str) -> str | None:
    """Nothing is missing, not empty, so that it does not count."""
    return text or None


def _join_button_names(buttons: Iterable[Button]) -> str | None:
    return ", ".join([button.name for button in buttons]) or None


COLUMNS = (
    Column("service", "string", _empty_to_none, "mj (Midjourney proxy) or ci (Tencent CI)"),
    Column("id", "string", _empty_to_none, "the service's id"),
    Column("action", "string", _empty_to_none, "the service's own word: IMAGINE, PicProcess, …"),
    Column(
        "status",
        "status",
        lambda status: status.value,
        "where it is, the same words for both services",
    ),
    Column("progress", "Int64", _keep_value, "percent, where told"),
    Column("subject", "string", _empty_to_none, "the prompt, or the input object"),
    Column("submitted", TIME_DTYPE, _keep_value, "accepted by the service (UTC)"),
    Column("started", TIME_DTYPE, _keep_value, "begun (UTC)"),
    Column("finished", TIME_DTYPE, _keep_value, "ended, well or not (UTC)"),
    Column("reason", "string", _empty_to_none, "why it failed"),
    Column(
        "outputs",
        "string",
        lambda urls: " ".join(urls) or None,
        "URLs of the results, blank-separated",
    ),
    Column("buttons", "string", _join_button_names, "next moves, by name"),
    Column("parent", "string", _empty_to_none, "the task whose button was pressed"),
    Column("user_data", "string", _empty_to_none, "your own mark"),
)

# Made from two others: (name, later, earlier, meaning).
DURATION_COLUMNS = (
    ("queue_time", "started", "submitted", "from submitted to started"),
    ("run_time", "finished", "started", "from started to finished"),
)


def jobs_to_frame(jobs: Iterable[Job]) -> pd.DataFrame:
    """One row per job, in the order given, with the columns and dtypes of COLUMNS and SPANS."""
    rows = list(jobs)
    return _build_frame(
        {
            column.name: [column.to_cell(getattr(job, column.name)) for job in rows]
            for column in COLUMNS
        }
    )


def list_columns(table: Any) -> list[str]:
    """The columns that a user's table has, also where it has no rows."""
    return [str(column) for column in getattr(table, "columns", ())]


def parse_records(table: Any, name: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The rows of a user's DataFrame or list of dicts, each without what is missing in it, and how
    to call each.

    Raises CallError for anything else; `name` is what the user calls it.
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        if not table.columns.is_unique:
            raise InvalidRequest(
                f"{name} has two columns of one name.", detail=", ".join(list_columns(table))
            )
        rows, labels = table.to_dict("records"), [str(label) for label in table.index]
    elif isinstance(table, (list, tuple)) and all(isinstance(row, Mapping) for row in table):
        rows, labels = list(table), [str(number) for number in range(len(table))]
    else:
        raise InvalidRequest(
            f"{name} is neither a DataFrame nor a list of dicts.",
            detail=f"It is a {type(table).__name__}.",
        )
    return labels, [
        {str(key): cell for key, cell in row.items() if not _is_missing(cell)} for row in rows
    ]


def _is_missing(cell: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def join_rows(jobs: Iterable[Job], table: Any) -> pd.DataFrame:
    """The jobs that were made of the rows of a table, in its order and under its index, and the
    table's own columns beside them; one that is called as ours are comes as `…_given`.
    """
    import pandas as pd

    made = jobs_to_frame(jobs)
    theirs = table if isinstance(table, pd.DataFrame) else pd.DataFrame(list(table))
    ours = set(made.columns)
    added = {
        f"{name}_given" if name in ours else name: theirs[name].array for name in theirs.columns
    }
    return made.assign(**{str(name): cells for name, cells in added.items()}).set_axis(
        theirs.index, axis=0
    )


def records_to_frame(items: Sequence[Any], item_type: type | None = None) -> pd.DataFrame:
    """What a service lists besides jobs (queues, templates, objects) as a frame: a column for each
    element, of nested ones `Outer.Inner`; what is nested deeper stays as it is. `item_type` is the
    dataclass that is listed, which tells the columns also where nothing is.
    """
    import pandas as pd

    if item_type is not None:
        made = pd.DataFrame(
            [asdict(one) for one in items], columns=[one.name for one in fields_of(item_type)]
        )
    else:
        made = pd.json_normalize([dict(one) for one in items], max_level=1)
    texts = [
        name
        for name in made
        if made[name].map(lambda cell: isinstance(cell, str) or _is_missing(cell)).all()
    ]
    times = made.select_dtypes("datetimetz").columns  # which pandas 2 counts in nanoseconds
    return (
        made.astype({**dict.fromkeys(texts, "string"), **dict.fromkeys(times, TIME_DTYPE)})
        if len(made)
        else made
    )


def response_to_frame(response: Response, ids: Sequence[str] | None = None) -> pd.DataFrame:
    """The answer of a Midjourney listing as a frame. Raises what `midjourney.read_tasks` raises."""
    if response.status < 300 and response.body[:1] == b"[":
        return tasks_to_frame(
            response.body,
            ids,
            chunk_size=20_000 if len(response.body) > CHUNKED_DECODE_MIN_BYTES else 0,
        )
    return jobs_to_frame(midjourney.parse_tasks(response, None if ids is None else tuple(ids)))


CHUNKED_DECODE_MIN_BYTES = 512_000_000  # bytes of a listing from which on memory is spared


def tasks_to_frame(
    body: bytes, ids: Sequence[str] | None = None, *, chunk_size: int = 0
) -> pd.DataFrame:
    """A Midjourney listing (a JSON array of tasks) as a frame: what `frame(read_tasks(...))` gives,
    many times as fast.

    Any object makes a row, however odd its values; what is no object makes none. `ids` chooses
    ids and their order. `chunk_size` bounds the memory: so many tasks are read at once, which takes
    a little longer.
    """
    made = _decode_to_frame_in_chunks(body, chunk_size) if chunk_size else _decode_to_frame(body)
    return made if ids is None else _reorder(made, ids)


def rows_to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows of CI pages (`tencent_ci.read_rows`) as a frame: what `frame` gives of the same pages'
    jobs.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(tencent_ci.WIRE_FIELDS)
    wires = {
        name: FieldColumn(column, OPTIONAL_TEXT)
        for name, column in zip(tencent_ci.WIRE_FIELDS, columns, strict=True)
    }
    return _fields_to_frame("ci", tencent_ci.FIELD_MAP, wires, len(rows))


def _build_frame(cells: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    from jupyter_mjci.history import analysis  # noqa: F401 - gives frames their accessor, df.mjci

    columns: dict[str, pd.Series[Any]] = {}
    for column in COLUMNS:
        columns[column.name] = _build_series(cells[column.name], column.dtype)
        for name, later, earlier, _ in DURATION_COLUMNS:
            if later == column.name:
                columns[name] = columns[later] - columns[earlier]
    return pd.DataFrame(columns)


def _build_series(cells: Any, dtype: str) -> Any:
    import pandas as pd

    try:
        if (
            dtype == "string"
            and cells
            and cells[0] == cells[-1]
            and cells.count(cells[0]) == len(cells)
        ):
            return pd.Series(
                pd.array(cells[:1], dtype="string").repeat(len(cells))
            )  # quicker than looking at each
        return pd.Series(cells, dtype=get_dtype(dtype))
    except UnicodeEncodeError:  # half of a surrogate pair, which Arrow cannot hold
        whole = [cell and cell.encode("utf-8", "replace").decode() for cell in cells]
        return pd.Series(whole, dtype=get_dtype(dtype))


def get_dtype(name: str) -> Any:
    if name != "status":
        return name
    import pandas as pd

    return pd.CategoricalDtype([status.value for status in Status], ordered=False)


def _reorder(frame: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    rows = {job_id: row for row, job_id in enumerate(frame["id"])}
    return frame.take([rows[one] for one in dict.fromkeys(ids) if one in rows]).reset_index(
        drop=True
    )


# --- listings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing as it came, and its frame. Jobs are made of it only where somebody wants them."""

    service: str
    frame: pd.DataFrame
    responses: tuple[Response, ...]

    def iter_jobs(self, ids: frozenset[str] | None = None) -> Iterator[Job]:
        """Its jobs, whole; or those with these ids, which costs little more than they are."""
        reader = _parse_tasks if self.service == "mj" else _parse_jobs
        for reply in self.responses:
            for job in reader(reply, ids):
                if ids is None or job.id in ids:
                    yield job

    def changed_ids(self, known: pd.DataFrame) -> frozenset[str]:
        """The ids of what moved against `known`, a frame of the same jobs as they were seen
        before.
        """
        was = _select_change_columns(known).drop_duplicates("id", keep="last").set_index("id")
        now = _select_change_columns(self.frame).set_index("id")
        same = (was.reindex(now.index, fill_value=-2).to_numpy() == now.to_numpy()).all(axis=1)
        return frozenset(now.index[~same].dropna())


def _select_change_columns(jobs: pd.DataFrame) -> pd.DataFrame:
    """What changes when a job moves, in numbers: they compare at once."""
    progress = jobs["progress"].fillna(-1).astype("int64")
    return jobs[["id"]].assign(status=jobs["status"].cat.codes.astype("int64"), progress=progress)


class _TaskId(msgspec.Struct, gc=False):
    id: Any = None
    mj_id: Any = None


def _parse_tasks(response: Response, wanted_ids: frozenset[str] | None) -> Iterable[Job]:
    if wanted_ids is None or response.body[:1] != b"[":
        return midjourney.parse_tasks(response)
    try:
        ids = msgspec.json.decode(response.body, type=list[_TaskId])
        tasks = msgspec.json.decode(response.body, type=list[msgspec.Raw])
    except msgspec.DecodeError:  # something else among the tasks, or more than the standard's JSON
        return midjourney.parse_tasks(response)
    pairs = zip(tasks, ids, strict=True)
    chosen = (
        bytes(task) for task, one in pairs if midjourney.coalesce(one.id, one.mj_id) in wanted_ids
    )
    return (midjourney.parse_job(json.loads(task)) for task in chosen)


def _parse_jobs(response: Response, wanted_ids: frozenset[str] | None) -> Iterable[Job]:
    if wanted_ids is not None:
        place = tencent_ci.WIRE_FIELDS.index("JobId")
        if wanted_ids.isdisjoint(row[place] or "" for row in tencent_ci.parse_rows(response).items):
            return ()
    return tencent_ci.parse_page(response).items


# --- tasks from JSON ------------------------------------------------------------------------------


def _decode_to_frame(body: bytes) -> pd.DataFrame:
    try:
        wires, height = _decode_fields(body)
        return _fields_to_frame("mj", midjourney.FIELD_MAP, wires, height)
    except (
        msgspec.DecodeError,
        ValueError,
    ):  # NaN, half a surrogate pair, …: json knows more than the standard
        return jobs_to_frame(midjourney.parse_tasks(Response(200, body)))


def _decode_to_frame_in_chunks(body: bytes, chunk_size: int) -> pd.DataFrame:
    import pandas as pd

    try:
        tasks = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return _decode_to_frame(body)
    parts = [tasks[at : at + chunk_size] for at in range(0, len(tasks), chunk_size)] or [[]]
    return pd.concat(
        [_decode_to_frame(b"[%b]" % b",".join(part)) for part in parts], ignore_index=True
    )


def _decode_fields(body: bytes) -> tuple[dict[str, FieldColumn], int]:
    """The wanted fields of every task, by field. Nearly always all values are of the usual types,
    which decoding checks in passing; else it is done again with any types, which then are looked
    at.
    """
    try:
        rows, sure = _STRICT_DECODER.decode(body), _CHECKED_TYPES
    except msgspec.ValidationError:
        rows, sure = (
            [row for row in _LENIENT_DECODER.decode(body) if isinstance(row, msgspec.Struct)],
            {},
        )
    values: list[list[Any]] = [[] for _ in _FIELDS]
    kinds: list[set[type]] = [set() for _ in _FIELDS]
    doubtful = [place for place, field in enumerate(_FIELDS) if field not in sure]
    for at in range(0, len(rows), 200):  # few enough to stay in the processor's cache
        parts = list(zip(*map(astuple, rows[at : at + 200]), strict=True))
        for column, part in zip(values, parts, strict=True):
            column.extend(part)
        for place in doubtful:
            kinds[place].update(map(type, parts[place]))
    found = zip(_FIELDS, values, kinds, strict=True)
    return {
        field: FieldColumn(told, sure.get(field) or frozenset(kind)) for field, told, kind in found
    }, len(rows)


# --- columns of the wire --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """The values of one wire field, and the types that occur among them (or more)."""

    values: Sequence[Any]
    types: ValueTypes


ValueTypes = frozenset[type]
ONLY_NONE: ValueTypes = frozenset({type(None)})
OPTIONAL_TEXT: ValueTypes = frozenset({str, type(None)})
OPTIONAL_INT: ValueTypes = frozenset({int, type(None)})

FieldMap = tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...]
_CELL_CONVERTERS = {column.name: column.to_cell for column in COLUMNS}


def _fields_to_frame(
    service: str, field_map: FieldMap, columns: Mapping[str, FieldColumn], row_count: int
) -> pd.DataFrame:
    made: dict[str, Any] = {name: [None] * row_count for name in _CELL_CONVERTERS}
    made["service"] = [service] * row_count
    for name, fields, read in field_map:
        if name in _CELL_CONVERTERS:
            made[name] = _convert_cells(
                read, _CELL_CONVERTERS[name], [columns[field] for field in fields]
            )
    return _build_frame(made)


def _convert_cells(
    parse: Callable[..., Any], to_cell: Callable[[Any], Any], columns: Sequence[FieldColumn]
) -> Any:
    quick = VECTORIZED.get(parse)
    made = quick(*columns) if quick else None
    if made is not None:
        return made
    values = zip(*(wire.values for wire in columns), strict=True)
    if all(
        wire.types <= OPTIONAL_TEXT for wire in columns
    ):  # then they can be remembered, and many are alike
        known = lru_cache(65_536)(lambda *told: to_cell(parse(*told)))
        return [known(*told) for told in values]
    return [to_cell(parse(*told)) for told in values]


# Each of these makes the cells of a whole column from its wire fields, or None where they are not
# of the usual kind.


def _convert_text(column: FieldColumn) -> Any:
    return [text or None for text in column.values] if column.types <= OPTIONAL_TEXT else None


def _convert_user_data(column: FieldColumn) -> Any:
    if not column.types <= OPTIONAL_TEXT:
        return None
    return [None if not text or text.startswith(MARKER_PREFIX) else text for text in column.values]


def _coalesce_text(*columns: FieldColumn) -> Any:
    some = [wire for wire in columns if wire.types != ONLY_NONE]
    if not some or len(some) > 2 or not all(wire.types <= OPTIONAL_TEXT for wire in some):
        return None
    return [
        one or other or None for one, other in zip(some[0].values, some[-1].values, strict=True)
    ]


def _convert_status(column: FieldColumn) -> Any:
    if not column.types <= OPTIONAL_TEXT:
        return None
    import numpy as np
    import pandas as pd

    places = {status: place for place, status in enumerate(Status)}
    codes = {word: places[midjourney.parse_status(word)] for word in set(column.values)}
    found = np.fromiter(map(codes.__getitem__, column.values), np.int8, len(column.values))
    return pd.Categorical.from_codes(found, dtype=get_dtype("status"))  # type: ignore[call-overload,unused-ignore]


def _convert_progress(column: FieldColumn) -> Any:
    if not column.types <= OPTIONAL_TEXT:
        return None
    import numpy as np
    import pandas as pd

    read = {word: midjourney.parse_progress(word) for word in set(column.values)}
    known = {word: -1 if percent is None else percent for word, percent in read.items()}
    found = np.fromiter(map(known.__getitem__, column.values), np.int64, len(column.values))
    return pd.arrays.IntegerArray(found, found < 0)


def _convert_timestamp(column: FieldColumn) -> Any:
    if not column.types <= OPTIONAL_INT:
        return None
    import numpy as np
    import pandas as pd

    try:
        number = np.array([value or 0 for value in column.values], np.int64)
    except OverflowError:
        return None
    number[(number < 0) | (number >= midjourney.MAX_TIMESTAMP_MS)] = 0
    micro = number * np.where(number >= midjourney.SECONDS_CUTOFF, 1_000, 1_000_000)
    micro[number == 0] = np.iinfo(np.int64).min  # NaT
    return pd.Series(micro.view("datetime64[us]")).dt.tz_localize("UTC")


def _convert_outputs(status_column: FieldColumn, *columns: FieldColumn) -> Any:
    some = [wire for wire in columns if wire.types != ONLY_NONE]
    if (
        not status_column.types <= OPTIONAL_TEXT
        or len(some) > 1
        or not all(wire.types <= OPTIONAL_TEXT for wire in some)
    ):
        return None
    done = {
        word: midjourney.parse_status(word) is Status.SUCCEEDED
        for word in set(status_column.values)
    }
    urls = some[0].values if some else [None] * len(status_column.values)
    return [
        url or None if done[word] else None
        for word, url in zip(status_column.values, urls, strict=True)
    ]


def _convert_parent(column: FieldColumn, description: FieldColumn) -> Any:
    if not (column.types <= OPTIONAL_TEXT and description.types <= OPTIONAL_TEXT):
        return None
    pairs = zip(column.values, description.values, strict=True)
    return [
        midjourney.parse_parent(parent, words) or None
        if parent or (words and words[:3] in ("/up", "/ch"))
        else None
        for parent, words in pairs
    ]


# The same for CI. Its rows hold nothing but texts, without blanks around them.


def _convert_ci_text(column: FieldColumn) -> Any:
    return [None if text == "-" else text for text in column.values]


def _convert_ci_user_data(column: FieldColumn) -> Any:
    return [
        None if not text or text == "-" or text.startswith(MARKER_PREFIX) else text
        for text in column.values
    ]


def _coalesce_ci_text(*columns: FieldColumn) -> Any:
    *others, found = map(_convert_ci_text, columns)
    for other in reversed(others):
        found = [one or last for one, last in zip(other, found, strict=True)]
    return found


_match_ci_timestamps = re.compile(
    r"(?:(?:[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\+0800|-)\n)*", re.ASCII
).fullmatch


def _convert_ci_timestamp(column: FieldColumn) -> Any:
    if not _match_ci_timestamps("".join([f"{text or '-'}\n" for text in column.values])):
        return None
    import numpy as np
    import pandas as pd

    try:
        local = np.array(
            ["NaT" if not text or text == "-" else text[:19] for text in column.values],
            "datetime64[s]",
        )
    except ValueError:  # the thirtieth of February
        return None
    return pd.Series((local - np.timedelta64(8, "h")).astype("datetime64[us]")).dt.tz_localize(
        "UTC"
    )


# --- buttons --------------------------------------------------------------------------------------

# Every task tells its buttons in full, and nearly always the same ones but for the picture's own
# mark in every customId. So what was read once is remembered as the pieces around that mark: where
# they, joined by another task's mark, are that task's very bytes, its buttons have the same names,
# and need not be parsed.
_IMAGE_ID_RE = re.compile(rb"::([0-9A-Za-z-]{16,})")


ButtonTemplate = tuple[
    int, int, list[bytes], str | None
]  # where the mark is, the pieces around it, the names


def _convert_buttons(column: FieldColumn) -> list[str | None]:
    made, marks = _match_templates(column.values)
    # A mark of letters and digits cannot end the text that it stands in; then likeness means
    # sameness.
    if marks and not b"".join(marks).replace(b"-", b"").isalnum():
        return [_parse_button_names(bytes(raw)) for raw in column.values]
    return made


def _match_templates(values: Sequence[Any]) -> tuple[list[str | None], list[bytes]]:
    """The names of each, and the marks by which they were found."""
    known: dict[int, ButtonTemplate] = {}  # by length
    start, end, pieces, names = _NO_TEMPLATE
    made: list[str | None] = []
    marks: list[bytes] = []
    for written in map(bytes, values):
        mark = written[start:end]
        if mark.join(pieces) != written:
            start, end, pieces, names = known.get(len(written), _NO_TEMPLATE)
            mark = written[start:end]
            if mark.join(pieces) != written:
                names = _parse_button_names(written)
                start, end, pieces, names = known[len(written)] = _make_template(written, names)
                mark = b""
        if mark:
            marks.append(mark)
        made.append(names)
    return made, marks


def _parse_button_names(raw_buttons: bytes) -> str | None:
    return _join_button_names(midjourney.parse_buttons(msgspec.json.decode(raw_buttons)))


_NO_TEMPLATE: ButtonTemplate = (0, 0, [], None)


def _make_template(raw_buttons: bytes, names: str | None) -> ButtonTemplate:
    """What others may be compared with. Where the mark stands after "::" (so inside texts), no
    letter is escaped and no name shows it, it may be another one; else everything has to be the
    same.
    """
    found = _IMAGE_ID_RE.search(raw_buttons)
    if found is None or b"\\" in raw_buttons or found[1].decode() in (names or ""):
        return 0, 0, [raw_buttons], names
    pieces = raw_buttons.split(found[1])
    if not all(piece.endswith(b"::") for piece in pieces[:-1]):
        return 0, 0, [raw_buttons], names
    return found.start(1), found.end(1), pieces, names


VECTORIZED: dict[Callable[..., Any], Callable[..., Any]] = {
    midjourney.to_text: _convert_text,
    midjourney.parse_user_data: _convert_user_data,
    midjourney.coalesce: _coalesce_text,
    midjourney.parse_status: _convert_status,
    midjourney.parse_progress: _convert_progress,
    midjourney.parse_timestamp: _convert_timestamp,
    midjourney.parse_outputs: _convert_outputs,
    midjourney.parse_buttons: _convert_buttons,
    midjourney.parse_parent: _convert_parent,
    tencent_ci.to_text: _convert_ci_text,
    tencent_ci.parse_user_data: _convert_ci_user_data,
    tencent_ci.coalesce: _coalesce_ci_text,
    tencent_ci.parse_timestamp: _convert_ci_timestamp,
}


# --- how tasks are decoded ------------------------------------------------------------------------

_TEXT_PARSERS = (
    midjourney.to_text,
    midjourney.parse_user_data,
    midjourney.coalesce,
    midjourney.parse_status,
    midjourney.parse_progress,
)
_EXPECTED_TYPES: dict[Callable[..., Any], tuple[Any, ValueTypes]] = {
    midjourney.parse_timestamp: (int | None, OPTIONAL_INT),
    **dict.fromkeys(_TEXT_PARSERS, (str | None, OPTIONAL_TEXT)),
}
_FIELD_PARSERS = {
    field: read
    for name, fields, read in reversed(midjourney.FIELD_MAP)
    if name in _CELL_CONVERTERS
    for field in fields
}
_FIELDS = tuple(_FIELD_PARSERS)
_CHECKED_TYPES = {
    field: _EXPECTED_TYPES[read][1]
    for field, read in _FIELD_PARSERS.items()
    if read in _EXPECTED_TYPES
}


def _make_decoder(field_types: Mapping[str, Any], fallback_type: Any) -> msgspec.json.Decoder[Any]:
    """For an array of tasks. Buttons stay as they are written."""
    others = [field for field in _FIELDS if field != "buttons"]
    fields: list[tuple[str, Any, Any]] = [
        (field, field_types.get(field, Any), None) for field in others
    ]
    fields.insert(_FIELDS.index("buttons"), ("buttons", msgspec.Raw, msgspec.Raw(b"null")))
    task = msgspec.defstruct("Task", fields, gc=False)
    return msgspec.json.Decoder(list[task | fallback_type] if fallback_type else list[task])  # type: ignore[valid-type]


_STRICT_DECODER = _make_decoder(
    {
        field: _EXPECTED_TYPES[read][0]
        for field, read in _FIELD_PARSERS.items()
        if read in _EXPECTED_TYPES
    },
    None,
)
_LENIENT_DECODER = _make_decoder({}, str | int | float | bool | None | list)
