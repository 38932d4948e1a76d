"""Everything that can go wrong, by whose turn it is to act.

MjciError
├─ SettingsError       you: something about the connection is missing or contradictory; nothing was sent
├─ CallError           you: what you asked for cannot be said; nothing was sent
├─ HistoryError        you: a journal or a lake cannot be read or written (a full disk, another schema); nothing is lost
├─ TransportError      the way: no answer came
├─ NotRecorded         the recording: it has no answer to this request
├─ ServiceError        the service: it answered, and said no
│   ├─ MidjourneyError
│   │   ├─ NoSuchEndpoint   this proxy family does not have the call
│   │   ├─ QueueFull        code 23: try again later
│   │   └─ BannedPrompt     code 24: `.word` says which
│   └─ CIError              `.code` is COS's own
├─ AnswerError         us or the service: an answer that nobody can read; `.body` keeps it
├─ JobFailed           the job ended without a result; `.job`
└─ WaitTooLong         the job goes on; `.job` as last seen

In a cell an error is two or three lines: what, why, what to do next. A second look with `%tb` shows
the traceback. What usually helps stands in each class's docstring, behind the arrow.
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
    """Anything that can go wrong but for bugs: `.message` happened, `.detail`, and a `.hint`: what to do
    next.
    """

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.detail, self.hint = message, detail, hint
        self._summary_shown = False

    def __str__(self) -> str:
        return "\n".join(self.format_lines())

    def format_lines(self) -> list[str]:
        """What, why and the hint, as far as they are told: what a cell shows."""
        return [
            sanitize(line)
            for line in (self.message, self.detail, self.hint and f"→ {self.hint}")
            if line
        ]

    def _render_traceback_(self) -> list[str]:
        """IPython's door: short the first time, whole when asked again (`%tb`)."""
        if self._summary_shown:
            return "".join(traceback.format_exception(self)).splitlines()
        self._summary_shown = True
        first, *rest = self.format_lines()
        return [f"{type(self).__name__}: {first}", *(f"  {line}" for line in rest)]


class SettingsError(MjciError):
    """Something about the connection is missing or contradictory. Nothing was sent.

    → Set what it names; `%mjci doctor` tells what else is wrong.
    """


def missing_extra(library: str, extra: str) -> SettingsError:
    """The error where a library of one of our extras is not installed."""
    return SettingsError(
        f"{library} is not installed.", hint=f"pip install 'jupyter_mjci[{extra}]'"
    )


@contextmanager
def requires_extra(library: str, extra: str) -> Iterator[None]:
    """Around what imports a library of one of our extras."""
    try:
        yield
    except ImportError:
        raise missing_extra(library, extra) from None


class InvalidRequest(MjciError):
    """What was asked for cannot be said to the service. Nothing was sent.

    → Correct the call: the error names what there is, or line and column.
    """


class HistoryError(MjciError):
    """A journal or a lake cannot be read or written. What was recorded before is all there.

    → Make room, or name another place, and do it again.
    """


class TransportError(MjciError):
    """No answer came. `.may_have_been_sent` is true where the request may have been carried out all the
    same, `.timed_out` where the service may be at it yet.

    → Look at the address and the network; `%mjci resume` looks for a submission that may have
        arrived.
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
        self.may_have_been_sent, self.timed_out = may_have_been_sent, timed_out


class NotRecorded(MjciError):
    """A recording that is played back has no answer to the request. `.why` names the nearest one
    that it has.

    → Record again (`%mjci replay record`), or ask the services themselves (`%mjci replay off`).
    """


class ServiceError(MjciError):
    """The service answered, and said no: `.service`, HTTP `.status`, `.code`, `.service_message` and
    `.request_id` as it told them.

    → `%mjci doctor` examines addresses, secrets and clocks.
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
    ) -> None:
        super().__init__(message, detail=detail or service_message, hint=hint)
        self.status, self.code, self.service_message, self.request_id = (
            status,
            code,
            service_message,
            request_id,
        )


class MidjourneyError(ServiceError):
    """A proxy's answer, with its own `.code` ("3", "9", …; the HTTP status where it tells none).

    → Read the message; a code 3 wants another task id, or an account that is free.
    """

    service = "mj"


class Unsupported(MidjourneyError):
    """This proxy does not offer the call (it answered with a page, or 404), and no other call does
    the same.

    → Check the base URL (`MJCI_MJ_URL`); `%mjci doctor` lists what the proxy offers.
    """


class QueueFull(MidjourneyError):
    """The proxy's queue is full (code 23, or 9 that says so). The submission was not accepted.

    → Send it again later; what is followed, as by the magics, waits for room by itself.
    """


class BannedPrompt(MidjourneyError):
    """The prompt holds a banned word (code 24). `.word` is that word, where the proxy tells it.

    → Write the prompt without it.
    """

    word = ""


class CIError(ServiceError):
    """Tencent's answer, with its own `.code` ("NoSuchKey", "SignatureDoesNotMatch", …).

    → The hint knows the usual codes; for others, Tencent's support wants the `.request_id`.
    """

    service = "ci"


class InvalidResponse(MjciError):
    """An answer that cannot be read. `.body` keeps its bytes.

    → Look at them: an address that leads elsewhere answers with a page.
    """

    def __init__(
        self, message: str, *, body: bytes = b"", detail: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.body = body


class JobFailed(MjciError):
    """The job ended without a result. `.job.reason` says why, in the service's words.

    → Change what it asks for, and submit it again.
    """

    def __init__(self, job: Job, *, hint: str = "") -> None:
        super().__init__(
            f"{job.action or 'Job'} {job.id} {'was cancelled' if job.status == 'CANCELLED' else 'failed'}.",
            detail=job.reason,
            hint=hint,
        )
        self.job = job


class WaitTimeout(MjciError):
    """Nobody waits any longer, but the job goes on. `.job` is how it was last seen.

    → Follow it again by its id; the setting `wait` is the patience.
    """

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__(
            f"{job.action or 'Job'} {job.id} is not done after {seconds:g} s ({job.status}).",
            hint="It goes on at the service: follow it again with its id.",
        )
        self.job = job


# --- their words ----------------------------------------------------------------------------------


def sanitize(text: str) -> str:
    """What a service or a person wrote, without the control characters that would command a
    terminal, and without halves of characters, which nothing can print.
    """
    return _CONTROL_CHARACTERS.sub("�", text)


_CONTROL_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def suggest(name: str, choices: Sequence[str]) -> str:
    """What a person may have meant by a word that is not among the known ones; else all of them."""
    close = get_close_matches(name, choices, 1, 0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return f"There are: {', '.join(choices)}." if choices else "It takes none."
