"""Buckets: their objects, their unfinished uploads, and which host name means which bucket."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import fastcrc

from jupyter_mjci.emulator.cos.cors import CorsRule
from jupyter_mjci.emulator.cos.grants import Grants, allows_everyone
from jupyter_mjci.emulator.xml import ErrorResponse

_CLOUD_HOST_RE = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9-]*)\.)?(?P<plane>ci|cos|pic)\.(?P<region>[a-z0-9-]+)\.[a-z]"
)
_SERVICE_HOST_RE = re.compile(r"service\.cos\.[a-z]")
# A bare address means the sandbox itself.
_LOCAL_HOST_RE = re.compile(r"localhost|.*\.localhost|[0-9.]+|[0-9a-f:]+")
MAX_KEY_BYTES = 850
MAX_CODE_POINT = "\U0010ffff"


def no_such_bucket() -> ErrorResponse:
    """Build the error for a bucket that does not exist."""
    return ErrorResponse(404, "NoSuchBucket", "The specified bucket does not exist.")


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What a host name says.

    `plane` is "ci" or "cos", and "" for a bare address; the
    bucket is "" for the account's own host.
    """

    plane: str = ""
    bucket: str = ""
    region: str = ""

    @classmethod
    def parse(cls, host: str) -> HostInfo:
        """Parse a host name; its domain does not matter."""
        host = host.lower()
        if _SERVICE_HOST_RE.match(host):
            return cls("cos")
        match = _CLOUD_HOST_RE.match(host)
        if not match:
            return cls()
        plane = match["plane"].replace("pic", "cos")
        return cls(plane, match["bucket"] or "", match["region"])


@dataclass(slots=True)
class StoredObject:
    """An object; `headers` are those stored with it: x-cos-meta-*, Cache-Control, …

    An object that was made by appending can be appended to. One
    without grants has its bucket's. One that is archived can be
    read in a period of time only (epoch seconds).
    """

    body: bytes
    etag: str
    modified: float
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_appendable: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    grants: Grants | None = None
    readable_from: float = 0.0
    readable_until: float = 0.0
    _crc64: int | None = None

    @property
    def crc64(self) -> int:
        """The CRC-64 of the body (ECMA-182, as in XZ).

        fastcrc computes 10 GB/s (crcmod, which the official
        Python SDK brings, 0.45 GB/s).

        https://cloud.tencent.com/document/product/436/40334
        """
        if self._crc64 is None:
            self._crc64 = fastcrc.crc64.xz(self.body)
        return self._crc64

    @property
    def storage_class(self) -> str:
        """The storage class that it was uploaded with."""
        return self.headers.get("x-cos-storage-class", "STANDARD")


@dataclass(slots=True)
class MultipartUpload:
    """An unfinished multipart upload: its parts by number."""

    id: str
    key: str
    started: float
    content_type: str
    headers: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    grants: Grants | None = None
    parts: dict[int, StoredObject] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """A bucket; `bound_services` are the CI services that work on it: "pic-process", "media", …"""

    name: str
    region: str
    created: float
    bound_services: set[str] = field(default_factory=set)
    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, MultipartUpload] = field(default_factory=dict)
    cors_rules: list[CorsRule] = field(default_factory=list)
    grants: Grants = field(default_factory=list)
    tags: Mapping[str, str] = field(default_factory=dict)
    styles: dict[str, str] = field(default_factory=dict)
    _sorted_keys: list[str] | None = None

    @property
    def host(self) -> str:
        """Its host name on the object plane."""
        return f"{self.name}.cos.{self.region}.myqcloud.com"

    def put(self, key: str, stored: StoredObject) -> None:
        """Store an object in place of what is there."""
        if key not in self.objects:
            self._sorted_keys = None
        self.objects[key] = stored

    def remove(self, key: str) -> None:
        """Delete an object if there is one."""
        if self.objects.pop(key, None):
            self._sorted_keys = None

    def get(self, key: str) -> StoredObject:
        """Return an object.

        Raises:
            ErrorResponse: there is none
        """
        if key not in self.objects:
            raise ErrorResponse(404, "NoSuchKey", "The specified key does not exist.")
        return self.objects[key]

    def allows_everyone(self, key: str, permission: str) -> bool:
        """Return whether a request without a signature may do something here.

        Args:
            key: the object, which may not be there; "" for the
                listing
            permission: READ or WRITE
        """
        stored = self.objects.get(key)
        if permission == "READ" and stored and stored.grants is not None:
            return allows_everyone(stored.grants, permission)
        return allows_everyone(self.grants, permission)

    def iter_keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the keys with a prefix that follow `after`, in the order of their UTF-8 bytes."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self.objects)
        ordered = self._sorted_keys
        index = bisect_left(ordered, prefix)
        if after:
            index = max(index, bisect_right(ordered, after))
        while index < len(ordered) and ordered[index].startswith(prefix):
            yield ordered[index]
            index += 1


