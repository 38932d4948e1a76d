"""Clients that others wrote, as programs of their own: they reach the sandbox by a proxy setting
alone, over http and over TLS.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.server import LoopbackServer
from tests.installing import installed, newcomer

OPENDAL = """
import asyncio, json, os, sys, urllib.request
import opendal

account = json.loads(sys.argv[1])
op = opendal.Operator("cos", bucket=account["bucket"], secret_id=account["secret_id"],
                      secret_key=account["secret_key"], root="/od", endpoint=sys.argv[2])
name = "a b/\\u56fe +%#?&.txt"
op.write(name, b"hello")
assert op.read(name) == b"hello"
assert op.stat(name).content_length == 5
assert [entry.path for entry in op.list("a b/")] == [name]
op.create_dir("dir/")
assert sorted(entry.path for entry in op.list("/")) == ["a b/", "dir/"]
op.copy(name, "copy.txt")
assert op.read("copy.txt") == b"hello"
content = os.urandom(5 * 1024 * 1024 + 1)
with op.open("big.bin", "wb") as file:
    for start in range(0, len(content), 1024 * 1024):
        file.write(content[start:start + 1024 * 1024])
assert op.read("big.bin") == content
with op.open("big.bin", "rb") as file:
    file.seek(100)
    assert file.read(50) == content[100:150]
op.write("log", b"ab", append=True)
op.write("log", b"cd", append=True)
assert op.read("log") == b"abcd"
op.delete("copy.txt")
assert not op.exists("copy.txt")


async def presign():
    remote = op.to_async_operator()
    signed = await remote.presign_write("signed.txt", 60)
    urllib.request.urlopen(urllib.request.Request(
        signed.url, data=b"zz", method="PUT", headers=signed.headers)).close()
    signed = await remote.presign_read("signed.txt", 60)
    with urllib.request.urlopen(signed.url) as answer:
        assert answer.read() == b"zz"


asyncio.run(presign())
op.remove_all("/")
assert [entry.path for entry in op.list("/")] == []
print("done")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with Sandbox() as sandbox, sandbox.serve() as running:
        yield running


@pytest.fixture(scope="module")
def tls_server() -> Iterator[LoopbackServer]:
    with Sandbox() as sandbox, sandbox.serve(tls=True) as running:
        yield running


def build_environ(server: LoopbackServer, home: Path) -> dict[str, str]:
    """The surroundings of a client: a proxy setting, and whom it trusts."""
    proxy = server.settings.get("proxy_url", server.url)
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environ = {**kept, "HOME": str(home), "http_proxy": proxy, "https_proxy": proxy}
    if "ca_file" in server.settings:
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            environ[name] = server.settings["ca_file"]
    return environ


def run(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)[:200]}: {done.stdout}{done.stderr}"[-3000:]
    return done.stdout


def test_opendal_reads_and_writes(server: LoopbackServer, tmp_path: Path) -> None:
    endpoint = f"http://cos.{server.settings['region']}.myqcloud.com"
    command = [sys.executable, "-c", OPENDAL, json.dumps(server.settings), endpoint]
    assert run(command, tmp_path, build_environ(server, tmp_path)) == "done\n"


COSCMD = """
upload -H {"x-cos-acl":"public-read"} tree/a.txt up/a+b.txt
upload tree/big.bin up/big.bin
upload -r tree/ tree/
upload -rs tree/ tree/
list -ar tree/
list -v up/
info up/big.bin
download up/big.bin big.back
copy SOURCE/up/big.bin copied/big.bin
move SOURCE/copied/big.bin moved/big.bin
signurl up/big.bin
putobjectacl --grant-read anyone up/big.bin
getobjectacl up/big.bin
putbucketacl --grant-read anyone
getbucketacl
getbucketversioning
listparts
abort
delete -f moved/big.bin
delete -rf tree/
-b new-1250000000 createbucket
-b new-1250000000 deletebucket -f
"""


@pytest.mark.install
@pytest.mark.parametrize("door", ["server", "tls_server"])
def test_coscmd_does_all_that_it_can(
    door: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The official command line (PyPI: coscmd), in an environment of its own."""
    server: LoopbackServer = request.getfixturevalue(door)
    uv = [sys.executable, "-m", "uv"]
    installed([*uv, "venv", "-q", "--python", sys.executable, "venv"], tmp_path, newcomer())
    python = str(tmp_path / "venv/bin/python")
    installed([*uv, "pip", "install", "--python", python, "coscmd"], tmp_path, newcomer())
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/a.txt").write_text("hi")
    (tmp_path / "tree/sub/图 +.txt").write_text("x")
    (tmp_path / "tree/big.bin").write_bytes(os.urandom(3_000_000))
    account = server.settings
    environ = build_environ(server, tmp_path)
    coscmd = str(tmp_path / "venv/bin/coscmd")
    config = ["config", "-a", account["secret_id"], "-s", account["secret_key"]]
    config += ["-b", account["bucket"], "-r", account["region"]]
    config += [] if door == "tls_server" else ["--do-not-use-ssl"]
    run([coscmd, *config], tmp_path, environ)
    host = f"{account['bucket']}.cos.{account['region']}.myqcloud.com"
    for line in COSCMD.strip().splitlines():
        command = [coscmd, *line.replace("SOURCE", host).split()]
        output = run(command, tmp_path, environ)
        assert "Error>" not in output, f"{line}: {output}"
    original = (tmp_path / "tree/big.bin").read_bytes()
    assert (tmp_path / "big.back").read_bytes() == original
