from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jupyter_mjci.imaging.geometry import GRAVITIES
from jupyter_mjci.imaging.model import OperationSpec, Parameter, WorkingImage

OPERATIONS: dict[str, OperationSpec] = {}


def operation(
    name: str, help: str, *parameters: Parameter
) -> Callable[[Callable[..., WorkingImage]], Callable[..., WorkingImage]]:
    """Enter a function into OPERATIONS. It is called with the picture and with every parameter by
    name.
    """

    def enter(function: Callable[..., WorkingImage]) -> Callable[..., WorkingImage]:
        OPERATIONS[name] = OperationSpec(name, help, parameters, function)
        return function

    return enter


def integer_parameter(name: str, low: int, high: int, help: str, **more: Any) -> Parameter:
    return Parameter(
        name, help, f"an integer from {low} to {high}", minimum=low, maximum=high, **more
    )


def choice_parameter(name: str, choices: Sequence[str], help: str, **more: Any) -> Parameter:
    return Parameter(name, help, "one of " + ", ".join(choices), choices=tuple(choices), **more)


def pattern_parameter(name: str, expected: str, pattern: str, help: str, **more: Any) -> Parameter:
    return Parameter(name, help, expected, pattern=pattern, **more)


def encoded_parameter(name: str, help: str, expected: str = "text", **more: Any) -> Parameter:
    return Parameter(name, help, f"{expected}, in URL-safe base64", encoded=True, **more)


def color_parameter(name: str, help: str, default: str) -> Parameter:
    return encoded_parameter(name, help, "#RRGGBB", pattern="#[0-9A-Fa-f]{6}", default=default)


def flag_parameter(name: str, help: str) -> Parameter:
    return Parameter(name, help, "no value", flag=True)


FORMATS = ("jpg", "jpeg", "yjpeg", "png", "gif", "bmp", "webp", "avif", "heif", "tpg")
INTEGER_PATTERN = "([0-9]{1,6})"


def gravity_parameter(default: str | None) -> Parameter:
    return choice_parameter(
        "gravity",
        tuple(GRAVITIES),
        "where in the picture; offsets point inward from there",
        default=default,
    )


def offset_parameters() -> tuple[Parameter, Parameter]:
    return (
        integer_parameter(
            "dx",
            0,
            99_999,
            "pixels from the left or right edge; ignored in the middle column",
            default="0",
        ),
        integer_parameter(
            "dy",
            0,
            99_999,
            "pixels from the top or bottom edge; ignored in the middle row",
            default="0",
        ),
    )


IGNORE_ERROR = choice_parameter(
    "ignore-error",
    ("0", "1"),
    "1: answer with the original picture instead of an error",
    default="0",
)
QUALITY_EXPECTED = "1 to 100, with ! to force it"
QUALITY_PATTERN = "(100|[1-9][0-9]?)!?"
