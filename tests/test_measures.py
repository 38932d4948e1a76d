"""The package reads as the well-kept libraries of this field do: every figure within its bar."""

from __future__ import annotations

import pytest

from tests.measures import PACKAGE, Measure, find_wide_functions, load_sources, measure

SOURCES = load_sources([PACKAGE])


@pytest.mark.parametrize("figure", measure(SOURCES), ids=lambda figure: figure.name)
def test_measure_is_within_its_bar(figure: Measure) -> None:
    assert figure.is_met, str(figure)


def test_only_builders_and_constructors_have_many_parameters() -> None:
    assert list(find_wide_functions(SOURCES)) == []
