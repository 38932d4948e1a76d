"""Picture work as the services report it: one rule on one picture, once; and the Pic-Operations
around it.

The same rule on the same bytes gives the same picture, so results are kept (the newest `CACHE_BYTES` bytes
of them): a hundred thousand jobs over a dozen samples cost a dozen computations, and their output
objects share their bytes.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from jupyter_mjci.emulator.cos.store import Bucket, Store, StoredObject
from jupyter_mjci.emulator.tencent_ci.xml import Element, ErrorResponse, invalid_argument
from jupyter_mjci.imaging.codecs import read_image_info
from jupyter_mjci.imaging.model import RuleError, RuleResult
from jupyter_mjci.imaging.rule_syntax import apply_rule

CACHE_BYTES = 64 * 1024 * 1024
MAX_RULES = 5
RULE_RE = re.compile(
    r"(imageMogr2|imageView2|watermark|imageInfo|imageAve|exif|imageSlim)(?=[/|]|$)"
)


@dataclass(frozen=True, slots=True)
class ProcessedImage:
    """A processed picture and what the services tell of it (Format, Width, Height, Size,
    Quality).
    """

    body: bytes
    content_type: str
    etag: str
    info: Element


class ImageProcessor:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: OrderedDict[tuple[str, str], ProcessedImage | ErrorResponse] = OrderedDict()
        self._info_by_etag: dict[str, Element] = {}
        self._cached_bytes = 0

    def process(self, rule: str, source: StoredObject, bucket: Bucket) -> ProcessedImage:
        """The picture after the rule. Raises Refused with the picture service's own code."""
        key = (rule, source.etag)
        if key in self._cache:
            self._cache.move_to_end(key)
            made = self._cache[key]
        else:
            made = self._run_rule(rule, source.body, bucket, key)
        if isinstance(made, ErrorResponse):
            raise ErrorResponse(
                made.status, made.code, made.message
            )  # a fresh one: a raised one remembers every raise
        return made

    def _run_rule(
        self, rule: str, body: bytes, bucket: Bucket, key: tuple[str, str]
    ) -> ProcessedImage | ErrorResponse:
        borrowed: list[str] = []

        def objects(address: str) -> bytes | None:
            borrowed.append(address)
            return self._store.read_object(address, bucket)

        made: ProcessedImage | ErrorResponse
        try:
            made = _from_rule_result(apply_rule(rule, body, load_object=objects))
        except RuleError as error:
            made = ErrorResponse(400, error.code, error.message)
        except (
            Exception
        ) as error:  # a picture that nobody foresaw fails its own job, not the service
            made = ErrorResponse(
                400,
                "ImageProcessError",
                f"The picture could not be processed: {type(error).__name__}",
            )
        if not borrowed:  # what another object lends may be another picture tomorrow
            self._cache_result(key, made)
        return made

    def _cache_result(self, key: tuple[str, str], result: ProcessedImage | ErrorResponse) -> None:
        self._cache[key] = result
        self._cached_bytes += _get_entry_size(result)
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= _get_entry_size(self._cache.popitem(last=False)[1])

    def get_image_info(self, source: StoredObject) -> Element:
        """The ImageInfo of an original picture: Format, Width, Height, Quality, Ave,
        Orientation.
        """
        if source.etag not in self._info_by_etag:
            try:
                seen = read_image_info(source.body)
            except RuleError as error:
                raise ErrorResponse(400, error.code, error.message) from None
            names = ("format", "width", "height", "quality", "ave", "orientation")
            self._info_by_etag[source.etag] = {
                name.capitalize(): getattr(seen, name) for name in names
            }
        return self._info_by_etag[source.etag]


def _get_entry_size(result: ProcessedImage | ErrorResponse) -> int:
    return 1000 + (len(result.body) if isinstance(result, ProcessedImage) else 0)


def _from_rule_result(result: RuleResult) -> ProcessedImage:
    facts: Element = {
        "Format": result.format,
        "Width": result.width,
        "Height": result.height,
        "Size": result.size,
        "Quality": result.quality if result.quality is not None else 100,
    }
    if result.frames > 1:
        facts["FrameCount"] = result.frames
    return ProcessedImage(
        result.body, result.content_type, f'"{hashlib.md5(result.body).hexdigest()}"', facts
    )


# -- Pic-Operations: pictures made while an object is uploaded, or from one that is there


@dataclass(frozen=True, slots=True)
class PicRule:
    key: str
    rule: str
    bucket: str


@dataclass(frozen=True, slots=True)
class PicOperations:
    rules: tuple[PicRule, ...]
    wants_image_info: bool

    @classmethod
    def parse(cls, header: str, key: str) -> PicOperations:
        """Of `{"is_pic_info": 1, "rules": [{"fileid": "/out.png", "rule":
        "imageMogr2/format/png"}]}`.
        """
        try:
            spelled = json.loads(header)
        except (ValueError, RecursionError):
            raise invalid_argument("Pic-Operations is not JSON.") from None
        rules = spelled.get("rules", []) if isinstance(spelled, dict) else None
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise invalid_argument("Pic-Operations needs a list of rules.")
        if len(rules) > MAX_RULES:
            raise invalid_argument(f"Pic-Operations holds more than {MAX_RULES} rules (-60997).")
        return cls(
            tuple(_parse_rule(rule, key) for rule in rules),
            str(spelled.get("is_pic_info", 0)) in ("1", "True"),
        )


def _parse_rule(fields: Element, key: str) -> PicRule:
    fileid, rule, bucket = (fields.get(name, "") for name in ("fileid", "rule", "bucket"))
    if not (isinstance(fileid, str) and isinstance(rule, str) and isinstance(bucket, str)):
        raise invalid_argument("A rule's fileid, rule and bucket are texts.")
    if not fileid.strip("/") or not rule:
        raise invalid_argument("A rule needs a fileid and a rule (-60998).")
    if any(
        "\ud800" <= letter <= "\udfff" for letter in fileid + rule
    ):  # JSON can spell half a character
        raise invalid_argument("A rule's texts must be proper Unicode.")
    target = fileid if fileid.startswith("/") else posixpath.join(posixpath.dirname(key), fileid)
    return PicRule(target.lstrip("/"), rule, bucket)


def apply_operations(
    processor: ImageProcessor,
    operations: PicOperations,
    source: StoredObject,
    home: Bucket,
    key: str,
    now: float,
    find_bucket: Callable[[str], Bucket],
) -> Element:
    """Makes and stores what the operations ask for; the content of the UploadResult. All or nothing
    is stored.
    """
    made = [(rule, processor.process(rule.rule, source, home)) for rule in operations.rules]
    original: Element = {"Key": key, "Location": f"{home.host}/{key}", "ETag": source.etag}
    if operations.wants_image_info:
        original["ImageInfo"] = processor.get_image_info(source)
    told = []
    targets = [find_bucket(rule.bucket) if rule.bucket else home for rule, _ in made]
    for target, (rule, picture) in zip(targets, made, strict=True):
        target.put(rule.key, StoredObject(picture.body, picture.etag, now, picture.content_type))
        place = {"Key": rule.key, "Location": f"{target.host}/{rule.key}"}
        told.append({**place, **picture.info, "ETag": picture.etag})
    return {"OriginalInfo": original, "ProcessResults": {"Object": told}}
