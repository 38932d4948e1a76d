"""The registry of operations, and constructors for their parameters.

Each operation is one function marked `@operation` with the table
of its parameters. Parsing, formatting, defaults, error messages,
panels and documentation all read `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jupyter_mjci.imaging.geometry import GRAVITIES
from jupyter_mjci.imaging.model import OperationSpec, Parameter, WorkingImage

OPERATIONS: dict[str, OperationSpec] = {}

OperationFunction = Callable[..., WorkingImage]


def operation(
    name: str, help: str, *parameters: Parameter
) -> Callable[[OperationFunction], OperationFunction]:
    """Register a function as an operation.

    It is called with the image, and with every parameter as a
    keyword ("-" in its name becomes "_").
    """

    def register(function: OperationFunction) -> OperationFunction:
        OPERATIONS[name] = OperationSpec(name, help, parameters, function)
        return function

    return register


def integer_parameter(
    name: str, low: int, high: int, help: str, default: str | None = None
) -> Parameter:
    expected = f"an integer from {low} to {high}"
    return Parameter(name, help, expected, minimum=low, maximum=high, default=default)


def choice_parameter(
    name: str, choices: Sequence[str], help: str, default: str | None = None
) -> Parameter:
    expected = "one of " + ", ".join(choices)
    return Parameter(name, help, expected, choices=tuple(choices), default=default)


def pattern_parameter(
    name: str, expected: str, pattern: str, help: str, required: bool = False
) -> Parameter:
    return Parameter(name, help, expected, pattern=pattern, required=required)


def encoded_parameter(
    name: str,
    help: str,
    expected: str = "text",
    pattern: str = "",
    default: str | None = None,
    required: bool = False,
) -> Parameter:
    """A text that is URL-safe base64 in the rule."""
    expected = f"{expected}, in URL-safe base64"
    return Parameter(
        name, help, expected, pattern=pattern, default=default, encoded=True, required=required
    )


def color_parameter(name: str, help: str, default: str) -> Parameter:
    return encoded_parameter(name, help, "#RRGGBB", "#[0-9A-Fa-f]{6}", default)


def flag_parameter(name: str, help: str) -> Parameter:
    return Parameter(name, help, "no value", flag=True)


def switch_parameter(name: str, help: str, default: str | None = "0") -> Parameter:
    """A choice of 0 (off) and 1 (on)."""
    return choice_parameter(name, ("0", "1"), help, default)


def gravity_parameter(default: str | None) -> Parameter:
    help = "where in the picture; offsets point inward from there"
    return choice_parameter("gravity", tuple(GRAVITIES), help, default)


OFFSET_PARAMETERS = (
    integer_parameter(
        "dx", 0, 99_999, "pixels from the left or right edge; ignored in the middle column", "0"
    ),
    integer_parameter(
        "dy", 0, 99_999, "pixels from the top or bottom edge; ignored in the middle row", "0"
    ),
)
