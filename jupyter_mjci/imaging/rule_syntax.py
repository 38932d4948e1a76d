from __future__ import annotations

import base64
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jupyter_mjci.imaging import operations, watermarks  # noqa: F401  (importing registers their operations)
from jupyter_mjci.imaging.codecs import build_original_result, build_result, load_image
from jupyter_mjci.imaging.model import (
    MAX_WATERMARKS,
    ObjectLoader,
    Operation,
    OperationSpec,
    Parameter,
    RuleError,
    RuleResult,
    WorkingImage,
)
from jupyter_mjci.imaging.registry import OPERATIONS

TWO_PART_OPERATIONS = ("imageView2", "watermark")  # their name has two parts
BLIND_WATERMARKS = ("watermark/3", "watermark/4")
JSON_OPERATIONS = ("imageInfo", "imageAve", "exif")


def parse_rule(rule: str) -> tuple[Operation, ...]:
    """The operations of a rule, checked. Raises RuleError, which names the key and the accepted
    form.
    """
    if not rule:
        raise RuleError("the rule is empty")
    operations = tuple(_parse_operation(part) for part in rule.split("|"))
    for each in operations[:-1]:
        if each.name in JSON_OPERATIONS:
            raise RuleError(f"{each.name} answers with JSON and must stand alone or last")
    if sum(each.name == "watermark/1" for each in operations) > MAX_WATERMARKS:
        raise RuleError(f"watermark/1: at most {MAX_WATERMARKS} picture watermarks in one rule")
    return operations


def format_rule(operations: Sequence[Operation]) -> str:
    """The rule as it goes over the wire; the inverse of `parse`."""
    return "|".join("/".join([each.name, *_iter_tokens(each)]) for each in operations)


def split_steps(rule: str) -> tuple[tuple[Operation, ...], ...]:
    """The steps that each operation of a rule comes to, in the order in which they are done; each
    with its own parameters, the one that starts it first: what a form shows as blocks. Raises
    RuleError.
    """
    return tuple(
        tuple(Operation(kind.name, tuple(values.items())) for kind, values in _plan_steps(each))
        for each in parse_rule(rule)
    )


def join_steps(steps: Sequence[Sequence[Operation]]) -> str:
    """The rule that comes to these steps; the inverse of `steps`."""
    return format_rule([_merge_steps(group) for group in steps if group])


def _merge_steps(steps: Sequence[Operation]) -> Operation:
    first = steps[0]
    if not first.name.startswith("imageMogr2/"):
        return first
    return Operation("imageMogr2", tuple(pair for step in steps for pair in step.parameters))


def _iter_tokens(operation: Operation) -> Iterator[str]:
    for name, value in operation.parameters:
        parameter = _get_parameter(operation.name, name)
        yield name
        if not parameter.flag:
            yield encode_base64(value) if parameter.encoded else value


