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
    # the key and the clock
    "SignatureDoesNotMatch": "Check MJCI_CI_SECRET_KEY (and the token of a temporary key).",
    "InvalidAccessKeyId": "Check MJCI_CI_SECRET_ID.",
    "SecretidNotExist": "Check MJCI_CI_SECRET_ID.",
    "MissingAuthorization": "Set MJCI_CI_SECRET_ID and MJCI_CI_SECRET_KEY.",
    "InvalidAuthorization": "Check that no proxy or gateway changes the header Authorization.",
    "RequestTimeTooSkewed": CLOCK_HINT,
    "SignatureExpired": CLOCK_HINT,
    "ExpiredToken": "The temporary key has expired: request a new one.",
    "InvalidSecurityToken": "Check MJCI_CI_TOKEN: it belongs to one temporary key.",
    # buckets and hosts
    "NoSuchBucket": "Check MJCI_CI_BUCKET and MJCI_CI_REGION.",
    "InvalidBucketName": "Check MJCI_CI_BUCKET: NAME-APPID, in lower case.",
    "InvalidHost": "Check MJCI_CI_BUCKET, MJCI_CI_REGION and MJCI_CI_ENDPOINT.",
    "BucketAlreadyExists": "Choose another name: this bucket exists already.",
    "BucketAlreadyOwnedByYou": "The bucket is yours already: use it as it is.",
    "BucketNotEmpty": "Delete the objects and the unfinished uploads of the bucket first.",
    "PicBucketUnBinded": "Bind the bucket to CI's picture processing in the console.",
    "MediaBucketUnBinded": "Bind the bucket to CI's media processing in the console.",
    "BucketAlreadyBinded": "The bucket is bound to the service already: go on.",
    "BindedBucketNumLimit": "Unbind a bucket that is no longer used, or ask for a higher limit.",
    "WriteTargetBucketDenied": "Let CI's service role write into the output's bucket.",
    # objects
    "NoSuchKey": "Check the object's key.",
    "NoSuchUpload": "The upload was finished or aborted: start it again.",
    "NoSuchVersion": "Check the version ID: %ci_objects lists the current objects.",
    "InvalidObjectState": "The object is archived: restore it first, in the console.",
    "RestoreAlreadyInProgress": "The object is being restored: wait until it can be read.",
    "FileAlreadyExists": "An object of this key exists: choose another key, or delete it first.",
    "KeyTooLong": "A key has at most 850 bytes of UTF-8.",
    "InvalidURI": "Check the key: no leading backslash, no control characters.",
    "EntityTooLarge": "A single upload holds 5 GB at most.",
    "InvalidDigest": "The Content-MD5 is not the base64 of 16 bytes: leave it out.",
    "BadDigest": "The data changed on the way: upload it again.",
    "MissingContentLength": "Check that no proxy removes Content-Length, and send it again.",
    "PreconditionFailed": "The object is not as the condition wants it: read it again.",
    "InvalidRange": "The object is shorter than the range: ask for its size first.",
    "NoSuchCORSConfiguration": "The bucket has no CORS rules: set them in the console.",
    "NoSuchTagSet": "The bucket has no tags.",
    # requests
    "InvalidArgument": "Check the parameter that the message names.",
    "MalformedXML": "Check the XML at the place that the message names.",
    "MissingRequestBodyError": "Send the XML of the request as its body.",
    "MissingContent": "Send the XML of the request as its body.",
    "InvalidContent": "Check the body: XML as in the documents, in UTF-8.",
    "InvalidContentType": "Send the body as application/xml.",
    "InvalidUrl": "Give an address that begins with http:// or https://.",
    "RequestTimeOut": "The connection is too slow for the data: try again, or send less at once.",
    "MethodNotAllowed": "This resource has no such method: check path and method.",
    "NotImplemented": "The service, or the sandbox, does not have this function.",
    # jobs, queues, templates, workflows
    "ResourceNotFound": "Check the ID: %ci_jobs lists those of jobs.",
    "QueueNotFound": "Check the queue ID: %ci_queues lists the queues.",
    "TemplateNotFound": "Check the template ID.",
    "TemplateNameDuplicate": "Choose another name: there is a template of this one.",
    "CreatedTemplateNumLimit": "Delete templates that are no longer used.",
    "ActiveWorkflowForbiddenUpdate": "Pause the workflow first.",
    "WorkFlowNumLimit": "Delete workflows that are no longer used.",
    "QueueNumLimit": "Use a queue that is there: %ci_queues lists them.",
    # the account and the service
    "ArrearageAccount": "The account is in arrears: top it up in the console.",
    "SlowDown": "Submit less at once: the service limits requests per second.",
    "InternalError": "The service failed: try again later.",
    "ServiceUnavailable": "The service is overloaded: try again later.",
}
ROLE_HINT = "Authorize the service role of CI (CI_QCSRole) for the bucket in the console."
# For AccessDenied: with status 401 CI's role is missing, as was
# seen; with 403 COS says why.
ACCESS_HINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)expired|not yet valid|skew"), CLOCK_HINT),
    (re.compile(r"(?i)role|passrole|assume"), ROLE_HINT),
)
PERMISSION_HINT = "Give the key's user permissions for the bucket and for CI."


# The picture service's own numbers, which stand in messages.
PICTURE_NUMBER_RE = re.compile(r"-(?:6\d{4}|44[12])(?!\d)")
PICTURE_HINTS = {
    "-60998": "Check the rule: imageMogr2, imageView2 or watermark with their parameters.",
    "-60997": "Pic-Operations takes five rules at most: send several requests.",
    "-60996": "A source picture has 32 MB at most: make it smaller first.",
    "-60987": "The source cannot be read as a picture: open it with session.ci.get_object().",
    "-60949": "Submit less at once: the service limits pictures per second.",
    "-60932": "Check MJCI_CI_SECRET_KEY: the header Pic-Operations must be signed as it is sent.",
    "-62999": "The source is no picture: JPEG, PNG, GIF, WebP, BMP and HEIF are.",
    "-441": "Make the picture smaller: a side has 9,999 pixels at most.",
    "-442": "Make the picture smaller: a side has 9,999 pixels at most.",
}


def find_hint(status: int, code: str, message: str) -> str:
    """Return what helps against an error, by its code and its words; "" where it is not known."""
    if code != "AccessDenied":
        number = PICTURE_NUMBER_RE.search(message)
        by_number = PICTURE_HINTS.get(number[0], "") if number else ""
        return by_number or HINTS_BY_CODE.get(code, "")
    for words, hint in ACCESS_HINTS:
        if words.search(message):
            return hint
    return ROLE_HINT if status == 401 else PERMISSION_HINT
