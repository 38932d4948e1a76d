"""Picture work as the services report it: one rule on one picture, once; and the Pic-Operations
around it.

The same rule on the same bytes gives the same picture, so results are kept (the newest `KEPT` bytes
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

from jupyter_mjci.emulator.cos.store import Bucket, Store, Stored
from jupyter_mjci.emulator.tencent_ci.xml import Refused, Tree, invalid
from jupyter_mjci.imaging import rules

KEPT = 64 * 1024 * 1024
MOST_RULES = 5
RULE = re.compile(r"(imageMogr2|imageView2|watermark|imageInfo|imageAve|exif|imageSlim)(?=[/|]|$)")


@dataclass(frozen=True, slots=True)
class Made:
    """A processed picture and what the services tell of it (Format, Width, Height, Size,
    Quality).
    """

    body: bytes
    content_type: str
    etag: str
    facts: Tree


class Pictures:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str], Made | Refused] = OrderedDict()
        self._told: dict[str, Tree] = {}
        self._bytes = 0

    def make(self, rule: str, source: Stored, home: Bucket) -> Made:
        """The picture after the rule. Raises Refused with the picture service's own code."""
        key = (rule, source.etag)
        if key in self._kept:
            self._kept.move_to_end(key)
            made = self._kept[key]
        else:
            made = self._work(rule, source.body, home, key)
        if isinstance(made, Refused):
            raise Refused(
                made.status, made.code, made.message
            )  # a fresh one: a raised one remembers every raise
        return made

    def _work(self, rule: str, body: bytes, home: Bucket, key: tuple[str, str]) -> Made | Refused:
        borrowed: list[str] = []

        def objects(address: str) -> bytes | None:
            borrowed.append(address)
            return self._store.body_at(address, home)

        made: Made | Refused
        try:
            made = _made(rules.apply(rule, body, objects=objects))
        except rules.RuleError as error:
            made = Refused(400, error.code, error.message)
        except (
            Exception
        ) as error:  # a picture that nobody foresaw fails its own job, not the service
            made = Refused(
                400,
                "ImageProcessError",
                f"The picture could not be processed: {type(error).__name__}",
            )
        if not borrowed:  # what another object lends may be another picture tomorrow
            self._keep(key, made)
        return made

    def _keep(self, key: tuple[str, str], made: Made | Refused) -> None:
        self._kept[key] = made
        self._bytes += _weight(made)
        while self._bytes > KEPT and len(self._kept) > 1:
            self._bytes -= _weight(self._kept.popitem(last=False)[1])

    def told(self, source: Stored) -> Tree:
        """The ImageInfo of an original picture: Format, Width, Height, Quality, Ave,
        Orientation.
        """
        if source.etag not in self._told:
            try:
                seen = rules.describe(source.body)
            except rules.RuleError as error:
                raise Refused(400, error.code, error.message) from None
            names = ("format", "width", "height", "quality", "ave", "orientation")
            self._told[source.etag] = {name.capitalize(): getattr(seen, name) for name in names}
        return self._told[source.etag]


def _weight(made: Made | Refused) -> int:
    return 1000 + (len(made.body) if isinstance(made, Made) else 0)


def _made(result: rules.Result) -> Made:
    facts: Tree = {
        "Format": result.format,
        "Width": result.width,
        "Height": result.height,
        "Size": result.size,
        "Quality": result.quality if result.quality is not None else 100,
    }
    if result.frames > 1:
        facts["FrameCount"] = result.frames
    return Made(
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
    with_info: bool

    @classmethod
    def read(cls, header: str, key: str) -> PicOperations:
        """Of `{"is_pic_info": 1, "rules": [{"fileid": "/out.png", "rule":
        "imageMogr2/format/png"}]}`.
        """
        try:
            spelled = json.loads(header)
        except (ValueError, RecursionError):
            raise invalid("Pic-Operations is not JSON.") from None
        rules = spelled.get("rules", []) if isinstance(spelled, dict) else None
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise invalid("Pic-Operations needs a list of rules.")
        if len(rules) > MOST_RULES:
            raise invalid(f"Pic-Operations holds more than {MOST_RULES} rules (-60997).")
        return cls(
            tuple(_rule(rule, key) for rule in rules),
            str(spelled.get("is_pic_info", 0)) in ("1", "True"),
        )


def _rule(spelled: Tree, key: str) -> PicRule:
    fileid, rule, bucket = (spelled.get(name, "") for name in ("fileid", "rule", "bucket"))
    if not (isinstance(fileid, str) and isinstance(rule, str) and isinstance(bucket, str)):
        raise invalid("A rule's fileid, rule and bucket are texts.")
    if not fileid.strip("/") or not rule:
        raise invalid("A rule needs a fileid and a rule (-60998).")
    if any(
        "\ud800" <= letter <= "\udfff" for letter in fileid + rule
    ):  # JSON can spell half a character
        raise invalid("A rule's texts must be proper Unicode.")
    target = fileid if fileid.startswith("/") else posixpath.join(posixpath.dirname(key), fileid)
    return PicRule(target.lstrip("/"), rule, bucket)


def operate(
    pictures: Pictures,
    operations: PicOperations,
    source: Stored,
    home: Bucket,
    key: str,
    now: float,
    bucket_of: Callable[[str], Bucket],
) -> Tree:
    """Makes and stores what the operations ask for; the content of the UploadResult. All or nothing
    is stored.
    """
    made = [(rule, pictures.make(rule.rule, source, home)) for rule in operations.rules]
    original: Tree = {"Key": key, "Location": f"{home.host}/{key}", "ETag": source.etag}
    if operations.with_info:
        original["ImageInfo"] = pictures.told(source)
    told = []
    targets = [bucket_of(rule.bucket) if rule.bucket else home for rule, _ in made]
    for target, (rule, picture) in zip(targets, made, strict=True):
        target.put(rule.key, Stored(picture.body, picture.etag, now, picture.content_type))
        place = {"Key": rule.key, "Location": f"{target.host}/{rule.key}"}
        told.append({**place, **picture.facts, "ETag": picture.etag})
    return {"OriginalInfo": original, "ProcessResults": {"Object": told}}
