"""Somebody who speaks to TencentCI in a test: with a signature and an XML reader of their own."""

from __future__ import annotations

import hashlib
import hmac
import io
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from PIL import Image

from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.tencent_ci.service import TencentCI

BUCKET, REGION = "demo-1250000000", "ap-chongqing"
KEY_ID, KEY = "AKIDsandbox0000000000000000000000000", "sandboxSecretKey0000000000000000"
CI_HOST = f"{BUCKET}.ci.{REGION}.myqcloud.com"
COS_HOST = f"{BUCKET}.cos.{REGION}.myqcloud.com"


def build_image(width: int, height: int, format: str = "PNG", colour: str = "#336699") -> bytes:
    """A plain picture of this size."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format)
    return buffer.getvalue()


def get_image_size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def percent_encode(text: str) -> str:
    return quote(text, safe="-_.~")


def authorization(
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    span: str,
    *,
    key_id: str = KEY_ID,
    key: str = KEY,
) -> str:
    """The q-sign value over the decoded path and all of the given parameters and headers."""
    parts = [
        sorted(
            (percent_encode(name).lower(), percent_encode(value)) for name, value in pairs.items()
        )
        for pairs in (params, headers)
    ]
    joined = ["&".join(f"{name}={value}" for name, value in pairs) for pairs in parts]
    lists = [";".join(name for name, _ in pairs) for pairs in parts]
    http_string = "\n".join([method.lower(), path, *joined, ""])
    digest = hashlib.sha1(http_string.encode()).hexdigest()
    sign_key = hmac.new(key.encode(), span.encode(), hashlib.sha1).hexdigest()
    signature = hmac.new(
        sign_key.encode(), f"sha1\n{span}\n{digest}\n".encode(), hashlib.sha1
    ).hexdigest()
    return (
        f"q-sign-algorithm=sha1&q-ak={key_id}&q-sign-time={span}&q-key-time={span}"
        f"&q-header-list={lists[1]}&q-url-param-list={lists[0]}&q-signature={signature}"
    )


def to_dict(element: ElementTree.Element) -> Any:
    """Nested dicts of text; what repeats becomes a list."""
    if not len(element):
        return element.text or ""
    children: dict[str, Any] = {}
    for name, group in itertools.groupby(
        sorted(element, key=lambda child: child.tag), key=lambda child: child.tag
    ):
        values = [to_dict(child) for child in group]
        children[name] = values if len(values) > 1 else values[0]
    return children


def parse_response(response: Response) -> Any:
    return to_dict(ElementTree.fromstring(response.body.decode()))


def to_list(value: Any) -> list[Any]:
    """One or many, as a list."""
    return value if isinstance(value, list) else [value] if value else []


@dataclass
class CosClient:
    clock: VirtualClock
    ci: TencentCI

    def span(self) -> str:
        now = int(self.clock.now())
        return f"{now - 60};{now + 3600}"

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        host: str = CI_HOST,
        flag: str = "",
    ) -> Response:
        """A signed request. `flag` goes into the query without being signed, as some clients send
        `?cancel`.
        """
        body = body.encode() if isinstance(body, str) else body
        params = dict(params or {})
        signed = {"host": host, **{name.lower(): value for name, value in (headers or {}).items()}}
        signature = authorization(method, path, params, signed, self.span())
        query = "&".join(
            [
                *(
                    f"{percent_encode(name)}={percent_encode(value)}"
                    for name, value in params.items()
                ),
                *([flag] if flag else []),
            ]
        )
        wire = {**signed, "authorization": signature}
        return self.ci.handle(Request(method, host, quote(path), query, wire, body))

    def cos(self, method: str, path: str, *args: Any, **options: Any) -> Response:
        return self.request(method, path, *args, host=COS_HOST, **options)

    def picture_job(
        self, source: str = "in/a.png", rule: str = "imageMogr2/rotate/90", **options: str
    ) -> Response:
        return self.request("POST", "/jobs", body=job_xml(source, rule, **options))

    def job(self, job_id: str) -> Any:
        return parse_response(self.request("GET", f"/jobs/{job_id}"))["JobsDetail"]

    def jobs(self, **params: str) -> list[Any]:
        response = self.request("GET", "/jobs", {"tag": "PicProcess", "size": "100", **params})
        return to_list(parse_response(response).get("JobsDetail"))


def job_xml(
    source: str, rule: str, *, output: str = "out/a.png", top: str = "", inner: str = ""
) -> str:
    return (
        f"<Request><Tag>PicProcess</Tag><Input><Object>{source}</Object></Input><Operation>"
        f"<PicProcess><IsPicInfo>true</IsPicInfo><ProcessRule>{rule}</ProcessRule></PicProcess>{output_xml(output)}"
        f"{inner}</Operation>{top}</Request>"
    )


def output_xml(key: str) -> str:
    return (
        f"<Output><Region>{REGION}</Region><Bucket>{BUCKET}</Bucket><Object>{key}</Object></Output>"
    )


def batch_xml(input_xml: str, operation: str, kind: str = "Job") -> str:
    return (
        f"<Request><Name>nightly</Name><Type>{kind}</Type><Input>{input_xml}</Input>"
        f"<Operation>{operation}</Operation></Request>"
    )


def job_operation(
    output: str = "out/${InputName}.${Ext}", rule: str = "imageMogr2/thumbnail/!50p"
) -> str:
    return (
        f"<Tag>PicProcess</Tag><JobParam><PicProcess><ProcessRule>{rule}</ProcessRule></PicProcess></JobParam>"
        f"{output_xml(output)}"
    )


def build_client(
    objects: Mapping[str, bytes] | Iterable[tuple[str, bytes]] = (), **settings: Any
) -> CosClient:
    """A fresh service on a clock that stands still, and somebody to visit it. Only that clock
    counts.
    """
    clock = VirtualClock()
    stored = dict(objects) or {"in/a.png": build_image(40, 20)}
    return CosClient(clock, TencentCI(clock, objects=stored, **{"wall_clock": None, **settings}))
