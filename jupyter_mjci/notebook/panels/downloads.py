"""Files for the person's own computer: their names, one of them or several in a zip; and the
painter, if there is one.

Both need anywidget (extra `lab`); without it a click says so, and everything else works.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import CallError
from jupyter_mjci.notebook import images

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.mask_canvas import Painter

LACKING = "pip install anywidget, then restart the kernel."


def saver() -> Any:
    """What saves files in the browser, or None."""
    try:
        from jupyter_mjci.notebook.panels.mask_canvas import Saver
    except ImportError:
        return None
    return Saver()


def painter() -> Painter | None:
    """A picture to paint on, or None."""
    try:
        from jupyter_mjci.notebook.panels.mask_canvas import Painter
    except ImportError:
        return None
    return Painter()


def name(job: Job) -> str:
    """What a job's file is called, without its ending: its subject in a few letters, and its id."""
    words = "-".join(re.findall(r"[^\W_]+", job.subject.rpartition("/")[2])[:6])[:48]
    return f"{words}-{job.id}" if words else job.id


def file_of(name: str, files: Mapping[str, bytes]) -> tuple[str, str, bytes]:
    """One file with its ending, or several in a zip: name, media type, content. Raises CallError
    for none.
    """
    if not files:
        raise CallError(
            "There is nothing to download.", hint="Pictures come when a job has succeeded."
        )
    named = {f"{one}.{_ending(content)}": content for one, content in files.items()}
    if len(named) == 1:
        ((only, content),) = named.items()
        return only, f"image/{_ending(content)}".replace("jpg", "jpeg"), content
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:  # pictures do not get smaller
        for one, content in named.items():
            archive.writestr(zipfile.ZipInfo(one, (1980, 1, 1, 0, 0, 0)), content)
    return f"{name}.zip", "application/zip", whole.getvalue()


def _ending(content: bytes) -> str:
    seen = images.look(content)
    return seen.format.replace("jpeg", "jpg") if seen else "bin"
