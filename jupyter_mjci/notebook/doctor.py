"""`%mjci status` and `%mjci doctor`: what is set, what is reached, and what may be in the way.
Never a secret.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections import Counter
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from jupyter_mjci.client.settings import CREDENTIALS, Secret, Settings
from jupyter_mjci.diagnostics import diagnose, sanitize_url
from jupyter_mjci.session import Session

Rows = list[tuple[str, str]]
PACKAGES = (
    "jupyter_mjci",
    "ipython",
    "ipykernel",
    "ipywidgets",
    "httpx",
    "anyio",
    "pandas",
    "pillow",
    "nest-asyncio",
    "nest-asyncio2",
)


def build_status(session: Session | None, source: str) -> Rows:
    """Which session the magics use, where it goes, and what it has seen."""
    if session is None:
        return [
            (
                "session",
                "none yet: the first magic that needs one connects, or use %mjci connect | sandbox",
            )
        ]
    return [
        ("session", f"{session!r} ({source})"),
        *_service_rows(session),
        ("seen", _count_jobs(session)),
    ]


def build_report(session: Session, source: str, output_mode: str) -> Rows:
    """All that helps to find out why something does not work. Asks both services, which takes a
    moment.
    """
    return [
        *(("version", one) for one in _list_versions()),
        ("cells", output_mode),
        ("event loop", describe_asyncio()),
        ("session", f"{session!r} ({source})"),
        *_service_rows(session),
        *_credential_rows(session),
        *((finding.name, str(finding)) for finding in diagnose(session)),
    ]


def detect_front_end(ip: Any) -> str:
    """Where cells are shown, as far as it can be told, and whether panels are whole there."""
    known = (
        ("google.colab" in sys.modules, "Google Colab"),
        ("__vsc_ipynb_file__" in ip.user_ns, "Visual Studio Code"),
        (not hasattr(ip, "get_parent"), "IPython without a kernel"),
    )
    name = next((name for there, name in known if there), "a Jupyter front end")
    whole = (
        ""
        if find_spec("anywidget")
        else "; panels cannot paint masks or save files (pip install anywidget)"
    )
    return f"{name}{whole}"


def describe_asyncio() -> str:
    """Whether something has replaced asyncio's own machinery in this process."""
    if getattr(asyncio, "_nest_patched", False) or asyncio.run.__module__ != "asyncio.runners":
        return (
            f"asyncio is patched ({asyncio.run.__module__}): under ipykernel 7.1 and later, nesting on the kernel's "
            "loop loses queued cells. Nothing here needs it; restart the kernel without it."
        )
    return "asyncio is as Python made it"


def _list_versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
    return [", ".join(found)]


def _service_rows(session: Session) -> Rows:
    told = session.settings
    mj = sanitize_url(told.mj_url) if told.has_mj else "not configured"
    ci = f"{told.ci_bucket} in {told.ci_region}" if told.has_ci else "not configured"
    return [("Midjourney", mj), ("Tencent CI", ci)]


def _count_jobs(session: Session) -> str:
    counts = Counter(
        job.status.value.lower() for service in ("mj", "ci") for job in session.known_jobs(service)
    )
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no jobs"


def _credential_rows(session: Session) -> Rows:
    """Each secret and the key id: whether there is one and where it comes from, never what it
    is.
    """
    env = {one.name: one.metadata["env"][0] for one in fields(Settings)}
    return [
        (name, _describe_source(getattr(session.settings, name), env[name], session))
        for name in CREDENTIALS
    ]


def _describe_source(value: Secret | str, variable: str, session: Session) -> str:
    if not value:
        return f"not set ({variable})"
    if session.sandbox is not None:
        return "set (the sandbox's own)"
    return f"set ({getattr(value, 'source', '') or 'argument'})"
