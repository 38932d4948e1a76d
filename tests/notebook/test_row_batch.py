"""`--each FRAME`: one job per row of a table."""

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
from jupyter_mjci.jobs.batch import Batch
from jupyter_mjci.notebook import batch_cards, row_batch
from jupyter_mjci.notebook import outputs as outputs_module
from jupyter_mjci.notebook.interrupts import Interrupted
from jupyter_mjci.notebook.outputs import LiveOutput, TerminalOutput
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell
from tests.notebook.test_job_display import MODES, RecordingPublisher, save_outputs
from tests.notebook.test_magics import record_calls

CARD = ["text/html", "text/plain"]
SHEET = ["image/jpeg", "text/plain"]
BODY = 'input = "{{key}}"\nrule = "imageMogr2/thumbnail/{{width}}x"\noutput = "out/{{width}}.jpg"\n'
XML = """<Request><Tag>PicProcess</Tag><Input><Object>{{key}}</Object></Input><Operation>
<PicProcess><ProcessRule>imageMogr2/thumbnail/{{width}}x</ProcessRule></PicProcess>
<Output><Region>ap-chongqing</Region><Bucket>demo-1250000000</Bucket><Object>out/{{key}}</Object></Output>
</Operation></Request>"""
KEYS = ["input/deer.jpg", "no/such.jpg", "input/lighthouse.png"]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"key": KEYS, "width": [50, 60, 70], "status": ["a", "b", "c"]}, index=list("xyz")
    )


def test_each_row_is_one_job_with_its_columns(shell: Shell, table: pd.DataFrame) -> None:
    """In the table's order, under its index and with its columns. A failed row does not stop the
    others.
    """
    shell.ip.push({"table": table})
    jobs = shell.run(f"%%ci_job --each table -o jobs\n{BODY}")
    assert shell.ip.user_ns["jobs"] is jobs
    assert list(jobs.index) == ["x", "y", "z"]
    assert list(jobs.status) == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert list(jobs.subject) == KEYS
    assert list(jobs.dtypes[jobs_to_frame([]).columns]) == list(jobs_to_frame([]).dtypes)
    assert list(jobs.width) == [50, 60, 70]
    assert list(jobs.status_input) == ["a", "b", "c"]
    assert shell.kinds == [CARD, SHEET]
    assert shell.texts == [
        "ci_job --each table: 3 jobs, 2 succeeded, 1 failed\n"
        "  NoSuchKey: The specified key does not exist. row y",
        "sheet of 3 jobs\n  row: x, y, z",
    ]
    assert 'class="mjci-job mjci-failed ' in shell.outputs[0]["data"]["text/html"]


def test_xml_template_is_escaped_per_row(shell: Shell, session: Session) -> None:
    """The table may be a list of dicts."""
    calls = record_calls(session)
    shell.ip.push({"rows": [{"key": "input/a&<b>'.jpg", "width": 5}], "width": 99})
    shell.fails(f"%%ci_job --each rows\n{XML}")
    assert b"<Object>input/a&amp;&lt;b&gt;&apos;.jpg</Object>" in calls[0].body
    assert b"thumbnail/5x" in calls[0].body


def test_prompt_template_is_interpolated_per_row(shell: Shell, session: Session) -> None:
    """In body, line and options; variables can be used beside columns."""
    calls = record_calls(session)
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


def test_dry_run_shows_first_request_and_count(
    shell: Shell, session: Session, table: pd.DataFrame
) -> None:
    calls = record_calls(session)
    shell.ip.push({"table": table})
    assert shell.run(f"%%ci_job --each table --dry-run\n{BODY}") is None
    assert "thumbnail/50x" in shell.texts[0]
    assert shell.texts[1] == "ci_job --each table: 3 requests, of which this is the first"
    assert calls == []


# (what is in t, options and body, the error, what it says)
INVALID_TABLES: tuple[tuple[Any, str, type[Exception], str], ...] = (
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
    ([], " --at-once 0\n" + BODY, UsageError, "--at-once must be at least 1"),
    ([], " --no-wait\n" + BODY, UsageError, "omit --no-wait"),
    ([], " --each 1x\n" + BODY, UsageError, "--each needs a variable name"),
)


@pytest.mark.parametrize(
    ("source", "rest", "kind", "message"),
    INVALID_TABLES,
    ids=[row[3][:40] for row in INVALID_TABLES],
)
def test_invalid_table_is_rejected_before_submission(
    shell: Shell, session: Session, source: Any, rest: str, kind: type[Exception], message: str
) -> None:
    calls = record_calls(session)
    shell.ip.push({"t": source})
    assert message in shell.fails(f"%%ci_job --each t{rest}")
    assert isinstance(shell.error, kind)
    assert calls == []


def test_batch_options_require_a_table(shell: Shell) -> None:
    """A magic that submits no job does not have them."""
    assert "--at-once requires --each" in shell.fails(f"%%ci_job --at-once 3\n{BODY}")
    assert "--each is not an option here" in shell.fails("%mj_tasks --each t")
    shell.run("%ci_job --help")
    assert "--at-once" in shell.texts[0]


