"""Picture rules on objects, and the Pic-Operations header around them.

The same rule on the same bytes gives the same picture, so results
are cached (the newest `CACHE_BYTES` bytes of them): a hundred
thousand jobs over a dozen samples cost a dozen computations, and
their output objects share their bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from jupyter_mjci.emulator.cos.store import Bucket, Store, StoredObject, check_key
from jupyter_mjci.emulator.xml import Element, ErrorResponse, invalid_argument, not_implemented
from jupyter_mjci.imaging.codecs import read_image_info
from jupyter_mjci.imaging.model import RuleError, RuleResult
from jupyter_mjci.imaging.rule_syntax import apply_rule

CACHE_BYTES = 64 * 1024 * 1024
# bytes that a cached result counts beside its picture
ENTRY_OVERHEAD = 1000
MAX_RULES = 5
RULE_RE = re.compile(
    r"(imageMogr2|imageView2|watermark|imageInfo|imageAve|exif|imageSlim)(?=[/|]|$)"
)
# Functions that the service takes as rules, too: blind watermarks,
# codes, `ci-process=GoodsMatting&…`.
UNSERVED_RULE_RE = re.compile(
    r"(?:^|\|)(watermark/[34](?=[/|]|$)|QRcode|imageInspect|ci-process=\w+)"
)


@dataclass(frozen=True, slots=True)
class ProcessedImage:
    """A processed picture; `info` is its ImageInfo: Format, Width, Height, Size, Quality."""

    body: bytes
    content_type: str
    etag: str
    info: Element


class ImageProcessor:
    """Applies picture rules to objects."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: OrderedDict[tuple[str, str], ProcessedImage | ErrorResponse] = OrderedDict()
        self._info_by_etag: dict[str, Element] = {}
        self._cached_bytes = 0

    def process(self, rule: str, source: StoredObject, bucket: Bucket) -> ProcessedImage:
        """Return the picture after a rule.

        Raises:
            ErrorResponse: the rule or the picture is not valid,
                with the picture service's code; or a function of
                the rule is not emulated
        """
        if unserved := UNSERVED_RULE_RE.search(rule):
            raise not_implemented(unserved[1])
        key = (rule, source.etag)
        if key in self._cache:
            self._cache.move_to_end(key)
            result = self._cache[key]
        else:
            result = self._run_rule(rule, source.body, bucket, key)
        if isinstance(result, ErrorResponse):
            # A new one each time: an exception that is raised
            # again collects tracebacks.
            raise ErrorResponse(result.status, result.code, result.message)
        return result

    def _run_rule(
        self, rule: str, body: bytes, bucket: Bucket, key: tuple[str, str]
    ) -> ProcessedImage | ErrorResponse:
        loaded_addresses: list[str] = []

        def load_object(address: str) -> bytes | None:
            loaded_addresses.append(address)
            return self._store.read_object(address, bucket)

        result: ProcessedImage | ErrorResponse
        try:
            result = _from_rule_result(apply_rule(rule, body, load_object=load_object))
        except RuleError as error:
            result = ErrorResponse(400, error.code, error.message)
        except Exception as error:  # an unforeseen picture fails its own job, not the service
            message = f"The picture could not be processed: {type(error).__name__}"
            result = ErrorResponse(400, "ImageProcessError", message)
        # another object may be another picture next time
        if not loaded_addresses:
            self._cache_result(key, result)
        return result

    def _cache_result(self, key: tuple[str, str], result: ProcessedImage | ErrorResponse) -> None:
        self._cache[key] = result
        self._cached_bytes += _get_entry_size(result)
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= _get_entry_size(self._cache.popitem(last=False)[1])

    def get_image_info(self, source: StoredObject) -> Element:
        """Return the ImageInfo of an original: Format, Width, Height, Quality, Ave, Orientation.

        Raises:
            ErrorResponse: it is not a picture
        """
        if source.etag not in self._info_by_etag:
            try:
                info = read_image_info(source.body)
            except RuleError as error:
                raise ErrorResponse(400, error.code, error.message) from None
            self._info_by_etag[source.etag] = {
                "Format": info.format,
                "Width": info.width,
                "Height": info.height,
                "Quality": info.quality,
                "Ave": info.ave,
                "Orientation": info.orientation,
            }
        return self._info_by_etag[source.etag]


def _get_entry_size(result: ProcessedImage | ErrorResponse) -> int:
    if isinstance(result, ErrorResponse):
        return ENTRY_OVERHEAD
    return ENTRY_OVERHEAD + len(result.body)


