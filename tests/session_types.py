"""The types of a session's members that are loaded lazily: checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

import pandas as pd

from jupyter_mjci.client.calls import Call, Operation
from jupyter_mjci.client.job import Job
from jupyter_mjci.history.ratings import Rating
from jupyter_mjci.imaging.picture import ProcessedPicture
from jupyter_mjci.jobs.rule_comparison import RuleComparison
from jupyter_mjci.jobs.study import Study
from jupyter_mjci.session import Session


def check_services(session: Session) -> None:
    assert_type(session.mj.imagine("a fox"), Call[Job])
    assert_type(session.ci.job("j1"), Call[Job])


def check_methods(session: Session) -> None:
    assert_type(session.tasks(["1"]), pd.DataFrame)
    assert_type(session.queue(), pd.DataFrame)
    assert_type(session.jobs(tag="PicProcess"), pd.DataFrame)
    assert_type(session.upload("fox.png"), Operation[str])
    assert_type(session.presign("in/a.jpg", rule="imageInfo"), str)
    assert_type(session.preview("imageInfo", b""), Operation[ProcessedPicture])
    assert_type(session.compare("imageInfo", []), Operation[RuleComparison])
    assert_type(session.rate("1", 5), Rating)
    assert_type(session.study("a {{animal}}", animal=["fox"]), Study)
