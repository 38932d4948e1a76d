"""Measure a hundred pages of CI jobs as one frame, and a signature, against the official SDK.

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


def make_page(number: int, chance: random.Random) -> bytes:
    jobs = "".join(make_job(number * 100 + index, chance) for index in range(100))
    token = f"<NextToken>{number + 1}</NextToken><RequestId>r{number}</RequestId>"
    return f"<Response>{jobs}{token}</Response>".encode()


def make_job(number: int, chance: random.Random) -> str:
    """Make a job as the service describes it; six in seven have ended."""
    hash = f"{chance.getrandbits(128):032x}"
    done = chance.random() < 0.85
    clock = f"{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}"
    time = f"2024-05-{1 + number % 28:02d}T{clock}+0800"
    info = (
        "<Format>jpeg</Format><Width>1024</Width><Height>768</Height><Quality>90</Quality>"
        "<Ave>0x7a8b9c</Ave>"
    )
    result = (
        f"<PicProcessResult><UploadResult><OriginalInfo><Key>in/{number}.jpg</Key>"
        f"<Location>demo-1250000000.cos.ap-chongqing.myqcloud.com/in/{number}.jpg</Location><ETag>{hash}</ETag>"
        f"<ImageInfo>{info}<Orientation>1</Orientation></ImageInfo></OriginalInfo><ProcessResults><Object>"
        f"<Key>out/{number}.jpg</Key>{info}<Size>8123</Size><ETag>{hash}</ETag></Object></ProcessResults>"
        "</UploadResult></PicProcessResult>"
    )
    region = "<Region>ap-chongqing</Region>"
    return (
        f"<JobsDetail><Code>Success</Code><Message/><JobId>c{hash}</JobId><Tag>PicProcess</Tag>"
        f"<State>{'Success' if done else 'Running'}</State><CreationTime>{time}</CreationTime>"
        f"<StartTime>{time}</StartTime><EndTime>{time if done else '-'}</EndTime>"
        f"<QueueId>p{hash}</QueueId>"
        f"<Input><BucketId>demo-1250000000</BucketId><Object>in/{number}.jpg</Object>{region}</Input>"
        "<Operation>"
        "<PicProcess><IsPicInfo>true</IsPicInfo><ProcessRule>imageMogr2/rotate/90</ProcessRule></PicProcess>"
        f"<Output>{region}<Bucket>demo-1250000000</Bucket><Object>out/{number}.jpg</Object></Output>"
        f"{result if done else ''}<UserData>n{number}</UserData><JobLevel>0</JobLevel>"
        "</Operation></JobsDetail>"
    )


def read_pages(pages: list[bytes]) -> pd.DataFrame:
    from jupyter_mjci.client.calls import Response
    from jupyter_mjci.history.frames import rows_to_frame
    from jupyter_mjci.services.tencent_ci.responses import parse_rows

    rows = [row for page in pages for row in parse_rows(Response(200, page)).items]
    return rows_to_frame("ci", rows)


def read_pages_with_sdk(pages: list[bytes]) -> pd.DataFrame:
    """Read the pages with the SDK's parser and pandas, untyped."""
    return pd.DataFrame([job for page in pages for job in xml_to_dict(page)["JobsDetail"]])


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
    """A request as the SDK's signer reads it."""

    def __init__(self) -> None:
        self.method = "GET"
        self.url = f"https://{HEADERS['host']}/jobs"
        self.headers = dict(HEADERS)


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


def sign_with_sdk(config: Any) -> None:
    for _ in range(SIGNATURES):
        CosS3Auth(config, "/jobs", PARAMS)(Request())


def figures() -> Iterator[Figure]:
    pin(1)
    chance = random.Random(1)
    pages = [make_page(number, chance) for number in range(PAGES)]
    took = in_turns(
        {
            "ours": lambda: read_pages(pages),
            "sdk": lambda: read_pages_with_sdk(pages),
            "floor": lambda: [len(ElementTree.fromstring(page)) for page in pages],
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
    took = in_turns({"ours": sign_ours, "sdk": lambda: sign_with_sdk(config)}, ROUNDS)
    each = {name: seconds / SIGNATURES for name, seconds in took.items()}
    yield faster("one signature", each["ours"], each["sdk"], "the SDK's", 1.6, "us")


if __name__ == "__main__":
    sys.exit(main(figures))
