"""Jobs as typed frames."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS, jobs_to_frame
from jupyter_mjci.services.midjourney.responses import parse_job

THEN = datetime(2026, 1, 1, tzinfo=UTC)
DONE = Job(
    "mj",
    "17",
    "IMAGINE",
    Status.SUCCEEDED,
    100,
    "a fox",
    ("http://a", "http://b"),
    (Button("c", "U1"), Button("d", "V1")),
    THEN,
    THEN + timedelta(seconds=2),
    THEN + timedelta(seconds=40),
    user_data="s",
)


def test_columns_follow_the_table() -> None:
    """In its order, each duration after its later time."""
    expected = [column.name for column in COLUMNS]
    for name, later, _, _ in DURATION_COLUMNS:
        expected.insert(expected.index(later) + 1, name)
    assert list(jobs_to_frame([]).columns) == expected


@pytest.mark.parametrize(
    "jobs", [[], [Job("ci", "c1")], [DONE], [DONE, Job("ci", "c1", progress=None)], [parse_job({})]]
)
def test_dtypes_do_not_depend_on_the_jobs(jobs: list[Job]) -> None:
    """Also without rows, and with nothing but empty cells."""
    assert jobs_to_frame(jobs).dtypes.to_dict() == jobs_to_frame([]).dtypes.to_dict()


def test_dtypes_are_typed() -> None:
    table = jobs_to_frame([])
    assert str(table["submitted"].dtype) == "datetime64[us, UTC]"
    assert str(table["run_time"].dtype) == "timedelta64[us]"
    assert str(table["progress"].dtype) == "Int64"
    assert str(table["subject"].dtype) == "string"
    assert list(table["status"].cat.categories) == [status.value for status in Status]


def test_row_has_the_fields_of_its_job() -> None:
    row = jobs_to_frame([DONE]).iloc[0]
    assert (row["queue_time"], row["run_time"]) == (
        pd.Timedelta(seconds=2),
        pd.Timedelta(seconds=38),
    )
    assert (row["outputs"], row["buttons"], row["status"]) == (
        "http://a http://b",
        "U1, V1",
        "SUCCEEDED",
    )
    assert row["submitted"] == pd.Timestamp("2026-01-01", tz="UTC")


def test_missing_fields_are_na() -> None:
    """Not empty texts, which would count."""
    row = jobs_to_frame([Job("ci", "c1")]).iloc[0]
    assert pd.isna(
        row[
            [
                "progress",
                "subject",
                "submitted",
                "run_time",
                "reason",
                "outputs",
                "parent",
                "user_data",
            ]
        ]
    ).all()


def test_frames_of_both_services_concatenate() -> None:
    both = pd.concat([jobs_to_frame([DONE]), jobs_to_frame([Job("ci", "c1")])], ignore_index=True)
    assert both.dtypes.to_dict() == jobs_to_frame([]).dtypes.to_dict()
    assert list(both["service"]) == ["mj", "ci"]
