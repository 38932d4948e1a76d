"""An emulator of the Midjourney proxies (JSON over `/mj/...`).

* `proxy`: `MidjourneyProxy`: the endpoints
* `routes`: paths and methods to endpoint names, and a request
    taken apart
* `scheduler`: the account's queues and the course of a task
* `tasks`: what a task is, its kinds and its buttons
* `dialects`: how the families of servers differ
* `views`: a task as JSON, per family
* `dataset`: a synthetic history
* `bodies`: parsing request bodies, building responses
* `relay`: what a relay in front of a proxy checks and rewrites
* `image_store`: picture links, and how a task's pictures come
    about
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

from jupyter_mjci.emulator.access import is_local_host
from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.job_emulator import build_id_finder
from jupyter_mjci.emulator.midjourney.dataset import generate_tasks
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS
from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy
from jupyter_mjci.emulator.service import (
    EmulatedService,
    Export,
    GetUrl,
    Options,
    ServiceSpec,
    generate_key,
)

# `mj_options` are further arguments of `MidjourneyProxy`; the
# secret is that of all sandboxes of a process.
OPTIONS: Options = {"dialect": "plus", "mj_secret": generate_key(), "mj_options": {}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command line."""
    parser.add_argument(
        "--dialect",
        choices=DIALECTS,
        default=OPTIONS["dialect"],
        help="family of the Midjourney proxy",
    )
    parser.add_argument(
        "--mj-secret",
        default=OPTIONS["mj_secret"],
        help="secret of the Midjourney proxy (default: a random one)",
    )


def build_service(clock: Clock, seed: int, options: Options) -> EmulatedService:
    """Build a proxy without tasks.

    Raises:
        ValueError: the dialect is unknown
    """
    if options["dialect"] not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ValueError(f"unknown dialect {options['dialect']!r}; known: {known}")
    return MidjourneyProxy(
        clock,
        dialect=options["dialect"],
        secret=options["mj_secret"],
        seed=seed,
        **options["mj_options"],
    )


# How the proxy families expect the secret; the others take
# "secret".
AUTH_STYLES = {"trueai": "raw", "new-api": "bearer"}
# Where they take a task's mode; the others have it in the path.
MODE_STYLES = {"java": "flag", "plus": "filter"}


def build_account(get_url: GetUrl, options: Options) -> Mapping[str, str]:
    """Return the settings of the proxy's only user."""
    return {
        "mj_url": get_url("mj"),
        "mj_secret": options["mj_secret"],
        "mj_auth": AUTH_STYLES.get(options["dialect"], "secret"),
        "mj_mode_by": MODE_STYLES.get(options["dialect"], "path"),
    }


def build_connection(get_url: GetUrl, options: Options) -> Mapping[str, str]:
    """Return where the proxy is, and its secret."""
    return {"mj_url": get_url("mj"), "mj_secret": options["mj_secret"]}


SERVICE = ServiceSpec(
    name="mj",
    path_pattern=re.compile(
        r"/+mj(?:/|$)|/mj-\w+/mj(?:/|$)|/attachments/"
        # behind a prefix: an object may be in a folder mj, too
        r"|(?:/[^/]+)+/mj/(?:submit|task|account|image|insight-face)/"
    ),
    build=build_service,
    find_job_ids=build_id_finder(
        re.compile(r"/task/([^/]+)/"), re.compile(r'^\s*{.*?"result":\s*"([^"]+)"', re.DOTALL)
    ),
    build_account=build_account,
    build_connection=build_connection,
    options=OPTIONS,
    add_arguments=add_arguments,
    export=Export("tasks.json", 3, generate_tasks),
    claims_rest=lambda request: not is_local_host(request.host),
)
