"""The guard on spending: too many jobs are refused before the first is sent."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError

from jupyter_mjci.errors import PreflightError
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell


def record_submissions(session: Session) -> list[Any]:
    calls: list[Any] = []
    session.listeners.append(
        lambda event, value: calls.append(value) if event == "submitting" else None
    )
    return calls


BODY = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotate/{{n}}"\noutput = "o/{{n}}.jpg"'
# (cell, the number in the message), with 101 rows in `rows`.
TOO_MANY: tuple[tuple[str, str], ...] = (
    ("%mj_imagine fox {{n}} --each rows", "101 jobs; at most 100"),
    ("%%mj_imagine --each rows\nfox {{n}}", "101 jobs; at most 100"),
    (f"%%ci_job --each rows\n{BODY}", "101 jobs; at most 100"),
    ("%mj_imagine fox {{n}} {a, b} --each few --max-jobs 9", "10 jobs; at most 9"),
    ("%mj_imagine a {red, green} {fox, owl} --max-jobs 3", "4 jobs; at most 3"),
    ("%mj_imagine a fox --repeat 40 --max-jobs 39", "40 jobs; at most 39"),
)


@pytest.mark.parametrize(("cell", "message"), TOO_MANY, ids=[row[0][:40] for row in TOO_MANY])
def test_cell_with_too_many_jobs_sends_none(
    shell: Shell, session: Session, cell: str, message: str
) -> None:
    """It says how many there are, and how to allow them."""
    calls = record_submissions(session)
    shell.run("rows = [{'n': n} for n in range(101)]\nfew = rows[:5]")
    text = shell.fails(cell)
    assert message in text
    assert f"--max-jobs {message.split()[0]}" in text
    assert isinstance(shell.error, UsageError)
    assert calls == []


def test_allowed_number_is_sent(shell: Shell, session: Session) -> None:
    """By an option for one cell, or by the setting for all; a dry run is never refused."""
    calls = record_submissions(session)
    shell.run("rows = [{'n': n} for n in range(101)]")
    shell.run("%mj_imagine fox {{n}} --each rows --dry-run")
    assert calls == []
    shell.run("%config MJCI.max_jobs = 2")
    assert "at most 2" in shell.fails("few = rows[:3]\n%mj_imagine fox {{n}} --each few")
    assert calls == []
    shell.run("%mj_imagine fox {{n}} --each few --max-jobs 3 -o df")
    assert len(calls) == 3
    shell.run("%config MJCI.max_jobs = 3\n%mj_imagine cat {{n}} --each few -o df")
    assert len(calls) == 6


def test_batch_with_too_many_jobs_sends_none(session: Session) -> None:
    """Jobs that are only followed do not count."""
    calls = record_submissions(session)
    imagines = [session.mj.imagine(f"fox {n}") for n in range(3)]
    session.configure(max_jobs=2)
    with pytest.raises(PreflightError, match="3 jobs; at most 2"):
        session.batch(imagines)
    assert calls == []
    jobs = session.batch(imagines, max_jobs=3).run()
    assert len(calls) == 3
    assert len(session.batch(jobs).run()) == 3


PRICES = {"imagine": 0.5, "mj/imagine/relax": 0.25, "UPSCALE": 0.125, "ci/*": 0.0625}


def test_status_tells_the_cost_of_today(shell: Shell, session: Session) -> None:
    """By action, mode and number of jobs; what has no price is named; a rejection is free."""
    session.configure(prices=PRICES)
    shell.run("%mj_imagine a fox -o job")
    shell.run("%mjci status")
    assert "1 submitted (1 accepted), cost 0.5\n" in f"{shell.texts[0]}\n"
    shell.run("%mj_imagine a fox --relax")
    shell.run("%mj_action job U2")
    shell.run('%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/rotate/9"\noutput = "a.jpg"')
    shell.fails("%mj_imagine a gore fox")
    shell.run("%mjci status")
    text = shell.texts[0]
    assert "5 submitted (4 accepted, 1 rejected), cost 0.9375\n" in f"{text}\n"
    shell.run("%mj_action job V1")
    shell.run("%mjci status")
    assert "cost 0.9375 (without mj/action, which has no price)" in shell.texts[0]


def test_refusal_of_too_many_tells_their_cost(shell: Shell, session: Session) -> None:
    session.configure(prices=PRICES)
    text = shell.fails("%mj_imagine a {red, green} {fox, owl} --max-jobs 3")
    assert "They cost 2." in text
    assert "Nothing was sent." in text


def test_prices_are_set_by_config(shell: Shell, session: Session) -> None:
    shell.run('%config MJCI.prices = "imagine=2, *=1"')
    assert session.settings.prices.find("mj", ("IMAGINE",)) == 2
    assert shell.run("%config MJCI.prices") == "imagine=2, *=1"


def test_status_says_that_it_counts_the_latest_jobs(
    shell: Shell, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that runs for days does not keep every job in memory."""
    monkeypatch.setattr("jupyter_mjci.jobs.client.MAX_KNOWN_JOBS", 2)
    monkeypatch.setattr("jupyter_mjci.notebook.doctor.MAX_KNOWN_JOBS", 2)
    for _ in range(3):
        shell.run("%mj_imagine a fox --relax")
    shell.run("%mjci status")
    assert "2 succeeded (of the latest 2)" in shell.texts[0]
