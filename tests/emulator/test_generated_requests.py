"""Requests that nobody thought of, through the real door: no 500, no hang, no exception.

A few hundred in the suite; `python -m tests.emulator.test_generated_requests 5000` sends more.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.server import LoopbackServer
from tests.emulator.cos_client import CI_HOST, COS_HOST, KEY, KEY_ID, authorization

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get"]
SPAN = "0;99999999999"  # always
HOSTS = [
    "127.0.0.1",
    "localhost",
    COS_HOST,
    CI_HOST,
    "service.cos.myqcloud.com",
    "ci.ap-chongqing.myqcloud.com",
    "none-1250000000.cos.ap-chongqing.myqcloud.com",
    "ap-chongqing.migration.myqcloud.com",
    "demo.pic.ap-chongqing.myqcloud.com",
    "attacker.example",
    "[::1]",
    "",
]
ORIGINS = ["http://localhost:8888", "https://attacker.example", "null", "*", "http://[", "x" * 300]
RESOURCES = """
/ /jobs /pic_jobs /jobs/c0 /jobs/c0,c1 /inventorytriggerjob /inventorytriggerjob/b0 /picqueue
/picqueue/p0 /picbucket /mediabucket /template /template/t0 /workflow /workflow/w0 /triggerworkflow
/workflowexecution /workflowexecution/i0 /audio/auditing /in/a.png /input/deer.jpg
/mj/submit/imagine
/mj/submit/action /mj/submit/blend /mj/submit/describe /mj/submit/modal /mj/submit/change
/mj/submit/shorten /mj/submit/upload-discord-images /mj/insight-face/swap /mj/task/1/fetch
/mj/task/1/image-seed /mj/task/list /mj/task/list-by-condition /mj/task/queue /mj/image/1
/mj-fast/mj/submit/imagine /mj/task/1/cancel /_sandbox/stats /_sandbox //
""".split()  # noqa: SIM905
PARAMS = """
acl cors style tagging versions versioning uploads uploadId partNumber append position delete prefix
marker max-keys delimiter encoding-type key-marker max-uploads max-parts part-number-marker tag size
nextToken states orderByTime startCreationTime endCreationTime queueId ids pageNumber pageSize name
workflowId object cancel active paused image_process imageMogr2/thumbnail/10x imageInfo exif
watermark/2/text/YQ imageView2/1/w/0 response-content-type q-sign-algorithm q-ak sign ci-process
versionId bucketNames type jobId style/x
""".split()  # noqa: SIM905
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"<Request/>",
    b"<Request><Tag>PicProcess</Tag><Input><Object>a</Object><Object>b</Object></Input>"
    b"<Operation><PicProcess/><Output><Region>r</Region></Output></Operation></Request>",
    b"<Delete><Object><Key>a</Key></Object></Delete>",
    b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
    b"<CORSConfiguration><CORSRule/></CORSConfiguration>",
    b"<Tagging><TagSet>x</TagSet></Tagging>",
    b"<AccessControlPolicy><AccessControlList>x</AccessControlList></AccessControlPolicy>",
    b"<AddStyle><StyleName>x</StyleName><StyleBody>y</StyleBody></AddStyle>",
    b'{"prompt": "a fox", "base64Array": [1], "notifyHook": 5, "state": {}}',
    b'{"prompt": ["a"], "base64": "data:image/png;base64,AAAA", "ids": "x", "taskId": {}}',
    b'{"taskId": "1", "customId": "MJ::JOB::upsample::1::x", "action": 5, "index": "a"}',
    b'{"base64Array": ["data:image/png;base64,AAAA", null], "dimensions": 7}',
    b'{"ids": [1, null, {}], "prompt": "\\ud800"}',
    b"\xff\xfe\x00",
]
HEADERS = """
range if-match if-none-match if-modified-since content-md5 content-type x-cos-copy-source
x-cos-copy-source-range x-cos-acl x-cos-tagging x-cos-meta-a x-cos-storage-class pic-operations
x-cos-security-token cache-control expect mj-api-secret authorization accept-encoding
access-control-request-method access-control-request-headers x-cos-metadata-directive
""".split()  # noqa: SIM905
VALUES = """
bytes=0-1 bytes=-0 bytes=9-1 bytes=99999999999999999999- * "x" W/"x" 1Q2M3Y4Z5A== text/plain
public-read a=b&a=c {"rules":[{}]} {"rules":[{"fileid":"/","rule":"x"}]} {"rules":"x"} 100-continue
Replaced PUT
Copy multipart/form-data;boundary=x application/json;charset=x-none q-sign-algorithm=sha1&q-ak=x
""".split()  # noqa: SIM905

text = st.text(st.characters(codec="utf-8"), max_size=12)
wire_text = st.one_of(
    st.sampled_from(VALUES),
    st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12
    ),
)


@dataclass(frozen=True)
class Sample:
    """One request; `plane` says how it is signed ("": not at all)."""

    method: str
    host: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes
    is_signed: bool
    form: str
    origin: str | None = field(default=None)


samples = st.builds(
    Sample,
    method=st.sampled_from(METHODS),
    # mostly hosts that lead somewhere
    host=st.one_of(st.sampled_from(HOSTS[:4]), st.sampled_from(HOSTS[:4]), st.sampled_from(HOSTS)),
    path=st.one_of(st.sampled_from(RESOURCES), text.map(lambda value: "/" + value)),
    params=st.dictionaries(
        st.one_of(st.sampled_from(PARAMS), text),
        st.one_of(st.just(""), st.just("1"), text),
        max_size=3,
    ),
    headers=st.dictionaries(st.sampled_from(HEADERS), wire_text, max_size=3),
    body=st.one_of(st.sampled_from(BODIES), st.binary(max_size=40)),
    is_signed=st.sampled_from([True, True, True, False]),
    form=st.sampled_from(["origin", "origin", "absolute", "raw"]),
    origin=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(ORIGINS)),
)


def build_bytes(sample: Sample, secret: str) -> bytes:
    """Write a request as it goes over the wire, signed for both services where it should be."""
    path = sample.path if sample.form == "raw" else quote(sample.path)
    path = re.sub(r"[\x00-\x20\x7f]", "%01", path)
    query = "&".join(
        f"{quote(name, safe='')}={quote(value)}" for name, value in sample.params.items()
    )
    headers = {"host": sample.host, **sample.headers}
    if sample.origin is not None:
        headers["origin"] = sample.origin
    if sample.is_signed:
        headers["mj-api-secret"] = secret
        headers["authorization"] = authorization(
            sample.method, sample.path, sample.params, {"host": sample.host}, SPAN
        )
    headers["content-length"] = str(len(sample.body))
    target = f"{path}?{query}" if query else path
    if sample.form == "absolute" and sample.host:
        target = f"http://{sample.host}{target}"
    lines = [f"{sample.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["connection: close", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + sample.body


def exchange(port: int, content: bytes) -> bytes:
    """Send bytes, and return all that comes back before the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(content)
        received = b""
        while chunk := line.recv(65536):
            received += chunk
    return received