# Python's own table only: the system's would differ from machine
# to machine.
_MIME_TYPES = mimetypes.MimeTypes()
_MIME_TYPES.add_type("image/webp", ".webp")  # in the table since Python 3.13
_MIME_TYPES.add_type("text/javascript", ".js")  # since Python 3.12


def guess_content_type(key: str) -> str:
    """Guess the content type of an object from the extension of its key."""
    name = key.rpartition("/")[2]
    content_type, encoding = _MIME_TYPES.guess_type(f"file:///{name}")
    # What is compressed is no longer what its inner name says.
    if content_type is None or encoding:
        return "application/octet-stream"
    return content_type


def build_object(
    body: bytes, now: float, content_type: str = "", headers: Mapping[str, str] | None = None
) -> StoredObject:
    """Build an object with the ETag of its body."""
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    return StoredObject(body, etag, now, content_type or "application/octet-stream", headers or {})


# Up, down, right and left in ASCII: CAN, EM, SUB, ESC.
_FORBIDDEN_IN_KEYS_RE = re.compile(r"^\\|[\x18-\x1b]")


def check_key(key: str) -> None:
    """Check the length and the characters of a key.

    https://cloud.tencent.com/document/product/436/13324

    Raises:
        ErrorResponse: an object may not have this key
    """
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ErrorResponse(400, "KeyTooLong", f"Your key is longer than {MAX_KEY_BYTES} bytes.")
    if _FORBIDDEN_IN_KEYS_RE.search(key):
        message = "A key does not begin with a backslash, nor hold the characters 0x18 to 0x1B."
        raise ErrorResponse(400, "InvalidURI", message)


class Store:
    """The buckets of the account."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}

    def get_bucket(self, name: str, region: str) -> Bucket:
        """Return a bucket.

        Raises:
            ErrorResponse: there is none in this region
        """
        bucket = self.buckets.get(name)
        if bucket is None or bucket.region != region:
            raise no_such_bucket()
        return bucket

    def resolve(self, url_or_key: str, default_bucket: Bucket) -> tuple[Bucket, str] | None:
        """Return the bucket and the key that an address names.

        Args:
            url_or_key: a URL, or a key of `default_bucket`
            default_bucket: the bucket that a bare address means

        Returns:
            None for what is not in this store.
        """
        if "://" not in url_or_key:
            return default_bucket, url_or_key.lstrip("/")
        try:
            parts = urlsplit(url_or_key)
        except ValueError:
            return None
        host = HostInfo.parse(parts.hostname or "")
        if not host.plane and not _LOCAL_HOST_RE.fullmatch(parts.hostname or ""):
            return None
        bucket = self.buckets.get(host.bucket) if host.plane else default_bucket
        if bucket is None:
            return None
        return bucket, unquote(parts.path).lstrip("/")

    def resolve_copy_source(
        self, address: str, default_bucket: Bucket
    ) -> tuple[Bucket, str] | None:
        """Return the bucket and the key of a copy's source: `host/key` or `bucket/key`.

        In the official PHP client's spelling "+" is a blank.
        """
        location = self._resolve_copy_source(address, default_bucket)
        if location is None or location[1] in location[0].objects:
            return location
        as_form = self._resolve_copy_source(address.replace("+", "%20"), default_bucket)
        return as_form if as_form and as_form[1] in as_form[0].objects else location

    def _resolve_copy_source(
        self, address: str, default_bucket: Bucket
    ) -> tuple[Bucket, str] | None:
        name, _, key = address.partition("/")
        if name in self.buckets:
            return self.buckets[name], unquote(key)
        return self.resolve(f"http://{address}", default_bucket)

    def read_object(self, url_or_key: str, default_bucket: Bucket) -> bytes | None:
        """Return the bytes at an address (see `resolve`), None where there are none."""
        location = self.resolve(url_or_key, default_bucket)
        if location is None:
            return None
        bucket, key = location
        stored = bucket.objects.get(key)
        return stored.body if stored else None


def compute_multipart_etag(parts: list[StoredObject]) -> str:
    """Compute the ETag of a multipart object: the hash of its parts' hashes, and their number."""
    joined = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    return f'"{hashlib.md5(joined).hexdigest()}-{len(parts)}"'
