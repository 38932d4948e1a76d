"""Classify every response once: what it means for whoever waits for it.

By status first, then by shape, whatever the body is. A service
adds its own codes and words as a table of rules, because some
services say "no" with status 200 and "queue full" with a code.
Parsers, submission, polling, fallbacks, batches and diagnostics
act on the outcome, and none has an own idea of what a response
means.

| outcome | by what |
|---|---|
| RESULT | 2xx, and no error in any family's shape |
| REFUSAL | 4xx, a redirect, or the service's own "no" |
| BUSY | 425, 429, 503 with Retry-After, the service's own "later" |
| UNKNOWN | no response, 408, 5xx, a 2xx that is no answer |
| UNSUPPORTED | 404, 405, 501 |
| UNREADABLE | everything else |

A read repeats after BUSY, UNKNOWN and UNREADABLE. A submission
repeats after BUSY alone: after UNKNOWN and UNREADABLE the service
may have accepted it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, TypeVar

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.response_text import (
    MAX_SEARCHED,
    decode_text,
    is_html,
    parse_object,
    read_code,
    read_message,
    read_request_id,
    read_type,
)
from jupyter_mjci.errors import (
    InvalidRequest,
    InvalidResponse,
    MjciError,
    NotRecorded,
    ResponseTooLarge,
    ServiceError,
    SettingsError,
    TransportError,
)

ErrorT = TypeVar("ErrorT", bound=MjciError)


class Outcome(StrEnum):
    """What a response means. The values are stable: the journal may store them."""

    RESULT = "result"
    REFUSAL = "refusal"
    BUSY = "busy"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"
    UNREADABLE = "unreadable"

    @property
    def may_be_accepted(self) -> bool:
        """Whether the service may have accepted the submission that this responds to."""
        return self in (Outcome.RESULT, Outcome.UNKNOWN, Outcome.UNREADABLE)

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self in (Outcome.BUSY, Outcome.UNKNOWN, Outcome.UNREADABLE)


class Reason(StrEnum):
    """Why the outcome is not RESULT, where that is known: it selects the error and its hint."""

    NONE = ""
    # the service's own words
    ERROR = "error"
    QUEUE_FULL = "queue full"
    NO_ACCOUNT = "no account"
    RATE_LIMIT = "rate limit"
    QUOTA = "quota"
    BANNED = "banned"
    NOT_FOUND = "not found"
    # by status or page
    UNAUTHORIZED = "unauthorized"
    PASSWORD = "password"
    FORBIDDEN = "forbidden"
    CHALLENGE = "challenge"
    TOO_LARGE = "too large"
    REDIRECT = "redirect"
    UNAVAILABLE = "unavailable"
    NO_ENDPOINT = "no endpoint"
    NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a service's own code, or its words, mean.

    Args:
        reason: why
        outcome: what it means
        codes: the codes that it is for; empty for any
        words: a pattern that the message has to contain; None for
            any message
        overrides_status: whether it also counts with a status
            that leaves the outcome unknown: no gateway says it
    """

    reason: Reason
    outcome: Outcome
    codes: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    overrides_status: bool = False

    def matches(self, codes: Collection[str], message: str) -> bool:
        if self.codes and self.codes.isdisjoint(codes):
            return False
        return self.words is None or self.words.search(message) is not None


@dataclass(frozen=True, slots=True)
class ServiceCodes:
    """How one service says yes and no.

    Args:
        accepted: the codes that accept
        rules: what its codes and words mean; the first match
            counts
        answer_fields: the fields of which a document has at least
            one if it is an answer at all
    """

    accepted: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    answer_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Classified:
    """A response, classified.

    Args:
        outcome: what it means
        status: the HTTP status
        reason: why, where the outcome is not RESULT
        code: the body's own code; "" without one
        message: the body's own words, on one line; "" without any
        retry_after: seconds that the server asks to wait; None
            where it does not say
        location: where a redirect leads; "" for other responses
        request_id: the server's name for the request; "" without
        document: the parsed JSON, where it was parsed
    """

    outcome: Outcome
    status: int
    reason: Reason = Reason.NONE
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    location: str = ""
    request_id: str = ""
    document: Any = field(default=None, compare=False, repr=False)

    @property
    def is_result(self) -> bool:
        return self.outcome is Outcome.RESULT


# --- tables -----------------------------------------------

