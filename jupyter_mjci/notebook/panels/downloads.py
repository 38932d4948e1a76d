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
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import images

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.mask_canvas import MaskEditor

INSTALL_HINT = "pip install anywidget, then restart the kernel."


def create_downloader() -> Any:
    """What saves files in the browser, or None."""
    try:
        from jupyter_mjci.notebook.panels.mask_canvas import Downloader
    except ImportError:
        return None
    return Downloader()


def create_mask_editor() -> MaskEditor | None:
    """A picture to paint on, or None."""
    try:
        from jupyter_mjci.notebook.panels.mask_canvas import MaskEditor
    except ImportError:
        return None
    return MaskEditor()


def build_file_stem(job: Job) -> str:
    """What a job's file is called, without its ending: its subject in a few letters, and its id."""
    words = "-".join(re.findall(r"[^\W_]+", job.subject.rpartition("/")[2])[:6])[:48]
    return f"{words}-{job.id}" if words else job.id


def pack_files(name: str, files: Mapping[str, bytes]) -> tuple[str, str, bytes]:
    """One file with its ending, or several in a zip: name, media type, content. Raises CallError
    for none.
    """
    if not files:
        raise InvalidRequest(
            "There is nothing to download.", hint="Pictures come when a job has succeeded."
        )
    named = {f"{one}.{_detect_extension(content)}": content for one, content in files.items()}
    if len(named) == 1:
        ((only, content),) = named.items()
        return only, f"image/{_detect_extension(content)}".replace("jpg", "jpeg"), content
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:  # pictures do not get smaller
        for one, content in named.items():
            archive.writestr(zipfile.ZipInfo(one, (1980, 1, 1, 0, 0, 0)), content)
    return f"{name}.zip", "application/zip", whole.getvalue()


def _detect_extension(content: bytes) -> str:
    seen = images.identify(content)
    return seen.format.replace("jpeg", "jpg") if seen else "bin"