class Door:
    """A sandbox behind its port, and the exceptions that it logged."""

    def __init__(self, server: LoopbackServer) -> None:
        self.server = server
        self.failures: list[str] = []
        self.statuses: Counter[int] = Counter()

    def check(self, sample: Sample) -> None:
        received = exchange(
            self.server.port, build_bytes(sample, self.server.settings["mj_secret"])
        )
        match = re.match(rb"HTTP/1\.1 (\d{3})", received)
        assert match, f"no response to {sample}: {received[:200]!r}"
        status = int(match[1])
        self.statuses[status] += 1
        assert status != 500, f"{sample}: {received[:2000]!r}"
        assert status < 500 or status in (501, 503), f"{sample}: {received[:2000]!r}"
        assert not self.failures, f"{sample}: {self.failures}"


@contextlib.contextmanager
def open_door() -> Iterator[Door]:
    """Serve a sandbox, and collect what its loop, its threads and its logger tell of exceptions."""
    with Sandbox(secret_id=KEY_ID, secret_key=KEY) as sandbox, sandbox.serve() as server:
        door = Door(server)
        handler = logging.Handler(level=logging.ERROR)
        loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
        with (
            mock.patch.object(
                handler, "emit", lambda record: door.failures.append(str(record.msg))
            ),
            mock.patch.object(
                threading, "excepthook", lambda hook: door.failures.append(str(hook))
            ),
        ):
            for logger in loggers:
                logger.addHandler(handler)
            yield door
            for logger in loggers:
                logger.removeHandler(handler)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as opened:
        yield opened


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(samples)
def test_no_request_breaks_the_sandbox(door: Door, sample: Sample) -> None:
    door.check(sample)


def main(count: int) -> None:
    """Send many other requests than those of the suite."""
    with open_door() as door:
        relaxed = settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        relaxed(given(samples)(door.check))()
    print(dict(door.statuses))
    print(f"{count} requests: no 500, no hang, no exception.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
