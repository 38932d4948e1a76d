"""Jobs as typed pandas DataFrames: one table of columns, the same whether there are no rows or a
million.

Two ways lead to the same cells. `frame` takes Jobs. Listings go from bytes to columns without a Job
per row (`frame_of_tasks`, `frame_of_rows`): the services' own tables tell which wire fields make a
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

from jupyter_mjci.client.calls import Reply
from jupyter_mjci.client.job import MARK, Button, Job, Status
from jupyter_mjci.errors import CallError
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.tencent_ci import api as tencent_ci
from jupyter_mjci.services.tencent_ci.xml import Row, collecting_later

if TYPE_CHECKING:
    import pandas as pd

TIME = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the Job's field of the same name as a cell, its dtype, and what it means (and its
    unit).
    """

    name: str
    dtype: str
    cell: Callable[[Any], Any]
    help: str


def _as_told(value: Any) -> Any:
    return value


def _told(text: str) -> str | None:
    """Nothing is missing, not empty, so that it does not count."""
    return text or None


def _names(buttons: Iterable[Button]) -> str | None:
    return ", ".join([button.name for button in buttons]) or None


COLUMNS = (
    Column("service", "string", _told, "mj (Midjourney proxy) or ci (Tencent CI)"),
    Column("id", "string", _told, "the service's id"),
    Column("action", "string", _told, "the service's own word: IMAGINE, PicProcess, …"),
    Column(
        "status",
        "status",
        lambda status: status.value,
        "where it is, the same words for both services",
    ),
    Column("progress", "Int64", _as_told, "percent, where told"),
    Column("subject", "string", _told, "the prompt, or the input object"),
    Column("submitted", TIME, _as_told, "accepted by the service (UTC)"),
    Column("started", TIME, _as_told, "begun (UTC)"),
    Column("finished", TIME, _as_told, "ended, well or not (UTC)"),
    Column("reason", "string", _told, "why it failed"),
    Column(
        "outputs",
        "string",
        lambda urls: " ".join(urls) or None,
        "URLs of the results, blank-separated",
    ),
    Column("buttons", "string", _names, "next moves, by name"),
    Column("parent", "string", _told, "the task whose button was pressed"),
    Column("state", "string", _told, "your own mark"),
)

# Made from two others: (name, later, earlier, meaning).
SPANS = (
    ("waited", "started", "submitted", "from submitted to started"),
    ("took", "finished", "started", "from started to finished"),
)


def frame(jobs: Iterable[Job]) -> pd.DataFrame:
    """One row per job, in the order given, with the columns and dtypes of COLUMNS and SPANS."""
    rows = list(jobs)
    return _assembled(
        {
            column.name: [column.cell(getattr(job, column.name)) for job in rows]
            for column in COLUMNS
        }
    )


def columns_of(given: Any) -> list[str]:
    """The columns that a user's table has, also where it has no rows."""
    return [str(column) for column in getattr(given, "columns", ())]


