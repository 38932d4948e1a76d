"""Every error code that the documents of COS and CI list says what helps."""

from __future__ import annotations

import pytest

from jupyter_mjci.client.calls import Response
from jupyter_mjci.errors import CIError
from jupyter_mjci.services.tencent_ci.codes import HINTS_BY_CODE, find_hint
from jupyter_mjci.services.tencent_ci.responses import parse_job_response

DOCUMENTED = """
InvalidArgument MalformedXML InvalidDigest BadDigest InvalidURI KeyTooLong EntityTooLarge
RequestTimeOut MissingRequestBodyError PicBucketUnBinded MediaBucketUnBinded AccessDenied
SignatureDoesNotMatch RequestTimeTooSkewed InvalidAccessKeyId ExpiredToken InvalidObjectState
ActiveWorkflowForbiddenUpdate NoSuchKey NoSuchBucket NoSuchUpload MethodNotAllowed
BucketAlreadyExists MissingContentLength PreconditionFailed InvalidRange InternalError
NotImplemented ServiceUnavailable SlowDown InvalidUrl InvalidContent MissingAuthorization
InvalidAuthorization SignatureExpired MissingContent InvalidHost SecretidNotExist InvalidContentType
BucketAlreadyBinded ResourceNotFound QueueNotFound TemplateNotFound BindedBucketNumLimit
CreatedTemplateNumLimit TemplateNameDuplicate WorkFlowNumLimit WriteTargetBucketDenied QueueNumLimit
""".split()  # noqa: SIM905
PICTURE_NUMBERS = [
    "-60998",
    "-60997",
    "-60996",
    "-60987",
    "-60949",
    "-60932",
    "-62999",
    "-441",
    "-442",
]


@pytest.mark.parametrize("code", DOCUMENTED)
def test_documented_code_has_a_hint(code: str) -> None:
    assert len(find_hint(400, code, "")) > 20


@pytest.mark.parametrize("number", PICTURE_NUMBERS)
def test_number_of_the_picture_service_has_a_hint(number: str) -> None:
    hints = {find_hint(400, "InvalidArgument", f"PicProcess failed ({number}) for a.jpg.")}
    assert hints.isdisjoint({HINTS_BY_CODE["InvalidArgument"], ""})
    longer = find_hint(400, "InvalidArgument", f"job {number}1 of 2026-60-99")
    assert longer == HINTS_BY_CODE["InvalidArgument"]


def test_hint_is_shown_with_the_error() -> None:
    body = b"<Error><Code>QueueNotFound</Code><Message>No.</Message></Error>"
    with pytest.raises(CIError) as caught:
        parse_job_response(Response(404, body, {"content-type": "application/xml"}))
    assert caught.value.hint == HINTS_BY_CODE["QueueNotFound"]
