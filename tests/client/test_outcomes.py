"""The classification of responses: status first, then shape, then the service's own codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.outcomes import (
    Outcome,
    Reason,
    attach,
    classify,
    get_outcome,
    may_have_been_accepted,
    no_answer,
    parse_retry_after,
)
from jupyter_mjci.client.response_text import MAX_MESSAGE_LENGTH, read_message
from jupyter_mjci.errors import (
    HistoryError,
    InvalidRequest,
    InvalidResponse,
    MidjourneyError,
    TransportError,
)
from jupyter_mjci.services.midjourney.codes import CODES
from tests.relays import ODD_RESPONSES, OddResponse


@pytest.mark.parametrize("odd", ODD_RESPONSES, ids=lambda odd: odd.name)
def test_odd_response_has_its_outcome_its_reason_and_its_own_words(odd: OddResponse) -> None:
    classified = classify(Response(odd.status, odd.content, odd.headers), CODES)
    assert (classified.outcome, classified.reason) == (odd.outcome, odd.reason)
    assert odd.words in f"{classified.message} {classified.location}"


RESULTS = [
    ("task", {"id": "17", "status": "SUCCESS", "description": "/imagine", "failReason": ""}),
    ("task of a failed job", {"id": "17", "status": "FAILURE", "failReason": "timeout"}),
    ("accepted", {"code": 1, "description": "提交成功", "result": "17"}),
    ("accepted without result", {"code": 1, "description": "成功"}),
    ("wrapper", {"code": 200, "msg": "success", "data": {"id": "17"}}),
    ("wrapper of its own code", {"code": 10000, "message": "ok", "data": {"id": "17"}}),
    ("images", {"created": 1589478378, "data": [{"url": "https://x"}]}),
    ("failed job with an error of its own", {"id": "17", "status": "FAILED", "error": "no memory"}),
    ("no error", {"id": "17", "status": "SUCCESS", "error": None}),
]


@pytest.mark.parametrize(("name", "document"), RESULTS, ids=[case[0] for case in RESULTS])
def test_answer_is_a_result_although_it_has_words(name: str, document: Any) -> None:
    classified = classify(Response(200, json.dumps(document).encode()), CODES)
    assert classified.outcome is Outcome.RESULT
    assert classified.document == document


def test_acceptance_with_an_error_status_is_a_result() -> None:
    """Some relays pass on the status of another server; the task was created all the same."""
    body = b'{"code": 1, "description": "ok", "result": "17"}'
    assert classify(Response(400, body), CODES).is_result


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"17", b'"text"', b"OK", b"{}"])
def test_success_that_is_no_answer_is_unknown(body: bytes) -> None:
    """Whether it is an answer depends on the question: the parser says that it is none."""
    response = Response(200, body)
    assert classify(response, CODES).is_result
    assert no_answer(response, CODES).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [100, 199, 300, 303, 304])
def test_other_status_is_unreadable(status: int) -> None:
    assert classify(Response(status, b""), CODES).outcome is Outcome.UNREADABLE


RETRY_AFTER = [
    ({"retry-after": "7"}, None, 7.0),
    ({"retry-after": " 0 "}, None, 0.0),
    ({"retry-after": "1.5"}, None, 1.5),
    ({"retry-after-ms": "1500", "retry-after": "2"}, None, 1.5),
    (
        {
            "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
            "date": "Wed, 21 Oct 2015 07:28:00 GMT",
        },
        None,
        30.0,
    ),
    (
        {
            "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT",
            "date": "Wed, 21 Oct 2015 07:28:30 GMT",
        },
        None,
        0.0,
    ),
    ({"retry-after": "999999"}, None, 3600.0),
    ({"retry-after": "-5"}, None, None),
    ({"retry-after": "nan"}, None, None),
    ({"retry-after": "soon"}, None, None),
    ({"retry-after": "9" * 400}, None, None),
    ({}, {"message": "You are being rate limited.", "retry_after": 0.64}, 0.64),
    ({}, {"retry_after": None}, None),
    ({}, None, None),
]


@pytest.mark.parametrize(("headers", "document", "seconds"), RETRY_AFTER)
def test_retry_after_in_every_form(
    headers: dict[str, str], document: Any, seconds: float | None
) -> None:
    assert parse_retry_after(headers, document) == seconds


MESSAGES = [
    ({"error": {"message": "m", "code": "c"}}, "m"),
    ({"error": "e", "message": "m"}, "e: m"),
    ({"error": "Not Found", "message": "Not Found"}, "Not Found"),
    ({"errors": ["a", "b"]}, "a; b"),
    ({"errors": {"Prompt": ["required", "too long"]}}, "Prompt: required; too long"),
    ({"Response": {"Error": {"Code": "AuthFailure", "Message": "expired"}}}, "expired"),
    ({"detail": {"msg": "no such model"}}, "no such model"),
    ({"foo": "bar"}, '{"foo":"bar"}'),
    ({"code": 500}, ""),
    ("<html><body><h1>Down</h1><p>for maintenance</p></body></html>", "Down"),
    ("<html><head><style>p{}</style></head><body>Down &amp; out</body></html>", "Down & out"),
    ("<r><x>1 &lt; 2</x></r>", "1 < 2"),
    ("  two\n lines ", "two lines"),
    ("", ""),
    (b"\xff\xfe\x00", None),
    ({"message": {"message": {"message": {"message": {"message": {"message": {}}}}}}}, None),
]


@pytest.mark.parametrize(("body", "words"), MESSAGES, ids=[str(case[0])[:40] for case in MESSAGES])
def test_message_is_found_in_any_shape(body: Any, words: str | None) -> None:
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    message = read_message(body if isinstance(body, bytes) else body.encode())
    assert words is None or message == words


def test_message_is_of_bounded_length_and_one_line() -> None:
    message = read_message(json.dumps({"message": "word\n" * 10_000}).encode())
    assert len(message) == MAX_MESSAGE_LENGTH
    assert "\n" not in message


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 200_000, b"<a>" * 200_000])
def test_deep_body_is_classified_without_recursion(body: bytes) -> None:
    assert classify(Response(502, body), CODES).outcome is Outcome.UNKNOWN


ERRORS = [
    (TransportError("lost", may_have_been_sent=True), Outcome.UNKNOWN, True),
    (TransportError("refused"), Outcome.UNKNOWN, False),
    (InvalidRequest("no prompt"), Outcome.UNKNOWN, False),
    (HistoryError("the journal is locked"), Outcome.UNKNOWN, True),
    (OSError("disk full"), Outcome.UNKNOWN, True),
    (InvalidResponse("no JSON"), Outcome.UNREADABLE, True),
]


@pytest.mark.parametrize(("error", "outcome", "accepted"), ERRORS, ids=lambda value: repr(value))
def test_error_without_response_is_never_a_rejection(
    error: Exception, outcome: Outcome, accepted: bool
) -> None:
    """After the request left, an error of our own does not mean that it was rejected."""
    assert get_outcome(error) is outcome
    assert may_have_been_accepted(error) is accepted


@pytest.mark.parametrize(
    ("outcome", "accepted", "passes"),
    [
        (Outcome.REFUSAL, False, False),
        (Outcome.BUSY, False, True),
        (Outcome.UNKNOWN, True, True),
        (Outcome.UNSUPPORTED, False, False),
        (Outcome.UNREADABLE, True, True),
    ],
)
def test_error_of_a_response_reports_its_outcome(
    outcome: Outcome, accepted: bool, passes: bool
) -> None:
    odd = next((odd for odd in ODD_RESPONSES if odd.outcome is outcome), None)
    response = Response(304, b"") if odd is None else Response(odd.status, odd.content, odd.headers)
    error = attach(MidjourneyError("no"), classify(response, CODES))
    assert get_outcome(error) is outcome
    assert may_have_been_accepted(error) is accepted
    assert outcome.may_pass is passes


def test_challenge_is_recognised_only_in_pages() -> None:
    """A prompt about a captcha is no gateway."""
    body = json.dumps({"message": "captcha is a banned word"}).encode()
    assert classify(Response(403, body), CODES).reason is Reason.FORBIDDEN
