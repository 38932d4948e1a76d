"""Clients that others wrote, as programs of their own: they reach the sandbox by a proxy setting
alone, over http and over TLS.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.server import LoopbackServer
from tests.browser.conftest import FLAGS, MISSING, chromium_here
from tests.installing import build_clean_environ, run_install

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


DOORS = pytest.mark.parametrize("door", ["server", "tls_server"])


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


def get_scheme(server: LoopbackServer) -> str:
    return "https" if "ca_file" in server.settings else "http"


@DOORS
def test_opendal_reads_and_writes(
    door: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: LoopbackServer = request.getfixturevalue(door)
    endpoint = f"{get_scheme(server)}://cos.{server.settings['region']}.myqcloud.com"
    command = [sys.executable, "-c", OPENDAL, json.dumps(server.settings), endpoint]
    assert run(command, tmp_path, build_environ(server, tmp_path)) == "done\n"


# Through the door of TLS only the first paragraph: each line starts a program.
COSCMD = """
upload -H {"x-cos-acl":"public-read"} tree/a.txt up/a+b.txt
upload tree/big.bin up/big.bin
upload -r tree/ tree/
download up/big.bin big.back
download -r tree/ down
copy SOURCE/up/big.bin copied/big.bin
list -ar tree/
delete -f up/a+b.txt

upload -rs tree/ tree/
upload -rs --delete -y --ignore *.bin tree/ tree/
download --versionId null up/big.bin old.back
download -rs --delete -y tree/ down
list -n 2 --human tree/
list -v up/
info up/big.bin
move SOURCE/copied/big.bin moved/big.bin
copy -r SOURCE/tree/ copies/
copy -rs SOURCE/tree/ copies/
copy -d Replaced -H {"x-cos-meta-a":"b"} SOURCE/up/big.bin copies/big.bin
move -r SOURCE/copies/ moved/
upload -H {"x-cos-storage-class":"ARCHIVE"} tree/a.txt cold/a.txt
restore -d 3 -t Expedited cold/a.txt
signurl up/big.bin
putobjectacl --grant-read anyone up/big.bin
getobjectacl up/big.bin
putbucketacl --grant-read anyone
getbucketacl
getbucketversioning
listparts
abort
delete -rf --versions moved/
delete -rf tree/
probe
-b new-1250000000 createbucket
-b new-1250000000 deletebucket -f
"""


@pytest.mark.install
@DOORS
def test_coscmd_does_all_that_it_can(
    door: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The official command line (PyPI: coscmd), in an environment of its own."""
    server: LoopbackServer = request.getfixturevalue(door)
    uv = [sys.executable, "-m", "uv"]
    run_install(
        [*uv, "venv", "-q", "--python", sys.executable, "venv"], tmp_path, build_clean_environ()
    )
    python = str(tmp_path / "venv/bin/python")
    run_install(
        [*uv, "pip", "install", "--python", python, "coscmd"], tmp_path, build_clean_environ()
    )
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
    lines = COSCMD.partition("\n\n")[0] if door == "tls_server" else COSCMD
    for line in filter(None, lines.splitlines()):
        command = [coscmd, *line.replace("SOURCE", host).split()]
        output = run(command, tmp_path, environ)
        assert "Error>" not in output, f"{line}: {output}"
    original = (tmp_path / "tree/big.bin").read_bytes()
    assert (tmp_path / "big.back").read_bytes() == original
    assert (tmp_path / "down/big.bin").read_bytes() == original
    assert (tmp_path / "down/sub/图 +.txt").read_text() == "x"


# -- JavaScript: one conversation, by Node and in a browser