def test_empty_table_submits_nothing(shell: Shell) -> None:
    """The result still has all columns."""
    shell.ip.push({"t": pd.DataFrame({"key": [], "width": []})})
    jobs = shell.run(f"%%ci_job --each t\n{BODY}")
    assert len(jobs) == 0
    assert {"status", "key", "width"} <= set(jobs.columns)
    assert shell.texts == ["ci_job --each t: 0 jobs"]
    shell.run(f"%%ci_job --each t --dry-run\n{BODY}")
    assert shell.texts == ["ci_job --each t: 0 requests"]


def test_cell_fails_if_all_jobs_fail(shell: Shell) -> None:
    """The card is shown, and the variable of -o holds the jobs."""
    wrong = jupyter_mjci.sandbox(speed=math.inf, mj_secret="hush-hush")
    shell.ip.push({"s": wrong, "t": [{"n": 1}, {"n": 2}]})
    message = shell.fails("%%mj_imagine --each t -o jobs\nfox {{n}}")
    assert type(shell.error) is MjciError
    assert message.startswith("None of the 2 jobs succeeded.\nThe proxy rejected the secret.")
    assert list(shell.ip.user_ns["jobs"].status) == ["FAILED", "FAILED"]
    assert shell.texts[0].endswith("The proxy rejected the secret. rows 0, 1")
    assert "hush" not in message + str(shell.outputs)
    wrong.close()


