"""Sessions recorded against the sandbox over loopback, and replayed without network, keys or
waiting.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.client import cassette, event_loop, player, redaction
from jupyter_mjci.client.cassette import build_request_key, resolve_mode
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.player import Player
from jupyter_mjci.client.recorder import Recorder
from jupyter_mjci.client.replay_clock import ReplayClock
from jupyter_mjci.connection import replay
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.errors import (
    CIError,
    JobFailed,
    MjciError,
    NotRecorded,
    SettingsError,
    TransportError,
    WaitTimeout,
)
from jupyter_mjci.imaging.thumbnails import encode_image
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session

INF = float("inf")
KEYS = ("input/deer.jpg", "input/lighthouse.png", "input/portrait.jpg")


@dataclass
class Seen:
    """Everything that a notebook got from both services."""

    steps: list[tuple[str, int | None]]
    jobs: list[Job]
    pictures: list[bytes]
    batch: list[Job]
    frames: list[Any]
    errors: list[str]


def visit(session: Session) -> Seen:
    """Do everything a notebook does: follow, press buttons, process, download, batch, list, and get
    errors.
    """
    sightings = list(session.follow(session.mj.imagine("a red fox")))
    grid = sightings[-1]
    large = session.follow(session.mj.action(grid, "U2")).run()
    turned = session.follow(
        session.ci.picture_job(
            input=KEYS[0], rule="imageMogr2/thumbnail/120x|imageMogr2/rotate/90", output="out/a.jpg"
        )
    ).run()
    calls: list[Any] = [
        session.ci.picture_job(input=key, rule="imageMogr2/thumbnail/64x", output=f"small/{key}")
        for key in KEYS
    ]
    calls += [
        session.mj.imagine(f"a cat, {number % 3}") for number in range(5)
    ]  # two of them twice
    batch = session.batch(calls, at_once=4).run()
    errors = []
    for refused in (session.ci.get_object("no/such.jpg"), session.mj.task("99")):
        with pytest.raises(MjciError) as caught:
            refused.run()
        errors.append(str(caught.value))
    with pytest.raises(JobFailed) as failed:
        session.follow(
            session.ci.picture_job(input="none.jpg", rule="imageMogr2/rotate/9", output="n.jpg")
        ).run()
    errors.append(str(failed.value))
    session.ci.put_object("mine/note.bin", bytes(range(256))).run()
    pictures = [session.picture(job).run() for job in (grid, large, turned)] + session.pictures(
        grid
    ).run()
    frames = [session.tasks(), session.jobs(), session.mj.queue().run()]
    steps = [(job.status.value, job.progress) for job in sightings]
    return Seen(steps, [grid, large, turned], pictures, batch, frames, errors)


@dataclass
class Recorded:
    folder: Path
    seen: Seen
    secrets: list[str]
    seconds: float  # of the services' time


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A recording of a sandbox behind a real socket, with unique keys."""
    folder = tmp_path_factory.mktemp("recorded") / "visit.mjci"
    keys = {
        "mj_secret": "Very/Secret+Proxy=Key",
        "secret_id": "AKIDveryprivate0000000000000000000",
        "secret_key": "aVeryPrivateKey00000000000000000",
    }
    with Sandbox(clock=ScaledClock(100), **keys) as sandbox:
        with connect(sandbox) as plain:
            session = plain.record_to(folder)
            began = sandbox.clock.now()
            seen = visit(session)
            session.close()
            return Recorded(folder, seen, list(keys.values()), sandbox.clock.now() - began)


