"""The magics in a real shell, on the sandbox."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError

import jupyter_mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import Secret
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.errors import (
    CIError,
    JobFailed,
    MidjourneyError,
    MjciError,
    SettingsError,
    TransportError,
)
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.completion import complete_line
from jupyter_mjci.notebook.doctor import describe_asyncio, detect_front_end
from jupyter_mjci.notebook.extension import _EXTENSIONS, MAGIC_NAMES, keep_question_marks
from jupyter_mjci.notebook.job_future import JobFuture
from jupyter_mjci.notebook.magics import Magics
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

ROTATE = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "output/out.jpg"\n'
CARD, PICTURE = ["text/html", "text/plain"], ["image/jpeg", "text/plain"]


def record_calls(session: Session) -> list[Any]:
    """Record every call that the session submits from now on."""
    calls: list[Any] = []
    session.listeners.append(
        lambda event, value: calls.append(value) if event == "submitting" else None
    )
    return calls


# --- coming and going -----------------------------------------------------------------------------

LOADING = """
import sys
import httpx
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
before = set(sys.modules)
shell.run_line_magic("load_ext", "jupyter_mjci")
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names) | new & {"asyncio", "sqlite3"}))
"""


def test_load_ext_imports_no_library() -> None:
    """Not even asyncio; so nothing can be patched."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING], capture_output=True, text=True, check=True
    )
    assert "jupyter_mjci" in done.stdout
    assert set(done.stdout.split()) <= {"IPython", "jupyter_mjci"}
    assert done.stderr == ""


def test_magic_names_match_the_builders() -> None:
    """Loading imports no builder, so the names are listed in a table."""
    names_by_kind: dict[str, list[str]] = {"line": [], "line_cell": []}
    for magic in Magics(None).iter_magics():
        names_by_kind[magic.kind].append(magic.name)
    expected = {kind: sorted(names) for kind, names in names_by_kind.items()}
    assert {kind: sorted(names.split()) for kind, names in MAGIC_NAMES.items()} == expected, (
        f"MAGIC_NAMES = {expected}"
    )


def test_every_builder_has_a_magic(shell: Shell) -> None:
    names = set(shell.ip.magics_manager.magics["line"])
    assert {"mj_imagine", "mj_action", "mj_task", "mj_tasks", "mj_queue", "mjci"} <= names
    assert {
        "ci_job",
        "ci_jobs",
        "ci_cancel",
        "ci_picture_job",
        "ci_batch",
        "ci_put_object",
    } <= names
    assert {"mj_imagine", "ci_job"} <= set(shell.ip.magics_manager.magics["cell"])
    for name in names:
        if name.startswith(("mj_", "ci_")):
            doc = shell.ip.magics_manager.magics["line"][name].__doc__
            assert doc.startswith(f"%{name}")
            assert "--dry-run" in doc
            shell.run(f"%{name} --help")
            assert shell.texts == [doc]


# --- a job in a cell ------------------------------------------------------------------------------


