"""Workflows that uploads start, and notices to message queues: told, not sent."""

from __future__ import annotations

import httpx
import pytest

from jupyter_mjci.emulator.app import Sandbox
from tests.emulator.cos_client import (
    COS_HOST,
    KEY,
    KEY_ID,
    CosClient,
    build_client,
    build_image,
    get_image_size,
    job_xml,
    output_xml,
    parse_response,
    to_list,
)

PICTURE = build_image(40, 20)
TDMQ = (
    "<CallBackType>TDMQ</CallBackType><CallBackMqConfig><MqRegion>sh</MqRegion>"
    "<MqMode>Topic</MqMode><MqName>my topic</MqName></CallBackMqConfig>"
)
KAFKA = (
    "<CallBackType>Kafka</CallBackType><CallBackKafkaConfig><Region>ap-beijing</Region>"
    "<InstanceId>ckafka-1</InstanceId><Topic>done</Topic></CallBackKafkaConfig>"
)


@pytest.fixture
def client() -> CosClient:
    return build_client({"in/a.png": PICTURE})


def create_workflow(
    client: CosClient, prefix: str = "up/", rules: str = "", notify: str = ""
) -> str:
    operation = (
        "<PicProcess><ProcessRule>imageMogr2/rotate/90</ProcessRule></PicProcess>"
        + output_xml("up/done/${InputName}.png")
    )
    start = f"<ObjectPrefix>{prefix}</ObjectPrefix>{rules}{notify}"
    body = (
        "<Request><MediaWorkflow><Name>on-upload</Name><State>Active</State><Topology>"
        "<Dependencies><Start>Turn</Start></Dependencies><Nodes>"
        f"<Start><Type>Start</Type><Input>{start}</Input></Start>"
        f"<Turn><Type>PicProcess</Type><Operation>{operation}</Operation></Turn>"
        "</Nodes></Topology></MediaWorkflow></Request>"
    )
    response = client.request("POST", "/workflow", body=body)
    return str(parse_response(response)["MediaWorkflow"]["WorkflowId"])


def list_sources(client: CosClient, workflow: str) -> list[str]:
    answer = client.request("GET", "/workflowexecution", {"workflowId": workflow})
    rows = to_list(parse_response(answer).get("WorkflowExecutionList"))
    return [row["Object"] for row in rows]


def test_upload_starts_an_active_workflow(client: CosClient) -> None:
    """Once for each upload below its prefix; what its own jobs make starts nothing."""
    workflow = create_workflow(client)
    client.cos("PUT", "/up/a.png", None, PICTURE)
    client.cos("PUT", "/elsewhere/a.png", None, PICTURE)
    client.cos("PUT", "/up/folder/", None, b"")
    client.clock.advance(5)
    client.ci.advance()
    assert list_sources(client, workflow) == ["up/a.png"]
    assert get_image_size(client.cos("GET", "/up/done/a.png").body) == (20, 40)


@pytest.mark.parametrize("way", ["copy", "append", "multipart"])
def test_any_way_of_uploading_starts_it(client: CosClient, way: str) -> None:
    workflow = create_workflow(client)
    if way == "copy":
        client.cos("PUT", "/up/a.png", None, b"", {"x-cos-copy-source": f"{COS_HOST}/in/a.png"})
    elif way == "append":
        client.cos("POST", "/up/a.png", {"append": "", "position": "0"}, PICTURE)
    else:
        upload = parse_response(client.cos("POST", "/up/a.png", {"uploads": ""}))["UploadId"]
        params = {"uploadId": upload, "partNumber": "1"}
        etag = client.cos("PUT", "/up/a.png", params, PICTURE).headers["ETag"]
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
        assert list_sources(client, workflow) == []
        client.cos("POST", "/up/a.png", {"uploadId": upload}, body)
    assert list_sources(client, workflow) == ["up/a.png"]


def test_paused_workflow_and_its_filter_let_uploads_pass(client: CosClient) -> None:
    rules = "<ExtFilter><State>On</State><Image>true</Image></ExtFilter>"
    workflow = create_workflow(client, rules=rules)
    client.cos("PUT", "/up/a.txt", None, b"text")
    client.request("PUT", f"/workflow/{workflow}", {"paused": ""})
    client.cos("PUT", "/up/a.png", None, PICTURE)
    assert list_sources(client, workflow) == []


@pytest.mark.parametrize(
    ("callback", "address"),
    [(TDMQ, "tdmq://sh/Topic/my%20topic"), (KAFKA, "kafka://ap-beijing/ckafka-1/done")],
)
def test_notice_to_a_message_queue_is_told_in_the_statistics(callback: str, address: str) -> None:
    with Sandbox(
        secret_id=KEY_ID, secret_key=KEY, ci_options={"objects": {"in/a.png": PICTURE}}
    ) as box:
        client = CosClient(box.clock, box.services["ci"])
        client.request(
            "POST", "/jobs", body=job_xml("in/a.png", "imageMogr2/rotate/90", top=callback)
        )
        box.clock.advance(10)
        with box.serve() as server:
            stats = httpx.get(f"{server.url}/_sandbox/stats", trust_env=False).json()
    assert stats["callbacks"]["dropped_urls"] == [address]


def test_end_of_a_workflow_is_told_to_its_message_queue(client: CosClient) -> None:
    notify = (
        "<NotifyConfig><State>On</State><Event>WorkflowFinish</Event><Type>TDMQ</Type>"
        "<MqMode>Queue</MqMode><MqRegion>bj</MqRegion><MqName>ends</MqName></NotifyConfig>"
    )
    create_workflow(client, notify=notify)
    client.cos("PUT", "/up/a.png", None, PICTURE)
    client.clock.advance(5)
    client.ci.advance()
    assert [delivery.url for delivery in client.ci.outbox] == ["tdmq://bj/Queue/ends"]
    assert b"WorkflowFinish" in client.ci.outbox[0].body


def test_queue_of_jobs_tells_its_message_queue(client: CosClient) -> None:
    queues = parse_response(client.request("GET", "/picqueue"))
    queue = queues["QueueList"]["QueueId"]
    notify = "<State>On</State><Event>TaskFinish</Event><Type>TDMQ</Type><MqName>ends</MqName>"
    body = f"<Request><State>Active</State><NotifyConfig>{notify}</NotifyConfig></Request>"
    assert client.request("PUT", f"/picqueue/{queue}", body=body).status == 200
    client.picture_job()
    client.clock.advance(5)
    client.ci.advance()
    assert [delivery.url for delivery in client.ci.outbox] == ["tdmq://-/-/ends"]
