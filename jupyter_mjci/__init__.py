"""Notebook toolkit for picture job services: Midjourney proxies and Tencent Cloud Infinite.

Importing this costs nothing and changes nothing: every name below is looked up when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_mjci.client.job import Button, Job, Status
    from jupyter_mjci.errors import MjciError
    from jupyter_mjci.notebook.panels import panel
    from jupyter_mjci.session import Session, connect, sandbox

__version__ = "0.1.0"

_HOMES = {
    "Button": "jupyter_mjci.client.job",
    "Job": "jupyter_mjci.client.job",
    "Status": "jupyter_mjci.client.job",
    "MjciError": "jupyter_mjci.errors",
    "Session": "jupyter_mjci.session",
    "connect": "jupyter_mjci.session",
    "sandbox": "jupyter_mjci.session",
    "panel": "jupyter_mjci.notebook.panels",
}

__all__ = ["Button", "Job", "MjciError", "Session", "Status", "connect", "panel", "sandbox"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(ip: Any) -> None:
    """`%load_ext jupyter_mjci`: the magics. Loads nothing heavy and patches nothing."""
    from jupyter_mjci.notebook.magics import load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    from jupyter_mjci.notebook.magics import unload

    unload(ip)