_QUOTA_WORDS = re.compile(
    r"(?i)insufficient[ _](user[ _])?(quota|balance|credit|funds)|quota[ _]not[ _]enough"
    r"|quota[ _](is[ _])?(exhausted|used up)|exceeded your current quota|out of credits"
    r"|not enough (quota|credit|balance|points)|[额配]度(不足|已用完|已用尽|用尽|耗尽)"
    r"|(余额|配额|点数|积分|次数)(不足|已用完|已用尽|用尽|耗尽)|欠费"
)
_RATE_LIMIT_WORDS = re.compile(
    r"(?i)rate[ _-]?limit|too many requests|请求(过于|太)频繁|请求过多|频率(限制|过高)"
)
# Words of an error that says that something between us and the
# service failed: the request may have been processed.
_PASSING_WORDS = re.compile(
    r"(?i)time[ds]?[ -]?out|upstream|bad gateway|gateway error|temporar|unavailable|overload"
    r"|server error|internal error|try again|try later|connection (reset|refused|closed|error)"
    r"|超时|系统繁忙|系统异常|服务繁忙|稍后|网络|内部错误|服务器错误"
)
# Rules of every service: gateways and relays say these.
COMMON_RULES = (
    Rule(
        Reason.QUOTA,
        Outcome.REFUSAL,
        frozenset(
            {
                "insufficient_quota",
                "insufficient_user_quota",
                "pre_consume_token_quota_failed",
                "quota_not_enough",
                "billing_hard_limit_reached",
            }
        ),
        overrides_status=True,
    ),
    Rule(Reason.QUOTA, Outcome.REFUSAL, words=_QUOTA_WORDS, overrides_status=True),
    Rule(
        Reason.RATE_LIMIT,
        Outcome.BUSY,
        frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"}),
        overrides_status=True,
    ),
    Rule(Reason.RATE_LIMIT, Outcome.BUSY, words=_RATE_LIMIT_WORDS),
)

_STATUS_OUTCOMES: dict[int, tuple[Outcome, Reason]] = {
    301: (Outcome.REFUSAL, Reason.REDIRECT),
    302: (Outcome.REFUSAL, Reason.REDIRECT),
    307: (Outcome.REFUSAL, Reason.REDIRECT),
    308: (Outcome.REFUSAL, Reason.REDIRECT),
    401: (Outcome.REFUSAL, Reason.UNAUTHORIZED),
    402: (Outcome.REFUSAL, Reason.QUOTA),
    403: (Outcome.REFUSAL, Reason.FORBIDDEN),
    404: (Outcome.UNSUPPORTED, Reason.NO_ENDPOINT),
    405: (Outcome.UNSUPPORTED, Reason.NO_ENDPOINT),
    407: (Outcome.REFUSAL, Reason.UNAUTHORIZED),
    # nginx and load balancers: the connection to the service, or
    # ours, ended early.
    408: (Outcome.UNKNOWN, Reason.UNAVAILABLE),
    413: (Outcome.REFUSAL, Reason.TOO_LARGE),
    414: (Outcome.REFUSAL, Reason.TOO_LARGE),
    425: (Outcome.BUSY, Reason.RATE_LIMIT),
    429: (Outcome.BUSY, Reason.RATE_LIMIT),
    431: (Outcome.REFUSAL, Reason.TOO_LARGE),
    444: (Outcome.UNKNOWN, Reason.UNAVAILABLE),
    460: (Outcome.UNKNOWN, Reason.UNAVAILABLE),
    # nginx: the headers are too large
    494: (Outcome.REFUSAL, Reason.TOO_LARGE),
    499: (Outcome.UNKNOWN, Reason.UNAVAILABLE),
    501: (Outcome.UNSUPPORTED, Reason.NO_ENDPOINT),
}
_CHALLENGE_TITLES = re.compile(
    r"(?i)just a moment|attention required|checking your browser|verify you are human"
    r"|are you a robot|captcha|ddos-guard|security check|access denied|request rejected|安全验证"
)
# Pages whose title says nothing: Alibaba Cloud, Imperva, Cloudflare,
# AWS WAF, and Knownsec, which sets cookies by scripts.
_CHALLENGE_BODIES = re.compile(
    rb"(?i)potential threats to the server|acw_sc__v2|var arg1='[0-9a-f]{40}|/_incapsula_resource"
    rb"|_cf_chl_opt|/cdn-cgi/challenge-platform|awswafcookiedomainlist|__jsl_clearance"
)
# Headers by which a gateway says that it wants a human.
_CHALLENGE_HEADERS = {
    "cf-mitigated": frozenset({"challenge"}),
    "x-amzn-waf-action": frozenset({"challenge", "captcha"}),
}
_REQUEST_ID_HEADERS = (
    "x-ci-request-id",
    "x-cos-request-id",
    "x-oneapi-request-id",
    "x-request-id",
    "x-amzn-requestid",
    "cf-ray",
)
# What an error says for a reason that has nothing to do with the
# service itself: the summary, and what to do.
GATEWAY_ERRORS: dict[Reason, tuple[str, str]] = {
    Reason.CHALLENGE: (
        "A gateway in front of the server wants to see a human.",
        "It blocks programs: use an address behind it, or have this machine's address allowed.",
    ),
    Reason.TOO_LARGE: (
        "The request is too large for this server.",
        "Send smaller or fewer pictures, or their URLs; a gateway's limit is its operator's.",
    ),
    Reason.PASSWORD: (
        "A gateway in front of the server wants a user name and a password.",
        "Put them into the address: {setting} = https://USER:PASSWORD@HOST.",
    ),
    Reason.REDIRECT: ("The server redirects to another address.", "Set {setting} to that address."),
}
# the longest pause that a server may ask for, in seconds
MAX_RETRY_AFTER = 3600.0


