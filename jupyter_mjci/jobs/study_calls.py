"""Build the calls of a study: a builder's arguments with the values of every row filled in."""

from __future__ import annotations

import hashlib
import inspect
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, build_failed_call
from jupyter_mjci.client.interpolation import PLACEHOLDER, interpolate
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.jobs.grids import Grid, Rows, check_row_count, combine, parse_grid
from jupyter_mjci.services import services

Builder = Callable[..., Call[Job]]

# The parameter that flags are added to, and the one that no two
# rows may share.
PROMPT = "prompt"
OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study is made of.

    Args:
        title: its template, in one line
        rows: the factors' values of each call
        calls: the calls, with the keys by which a later run finds
            their jobs
    """

    title: str
    rows: Rows
    calls: Sequence[Call[Job]]


def bind_arguments(
    builder: Builder, texts: Sequence[Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a builder by name, with the factors among them.

    Raises:
        InvalidRequest: there are more than it has
    """
    signature = inspect.signature(builder)
    known = {name: value for name, value in values.items() if name in signature.parameters}
    try:
        bound = signature.bind_partial(*texts, **known)
    except TypeError as error:
        raise InvalidRequest(f"The study cannot be built: {error}.") from None
    return {**bound.arguments, **values}


def plan_study(
    builder: Builder,
    arguments: Mapping[str, Any],
    *,
    grid: Grid | None = None,
    repeat: int = 1,
    key: str = "",
) -> StudyPlan:
    """Build every call of a study; nothing is sent.

    Args:
        builder: builds a call from its arguments
        arguments: its arguments, and values of factors
        grid: more factors: see `parse_grid`
        repeat: how often each combination is made
        key: tells studies apart that have calls in common; by
            default those share the jobs

    Raises:
        InvalidRequest: a factor is not used, has no values, or a
            call cannot be built; nothing was sent
    """
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise InvalidRequest(f"repeat must be a number from 1 on, not {repeat!r}.")
    parameters = _resolve_signature(builder).parameters
    rows = parse_grid(grid)
    factors = {
        name: values
        for name, values in arguments.items()
        if _is_factor(name, values, parameters, arguments)
    }
    fixed = {name: value for name, value in arguments.items() if name not in factors}
    combined = [{**row, **values} for row in rows for values in combine(factors)]
    check_row_count(len(combined) * repeat)
    names = list(combined[0])
    template = add_flags(builder, fixed, [name for name in names if name not in parameters])
    _check_placeholders(template, names)

    def build(
        row: Mapping[str, Any],
    ) -> Call[Job]:
        own = {name: value for name, value in row.items() if name in parameters}
        return builder(**{**_fill_all(template, row), **own})

    calls = build_rows(combined, build)
    if repeat > 1:
        _check_outputs(template, combined * repeat)
        repeats = range(1, repeat + 1)
        combined = [{**row, "repeat": number} for row in combined for number in repeats]
        calls = [call for call in calls for _ in repeats]
    else:
        _check_outputs(template, combined)
    return StudyPlan(_describe(builder, template), combined, add_keys(calls, key))


def _resolve_signature(builder: Builder) -> inspect.Signature:
    """Return the signature with its annotations as types, where they can be resolved."""
    try:
        return inspect.signature(builder, eval_str=True)
    except NameError:  # of an import for type checkers
        return inspect.signature(builder)


def _is_factor(
    name: str,
    values: object,
    parameters: Mapping[str, inspect.Parameter],
    arguments: Mapping[str, object],
) -> bool:
    """Return whether an argument is a factor of the study rather than one of the builder."""
    if name not in parameters:
        return True
    if name in set(iter_placeholders(arguments.values())):
        return True
    is_list = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
    return is_list and not _takes_list(parameters[name].annotation)


def _takes_list(hint: object) -> bool:
    """Return whether an annotation allows a list: Sequence[str], list[str] | None, …"""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if is_union else (hint,)
    kinds = [typing.get_origin(member) for member in members]
    return any(isinstance(kind, type) and issubclass(list, kind) for kind in kinds)


