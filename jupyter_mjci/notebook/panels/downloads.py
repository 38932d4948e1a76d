"""Name and pack files for download, and create the widgets that need anywidget.

anywidget comes with the extra `lab`. Without it downloads and
mask painting are refused with a hint; everything else works.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import images

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.browser_widgets import PageScript
    from jupyter_mjci.notebook.panels.mask_canvas import MaskEditor
    from jupyter_mjci.session import Session

INSTALL_HINT = "pip install anywidget, then restart the kernel."
MAX_STEM_WORDS = 6
MAX_STEM_LENGTH = 48  # characters
# the same pictures make the same file
ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def create_page_script() -> PageScript | None:
    """Create the widget that saves files in the browser; None without anywidget."""
    try:
        from jupyter_mjci.notebook.panels.browser_widgets import PageScript
    except ImportError:
        return None
    return PageScript()


def create_mask_editor() -> MaskEditor | None:
    """Create an editor to paint a mask in; None without anywidget."""
    try:
        from jupyter_mjci.notebook.panels.mask_canvas import MaskEditor
    except ImportError:
        return None
    return MaskEditor()


def build_file_stem(job: Job) -> str:
    """Build a file name without extension: words of the job's subject, then its ID."""
    name = job.subject.rpartition("/")[2]
    words = re.findall(r"[^\W_]+", name)[:MAX_STEM_WORDS]
    stem = "-".join(words)[:MAX_STEM_LENGTH]
    return f"{stem}-{job.id}" if stem else job.id


async def fetch_files(session: Session, job: Job) -> dict[str, bytes]:
    """Fetch all results of a job; returns content by file name without extension."""
    stem = build_file_stem(job)
    if len(job.outputs) == 1:
        return {stem: await session.picture(job)}
    files: dict[str, bytes] = {}
    for index in range(len(job.outputs)):
        files[f"{stem}-{index + 1}"] = await session.picture(job, index)
    return files


def pack_files(name: str, files: Mapping[str, bytes]) -> tuple[str, str, bytes]:
    """Pack pictures for download: one as it is, several as a ZIP file.

    Args:
        name: the name of the ZIP file, without extension
        files: content by name without extension

    Returns:
        File name, media type and content.

    Raises:
        InvalidRequest: There are no files.
    """
    if not files:
        raise InvalidRequest(
            "There is nothing to download.", hint="Wait until the job has succeeded."
        )
    if len(files) == 1:
        ((stem, content),) = files.items()
        extension = _detect_extension(content)
        return f"{stem}.{extension}", f"image/{extension}".replace("jpg", "jpeg"), content
    buffer = io.BytesIO()
    # Stored, not deflated: pictures are compressed already.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for stem, content in files.items():
            file_name = f"{stem}.{_detect_extension(content)}"
            archive.writestr(zipfile.ZipInfo(file_name, ZIP_TIMESTAMP), content)
    return f"{name}.zip", "application/zip", buffer.getvalue()


def _detect_extension(content: bytes) -> str:
    info = images.identify(content)
    if info is None:
        return "bin"
    return info.format.replace("jpeg", "jpg")
