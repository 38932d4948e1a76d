"""Parse, format and apply picture rules ("imageMogr2/thumbnail/200x|watermark/2/text/…").

A rule is operations joined by "|"; an operation is a name and its
keys and values joined by "/". A rule is parsed into plain values
first, and everything wrong with it is found there, before any
image is opened. Its operations then turn one `WorkingImage` into
the next, in written order, but auto-orient is always first within
its imageMogr2.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

# Importing these two modules registers their operations.
import jupyter_mjci.imaging.operations
import jupyter_mjci.imaging.watermarks  # noqa: F401
from jupyter_mjci.imaging.codecs import build_original_result, build_result, load_image
from jupyter_mjci.imaging.model import (
    MAX_PIPES,
    MAX_WATERMARKS,
    ObjectLoader,
    Operation,
    OperationSpec,
    Parameter,
    RuleError,
    RuleResult,
    UnknownRuleWord,
    WorkingImage,
)
from jupyter_mjci.imaging.registry import OPERATIONS

# named "imageView2/1", "watermark/2"
TWO_PART_OPERATIONS = ("imageView2", "watermark")
MODELESS_KEYS = {
    "imageView2": tuple(parameter.name for parameter in OPERATIONS["imageView2"].parameters)
}
BLIND_WATERMARKS = ("watermark/3", "watermark/4")
JSON_OPERATIONS = ("imageInfo", "imageAve", "exif")

# From how similar on a word is taken for a misspelt one.
MIN_SIMILARITY = 0.75

OperationStep = tuple[OperationSpec, dict[str, str]]


@lru_cache(maxsize=1024)
def parse_rule(rule: str) -> tuple[Operation, ...]:
    """Parse and check a rule.

    Raises:
        RuleError: names the key that is wrong and what it accepts
    """
    if not rule:
        raise RuleError("the rule is empty")
    if rule.count("|") > MAX_PIPES:
        raise RuleError(f"a rule has at most {MAX_PIPES} pipes; got {rule.count('|')}")
    parsed = tuple(_parse_operation(part) for part in rule.split("|"))
    names = [operation.name for operation in parsed]
    for name in names[:-1]:
        if name in JSON_OPERATIONS:
            raise RuleError(f"{name} answers with JSON and must stand alone or last")
    if names.count("watermark/1") > MAX_WATERMARKS:
        raise RuleError(f"watermark/1: at most {MAX_WATERMARKS} picture watermarks in one rule")
    return parsed


def format_rule(operations: Sequence[Operation]) -> str:
    """Return the rule as it goes over the wire; the inverse of `parse_rule`."""
    parts = ["/".join([operation.name, *_iter_tokens(operation)]) for operation in operations]
    return "|".join(parts)


def split_steps(rule: str) -> tuple[tuple[Operation, ...], ...]:
    """Split each operation of a rule into its steps, in the order in which they are applied.

    An imageMogr2 with several keys is several steps. The
    parameter that starts a step comes first.

    Raises:
        RuleError: the rule is wrong
    """
    groups = []
    for operation in parse_rule(rule):
        steps = _plan_steps(operation)
        groups.append(tuple(Operation(spec.name, tuple(values.items())) for spec, values in steps))
    return tuple(groups)


def join_steps(groups: Sequence[Sequence[Operation]]) -> str:
    """Return the rule that consists of these steps; the inverse of `split_steps`."""
    return format_rule([_merge_steps(steps) for steps in groups if steps])


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
    """Encode as URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_base64(encoded: str) -> str:
    """Decode base64 of either alphabet, with or without padding.

    Raises:
        ValueError: the text is not base64 of UTF-8
    """
    bare = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()


def _parse_operation(part: str) -> Operation:
    name, *tokens = part.split("/")
    # imageView2 also goes without a mode, straight to its keys.
    if name in TWO_PART_OPERATIONS and tokens and tokens[0] not in MODELESS_KEYS.get(name, ()):
        name = f"{name}/{tokens.pop(0)}"
    if name in BLIND_WATERMARKS:
        raise UnknownRuleWord(
            f"{name}: blind watermarks are not supported; accepted: watermark/1, watermark/2"
        )
    if name != "imageMogr2" and name not in OPERATIONS:
        raise _build_unknown_error(name, [*OPERATIONS, "imageMogr2"], "operation")
    if tokens and not tokens[-1]:
        tokens.pop()  # a trailing slash has no meaning
    if name in MODELESS_KEYS and not tokens:
        raise RuleError(f"{name} needs a mode, as in {name}/1/w/200, or keys such as format")
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
            text = decode_base64(wire) if parameter.encoded else wire
            if not text:
                raise ValueError(wire)
            parameter.parse(text)
        except ValueError:
            raise RuleError(
                f"{name}/{key} must be {parameter.expected}; got {wire[:80]!r}"
            ) from None
        yield key, text


def _get_parameter(name: str, key: str) -> Parameter:
    parameters = _get_parameters(name)
    if key not in parameters:
        known = [f"{name}/{other}" for other in parameters]
        raise _build_unknown_error(f"{name}/{key}", known, "key")
    return parameters[key]