# --- classification ---------------------------------------


def classify(response: Response, codes: ServiceCodes) -> Classified:
    """Classify a response: the one place that says what it means.

    Args:
        response: the response, whatever its status and body
        codes: how its service says yes and no
    """
    document = _parse_document(response)
    if _is_acceptance(document, codes):
        # Some relays send it with a status of their upstream's.
        return Classified(Outcome.RESULT, response.status, document=document)
    if response.status < 300 and not _is_error_document(response, document, codes):
        return _classify_success(response, document)
    message = read_message(response.body, document)
    code = read_code(response.body, document)
    status = _get_effective_status(response.status, document)
    outcome, reason = _decide(response, status, code, message, document, codes)
    return Classified(
        outcome,
        response.status,
        reason,
        code,
        message,
        parse_retry_after(response.headers, document),
        response.headers.get("location", "") if 300 <= response.status < 400 else "",
        _find_request_id(response),
        document,
    )


def no_answer(response: Response, codes: ServiceCodes) -> Classified:
    """Classify a 2xx that the parser cannot use: it is no answer to what was asked.

    Args:
        response: the response
        codes: how its service says yes and no
    """
    classified = classify(response, codes)
    if not classified.is_result:
        return classified
    return Classified(
        Outcome.UNKNOWN,
        response.status,
        Reason.NO_ANSWER,
        read_code(response.body, classified.document),
        read_message(response.body, classified.document),
        parse_retry_after(response.headers, classified.document),
        request_id=_find_request_id(response),
        document=classified.document,
    )


def attach(error: ErrorT, classified: Classified) -> ErrorT:
    """Give an error the outcome that it reports, and return it."""
    error.outcome = classified.outcome
    error.retry_after = classified.retry_after
    return error


def get_outcome(error: BaseException) -> Outcome:
    """Return the outcome that an error reports.

    Errors of our own, which say nothing about the service, are
    UNKNOWN: after the request left, none of them means that it
    was rejected.
    """
    if isinstance(error, TransportError):
        return Outcome.UNKNOWN
    if isinstance(error, MjciError) and error.outcome:
        return Outcome(error.outcome)
    return Outcome.UNREADABLE if isinstance(error, InvalidResponse) else Outcome.UNKNOWN


def may_pass(error: BaseException) -> bool:
    """Return whether the same read may succeed a little later."""
    if not isinstance(error, (TransportError, ServiceError, InvalidResponse)):
        return False
    return get_outcome(error).may_pass and not isinstance(error, ResponseTooLarge)


def reason_may_pass(reason: str) -> bool:
    """Return whether the words of a failed job name something that may pass: a timeout, a load."""
    return _QUOTA_WORDS.search(reason) is None and _PASSING_WORDS.search(reason) is not None


