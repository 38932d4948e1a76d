"""A third service, added by a package of its own: tests/plugins/replicate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import Outcome, get_outcome
from jupyter_mjci.client.redaction import find_secrets, redact
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.faults import Fault
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.errors import (
    InvalidRequest,
    JobFailed,
    ServiceError,
    SettingsError,
    TransportError,
)
from jupyter_mjci.notebook.completion import complete_line
from jupyter_mjci.notebook.extension import _EXTENSIONS
from jupyter_mjci.services.json_service import parse_urls
from jupyter_mjci.session import Session
from mjci_replicate.api import parse_record
from mjci_replicate.emulator import TOKEN
from tests.notebook.conftest import Shell, with_magics

MODEL = "black-forest-labs/flux-schnell"
LOSE_RESPONSE = Fault("drop_after", route="POST *", times=1)
Predict = Callable[[str], Call[Job]]


@pytest.fixture
def predict(session: Session) -> Predict:
    return lambda prompt: session.rp.predict(prompt, model=MODEL)


def test_prediction_ends_with_a_picture(session: Session, predict: Predict) -> None:
    job = session.follow(predict("a red fox")).run()
    assert (job.service, job.action, job.subject) == ("rp", MODEL, "a red fox")
    assert (job.status, job.progress, len(job.id)) == (Status.SUCCEEDED, 100, 26)
    assert job.finished - job.started == timedelta(seconds=5)
    assert session.picture(job).run().startswith(b"\x89PNG")


def test_statuses_follow_each_other(session: Session, predict: Predict) -> None:
    statuses = [job.status for job in session.follow(predict("a red fox"))]
    assert list(dict.fromkeys(statuses)) == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_failed_prediction_is_no_error_response(session: Session, predict: Predict) -> None:
    with pytest.raises(JobFailed, match="E1001"):
        session.follow(predict("this will fail")).run()


def test_batch_mixes_services(session: Session, predict: Predict) -> None:
    calls = [predict("a fox"), session.mj.imagine("an owl"), predict("a cat")]
    jobs = session.batch(calls).run()
    assert sorted(job.service for job in jobs) == ["mj", "rp", "rp"]
    assert {job.status for job in jobs} == {Status.SUCCEEDED}


def test_history_has_every_service_in_one_frame(session: Session, predict: Predict) -> None:
    picture = session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="output/deer.jpg"
    )
    session.batch([predict("a fox"), session.mj.imagine("an owl"), picture]).run()
    frame = session.history()
    assert sorted(frame["service"]) == ["ci", "mj", "rp"]
    assert set(frame["status"]) == {"SUCCEEDED"}
    assert frame["run_time"].notna().all()


def test_listing_is_read_page_by_page(session: Session, predict: Predict) -> None:
    session.batch([predict(f"fox {number}") for number in range(103)], max_jobs=200).run()
    listing = session.rp.predictions(limit=None)
    prompts = [job.subject for job in listing.run()]
    assert len(set(prompts)) == 103
    assert len(listing.first_page.run().items) == 100
    assert len(session.rp.predictions(limit=5).run()) == 5


def test_sync_adds_predictions_of_elsewhere(session: Session, predict: Predict) -> None:
    elsewhere = Session(
        session.settings, clock=session.client.clock, transport=session.sandbox.transport()
    )
    with elsewhere:
        assert elsewhere.sync().new == 0
        session.follow(predict("a fox")).run()
        assert elsewhere.sync().new == 1
        assert list(elsewhere.history()["subject"]) == ["a fox"]


def test_cancel_ends_a_prediction(session: Session, predict: Predict) -> None:
    job = predict("a red fox").run()
    session.cancel(job.id).run()
    assert session.describe(job.id).run().status is Status.CANCELLED


def test_webhook_updates_the_job(session: Session) -> None:
    updates = []
    session.listeners.append(lambda event, value: updates.append((event, value)))
    with session.receive() as receiver:
        call = session.rp.predict(
            "a fox", model=MODEL, webhook=receiver.url, webhook_events=["completed"]
        )
        job = session.follow(call).run()
    assert job.webhook_url == receiver.url
    assert parse_record(dict(job.raw)) == [job]


# --- submissions whose response is lost -------------------------


def test_lost_response_finds_the_prediction(session: Session, predict: Predict) -> None:
    session.sandbox.faults.add(LOSE_RESPONSE)
    job = session.follow(predict("a red fox")).run()
    assert job.subject == "a red fox"
    assert len(session.rp.predictions().run()) == 1


def test_twins_are_not_confused(session: Session, predict: Predict) -> None:
    """The API has no marker: of two equal predictions neither is taken for the lost one."""
    other = Session(
        session.settings, clock=session.client.clock, transport=session.sandbox.transport()
    )
    with other:
        other.rp.predict("a red fox", model=MODEL).run()
    session.sandbox.faults.add(LOSE_RESPONSE)
    with pytest.raises(TransportError, match="unknown whether"):
        predict("a red fox").run()
    assert len(session.rp.predictions().run()) == 2


# --- errors -----------------------------------------------------


def test_option_of_the_emulator_is_its_token(replicate: None) -> None:
    with Sandbox(rp_token="r8_other") as sandbox:
        assert sandbox.build_account()["rp_token"] == "r8_other"
        request = Request(
            "GET", "h", "/v1/predictions", headers={"authorization": "Bearer r8_other"}
        )
        assert sandbox.handle_request("rp", request).status == 200


def test_wrong_token_is_refused(session: Session) -> None:
    server = session.sandbox.serve()
    with mjci.connect(rp_url=server.url, rp_token="r8_wrong") as wrong:
        with pytest.raises(ServiceError, match="Unauthenticated: Invalid token") as caught:
            wrong.rp.predictions().run()
    assert "MJCI_RP_TOKEN" in caught.value.hint
    assert get_outcome(caught.value) is Outcome.REFUSAL


def test_unknown_prediction_is_not_found(session: Session) -> None:
    with pytest.raises(ServiceError) as caught:
        session.describe("z" * 26).run()
    assert caught.value.code == "not_found"


@pytest.mark.parametrize("model", ["flux", "a/b/c", "a/b?c", ""])
def test_model_is_checked(session: Session, model: str) -> None:
    with pytest.raises(InvalidRequest, match="OWNER/NAME"):
        session.rp.predict("a fox", model=model)


def test_missing_prompt_is_refused_once(session: Session) -> None:
    with pytest.raises(ServiceError, match="prompt is required"):
        session.rp.predict("", model=MODEL).run()
    assert len(session.rp.predictions().run()) == 0


@pytest.mark.parametrize(
    ("output", "urls"),
    [
        ("https://r.example/a.png", 1),
        (["https://r.example/a.png", "https://r.example/b.png"], 2),
        ({"image": "https://r.example/a.png", "seed": 7}, 1),
        ("hello Alice", 0),
        (None, 0),
    ],
)
def test_outputs_are_urls(output: object, urls: int) -> None:
    assert len(parse_urls(output)) == urls


# --- secrets and settings ---------------------------------------


def test_token_is_found_and_redacted(session: Session) -> None:
    text = f"the key {TOKEN} of the account"
    assert find_secrets(text) == ["Replicate token"]
    assert TOKEN not in redact(text)


def test_missing_token_is_named(replicate: None) -> None:
    with mjci.connect(mj_url="http://127.0.0.1:9") as session:
        with pytest.raises(SettingsError, match="MJCI_RP_TOKEN"):
            session.rp.predictions().run()


# --- in a notebook ----------------------------------------------


@pytest.fixture
def shell(session: Session, monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = with_magics(monkeypatch)
    shell.ip.push({"s": session})
    return shell


def test_magics_follow_and_show_a_prediction(shell: Shell) -> None:
    job = shell.run(f"%rp_predict a red fox --model {MODEL} -o fox")
    assert job.status is Status.SUCCEEDED
    card, picture = shell.outputs
    assert "predict time" in card["data"]["text/html"]
    assert picture["data"]["text/plain"].startswith(f"RP {job.id} 512×512")
    assert shell.run("%rp_prediction fox") == job
    assert list(shell.run("%rp_predictions --limit 5")["id"]) == [job.id]


def test_prompt_is_free_of_another_services_flags(shell: Shell) -> None:
    assert shell.run(f"%rp_predict --model {MODEL} -- a fox --ar x").subject == "a fox --ar x"


def test_each_row_makes_a_prediction(shell: Shell) -> None:
    shell.ip.push({"animals": [{"animal": "fox"}, {"animal": "owl"}]})
    frame = shell.run(f"%rp_predict a {{{{animal}}}} --model {MODEL} --each animals")
    assert list(frame["status"]) == ["SUCCEEDED", "SUCCEEDED"]


def test_cancel_magic_takes_a_variable(shell: Shell, session: Session) -> None:
    assert session.sandbox is not None
    # It must not end before it is cancelled.
    session.sandbox.faults.add("stuck", service="rp")
    shell.run(f"%rp_predict a red fox --model {MODEL} --no-wait -o fox")
    assert shell.run("%rp_cancel fox").status is Status.CANCELLED


def test_unknown_magic_suggests_the_right_one(shell: Shell) -> None:
    assert "Did you mean rp_predict?" in shell.fails("%rp_predikt a fox")


def test_trailing_question_mark_belongs_to_the_prompt(shell: Shell) -> None:
    job = shell.run(f"%rp_predict --model {MODEL} why a fox?")
    assert job.subject == "why a fox?"


def test_completion_offers_flags_and_ids(shell: Shell, session: Session) -> None:
    job = shell.run(f"%rp_predict a red fox --model {MODEL}")
    magics = _EXTENSIONS[shell.ip].magics
    assert "--model" in complete_line(magics, "", 0, "%rp_predict --")[1]
    assert "--ar" not in complete_line(magics, "", 0, "%rp_predict --")[1]
    assert job.id in complete_line(magics, "", 0, "%rp_prediction ")[1]


def test_help_comes_from_the_builder(shell: Shell) -> None:
    shell.run("%rp_predict --help")
    assert "OWNER/NAME" in shell.texts[0]


def test_broken_package_leaves_the_others_alone(
    replicate: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mjci_replicate", None)
    with pytest.warns(UserWarning, match="package mjci_replicate, which adds the service 'rp'"):
        shell = with_magics(monkeypatch)
    assert "mj_imagine" in shell.ip.magics_manager.magics["line"]
