"""Clients of S3 that others wrote: boto3, MinIO's, s3cmd and rclone, as programs of their own.

COS takes AWS signatures V4, too. Each client reaches the sandbox by the service's names and a
proxy setting, over http and over TLS, and at the bare address with the bucket in the path.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.server import LoopbackServer
from tests.emulator.test_foreign_clients import build_environ, get_scheme, run
from tests.installing import build_clean_environ, run_install

pytestmark = pytest.mark.install

BOTO3 = """
import json, os, sys, urllib.error, urllib.request
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

account, endpoint, style = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
bucket = account["bucket"]
is_tls, is_path = endpoint.startswith("https"), style == "path"


def connect(secret=account["secret_key"], **options):
    config = Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1}, **options)
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", config=config,
        aws_access_key_id=account["secret_id"], aws_secret_access_key=secret)


def get_code(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return ""


s3 = connect(request_checksum_calculation="when_required",
             response_checksum_validation="when_required", signature_version="s3v4")
key = "s3/\\u56fe +%#?&~.txt"
s3.put_object(Bucket=bucket, Key=key, Body=b"hello", Metadata={"colour": "red"},
              ContentType="text/plain", Tagging="a=b", StorageClass="STANDARD_IA")
got = s3.get_object(Bucket=bucket, Key=key)
assert (got["Body"].read(), got["Metadata"]) == (b"hello", {"colour": "red"}), got
assert (got["StorageClass"], got["ContentType"]) == ("STANDARD_IA", "text/plain"), got
assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=1-2")["Body"].read() == b"el"
assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "a", "Value": "b"}]
source = {"Bucket": bucket, "Key": key}
s3.copy_object(Bucket=bucket, Key="s3/copy", CopySource=source)
assert s3.head_object(Bucket=bucket, Key="s3/copy")["Metadata"] == {"colour": "red"}
s3.copy_object(Bucket=bucket, Key="s3/copy", CopySource=source, Metadata={"x": "y"},
               MetadataDirective="REPLACE", Tagging="c=d", TaggingDirective="REPLACE")
assert s3.head_object(Bucket=bucket, Key="s3/copy")["Metadata"] == {"x": "y"}
assert s3.get_object_tagging(Bucket=bucket, Key="s3/copy")["TagSet"][0]["Key"] == "c"

big = os.urandom(11 * 1024 * 1024)
with open("big", "wb") as file:
    file.write(big)
transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
s3.upload_file("big", bucket, "s3/big", Config=transfer)
s3.download_file(bucket, "s3/big", "back")
assert open("back", "rb").read() == big
upload = s3.create_multipart_upload(Bucket=bucket, Key="s3/parts")["UploadId"]
s3.upload_part_copy(Bucket=bucket, Key="s3/parts", UploadId=upload, PartNumber=1,
                    CopySource={"Bucket": bucket, "Key": "s3/big"}, CopySourceRange="bytes=0-9")
assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
parts = s3.list_parts(Bucket=bucket, Key="s3/parts", UploadId=upload)["Parts"]
assert [part["Size"] for part in parts] == [10]
s3.abort_multipart_upload(Bucket=bucket, Key="s3/parts", UploadId=upload)

for number in range(7):
    s3.put_object(Bucket=bucket, Key=f"s3/many/{number} +", Body=b"")
for method in ("list_objects", "list_objects_v2"):
    pages = list(s3.get_paginator(method).paginate(
        Bucket=bucket, Prefix="s3/", Delimiter="/", PaginationConfig={"PageSize": 2}))
    keys = [row["Key"] for page in pages for row in page.get("Contents", [])]
    assert sorted(keys) == sorted(["s3/big", "s3/copy", key]), keys
    folders = [row["Prefix"] for page in pages for row in page.get("CommonPrefixes", [])]
    assert folders == ["s3/many/"] and len(pages) == 2, pages