def encode_base64(text: str) -> str:
    """URL-safe base64 without padding, as the rules want it."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_base64(encoded: str) -> str:
    """The text behind URL-safe base64, with or without padding; the standard alphabet is understood
    too. Raises ValueError.
    """
    bare = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()


def _parse_operation(part: str) -> Operation:
    name, *tokens = part.split("/")
    if name in TWO_PART_OPERATIONS and tokens:
        name = f"{name}/{tokens.pop(0)}"
    if name in BLIND_WATERMARKS:
        raise RuleError(
            f"{name}: blind watermarks are not offered here; accepted are watermark/1 and watermark/2"
        )
    if name != "imageMogr2" and name not in OPERATIONS:
        raise RuleError(_describe_unknown(name, [*OPERATIONS, "imageMogr2"], "operation"))
    if tokens and not tokens[-1]:
        tokens.pop()  # a slash at the end says nothing
    operation = Operation(name, tuple(_parse_parameters(name, tokens)))
    _plan_steps(operation)
    return operation


def _parse_parameters(name: str, tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(tokens)
    for key in rest:
        parameter = _get_parameter(name, key)
        if parameter.flag:
            yield key, ""
            continue
        wire = next(rest, "")
        try:
            plain = decode_base64(wire) if parameter.encoded else wire
            if not plain:
                raise ValueError(wire)
            parameter.parse(plain)
        except ValueError:
            raise RuleError(
                f"{name}/{key} must be {parameter.expected}; got {wire[:80]!r}"
            ) from None
        yield key, plain


def _get_parameter(name: str, key: str) -> Parameter:
    known = _get_parameters(name)
    if key not in known:
        raise RuleError(
            _describe_unknown(f"{name}/{key}", [f"{name}/{each}" for each in known], "key")
        )
    return known[key]


def _get_parameters(name: str) -> dict[str, Parameter]:
    kinds = _get_operation_specs(name)
    return {parameter.name: parameter for kind in kinds for parameter in kind.parameters}


def _get_operation_specs(name: str) -> list[OperationSpec]:
    if name in OPERATIONS:
        return [OPERATIONS[name]]
    return [kind for known, kind in OPERATIONS.items() if known.startswith(name + "/")]


def _describe_unknown(name: str, known: Sequence[str], label: str) -> str:
    close = difflib.get_close_matches(name[:80], known, 1)
    hint = f"did you mean {close[0]}?" if close else "accepted are " + ", ".join(known)
    return f"{name[:80]} is no known {label}; {hint}"


OperationStep = tuple[OperationSpec, dict[str, str]]


def apply_rule(
    rule: str, picture: bytes, *, load_object: ObjectLoader = lambda _: None
) -> RuleResult:
    """Apply a rule to a picture. `load_object` gives the bytes of a watermark picture by its URL.
    Raises RuleError and nothing else; the same arguments always give the same bytes."""
    operations = parse_rule(rule)
    try:
        return build_result(_run_operations(operations, load_image(picture, load_object)))
    except RuleError:
        if not any(("ignore-error", "1") in each.parameters for each in operations):
            raise
        return build_original_result(picture)


def _run_operations(operations: Sequence[Operation], picture: WorkingImage) -> WorkingImage:
    for each in operations:
        for kind, values in _plan_steps(each):
            picture = replace(kind.function(picture, **_parse_values(kind, values)), modified=True)
    return picture


def _parse_values(spec: OperationSpec, values: Mapping[str, str]) -> dict[str, Any]:
    """Every parameter of the operation under its Python name, read, or its default."""
    texts = {each.name: values.get(each.name, each.default) for each in spec.parameters}
    return {
        each.name.replace("-", "_"): None
        if (value := texts[each.name]) is None
        else each.parse(value)
        for each in spec.parameters
    }


def _plan_steps(operation: Operation) -> list[OperationStep]:
    """What to run, in order. An imageMogr2 is several steps; gravity, pad and their like belong to
    the step before them that knows them, or else to the next one.
    """
    kinds = _get_operation_specs(operation.name)
    if operation.name in OPERATIONS:
        return [_check_required(kinds[0], dict(operation.parameters))]
    starts = {kind.key: kind for kind in kinds}
    steps: list[OperationStep] = []
    waiting: dict[str, str] = {}
    for name, value in operation.parameters:
        if name in starts:
            kind = starts[name]
            early = {key: waiting.pop(key) for key in tuple(waiting) if kind.find_parameter(key)}
            steps.append((kind, {name: value, **early}))
            continue
        owner = next((step for step in reversed(steps) if step[0].find_parameter(name)), None)
        (owner[1] if owner else waiting)[name] = value
    if waiting:
        raise RuleError(
            f"imageMogr2/{next(iter(waiting))} says nothing without {_describe_owners(kinds, next(iter(waiting)))}"
        )
    return sorted(steps, key=lambda step: step[0].key != "auto-orient")


def _describe_owners(specs: Sequence[OperationSpec], name: str) -> str:
    return " or ".join(kind.key for kind in specs if kind.find_parameter(name))


def _check_required(spec: OperationSpec, values: dict[str, str]) -> OperationStep:
    for parameter in spec.parameters:
        if parameter.required and parameter.name not in values:
            raise RuleError(
                f"{spec.name}/{parameter.name} is missing; it must be {parameter.expected}"
            )
    return spec, values
