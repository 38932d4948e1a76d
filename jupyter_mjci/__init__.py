"""Jupyter toolkit for remote image jobs: Midjourney proxies and Tencent Cloud Infinite.

Importing it is cheap: every public name is imported on first use
(PEP 562), and nothing is patched. Frames of pandas get the accessor
`df.mjci`, which loads the analyses when it is used.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from jupyter_mjci.history.accessor import register_accessor

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.client.job import Button, Job, Status
    from jupyter_mjci.connection import connect, sandbox
    from jupyter_mjci.errors import MjciError
    from jupyter_mjci.history.analysis import analyse
    from jupyter_mjci.history.image_archive import mask
    from jupyter_mjci.imaging.picture import picture
    from jupyter_mjci.notebook.panels import panel
    from jupyter_mjci.session import Session

__version__ = "0.2.0"

_EXPORTS = {
    "Button": "jupyter_mjci.client.job",
    "Job": "jupyter_mjci.client.job",
    "Status": "jupyter_mjci.client.job",
    "MjciError": "jupyter_mjci.errors",
    "analyse": "jupyter_mjci.history.analysis",
    "Session": "jupyter_mjci.session",
    "connect": "jupyter_mjci.connection",
    "mask": "jupyter_mjci.history.image_archive",
    "sandbox": "jupyter_mjci.connection",
    "panel": "jupyter_mjci.notebook.panels",
    "picture": "jupyter_mjci.imaging.picture",
}

__all__ = [
    "Button",
    "Job",
    "MjciError",
    "Session",
    "Status",
    "analyse",
    "connect",
    "mask",
    "panel",
    "picture",
    "sandbox",
]

register_accessor()
# Without a handler of its own Python prints warnings to stderr, which cells would save.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_EXPORTS})


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Register the magics, formatters and completer: `%load_ext jupyter_mjci`."""
    from jupyter_mjci.notebook import extension

    extension.load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Remove everything that loading registered: `%unload_ext jupyter_mjci`.

    The session that the magics used is kept for the next
    `%load_ext` or `%reload_ext`.
    """
    from jupyter_mjci.notebook import extension

    extension.unload(ip)
