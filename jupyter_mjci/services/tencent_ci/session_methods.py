"""What every session can do with a bucket: list its jobs, upload, presign, preview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from jupyter_mjci.client.calls import Operation, Paginator
from jupyter_mjci.client.image_input import ImageInput
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.services.tencent_ci import bucket
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.connection import TencentCISettings

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.imaging.picture import Picture, ProcessedPicture


class ClientLike(Protocol):
    """What has the session's clock."""

    clock: Clock


class SessionLike(Protocol):
    """What these methods need of a session."""

    ci: TencentCI
    settings: Settings

    @property
    def client(self) -> ClientLike:
        """What has the session's clock."""
        ...

    def frame(self, listing: Paginator[Job]) -> pd.DataFrame:
        """Return the jobs of a listing as a DataFrame."""
        ...

    def picture(self, source: ImageInput, index: int = 0) -> Operation[Picture]:
        """Read a picture from whatever holds or names it."""
        ...


def jobs(session: SessionLike, **filters: Any) -> pd.DataFrame:
    """Return the CI jobs of the service; `filters` are those of `ci.jobs`."""
    return session.frame(session.ci.jobs(**filters))


def upload(session: SessionLike, source: ImageInput, key: str = "") -> Operation[str]:
    """Put a file into the bucket and return its key. Raises InvalidRequest if it is unreadable.

    Args:
        session: sends it
        source: the file's path, or bytes, which are named by
            their hash; or any picture that `picture` takes
        key: the object's key; by default input/ and the file's
            name
    """

    async def put() -> str:
        content = await session.picture(source)
        return await bucket.upload_file(session.ci, source, content, key)

    return Operation(put)


def presign(
    session: SessionLike, key: str, *, rule: str = "", method: str = "GET", seconds: int = 3600
) -> str:
    """Build a URL of an object of the bucket that needs no credentials. Treat it as a secret.

    The token of a temporary key is part of it. Raises
    InvalidRequest where no bucket is configured.

    Args:
        session: has the credentials
        key: the object's key
        rule: a picture rule that is applied to the object
        method: the HTTP method that the URL is valid for
        seconds: how long it is valid
    """
    return bucket.presign_object(
        cast(TencentCISettings, session.settings.sections["ci"]),
        key,
        session.client.clock.now(),
        rule=rule,
        method=method,
        seconds=seconds,
    )


def preview(
    session: SessionLike,
    rule: str,
    picture: ImageInput,
) -> Operation[ProcessedPicture]:
    """Apply a picture rule locally: what a job would give, without a job.

    The result is a `Picture`, with `info` for imageInfo, imageAve
    and exif. Watermark images are fetched from the bucket. Raises
    InvalidRequest for a rule that cannot be applied.

    Args:
        session: fetches pictures, and watermark images
        rule: the rule
        picture: what `picture` takes: bytes, a job, job[2], a
            path, …
    """

    async def apply() -> ProcessedPicture:
        content = await session.picture(picture)
        return await bucket.apply_rule_locally(session.ci, rule, content)

    return Operation(apply)
