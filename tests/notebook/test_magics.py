"""The magics in a real shell, on the sandbox."""

from __future__ import annotations

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
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import Secret, Settings
from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.errors import CIError, JobFailed, MidjourneyError, MjciError, SettingsError
from jupyter_mjci.notebook.completion import complete_line
from jupyter_mjci.notebook.doctor import detect_front_end
from jupyter_mjci.notebook.extension import _EXTENSIONS, MAGIC_NAMES, keep_question_marks
from jupyter_mjci.notebook.job_future import JobFuture
from jupyter_mjci.notebook.job_results import ObjectBytes
from jupyter_mjci.notebook.magics import Magics
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

ROTATE = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "output/out.jpg"\n'
CARD, PICTURE = ["text/html", "text/plain"], ["image/jpeg", "text/plain"]


def sent(session: Session) -> list[Any]:
    """Notes every call that leaves the session from now on."""
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


def test_loading_is_light() -> None:
    """`%load_ext` brings in nobody's library but ours, and not even asyncio; so it patches
    nothing.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOADING], capture_output=True, text=True, check=True
    )
    assert "jupyter_mjci" in done.stdout
    assert set(done.stdout.split()) <= {"IPython", "jupyter_mjci"}
    assert done.stderr == ""


def test_the_names_that_are_loaded_are_those_of_the_builders() -> None:
    """Loading looks at no builder, so their names stand in a table; here it is compared."""
    made: dict[str, list[str]] = {"line": [], "line_cell": []}
    for magic in Magics(None).iter_magics():
        made[magic.kind].append(magic.name)
    told = {kind: sorted(names) for kind, names in made.items()}
    assert {kind: sorted(names.split()) for kind, names in MAGIC_NAMES.items()} == told, (
        f"NAMES = {told}"
    )


def test_every_call_has_a_magic(shell: Shell) -> None:
    """By its builder's own name, with help from its own docstring."""
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


