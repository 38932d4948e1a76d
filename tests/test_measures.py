"""The package reads as the well-kept libraries of this field do: every figure within its bar."""

from __future__ import annotations

import inspect

import pytest

import jupyter_mjci as mjci
from jupyter_mjci import session
from jupyter_mjci.session import Session
from tests.measures import PACKAGE, Measure, find_wide_functions, load_sources, measure

SOURCES = load_sources([PACKAGE])


@pytest.mark.parametrize("figure", measure(SOURCES), ids=lambda figure: figure.name)
def test_measure_is_within_its_bar(figure: Measure) -> None:
    assert figure.is_met, str(figure)


def test_only_builders_and_constructors_have_many_parameters() -> None:
    assert list(find_wide_functions(SOURCES)) == []


def test_session_is_small() -> None:
    """Its own members, without those that services add; attributes of an instance count, too."""
    with mjci.sandbox() as sandbox:
        names = {*vars(Session), *Session.__annotations__, *vars(sandbox)}
    own = [name for name in sorted(names) if not name.startswith("_")]
    assert len(own) <= 30, own
    assert len(inspect.getsource(session).splitlines()) <= 400
