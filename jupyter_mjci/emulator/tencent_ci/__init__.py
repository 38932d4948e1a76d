"""An emulator of Tencent Cloud Infinite (XML over signed HTTPS).

* `service`: `TencentCI`: routing by plane, the signature check,
    the dispatch to the endpoints
* `job_endpoints`: `/jobs`, `/pic_jobs`
* `batch_endpoints`: `/inventorytriggerjob`
* `workflow_endpoints`: `/workflow`, `/triggerworkflow`,
    `/workflowexecution`
* `template_endpoints`: `/template`
* `queue_endpoints`: `/picqueue`, `/picbucket`, …
* `endpoints`: what these have in common
* `params`: what query parameters say: filters, pages, tokens
* `responses`: jobs, batches, queues and errors as XML
* `jobs`: picture jobs, their queues and templates
* `batches`: batches (inventory jobs), workflows and their
    executions
* `events`: what happens by itself and when; IDs and times
* `callbacks`: what is posted when a job or an execution ends
* `dataset`: a synthetic history
* `snapshot`: the state as plain rows

The object plane of the same buckets is `emulator.cos`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.cos.aws_signature import is_aws_signed
from jupyter_mjci.emulator.cos.cors import ANY_ORIGIN, CorsRule
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.job_emulator import build_id_finder
from jupyter_mjci.emulator.service import (
    EmulatedService,
    Export,
    GetUrl,
    Options,
    ServiceSpec,
    generate_key,
)
from jupyter_mjci.emulator.tencent_ci.dataset import generate_callbacks
from jupyter_mjci.emulator.tencent_ci.service import TencentCI

_CLOUD_HOST = re.compile(r"(?:[^.]+\.)?(?:ci|cos|pic)\.|service\.cos\.")
_SIGNATURE_MARK = "q-sign-algorithm="

# `bucket` has its APPID; `ci_options` are further arguments of
# `TencentCI`. The keys are those of all sandboxes of a process.
OPTIONS: Options = {
    "bucket": "demo-1250000000",
    "region": "ap-chongqing",
    "secret_id": generate_key("AKID"),
    "secret_key": generate_key(),
    "ci_options": {},
}


class _KeysAction(argparse.Action):
    """Takes ID:SECRET apart."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _flag: str | None = None,
    ) -> None:
        secret_id, _, secret_key = values.partition(":")
        if not (secret_id and secret_key):
            raise argparse.ArgumentError(self, "must be ID:SECRET")
        namespace.secret_id, namespace.secret_key = secret_id, secret_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option of the command line."""
    parser.add_argument(
        "--keys",
        action=_KeysAction,
        default=argparse.SUPPRESS,
        metavar="ID:SECRET",
        help="the Tencent Cloud keys (default: random ones, told in the line when ready)",
    )


def build_service(clock: Clock, seed: int, options: Options) -> EmulatedService:
    """Build an account with one bucket and no jobs."""
    return TencentCI(
        clock,
        bucket=options["bucket"],
        region=options["region"],
        secret_id=options["secret_id"],
        secret_key=options["secret_key"],
        seed=seed,
        **options["ci_options"],
    )


def claims_request(request: Request) -> bool:
    """Return whether the host is one of the cloud's, or a signature is one of COS or AWS."""
    if _CLOUD_HOST.match(request.host.lower()):
        return True
    authorization = request.headers.get("authorization", "")
    if _SIGNATURE_MARK in authorization or _SIGNATURE_MARK in request.query:
        return True
    return is_aws_signed(request)


def find_cors_rule(service: object, request: Request) -> tuple[bool, CorsRule | None]:
    """Return whether the bucket of a request has CORS rules, and the one that allows it."""
    if isinstance(service, TencentCI):
        return service.find_cors_rule(request)
    return False, ANY_ORIGIN


def build_account(_: GetUrl, options: Options) -> Mapping[str, str]:
    """Return the settings of the account; the hosts are the cloud's own."""
    return {
        "ci_secret_id": options["secret_id"],
        "ci_secret_key": options["secret_key"],
        "ci_bucket": options["bucket"],
        "ci_region": options["region"],
        "ci_token": "",
    }


def build_connection(get_url: GetUrl, options: Options) -> Mapping[str, str]:
    """Return where the two planes of the bucket are, and the account's keys."""
    return {
        "ci_endpoint": get_url("ci"),
        "cos_endpoint": get_url("cos"),
        "secret_id": options["secret_id"],
        "secret_key": options["secret_key"],
        "bucket": options["bucket"],
        "region": options["region"],
    }


SERVICE = ServiceSpec(
    name="ci",
    claims=claims_request,
    claims_rest=lambda _: True,
    path_pattern=re.compile(
        r"/(?:jobs|\w+_jobs|inventorytriggerjob|\w*queue|\w+_queue|\w*bucket|\w+_bucket|cibuckets"
        r"|template|workflow|triggerworkflow|workflowexecution)(?:/|$)"
    ),
    build=build_service,
    too_large_response=Response(
        400,
        b"<Error><Code>EntityTooLarge</Code>"
        b"<Message>The body is larger than the sandbox accepts.</Message></Error>",
        {"content-type": "application/xml", "connection": "close"},
    ),
    find_job_ids=build_id_finder(
        re.compile(r"/(?:\w+_)?(?:jobs|inventorytriggerjob)/([^/?]+)"),
        re.compile(r"<JobId>([^<]+)</JobId>"),
    ),
    build_account=build_account,
    build_connection=build_connection,
    options=OPTIONS,
    add_arguments=add_arguments,
    export=Export("callbacks.log", 1, generate_callbacks),
    find_cors_rule=find_cors_rule,
)
