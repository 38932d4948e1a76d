"""https with a certificate of the sandbox's own making, and CONNECT for the services' names."""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import requests

import jupyter_mjci as mjci
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.server import LoopbackServer
from jupyter_mjci.errors import SettingsError, TransportError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qcloud_cos import CosConfig, CosS3Client

BIG = bytes(range(256)) * 12_000  # 3 MB


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with Sandbox() as sandbox, sandbox.serve(tls=True) as running:
        yield running


def build_context(server: LoopbackServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.settings["ca_file"])


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_services_answer_over_https(server: LoopbackServer, name: str) -> None:
    """With the authority trusted; without it no client goes on."""
    assert server.url == f"https://127.0.0.1:{server.port}"
    url = server.url.replace("127.0.0.1", name)
    with httpx.Client(verify=build_context(server), trust_env=False) as client:
        assert client.get(f"{url}/_sandbox/stats").status_code == 200
        assert client.get(f"{url}/in/a.png").headers["server"] == "tencent-cos"
        assert client.get(f"{url}/x", headers={"host": "attacker.example"}).status_code == 403
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(url)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_official_sdk_reaches_the_services_by_a_proxy_setting_alone(
    server: LoopbackServer, scheme: str
) -> None:
    """By the services' own names, verified; large bodies both ways, CI jobs, many connections."""
    settings = server.settings
    with requests.Session() as session:
        session.trust_env = False
        session.verify = settings["ca_file"]
        config = CosConfig(
            Region=settings["region"],
            SecretId=settings["secret_id"],
            SecretKey=settings["secret_key"],
            Scheme=scheme,
            Proxies={scheme: settings["proxy_url"]},
        )
        client = CosS3Client(config, session=session, retry=0)
        bucket = settings["bucket"]
        for number in range(3):
            client.put_object(bucket, BIG, f"big{number}.bin", EnableMD5=True)
            body = client.get_object(bucket, f"big{number}.bin")["Body"].get_raw_stream().read()
            assert body == BIG
        assert client.list_objects(bucket, Prefix="big")["Contents"][0]["Key"] == "big0.bin"
        jobs = client.ci_list_media_pic_jobs(bucket, "", Size="10")
        assert "JobsDetail" not in jobs or jobs["JobsDetail"] is not None


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"demo-1250000000.cos.ap-chongqing.myqcloud.com:443", b"200"),
        (b"demo-1250000000.ci.ap-beijing.tencentci.cn:443", b"200"),
        (b"localhost:443", b"200"),
        (b"attacker.example:443", b"405"),
        (b"192.0.2.1:443", b"405"),
        (b"169.254.169.254:80", b"405"),
    ],
)
def test_tunnels_lead_to_the_sandbox_only(
    server: LoopbackServer, target: bytes, status: bytes
) -> None:
    port = int(server.settings["proxy_url"].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, target))
        assert line.recv(100).startswith(b"HTTP/1.1 " + status)


def test_client_that_does_not_trust_us_leaves_others_alone(server: LoopbackServer) -> None:
    """A handshake that fails, one that is never begun: the next client is served."""
    port = int(server.settings["proxy_url"].rpartition(":")[2])
    with httpx.Client(proxy=server.settings["proxy_url"], trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            client.get("https://cos.ap-chongqing.myqcloud.com/")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(b"CONNECT localhost:1 HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(OSError):
            line.recv(100)
            line.sendall(b"no handshake at all")
    proxy = httpx.Proxy(server.settings["proxy_url"])
    with httpx.Client(proxy=proxy, verify=build_context(server), trust_env=False) as client:
        answer = client.get("https://service.cos.myqcloud.com/")
    assert (answer.status_code, answer.headers["server"]) == (403, "tencent-cos")


def test_authority_is_gone_when_the_server_is() -> None:
    with Sandbox() as sandbox:
        server = sandbox.serve(tls=True)
        ca_file = Path(server.settings["ca_file"])
        assert "CERTIFICATE" in ca_file.read_text()
        assert "PRIVATE" not in ca_file.read_text()
        server.close()
    assert not ca_file.exists()


@pytest.mark.parametrize("use_aiohttp", [True, False])
def test_session_trusts_a_certificate_by_a_setting(
    server: LoopbackServer, use_aiohttp: bool, tmp_path: Path
) -> None:
    """Verification stays on: without the setting there is no connection."""
    account = server.settings
    names = {"mj_url": account["mj_url"], "mj_secret": account["mj_secret"], "home": tmp_path}
    with mjci.connect(**names, ca_file=account["ca_file"]) as session:
        session.client.transport.use_aiohttp = use_aiohttp
        assert session.mj.imagine("a fox").run().id
    with mjci.connect(**names) as session:
        session.client.transport.use_aiohttp = use_aiohttp
        with pytest.raises(TransportError):
            session.mj.queue().run()
    with mjci.connect(**names, ca_file=str(tmp_path / "none.pem")) as session:
        session.client.transport.use_aiohttp = use_aiohttp
        with pytest.raises(SettingsError, match=r"Cannot read certificates from .*none\.pem"):
            session.mj.queue().run()
