"""Every XML answer: where the documents have a number, a boolean or a time, no element is empty.

Parsers of typed clients (Go, Java) fail on those; a text may be empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from jupyter_mjci.emulator.http import Response
from jupyter_mjci.emulator.tencent_ci.service import SAMPLE_WORKFLOW
from tests.emulator.cos_client import (
    CosClient,
    batch_xml,
    build_client,
    build_image,
    job_operation,
    job_xml,
)

# Texts of the documents that may be empty, and tokens and markers that begin and end a listing.
TEXTS = frozenset(
    """
    Message Etag NextToken CosHeaders Event MqMode MqName MqRegion ResultFormat Type Url Delimiter
    Marker Prefix KeyMarker UploadIdMarker VersionIdMarker
    """.split()  # noqa: SIM905
)
FORMATS = ("PNG", "GIF", "WEBP", "JPEG", "BMP")
RULE = "imageMogr2/rotate/90"
LISTINGS = [
    ("/jobs", {"tag": "PicProcess", "size": "100"}),
    ("/jobs", {"tag": "PicProcess", "states": "Pause"}),
    ("/inventorytriggerjob", {}),
    ("/inventorytriggerjob", {"type": "Workflow"}),
    ("/workflowexecution", {}),
    ("/workflow", {}),
    ("/template", {}),
    ("/picqueue", {}),
    ("/picbucket", {}),
]
BUCKET_QUERIES = ["", "versions", "uploads", "acl", "location"]


def iter_answers(client: CosClient) -> Iterator[Response]:
    for key in client.ci.store.buckets["demo-1250000000"].objects.copy():
        rules = [{"fileid": "/o.png", "rule": RULE}]
        operations = {"pic-operations": json.dumps({"is_pic_info": 1, "rules": rules})}
        yield client.cos("POST", f"/{key}", {"image_process": ""}, b"", operations)
        yield client.request("POST", "/jobs", body=job_xml(key, RULE))
    yield client.request(
        "POST", "/inventorytriggerjob", body=batch_xml("<Prefix>in/</Prefix>", job_operation())
    )
    workflows = f"<WorkflowIds>{SAMPLE_WORKFLOW}</WorkflowIds>"
    yield client.request(
        "POST",
        "/inventorytriggerjob",
        body=batch_xml("<Prefix>in/</Prefix>", workflows, "Workflow"),
    )
    # as it begins, and when all has ended
    for _ in range(2):
        for path, params in LISTINGS:
            yield client.request("GET", path, params)
        client.clock.advance(60)
        client.ci.advance()
    for execution in client.ci.batches.executions:
        yield client.request("GET", f"/workflowexecution/{execution}")
    client.cos("POST", "/parts", {"uploads": ""})
    for query in BUCKET_QUERIES:
        yield client.cos("GET", "/", {query: ""} if query else {})
        yield client.cos("GET", "/", {"max-keys": "0", **({query: ""} if query else {})})


def test_only_texts_are_ever_empty() -> None:
    objects = {f"in/a.{name.lower()}": build_image(40, 20, name) for name in FORMATS}
    client = build_client({**objects, "in/note.txt": b"no picture"})
    count = 0
    for answer in iter_answers(client):
        empty = set(re.findall(r"<(\w+)/>|<(\w+)></\2>", answer.body.decode()))
        names = {first or second for first, second in empty}
        assert names <= TEXTS, answer.body
        count += 1
    assert count > 40