def _from_rule_result(result: RuleResult) -> ProcessedImage:
    info: Element = {
        "Format": result.format,
        "Width": result.width,
        "Height": result.height,
        "Size": result.size,
        "Quality": result.quality if result.quality is not None else 100,
    }
    if result.frames > 1:
        info["FrameCount"] = result.frames
    etag = f'"{hashlib.md5(result.body).hexdigest()}"'
    return ProcessedImage(result.body, result.content_type, etag, info)


# -- Pic-Operations: pictures made while an object is uploaded, or
# from one that is stored


@dataclass(frozen=True, slots=True)
class PicRule:
    """One rule of Pic-Operations; `bucket` is "" for the source's own."""

    key: str
    rule: str
    bucket: str


@dataclass(frozen=True, slots=True)
class PicOperations:
    """The Pic-Operations header."""

    rules: tuple[PicRule, ...]
    wants_image_info: bool

    @classmethod
    def parse(cls, header: str, key: str) -> PicOperations:
        """Parse the JSON of a header.

        For example `{"is_pic_info": 1, "rules": [{"fileid":
        "/o.png", "rule": "imageMogr2/format/png"}]}`.

        Args:
            header: the header
            key: the source's key, which a relative fileid is
                beside

        Raises:
            ErrorResponse: it is not valid
        """
        try:
            document = json.loads(_decode_header(header))
        except (ValueError, RecursionError):
            raise invalid_argument("Pic-Operations is not JSON.") from None
        rules = document.get("rules", []) if isinstance(document, dict) else None
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise invalid_argument("Pic-Operations needs a list of rules.")
        if len(rules) > MAX_RULES:
            raise invalid_argument(f"Pic-Operations holds more than {MAX_RULES} rules (-60997).")
        wants_image_info = str(document.get("is_pic_info", 0)) in ("1", "True")
        return cls(tuple(_parse_rule(rule, key) for rule in rules), wants_image_info)


def _decode_header(header: str) -> str:
    """Return the JSON of a Pic-Operations header.

    Clients send its bytes as UTF-8, or percent-encoded where
    their HTTP library allows ASCII only.
    """
    with contextlib.suppress(UnicodeError):
        header = header.encode("latin-1").decode()
    return header if header.lstrip().startswith("{") else unquote(header)


def _parse_rule(fields: Element, key: str) -> PicRule:
    fileid = fields.get("fileid", "")
    rule = fields.get("rule", "")
    bucket = fields.get("bucket", "")
    if not (isinstance(fileid, str) and isinstance(rule, str) and isinstance(bucket, str)):
        raise invalid_argument("A rule's fileid, rule and bucket must be text.")
    if not fileid.strip("/") or not rule:
        raise invalid_argument("A rule needs a fileid and a rule (-60998).")
    # JSON can spell half a character: a surrogate without its
    # other half.
    if re.search("[\ud800-\udfff]", fileid + rule):
        raise invalid_argument("A rule's texts must be proper Unicode.")
    target = fileid
    if not fileid.startswith("/"):
        target = posixpath.join(posixpath.dirname(key), fileid)
    target = target.lstrip("/")
    check_key(target)
    return PicRule(target, rule, bucket)


def apply_operations(
    processor: ImageProcessor,
    operations: PicOperations,
    source: StoredObject,
    bucket: Bucket,
    key: str,
    now: float,
    find_bucket: Callable[[str], Bucket],
) -> Element:
    """Make and store the pictures that the operations ask for, all or none.

    Returns:
        The content of UploadResult.

    Raises:
        ErrorResponse: a rule cannot be applied, or a bucket does
            not exist
    """
    results = [processor.process(rule.rule, source, bucket) for rule in operations.rules]
    original: Element = {"Key": key, "Location": f"{bucket.host}/{key}", "ETag": source.etag}
    if operations.wants_image_info:
        original["ImageInfo"] = processor.get_image_info(source)
    targets = [find_bucket(rule.bucket) if rule.bucket else bucket for rule in operations.rules]
    objects = []
    for rule, target, result in zip(operations.rules, targets, results, strict=True):
        target.put(rule.key, StoredObject(result.body, result.etag, now, result.content_type))
        location = {"Key": rule.key, "Location": f"{target.host}/{rule.key}"}
        objects.append({**location, **result.info, "ETag": result.etag})
    return {"OriginalInfo": original, "ProcessResults": {"Object": objects}}
