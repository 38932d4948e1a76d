"""Every public method of the official Python client: it works, or is refused by an error that says
so, and never does something else instead.
"""

from __future__ import annotations

import inspect
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_mjci.emulator.clock import VirtualClock
from jupyter_mjci.emulator.tencent_ci.service import TencentCI
from tests.emulator.cos_client import BUCKET, KEY, KEY_ID, REGION, build_image
from tests.emulator.test_official_sdk import InProcessAdapter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qcloud_cos import CosConfig, CosS3Client, CosServiceError

PICTURE = build_image(40, 20)
RULE = "imageMogr2/rotate/90"
OPERATIONS = json.dumps({"is_pic_info": 1, "rules": [{"fileid": "z.png", "rule": RULE}]})
OUTPUT = {"Region": REGION, "Bucket": BUCKET, "Object": "out/${InputName}"}
OPERATION = {"PicProcess": {"ProcessRule": RULE}, "Output": OUTPUT}
WORKFLOW = {
    "MediaWorkflow": {
        "Name": "another",
        "Topology": {
            "Dependencies": {"Start": "P"},
            "Nodes": {
                "Start": {"Type": "Start", "Input": {"ObjectPrefix": "q/"}},
                "P": {"Type": "PicProcess", "Operation": OPERATION},
            },
        },
    }
}
BATCH = {
    "Name": "n",
    "Type": "Job",
    "Input": {"Prefix": "k"},
    "Operation": {"Tag": "PicProcess", "JobParam": {"PicProcess": {"ProcessRule": RULE}}},
}
BATCH["Operation"]["Output"] = OUTPUT  # type: ignore[index]
# By the parameter's name, whatever the method.
ARGUMENTS: dict[str, Any] = {
    "Bucket": BUCKET,
    "Key": "k.png",
    "Data": b"abc",
    "Body": PICTURE,
    "Position": 0,
    "StorageClass": "STANDARD_IA",
    "JobID": "c" + "0" * 32,
    "JobIDs": "c" + "0" * 32,
    "JobId": "b" + "0" * 32,
    "DetectType": 1,
    "Url": "http://example.com/a.png",
    "Input": [{"Object": "k.png"}],
    "Type": "video",
    "ContentType": 1,
    "OutputBucket": BUCKET,
    "OutputRegion": REGION,
    "InputObject": "k.png",
    "FileCompressConfig": {"Flatten": "0", "Format": "zip", "Prefix": "a"},
    "FileHashCodeConfig": {"Type": "MD5"},
    "FileUncompressConfig": {"Prefix": "x"},
    "Request": {"StyleName": "s", "StyleBody": RULE},
    "Template": {"Tag": "PicProcess", "Name": "tt", "PicProcess": {"ProcessRule": RULE}},
    "JobBody": BATCH,
    "Jobs": {"Tag": "PicProcess", "Input": {"Object": "k.png"}, "Operation": OPERATION},
    "CompressType": "webp",
    "Rule": RULE,
    "Cover": 0,
    "Width": 100,
    "UpdateState": "active",
    "CopySource": {"Bucket": BUCKET, "Key": "k.png", "Region": REGION},
    "Delete": {"Object": [{"Key": "absent"}]},
    "Method": "GET",
    "Expires": 100,
    "Time": 1,
    "Switch": "enabled",
    "Status": "Enabled",
    "Policy": {"version": "2.0", "Statement": []},
    "InputSerialization": {"CompressionType": "NONE", "JSON": {"Type": "LINES"}},
    "OutputSerialization": {"JSON": {"RecordDelimiter": "\n"}},
    "PartNumber": 2,
    "ChannelNum": 1,
    "ResTextFormat": 1,
    "Tagging": {"TagSet": {"Tag": [{"Key": "a", "Value": "b"}]}},
    "CORSConfiguration": {"CORSRule": [{"AllowedOrigin": ["*"], "AllowedMethod": ["GET"]}]},
    "PicOperations": OPERATIONS,
}
NEED_OPERATIONS = re.compile(r"ci_(put_object|image_process$)")
# What does not ask the service at all.
LOCAL = re.compile(
    r"get_conf|\w+_retry_exe_times|send_request|should_switch_domain|\w+_connection_pool\w*"
    r"|get_vod_playlist|post_vod_playlist"
)
# What is there neither here nor in parts: each must be refused as such.
UNSERVED = re.compile(
    r"ci_auditing\w+|ci_\w*asr_(job|jobs|queue|bucket)|ci_\w+_(doc|file_\w+)_jobs?|ci_\w+_hls_play_key"
    r"|ci_doc_preview\w*|ci_file_zip_preview|ci_image_(assess|detect|inspect)\w*|ci_ocr_process"
    r"|ci_get_(image|media)_aigc_metadata|ci_get_object_qrcode|ci_process|ci_qrcode_generate"
    r"|ci_recognize_logo_process|ci_super_resolution_process|file_hash|get_media_info|get_pm3u8"
    r"|get_snapshot|get_object_sensitive\w+|\w+_live_channel\w*|\w+_symlink"
    r"|select_object_content|put_bucket_versioning"
    r"|\w+_bucket_(domain|domain_certificate|encryption|intelligenttiering|inventory\w*|lifecycle"
    r"|logging|object_lock|origin|policy|referer|replication|response_control|website)"
    r"|get_bucket_intelligenttiering_v2|\w+_async_fetch_task|list_bucket_intelligenttiering_configurations"
)