def may_have_been_accepted(error: BaseException) -> bool:
    """Return whether the submission that ended with the error may have been accepted.

    After an error to connect, and after BUSY, it surely was not.
    """
    if isinstance(error, TransportError):
        return error.may_have_been_sent
    if isinstance(error, (SettingsError, InvalidRequest, NotRecorded)):
        return False
    return get_outcome(error).may_be_accepted


@contextmanager
def allow_unconfirmed() -> Iterator[None]:
    """Go on after an answer that leaves open whether a job was cancelled: fetching it tells."""
    try:
        yield
    except MjciError as error:
        if not may_have_been_accepted(error):
            raise


def get_retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asked to wait before the next attempt, if it did."""
    return error.retry_after if isinstance(error, MjciError) else None


def _parse_document(response: Response) -> Any:
    """Parse a body that may be a JSON object. A bare array is a listing, parsed by its parser."""
    if response.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        return None
    return parse_object(response.body)


def _classify_success(response: Response, document: Any) -> Classified:
    status = response.status
    if status < 200:
        return Classified(Outcome.UNREADABLE, status, Reason.NO_ANSWER)
    if is_html(response.body) or _has_challenge_header(response):
        title = read_message(response.body)
        is_challenge = (
            _has_challenge_title(title)
            or _has_challenge_body(response)
            or _has_challenge_header(response)
        )
        reason = Reason.CHALLENGE if is_challenge else Reason.NO_ANSWER
        return Classified(
            Outcome.UNKNOWN,
            status,
            reason,
            message=title,
            retry_after=parse_retry_after(response.headers),
            request_id=_find_request_id(response),
        )
    request_id = _find_request_id(response)
    return Classified(Outcome.RESULT, status, request_id=request_id, document=document)


def _is_xml_error(response: Response) -> bool:
    return _XML_ERROR.match(response.body[:512]) is not None


def _is_acceptance(document: Any, codes: ServiceCodes) -> bool:
    """Return whether a body names what was created, with a code that accepts."""
    if not isinstance(document, Mapping) or not document.get("result"):
        return False
    return _to_text(document.get("code")) in codes.accepted


def _is_error_document(response: Response, document: Any, codes: ServiceCodes) -> bool:
    """Return whether a 2xx body is an error in some family's shape."""
    if not isinstance(document, Mapping):
        return _is_xml_error(response)
    if document.get("success") is False:
        return True
    if document.get("error"):
        return not _is_job(document)
    if _to_text(document.get("code")) in codes.accepted:
        return False
    if codes.answer_fields & document.keys():
        if document.get("code") is None or not codes.accepted:
            return False
        is_wrapper = any(isinstance(document.get(name), (list, Mapping)) for name in _WRAPPERS)
        return not is_wrapper and "id" not in document
    return bool(read_message(response.body, document) or read_code(response.body, document))


def _is_job(document: Mapping[str, object]) -> bool:
    """Return whether a body is a job, whose own `error` says why it failed.

    Frameworks repeat the HTTP status in their errors: that is a
    number, and a job's status is a word.
    """
    status = document.get("status")
    return bool(document.get("id")) and isinstance(status, str) and not status.isdecimal()


_WRAPPERS = ("data", "result", "content", "list")
_XML_ERROR = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<Error[\s>]")


def _decide(
    response: Response,
    status: int,
    code: str,
    message: str,
    document: Any,
    codes: ServiceCodes,
) -> tuple[Outcome, Reason]:
    from_page = is_html(response.body)
    by_status = _classify_status(status, response.headers)
    if by_status is not None and by_status[0] is Outcome.UNSUPPORTED and _is_xml_error(response):
        # An object storage that has no such object says so.
        by_status = Outcome.REFUSAL, Reason.ERROR
    is_open = by_status is None or by_status[0] is not Outcome.UNKNOWN
    own_codes = (code, read_type(document))
    if not from_page and (any(own_codes) or message):
        for rule in (*COMMON_RULES, *codes.rules):
            if (is_open or rule.overrides_status) and rule.matches(own_codes, message):
                return rule.outcome, rule.reason
    if _is_challenge(response, from_page, message):
        return Outcome.REFUSAL, Reason.CHALLENGE
    if by_status is not None:
        return by_status
    if _PASSING_WORDS.search(message):
        return Outcome.UNKNOWN, Reason.UNAVAILABLE
    # A 2xx that reports an error. Words alone, without a code or
    # a field that says "error", are no answer.
    if isinstance(document, Mapping) and not _says_no(document, code):
        return Outcome.UNKNOWN, Reason.NO_ANSWER
    return Outcome.REFUSAL, Reason.ERROR


