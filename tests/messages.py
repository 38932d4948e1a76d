"""The texts of cards and panels that are translated: `python -m tests.messages` compiles them.

A new text gets its line in `jupyter_mjci/locale/zh/LC_MESSAGES/jupyter_mjci.po` by hand; the test
names what is missing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import jupyter_mjci
from jupyter_mjci.client.translation import DOMAIN, FOLDER, LANGUAGES
from jupyter_mjci.imaging.rule_syntax import OPERATIONS
from jupyter_mjci.notebook.panels.controls import BASE64_SUFFIX
from jupyter_mjci.notebook.panels.midjourney import FLAG_LABELS, FORM_LABELS
from jupyter_mjci.notebook.panels.rule_editor import (
    JSON_OPERATIONS,
    format_title,
    summarize_operation,
)
from jupyter_mjci.notebook.panels.widgets import label_parameter
from jupyter_mjci.notebook.params import get_summary, parse_signature
from jupyter_mjci.services.midjourney.prompt_flags import FLAGS_BY_NAME

PACKAGE = FOLDER.parent
# Which arguments of a call are shown: a label and a tooltip.
MARKS = {"mark": slice(1), "translate": slice(1)}
LABELLED = {
    "build_button": slice(2),
    "build_submit": slice(2),
    "build": slice(2),
    "_build_toggle": slice(1),
    "build_heading": slice(1),
    "CardAction": slice(1, 3),
}
NOTHING = slice(0)
KEYWORDS = {"description", "placeholder", "tooltip"}
PANELS = PACKAGE / "notebook"


def find_messages() -> set[str]:
    """Return every text of the package that is shown translated."""
    literals = {text for path in PACKAGE.rglob("*.py") for text in _find_in(path) if text.strip()}
    return literals | find_labels()


def find_labels() -> set[str]:
    """Return labels and help of forms: of builders, their parameters, flags, rules and theirs."""
    with jupyter_mjci.sandbox() as session:
        builders = [getattr(session.mj, name) for name in FORM_LABELS]
        params = [
            param
            for builder in (*builders, session.ci.picture_job)
            for param in parse_signature(builder)
        ]
    operations = [each for name, each in OPERATIONS.items() if name not in JSON_OPERATIONS]
    rule_params = [param for each in operations for param in each.parameters]
    named = (*params, *rule_params)
    return {
        *map(get_summary, builders),
        *(label_parameter(param.name) for param in named),
        *(param.help.removeprefix("1: ") for param in named),
        *(FLAGS_BY_NAME[name].help for name in FLAG_LABELS),
        *(format_title(each.name) for each in operations),
        *(each.help for each in operations),
        *map(summarize_operation, operations),
        *(param.expected.removesuffix(BASE64_SUFFIX) for param in rule_params if param.encoded),
    }


def _find_in(path: Path) -> Iterator[str]:
    shown = {**MARKS, **LABELLED} if PANELS in path.parents else MARKS
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        yield from _get_literals(node.args[shown.get(_get_name(node.func), NOTHING)])
        if path.parent.name == "panels":
            yield from _get_literals([each.value for each in node.keywords if each.arg in KEYWORDS])


def _get_name(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))


def _get_literals(arguments: list[ast.expr]) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


def locate(language: str, suffix: str) -> Path:
    return FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.{suffix}"


def load_catalogue(language: str) -> Catalog:
    with locate(language, "po").open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


if __name__ == "__main__":
    for language in LANGUAGES[1:]:
        with locate(language, "mo").open("wb") as compiled:
            write_mo(compiled, load_catalogue(language))