CONVERSATION = Path(__file__).with_name("conversation.js")
NODE = """
const [COS, fs, converse] = [require("cos-nodejs-sdk-v5"), require("fs"), require(process.argv[2])];
const [account, proxy, scheme] = [JSON.parse(process.argv[3]), ...process.argv.slice(4)];
fs.writeFileSync("big", Buffer.alloc(3 * 1024 * 1024 + 5, 7));
const cos = new COS({SecretId: account.secret_id, SecretKey: account.secret_key,
  Protocol: `${scheme}:`, Proxy: proxy, AutoSwitchHost: false});
converse(cos, {...account, scheme}, {FilePath: "big"}).then(async (failures) => {
  await cos.downloadFile({Bucket: account.bucket, Region: account.region, Key: "js/big2",
    FilePath: "back"});
  if (!fs.readFileSync("back").equals(fs.readFileSync("big"))) failures.push("download");
  console.log(JSON.stringify(failures));
});
"""
IN_PAGE = """([account]) => {
  const cos = new COS({SecretId: account.secret_id, SecretKey: account.secret_key,
    Protocol: "http:", AutoSwitchHost: false});
  const file = new Blob([new Uint8Array(3 * 1024 * 1024 + 5)]);
  return converse(cos, account, {Body: file});
}"""


def install_from_npm(package: str, folder: Path) -> Path:
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", package]
    run_install(command, folder, build_clean_environ())
    return folder / "node_modules" / package


EVERY_METHOD = Path(__file__).with_name("every_method.js")


@pytest.mark.install
def test_every_method_of_node_client_works_or_is_refused(
    server: LoopbackServer, tmp_path: Path
) -> None:
    """None hangs, and none gets an answer that says nothing."""
    install_from_npm("cos-nodejs-sdk-v5", tmp_path)
    shutil.copy(EVERY_METHOD, tmp_path)
    (tmp_path / "file").write_text("abc")
    command = ["node", EVERY_METHOD.name, json.dumps(server.settings), server.url]
    rows = json.loads(run(command, tmp_path, build_environ(server, tmp_path)))
    assert len(rows) > 60
    for name, status, code in rows:
        is_done = status in range(200, 300) and not code
        # the client asks for CORS rules and tags that are not there, and makes "none" of it
        is_absent = (status, code) == (404, "")
        is_refused = status in (403, 404, 409, 501) and code.isalpha()
        assert is_done or is_absent or is_refused, f"{name}: {status} {code}"
        assert (status == 501) == (code == "NotImplemented"), f"{name}: {status} {code}"


@pytest.mark.install
@DOORS
def test_node_client_holds_the_conversation(
    door: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """npm: cos-nodejs-sdk-v5, by its own setting of a proxy."""
    server: LoopbackServer = request.getfixturevalue(door)
    proxy = server.settings.get("proxy_url", server.url)
    install_from_npm("cos-nodejs-sdk-v5", tmp_path)
    (tmp_path / "run.js").write_text(NODE)
    command = ["node", "run.js", str(CONVERSATION), json.dumps(server.settings), proxy]
    command.append(get_scheme(server))
    assert json.loads(run(command, tmp_path, build_environ(server, tmp_path))) == []


@pytest.mark.install
@pytest.mark.browser
def test_browser_client_holds_the_conversation(server: LoopbackServer, tmp_path: Path) -> None:
    """npm: cos-js-sdk-v5 in Chromium, with web security on, by the services' own names."""
    chromium = chromium_here() or pytest.skip(MISSING)
    package = install_from_npm("cos-js-sdk-v5", tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    scripts = [package / "dist/cos-js-sdk-v5.min.js", CONVERSATION]
    for script in scripts:
        shutil.copy(script, site)
    tags = "".join(f"<script src={script.name} charset=utf-8></script>" for script in scripts)
    (site / "index.html").write_text(f"<!doctype html>{tags}")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, args=(0.01,)).start()
        try:
            url = f"http://localhost:{pages.server_port}/index.html"
            assert converse_in_page(chromium, url, server) == []
        finally:
            pages.shutdown()


def converse_in_page(chromium: str, url: str, server: LoopbackServer) -> list[str]:
    """Return what failed; in a thread, as Playwright keeps an event loop in its own."""

    def drive() -> list[str]:
        rules = f"--host-resolver-rules=MAP *.myqcloud.com 127.0.0.1:{server.port}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, rules])
            page = browser.new_page()
            page.goto(url)
            failures: list[str] = page.evaluate(IN_PAGE, [server.settings])
            browser.close()
        return failures

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(drive).result()