def _says_no(document: Mapping[str, object], code: str) -> bool:
    return bool(document.get("error") or document.get("success") is False or code)


def _classify_status(status: int, headers: Mapping[str, str]) -> tuple[Outcome, Reason] | None:
    if status == 401 and headers.get("www-authenticate", "").lower().startswith("basic"):
        # RFC 7617; no service of ours asks for it.
        return Outcome.REFUSAL, Reason.PASSWORD
    if status in _STATUS_OUTCOMES:
        return _STATUS_OUTCOMES[status]
    if status == 503 and parse_retry_after(headers) is not None:
        return Outcome.BUSY, Reason.UNAVAILABLE
    if status >= 500:
        return Outcome.UNKNOWN, Reason.UNAVAILABLE
    if status >= 400:
        return Outcome.REFUSAL, Reason.ERROR
    if status >= 300:
        return Outcome.UNREADABLE, Reason.REDIRECT
    return None


def _get_effective_status(status: int, document: Any) -> int:
    """Return the HTTP status, or the one that an error with status 200 repeats in its body."""
    if status >= 300 or not isinstance(document, Mapping):
        return status
    for name in ("status", "code", "statusCode", "status_code"):
        text = _to_text(document.get(name))
        if text.isdecimal() and 400 <= int(text) < 600:
            return int(text)
    return status


def _is_challenge(response: Response, from_page: bool, message: str) -> bool:
    """Return whether a gateway wants a human to prove that it is one: nothing passed it."""
    if _has_challenge_header(response):
        return True
    if from_page and _has_challenge_body(response):
        return True
    return from_page and response.status in (403, 429, 503) and _has_challenge_title(message)


def _has_challenge_header(response: Response) -> bool:
    return any(response.headers.get(name) in values for name, values in _CHALLENGE_HEADERS.items())


def _has_challenge_body(response: Response) -> bool:
    return _CHALLENGE_BODIES.search(response.body[:MAX_SEARCHED]) is not None


def _has_challenge_title(message: str) -> bool:
    return _CHALLENGE_TITLES.search(message) is not None


def _to_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _find_request_id(response: Response) -> str:
    for name in _REQUEST_ID_HEADERS:
        if response.headers.get(name):
            return response.headers[name]
    return read_request_id(response.body) if response.status >= 300 else ""


# --- Retry-After ------------------------------------------


def parse_retry_after(headers: Mapping[str, str], document: Any = None) -> float | None:
    """Return the seconds that a server asks to wait: a number or a date; None where it does not.

    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after; some
    relays send `retry-after-ms`, Discord a field `retry_after`.

    Args:
        headers: of the response, with lower-case names
        document: the JSON of its body
    """
    candidates: list[float | None] = [
        _parse_number(headers.get("retry-after-ms", ""), 0.001),
        _parse_number(headers.get("retry-after", "")),
        _parse_date(headers.get("retry-after", ""), headers.get("date", "")),
    ]
    if isinstance(document, Mapping):
        candidates.append(_parse_number(_to_text(document.get("retry_after"))))
    for seconds in candidates:
        if seconds is not None:
            return min(max(seconds, 0.0), MAX_RETRY_AFTER)
    return None


def _parse_number(text: str, unit: float = 1.0) -> float | None:
    match = re.fullmatch(r"\s*(\d{1,9}(\.\d+)?)\s*", text)
    return float(match[1]) * unit if match else None


def _parse_date(text: str, now: str) -> float | None:
    """Return the seconds until a date, by the server's own clock where it tells its time."""
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    try:
        return moment - parsedate_to_datetime(now).timestamp()
    except (ValueError, TypeError, OverflowError):
        return moment - time.time()


__all__ = [
    "COMMON_RULES",
    "GATEWAY_ERRORS",
    "Classified",
    "Outcome",
    "Reason",
    "Rule",
    "ServiceCodes",
    "allow_unconfirmed",
    "attach",
    "classify",
    "decode_text",
    "get_outcome",
    "get_retry_after",
    "may_have_been_accepted",
    "may_pass",
    "no_answer",
    "parse_retry_after",
    "reason_may_pass",
]
