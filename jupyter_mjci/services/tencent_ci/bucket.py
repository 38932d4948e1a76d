"""Presign, upload and look up objects of the configured bucket."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import anyio
import anyio.from_thread

from jupyter_mjci.client.image_input import is_link
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.services.tencent_ci import signing
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.connection import TencentCISettings
from jupyter_mjci.services.tencent_ci.objects import build_object_url

if TYPE_CHECKING:
    from jupyter_mjci.imaging.picture import Picture, ProcessedPicture


def presign_object(
    settings: TencentCISettings, key: str, now: float, *, rule: str, method: str, seconds: int
) -> str:
    """Build a URL of an object that needs no credentials.

    Args:
        settings: name the bucket, its region and the keys
        key: the object's key
        now: the current time, in Unix seconds
        rule: the picture rule that is applied to it; "" for the
            object itself
        method: the HTTP method that the URL is valid for
        seconds: how long it is valid

    Raises:
        InvalidRequest: no bucket is configured, or browsers would
            change the key
    """
    if not settings.is_configured:
        raise InvalidRequest("No bucket is configured.", hint="Set MJCI_CI_BUCKET and its keys.")
    if {".", ".."} & set(key.split("/")):
        raise InvalidRequest(
            f"A link to {key!r} does not work: programs resolve . and .. before they send it.",
            hint="Copy the object to another key, or fetch it with session.ci.get_object().",
        )
    url = build_object_url(settings.bucket, settings.region, key)
    return signing.presign(
        method,
        url,
        params={rule: ""} if rule else {},
        headers={"host": urlsplit(url).netloc},
        secret_id=settings.secret_id,
        secret_key=settings.secret_key.reveal(),
        key_time=signing.key_time(now, seconds),
        token=settings.token.reveal() or None,
    )


async def upload_file(
    ci: TencentCI,
    source: object,
    content: Picture,
    key: str,
) -> str:
    """Put the content of a source into the bucket and return the key.

    By default it is input/ and the name of the file, of the job,
    or of the content's hash.
    """
    key = key or f"input/{_name_source(source, content)}"
    await ci.put_object(key, content)
    return key


def _name_source(source: object, content: Picture) -> str:
    job_id = content.provenance.job_id
    if job_id:
        return f"{job_id}-{content.provenance.index}.{content.format or 'bin'}"
    text = str(source) if isinstance(source, (str, Path)) else "data:"
    if not text.startswith("data:"):
        return Path(urlsplit(text).path if is_link(text) else text).name
    return hashlib.sha256(content).hexdigest()[:16]


async def find_object(ci: TencentCI, url_or_key: str) -> bytes | None:
    """Return an object by its key or URL; None where it is missing or in another bucket."""
    key = url_or_key
    if "://" in url_or_key:
        url = urlsplit(url_or_key)
        if not (url.hostname or "").startswith(f"{ci.bucket}."):
            return None
        key = unquote(url.path).removeprefix("/")
    try:
        return await ci.get_object(key)
    except MjciError:
        return None


async def apply_rule_locally(
    ci: TencentCI,
    rule: str,
    content: bytes,
) -> ProcessedPicture:
    """Apply a picture rule in this process; objects that it names are fetched from the bucket."""
    from jupyter_mjci.imaging.model import RuleError
    from jupyter_mjci.imaging.picture import ProcessedPicture, trace_rule
    from jupyter_mjci.imaging.rule_syntax import apply_rule

    def load_object(url: str) -> bytes | None:
        return anyio.from_thread.run(find_object, ci, url)

    try:
        # The thread cannot be stopped: a cancelled preview
        # leaves it behind.
        result = await anyio.to_thread.run_sync(
            partial(apply_rule, rule, content, load_object=load_object), abandon_on_cancel=True
        )
    except RuleError as error:
        raise InvalidRequest("The rule cannot be applied.", detail=error.message) from None
    return ProcessedPicture(result, trace_rule(content, rule))
