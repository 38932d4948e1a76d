"""`--each FRAME`: a job for every row of a table."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.error import UsageError

import jupyter_mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.history.frames import jobs_to_frame
from jupyter_mjci.notebook import batch_cards, outputs, row_batch
from jupyter_mjci.notebook.interrupts import Interrupted
from jupyter_mjci.notebook.outputs import LiveOutput, TerminalOutput
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell
from tests.notebook.test_job_display import MODES, Book, kept
from tests.notebook.test_magics import sent

CARD = ["text/html", "text/plain"]
BODY = 'input = "{{key}}"\nrule = "imageMogr2/thumbnail/{{width}}x"\noutput = "out/{{width}}.jpg"\n'
XML = """<Request><Tag>PicProcess</Tag><Input><Object>{{key}}</Object></Input><Operation>
<PicProcess><ProcessRule>imageMogr2/thumbnail/{{width}}x</ProcessRule></PicProcess>
<Output><Region>ap-chongqing</Region><Bucket>demo-1250000000</Bucket><Object>out/{{key}}</Object></Output>
</Operation></Request>"""
KEYS = ["input/deer.jpg", "no/such.jpg", "input/lighthouse.png"]


@pytest.fixture
def cats() -> pd.DataFrame:
    return pd.DataFrame(
        {"key": KEYS, "width": [50, 60, 70], "status": ["a", "b", "c"]}, index=list("xyz")
    )


def test_every_row_is_a_job(shell: Shell, cats: pd.DataFrame) -> None:
    """In the table's order and under its index, typed, with the table's columns beside; a failed
    row stops no other.
    """
    shell.ip.push({"cats": cats})
    jobs = shell.run(f"%%ci_job --each cats -o jobs\n{BODY}")
    assert shell.ip.user_ns["jobs"] is jobs
    assert list(jobs.index) == ["x", "y", "z"]
    assert list(jobs.status) == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert list(jobs.subject) == KEYS
    assert list(jobs.dtypes[jobs_to_frame([]).columns]) == list(jobs_to_frame([]).dtypes)
    assert list(jobs.width) == [50, 60, 70]
    assert list(jobs.status_input) == ["a", "b", "c"]
    assert shell.kinds == [CARD]
    assert shell.texts == [
        "ci_job --each cats: 3 jobs, 2 succeeded, 1 failed\n  NoSuchKey: The specified key does not exist. row y"
    ]
    assert 'class="mjci-job mjci-failed' in shell.outputs[0]["data"]["text/html"]


def test_xml_is_filled_and_escaped(shell: Shell, session: Session) -> None:
    """A list of dicts will do; what means something in XML arrives as text."""
    calls = sent(session)
    shell.ip.push({"rows": [{"key": "input/a&<b>'.jpg", "width": 5}], "width": 99})
    shell.fails(f"%%ci_job --each rows\n{XML}")
    assert b"<Object>input/a&amp;&lt;b&gt;'.jpg</Object>" in calls[0].body
    assert b"thumbnail/5x" in calls[0].body


def test_prompts_are_filled_byte_for_byte(shell: Shell, session: Session) -> None:
    """In the body and on the line, in options too; other braces stay, variables are still to be
    had.
    """
    calls = sent(session)
    shell.ip.push(
        {
            "t": pd.DataFrame({"animal": ["fox", 'owl "x" {{y}}'], "my mark": [1, 2]}),
            "place": "snow",
        }
    )
    jobs = shell.run(
        '%%mj_imagine --each t --state "m{{my mark}}"\na {{animal}}, {a, b} in {{place}} --ar 3:2'
    )
    line = shell.run("%mj_imagine --each t --at-once 1 a {{animal}}")
    assert [json.loads(call.body)["prompt"] for call in calls] == [
        "a fox, {a, b} in snow --ar 3:2",
        'a owl "x" {{y}}, {a, b} in snow --ar 3:2',
        "a fox",
        'a owl "x" {{y}}',
    ]
    assert [json.loads(call.body)["state"] for call in calls[:2]] == ["m1", "m2"]
    assert list(jobs.user_data) == ["m1", "m2"]
    assert set(jobs.status) | set(line.status) == {"SUCCEEDED"}


def test_a_dry_run_shows_the_first_request_and_the_count(
    shell: Shell, session: Session, cats: pd.DataFrame
) -> None:
    calls = sent(session)
    shell.ip.push({"cats": cats})
    assert shell.run(f"%%ci_job --each cats --dry-run\n{BODY}") is None
    assert "thumbnail/50x" in shell.texts[0]
    assert shell.texts[1] == "ci_job --each cats: 3 requests, of which this is the first"
    assert calls == []


# (what is in t, options and body, the error, what it says)
WRONG: tuple[tuple[Any, str, type[Exception], str], ...] = (
    (
        [{"key": "a", "width": 5}, {"key": "b"}],
        "\n" + BODY,
        InvalidRequest,
        "Row 1 of t has no value in column 'width'.",
    ),
    (
        pd.DataFrame({"key": ["a", None], "width": 1}),
        "\n" + BODY,
        InvalidRequest,
        "Row 1 of t has no value in column 'key'",
    ),
    (
        pd.DataFrame({"key": "a", "width": [np.nan]}),
        "\n" + BODY,
        InvalidRequest,
        "Row 0 of t has no value in column 'width'",
    ),
    (
        pd.DataFrame({"key": ["a"], "width": pd.array([None], "Int64")}),
        "\n" + BODY,
        InvalidRequest,
        "Row 0 of t",
    ),
    (
        pd.DataFrame({"key": ["a"]}),
        "\n" + BODY,
        InvalidRequest,
        "Row 0 of t: There is no variable 'width'",
    ),
    (pd.DataFrame({"key": ["a", ""], "width": 1}), "\n" + BODY, InvalidRequest, "Row 1 of t: "),
    (
        pd.DataFrame({"key": ["a"]}),
        '\ninput = "a.jpg"',
        InvalidRequest,
        "all 1 jobs would be the same",
    ),
    (
        pd.DataFrame([[1, 2]], columns=["key", "key"]),
        "\n" + BODY,
        InvalidRequest,
        "two columns of the same name",
    ),
    ("text", "\n" + BODY, InvalidRequest, "t is neither a DataFrame nor a list of dicts."),
    ([], " --each nope\n" + BODY, InvalidRequest, "There is no variable 'nope'."),
    ([], " --at-once 0\n" + BODY, UsageError, "--at-once is at least 1"),
    ([], " --no-wait\n" + BODY, UsageError, "leave --no-wait out"),
    ([], " --each 1x\n" + BODY, UsageError, "--each wants the name of a variable"),
)


@pytest.mark.parametrize(
    ("given", "rest", "kind", "said"), WRONG, ids=[row[3][:40] for row in WRONG]
)
def test_what_is_wrong_with_a_row_is_said_before_anything_is_sent(
    shell: Shell, session: Session, given: Any, rest: str, kind: type[Exception], said: str
) -> None:
    calls = sent(session)
    shell.ip.push({"t": given})
    assert said in shell.fails(f"%%ci_job --each t{rest}")
    assert isinstance(shell.error, kind)
    assert calls == []


def test_options_for_many_jobs_want_a_table(shell: Shell) -> None:
    """--at-once alone is a mistake; a magic that makes no job knows neither."""
    assert "--at-once is for --each" in shell.fails(f"%%ci_job --at-once 3\n{BODY}")
    assert "There is no --each here" in shell.fails("%mj_tasks --each t")
    shell.run("%ci_job --help")
    assert "--at-once" in shell.texts[0]


def test_a_table_without_rows_makes_no_job(shell: Shell) -> None:
    """The result has the columns all the same, so that what comes after works."""
    shell.ip.push({"t": pd.DataFrame({"key": [], "width": []})})
    jobs = shell.run(f"%%ci_job --each t\n{BODY}")
    assert len(jobs) == 0
    assert {"status", "key", "width"} <= set(jobs.columns)
    assert shell.texts == ["ci_job --each t: 0 jobs"]
    shell.run(f"%%ci_job --each t --dry-run\n{BODY}")
    assert shell.texts == ["ci_job --each t: 0 requests"]


def test_where_all_fail_the_cell_fails(shell: Shell) -> None:
    """After the card; the variable holds the jobs, with the reasons."""
    wrong = jupyter_mjci.sandbox(speed=math.inf, mj_secret="hush-hush")
    shell.ip.push({"s": wrong, "t": [{"n": 1}, {"n": 2}]})
    said = shell.fails("%%mj_imagine --each t -o jobs\nfox {{n}}")
    assert type(shell.error) is MjciError
    assert said.startswith("None of the 2 jobs succeeded.\nThe proxy rejected the secret.")
    assert list(shell.ip.user_ns["jobs"].status) == ["FAILED", "FAILED"]
    assert shell.texts[0].endswith("The proxy rejected the secret. rows 0, 1")
    assert "hush" not in said + str(shell.outputs)
    wrong.close()


@pytest.mark.parametrize(
    "cell", [f"%%ci_job --each t\n{BODY}", "%%mj_imagine --each t --at-once 2\nfox {{width}}"]
)
def test_a_cell_saves_the_same_live_and_headless(
    monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    """One card with the same bytes, and the same frame."""
    monkeypatch.setattr(outputs, "MIN_UPDATE_INTERVAL", 0.0)
    found, frames = [], []
    for mode in MODES:
        with jupyter_mjci.sandbox(speed=math.inf) as session:
            session.t = [{"key": key, "width": 50 + place} for place, key in enumerate(KEYS)]  # type: ignore[attr-defined]
            found.append(kept(monkeypatch, mode, "t = s.t", session))
            monkeypatch.setenv("MJCI_HEADLESS", MODES[mode])
            shell = Shell()
            shell.ip.extension_manager.load_extension("jupyter_mjci")
            shell.ip.push({"s": session, "t": session.t})  # type: ignore[attr-defined]
            frames.append(shell.run(cell))
            found.append(shell.outputs)
    assert found[1] == found[3]
    assert len(found[1]) == 1
    pd.testing.assert_frame_equal(*frames)


def rows(count: int) -> row_batch.Table:
    return row_batch.load_table("t", {"t": [{"n": number} for number in range(count)]})


def test_live_counts_and_draws_a_bar(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """One display: bars that say their value, then the card without one."""
    monkeypatch.setattr(outputs, "MIN_UPDATE_INTERVAL", 0.0)
    book = Book()
    many = row_batch.RowBatch(
        "many", rows(6), [session.mj.imagine(f"fox {number}") for number in range(6)]
    )
    many.run(session, 3, LiveOutput(book))
    cards = [data["text/html"] for data, _, _ in book.pages]
    assert len({name for _, name, _ in book.pages}) == 1
    assert all('aria-valuenow="' in card for card in cards[:-1])
    assert "6 jobs, 6 succeeded" in cards[-1]
    assert "progressbar" not in cards[-1]
    assert [data["text/plain"] for data, _, _ in book.pages][-1] == "many: 6 jobs, 6 succeeded"


def test_a_terminal_shows_one_line(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is overwritten, and gone in the end."""
    import io
    import sys

    stderr = io.StringIO()
    stderr.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stderr)
    row_batch.RowBatch("many", rows(2), [session.mj.imagine(f"fox {n}") for n in range(2)]).run(
        session, 2, TerminalOutput(Book())
    )
    assert "\rmany: 2 jobs, " in stderr.getvalue()
    assert stderr.getvalue().endswith("\r")