def records(given: Any, name: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The rows of a user's DataFrame or list of dicts, each without what is missing in it, and how
    to call each.

    Raises CallError for anything else; `name` is what the user calls it.
    """
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        if not given.columns.is_unique:
            raise CallError(
                f"{name} has two columns of one name.", why=", ".join(columns_of(given))
            )
        rows, labels = given.to_dict("records"), [str(label) for label in given.index]
    elif isinstance(given, (list, tuple)) and all(isinstance(row, Mapping) for row in given):
        rows, labels = list(given), [str(number) for number in range(len(given))]
    else:
        raise CallError(
            f"{name} is neither a DataFrame nor a list of dicts.",
            why=f"It is a {type(given).__name__}.",
        )
    return labels, [
        {str(key): cell for key, cell in row.items() if not _is_missing(cell)} for row in rows
    ]


def _is_missing(cell: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def beside(jobs: Iterable[Job], given: Any) -> pd.DataFrame:
    """The jobs that were made of the rows of a table, in its order and under its index, and the
    table's own columns beside them; one that is called as ours are comes as `…_given`.
    """
    import pandas as pd

    made = frame(jobs)
    theirs = given if isinstance(given, pd.DataFrame) else pd.DataFrame(list(given))
    ours = set(made.columns)
    added = {
        f"{name}_given" if name in ours else name: theirs[name].array for name in theirs.columns
    }
    return made.assign(**{str(name): cells for name, cells in added.items()}).set_axis(
        theirs.index, axis=0
    )


def table_of(listed: Sequence[Any], kind: type | None = None) -> pd.DataFrame:
    """What a service lists besides jobs (queues, templates, objects) as a frame: a column for each
    element, of nested ones `Outer.Inner`; what is nested deeper stays as it is. `kind` is the
    dataclass that is listed, which tells the columns also where nothing is.
    """
    import pandas as pd

    if kind is not None:
        made = pd.DataFrame(
            [asdict(one) for one in listed], columns=[one.name for one in fields_of(kind)]
        )
    else:
        made = pd.json_normalize([dict(one) for one in listed], max_level=1)
    texts = [
        name
        for name in made
        if made[name].map(lambda cell: isinstance(cell, str) or _is_missing(cell)).all()
    ]
    times = made.select_dtypes("datetimetz").columns  # which pandas 2 counts in nanoseconds
    return (
        made.astype({**dict.fromkeys(texts, "string"), **dict.fromkeys(times, TIME)})
        if len(made)
        else made
    )


def frame_of_reply(reply: Reply, order: Sequence[str] | None = None) -> pd.DataFrame:
    """The answer of a Midjourney listing as a frame. Raises what `midjourney.read_tasks` raises."""
    if reply.status < 300 and reply.body[:1] == b"[":
        return frame_of_tasks(reply.body, order, at_a_time=20_000 if len(reply.body) > LARGE else 0)
    return frame(midjourney.read_tasks(reply, None if order is None else tuple(order)))


LARGE = 512_000_000  # bytes of a listing from which on memory is spared


def frame_of_tasks(
    body: bytes, order: Sequence[str] | None = None, *, at_a_time: int = 0
) -> pd.DataFrame:
    """A Midjourney listing (a JSON array of tasks) as a frame: what `frame(read_tasks(...))` gives,
    many times as fast.

    Any object makes a row, however odd its values; what is no object makes none. `order` chooses
    ids and their order. `at_a_time` bounds the memory: so many tasks are read at once, which takes
    a little longer.
    """
    made = _frame_of_parts(body, at_a_time) if at_a_time else _frame_of_array(body)
    return made if order is None else _in_order(made, order)


def frame_of_rows(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows of CI pages (`tencent_ci.read_rows`) as a frame: what `frame` gives of the same pages'
    jobs.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(tencent_ci.WIRES)
    wires = {
        name: Wire(column, TEXT) for name, column in zip(tencent_ci.WIRES, columns, strict=True)
    }
    return _frame_of_wires("ci", tencent_ci.DETAIL, wires, len(rows))


def _assembled(cells: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    from jupyter_mjci.history import analysis  # noqa: F401 - gives frames their accessor, df.mjci

    columns: dict[str, pd.Series[Any]] = {}
    for column in COLUMNS:
        columns[column.name] = _series(cells[column.name], column.dtype)
        for name, later, earlier, _ in SPANS:
            if later == column.name:
                columns[name] = columns[later] - columns[earlier]
    return pd.DataFrame(columns)


def _series(cells: Any, dtype: str) -> Any:
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
        return pd.Series(cells, dtype=_dtype(dtype))
    except UnicodeEncodeError:  # half of a surrogate pair, which Arrow cannot hold
        whole = [cell and cell.encode("utf-8", "replace").decode() for cell in cells]
        return pd.Series(whole, dtype=_dtype(dtype))


def _dtype(name: str) -> Any:
    if name != "status":
        return name
    import pandas as pd

    return pd.CategoricalDtype([status.value for status in Status], ordered=False)


def _in_order(made: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    rows = {job_id: row for row, job_id in enumerate(made["id"])}
    return made.take([rows[one] for one in dict.fromkeys(order) if one in rows]).reset_index(
        drop=True
    )


# --- listings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing as it came, and its frame. Jobs are made of it only where somebody wants them."""

    service: str
    frame: pd.DataFrame
    replies: tuple[Reply, ...]

    def jobs(self, wanted: frozenset[str] | None = None) -> Iterator[Job]:
        """Its jobs, whole; or those with these ids, which costs little more than they are."""
        reader = _tasks_in if self.service == "mj" else _details_in
        for reply in self.replies:
            for job in reader(reply, wanted):
                if wanted is None or job.id in wanted:
                    yield job

    def news(self, known: pd.DataFrame) -> frozenset[str]:
        """The ids of what moved against `known`, a frame of the same jobs as they were seen
        before.
        """
        was = _moves(known).drop_duplicates("id", keep="last").set_index("id")
        now = _moves(self.frame).set_index("id")
        same = (was.reindex(now.index, fill_value=-2).to_numpy() == now.to_numpy()).all(axis=1)
        return frozenset(now.index[~same].dropna())


def _moves(jobs: pd.DataFrame) -> pd.DataFrame:
    """What changes when a job moves, in numbers: they compare at once."""
    progress = jobs["progress"].fillna(-1).astype("int64")
    return jobs[["id"]].assign(status=jobs["status"].cat.codes.astype("int64"), progress=progress)


class _Ids(msgspec.Struct, gc=False):
    id: Any = None
    mj_id: Any = None


def _tasks_in(reply: Reply, wanted: frozenset[str] | None) -> Iterable[Job]:
    if wanted is None or reply.body[:1] != b"[":
        return midjourney.read_tasks(reply)
    try:
        ids = msgspec.json.decode(reply.body, type=list[_Ids])
        tasks = msgspec.json.decode(reply.body, type=list[msgspec.Raw])
    except msgspec.DecodeError:  # something else among the tasks, or more than the standard's JSON
        return midjourney.read_tasks(reply)
    pairs = zip(tasks, ids, strict=True)
    chosen = (bytes(task) for task, one in pairs if midjourney.first(one.id, one.mj_id) in wanted)
    return (midjourney.job_of(json.loads(task)) for task in chosen)


def _details_in(reply: Reply, wanted: frozenset[str] | None) -> Iterable[Job]:
    if wanted is not None:
        place = tencent_ci.WIRES.index("JobId")
        if wanted.isdisjoint(row[place] or "" for row in tencent_ci.read_rows(reply).items):
            return ()
    return tencent_ci.read_page(reply).items


# --- tasks from JSON ------------------------------------------------------------------------------


def _frame_of_array(body: bytes) -> pd.DataFrame:
    try:
        with collecting_later():
            wires, height = _wires(body)
            return _frame_of_wires("mj", midjourney.TASK, wires, height)
    except (
        msgspec.DecodeError,
        ValueError,
    ):  # NaN, half a surrogate pair, …: json knows more than the standard
        return frame(midjourney.read_tasks(Reply(200, body)))


def _frame_of_parts(body: bytes, at_a_time: int) -> pd.DataFrame:
    import pandas as pd

    try:
        tasks = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return _frame_of_array(body)
    parts = [tasks[at : at + at_a_time] for at in range(0, len(tasks), at_a_time)] or [[]]
    return pd.concat(
        [_frame_of_array(b"[%b]" % b",".join(part)) for part in parts], ignore_index=True
    )


def _wires(body: bytes) -> tuple[dict[str, Wire], int]:
    """The wanted fields of every task, by field. Nearly always all values are of the usual types,
    which decoding checks in passing; else it is done again with any types, which then are looked
    at.
    """
    try:
        rows, sure = _USUAL.decode(body), _SURE
    except msgspec.ValidationError:
        rows, sure = [row for row in _ANY.decode(body) if isinstance(row, msgspec.Struct)], {}
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
        field: Wire(told, sure.get(field) or frozenset(kind)) for field, told, kind in found
    }, len(rows)


