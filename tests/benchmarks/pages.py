"""A hundred pages of a hundred CI jobs as one frame, against the official SDK's parser; and one
signature.

python -m tests.benchmarks.pages
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from tests.benchmarks.figures import Figure, faster, in_turns, main, pin, within

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qcloud_cos import CosConfig
    from qcloud_cos.cos_auth import CosS3Auth
    from qcloud_cos.cos_comm import xml_to_dict

PAGES = 100
ROUNDS = 5
SIGNATURES = 5_000


def page(number: int, chance: random.Random) -> bytes:
    jobs = "".join(detail(number * 100 + one, chance) for one in range(100))
    return f"<Response>{jobs}<NextToken>{number + 1}</NextToken><RequestId>r{number}</RequestId></Response>".encode()


def detail(number: int, chance: random.Random) -> str:
    """A job as the service tells of it; six in seven have ended."""
    mark, done = f"{chance.getrandbits(128):032x}", chance.random() < 0.85
    told = f"2024-05-{1 + number % 28:02d}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+0800"
    info = "<Format>jpeg</Format><Width>1024</Width><Height>768</Height><Quality>90</Quality><Ave>0x7a8b9c</Ave>"
    result = (
        f"<PicProcessResult><UploadResult><OriginalInfo><Key>in/{number}.jpg</Key>"
        f"<Location>demo-1250000000.cos.ap-chongqing.myqcloud.com/in/{number}.jpg</Location><ETag>{mark}</ETag>"
        f"<ImageInfo>{info}<Orientation>1</Orientation></ImageInfo></OriginalInfo><ProcessResults><Object>"
        f"<Key>out/{number}.jpg</Key>{info}<Size>8123</Size><ETag>{mark}</ETag></Object></ProcessResults>"
        "</UploadResult></PicProcessResult>"
    )
    place = "<Region>ap-chongqing</Region>"
    return (
        f"<JobsDetail><Code>Success</Code><Message/><JobId>c{mark}</JobId><Tag>PicProcess</Tag>"
        f"<State>{'Success' if done else 'Running'}</State><CreationTime>{told}</CreationTime>"
        f"<StartTime>{told}</StartTime><EndTime>{told if done else '-'}</EndTime><QueueId>p{mark}</QueueId>"
        f"<Input><BucketId>demo-1250000000</BucketId><Object>in/{number}.jpg</Object>{place}</Input><Operation>"
        "<PicProcess><IsPicInfo>true</IsPicInfo><ProcessRule>imageMogr2/rotate/90</ProcessRule></PicProcess>"
        f"<Output>{place}<Bucket>demo-1250000000</Bucket><Object>out/{number}.jpg</Object></Output>"
        f"{result if done else ''}<UserData>n{number}</UserData><JobLevel>0</JobLevel></Operation></JobsDetail>"
    )


def ours(pages: list[bytes]) -> pd.DataFrame:
    from jupyter_mjci.client.calls import Response
    from jupyter_mjci.history.frames import rows_to_frame
    from jupyter_mjci.services.tencent_ci.responses import parse_rows

    return rows_to_frame([row for one in pages for row in parse_rows(Response(200, one)).items])


def the_sdks(pages: list[bytes]) -> pd.DataFrame:
    """Its parser, and pandas; untyped."""
    return pd.DataFrame([job for one in pages for job in xml_to_dict(one)["JobsDetail"]])


PARAMS = {
    "tag": "PicProcess",
    "size": "100",
    "nextToken": "225508",
    "startCreationTime": "2022-07-18T00:00:00+0800",
}
HEADERS = {
    "host": "demo-1250000000.ci.ap-chongqing.myqcloud.com",
    "content-type": "application/xml",
    "content-length": "512",
}
KEYS = ("AKIDexample", "k" * 32)


class Request:
    """What the SDK's signer wants of a request."""

    def __init__(self) -> None:
        self.method, self.url, self.headers = (
            "GET",
            f"https://{HEADERS['host']}/jobs",
            dict(HEADERS),
        )


def sign_ours() -> None:
    from jupyter_mjci.services.tencent_ci.signing import sign

    for _ in range(SIGNATURES):
        sign(
            "GET",
            "/jobs",
            params=PARAMS,
            headers=HEADERS,
            secret_id=KEYS[0],
            secret_key=KEYS[1],
            key_time="1;601",
        )


def sign_the_sdks(config: Any) -> None:
    for _ in range(SIGNATURES):
        CosS3Auth(config, "/jobs", PARAMS)(Request())


def figures() -> Iterator[Figure]:
    pin(1)
    chance = random.Random(1)
    pages = [page(number, chance) for number in range(PAGES)]
    took = in_turns(
        {
            "ours": lambda: ours(pages),
            "sdk": lambda: the_sdks(pages),
            "floor": lambda: [len(ElementTree.fromstring(one)) for one in pages],
        },
        ROUNDS,
    )
    yield faster(
        f"{PAGES} CI pages of 100 jobs -> one frame",
        took["ours"],
        took["sdk"],
        "the SDK's parser",
        5,
    )
    yield within("  against ElementTree alone", took["ours"], took["floor"], "ElementTree", None)
    config = CosConfig(Region="ap-chongqing", SecretId=KEYS[0], SecretKey=KEYS[1], Scheme="https")
    took = in_turns({"ours": sign_ours, "sdk": lambda: sign_the_sdks(config)}, ROUNDS)
    each = {name: seconds / SIGNATURES for name, seconds in took.items()}
    yield faster("one signature", each["ours"], each["sdk"], "the SDK's", 1.6, "us")


if __name__ == "__main__":
    sys.exit(main(figures))
