"""Which request meets which fault, and what a fault file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_mjci.emulator.faults import FAULT_KINDS, Fault, FaultError, Faults, load_faults
from jupyter_mjci.emulator.http import Response

ROUTES = [
    # route, service asked of the fault, service, method, path, covered
    ("*", None, "mj", "GET", "/mj/task/1/fetch", True),
    ("*", "ci", "mj", "GET", "/mj/task/1/fetch", False),
    ("*", "mj", "mj", "GET", "/mj/task/1/fetch", True),
    ("/mj/task/*", None, "mj", "GET", "/mj/task/1/fetch", True),
    ("/mj/task/*", None, "mj", "POST", "/mj/task/1/cancel", True),
    ("/mj/task/*", None, "mj", "GET", "/mj-fast/mj/task/1/fetch", False),
    ("*/mj/task/*", None, "mj", "GET", "/mj-fast/mj/task/1/fetch", True),
    ("GET /mj/task/*", None, "mj", "POST", "/mj/task/1/cancel", False),
    ("get /mj/task/*", None, "mj", "GET", "/mj/task/1/fetch", True),
    ("POST *", None, "ci", "POST", "/jobs", True),
    ("POST /jobs", None, "ci", "POST", "/jobs/", False),
    ("POST /jobs", None, "ci", "PUT", "/jobs", False),
    ("* /jobs*", None, "ci", "GET", "/jobs", True),
    ("GET /in/[ab].jpg", None, "ci", "GET", "/in/a.jpg", True),
    ("GET /in/[ab].jpg", None, "ci", "GET", "/in/c.jpg", False),
]


@pytest.mark.parametrize(
    ("route", "fault_service", "service", "method", "path", "expected"), ROUTES
)
def test_fault_matches_route_and_service(
    route: str, fault_service: str | None, service: str, method: str, path: str, expected: bool
) -> None:
    """A route is a method and a path glob; both may be left open, and so may the service."""
    assert (
        Fault("refuse", route=route, service=fault_service).matches(service, method, path)
        is expected
    )


def record_triggers(faults: Faults, times: int) -> str:
    return "".join("x" if faults.select("mj", "GET", "/mj/") else "." for _ in range(times))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "xxxxxxxx"),
        ({"times": 2}, "xx......"),
        ({"after": 3}, "...xxxxx"),
        ({"after": 3, "times": 2}, "...xx..."),
        ({"times": 0}, "........"),
        ({"probability": 0}, "........"),
        ({"route": "POST *"}, "........"),
    ],
)
def test_after_and_times_limit_triggers(settings: dict[str, object], expected: str) -> None:
    """`after` lets requests pass first, `times` bounds the strikes."""
    faults = Faults([Fault("refuse", **settings)])  # type: ignore[arg-type]
    assert record_triggers(faults, 8) == expected
    assert faults.count == len(faults.triggered) == expected.count("x")


def test_probability_is_repeatable_by_seed() -> None:
    """The same seed strikes the same requests, another seed others, and about as many as asked
    for.
    """

    def run(seed: int) -> str:
        return record_triggers(Faults([Fault("drop_after", probability=0.2)], seed=seed), 2000)

    assert run(7) == run(7) != run(8)
    assert 300 < run(7).count("x") < 500


def test_added_fault_leaves_other_triggers_unchanged() -> None:
    """Arming one fault more does not change when the others strike."""
    single, several = Faults(seed=3), Faults(seed=3)
    single.add("drop_after", probability=0.3)
    several.add("drop_after", probability=0.3)
    several.add("stall", probability=0.5, route="POST *")
    assert record_triggers(single, 200) == record_triggers(several, 200)


def test_first_triggered_fault_wins() -> None:
    """A request meets one fault only: the first in order that strikes."""
    faults = Faults()
    faults.add("refuse", times=1)
    faults.add("stall", seconds=3)
    kinds = [
        fault.kind for fault in (faults.select("ci", "GET", "/jobs") for _ in range(3)) if fault
    ]
    assert kinds == ["refuse", "stall", "stall"]
    faults.clear()
    assert faults.select("ci", "GET", "/jobs") is None


RESPONSE = Response(
    200, b'{"code":1,"result":"1"}', {"Content-Type": "application/json", "X-Id": "9"}
)
TRANSFORMS = [
    (Fault("drop_after"), RESPONSE),
    (
        Fault("status", status=429, body="slow down", headers={"retry-after": "7"}),
        Response(
            429, b"slow down", {"content-type": "text/plain; charset=utf-8", "retry-after": "7"}
        ),
    ),
    (
        Fault("status", content_type="application/xml", body="<Error/>"),
        Response(503, b"<Error/>", {"content-type": "application/xml"}),
    ),
    (
        Fault("content_type"),
        Response(200, RESPONSE.body, {"X-Id": "9", "content-type": "text/plain"}),
    ),
    (
        Fault("content_type", content_type="image/png"),
        Response(200, RESPONSE.body, {"X-Id": "9", "content-type": "image/png"}),
    ),
    (Fault("malformed"), Response(200, b'{"code":1,"\x00<{"', RESPONSE.headers)),
    (
        Fault("html", body="<p>hi"),
        Response(200, b"<p>hi", {"content-type": "text/html; charset=utf-8"}),
    ),
]


@pytest.mark.parametrize(
    ("fault", "expected"), TRANSFORMS, ids=lambda value: getattr(value, "kind", "")
)
def test_fault_transforms_response(fault: Fault, expected: Response) -> None:
    """What a fault makes of an answer."""
    assert FAULT_KINDS[fault.kind].transform(fault, RESPONSE) == expected


TOML = """
seed = 7