# --- columns of the wire --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wire:
    """The values of one wire field, and the types that occur among them (or more)."""

    values: Sequence[Any]
    kinds: Kinds


Kinds = frozenset[type]
NOTHING: Kinds = frozenset({type(None)})
TEXT: Kinds = frozenset({str, type(None)})
WHOLE: Kinds = frozenset({int, type(None)})

Table = tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...]
_CELL = {column.name: column.cell for column in COLUMNS}


def _frame_of_wires(
    service: str, table: Table, wires: Mapping[str, Wire], height: int
) -> pd.DataFrame:
    made: dict[str, Any] = {name: [None] * height for name in _CELL}
    made["service"] = [service] * height
    for name, fields, read in table:
        if name in _CELL:
            made[name] = _cells(read, _CELL[name], [wires[field] for field in fields])
    return _assembled(made)


def _cells(read: Callable[..., Any], cell: Callable[[Any], Any], wires: Sequence[Wire]) -> Any:
    quick = QUICK.get(read)
    made = quick(*wires) if quick else None
    if made is not None:
        return made
    values = zip(*(wire.values for wire in wires), strict=True)
    if all(wire.kinds <= TEXT for wire in wires):  # then they can be remembered, and many are alike
        known = lru_cache(65_536)(lambda *told: cell(read(*told)))
        return [known(*told) for told in values]
    return [cell(read(*told)) for told in values]