def stopped(
    session: Session, monkeypatch: pytest.MonkeyPatch, at_once: int = 1
) -> tuple[row_batch.RowBatch, str]:
    """Three jobs whose cell is interrupted after two steps, and what the card tells then."""
    steps = session.batch_updates

    def interrupted(*given: Any, **more: Any) -> Any:
        for number, step in enumerate(steps(*given, **more)):
            yield step
            if number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(session, "batch_updates", interrupted)
    book = Book()
    many = row_batch.RowBatch(
        "many", rows(3), [session.mj.imagine(f"fox {number}") for number in range(3)]
    )
    with pytest.raises(Interrupted):
        many.run(session, at_once, LiveOutput(book))
    return many, book.pages[-1][0]["text/plain"]


def test_an_interrupt_keeps_what_was_seen(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card tells how to go on; jobs that were never begun are rows all the same."""
    many, said = stopped(session, monkeypatch)
    assert "%mjci resume" in said
    assert list(many.to_frame().n) == [0, 1, 2]
    assert many.to_frame().status.iloc[2] == "QUEUED"


def test_an_interrupt_may_cancel_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With on_interrupt = "cancel": what was submitted is cancelled at the service, and the card
    counts it.
    """
    with jupyter_mjci.sandbox(speed=1e-6, on_interrupt="cancel") as session:
        many, said = stopped(session, monkeypatch, at_once=3)
        assert "1 waiting, 2 cancelled" in said
        assert "what could be cancelled at the service was" in said
        seen = [session.describe(job).run().status for job in many.jobs if job.id]
    assert seen == [Status.CANCELLED] * 2


def test_a_card_names_the_first_reasons_and_rows() -> None:
    """However many fail, the card stays short; a reason is escaped."""
    failures = [(f"<b>{number}", [str(row) for row in range(30)]) for number in range(12)]
    tally = batch_cards.BatchSummary("t", {Status.FAILED: 360}, failures=failures)
    lines = batch_cards.summary_text(tally).splitlines()
    assert len(lines) == 12
    assert lines[1] == "  <b>0 rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (30 rows)"
    assert lines[-1] == "  … and 2 other reasons"
    assert "<b>0" not in batch_cards.summary_html(tally)


def test_what_has_not_ended_is_told() -> None:
    """A dialog that waits for an answer, and a job that outlasted our patience."""
    many = row_batch.RowBatch("t", rows(2), [])
    many.jobs = [Job("mj", "1", status=Status.NEEDS_INPUT), Job("mj", "2", status=Status.RUNNING)]
    assert "%mj_modal" in many._unfinished_notes()[0]
    assert "%mjci resume" in many._unfinished_notes()[1]
