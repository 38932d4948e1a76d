"""Notebook toolkit for picture job services: Midjourney proxies and Tencent Cloud Infinite.

Importing this costs nothing and changes nothing: every name below is looked up when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_mjci.client.job import Button, Job, Status
    from jupyter_mjci.errors import MjciError
    from jupyter_mjci.history.pictures import mask
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
    "mask": "jupyter_mjci.history.pictures",
    "sandbox": "jupyter_mjci.session",
    "panel": "jupyter_mjci.notebook.panels",
}

__all__ = ["Button", "Job", "MjciError", "Session", "Status", "connect", "mask", "panel", "sandbox"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callable(ModuleType):
    """The folder `jupyter_mjci.sandbox` when it is called: a session on a fresh sandbox."""

    def __call__(self, **given: Any) -> Session:
        from jupyter_mjci.session import sandbox

        return sandbox(**given)


class _Package(ModuleType):
    """`sandbox` names a folder and a function. Python binds the folder when somebody imports from it, and then it
    has to be callable; before that, `__getattr__` gives the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "sandbox" and isinstance(value, ModuleType):
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(ip: Any) -> None:
    """`%load_ext jupyter_mjci`: the magics, for the shell `ip`. Loads nothing heavy and patches nothing."""
    from jupyter_mjci.notebook.loading import load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """`%unload_ext jupyter_mjci`: takes the magics out of the shell `ip` again. Sessions and jobs go on."""
    from jupyter_mjci.notebook.loading import unload

    unload(ip)