def connect(sandbox: Sandbox, **more: Any) -> Session:
    """Connect to the sandbox over the network, on the sandbox's clock."""
    served = sandbox.serve().settings
    given = {
        name: served[key]
        for name, key in (
            ("mj_url", "mj_url"),
            ("mj_secret", "mj_secret"),
            ("ci_secret_id", "secret_id"),
            ("ci_secret_key", "secret_key"),
            ("ci_bucket", "bucket"),
            ("ci_region", "region"),
            ("ci_endpoint", "ci_endpoint"),
            ("cos_endpoint", "cos_endpoint"),
        )
    }
    return Session(load_settings({**given, **more}, environ={}), clock=sandbox.clock)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test on any attempt to connect a socket, also where the error is swallowed."""
    event_loop.get_loop_thread()  # its loop has a socket pair of its own

    def refused(*_: Any, **__: Any) -> Any:
        pytest.fail("a socket was used")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket, "create_connection", refused)


@pytest.fixture
def replayed(recording: Recorded, no_network: None) -> Iterator[Session]:
    with replay(recording.folder) as session:
        yield session


def test_replay_returns_recorded_results_without_network(
    recording: Recorded, replayed: Session
) -> None:
    """Steps, jobs, times, frames, pictures, refusals: all equal, in well under a second for minutes
    of waiting.
    """
    began = time.perf_counter()
    seen = visit(replayed)
    took = time.perf_counter() - began
    expected = recording.seen
    assert seen.steps == expected.steps
    assert seen.jobs == expected.jobs
    assert seen.pictures == expected.pictures
    assert len({len(picture) for picture in seen.pictures[:3]}) == 3
    assert sorted(seen.batch, key=lambda job: job.id) == sorted(
        expected.batch, key=lambda job: job.id
    )
    assert [job.status for job in seen.batch] == [Status.SUCCEEDED] * 8
    assert seen.errors == expected.errors
    for frame, other in zip(seen.frames[:2], expected.frames[:2], strict=True):
        assert frame.equals(other)
        assert not frame.empty
    assert seen.frames[2] == expected.frames[2]
    assert recording.seconds > 60
    assert took < 5


def test_replay_keeps_progress_steps_and_times(recording: Recorded, replayed: Session) -> None:
    """A job of many seconds has the same steps, and takes as long on the session's clock as it
    took.
    """
    job = replayed.mj.imagine("a red fox").run()
    began = replayed.client.clock.now()
    steps = [job.progress for job in replayed.follow(job)]
    assert steps == [progress for _, progress in recording.seen.steps]
    assert len(set(steps)) > 3
    done = recording.seen.jobs[0]
    assert done.started is not None
    assert done.finished is not None
    assert replayed.client.clock.now() - began >= (done.finished - done.started).total_seconds()


def test_recording_contains_no_secret(recording: Recorded) -> None:
    """No key, no signature, no header with one; and the secret scan finds nothing."""
    everything = {path: path.read_bytes() for path in recording.folder.rglob("*") if path.is_file()}
    assert len(everything) > 30
    for path, content in everything.items():
        for secret in recording.secrets:
            assert secret.encode() not in content, path
        text = content.decode("latin-1")
        for word in (
            "q-sign",
            "q-ak",
            "q-signature",
            "Authorization",
            "authorization",
            "mj-api-secret",
        ):
            assert word not in text or path.suffix != ".json", (path, word)
        if path.suffix == ".json":
            assert redaction.find_secrets(text) == [], path


def test_recording_is_one_readable_file_per_exchange(recording: Recorded) -> None:
    """One file for each exchange, named by what it is; JSON and XML as text, pictures once under
    their hash.
    """
    files = sorted(path.name for path in recording.folder.glob("0*.json"))
    head = json.loads((recording.folder / cassette.MANIFEST).read_text("utf-8"))
    assert head["exchanges"] == len(files)
    assert files[0] == "0001-POST-mj-submit-imagine.json"
    first = json.loads((recording.folder / files[0]).read_text("utf-8"))
    assert first["request"]["body"]["prompt"] == "a red fox"
    assert first["answer"]["json"]["code"] == 1
    job = next(name for name in files if re.fullmatch(r"\d+-POST-jobs\.json", name))
    assert "<Response>" in "".join(
        json.loads((recording.folder / job).read_text("utf-8"))["answer"]["text"]
    )
    pictures = list((recording.folder / cassette.IMAGE_FOLDER).iterdir())
    assert len(pictures) == 3
    assert {path.suffix for path in pictures} <= {".png", ".jpg", ".jpeg", ".webp"}


def test_replayed_session_has_recorded_name_and_settings(
    recording: Recorded, replayed: Session
) -> None:
    """Both call themselves by the recording's name, so that a cell which shows the session saves
    the same.
    """
    assert repr(replayed) == "<jupyter_mjci session: visit.mjci>"
    assert replayed.settings.ci_bucket == "demo-1250000000"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            lambda session: session.mj.imagine("a red box"),
            ["0001-POST-mj-submit-imagine.json", "another body", "fox"],
        ),
        (
            lambda session: session.mj.task("123"),
            ["Nearest is", "-fetch.json", "another host or path"],
        ),
        (
            lambda session: session.ci.jobs(tag="PicProcess", size=7).first_page,
            ["-GET-jobs.json", "another query"],
        ),
        (lambda session: session.ci.delete_object("a.jpg"), ["Nearest is"]),
    ],
    ids=["body", "path", "query", "method"],
)
def test_unrecorded_request_raises_error_with_nearest_exchange(
    build: Any, said: list[str], replayed: Session
) -> None:
    with pytest.raises(NotRecorded) as caught:
        build(replayed).run()
    assert str(caught.value).startswith("The recording has no response to ")
    for words in said:
        assert words in caught.value.detail
    assert "%mjci replay record" in caught.value.hint


def test_submission_is_replayed_as_often_as_recorded(replayed: Session) -> None:
    """One more would be a new job, which the recording does not have; a listing may be repeated."""
    replayed.mj.imagine("a red fox").run()
    with pytest.raises(NotRecorded, match="no response") as caught:
        replayed.mj.imagine("a red fox").run()
    assert "It was recorded 1 time" in caught.value.detail
    first = replayed.tasks()
    assert replayed.tasks().equals(first)


def test_extra_poll_repeats_only_terminal_response(recording: Recorded, replayed: Session) -> None:
    """While the job is still active at the end of the recording, it is an error."""
    job = recording.seen.jobs[0]
    assert replayed.follow(job.id).run() == job
    assert replayed.mj.task(job.id).run() == job
    row = next(
        row
        for key, row in _player(replayed)._tracks.items()
        if f"/task/{job.id}/fetch" in key.host_path
    )
    while player._is_active(row.exchanges[-1]) is False:
        row.exchanges.pop()
    row.position = 0
    with pytest.raises(NotRecorded):
        replayed.follow(job.id).run()


def _player(session: Session) -> Player:
    transport = session.client.transport.custom_transport
    assert isinstance(transport, Player)
    return transport


@pytest.fixture
def copy(recording: Recorded, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recording.folder, tmp_path / "copy.mjci"))


def _change_prompt(path: Path) -> None:
    path.write_text(path.read_text("utf-8").replace("a red fox", "a blue fox"), "utf-8")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            lambda copy: (copy / "0001-POST-mj-submit-imagine.json").unlink(),
            "exchange 0001 is missing",
        ),
        (lambda copy: sorted(copy.glob("0*.json"))[-1].unlink(), "is missing"),
        (lambda copy: _change_prompt(copy / "0001-POST-mj-submit-imagine.json"), "was changed"),
        (
            lambda copy: (copy / "0001-POST-mj-submit-imagine.json").write_text("{"),
            "cannot be read",
        ),
        (
            lambda copy: (copy / "0001-POST-mj-submit-imagine.json").write_text("[]"),
            "is not a valid exchange",
        ),
        (lambda copy: next((copy / "pictures").iterdir()).unlink(), "is missing"),
        (lambda copy: next((copy / "pictures").iterdir()).write_bytes(b"x"), "was changed"),
        (lambda copy: (copy / "recording.json").unlink(), "There is no recording"),
        (lambda copy: (copy / "recording.json").write_text('{"format": 99}'), "format 99"),
    ],
    ids=["first", "last", "forged", "cut", "list", "picture", "forged-picture", "head", "format"],
)
def test_incomplete_or_changed_recording_raises_settings_error(
    harm: Any, said: str, copy: Path
) -> None:
    harm(copy)
    with pytest.raises(SettingsError) as caught:
        replay(copy)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_recording_over_other_files_raises_settings_error(tmp_path: Path) -> None:
    """Recording again replaces a recording, and nothing else."""
    (tmp_path / "thesis.md").write_text("years of work")
    with mjci.sandbox(speed=INF) as session:
        with pytest.raises(SettingsError, match="contains other files"):
            session.record_to(tmp_path)
        again = tmp_path / "one.mjci"
        for prompt in ("first", "second"):
            session.record_to(again).mj.imagine(prompt).run()
    assert (tmp_path / "thesis.md").exists()
    assert [path.name for path in again.glob("0*")] == ["0001-POST-mj-submit-imagine.json"]
    assert "second" in next(again.glob("0*")).read_text("utf-8")


LONG_RULE = "imageMogr2" + "/rotate/90" * 60  # such a request is known by its hash


def test_replay_with_other_markers_maps_them(tmp_path: Path, no_network: None) -> None:
    """The responses contain the session's own markers; by default they are the recording's."""

    def marked(session: Session) -> list[str]:
        fox = session.follow(session.mj.imagine("a fox")).run()
        call = session.ci.picture_job(input=KEYS[0], rule=LONG_RULE, output="o.jpg")
        return [fox.raw["state"], session.follow(call).run().raw["Operation"]["UserData"]]

    with mjci.sandbox(speed=INF) as plain:
        expected = marked(plain.record_to(tmp_path / "a.mjci"))
    assert len(set(expected)) == 2
    with replay(tmp_path / "a.mjci") as replayed:
        assert marked(replayed) == expected
    with replay(tmp_path / "a.mjci") as replayed:
        others = [f"mjci-{letter * 32}" for letter in "ef"]
        replayed._jobs.submitter.make_marker = iter(others).__next__
        assert marked(replayed) == others


@pytest.mark.parametrize(
    ("route", "build"),
    [
        ("POST /mj/submit/imagine", lambda session: session.mj.imagine("a red fox")),
        (
            "POST /jobs",
            lambda session: session.ci.picture_job(
                input=KEYS[0], rule="imageMogr2/rotate/90", output="o.jpg"
            ),
        ),
    ],
    ids=["mj", "ci"],
)
def test_lost_submission_response_creates_no_second_job(
    route: str, build: Any, tmp_path: Path
) -> None:
    """While recording the session finds its job by the marker, and so it does in a replay."""
    with Sandbox(clock=ScaledClock(100)) as sandbox:
        sandbox.faults.add("drop_after", route=route, times=1)
        with connect(sandbox) as plain:
            session = plain.record_to(tmp_path / "a.mjci")
            job = session.follow(build(session)).run()
            assert [job.id for job in (*plain.mj.tasks().run(), *plain.ci.jobs().run())] == [job.id]
    for _ in range(2):
        with replay(tmp_path / "a.mjci") as replayed:
            assert replayed.follow(build(replayed)).run() == job


def test_replay_does_not_depend_on_callbacks(tmp_path: Path) -> None:
    """The webhook URL is secret and differs in every run; callbacks change no request, so that a
    replay works without them.
    """

    def followed(session: Session) -> list[Job]:
        with session.receive() as hook:
            calls = [
                session.mj.imagine("a red fox", notify_hook=hook.url),
                session.ci.picture_job(
                    input=KEYS[0], rule="imageMogr2/rotate/9", output="o.jpg", callback=hook.url
                ),
            ]
            hooks.append(hook.url)
            return [session.follow(call).run() for call in calls]

    hooks: list[str] = []
    with Sandbox(clock=ScaledClock(100)) as sandbox, connect(sandbox) as plain:
        expected = followed(plain.record_to(tmp_path / "a.mjci"))
    with replay(tmp_path / "a.mjci") as replayed:
        assert followed(replayed) == expected
    assert hooks[0] != hooks[1]
    paths = [url.rpartition("/")[2] for url in hooks]
    texts = [path.read_text("utf-8") for path in (tmp_path / "a.mjci").glob("0*.json")]
    assert [path for path in paths if any(path in text for text in texts)] == []


def test_replay_of_ninety_seconds_takes_under_one(tmp_path: Path, no_network: None) -> None:
    """A job in slow mode: every step of its progress, and the same time on the session's clock, in
    no time.
    """

    def steps(session: Session) -> tuple[list[Job], float]:
        began = session.client.clock.now()
        return list(
            session.follow(session.mj.imagine("a red fox --relax"))
        ), session.client.clock.now() - began

    with mjci.sandbox(speed=INF) as plain:
        expected, seconds = steps(plain.record_to(tmp_path / "a.mjci"))
    assert [job.progress for job in expected][-3:] == [78, 93, 100]
    assert seconds > 80
    for _ in range(2):
        with replay(tmp_path / "a.mjci") as replayed:
            began = time.perf_counter()
            assert steps(replayed) == (expected, seconds)
            assert time.perf_counter() - began < 1


def test_uploads_and_signed_urls_are_replayed(tmp_path: Path, no_network: None) -> None:
    """Pictures that are sent, objects that are put, and links signed here, whose signature is
    another every time.
    """
    picture = Image.linear_gradient("L")

    def sent(session: Session) -> list[Any]:
        drawn = session.follow(session.mj.imagine("like this", images=[picture])).run()
        mixed = session.follow(session.mj.blend([picture, picture])).run()
        key = session.upload(PNG, "mine/a.png").run()
        signed = [
            session.presign(key),
            session.presign(KEYS[0], rule="imageMogr2/rotate/90", seconds=60),
        ]
        return [drawn, mixed, *(session.picture(link).run() for link in signed)]

    with mjci.sandbox(speed=INF) as plain:
        expected = sent(plain.record_to(tmp_path / "a.mjci"))
    assert expected[2] == PNG
    with replay(tmp_path / "a.mjci") as replayed:
        assert sent(replayed) == expected


def test_recorded_images_can_be_scaled_down(tmp_path: Path) -> None:
    """The recorded session sees the small ones already, so that both runs show the same."""
    with mjci.sandbox(speed=INF) as plain:
        session = plain.record_to(tmp_path / "a.mjci", pixels=100)
        job = session.follow(session.mj.imagine("a fox --ar 2:1")).run()
        small = session.picture(job).run()
        other = plain.follow(plain.mj.imagine("a fox --ar 2:1")).run()
        whole = plain.picture(other).run()
    with replay(tmp_path / "a.mjci") as replayed:
        assert replayed.picture(job).run() == small
    (path,) = (tmp_path / "a.mjci" / "pictures").iterdir()
    with Image.open(path) as image:
        assert max(image.size) == 100
    assert len(small) < len(whole)


def test_batch_in_another_order_gets_same_jobs(tmp_path: Path, no_network: None) -> None:
    """Each call gets its own job, whichever was submitted first, also of calls that are alike."""
    prompts = [f"a cat, {number % 9}" for number in range(12)]

    def batch(session: Session, order: list[str]) -> list[tuple[str, str]]:
        jobs = session.batch([session.mj.imagine(prompt) for prompt in order], at_once=8).run()
        return sorted((job.subject, job.id) for job in jobs)

    with mjci.sandbox(speed=INF) as plain:
        expected = batch(plain.record_to(tmp_path / "a.mjci"), prompts)
    assert len(set(expected)) == 12
    for order in (prompts[::-1], prompts[5:] + prompts[:5]):
        with replay(tmp_path / "a.mjci") as replayed:
            assert batch(replayed, order) == expected


def test_batch_completes_in_recorded_order(tmp_path: Path) -> None:
    """Jobs of both services at once: what a cell shows of them is the same, and the same whenever
    it is played.
    """

    def batch(session: Session) -> list[tuple[str, Status]]:
        calls: list[Any] = [session.mj.imagine(f"a cat, {number}") for number in range(6)]
        calls += [
            session.ci.picture_job(
                input=KEYS[0], rule=f"imageMogr2/rotate/{number}", output=f"{number}.jpg"
            )
            for number in range(6)
        ]
        return [(job.id, job.status) for job in session.batch(calls, at_once=8).run()]

    with mjci.sandbox(speed=INF) as plain:
        expected = batch(plain.record_to(tmp_path / "a.mjci"))
    assert len(set(expected)) == 12
    for _ in range(2):
        with replay(tmp_path / "a.mjci") as replayed:
            assert batch(replayed) == expected


class ScriptedTransport(httpx.AsyncBaseTransport):
    """A transport with prepared responses, which remembers the requested URLs."""

    def __init__(self, **responses: Any) -> None:
        self.responses = responses
        self.urls: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(str(request.url))
        answer = self.responses[request.url.path.rpartition("/")[2].partition(".")[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


SIGNED = "https://cdn.example.com/a/fox.png?ex=6543abcd&is=6543abcd&hm=" + "0" * 64
PNG = encode_image(Image.new("RGB", (2, 2)), "PNG")


def connect_scripted(folder: Path, **responses: Any) -> tuple[Session, ScriptedTransport]:
    network = ScriptedTransport(**responses)
    settings = load_settings(
        {"mj_url": "https://me:pw@mj.example.com/mj", "mj_secret": "s3cret"}, environ={}
    )
    return Session(settings, transport=network).record_to(folder), network


def test_signed_urls_are_recorded_without_signature(tmp_path: Path) -> None:
    """They are fetched with it while recording; recorded, shown and played back they are plain."""
    task = {
        "id": "1",
        "status": "SUCCESS",
        "imageUrl": SIGNED,
        "prompt": "a fox",
        "userToken": "abcdef",
        "action": "X",
    }
    session, network = connect_scripted(
        tmp_path / "a.mjci", fetch=task, fox=httpx.Response(200, content=PNG)
    )
    job = session.mj.task("1").run()
    assert job.outputs == ("https://cdn.example.com/a/fox.png",)
    assert session.picture(job).run() == PNG
    assert network.urls[1] == SIGNED
    text = "".join(path.read_text("utf-8") for path in (tmp_path / "a.mjci").glob("*.json"))
    assert "hm=" not in text
    assert "abcdef" not in text
    assert "s3cret" not in text
    assert "me:pw" not in text
    with replay(tmp_path / "a.mjci") as replayed:
        assert replayed.mj.task("1").run() == job
        assert replayed.picture(job).run() == PNG
        assert replayed.picture(SIGNED).run() == PNG


def test_connection_errors_are_replayed(tmp_path: Path) -> None:
    """With the same message."""
    session, _ = connect_scripted(tmp_path / "a.mjci", fetch=httpx.ConnectError("refused"))
    with pytest.raises(TransportError) as caught:
        event_loop.run(session.client.send_once(session.mj.task("1")))
    with replay(tmp_path / "a.mjci") as replayed, pytest.raises(TransportError) as again:
        event_loop.run(replayed.client.send_once(replayed.mj.task("1")))
    assert str(again.value) == str(caught.value)


def test_wait_timeouts_are_replayed(tmp_path: Path) -> None:
    """On the virtual clock."""
    with mjci.sandbox(speed=INF) as plain:
        session = plain.record_to(tmp_path / "a.mjci")
        job = session.mj.imagine("a fox").run()
        with pytest.raises(WaitTimeout) as caught:
            session.follow(job, timeout=9).run()
        session.follow(job).run()
    with replay(tmp_path / "a.mjci") as replayed:
        again = replayed.mj.imagine("a fox").run()
        with pytest.raises(WaitTimeout) as other:
            replayed.follow(again, timeout=9).run()
        assert str(other.value) == str(caught.value)
        assert other.value.job == caught.value.job
        assert replayed.follow(again).run().status is Status.SUCCEEDED


REQUEST = {
    "method": "POST",
    "url": "https://h/mj/x?b=2&a=1",
    "headers": {},
    "body": {"p": 1, "state": "mjci-7"},
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"url": "https://h/mj/x?a=1&b=2"}, True),
        (
            {
                "url": "http://h/mj/x?a=1&b=2&q-sign-algorithm=sha1&q-signature=00&x-cos-security-token=t"
            },
            True,
        ),
        ({"url": "https://h/mj/%78?a=%31&b=2"}, True),
        ({"headers": {"content-type": "text/plain"}}, True),
        ({"body": {"state": "mjci-12", "p": 1}}, True),
        ({"body": {"state": "mine-12", "p": 1}}, False),
        ({"body": {"state": "mjci-7", "p": 2}}, False),
        ({"url": "https://other/mj/x?a=1&b=2"}, False),
        ({"url": "https://h/mj/x?a=1"}, False),
        ({"headers": {"range": "bytes=0-9"}}, False),
        ({"method": "GET"}, False),
    ],
)
def test_request_keys_ignore_order_signatures_and_markers(
    change: dict[str, Any], same: bool
) -> None:
    """And escapes in the URL; everything else makes another key."""
    assert (build_request_key(**{**REQUEST, **change}) == build_request_key(**REQUEST)) is same  # type: ignore[arg-type]


def test_requested_times_may_differ(tmp_path: Path, no_network: None) -> None:
    """A listing "of the last hour" is another query in every run: of those about that time it is
    the next exchange, and those of another time only where there is no other.
    """

    def listed(session: Session, *times: str) -> list[int]:
        return [
            len(session.ci.jobs(tag="PicProcess", start=f"{time}+0800").first_page.run().items)
            for time in times
        ]

    times = (
        "2020-01-01T00:00:00",
        "2025-12-31T12:00:00",
        "2025-12-31T12:00:01",
        "2025-12-31T12:00:00",
    )
    with mjci.sandbox(speed=INF) as plain:
        session = plain.record_to(tmp_path / "a.mjci")
        for number, time in enumerate(times, 1):
            call = session.ci.picture_job(
                input=KEYS[0], rule="imageMogr2/rotate/9", output=f"{number}.jpg"
            )
            session.follow(call).run()
            assert listed(session, time) == [number]
    for given, expected in (
        (times[1:] + times[:1], [2, 3, 4, 1]),
        (("2025-12-31T12:00:01", "2025-12-31T12:00:01", "2025-12-31T12:00:02"), [2, 3, 4]),
        (("2026-03-01T00:00:00",) * 5, [1, 2, 3, 4, 3]),
    ):
        with replay(tmp_path / "a.mjci") as replayed:
            assert listed(replayed, *given) == expected


@pytest.mark.parametrize(
    ("mode", "folder", "environment", "notebook", "there", "wanted"),
    [
        ("record", "", "", "fox", False, ("record", "fox.mjci")),
        ("", "", "", "fox", True, ("play", "fox.mjci")),
        ("", "", "", "fox", False, ("record", "fox.mjci")),
        ("", "", "play", "fox", False, ("play", "fox.mjci")),
        ("", "", "record:other.mjci", "fox", True, ("record", "other.mjci")),
        ("", "mine.mjci", "record:other.mjci", "", True, ("record", "mine.mjci")),
        ("off", "", "play", "", False, ("off", ".mjci")),
        ("", "", "off", "", False, ("off", ".mjci")),
    ],
)
def test_mode_and_folder_are_resolved_by_precedence(
    mode: str,
    folder: str,
    environment: str,
    notebook: str,
    there: bool,
    wanted: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is said on the line wins over the environment, the environment over what there is."""
    monkeypatch.chdir(tmp_path)
    if there:
        Path(wanted[1]).mkdir()
        (Path(wanted[1]) / cassette.MANIFEST).touch()
    assert resolve_mode(mode, folder, environment, notebook) == (wanted[0], Path(wanted[1]))


