"""What COS and CI mean by the codes of their errors.

https://cloud.tencent.com/document/product/436/7730 (COS),
https://cloud.tencent.com/document/product/460/8490 (CI)
"""

from __future__ import annotations

import re

from jupyter_mjci.client.outcomes import Outcome, Reason, Rule, ServiceCodes

NOT_FOUND_CODES = frozenset({"NoSuchKey", "NonExistJobIds", "NoSuchUpload", "NoSuchVersion"})

RULES = (
    Rule(
        Reason.RATE_LIMIT,
        Outcome.BUSY,
        frozenset(
            {
                "SlowDown",
                "RequestLimitExceeded",
                "RequestLimitExceed",
                "TooManyRequests",
                "Throttling",
            }
        ),
        overrides_status=True,
    ),
    Rule(
        Reason.QUOTA,
        Outcome.REFUSAL,
        frozenset({"ArrearageAccount", "UserNetworkArrears", "InsufficientBalance"}),
        overrides_status=True,
    ),
    Rule(Reason.NOT_FOUND, Outcome.REFUSAL, NOT_FOUND_CODES),
    Rule(
        Reason.UNAVAILABLE,
        Outcome.UNKNOWN,
        frozenset({"InternalError", "ServiceUnavailable", "RequestTimeout", "IncompleteBody"}),
    ),
)

CODES = ServiceCodes(rules=RULES)

# What helps, by code.
CLOCK_HINT = "Set this machine's clock: a signature is valid only for a limited time."
HINTS_BY_CODE = {
    "SignatureDoesNotMatch": "Check MJCI_CI_SECRET_KEY (and the token of a temporary key).",
    "InvalidAccessKeyId": "Check MJCI_CI_SECRET_ID.",
    "SecretidNotExist": "Check MJCI_CI_SECRET_ID.",
    "RequestTimeTooSkewed": CLOCK_HINT,
    "SignatureExpired": CLOCK_HINT,
    "ExpiredToken": "The temporary key has expired: request a new one.",
    "InvalidSecurityToken": "Check MJCI_CI_TOKEN: it belongs to one temporary key.",
    "NoSuchBucket": "Check MJCI_CI_BUCKET and MJCI_CI_REGION.",
    "InvalidBucketName": "Check MJCI_CI_BUCKET: NAME-APPID, in lower case.",
    "NoSuchKey": "Check the object's key.",
    "PicBucketUnBinded": "Bind the bucket to CI's picture processing in the console.",
    "MediaBucketUnBinded": "Bind the bucket to CI's media processing in the console.",
    "TemplateNotFound": "Check the template ID.",
    "EntityTooLarge": "A single upload holds 5 GB at most.",
    "ArrearageAccount": "The account is in arrears: top it up in the console.",
}
ROLE_HINT = "Authorize the service role of CI (CI_QCSRole) for the bucket in the console."
# For AccessDenied: with status 401 CI's role is missing, as was
# seen; with 403 COS says why.
ACCESS_HINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)expired|not yet valid|skew"), CLOCK_HINT),
    (re.compile(r"(?i)role|passrole|assume"), ROLE_HINT),
)
PERMISSION_HINT = "Give the key's user permissions for the bucket and for CI."


def find_hint(status: int, code: str, message: str) -> str:
    """Return what helps against an error, by its code and its words; "" where it is not known."""
    if code != "AccessDenied":
        return HINTS_BY_CODE.get(code, "")
    for words, hint in ACCESS_HINTS:
        if words.search(message):
            return hint
    return ROLE_HINT if status == 401 else PERMISSION_HINT
