"""What Midjourney proxies and the relays in front of them mean by their codes and words.

Sources: `ReturnCode` of the Java family (1, 3, 4, 9, 21 to 24),
the public code of new-api (`constant/midjourney.go`: 4, 5, 30,
and OpenAI's shape of errors), reports of other relays.
"""

from __future__ import annotations

import re

from jupyter_mjci.client.outcomes import Outcome, Reason, Rule, ServiceCodes
from jupyter_mjci.errors import BannedPrompt, MidjourneyError, QueueFull, QuotaExceeded

_TASK_NOT_FOUND = re.compile(
    r"(?i)task[ _-]?(id )?(does |was |is )?(no|not)[ _-](found|exist)|no such task"
    r"|任务(ID)?不存在"
)
_NO_ACCOUNT = re.compile(
    r"(?i)no (available|free|idle) (discord )?(account|instance)"
    r"|(没有|无)可用的?账号|可用的账号实例"
)
_UPSTREAM_LOST = re.compile("(?i)do_request_failed|bad_response|response(_body)?_failed")
_NO_CHANNEL = re.compile("(?i)无可用渠道|no available channel")

RULES = (
    Rule(Reason.QUEUE_FULL, Outcome.BUSY, frozenset({"23"}), overrides_status=True),
    # The .NET family reports a full queue as code 9.
    Rule(Reason.QUEUE_FULL, Outcome.BUSY, frozenset({"9"}), re.compile("(?i)队列已满|queue")),
    Rule(Reason.QUEUE_FULL, Outcome.BUSY, words=re.compile("(?i)队列已满|queue (is )?full")),
    Rule(Reason.BANNED, Outcome.REFUSAL, frozenset({"24"}), overrides_status=True),
    Rule(Reason.RATE_LIMIT, Outcome.BUSY, frozenset({"30"}), overrides_status=True),
    # Code 3 means an unknown task, or that no account is free.
    Rule(
        Reason.NO_ACCOUNT,
        Outcome.BUSY,
        frozenset({"3"}),
        re.compile("(?i)账号|account|instance"),
        overrides_status=True,
    ),
    Rule(Reason.NO_ACCOUNT, Outcome.BUSY, words=_NO_ACCOUNT),
    Rule(Reason.NOT_FOUND, Outcome.REFUSAL, words=_TASK_NOT_FOUND),
    Rule(Reason.NOT_FOUND, Outcome.REFUSAL, frozenset({"3"})),
    # A relay that lost the response of its own upstream.
    Rule(Reason.UNAVAILABLE, Outcome.UNKNOWN, frozenset({"5"})),
    Rule(Reason.UNAVAILABLE, Outcome.UNKNOWN, words=_UPSTREAM_LOST),
    # One API and New API choose a channel before they forward.
    Rule(Reason.ERROR, Outcome.REFUSAL, words=_NO_CHANNEL, overrides_status=True),
    Rule(
        Reason.ERROR,
        Outcome.REFUSAL,
        frozenset({"model_not_found", "invalid_api_key", "access_denied"}),
        overrides_status=True,
    ),
    # The proxy itself refuses, whatever its words are.
    Rule(Reason.ERROR, Outcome.REFUSAL, frozenset({"2", "4", "9"})),
)

CODES = ServiceCodes(
    accepted=frozenset({"0", "1", "21", "22", "200", "success", "SUCCESS", "ok", "OK"}),
    answer_fields=frozenset({"id", "mj_id", "result", "data", "content", "list"}),
    rules=RULES,
)

ErrorEntry = tuple[type[MidjourneyError], str, str]

_SECRET_HINT = "Set MJCI_MJ_SECRET; some proxies need MJCI_MJ_AUTH=bearer or raw."

ERRORS_BY_REASON: dict[Reason, ErrorEntry] = {
    Reason.QUEUE_FULL: (
        QueueFull,
        "The proxy's queue is full; the task was not accepted.",
        "Wait until a task has finished: %mj_queue.",
    ),
    Reason.NO_ACCOUNT: (
        MidjourneyError,
        "The proxy has no free account; the task was not accepted.",
        "Try again later.",
    ),
    Reason.RATE_LIMIT: (
        MidjourneyError,
        "The proxy is limiting the rate of requests.",
        "Wait a moment, then try again.",
    ),
    Reason.QUOTA: (
        QuotaExceeded,
        "The account's quota is used up; nothing was accepted.",
        "Top up the account, or use another key.",
    ),
    Reason.BANNED: (
        BannedPrompt,
        "The prompt may contain a banned word; the task was not accepted.",
        "Rephrase the prompt.",
    ),
    Reason.NOT_FOUND: (
        MidjourneyError,
        "The proxy did not find the task.",
        "Check the task ID: proxies delete tasks after some time.",
    ),
    Reason.UNAUTHORIZED: (MidjourneyError, "The proxy rejected the secret.", _SECRET_HINT),
    Reason.FORBIDDEN: (MidjourneyError, "The proxy denied access.", _SECRET_HINT),
}

ERRORS_BY_CODE: dict[str, ErrorEntry] = {
    "4": (MidjourneyError, "The proxy rejected the request.", ""),
    "5": (
        MidjourneyError,
        "The relay could not reach its proxy.",
        "The task may have been created: check the task list before you submit it again.",
    ),
    "9": (MidjourneyError, "The proxy could not submit the task.", ""),
    "30": (MidjourneyError, "The relay is overloaded; the task was not accepted.", "Try later."),
}

ERRORS_BY_STATUS: dict[int, ErrorEntry] = {
    407: (
        MidjourneyError,
        "A proxy server of this network wants a user name and a password.",
        "Set them in HTTPS_PROXY, or name the address in NO_PROXY.",
    ),
    500: (
        MidjourneyError,
        "The proxy reported an internal error.",
        "Try again; the proxy's log has the details.",
    ),
    503: (MidjourneyError, "The proxy is not available.", "Try again later."),
}
UNAVAILABLE: ErrorEntry = (
    MidjourneyError,
    "The proxy's upstream service does not respond.",
    "Try again later.",
)
OTHER: ErrorEntry = (MidjourneyError, "The proxy reported an error.", "")
