"""Picture styles of a bucket: names for rules, used as `key!name`, `key?name` and `?style/name`.

https://cloud.tencent.com/document/product/460/30116
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)

SEPARATOR = "!"
MAX_STYLES = 100


def add_style(styles: dict[str, str], body: bytes) -> None:
    """Add or replace the style that an AddStyle describes.

    Raises:
        ErrorResponse: it is not valid, or there are too many
    """
    request = parse_xml(body, "AddStyle")
    name = require_text(request, "StyleName")
    if not re.fullmatch(r"[\w.-]{1,64}", name):
        raise invalid_argument("StyleName must be letters, digits, _, - and ., at most 64.")
    if name not in styles and len(styles) >= MAX_STYLES:
        raise invalid_argument(f"A bucket has at most {MAX_STYLES} styles.")
    styles[name] = require_text(request, "StyleBody").lstrip("?")


def render_styles(styles: Mapping[str, str], body: bytes) -> Element:
    """Render a StyleList: of all styles, or of the one that a GetStyle names.

    Raises:
        ErrorResponse: there is no such style
    """
    wanted = ""
    if body.strip():
        wanted = get_text(parse_xml(body, "GetStyle"), "StyleName")
    if wanted:
        check_style(styles, wanted)
        styles = {wanted: styles[wanted]}
    rows = [{"StyleName": name, "StyleBody": rule} for name, rule in styles.items()]
    return {"StyleRule": rows}


def delete_style(styles: dict[str, str], body: bytes) -> None:
    """Delete the style that a DeleteStyle names, if there is one."""
    styles.pop(require_text(parse_xml(body, "DeleteStyle"), "StyleName"), None)


def check_style(styles: Mapping[str, str], name: str) -> None:
    """Check that there is a style.

    Raises:
        ErrorResponse: there is none
    """
    if name not in styles:
        raise ErrorResponse(404, "StyleNotFound", f"There is no style {name!r}.")


def find_style(styles: Mapping[str, str], params: Mapping[str, str]) -> str:
    """Return the rule of the style that a query names, "" where it names none.

    Raises:
        ErrorResponse: `style/name` names one that is not there
    """
    for name, value in params.items():
        if value:
            continue
        if name.startswith("style/"):
            check_style(styles, name.removeprefix("style/"))
        rule = styles.get(name.removeprefix("style/"), "")
        if rule:
            return rule
    return ""


def split_style(styles: Mapping[str, str], key: str) -> tuple[str, str]:
    """Split `key!name`; return the key and the rule, "" where there is no such style."""
    plain, separator, name = key.rpartition(SEPARATOR)
    if separator and name in styles:
        return plain, styles[name]
    return key, ""
