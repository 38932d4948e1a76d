"""Notebook toolkit for picture job services: Midjourney proxies and Tencent Cloud Infinite.

Importing this costs nothing and changes nothing: every name below is looked up when it is first
used.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from jupyter_mjci.client.job import Button, Job, Status
    from jupyter_mjci.errors import MjciError
    from jupyter_mjci.history.image_archive import mask
    from jupyter_mjci.notebook.panels import panel
    from jupyter_mjci.session import Session, connect, sandbox

__version__ = "0.1.0"

_EXPORTS = {
    "Button": "jupyter_mjci.client.job",
    "Job": "jupyter_mjci.client.job",
    "Status": "jupyter_mjci.client.job",
    "MjciError": "jupyter_mjci.errors",
    "Session": "jupyter_mjci.session",
    "connect": "jupyter_mjci.session",
    "mask": "jupyter_mjci.history.image_archive",
    "sandbox": "jupyter_mjci.session",
    "panel": "jupyter_mjci.notebook.panels",
}

__all__ = ["Button", "Job", "MjciError", "Session", "Status", "connect", "mask", "panel", "sandbox"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})


# --- as an extension of IPython -------------------------------------------------------------------

_SAVED_STATE: WeakKeyDictionary[Any, Any] = (
    globals().get("_LEFT") or WeakKeyDictionary()
)  # outlives a reload


def load_ipython_extension(ip: Any) -> None:
    """`%load_ext jupyter_mjci`: the magics. Loads nothing heavy and patches nothing."""
    from jupyter_mjci.notebook.extension import load

    load(ip, _SAVED_STATE.pop(ip, ()))


def unload_ipython_extension(ip: Any) -> None:
    """`%unload_ext jupyter_mjci`: leaves nothing in the shell. The session that the magics used
    goes on, for the next `%load_ext` or `%reload_ext`; so does the engine's thread, which has
    nothing to do then.
    """
    from jupyter_mjci.notebook.extension import unload

    _SAVED_STATE[ip] = unload(ip) or _SAVED_STATE.get(ip, ())


def _unload_modules(loaded_at: float) -> None:
    """Lets go of code, so that it is loaded anew: always of what makes magics, cards and panels; of
    everything where something beneath has changed on disk since then. Sessions and jobs are of the
    old code in that case.
    """
    ours = {name: module for name, module in sys.modules.items() if name.startswith(f"{__name__}.")}
    above = {name for name in ours if name.startswith(f"{__name__}.notebook")}
    files = [
        module.__file__ for name, module in ours.items() if name not in above and module.__file__
    ]
    changed = any(os.path.getmtime(file) > loaded_at for file in files if os.path.exists(file))
    for name in ours if changed else above:
        del sys.modules[name]


if "_SINCE" in globals():  # executed a second time: %reload_ext, importlib.reload
    _unload_modules(globals()["_SINCE"])
_LOADED_AT = time.time()