# Each of these makes the cells of a whole column from its wire fields, or None where they are not
# of the usual kind.


def _texts(told: Wire) -> Any:
    return [text or None for text in told.values] if told.kinds <= TEXT else None


def _own_marks(told: Wire) -> Any:
    if not told.kinds <= TEXT:
        return None
    return [None if not text or text.startswith(MARK) else text for text in told.values]


def _firsts(*told: Wire) -> Any:
    some = [wire for wire in told if wire.kinds != NOTHING]
    if not some or len(some) > 2 or not all(wire.kinds <= TEXT for wire in some):
        return None
    return [
        one or other or None for one, other in zip(some[0].values, some[-1].values, strict=True)
    ]


def _statuses(told: Wire) -> Any:
    if not told.kinds <= TEXT:
        return None
    import numpy as np
    import pandas as pd

    places = {status: place for place, status in enumerate(Status)}
    codes = {word: places[midjourney.status(word)] for word in set(told.values)}
    found = np.fromiter(map(codes.__getitem__, told.values), np.int8, len(told.values))
    return pd.Categorical.from_codes(found, dtype=_dtype("status"))  # type: ignore[call-overload,unused-ignore]


def _percents(told: Wire) -> Any:
    if not told.kinds <= TEXT:
        return None
    import numpy as np
    import pandas as pd

    read = {word: midjourney.progress(word) for word in set(told.values)}
    known = {word: -1 if percent is None else percent for word, percent in read.items()}
    found = np.fromiter(map(known.__getitem__, told.values), np.int64, len(told.values))
    return pd.arrays.IntegerArray(found, found < 0)


def _moments(told: Wire) -> Any:
    if not told.kinds <= WHOLE:
        return None
    import numpy as np
    import pandas as pd

    try:
        number = np.array([value or 0 for value in told.values], np.int64)
    except OverflowError:
        return None
    number[(number < 0) | (number >= midjourney.BEYOND)] = 0
    micro = number * np.where(number >= midjourney.SECONDS, 1_000, 1_000_000)
    micro[number == 0] = np.iinfo(np.int64).min  # NaT
    return pd.Series(micro.view("datetime64[us]")).dt.tz_localize("UTC")


def _results(told_status: Wire, *told: Wire) -> Any:
    some = [wire for wire in told if wire.kinds != NOTHING]
    if (
        not told_status.kinds <= TEXT
        or len(some) > 1
        or not all(wire.kinds <= TEXT for wire in some)
    ):
        return None
    done = {word: midjourney.status(word) is Status.SUCCEEDED for word in set(told_status.values)}
    urls = some[0].values if some else [None] * len(told_status.values)
    return [
        url or None if done[word] else None
        for word, url in zip(told_status.values, urls, strict=True)
    ]


def _parents(told: Wire, description: Wire) -> Any:
    if not (told.kinds <= TEXT and description.kinds <= TEXT):
        return None
    pairs = zip(told.values, description.values, strict=True)
    return [
        midjourney.parent(parent, words) or None
        if parent or (words and words[:3] in ("/up", "/ch"))
        else None
        for parent, words in pairs
    ]


# The same for CI. Its rows hold nothing but texts, without blanks around them.


def _leaves(told: Wire) -> Any:
    return [None if text == "-" else text for text in told.values]


def _own_leaves(told: Wire) -> Any:
    return [
        None if not text or text == "-" or text.startswith(MARK) else text for text in told.values
    ]


def _first_leaves(*told: Wire) -> Any:
    *others, found = map(_leaves, told)
    for other in reversed(others):
        found = [one or last for one, last in zip(other, found, strict=True)]
    return found


_STAMP = re.compile(r"(?:(?:[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\+0800|-)\n)*", re.ASCII).fullmatch