def test_imagine_publishes_card_and_picture(
    shell: Shell, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exactly two outputs, and nothing on stdout or stderr."""
    job = shell.run("%mj_imagine a red fox")
    assert shell.kinds == [CARD, PICTURE]
    assert isinstance(job, Job)
    assert job.status is Status.SUCCEEDED
    assert shell.texts[0].startswith(f"IMAGINE {job.id} SUCCEEDED\n  a red fox\n")
    assert re.fullmatch(rf"MJ {job.id} 1024×1024 png sha [0-9a-f]{{12}}", shell.texts[1])
    assert shell.outputs[1]["metadata"]["image/jpeg"]["alt"] == "IMAGINE: a red fox"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_result_is_stored_in_out_and_variable(
    shell: Shell, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is displayed as a card when evaluated again."""
    job = shell.run("%mj_imagine a red fox -o mine")
    assert shell.ip.user_ns["mine"] is shell.ip.user_ns["_"] is shell.ip.user_ns["Out"][1] is job
    capfd.readouterr()
    assert shell.run("mine") is job
    assert f"IMAGINE {job.id} SUCCEEDED" in capfd.readouterr().out
    shell.run("other = %mj_imagine a blue fox")
    assert shell.kinds == [CARD, PICTURE]
    assert shell.ip.user_ns["other"].subject == "a blue fox"
    capfd.readouterr()
    shell.run("[mine]")
    assert f"[<IMAGINE {job.id} SUCCEEDED>]" in capfd.readouterr().out


PROMPTS = (
    "a red fox, isn't it? --ar 3:2 --no wolves",
    "{red, green} bird::2 cat::-1 $5 $red {red} \"two words\" 'and' \\n --stylize 250",
    "why is the fox red?",
    "a fox (unclosed [and {more",
    'a """ fox',
    "--ar 16:9 a fox # not a comment",
)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_is_sent_byte_for_byte(shell: Shell, session: Session, prompt: str) -> None:
    """On a line, in an assignment and as a cell's body."""
    calls = record_calls(session)
    shell.ip.push({"red": 1, "green": 2})
    shell.run(f"%mj_imagine {prompt}")
    shell.run(f"job = %mj_imagine -o other {prompt}\nx = 1")
    shell.run(f"%%mj_imagine --state mine\n{prompt}\nsecond line\n")
    assert [json.loads(call.body)["prompt"] for call in calls] == [
        prompt,
        prompt,
        f"{prompt}\nsecond line",
    ]
    assert json.loads(calls[2].body)["state"] == "mine"


def test_only_prompts_keep_their_question_mark(shell: Shell) -> None:
    lines = [
        "%mj_imagine?",
        "%mj_imagine why?",
        "x = %mj_action 1 why?",
        "print(1)?",
        "%timeit why?",
    ]
    assert keep_question_marks(lines) == [
        "%mj_imagine?",
        "%mj_imagine why? ",
        "x = %mj_action 1 why? ",
        *lines[3:],
    ]
    assert keep_question_marks(["%%mj_imagine", "%mj_imagine why?"]) == [
        "%%mj_imagine",
        "%mj_imagine why?",
    ]


def test_prompt_placeholders_are_interpolated(shell: Shell) -> None:
    """An undefined one is an error that nbval can see."""
    shell.ip.push({"animal": "owl {x}"})
    assert shell.run("%mj_imagine an {{animal}}").subject == "an owl {x}"
    assert "There is no variable 'nope'" in shell.fails("%mj_imagine a {{nope}}")
    assert isinstance(shell.error, MjciError)


def test_action_finds_button_by_label_emoji_or_custom_id(shell: Shell, session: Session) -> None:
    """Of a task named by its ID, by a variable or by `_`."""
    job = shell.run("%mj_imagine a red fox -o job")
    assert shell.run(f"%mj_action {job.id} u2").action == "UPSCALE"
    assert shell.run("%mj_action _ Upscale (Subtle)").action.startswith("UPSCALE")
    assert shell.run("%mj_action job 🔄").action == "REROLL"
    assert shell.run("%mj_action job Reroll").action == "REROLL"
    assert shell.run(f"%mj_action {{{{job}}}} {job.find_button('V1').custom_id}").parent == job.id


def test_job_listings_are_frames(shell: Shell) -> None:
    first, second = (shell.run(f"%mj_imagine fox {n}") for n in (1, 2))
    assert list(shell.run("%mj_tasks").id) == [second.id, first.id]
    assert list(shell.run(f"%mj_tasks --ids {first.id},{second.id} -o df").id) == [
        first.id,
        second.id,
    ]
    assert isinstance(shell.ip.user_ns["df"], pd.DataFrame)
    assert len(shell.run("%mj_queue")) == 0
    shell.run("%%ci_job\n" + ROTATE)
    assert list(shell.run("%ci_jobs --tag PicProcess --states Success").subject) == [
        "input/deer.jpg"
    ]
    assert len(shell.run("%ci_jobs --states Failed")) == 0
    assert list(shell.run("%mjci history").service) == ["mj", "mj", "ci"]


def test_record_listings_are_frames(shell: Shell) -> None:
    """Queues, templates, workflows, buckets, objects, accounts: one column per element."""
    assert list(shell.run("%ci_queues").State.unique()) == ["Active"]
    shell.run("%ci_create_template small --rule imageMogr2/thumbnail/9x")
    shown = shell.run("%ci_templates --name small -o shown")
    assert shell.ip.user_ns["shown"] is shown
    assert list(shown.Name) == ["small"]
    assert list(shown["PicProcess.ProcessRule"]) == ["imageMogr2/thumbnail/9x"]
    assert list(shell.run("%ci_buckets").BucketId) == ["demo-1250000000"]
    assert list(shell.run("%ci_workflows").columns[-2:]) == [
        "Topology.Dependencies",
        "Topology.Nodes",
    ]
    assert isinstance(shell.run("%ci_executions"), pd.DataFrame)
    assert len(shell.run("%ci_executions")) == 0
    assert isinstance(shell.run("%mj_accounts"), pd.DataFrame)
    objects = shell.run("%ci_objects --prefix input/d")
    assert list(objects.key) == ["input/deer.jpg"]
    assert [str(kind) for kind in objects.dtypes] == [
        "string",
        "int64",
        "datetime64[us, UTC]",
        "string",
        "bool",
    ]
    assert list(shell.run("%ci_objects --prefix none/").columns) == [
        "key",
        "size",
        "changed",
        "etag",
        "is_folder",
    ]


def test_ci_job_accepts_toml_and_xml(shell: Shell) -> None:
    job = shell.run("%%ci_job -o job\n" + ROTATE)
    assert shell.kinds == [CARD, PICTURE]
    assert "rule: imageMogr2/rotate/90" in shell.texts[0]
    assert "667×1000 jpeg" in shell.texts[0]
    xml = """<Request><Tag>PicProcess</Tag><Input><Object>{{key}}</Object></Input><Operation>
    <PicProcess><ProcessRule>imageMogr2/thumbnail/100x</ProcessRule></PicProcess>
    <Output><Region>ap-chongqing</Region><Bucket>demo-1250000000</Bucket><Object>out/b.jpg</Object></Output>
    </Operation></Request>"""
    shell.ip.push({"key": "input/deer.jpg"})
    assert shell.run(f"%%ci_job\n{xml}").outputs[0].endswith("/out/b.jpg")
    assert shell.texts[1].startswith("CI ")
    assert shell.run("%ci_job job") == job
    assert shell.run(f"%ci_job {job.id}") == job


def test_batch_card_counts_its_jobs(shell: Shell) -> None:
    body = (
        'name = "all"\nprefix = "input/"\nrule = "imageMogr2/thumbnail/50x"\n'
        'output = "o/${InputName}.${Ext}"\n'
    )
    shell.run(f"%%ci_job\n{body}")
    assert re.search(r"jobs: \d+ \(\d+ succeeded\)", shell.texts[0])


def test_object_is_uploaded_and_downloaded(shell: Shell, tmp_path: Path) -> None:
    deer = shell.run("%ci_get_object input/deer.jpg")
    assert isinstance(deer, Picture)
    assert deer.startswith(b"\xff\xd8")
    data, _ = deer._repr_mimebundle_()
    assert sorted(data) == PICTURE
    (tmp_path / "a.jpg").write_bytes(deer)
    shell.run(f"%ci_put_object in/copy.jpg {tmp_path / 'a.jpg'}")
    assert shell.texts == ["put_object: done"]
    assert shell.run("%ci_get_object in/copy.jpg") == deer


def test_no_wait_returns_a_future(shell: Shell) -> None:
    handle = shell.run("%mj_imagine a red fox --no-wait -o handle")
    assert isinstance(handle, JobFuture)
    assert shell.kinds == [CARD]
    done = shell.run("await handle")
    assert done.status is Status.SUCCEEDED
    assert shell.run("handle.result()") is done
    assert shell.run("%mj_action handle U1").action == "UPSCALE"


def test_mode_is_an_option_and_is_not_text_of_the_prompt(shell: Shell, session: Session) -> None:
    """--mode asks for a speed; the prompt is left as it was written."""
    calls = record_calls(session)
    shell.run("%mj_imagine a fox --mode relax --ar 3:2")
    body = json.loads(calls[0].body)
    assert body["prompt"] == "a fox --ar 3:2"
    assert body["accountFilter"] == {"modes": ["RELAX"]}
    assert "one of fast, relax, turbo" in str(shell.fails("%mj_imagine a fox --mode slow"))


def test_dry_run_shows_request_and_sends_nothing(shell: Shell, session: Session) -> None:
    """A label needs no request if the task is known."""
    job = shell.run("%mj_imagine a red fox")
    requests: list[Any] = []
    session.client.transport.send = lambda call, *_: requests.append(call)  # type: ignore[assignment, method-assign, return-value]
    assert shell.run("%mj_imagine --dry-run a {fox} $5") is None
    assert '{"prompt":"a {fox} $5"' in shell.texts[0]
    assert "mj-api-secret: ***" in shell.texts[0]
    shell.run(f"%mj_action {job.id} U1 --dry-run")
    assert job.find_button("U1").custom_id in shell.texts[0]
    shell.run("%%ci_job --dry-run\n" + ROTATE)
    assert "authorization: ***" in shell.texts[0].lower()
    assert "<ProcessRule>imageMogr2/rotate/90</ProcessRule>" in shell.texts[0]
    shell.run("%ci_jobs --states Failed --dry-run")
    assert "states=Failed" in shell.texts[0]
    assert "not known yet" in shell.fails("%mj_action 99 U1 --dry-run")
    assert requests == []


def test_submission_waits_for_a_full_queue(shell: Shell, session: Session) -> None:
    """The sandbox runs three tasks and queues ten."""
    for number in range(13):
        session.mj.imagine(f"fox {number}").run()
    assert shell.run("%mj_imagine the last fox").subject == "the last fox"
    assert shell.kinds == [CARD, PICTURE]


# --- what goes wrong ------------------------------------------------------------------------------


def test_failed_job_shows_card_and_fails_the_cell(shell: Shell) -> None:
    """The variable of -o holds the failed job."""
    message = shell.fails(
        '%%ci_job -o job\ninput = "no/such.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "o.jpg"'
    )
    assert isinstance(shell.error, JobFailed)
    assert "NoSuchKey" in message
    assert shell.kinds == [CARD]
    assert "FAILED" in shell.texts[0]
    assert shell.ip.user_ns["job"].status is Status.FAILED
    assert shell.run("%ci_job job").status is Status.FAILED  # looking at it is no failure


# (cell, the error, what it says)
INVALID_CELLS: tuple[tuple[str, type[Exception], str], ...] = (
    ("%mj_task 99", MidjourneyError, "Task 99 was not found."),
    ("%mj_action 99 U1", MidjourneyError, "Task 99 was not found."),
    ("%ci_job j99", CIError, "Job j99 was not found."),
    ("%%ci_job\ninput = ", MjciError, "line 1, column 9"),
    ("%%ci_job\n<Request>\n<a></b></Request>", MjciError, "line 2, column 6"),
    ("%%ci_job\n" + ROTATE.replace("rule", "rul"), MjciError, "Did you mean rule?"),
    ("%ci_get_object no/such", CIError, "NoSuchKey"),
    ("%mj_imagine", MjciError, "The prompt is empty."),
    ("%mj_imagine --images /no/such.png a fox", MjciError, "Cannot read the picture"),
    ("%mjci replay", SettingsError, "Which recording?"),
    ("%mjci use nobody", SettingsError, "nobody is not a session."),
    ("%mjci connect --mj-secret=hush", SettingsError, "MJCI_MJ_SECRET"),
    ("%mjci connect --ci-secret-key hush", SettingsError, "MJCI_CI_SECRET_KEY"),
    ("%mjci connect --profile nope", SettingsError, "There is no profile 'nope'"),
    ("%mj_task", UsageError, "TASK_ID is missing."),
    ("%mj_tasks --idss 1", UsageError, "Did you mean --ids?"),
    ("%mj_task 1 -o 1x", UsageError, "-o needs a variable name"),
    ("%mj_imagine --bot NOBODY a fox", UsageError, "MID_JOURNEY"),
    ("%%mj_imagine a fox\nbody", UsageError, "The prompt is the cell's body."),
    ("%%ci_job input\n" + ROTATE, UsageError, "in the cell's body"),
    ("%mjci statsu", UsageError, "Did you mean status?"),
    ("%mjci panel foo", UsageError, "mj, ci, history, status"),
    ("%mjci sandbox --speed fast", UsageError, "--speed must be a number"),
)


@pytest.mark.parametrize(
    ("cell", "kind", "message"), INVALID_CELLS, ids=[row[0][:30] for row in INVALID_CELLS]
)
def test_invalid_cell_fails_with_short_message(
    shell: Shell,
    session: Session,
    cell: str,
    kind: type[Exception],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Two to four lines, no submission, no secret. Only an invalid line is a UsageError, which
    nbval does not see.
    """
    calls = record_calls(session)
    assert message in shell.fails(cell)
    assert isinstance(shell.error, kind)
    shown = "".join(capfd.readouterr())
    assert 1 <= len(shown.strip().splitlines()) <= 4
    assert "hush" not in shown
    assert calls == []


def test_unknown_button_lists_available_ones(shell: Shell) -> None:
    shell.run("%mj_imagine a red fox -o job")
    assert "Available: U1, U2, U3, U4, 🔄, V1, V2, V3, V4." in shell.fails("%mj_action job U9")


def test_service_errors_are_short_and_hide_secrets(
    shell: Shell, session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = jupyter_mjci.sandbox(mj_secret="hush-hush", ci_secret_key="hush-hush")
    shell.ip.push({"s": wrong})
    for cell in ("%mj_imagine a fox", "%mj_tasks", "%%ci_job\n" + ROTATE, "%ci_jobs"):
        shell.fails(cell)
        shown = "".join(capfd.readouterr())
        assert 2 <= len(shown.strip().splitlines()) <= 4
        assert "hush" not in shown
    wrong.close()


PAGE = httpx.Response(200, html="<!DOCTYPE html><html><body>hush-hush</body></html>")
RESPONSES: tuple[tuple[str, httpx.Response, str], ...] = (
    ("%mj_tasks", PAGE, "Unsupported"),
    ("%mj_imagine a fox", PAGE, "Unsupported"),
    ("%mj_task 1", httpx.Response(200, content=b"{cut"), "InvalidResponse"),
    ("%mj_task 1", httpx.Response(502, content=b""), "MidjourneyError"),
    ("%ci_jobs", httpx.Response(200, html="<html><body>x</body>"), "InvalidResponse"),
    ("%ci_jobs", httpx.Response(403, content=b"denied"), "CIError"),
)


@pytest.mark.parametrize(("cell", "answer", "name"), RESPONSES)
def test_unexpected_responses_fail_with_short_message(
    empty_shell: Shell,
    cell: str,
    answer: httpx.Response,
    name: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An HTML page, a truncated body, a gateway's error."""
    settings = load_settings(
        {
            "mj_url": "http://proxy.example",
            "mj_secret": "hush-hush",
            "ci_secret_id": "id",
            "ci_secret_key": "hush-hush",
            "ci_bucket": "b-1",
            "ci_region": "r",
        },
        environ={},
    )
    transport = httpx.MockTransport(lambda _: answer)
    with Session(settings, transport=transport, clock=VirtualClock(math.inf)) as session:
        empty_shell.ip.push({"s": session})
        empty_shell.fails(cell)
    assert type(empty_shell.error).__name__ == name
    shown = "".join(capfd.readouterr())
    assert 2 <= len(shown.strip().splitlines()) <= 4
    assert "hush" not in shown


# --- which session --------------------------------------------------------------------------------


def test_first_magic_connects_and_publishes_one_notice(empty_shell: Shell) -> None:
    empty_shell.run("%mj_queue")
    assert len(empty_shell.texts) == 1
    assert "embedded sandbox" in empty_shell.texts[0]
    empty_shell.run("%mj_queue")
    assert empty_shell.texts == []


def test_only_session_in_namespace_is_used(empty_shell: Shell, session: Session) -> None:
    """Of two, one must be selected."""
    chosen = _EXTENSIONS[empty_shell.ip].magics.current_session
    empty_shell.ip.push({"mine": session, "same": session})
    assert chosen.get_or_connect() is session
    with jupyter_mjci.sandbox() as other:
        empty_shell.ip.push({"other": other})
        assert "There are several sessions: mine, other." in empty_shell.fails("%mj_queue")
        assert empty_shell.run("%mjci use other") is other
        assert chosen.get_or_connect() is other
        assert (
            empty_shell.run("%mjci sandbox --speed inf --dialect java -o third")
            is chosen.get_or_connect()
        )
        assert chosen.get_or_connect() not in (session, other)
        chosen.get_or_connect().close()


def test_connect_uses_flags_and_environment(
    empty_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MJCI_MJ_SECRET", "hush")
    session = empty_shell.run("%mjci connect --mj-url http://127.0.0.1:9 --timeout 1.5")
    assert session.settings.mj_url == "http://127.0.0.1:9"
    assert session.settings.mj_secret == Secret("hush")
    assert session.settings.timeout == 1.5
    session.client.clock = VirtualClock(math.inf)  # trying again takes no time
    message = empty_shell.fails("%mj_queue")
    assert "No response from http://127.0.0.1:9." in message
    empty_shell.run("%mjci doctor")
    assert "set (environment: MJCI_MJ_SECRET)" in empty_shell.texts[0]
    assert "hush" not in str(empty_shell.outputs) + message
    session.close()


@pytest.mark.parametrize(
    ("is_ours", "described"),
    [
        (True, "asyncio is patched by this package, for its own loop; the kernel's is as it was"),
        (False, "asyncio is patched (nest_asyncio)"),
    ],
)
def test_doctor_tells_who_has_patched_asyncio(
    monkeypatch: pytest.MonkeyPatch, is_ours: bool, described: str
) -> None:
    monkeypatch.setattr(event_loop, "has_patched_asyncio", lambda: is_ours)
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    monkeypatch.setattr(asyncio.run, "__module__", "nest_asyncio")
    assert describe_asyncio().startswith(described)


def test_status_and_doctor_report_without_secrets(shell: Shell) -> None:
    shell.run("%mj_imagine a fox")
    shell.run("%mjci status")
    assert "your variable s" in shell.texts[0]
    assert "1 succeeded" in shell.texts[0]
    shell.run("%mjci doctor")
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in shell.texts[0].splitlines())
    assert rows["Midjourney secret"] == "ok: accepted as secret (mj-api-secret)"
    assert rows["Tencent CI signature"] == "ok: accepted"
    # From Python 3.14 on, a callback of another test that calls `run` has it patched.
    if sys.version_info < (3, 14) or not hasattr(asyncio, "_nest_patched"):
        assert rows["event loop"] == "asyncio is not patched"
    assert rows["cells"] == "headless: only final outputs; IPython without a kernel"
    settings = shell.run("s.settings")
    for secret in (settings.mj_secret, settings.ci_secret_key):
        assert secret.reveal() not in str(shell.outputs)


def test_front_end_is_detected(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.ip.push({"__vsc_ipynb_file__": "/home/me/a.ipynb"})
    assert detect_front_end(shell.ip) == "Visual Studio Code"
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setattr("jupyter_mjci.notebook.doctor.find_spec", lambda _: None)
    assert detect_front_end(shell.ip).startswith("Google Colab; panels cannot paint masks")


def test_resume_follows_unfinished_jobs(shell: Shell, session: Session) -> None:
    left = session.mj.imagine("a red fox").run()
    assert list(shell.run("%mjci resume").id) == [left.id]
    assert shell.kinds == [CARD, PICTURE]
    assert len(shell.run("%mjci resume")) == 0


def submit_and_leave(session: Session, *prompts: str) -> list[Job]:
    """Submit tasks one second after the other, and wait until they have ended at the service."""
    assert session.sandbox is not None
    jobs = []
    for prompt in prompts:
        jobs.append(session.mj.imagine(prompt).run())
        session.sandbox.clock.advance(1)
    session.sandbox.clock.advance(600)
    return jobs


def test_resume_shows_what_ended_unseen(shell: Shell, session: Session) -> None:
    """Ended when a listing, a sync or a webhook told it, and nobody followed; each once."""
    ended = submit_and_leave(session, "a fox", "a stag", "an owl")
    session.tasks()
    followed = session.mj.imagine("a followed owl")
    session.follow(followed).run()
    (asked,) = submit_and_leave(session, "an owl that was asked for")
    assert session.mj.task(asked.id).run().status is Status.SUCCEEDED
    session.tasks()
    frame = shell.run("%mjci resume")
    assert list(frame.id) == [job.id for job in reversed(ended)]
    assert set(frame.status) == {"SUCCEEDED"}
    assert shell.kinds == [CARD, PICTURE] * 3
    assert [ended[2 - number].id in shell.texts[2 * number] for number in range(3)] == [True] * 3
    assert len(shell.run("%mjci resume")) == 0


def test_resume_shows_the_latest_and_counts_the_rest(
    shell: Shell, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "MAX_RESUMED_CARDS", 1)
    submit_and_leave(session, "a fox 0", "a fox 1", "a fox 2")
    session.sync()
    frame = shell.run("%mjci resume")
    assert list(frame.subject) == ["a fox 2", "a fox 1", "a fox 0"]
    assert "a fox 2" in shell.texts[0]
    assert shell.kinds[:2] == [CARD, PICTURE]
    assert "2 more have ended: they are in the table." in shell.texts


def test_card_of_a_job_that_ended_unseen_needs_no_resume(shell: Shell, session: Session) -> None:
    (job,) = submit_and_leave(session, "a red fox")
    session.tasks()
    shell.run(f"%mj_task {job.id}")
    assert len(shell.run("%mjci resume")) == 0


def test_resume_names_jobs_that_wait_for_input(shell: Shell, session: Session) -> None:
    done = session.follow(session.mj.imagine("a red fox")).run()
    zoomed = session.follow(
        session.mj.action(session.follow(session.mj.action(done, "U1")).run(), "Custom Zoom")
    ).run()
    assert zoomed.status is Status.NEEDS_INPUT
    shell.run("%mjci resume")
    assert f"%mj_modal {zoomed.id}" in "".join(shell.texts)


def test_resume_names_submissions_of_unknown_outcome(empty_shell: Shell) -> None:
    """Without a listing nothing can be searched for: the row stays, with its time and reason."""
    session = jupyter_mjci.sandbox(speed=math.inf, dialect="new-api")
    empty_shell.ip.push({"s": session})
    assert session.sandbox is not None
    session.sandbox.faults.add("drop_after", route="POST /mj/submit/*", times=1)
    with pytest.raises(TransportError):
        session.mj.imagine("a red fox").run()
    empty_shell.run("%mjci resume")
    (text,) = [text for text in empty_shell.texts if "Left as they are" in text]
    (row,) = session.unresolved_submissions()
    assert f"imagine of 2026-01-01 00:00 UTC at {row.origin} ({row.marker}): unknown" in text
    assert "this server has no listing." in text
    assert empty_shell.run(f"%mjci resume --forget {row.marker}") is None
    assert f"Closed: imagine ({row.marker})." in empty_shell.texts
    assert session.describe_unresolved() == []
    assert [known.state for known in session.journal.submissions()] == ["forgotten"]


# --- completion -----------------------------------------------------------------------------------

COMPLETIONS: tuple[tuple[str, str, list[str]], ...] = (
    ("%mjci st", "st", ["status"]),
    ("%mjci panel ", "", ["mj", "ci", "history", "status", "--kind"]),
    ("%mjci sandbox --dialect ja", "ja", ["java"]),
    ("%mj_tasks --i", "--i", ["--ids"]),
    ("%mj_imagine --ea", "--ea", ["--each"]),
    ("%%ci_job --at", "--at", ["--at-once"]),
    ("%mj_task --ea", "--ea", []),
    ("x = %mj_imagine a fox --dry", "--dry", ["--dry-run"]),
    ("%mj_imagine --bot niji", "niji", ["NIJI_JOURNEY"]),
    ("%mj_imagine a re", "", []),
    ("print(%", "", []),
)


@pytest.mark.parametrize(("line", "fragment", "found"), COMPLETIONS)
def test_commands_flags_and_choices_are_completed(
    shell: Shell, line: str, fragment: str, found: list[str]
) -> None:
    """Prompts are not completed."""
    magics = _EXTENSIONS[shell.ip].magics
    assert complete_line(magics, line, 0, line) == (fragment, found)


def test_known_ids_and_buttons_are_completed(shell: Shell, session: Session) -> None:
    """Newest first, without any request; labels may contain blanks."""
    job = shell.run("%mj_imagine a red fox -o job")
    upscale = shell.run("%mj_action job U1")
    session.client.transport.send = None  # type: ignore[assignment, method-assign]
    magics = _EXTENSIONS[shell.ip].magics

    def complete(line: str) -> tuple[str, list[str]]:
        return complete_line(magics, line, 0, line)

    assert complete("%mj_task ") == ("", ["job", upscale.id, job.id])
    assert complete(f"%mj_action {job.id[:-1]}") == (job.id[:-1], [job.id])
    assert complete("%mj_action job U") == ("U", ["U1", "U2", "U3", "U4"])
    assert complete(f"%mj_action {upscale.id} Upscale (S") == ("Upscale (S", ["Upscale (Subtle)"])
    assert complete_line(magics, "%%ci_job\nru", 1, "ru") == ("ru", ["rule = "])


def test_shell_completer_uses_the_matcher(shell: Shell) -> None:
    with provisionalcompleter():
        found = [completion.text for completion in shell.ip.Completer.completions("%mjci st", 8)]
    assert found == ["status"]
