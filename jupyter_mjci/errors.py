"""The exception tree, ordered by who has to act.

MjciError
├─ SettingsError        you: the settings are incomplete or contradictory; nothing was sent
├─ InvalidRequest       you: the arguments make no valid request; nothing was sent
│   └─ PreflightError   it could be sent, but would fail or do something else
├─ HistoryError         you: a journal or lake cannot be read or written; its data is intact
├─ TransportError       the network: no response; `.may_have_been_sent`, `.timed_out`
├─ NotRecorded          the recording: it has no response to this request
├─ ServiceError         the service: it responded with an error; `.status`, `.code`
│   ├─ Unsupported      this server has no such endpoint
│   ├─ MidjourneyError
│   │   ├─ QueueFull       code 23: retry later
│   │   ├─ BannedPrompt    code 24: `.word` is the word
│   │   └─ QuotaExceeded   the account's quota is used up
│   └─ CIError             `.code` is COS's own code
├─ InvalidResponse      the response cannot be parsed; `.body` has its bytes
│   └─ ResponseTooLarge    it is larger than any answer of its kind
├─ JobFailed            the job ended without a result; `.job`
└─ WaitTimeout          the job is still running; `.job`. Also a `TimeoutError`

In a notebook cell an error is two or three lines: message, detail
and hint. `%tb` shows the full traceback. Each class's docstring
says, behind the arrow, what usually helps.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_mjci.client.job import Job


class MjciError(Exception):
    """Base class of every expected error: `.message`, `.detail`,
    and a `.hint` that says what to do next.

    An error that a response reports has its `.outcome` (refusal,
    busy, unknown, unsupported, unreadable; "" for other errors)
    and `.retry_after`: the seconds that the server asks to wait,
    or None.
    """

    outcome: str = ""
    retry_after: float | None = None

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self._summary_shown = False

    def __str__(self) -> str:
        return "\n".join(self.format_lines())

    def format_lines(self) -> list[str]:
        """Return the message, the detail and the hint, without those that are empty."""
        lines = [self.message, self.detail]
        if self.hint:
            lines.append(f"→ {self.hint}")
        return [sanitize(line) for line in lines if line]

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints: first a summary, then (`%tb`) the whole traceback."""
        if self._summary_shown:
            return "".join(traceback.format_exception(self)).splitlines()
        self._summary_shown = True
        first, *rest = self.format_lines()
        return [f"{type(self).__name__}: {first}", *(f"  {line}" for line in rest)]


class SettingsError(MjciError):
    """The connection settings are incomplete or contradictory. Nothing was sent.

    → Set what the message names; `%mjci doctor` lists everything
        else that is wrong.
    """


def missing_extra(library: str, extra: str) -> SettingsError:
    """Return the error for a library of an optional extra that is not installed."""
    return SettingsError(
        f"{library} is not installed.", hint=f"pip install 'jupyter_mjci[{extra}]'"
    )


@contextmanager
def requires_extra(library: str, extra: str) -> Iterator[None]:
    """Turn an ImportError of the block into the error that names the extra to install."""
    try:
        yield
    except ImportError:
        raise missing_extra(library, extra) from None


class InvalidRequest(MjciError):
    """The request cannot be built from the arguments. Nothing was sent.

    → Correct the call: the error names the available choices, or
        line and column.
    """


class PreflightError(InvalidRequest):
    """The request could be sent, but it would fail at the service,
    or do something else than was meant. Nothing was sent.

    → Change what the message names; `--as-is` (as_is=True) sends
        it unchecked.
    """


class HistoryError(MjciError):
    """A journal or a lake cannot be read or written. Everything recorded before is intact.

    → Free some disk space or choose another location, then run it
        again.
    """


class SettingsWarning(UserWarning):
    """The settings work, but others can read their secrets."""


class JournalWarning(UserWarning):
    """The journal cannot be written just now. What the services
    answered is kept in memory, and written as soon as possible.
    """


class TransportError(MjciError):
    """No response arrived. `.may_have_been_sent`: the server may
    have processed the request. `.timed_out`: it may still be
    processing it.

    → Check the address and the network; `%mjci resume` searches
        for a submission that may have arrived.
    """

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        hint: str = "",
        may_have_been_sent: bool = False,
        timed_out: bool = False,
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.may_have_been_sent = may_have_been_sent
        self.timed_out = timed_out