@pytest.mark.parametrize("mode", ["play", "rewind", "record:"])
def test_invalid_modes_raise_settings_error(mode: str) -> None:
    with pytest.raises(SettingsError):
        cassette.parse_mode(mode)


def test_connect_records_and_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument and by environment; beside the notebook where the kernel knows its name. Without
    any account the sandbox is recorded.
    """
    monkeypatch.chdir(tmp_path)
    with mjci.connect(replay="record:a.mjci", notice=lambda _: None, speed=1000) as session:
        job = session.follow(session.mj.imagine("a fox")).run()
    monkeypatch.setenv("MJCI_REPLAY", "play:a.mjci")
    with mjci.connect() as session:
        assert session.follow(session.mj.imagine("a fox")).run() == job
    monkeypatch.setenv("MJCI_REPLAY", "record")
    with pytest.raises(SettingsError, match="Which recording"):
        mjci.connect()
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/fox hunt.ipynb")
    with mjci.connect(notice=lambda _: None) as session:
        assert repr(session) == "<jupyter_mjci session: fox hunt.mjci>"
    assert (tmp_path / "fox hunt.mjci" / cassette.MANIFEST).exists()
    with mjci.connect(replay="off", notice=lambda _: None) as session:
        assert repr(session) == "<jupyter_mjci session: sandbox>"


def test_service_errors_are_replayed(replayed: Session) -> None:
    with pytest.raises(CIError) as caught:
        replayed.ci.get_object("no/such.jpg").run()
    assert caught.value.code == "NoSuchKey"


def test_replay_clock_wakes_waiters_by_deadline() -> None:
    """Each at exactly its deadline."""
    clock, seen = ReplayClock(100.0), list[tuple[str, float]]()

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            seen.append((name, clock.now()))

    async def all_of_them() -> None:
        import anyio

        async with anyio.create_task_group() as group:
            group.start_soon(sleeper, "a", 5, 5, 5)
            group.start_soon(sleeper, "b", 7)
            group.start_soon(sleeper, "c", 0, 11)
            with anyio.move_on_after(0):
                await clock.sleep(1)  # a cancelled waiter does not move the time

    event_loop.run(all_of_them())
    assert seen == [("c", 100), ("a", 105), ("b", 107), ("a", 110), ("c", 111), ("a", 115)]


def test_replay_clock_gives_grace_period_before_long_jump() -> None:
    """Jobs that a cell starts one after another start at the same virtual time."""
    clock = ReplayClock(100.0)
    clock.GRACE_PERIOD = 0.3  # this machine may be busy

    async def nap() -> float:
        await clock.sleep(10)
        return clock.now()

    first = event_loop.start(nap())
    time.sleep(0.02)
    assert [task.result() for task in (event_loop.start(nap()), first)] == [110.0, 110.0]


def test_recorder_reports_requests_in_flight_of_transport(tmp_path: Path) -> None:
    """The count of the inner transport."""
    with mjci.sandbox(speed=INF) as plain:
        session = plain.record_to(tmp_path / "a.mjci")
        session.mj.imagine("a fox").run()
        assert isinstance(session.client.transport.custom_transport, Recorder)
        assert session.client.transport.in_flight == 0