def iter_placeholders(values: Iterable[object]) -> Iterator[str]:
    """Yield the names between double braces in texts, and in lists of texts."""
    for value in values:
        if isinstance(value, str):
            yield from PLACEHOLDER.findall(value)
        elif isinstance(value, (list, tuple)):
            yield from iter_placeholders(value)


def add_flags(
    builder: Builder, arguments: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    """Return a builder's arguments with a place for every factor.

    A factor without one is a flag of the prompt.

    Args:
        builder: the builder, bound to its API
        arguments: its arguments, with placeholders
        names: the factors that are no parameters

    Raises:
        InvalidRequest: names the factor that has no place
    """
    template = dict(arguments)
    used = set(iter_placeholders(arguments.values()))
    for name in names:
        if name in used:
            continue
        if not _find_flag(builder, name) or not isinstance(template.get(PROMPT), str):
            raise build_unused_error(name, used)
        template[PROMPT] += f"{{{{--{name}}}}}"
    return template


def add_places(
    builder: Builder,
    arguments: dict[str, Any],
    rows: Rows,
) -> None:
    """Add to the arguments of a line a place for each factor that has none.

    A factor is a placeholder, a parameter or a flag of the prompt.
    Raises InvalidRequest for any other.
    """
    used = set(iter_placeholders(arguments.values()))
    for name in set(inspect.signature(builder).parameters).intersection(rows[0]) - used:
        if PROMPT in arguments:
            arguments[name] = f"{{{{{name}}}}}"
    arguments.update(add_flags(builder, arguments, rows[0]))


def build_unused_error(
    name: str,
    used: Iterable[str],
) -> InvalidRequest:
    """Build the error of a factor that no call would depend on."""
    return InvalidRequest(
        f"The factor {name!r} is not used.",
        detail=f"Used are: {', '.join(sorted(used)) or 'none'}.",
        hint=f"Nothing was sent. Write {{{{{name}}}}} where its values belong.",
    )


def _check_placeholders(
    template: Mapping[str, Any],
    names: Iterable[str],
) -> None:
    """Raise InvalidRequest for a placeholder without values."""
    for name in iter_placeholders(template.values()):
        if name.isidentifier() and name not in names:
            raise InvalidRequest(
                f"{name!r} has no values.",
                hint=f"Nothing was sent. Give them: {name}=[…].",
            )


def _find_flag(
    builder: Builder,
    name: str,
) -> str:
    """Return the flag of a service's prompts with a name; "" where there is none."""
    api = type(getattr(builder, "__self__", None))
    flag = f"--{name.replace('_', '-')}"
    for service in services():
        syntax = service.prompt_syntax
        if issubclass(api, service.api) and syntax is not None:
            return flag if flag.casefold() in syntax.FLAGS_BY_NAME else ""
    return ""


def build_rows(
    rows: Rows,
    build: Callable[[Mapping[str, Any]], Call[Job]],
) -> list[Call[Job]]:
    """Build the call of every row.

    Args:
        rows: the factors' values
        build: builds a call from the values of a row; the text
            of a flag has the name "--stylize"

    Raises:
        InvalidRequest: names the row that cannot be built
    """

    def build_with_flags(row: Mapping[str, Any]) -> Call[Job]:
        flags = {}
        for name, value in row.items():
            flags[f"--{name}"] = _format_flag(name, value)
        return build({**row, **flags})

    labels = map(describe_row, rows)
    return build_each(labels, rows, build_with_flags)


def build_each(
    labels: Iterable[str],
    rows: Iterable[Mapping[str, Any]],
    build: Callable[[Mapping[str, Any]], Call[Job]],
) -> list[Call[Job]]:
    """Build the call of every row.

    A row for which the builder fails with an error that is none
    of ours becomes a FailedCall: it will fail, and no other.

    Args:
        labels: what each row is called in an error
        rows: the values of each
        build: builds a call from them

    Raises:
        InvalidRequest: names the row that cannot be built, also
            where that is all of them
    """
    calls: list[Call[Job] | Exception] = []
    first = ""
    for label, row in zip(labels, rows, strict=True):
        first = first or label
        try:
            calls.append(build(row))
        except InvalidRequest as error:
            message = f"{label}: {error.message}"
            raise type(error)(
                message,
                detail=error.detail,
                hint=error.hint,
            ) from None
        except MjciError:
            raise
        except Exception as error:
            calls.append(error)
    return _replace_failures(first, calls)


def _replace_failures(first: str, calls: Sequence[Call[Job] | Exception]) -> list[Call[Job]]:
    built = [call for call in calls if isinstance(call, Call)]
    if calls and not built:
        error = cast(Exception, calls[0])
        raise InvalidRequest(
            f"{first}: {type(error).__name__}: {error}",
            hint="Nothing was sent.",
        ) from error
    return [call if isinstance(call, Call) else build_failed_call(built[0], call) for call in calls]


def describe_row(
    row: Mapping[str, Any],
) -> str:
    """Return the values of a row in one line: "animal='fox', seed=1"."""
    return ", ".join(f"{name}={value!r}"[:80] for name, value in row.items())


def _format_flag(
    name: str,
    value: object,
) -> str:
    """Return " --name value"; a flag that is off is left out."""
    flag = f" --{name.replace('_', '-')}"
    if value is None or value is False or value == "":
        return ""
    return flag if value is True else f"{flag} {value}"


def _fill_all(
    template: Mapping[str, Any],
    row: Mapping[str, Any],
) -> dict[str, Any]:
    return {name: _fill(value, row) for name, value in template.items()}


def _fill(
    value: Any,
    row: Mapping[str, Any],
) -> Any:
    """Replace placeholders in texts; a text that is nothing else becomes the value itself."""
    if isinstance(value, (list, tuple)):
        return [_fill(item, row) for item in value]
    if not isinstance(value, str):
        return value
    whole = PLACEHOLDER.fullmatch(value.strip())
    if whole and not isinstance(row.get(whole[1]), (str, int, float, type(None))):
        return row[whole[1]]
    return interpolate(value, {name: "" if cell is None else cell for name, cell in row.items()})


def _check_outputs(
    template: Mapping[str, Any],
    rows: Rows,
) -> None:
    """Refuse rows whose results would replace each other."""
    if len(rows) < 2 or not isinstance(template.get(OUTPUT), str):
        return
    counts = Counter(str(_fill(template[OUTPUT], row)) for row in rows)
    output, count = counts.most_common(1)[0]
    if count > 1 and "${" not in output:
        raise InvalidRequest(
            f"{count} rows would write the same {OUTPUT}: {output}",
            hint=f"Nothing was sent. Put every factor into {OUTPUT}: out/{{{{quality}}}}.jpg",
        )


def _describe(
    builder: Builder,
    template: Mapping[str, Any],
) -> str:
    """Return the template in one line."""
    if isinstance(template.get(PROMPT), str):
        prompt = re.sub(r"\{\{(--\w+)\}\}", r" \1 {{…}}", template[PROMPT])
        return " ".join(prompt.split())
    texts = [value for value in template.values() if isinstance(value, str)]
    return " ".join([getattr(builder, "__name__", "study"), *texts])


def add_keys(
    calls: Iterable[Call[Job]],
    key: str = "",
) -> list[Call[Job]]:
    """Give each call the key by which a later run finds its job.

    It is made of what is sent, so that a study that grows keeps
    its jobs. Equal calls are numbered.
    """
    seen: Counter[str] = Counter()
    keyed = []
    for call in calls:
        request = [call.service, call.name, call.path, dict(call.params), dict(call.headers)]
        text = jsonlib.dumps([key, *request]).encode() + call.body
        digest = hashlib.sha256(text).hexdigest()
        seen[digest] += 1
        keyed.append(replace(call, key=f"study {digest} {seen[digest]}"))
    return keyed