def _stamps(told: Wire) -> Any:
    if not _STAMP("".join([f"{text or '-'}\n" for text in told.values])):
        return None
    import numpy as np
    import pandas as pd

    try:
        local = np.array(
            ["NaT" if not text or text == "-" else text[:19] for text in told.values],
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
_MARK = re.compile(rb"::([0-9A-Za-z-]{16,})")


Alike = tuple[
    int, int, list[bytes], str | None
]  # where the mark is, the pieces around it, the names


def _button_names(told: Wire) -> list[str | None]:
    made, marks = _names_by_likeness(told.values)
    # A mark of letters and digits cannot end the text that it stands in; then likeness means
    # sameness.
    if marks and not b"".join(marks).replace(b"-", b"").isalnum():
        return [_names_in(bytes(raw)) for raw in told.values]
    return made


def _names_by_likeness(values: Sequence[Any]) -> tuple[list[str | None], list[bytes]]:
    """The names of each, and the marks by which they were found."""
    known: dict[int, Alike] = {}  # by length
    start, end, pieces, names = _UNLIKE
    made: list[str | None] = []
    marks: list[bytes] = []
    for written in map(bytes, values):
        mark = written[start:end]
        if mark.join(pieces) != written:
            start, end, pieces, names = known.get(len(written), _UNLIKE)
            mark = written[start:end]
            if mark.join(pieces) != written:
                names = _names_in(written)
                start, end, pieces, names = known[len(written)] = _alike(written, names)
                mark = b""
        if mark:
            marks.append(mark)
        made.append(names)
    return made, marks


def _names_in(written: bytes) -> str | None:
    return _names(midjourney.buttons(msgspec.json.decode(written)))


_UNLIKE: Alike = (0, 0, [], None)


def _alike(written: bytes, names: str | None) -> Alike:
    """What others may be compared with. Where the mark stands after "::" (so inside texts), no
    letter is escaped and no name shows it, it may be another one; else everything has to be the
    same.
    """
    found = _MARK.search(written)
    if found is None or b"\\" in written or found[1].decode() in (names or ""):
        return 0, 0, [written], names
    pieces = written.split(found[1])
    if not all(piece.endswith(b"::") for piece in pieces[:-1]):
        return 0, 0, [written], names
    return found.start(1), found.end(1), pieces, names


QUICK: dict[Callable[..., Any], Callable[..., Any]] = {
    midjourney.text: _texts,
    midjourney.own_mark: _own_marks,
    midjourney.first: _firsts,
    midjourney.status: _statuses,
    midjourney.progress: _percents,
    midjourney.moment: _moments,
    midjourney.outputs: _results,
    midjourney.buttons: _button_names,
    midjourney.parent: _parents,
    tencent_ci.text: _leaves,
    tencent_ci.own_mark: _own_leaves,
    tencent_ci.first: _first_leaves,
    tencent_ci.moment: _stamps,
}


# --- how tasks are decoded ------------------------------------------------------------------------

_WORDS = (
    midjourney.text,
    midjourney.own_mark,
    midjourney.first,
    midjourney.status,
    midjourney.progress,
)
_USUALLY: dict[Callable[..., Any], tuple[Any, Kinds]] = {
    midjourney.moment: (int | None, WHOLE),
    **dict.fromkeys(_WORDS, (str | None, TEXT)),
}
_READ_BY = {
    field: read
    for name, fields, read in reversed(midjourney.TASK)
    if name in _CELL
    for field in fields
}
_FIELDS = tuple(_READ_BY)
_SURE = {field: _USUALLY[read][1] for field, read in _READ_BY.items() if read in _USUALLY}


def _decoder(kinds: Mapping[str, Any], otherwise: Any) -> msgspec.json.Decoder[Any]:
    """For an array of tasks. Buttons stay as they are written."""
    others = [field for field in _FIELDS if field != "buttons"]
    fields: list[tuple[str, Any, Any]] = [(field, kinds.get(field, Any), None) for field in others]
    fields.insert(_FIELDS.index("buttons"), ("buttons", msgspec.Raw, msgspec.Raw(b"null")))
    task = msgspec.defstruct("Task", fields, gc=False)
    return msgspec.json.Decoder(list[task | otherwise] if otherwise else list[task])  # type: ignore[valid-type]


_USUAL = _decoder(
    {field: _USUALLY[read][0] for field, read in _READ_BY.items() if read in _USUALLY}, None
)
_ANY = _decoder({}, str | int | float | bool | None | list)