rest = s3.list_objects_v2(Bucket=bucket, Prefix="s3/many/", StartAfter="s3/many/5 +")
assert ([row["Key"] for row in rest["Contents"]], rest["KeyCount"]) == (["s3/many/6 +"], 1)

url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
with urllib.request.urlopen(url) as answer:
    assert answer.read() == b"hello"
url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "s3/signed"})
urllib.request.urlopen(urllib.request.Request(url, data=b"zz", method="PUT")).close()
assert s3.get_object(Bucket=bucket, Key="s3/signed")["Body"].read() == b"zz"
s3.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
assert len(s3.get_object_acl(Bucket=bucket, Key=key)["Grants"]) == 2
assert [row["Name"] for row in s3.list_buckets()["Buckets"]] == [bucket]
assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == account["region"]
assert get_code(s3.create_bucket, Bucket="new-1250000000") == ""
assert get_code(s3.delete_bucket, Bucket="new-1250000000") == ""

# as the service is known to answer
assert get_code(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": key}]}) == \\
    "InvalidRequest"
assert get_code(connect().put_object, Bucket=bucket, Key="s3/chunked", Body=b"x") == \\
    ("MissingContentLength" if is_tls else "")
# botocore asks for a location with the bucket in the path, whatever the style
assert get_code(s3.get_bucket_location, Bucket=bucket) == \\
    ("" if is_path else "PathStyleDomainForbidden")
assert get_code(s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
assert get_code(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == "NotImplemented"
assert get_code(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"
assert get_code(connect("wrong").get_object, Bucket=bucket, Key=key) == "SignatureDoesNotMatch"
assert get_code(connect(signature_version="s3").get_object, Bucket=bucket, Key=key) == \\
    "NotImplemented"
for page in s3.get_paginator("list_objects").paginate(Bucket=bucket, Prefix="s3/"):
    for row in page["Contents"]:
        s3.delete_object(Bucket=bucket, Key=row["Key"])
assert s3.list_objects_v2(Bucket=bucket, Prefix="s3/")["KeyCount"] == 0
print("done")
"""

MINIO = """
import io, json, os, sys, urllib.request
from datetime import timedelta
import urllib3
from minio import Minio
from minio.commonconfig import CopySource, Tags
from minio.deleteobjects import DeleteObject

account, style = json.loads(sys.argv[1]), sys.argv[3]
scheme, _, host = sys.argv[2].partition("://")
bucket, proxy, pool = account["bucket"], os.environ.get(f"{scheme}_proxy"), None
if proxy:
    pool = urllib3.ProxyManager(proxy, ca_certs=os.environ.get("SSL_CERT_FILE"))
client = Minio(host, access_key=account["secret_id"], secret_key=account["secret_key"],
               secure=scheme == "https", region=account["region"], http_client=pool)
if style == "virtual":
    client.enable_virtual_style_endpoint()
key = "m/\\u56fe +%#?&~.txt"
client.put_object(bucket, key, io.BytesIO(b"hello"), 5, metadata={"colour": "red"})
assert client.get_object(bucket, key).read() == b"hello"
assert client.stat_object(bucket, key).metadata["x-amz-meta-colour"] == "red"
big = os.urandom(11 << 20)
client.put_object(bucket, "m/big", io.BytesIO(big), len(big), part_size=5 << 20)
client.fget_object(bucket, "m/big", "back")
assert open("back", "rb").read() == big
client.copy_object(bucket, "m/copy", CopySource(bucket, key))
for number in range(5):
    client.put_object(bucket, f"m/many/{number}", io.BytesIO(b""), 0)
names = [row.object_name for row in client.list_objects(bucket, "m/")]
assert sorted(names) == ["m/big", "m/copy", "m/many/", key], names
assert len(list(client.list_objects(bucket, "m/", recursive=True))) == 8
assert len(list(client.list_objects(bucket, "m/", recursive=True, use_api_v1=True))) == 8
tags = Tags.new_object_tags()
tags["a"] = "b"
client.set_object_tags(bucket, key, tags)
assert client.get_object_tags(bucket, key) == {"a": "b"}
url = client.presigned_get_object(bucket, key, expires=timedelta(hours=1))
with urllib.request.urlopen(url) as answer:
    assert answer.read() == b"hello"
url = client.presigned_put_object(bucket, "m/signed")
urllib.request.urlopen(urllib.request.Request(url, data=b"zz", method="PUT")).close()
assert client.get_object(bucket, "m/signed").read() == b"zz"
assert client.bucket_exists(bucket) and not client.bucket_exists("none-1250000000")
assert [row.name for row in client.list_buckets()] == [bucket]
rows = client.list_objects(bucket, "m/", recursive=True)
assert list(client.remove_objects(bucket, [DeleteObject(row.object_name) for row in rows])) == []
assert list(client.list_objects(bucket, "m/")) == []
print("done")
"""

S3CMD_CONFIG = """[default]
access_key={secret_id}
secret_key={secret_key}
bucket_location={region}
host_base={host}
host_bucket={host_bucket}
use_https={use_https}
ca_certs_file={ca_file}
proxy_host={proxy_host}
proxy_port={proxy_port}
"""
S3CMD = """
ls
put tree/a.txt BUCKET/c/a.txt --add-header=x-amz-meta-colour:red
put tree/big BUCKET/c/big --multipart-chunk-size-mb=5
get BUCKET/c/big back
info BUCKET/c/a.txt
cp BUCKET/c/a.txt BUCKET/c/b.txt
mv BUCKET/c/b.txt BUCKET/c/d.txt
sync tree/ BUCKET/tree/
ls -r BUCKET/tree/
du BUCKET/tree/
sync BUCKET/tree/ down/
setacl --acl-public BUCKET/c/a.txt
multipart BUCKET
mb s3://new-1250000000
rb s3://new-1250000000
del BUCKET/c/a.txt
del -r --force BUCKET/tree/
"""

RCLONE_CONFIG = """[cos]
type=s3
provider={provider}
access_key_id={secret_id}
secret_access_key={secret_key}
endpoint={endpoint}
acl=private
"""
RCLONE = """
lsd cos:
copy tree BUCKET/r --s3-upload-cutoff=5M --s3-chunk-size=5M
sync tree BUCKET/r
check tree BUCKET/r
lsf -R BUCKET/r
copy BUCKET/r down
moveto BUCKET/r/a.txt BUCKET/r/b.txt
copyto BUCKET/r/big BUCKET/r/big2
cat BUCKET/r/b.txt
hashsum md5 BUCKET/r
mkdir cos:new-1250000000
rmdir cos:new-1250000000
cleanup BUCKET
delete BUCKET/r/b.txt
purge BUCKET/r
"""

# Where a client finds the sandbox, and how it names a bucket.
WAYS = pytest.mark.parametrize("way", ["http", "tls", "path"])


@pytest.fixture(scope="module")
def servers() -> Iterator[Mapping[str, LoopbackServer]]:
    with Sandbox() as sandbox, sandbox.serve() as plain, sandbox.serve(tls=True) as tls:
        yield {"http": plain, "tls": tls, "path": plain}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment with the clients of PyPI."""
    folder = tmp_path_factory.mktemp("s3")
    uv = [sys.executable, "-m", "uv"]
    venv = [*uv, "venv", "-q", "--python", sys.executable, "venv"]
    run_install(venv, folder, build_clean_environ())
    python = str(folder / "venv/bin/python")
    packages = ["boto3>=1.36", "minio>=7.2", "s3cmd>=2.4"]
    install = [*uv, "pip", "install", "--python", python, *packages]
    run_install(install, folder, build_clean_environ())
    return folder / "venv/bin"


def build_surroundings(way: str, server: LoopbackServer, home: Path) -> dict[str, str]:
    environ = build_environ(server, home)
    # rclone takes no bundle by this name
    names = {name for name in environ if name.startswith("AWS_")}
    if way == "path":
        names |= {"http_proxy", "https_proxy"}
    return {name: value for name, value in environ.items() if name not in names}


def get_endpoint(way: str, server: LoopbackServer) -> str:
    if way == "path":
        return server.url
    return f"{get_scheme(server)}://cos.{server.settings['region']}.myqcloud.com"


def make_tree(folder: Path) -> None:
    (folder / "tree/sub").mkdir(parents=True)
    (folder / "tree/a.txt").write_text("hi")
    (folder / "tree/sub/图 +.txt").write_text("x")
    (folder / "tree/big").write_bytes(os.urandom(11 * 1024 * 1024))


@WAYS
@pytest.mark.parametrize("program", [BOTO3, MINIO], ids=["boto3", "minio"])
def test_library_holds_its_conversation(
    program: str, way: str, servers: Mapping[str, LoopbackServer], scripts: Path, tmp_path: Path
) -> None:
    server = servers[way]
    environ = build_surroundings(way, server, tmp_path)
    if way == "tls":
        environ["AWS_CA_BUNDLE"] = server.settings["ca_file"]
    style = "path" if way == "path" else "virtual"
    arguments = [json.dumps(server.settings), get_endpoint(way, server), style]
    command = [str(scripts / "python"), "-c", program, *arguments]
    assert run(command, tmp_path, environ) == "done\n"


@WAYS
def test_s3cmd_does_all_that_it_can(
    way: str, servers: Mapping[str, LoopbackServer], scripts: Path, tmp_path: Path
) -> None:
    server = servers[way]
    make_tree(tmp_path)
    host = get_endpoint(way, server).partition("://")[2]
    environ = build_surroundings(way, server, tmp_path)
    proxy = environ.get("http_proxy", "http://:").partition("://")[2].rstrip("/")
    config = S3CMD_CONFIG.format(
        **{"ca_file": "", **server.settings},
        host=host,
        host_bucket=host if way == "path" else f"%(bucket)s.{host}",
        use_https=way == "tls",
        proxy_host=proxy.partition(":")[0],
        proxy_port=proxy.partition(":")[2] or 0,
    )
    (tmp_path / "s3cmd.cfg").write_text(config)
    bucket = f"s3://{server.settings['bucket']}"
    start = [str(scripts / "s3cmd"), "-c", "s3cmd.cfg", "--no-progress"]
    for line in S3CMD.replace("BUCKET", bucket).strip().splitlines():
        output = run([*start, *line.split()], tmp_path, environ)
        if line.startswith("info"):
            assert "x-amz-meta-colour: red" in output
        if line.startswith("ls -r"):
            assert "图 +.txt" in output
    big = (tmp_path / "tree/big").read_bytes()
    assert (tmp_path / "back").read_bytes() == (tmp_path / "down/big").read_bytes() == big


@WAYS
def test_rclone_does_all_that_it_can(
    way: str, servers: Mapping[str, LoopbackServer], tmp_path: Path
) -> None:
    """Debian's package, as TencentCOS and, with the bucket in the path, as Minio."""
    rclone = shutil.which("rclone") or pytest.skip("rclone is not installed")
    server = servers[way]
    make_tree(tmp_path)
    provider = "Minio" if way == "path" else "TencentCOS"
    endpoint = get_endpoint(way, server)
    config = RCLONE_CONFIG.format(**server.settings, provider=provider, endpoint=endpoint)
    (tmp_path / "rclone.cfg").write_text(config)
    environ = build_surroundings(way, server, tmp_path)
    start = [rclone, "--config", "rclone.cfg", "--retries=1", "--low-level-retries=1"]
    for line in RCLONE.replace("BUCKET", f"cos:{server.settings['bucket']}").strip().splitlines():
        output = run([*start, *line.split()], tmp_path, environ)
        if line.startswith("lsf"):
            assert sorted(output.split()) == ["+.txt", "a.txt", "big", "sub/", "sub/图"]
        if line.startswith("cat"):
            assert output == "hi"
    original = (tmp_path / "tree/big").read_bytes()
    assert (tmp_path / "down/big").read_bytes() == original
