"""`%mjci status` and `%mjci doctor`: what is set, what is reached, and what may be in the way. Never a secret."""

from __future__ import annotations

import asyncio
import os
import platform
from collections import Counter
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version

from jupyter_mjci.client.settings import Secret, Settings, profile_file
from jupyter_mjci.probing import probed, shown
from jupyter_mjci.session import Session

Rows = list[tuple[str, str]]
PACKAGES = (
    "jupyter_mjci", "ipython", "ipykernel", "ipywidgets", "httpx", "anyio", "pandas", "pillow", "nest-asyncio",
    "nest-asyncio2",
)  # fmt: skip


def status(session: Session | None, source: str) -> Rows:
    """Which session the magics use, where it goes, and what it has seen."""
    if session is None:
        return [("session", "none yet: the first magic that needs one connects, or use %mjci connect | sandbox")]
    return [("session", f"{session!r} ({source})"), *_services(session), ("seen", _seen(session))]


def examined(session: Session, source: str, place: str) -> Rows:
    """All that helps to find out why something does not work. Asks both services, which takes a moment."""
    return [
        *(("version", one) for one in _versions()),
        ("cells", place),
        ("event loop", patched()),
        ("session", f"{session!r} ({source})"),
        *_services(session),
        *_credentials(session),
        *((finding.what, str(finding)) for finding in probed(session)),
    ]


def patched() -> str:
    """Whether something has replaced asyncio's own machinery in this process."""
    if getattr(asyncio, "_nest_patched", False) or asyncio.run.__module__ != "asyncio.runners":
        return (
            f"asyncio is patched ({asyncio.run.__module__}): under ipykernel 7.1 and later, nesting on the kernel's "
            "loop loses queued cells. Nothing here needs it; restart the kernel without it."
        )
    return "asyncio is as Python made it"


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
    return [", ".join(found)]


def _services(session: Session) -> Rows:
    told = session.settings
    mj = shown(told.mj_url) if told.has_mj else "not configured"
    ci = f"{told.ci_bucket} in {told.ci_region}" if told.has_ci else "not configured"
    return [("Midjourney", mj), ("Tencent CI", ci)]


def _seen(session: Session) -> str:
    counts = Counter(job.status.value.lower() for service in ("mj", "ci") for job in session.seen(service))
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no jobs"


def _credentials(session: Session) -> Rows:
    """Each secret: whether there is one and where it comes from, never what it is."""
    rows = []
    for one in fields(Settings):
        value = getattr(session.settings, one.name)
        if isinstance(value, Secret) or one.name == "ci_secret_id":
            rows.append((one.name, _origin(one.metadata["env"], bool(value), session)))
    return rows


def _origin(names: tuple[str, ...], there: bool, session: Session) -> str:
    if not there:
        return f"not set ({names[0]})"
    if session.sandbox is not None:
        return "set (the sandbox's own)"
    if named := next((name for name in names if os.environ.get(name)), ""):
        return f"set (environment: {named})"
    return f"set ({'profile or argument' if profile_file().is_file() else 'argument'})"
