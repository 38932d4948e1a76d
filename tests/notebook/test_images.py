"""The output of a result image: thumbnail, caption and alternative text."""

from __future__ import annotations

import base64
import io

from PIL import Image

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.imaging.thumbnails import digest
from jupyter_mjci.notebook.images import format_alt_text, picture_bundle

JOB = Job("mj", "1712345678901234", "IMAGINE", Status.SUCCEEDED, subject="a  red\nfox")


def make_png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_picture_bundle_holds_the_thumbnail_and_a_caption_of_its_bytes() -> None:
    """The text is the same for the same bytes: id, size, format and hash, and nothing that
    changes.
    """
    content = make_png(64, 48)
    data, metadata = picture_bundle(JOB, content)
    assert base64.b64decode(str(data["image/png"])) == content
    assert data["text/plain"] == f"MJ 1712345678901234 64×48 png sha {digest(content)[:12]}"
    assert set(data) == {"image/png", "text/plain"}
    assert metadata == {"image/png": {"width": 64, "height": 48, "alt": "IMAGINE: a red fox"}}


def test_alt_text_of_a_job_without_subject_names_action_and_id() -> None:
    assert format_alt_text(Job("ci", "j1", "PicProcess")) == "PicProcess of j1"
