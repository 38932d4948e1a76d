"""The objects of a COS bucket: what a listing says of one, and its URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing tells of it: its `key`, `size` in bytes, `changed` aware and in UTC,
    `etag` unquoted.
    """

    key: str
    size: int
    changed: datetime | None
    etag: str = ""


def build_object_url(bucket: str, region: str, key: str) -> str:
    path = key if _match_unreserved(key) else quote(key, safe="/-_.~")
    return f"https://{bucket}.cos.{region}.myqcloud.com/{path}"


_match_unreserved = re.compile(r"[A-Za-z0-9/_.~-]*").fullmatch
