"""The objects of a COS bucket: what a listing says about one, and its URL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from jupyter_mjci.services.tencent_ci.regions import normalize_region


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the bucket, as a listing shows it.

    Args:
        key: its key, as the bucket has it
        size: bytes
        changed: last modification, aware and in UTC
        etag: its entity tag, without quotes
        is_folder: it stands for all objects whose keys begin with
            its key; a listing with a delimiter has such rows
    """

    key: str
    size: int
    changed: datetime | None
    etag: str = ""
    is_folder: bool = False


def build_object_url(bucket: str, region: str, key: str) -> str:
    """Return the public URL of an object; its key is percent-encoded.

    Args:
        bucket: bucket name with the account's number:
            demo-1250000000
        region: region of the bucket: ap-chongqing
        key: the object's key, decoded
    """
    path = quote(key, safe="/-_.~")
    return f"https://{bucket}.cos.{normalize_region(region)}.myqcloud.com/{path}"