def iter_methods() -> Iterator[str]:
    for name, _ in inspect.getmembers(CosS3Client, inspect.isfunction):
        if not name.startswith("_") and not LOCAL.fullmatch(name):
            yield name


def build_arguments(name: str, function: Any, client: Any, folder: Path) -> dict[str, Any]:
    arguments = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        is_needed = parameter.default is inspect.Parameter.empty or parameter.name in ("Key", "Url")
        is_body = parameter.default == {} and parameter.name in ARGUMENTS
        if parameter.kind != parameter.VAR_KEYWORD and (is_needed or is_body):
            arguments[parameter.name] = ARGUMENTS.get(parameter.name, "x")
    if "workflow" in name and "Body" in arguments:
        arguments["Body"] = WORKFLOW
    if name == "upload_file_from_buffer":
        arguments["Body"] = io.BytesIO(PICTURE)
    if NEED_OPERATIONS.match(name):
        arguments["PicOperations"] = OPERATIONS
    for parameter_name in ("LocalFilePath", "DestImagePath", "DestFilePath"):
        if parameter_name in arguments:
            (folder / parameter_name).write_bytes(PICTURE)
            arguments[parameter_name] = str(folder / parameter_name)
    if "UploadId" in arguments or name == "append_object":
        arguments["Key"] = "other"
    if "UploadId" in arguments:
        upload = client.create_multipart_upload(BUCKET, "other")["UploadId"]
        etag = client.upload_part(BUCKET, "other", b"x", 1, upload)["ETag"]
        arguments["UploadId"] = upload
        if "MultipartUpload" in inspect.signature(function).parameters:
            arguments["MultipartUpload"] = {"Part": [{"PartNumber": 1, "ETag": etag}]}
    return arguments


def call(method: Callable[..., Any], arguments: dict[str, Any]) -> tuple[int, str]:
    """Return the status and the error code of a method's response."""
    try:
        result = method(**arguments)
    except CosServiceError as error:
        return error.get_status_code(), error.get_error_code()
    # Asynchronous fetches answer in JSON, which the client passes on.
    if isinstance(result, dict) and result.get("code") == 501:
        return 501, "NotImplemented"
    return 200, ""


@pytest.mark.parametrize("name", list(iter_methods()))
def test_method_works_or_is_refused(name: str, tmp_path: Path) -> None:
    ci = TencentCI(VirtualClock(), objects={"k.png": PICTURE, "canary": b"alive"})
    with requests.Session() as session:
        session.mount("https://", InProcessAdapter(ci))
        config = CosConfig(Region=REGION, SecretId=KEY_ID, SecretKey=KEY)
        client = CosS3Client(config, session=session, retry=0)
        arguments = build_arguments(name, getattr(CosS3Client, name), client, tmp_path)
        kept = dict(ci.store.buckets[BUCKET].objects) if UNSERVED.fullmatch(name) else None
        status, code = call(getattr(client, name), arguments)
        # This one signs `id` alone, and sends another query.
        if name != "put_bucket_intelligenttiering_v2":
            assert code not in ("Unknown", "SignatureDoesNotMatch")
        assert status < 500 or status == 501
        if kept is not None:
            assert status == 501
            assert ci.store.buckets[BUCKET].objects == kept
        assert ci.store.buckets[BUCKET].objects["canary"].body == b"alive"