[[fault]]
kind = "drop_after"
route = "POST /mj/submit/*"
probability = 0.25

[[fault]]   # the second
kind = "status"
service = "ci"
status = 429
times = 3
after = 1
headers = {"Retry-After" = "2"}

[[fault]]
kind = "stall"
seconds = 2.5
"""


def test_toml_file_is_loaded(tmp_path: Path) -> None:
    """A file says the same as Python."""
    path = tmp_path / "faults.toml"
    path.write_text(TOML)
    faults = load_faults(path)
    assert faults.seed == 7
    assert list(faults) == [
        Fault("drop_after", route="POST /mj/submit/*", probability=0.25),
        Fault("status", service="ci", status=429, times=3, after=1, headers={"Retry-After": "2"}),
        Fault("stall", seconds=2.5),
    ]


INVALID_TOML = [
    (
        '[[fault]]\nkind = "drop_aftr"',
        ["line 2", "number 1", "'drop_aftr'", "drop_after", "restart"],
    ),
    (
        '[[fault]]\nkind = "stall"\n[[fault]]\ntims = 2\nkind = "stall"',
        ["line 4", "number 2", "'tims'", "times"],
    ),
    ('[[fault]]\nkind = "stall"\nstatus = 429', ["line 3", "'status'", "seconds"]),
    ("\n[[fault]]\ntimes = 2", ["line 2", "no kind", "refuse"]),
    ('[[fault]]\nkind = "stall"\nseconds = "3"', ["line 3", "seconds", "'3'", "float"]),
    ('[[fault]]\nkind = "stall"\ntimes = true', ["line 3", "times", "int"]),
    ('[[fault]]\nkind = "stall"\nprobability = 1.5', ["line 1", "probability", "0 to 1"]),
    ('[[fault]]\nkind = "stall"\nservice = "s3"', ["'s3'", "mj, ci"]),
    ('[[fault]]\nkind = "status"\n[fault.headers]\nRetry-After = 2', ["headers", "text"]),
    ('[[faults]]\nkind = "stall"', ["line 1", "'faults'", "[[fault]]"]),
    ('seed = "x"', ["seed", "whole number"]),
    ('fault = "stall"', ["[[fault]]"]),
    ("[[fault]\n", ["line 1"]),
    ('[fault]\nkind = "stall"', ["array of tables"]),
]


@pytest.mark.parametrize(("text", "messages"), INVALID_TOML)
def test_invalid_toml_is_refused_with_line(tmp_path: Path, text: str, messages: list[str]) -> None:
    """A mistake in a file is named with its table, its line, and what is known instead."""
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(FaultError) as caught:
        load_faults(path)
    assert [
        message for message in [*messages, "broken.toml"] if message not in str(caught.value)
    ] == []


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("explode", {}, "explode"),
        ("stall", {"seconds": -1}, "seconds"),
        ("stall", {"status": 500}, "'status'"),
        ("truncate", {"keep": 2}, "keep"),
        ("status", {"status": 99}, "status"),
        ("refuse", {"service": "cos"}, "cos"),
    ],
)
def test_invalid_fault_is_refused(kind: str, settings: dict[str, object], message: str) -> None:
    """Python hears of the same mistakes."""
    with pytest.raises(FaultError, match=message):
        Faults().add(kind, **settings)
