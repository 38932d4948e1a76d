"""What lies in the buckets: objects, unfinished uploads, and which host name means which bucket."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from jupyter_mjci.emulator.tencent_ci.xml import ErrorResponse

_CLOUD_HOST_RE = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9-]*)\.)?(?P<plane>ci|cos|pic)\.(?P<region>[a-z0-9-]+)\.[a-z]"
)
_SERVICE_HOST_RE = re.compile(r"service\.cos\.[a-z]")
_LOCAL_HOST_RE = re.compile(
    r"localhost|.*\.localhost|[0-9.]+|[0-9a-f:]+"
)  # a bare address means the sandbox itself
MAX_CODE_POINT = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What a host name says: the plane ("ci" or "cos", "" for a bare address), the bucket, the
    region.
    """

    plane: str = ""
    bucket: str = ""
    region: str = ""

    @classmethod
    def parse(cls, host: str) -> HostInfo:
        host = host.lower()
        if _SERVICE_HOST_RE.match(host):
            return cls("cos")
        found = _CLOUD_HOST_RE.match(host)
        if not found:
            return cls()
        return cls(found["plane"].replace("pic", "cos"), found["bucket"] or "", found["region"])


@dataclass(slots=True)
class StoredObject:
    """One object. `headers` are those that come back with it: x-cos-meta-*, Cache-Control and their
    like.
    """

    body: bytes
    etag: str
    modified: float
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class MultipartUpload:
    """A multipart upload under way: its parts by number, each with its ETag."""

    id: str
    key: str
    started: float
    content_type: str
    headers: Mapping[str, str]
    parts: dict[int, StoredObject] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    name: str
    region: str
    created: float
    bound_services: set[str] = field(
        default_factory=set
    )  # the services that work on it: "pic", "media", ...
    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, MultipartUpload] = field(default_factory=dict)
    _sorted_keys: list[str] | None = None

    @property
    def host(self) -> str:
        return f"{self.name}.cos.{self.region}.myqcloud.com"

    def put(self, key: str, stored: StoredObject) -> StoredObject:
        if key not in self.objects:
            self._sorted_keys = None
        self.objects[key] = stored
        return stored

    def remove(self, key: str) -> None:
        if self.objects.pop(key, None):
            self._sorted_keys = None

    def get(self, key: str) -> StoredObject:
        if key not in self.objects:
            raise ErrorResponse(404, "NoSuchKey", "The specified key does not exist.")
        return self.objects[key]

    def iter_keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """The keys with this prefix, behind `after`, in COS's order, which is that of their UTF-8
        bytes.
        """
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self.objects)
        ordered = self._sorted_keys
        at = max(bisect_left(ordered, prefix), bisect_right(ordered, after) if after else 0)
        while at < len(ordered) and ordered[at].startswith(prefix):
            yield ordered[at]
            at += 1


def build_object(
    body: bytes, now: float, content_type: str = "", headers: Mapping[str, str] | None = None
) -> StoredObject:
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    return StoredObject(body, etag, now, content_type or "application/octet-stream", headers or {})


class Store:
    """All buckets of the one account."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}

    def get_bucket(self, name: str, region: str) -> Bucket:
        bucket = self.buckets.get(name)
        if bucket is None or bucket.region != region:
            raise ErrorResponse(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    def resolve(self, url_or_key: str, default_bucket: Bucket) -> tuple[Bucket, str] | None:
        """The bucket and key that a URL (or, in `default_bucket`, a mere key) names; None for what is not
        ours.
        """
        if "://" not in url_or_key:
            return default_bucket, url_or_key.lstrip("/")
        try:
            parts = urlsplit(url_or_key)
            place = HostInfo.parse(parts.hostname or "")
        except ValueError:
            return None
        if not place.plane and not _LOCAL_HOST_RE.fullmatch(parts.hostname or ""):
            return None
        bucket = self.buckets.get(place.bucket) if place.plane else default_bucket
        return (bucket, unquote(parts.path).lstrip("/")) if bucket else None

    def read_object(self, url_or_key: str, default_bucket: Bucket) -> bytes | None:
        found = self.resolve(url_or_key, default_bucket)
        thing = found[0].objects.get(found[1]) if found else None
        return thing.body if thing else None


def compute_multipart_etag(parts: list[StoredObject]) -> str:
    """A multipart object's ETag tells that it was put together: the hash of the hashes, and their
    number.
    """
    joined = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    return f'"{hashlib.md5(joined).hexdigest()}-{len(parts)}"'