class NotRecorded(MjciError):
    """The recording being replayed has no response to the
    request. `.detail` names the nearest request that it has.

    → Record again (`%mjci replay record`), or use the services
        themselves (`%mjci replay off`).
    """


class ServiceError(MjciError):
    """The service responded with an error: `.service`, the HTTP
    `.status`, and its own `.code`, `.service_message` and
    `.request_id`. `.message` contains the service's own message.

    → `%mjci doctor` checks addresses, secrets and clocks.
    """

    service = ""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        service_message: str = "",
        request_id: str = "",
        detail: str = "",
        hint: str = "",
        service: str = "",
    ) -> None:
        if service_message and service_message not in message:
            message = f"{message.removesuffix('.')}: {service_message}"
        if detail in message:
            detail = ""
        super().__init__(message, detail=detail, hint=hint)
        self.service = service or self.service
        self.status = status
        self.code = code
        self.service_message = service_message
        self.request_id = request_id


class Unsupported(ServiceError):
    """This server does not offer the endpoint (it responded with a
    page, or 404), and no fallback does.

    → Check the service's base URL; `%mjci doctor` lists what a
        proxy supports.
    """


class MidjourneyError(ServiceError):
    """An error response of a proxy, with its `.code` ("3", "9",
    …; the HTTP status where the body has none).

    → Read the message; code 3 means an unknown task ID, or that
        no account is free.
    """

    service = "mj"


class QueueFull(MidjourneyError):
    """The proxy's queue is full (code 23, or 9 with that message). The submission was rejected.

    → Retry later; `follow`, and with it the magics, waits for a
        free slot by itself.
    """


class BannedPrompt(MidjourneyError):
    """The prompt contains a banned word (code 24). `.word` is that word, where the proxy names it.

    → Rewrite the prompt without it.
    """

    word = ""


class QuotaExceeded(MidjourneyError):
    """The account's quota at the proxy is used up. The submission was rejected.

    → Top up the account, or use another one.
    """


class CIError(ServiceError):
    """An error response of Tencent Cloud, with its `.code`
    ("NoSuchKey", "SignatureDoesNotMatch", …).

    → The hint explains the usual codes; for others, give
        Tencent's support the `.request_id`.
    """

    service = "ci"


class InvalidResponse(MjciError):
    """The response cannot be parsed. `.body` has its bytes.

    → Look at them: a wrong address often responds with an HTML
        page.
    """

    def __init__(
        self, message: str, *, body: bytes = b"", detail: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.body = body


class ResponseTooLarge(InvalidResponse):
    """The response is larger than any answer of its kind. `.body` has its first bytes.

    → Check the address, and what is in front of the service.
    """


class JobFailed(MjciError):
    """The job ended without a result. `.job.reason` has the service's explanation.

    → Change the request, and submit it again.
    """

    def __init__(self, job: Job, *, hint: str = "") -> None:
        ending = "was cancelled" if job.status == "CANCELLED" else "failed"
        super().__init__(f"{job.action or 'Job'} {job.id} {ending}.", detail=job.reason, hint=hint)
        self.job = job


class WaitTimeout(MjciError, TimeoutError):
    """The wait timed out; the job goes on. `.job` is its last known state.

    → Follow it again by its ID; the setting `wait` is the
        timeout.
    """

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__(
            f"{job.action or 'Job'} {job.id} is not done after {seconds:g} s ({job.status}).",
            hint="It is still running at the service: follow it again by its ID.",
        )
        self.job = job


# --- helpers for messages ---------------------------------


def sanitize(text: str) -> str:
    """Return the text with terminal control characters and lone surrogates replaced by "�".

    Job data and error messages come from outside: unescaped they
    could send commands to a terminal, reverse the text's
    direction, or fail to encode.
    """
    return _CONTROL_CHARACTERS.sub("�", text)


_CONTROL_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def suggest(name: str, choices: Sequence[str]) -> str:
    """Return a hint for an unknown name: a similar choice, else all of them."""
    if not choices:
        return "It takes none."
    return suggest_similar(name, choices) or f"Available: {', '.join(choices)}."


def suggest_similar(name: str, choices: Sequence[str]) -> str:
    """Return a question about a choice that is similar to an unknown name; "" without one."""
    close = get_close_matches(name, choices, 1, 0.6)
    return f"Did you mean {close[0]}?" if close else ""