@pytest.mark.parametrize(
    "cell", [f"%%ci_job --each t\n{BODY}", "%%mj_imagine --each t --at-once 2\nfox {{width}}"]
)
def test_outputs_are_the_same_live_and_headless(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    monkeypatch.setattr(outputs_module, "MIN_UPDATE_INTERVAL", 0.0)
    outputs, frames = [], []
    for mode in MODES:
        with jupyter_mjci.sandbox(speed=math.inf) as session:
            session.t = [{"key": key, "width": 50 + index} for index, key in enumerate(KEYS)]  # type: ignore[attr-defined]
            outputs.append(save_outputs(monkeypatch, mode, "t = s.t", session))
            monkeypatch.setenv("MJCI_HEADLESS", MODES[mode])
            shell = Shell()
            shell.ip.extension_manager.load_extension("jupyter_mjci")
            shell.ip.push({"s": session, "t": session.t})  # type: ignore[attr-defined]
            frames.append(shell.run(cell))
            outputs.append(shell.outputs)
    assert outputs[1] == outputs[3]
    assert len(outputs[1]) == 2
    pd.testing.assert_frame_equal(*frames)


def make_table(count: int) -> row_batch.Table:
    return row_batch.load_table("t", {"t": [{"n": number} for number in range(count)]})


def test_live_card_has_progress_bar_and_counts(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs_module, "MIN_UPDATE_INTERVAL", 0.0)
    publisher = RecordingPublisher()
    batch = row_batch.RowBatch(
        "many", make_table(6), [session.mj.imagine(f"fox {number}") for number in range(6)]
    )
    batch.run(session, 3, LiveOutput(publisher))
    sheet, _, _ = publisher.messages.pop()
    assert sorted(sheet) == SHEET
    cards = [data["text/html"] for data, _, _ in publisher.messages]
    assert len({name for _, name, _ in publisher.messages}) == 1
    assert all('aria-valuenow="' in card for card in cards[:-1])
    assert "6 jobs, 6 succeeded" in cards[-1]
    assert "progressbar" not in cards[-1]
    assert [data["text/plain"] for data, _, _ in publisher.messages][
        -1
    ] == "many: 6 jobs, 6 succeeded"


def test_terminal_progress_is_one_line(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    stderr = io.StringIO()
    stderr.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stderr)
    row_batch.RowBatch(
        "many", make_table(2), [session.mj.imagine(f"fox {n}") for n in range(2)]
    ).run(session, 2, TerminalOutput(RecordingPublisher()))
    assert "\rmany: 2 jobs, " in stderr.getvalue()
    assert stderr.getvalue().endswith("\r")


def interrupt_batch(
    session: Session, monkeypatch: pytest.MonkeyPatch, at_once: int = 1
) -> tuple[row_batch.RowBatch, str]:
    """Interrupt a batch of three jobs after two updates. Return it and its card's text."""
    get_updates = Batch.updates

    def interrupted(batch: Batch) -> Any:
        for number, update in enumerate(get_updates(batch)):
            yield update
            if number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(Batch, "updates", interrupted)
    publisher = RecordingPublisher()
    batch = row_batch.RowBatch(
        "many", make_table(3), [session.mj.imagine(f"fox {number}") for number in range(3)]
    )
    with pytest.raises(Interrupted):
        batch.run(session, at_once, LiveOutput(publisher))
    return batch, publisher.messages[-1][0]["text/plain"]


def test_interrupt_keeps_known_jobs(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that were never submitted are rows, too."""
    batch, message = interrupt_batch(session, monkeypatch)
    assert "%mjci resume" in message
    assert list(batch.to_frame().n) == [0, 1, 2]
    assert batch.to_frame().status.iloc[2] == "QUEUED"


def test_interrupt_cancels_submitted_jobs_if_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    with jupyter_mjci.sandbox(speed=1e-6, on_interrupt="cancel") as session:
        batch, message = interrupt_batch(session, monkeypatch, at_once=3)
        assert "1 queued, 2 cancelled" in message
        assert "jobs that could be cancelled were" in message
        statuses = [session.describe(job).run().status for job in batch.jobs if job.id]
    assert statuses == [Status.CANCELLED] * 2


def test_summary_lists_first_reasons_and_rows() -> None:
    failures = [(f"<b>{number}", [str(row) for row in range(30)]) for number in range(12)]
    summary = batch_cards.BatchSummary("t", {Status.FAILED: 360}, failures=failures)
    lines = batch_cards.summary_text(summary).splitlines()
    assert len(lines) == 12
    assert lines[1] == "  <b>0 rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (30 rows)"
    assert lines[-1] == "  … and 2 other reasons"
    assert "<b>0" not in batch_cards.summary_html(summary)


def test_unfinished_jobs_are_noted() -> None:
    batch = row_batch.RowBatch("t", make_table(2), [])
    batch.jobs = [Job("mj", "1", status=Status.NEEDS_INPUT), Job("mj", "2", status=Status.RUNNING)]
    assert "%mj_modal" in batch._list_unfinished_notes()[0]
    assert "%mjci resume" in batch._list_unfinished_notes()[1]


# --- grids ------------------------------------------------------


def test_grid_of_flags_is_one_sheet_and_gives_the_study(shell: Shell, session: Session) -> None:
    study = shell.run('%%mj_imagine --grid "stylize=100,400 seed=1,2" -o study\na red fox')
    assert shell.ip.user_ns["study"] is study
    assert [job.subject for job in study][::3] == [
        "a red fox --stylize 100 --seed 1",
        "a red fox --stylize 400 --seed 2",
    ]
    assert shell.kinds == [SHEET]
    (text,) = shell.texts
    assert text == (
        "mj_imagine --grid stylize=100,400 seed=1,2: 4 jobs, 4 succeeded\n"
        "sheet of 4 jobs\n  stylize: 100, 400\n  seed: 1, 2"
    )
    metadata = shell.outputs[0]["metadata"]["image/jpeg"]
    assert metadata["alt"]
    assert metadata["width"] > 400
    # The same cell again makes nothing.
    calls = record_calls(session)
    shell.run('%mj_imagine a red fox --grid "stylize=100,400 seed=1,2"')
    assert [call for call in calls if call.is_submission] == []


@pytest.mark.parametrize("kind", [dict, pd.DataFrame])
def test_grid_of_a_variable_fills_placeholders_and_parameters(shell: Shell, kind: Any) -> None:
    shell.ip.push({"axes": kind({"animal": ["fox", "owl"]}), "place": "a wood"})
    study = shell.run("%mj_imagine a {{animal}} in {{place}} --grid axes --at-once 1")
    assert [job.subject for job in study] == ["a fox in a wood", "a owl in a wood"]
    assert list(study.frame()["animal"]) == ["fox", "owl"]


def test_grid_of_a_body_is_one_sheet_with_what_failed(shell: Shell) -> None:
    shell.ip.push({"axes": {"key": KEYS, "width": [50, 60]}})
    body = BODY.replace("out/{{width}}", "out/{{width}}/{{key}}")
    study = shell.run(f"%%ci_job --grid axes\n{body}")
    assert [job.status.value for job in study].count("FAILED") == 2
    assert shell.kinds == [SHEET]
    assert "key='no/such.jpg', width=50, key='no/such.jpg', width=60" in shell.texts[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%mj_imagine a fox --grid nowhere", "There is no variable 'nowhere'"),
        ("%mj_imagine a fox --grid color=red,blue", "The factor 'color' is not used"),
        ('%mj_imagine a fox --grid "seed=1,1"', "seed has 1 twice"),
        ("%mj_imagine a fox --grid seed=1 --each rows", "exclude each other"),
        ("%mj_imagine a fox --grid seed=1 --no-wait", "--grid waits for its jobs"),
        ("%mj_imagine a fox --grid seed=1,2,3 --max-jobs 2", "would submit 3 jobs; at most 2"),
        ("%mj_imagine a fox --grid ar=3:2,3", "ar=3: --ar must be"),
        ('%%ci_job --grid quality=1,2\ninput = "a"', "The factor 'quality' is not used"),
    ],
)
def test_impossible_grid_sends_nothing(
    shell: Shell, session: Session, line: str, words: str
) -> None:
    calls = record_calls(session)
    error = shell.fails(line)
    assert words in str(error)
    assert calls == []


def test_dry_run_of_a_grid_shows_the_first_request(shell: Shell, session: Session) -> None:
    calls = record_calls(session)
    shell.run("%mj_imagine a fox --grid seed=1,2 --dry-run")
    assert "2 requests, of which this is the first" in shell.texts[-1]
    assert calls == []