def test_a_bare_magic_shows_its_card_and_its_picture(
    shell: Shell, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two outputs and no third, nothing on stderr; the value is the finished job."""
    job = shell.run("%mj_imagine a red fox")
    assert shell.kinds == [CARD, PICTURE]
    assert isinstance(job, Job)
    assert job.status is Status.SUCCEEDED
    assert shell.texts[0].startswith(f"IMAGINE {job.id} SUCCEEDED\n  a red fox\n")
    assert re.fullmatch(rf"MJ {job.id} 1024×1024 png sha [0-9a-f]{{12}}", shell.texts[1])
    assert shell.outputs[1]["metadata"]["image/jpeg"]["alt"] == "IMAGINE: a red fox"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_value_is_kept_everywhere(shell: Shell, capfd: pytest.CaptureFixture[str]) -> None:
    """In `_`, in `Out`, in the variable of -o; and shown as a card when asked for again."""
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
def test_prompts_arrive_byte_for_byte(shell: Shell, session: Session, prompt: str) -> None:
    """On a line, assigned, and as a cell's body, whatever variables there are."""
    calls = sent(session)
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


def test_help_is_still_to_be_had(shell: Shell) -> None:
    """The question mark of a prompt is kept, the one of help is not taken away."""
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


def test_variables_are_filled_in(shell: Shell) -> None:
    """`{{name}}`, and an unknown one is an error that nbval can see."""
    shell.ip.push({"animal": "owl {x}"})
    assert shell.run("%mj_imagine an {{animal}}").subject == "an owl {x}"
    assert "There is no variable 'nope'" in shell.fails("%mj_imagine a {{nope}}")
    assert isinstance(shell.error, MjciError)


def test_a_button_is_pressed_by_its_name(shell: Shell, session: Session) -> None:
    """By label, emoji, label with blanks, customId; of an id, a variable, `_`."""
    job = shell.run("%mj_imagine a red fox -o job")
    assert shell.run(f"%mj_action {job.id} u2").action == "UPSCALE"
    assert shell.run("%mj_action _ Upscale (Subtle)").action.startswith("UPSCALE")
    assert shell.run("%mj_action job 🔄").action == "REROLL"
    assert shell.run("%mj_action job Reroll").action == "REROLL"
    assert shell.run(f"%mj_action {{{{job}}}} {job.find_button('V1').custom_id}").parent == job.id


def test_jobs_become_frames(shell: Shell) -> None:
    """Listings are DataFrames, also when empty; ids choose."""
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


def test_other_listings_become_frames_too(shell: Shell) -> None:
    """Queues, templates, workflows, buckets, objects: a column for each element, texts as texts."""
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
    objects = shell.run("%ci_objects --prefix input/d")
    assert list(objects.key) == ["input/deer.jpg"]
    assert [str(kind) for kind in objects.dtypes] == [
        "string",
        "int64",
        "datetime64[us, UTC]",
        "string",
    ]
    assert list(shell.run("%ci_objects --prefix none/").columns) == [
        "key",
        "size",
        "changed",
        "etag",
    ]


def test_a_ci_job_from_the_short_form_and_from_xml(shell: Shell) -> None:
    """Both give a card with rule and size, and the picture that was made."""
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


def test_a_batch_tells_its_jobs(shell: Shell) -> None:
    """A name makes it one; the card counts what it made."""
    body = 'name = "all"\nprefix = "input/"\nrule = "imageMogr2/thumbnail/50x"\noutput = "o/${InputName}.${Ext}"\n'
    shell.run(f"%%ci_job\n{body}")
    assert re.search(r"jobs: \d+ \(\d+ succeeded\)", shell.texts[0])


def test_objects_are_put_and_got(shell: Shell, tmp_path: Path) -> None:
    """A file goes up; what comes down shows itself as a picture and is its bytes."""
    deer = shell.run("%ci_get_object input/deer.jpg")
    assert isinstance(deer, ObjectBytes)
    assert deer.startswith(b"\xff\xd8")
    data, _ = deer._repr_mimebundle_()
    assert sorted(data) == PICTURE
    (tmp_path / "a.jpg").write_bytes(deer)
    shell.run(f"%ci_put_object in/copy.jpg {tmp_path / 'a.jpg'}")
    assert shell.texts == ["put_object: done"]
    assert shell.run("%ci_get_object in/copy.jpg") == deer


def test_no_wait_returns_at_once(shell: Shell) -> None:
    """One card, and a handle that can be awaited, asked and named."""
    handle = shell.run("%mj_imagine a red fox --no-wait -o handle")
    assert isinstance(handle, JobFuture)
    assert shell.kinds == [CARD]
    done = shell.run("await handle")
    assert done.status is Status.SUCCEEDED
    assert shell.run("handle.result()") is done
    assert shell.run("%mj_action handle U1").action == "UPSCALE"


def test_a_dry_run_sends_nothing(shell: Shell, session: Session) -> None:
    """It shows the exact request, secrets hidden; a label needs no request where the task is
    known.
    """
    job = shell.run("%mj_imagine a red fox")
    requests: list[Any] = []
    session.transport.send = lambda call: requests.append(call)  # type: ignore[assignment, method-assign, return-value]
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


def test_a_full_queue_is_waited_for(shell: Shell, session: Session) -> None:
    """Three run and ten wait; the fourteenth takes its turn."""
    for number in range(13):
        session.mj.imagine(f"fox {number}").run()
    assert shell.run("%mj_imagine the last fox").subject == "the last fox"
    assert shell.kinds == [CARD, PICTURE]


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_failed_job_shows_its_card_and_fails_the_cell(shell: Shell) -> None:
    """Nothing is lost: the card tells why, -o keeps the job."""
    said = shell.fails(
        '%%ci_job -o job\ninput = "no/such.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "o.jpg"'
    )
    assert isinstance(shell.error, JobFailed)
    assert "NoSuchKey" in said
    assert shell.kinds == [CARD]
    assert "FAILED" in shell.texts[0]
    assert shell.ip.user_ns["job"].status is Status.FAILED
    assert shell.run("%ci_job job").status is Status.FAILED  # looking at it is no failure


# (cell, the error, what it says)
WRONG: tuple[tuple[str, type[Exception], str], ...] = (
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
    ("%mjci use nobody", SettingsError, "nobody is no session."),
    ("%mjci connect --mj-secret=hush", SettingsError, "MJCI_MJ_SECRET"),
    ("%mjci connect --ci-secret-key hush", SettingsError, "MJCI_CI_SECRET_KEY"),
    ("%mjci connect --profile nope", SettingsError, "There is no profile 'nope'"),
    ("%mj_task", UsageError, "TASK_ID is missing."),
    ("%mj_tasks --idss 1", UsageError, "Did you mean --ids?"),
    ("%mj_task 1 -o 1x", UsageError, "-o wants the name of a variable"),
    ("%mj_imagine --bot NOBODY a fox", UsageError, "MID_JOURNEY"),
    ("%%mj_imagine a fox\nbody", UsageError, "The prompt is the cell's body."),
    ("%%ci_job input\n" + ROTATE, UsageError, "in the cell's body"),
    ("%mjci statsu", UsageError, "Did you mean status?"),
    ("%mjci panel foo", UsageError, "mj, ci, history, status"),
    ("%mjci sandbox --speed fast", UsageError, "--speed wants a number"),
)


@pytest.mark.parametrize(("cell", "kind", "said"), WRONG, ids=[row[0][:30] for row in WRONG])
def test_what_is_wrong_is_said_shortly(
    shell: Shell,
    session: Session,
    cell: str,
    kind: type[Exception],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Two to four lines, no submission, no secret. Only a wrong line is a UsageError, which test
    runs cannot see.
    """
    calls = sent(session)
    assert said in shell.fails(cell)
    assert isinstance(shell.error, kind)
    shown = "".join(capfd.readouterr())
    assert 1 <= len(shown.strip().splitlines()) <= 4
    assert "hush" not in shown
    assert calls == []


def test_a_wrong_button_names_those_that_exist(shell: Shell) -> None:
    """With what to do next."""
    shell.run("%mj_imagine a red fox -o job")
    assert "Available: U1, U2, U3, U4, 🔄, V1, V2, V3, V4." in shell.fails("%mj_action job U9")


def test_the_services_refusals_are_short_and_keep_secrets(
    shell: Shell, session: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong secret, for both services."""
    wrong = jupyter_mjci.sandbox(mj_secret="hush-hush", ci_secret_key="hush-hush")
    shell.ip.push({"s": wrong})
    for cell in ("%mj_imagine a fox", "%mj_tasks", "%%ci_job\n" + ROTATE, "%ci_jobs"):
        shell.fails(cell)
        shown = "".join(capfd.readouterr())
        assert 2 <= len(shown.strip().splitlines()) <= 4
        assert "hush" not in shown
    wrong.close()


PAGE = httpx.Response(200, html="<!DOCTYPE html><html><body>hush-hush</body></html>")
DOORS: tuple[tuple[str, httpx.Response, str], ...] = (
    ("%mj_tasks", PAGE, "Unsupported"),
    ("%mj_imagine a fox", PAGE, "Unsupported"),
    ("%mj_task 1", httpx.Response(200, content=b"{cut"), "InvalidResponse"),
    ("%mj_task 1", httpx.Response(502, content=b""), "MidjourneyError"),
    ("%ci_jobs", httpx.Response(200, html="<html><body>x</body>"), "InvalidResponse"),
    ("%ci_jobs", httpx.Response(403, content=b"denied"), "CIError"),
)


@pytest.mark.parametrize(("cell", "answer", "name"), DOORS)
def test_answers_of_somebody_else_are_said_shortly(
    empty_shell: Shell,
    cell: str,
    answer: httpx.Response,
    name: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A web page, half an answer, a gateway's refusal."""
    settings = Settings(
        mj_url="http://proxy.example",
        mj_secret=Secret("hush-hush"),
        ci_secret_id="id",
        ci_secret_key=Secret("hush-hush"),
        ci_bucket="b-1",
        ci_region="r",
    )
    door = httpx.MockTransport(lambda _: answer)
    with Session(settings, transport=door, clock=VirtualClock(math.inf)) as session:
        empty_shell.ip.push({"s": session})
        empty_shell.fails(cell)
    assert type(empty_shell.error).__name__ == name
    shown = "".join(capfd.readouterr())
    assert 2 <= len(shown.strip().splitlines()) <= 4
    assert "hush" not in shown


# --- which session --------------------------------------------------------------------------------


def test_the_first_magic_connects_and_says_so_once(empty_shell: Shell) -> None:
    """One line as an output, in the first cell only."""
    empty_shell.run("%mj_queue")
    assert len(empty_shell.texts) == 1
    assert "embedded sandbox" in empty_shell.texts[0]
    empty_shell.run("%mj_queue")
    assert empty_shell.texts == []


def test_the_only_session_around_is_taken(empty_shell: Shell, session: Session) -> None:
    """A variable of the user's; with two, a choice is asked for; one that is chosen stays."""
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


def test_connect_takes_settings_and_the_environment(
    empty_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags are the settings' own names."""
    monkeypatch.setenv("MJCI_MJ_SECRET", "hush")
    session = empty_shell.run("%mjci connect --mj-url http://127.0.0.1:9 --timeout 1.5")
    assert session.settings.mj_url == "http://127.0.0.1:9"
    assert session.settings.mj_secret == Secret("hush")
    assert session.settings.timeout == 1.5
    session.clock = VirtualClock(math.inf)  # trying again takes no time
    said = empty_shell.fails("%mj_queue")
    assert "No response from http://127.0.0.1:9." in said
    empty_shell.run("%mjci doctor")
    assert "set (environment: MJCI_MJ_SECRET)" in empty_shell.texts[0]
    assert "hush" not in str(empty_shell.outputs) + said
    session.close()


def test_status_and_doctor_tell_what_is_there(shell: Shell) -> None:
    """Versions, session, credentials and reachability, and no secret."""
    shell.run("%mj_imagine a fox")
    shell.run("%mjci status")
    assert "your variable s" in shell.texts[0]
    assert "1 succeeded" in shell.texts[0]
    shell.run("%mjci doctor")
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in shell.texts[0].splitlines())
    assert rows["Midjourney secret"] == "ok: accepted as secret (mj-api-secret)"
    assert rows["Tencent CI signature"] == "ok: accepted"
    assert rows["event loop"] == "asyncio is as Python made it"
    assert rows["cells"] == "headless: only final outputs; IPython without a kernel"
    told = shell.run("s.settings")
    for secret in (told.mj_secret, told.ci_secret_key):
        assert secret.reveal() not in str(shell.outputs)


def test_the_doctor_knows_front_ends(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they leave in the kernel; and what panels lack there."""
    shell.ip.push({"__vsc_ipynb_file__": "/home/me/a.ipynb"})
    assert detect_front_end(shell.ip) == "Visual Studio Code"
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setattr("jupyter_mjci.notebook.doctor.find_spec", lambda _: None)
    assert detect_front_end(shell.ip).startswith("Google Colab; panels cannot paint masks")


def test_resume_picks_up_what_was_left(shell: Shell, session: Session) -> None:
    """Unfinished jobs are followed to their end, each with its card and picture."""
    left = session.mj.imagine("a red fox").run()
    assert list(shell.run("%mjci resume").id) == [left.id]
    assert shell.kinds == [CARD, PICTURE]
    assert len(shell.run("%mjci resume")) == 0


# --- completion -----------------------------------------------------------------------------------

COMPLETED: tuple[tuple[str, str, list[str]], ...] = (
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


@pytest.mark.parametrize(("line", "fragment", "found"), COMPLETED)
def test_lines_are_completed(shell: Shell, line: str, fragment: str, found: list[str]) -> None:
    """Commands, flags and choices; prompts are left alone."""
    magics = _EXTENSIONS[shell.ip].magics
    assert complete_line(magics, line, 0, line) == (fragment, found)


def test_ids_and_buttons_are_completed_from_what_was_seen(shell: Shell, session: Session) -> None:
    """Without any request, newest first; labels with blanks too."""
    job = shell.run("%mj_imagine a red fox -o job")
    upscale = shell.run("%mj_action job U1")
    session.transport.send = None  # type: ignore[assignment, method-assign]
    magics = _EXTENSIONS[shell.ip].magics

    def complete(line: str) -> tuple[str, list[str]]:
        return complete_line(magics, line, 0, line)

    assert complete("%mj_task ") == ("", [upscale.id, job.id])
    assert complete(f"%mj_action {job.id[:-1]}") == (job.id[:-1], [job.id])
    assert complete("%mj_action job U") == ("U", ["U1", "U2", "U3", "U4"])
    assert complete(f"%mj_action {upscale.id} Upscale (S") == ("Upscale (S", ["Upscale (Subtle)"])
    assert complete_line(magics, "%%ci_job\nru", 1, "ru") == ("ru", ["rule = "])


def test_the_completer_of_the_shell_asks_us(shell: Shell) -> None:
    """Through IPython's own door, and nothing else mixes in."""
    with provisionalcompleter():
        found = [one.text for one in shell.ip.Completer.completions("%mjci st", 8)]
    assert found == ["status"]
