"""What lies in the buckets: objects, unfinished uploads, and which host name means which bucket."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from jupyter_mjci.emulator.tencent_ci.xml import Refused

_HOST = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9-]*)\.)?(?P<plane>ci|cos|pic)\.(?P<region>[a-z0-9-]+)\.[a-z]"
)
_SERVICE = re.compile(r"service\.cos\.[a-z]")
_HERE = re.compile(
    r"localhost|.*\.localhost|[0-9.]+|[0-9a-f:]+"
)  # a bare address means the sandbox itself
HIGHEST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Place:
    """What a host name says: the plane ("ci" or "cos", "" for a bare address), the bucket, the
    region.
    """

    plane: str = ""
    bucket: str = ""
    region: str = ""

    @classmethod
    def read(cls, host: str) -> Place:
        host = host.lower()
        if _SERVICE.match(host):
            return cls("cos")
        found = _HOST.match(host)
        if not found:
            return cls()
        return cls(found["plane"].replace("pic", "cos"), found["bucket"] or "", found["region"])


@dataclass(slots=True)
class Stored:
    """One object. `headers` are those that come back with it: x-cos-meta-*, Cache-Control and their
    like.
    """

    body: bytes
    etag: str
    modified: float
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Upload:
    """A multipart upload under way: its parts by number, each with its ETag."""

    id: str
    key: str
    started: float
    content_type: str
    headers: Mapping[str, str]
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    name: str
    region: str
    created: float
    bound: set[str] = field(
        default_factory=set
    )  # the services that work on it: "pic", "media", ...
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    _sorted: list[str] | None = None

    @property
    def host(self) -> str:
        return f"{self.name}.cos.{self.region}.myqcloud.com"

    def put(self, key: str, stored: Stored) -> Stored:
        if key not in self.objects:
            self._sorted = None
        self.objects[key] = stored
        return stored

    def remove(self, key: str) -> None:
        if self.objects.pop(key, None):
            self._sorted = None

    def get(self, key: str) -> Stored:
        if key not in self.objects:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        return self.objects[key]

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """The keys with this prefix, behind `after`, in COS's order, which is that of their UTF-8
        bytes.
        """
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        ordered = self._sorted
        at = max(bisect_left(ordered, prefix), bisect_right(ordered, after) if after else 0)
        while at < len(ordered) and ordered[at].startswith(prefix):
            yield ordered[at]
            at += 1


def stored(
    body: bytes, now: float, content_type: str = "", headers: Mapping[str, str] | None = None
) -> Stored:
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    return Stored(body, etag, now, content_type or "application/octet-stream", headers or {})


class Store:
    """All buckets of the one account."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}

    def find(self, name: str, region: str) -> Bucket:
        bucket = self.buckets.get(name)
        if bucket is None or bucket.region != region:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        return bucket

    def at(self, address: str, home: Bucket) -> tuple[Bucket, str] | None:
        """The bucket and key that a URL (or, in `home`, a mere key) names; None for what is not
        ours.
        """
        if "://" not in address:
            return home, address.lstrip("/")
        try:
            parts = urlsplit(address)
            place = Place.read(parts.hostname or "")
        except ValueError:
            return None
        if not place.plane and not _HERE.fullmatch(parts.hostname or ""):
            return None
        bucket = self.buckets.get(place.bucket) if place.plane else home
        return (bucket, unquote(parts.path).lstrip("/")) if bucket else None

    def body_at(self, address: str, home: Bucket) -> bytes | None:
        found = self.at(address, home)
        thing = found[0].objects.get(found[1]) if found else None
        return thing.body if thing else None


def upload_etag(parts: list[Stored]) -> str:
    """A multipart object's ETag tells that it was put together: the hash of the hashes, and their
    number.
    """
    joined = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    return f'"{hashlib.md5(joined).hexdigest()}-{len(parts)}"'