def _get_parameters(name: str) -> dict[str, Parameter]:
    specs = _get_operation_specs(name)
    return {parameter.name: parameter for spec in specs for parameter in spec.parameters}


def _get_operation_specs(name: str) -> list[OperationSpec]:
    if name in OPERATIONS:
        return [OPERATIONS[name]]
    return [spec for known, spec in OPERATIONS.items() if known.startswith(name + "/")]


def _build_unknown_error(name: str, known: Sequence[str], label: str) -> UnknownRuleWord:
    name = name[:80]
    hint = f"accepted: {', '.join(known) or 'none'}"
    for match in difflib.get_close_matches(name, known, 1):
        hint = f"did you mean {match}?"
    # The last words alone: "imageMogr2/animate" is near to
    # "imageMogr2/rotate" because of what they share.
    words = {other.rpartition("/")[2]: other for other in known}
    close = difflib.get_close_matches(name.rpartition("/")[2], words, 1, MIN_SIMILARITY)
    suggestion = words[close[0]] if close else ""
    return UnknownRuleWord(f"{name} is not a known {label}; {hint}", suggestion)


def find_mistake(rule: str) -> RuleError | None:
    """Return what is certainly wrong with a rule; None also for words that only the service knows.

    A word that is unknown here is a mistake if it is nearly a
    known one.
    """
    try:
        parse_rule(rule)
    except UnknownRuleWord as error:
        return error if error.suggestion else None
    except RuleError as error:
        return error
    return None


def _plan_steps(operation: Operation) -> list[OperationStep]:
    """Return what to apply, in order.

    An imageMogr2 is several steps. A key that starts no step
    (gravity, pad) belongs to the latest step before it that knows
    it, or else to the next one.
    """
    specs = _get_operation_specs(operation.name)
    if operation.name in OPERATIONS:
        return [_check_required(specs[0], dict(operation.parameters))]
    specs_by_key = {spec.key: spec for spec in specs}
    steps: list[OperationStep] = []
    pending: dict[str, str] = {}
    for name, value in operation.parameters:
        if name in specs_by_key:
            spec = specs_by_key[name]
            steps.append((spec, {name: value, **_take_known(spec, pending)}))
            continue
        _find_values(steps, name, pending)[name] = value
    for name in pending:
        owners = " or ".join(spec.key for spec in specs if spec.find_parameter(name))
        raise RuleError(f"imageMogr2/{name} has no effect without {owners}")
    return sorted(steps, key=lambda step: step[0].key != "auto-orient")


def _take_known(spec: OperationSpec, pending: dict[str, str]) -> dict[str, str]:
    """Remove from `pending` and return the values that the operation has a parameter for."""
    known = [name for name in pending if spec.find_parameter(name)]
    return {name: pending.pop(name) for name in known}


def _find_values(
    steps: Sequence[OperationStep], name: str, default: dict[str, str]
) -> dict[str, str]:
    """Return the values of the latest step that has the parameter."""
    for spec, values in reversed(steps):
        if spec.find_parameter(name):
            return values
    return default


def _check_required(spec: OperationSpec, values: dict[str, str]) -> OperationStep:
    for parameter in spec.parameters:
        if parameter.required and parameter.name not in values:
            raise RuleError(
                f"{spec.name}/{parameter.name} is missing; it must be {parameter.expected}"
            )
    return spec, values


def apply_rule(
    rule: str,
    picture: bytes,
    *,
    load_object: ObjectLoader = lambda _: None,
    decoded: WorkingImage | None = None,
) -> RuleResult:
    """Apply a rule to an image. The same arguments always give the same bytes.

    Args:
        picture: the bytes of an image file
        load_object: returns the bytes of a watermark image by its
            URL or key, or None
        decoded: the same picture, where it has been decoded already

    Raises:
        RuleError: the rule is wrong, or the image is damaged or
            too large; nothing else is raised
    """
    operations = parse_rule(rule)
    try:
        image = decoded or load_image(picture, load_object)
        return build_result(_run_operations(operations, image))
    except RuleError:
        if any(("ignore-error", "1") in operation.parameters for operation in operations):
            return build_original_result(picture)
        raise


def _run_operations(operations: Sequence[Operation], picture: WorkingImage) -> WorkingImage:
    for index, operation in enumerate(operations):
        for spec, values in _plan_steps(operation):
            picture = spec.function(picture, **_parse_values(spec, values))
            picture = replace(picture, modified=True)
        if index < len(operations) - 1:
            picture = _end_layer(picture)
    return picture


def _end_layer(picture: WorkingImage) -> WorkingImage:
    """Encode where a layer limits the size of its own result: the next one works on that."""
    if picture.size_limit is None and not picture.never_larger:
        return picture
    result = build_result(picture)
    return replace(load_image(result.body, picture.load_object), modified=True)


def _parse_values(spec: OperationSpec, texts: Mapping[str, str]) -> dict[str, object]:
    """Return every parameter of the operation under its Python
    name: parsed, its default, or None.
    """
    values: dict[str, object] = {}
    for parameter in spec.parameters:
        text = texts.get(parameter.name, parameter.default)
        name = parameter.name.replace("-", "_")
        values[name] = None if text is None else parameter.parse(text)
    return values
