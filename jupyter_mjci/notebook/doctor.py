"""`%mjci status` and `%mjci doctor`: what is configured, what can
be reached, and known problems of the environment. Never shows a
secret.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.settings import Secret, list_section_settings
from jupyter_mjci.diagnostics import NOT_CONFIGURED, diagnose
from jupyter_mjci.jobs.client import MAX_KNOWN_JOBS
from jupyter_mjci.jobs.spending import describe_today
from jupyter_mjci.notebook.current_session import Selection
from jupyter_mjci.services import get_section_types, services
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

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


def build_status(selection: Selection) -> Rows:
    """Return the session in use, its services, and its jobs by status."""
    session = selection.session
    if session is None:
        hint = "none yet: the first magic connects, or run %mjci connect or %mjci sandbox"
        return [("session", hint)]
    return [
        ("session", f"{session!r} ({selection.source})"),
        *_service_rows(session),
        ("jobs", _count_jobs(session)),
        ("today", describe_today(session.client, session.settings.prices)),
    ]


def build_report(session: Session, source: str, output_mode: str) -> Rows:
    """Return everything that helps to find a problem. Sends requests to the services.

    Args:
        session: the session in use
        source: why it is used
        output_mode: where outputs go, and in which front end
    """
    return [
        ("version", ", ".join(_list_versions())),
        ("cells", output_mode),
        ("event loop", describe_asyncio()),
        ("session", f"{session!r} ({source})"),
        *_service_rows(session),
        *_credential_rows(session),
        *((finding.name, str(finding)) for finding in diagnose(session)),
    ]


def detect_front_end(ip: InteractiveShell) -> str:
    """Return the name of the front end, as far as it is detected, and what panels lack there."""
    name = "a Jupyter front end"
    if "google.colab" in sys.modules:
        name = "Google Colab"
    elif "__vsc_ipynb_file__" in ip.user_ns:
        name = "Visual Studio Code"
    elif not hasattr(ip, "get_parent"):
        name = "IPython without a kernel"
    if not find_spec("anywidget"):
        name += "; panels cannot paint masks or save files (pip install anywidget)"
    return name


def describe_asyncio() -> str:
    """Return whether asyncio is patched in this process, and by whom."""
    module = asyncio.run.__module__
    if not getattr(asyncio, "_nest_patched", False) and module == "asyncio.runners":
        return "asyncio is not patched"
    if event_loop.has_patched_asyncio():
        return "asyncio is patched by this package, for its own loop; the kernel's is as it was"
    return (
        f"asyncio is patched ({module}): under ipykernel 7.1 and later, nesting on the kernel's "
        "loop loses queued cells. This package does not need it; restart the kernel without it."
    )


def _list_versions() -> list[str]:
    versions = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} is not installed")
    return versions


def _service_rows(session: Session) -> Rows:
    rows = []
    for service in services():
        section = session.settings.sections[service.key]
        description = NOT_CONFIGURED
        if section.is_configured:
            description = service.describe_connection(section)
        rows.append((service.label, description))
    return rows


def _count_jobs(session: Session) -> str:
    known = session.client.known_jobs()
    counts = Counter(job.status.value.lower() for job in known)
    shown = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
    return f"{shown} (of the latest {len(known):,})" if len(known) >= MAX_KNOWN_JOBS else shown


def _credential_rows(session: Session) -> Rows:
    """Return whether each credential is set and where it comes from, never its value."""
    settings = session.settings
    return [
        (setting.name, _describe_source(getattr(settings, setting.name), setting.env[0], session))
        for setting in list_section_settings(get_section_types())
        if setting.is_credential
    ]


def _describe_source(value: Secret | str, variable: str, session: Session) -> str:
    if not value:
        return f"not set ({variable})"
    if session.sandbox is not None:
        return "set (the sandbox's own)"
    return f"set ({getattr(value, 'source', '') or 'argument'})"
