"""The how-to guide quotes the package as it is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from jupyter_mjci.services import Service
from tests.plugins.conftest import PLUGIN

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-service.md"
EXCERPTS = re.findall(r"```\w+\n# (\S+)\n(.*?)```", GUIDE.read_text("utf-8"), re.S)


@pytest.mark.parametrize(("file", "code"), EXCERPTS)
def test_excerpt_is_in_its_file(file: str, code: str) -> None:
    assert code in (PLUGIN / file).read_text("utf-8")


def test_every_file_is_quoted() -> None:
    files = {str(path.relative_to(PLUGIN)) for path in PLUGIN.rglob("*.py")}
    assert {file for file, _ in EXCERPTS} == files | {"pyproject.toml"}


def test_fields_of_the_descriptor_exist() -> None:
    text = GUIDE.read_text("utf-8").partition("## The descriptor")[2].partition("\n## ")[0]
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    named = set(re.findall(r"`([a-z_]+)`", prose)) - {"doctor"}
    assert {"session_methods", "get_facts", "links_expire"} <= named
    assert named <= {field.name for field in dataclasses.fields(Service)}
