# ruff: noqa: E501
"""Secrets of 49 kinds in 45 shapes, made by code with fixed seeds, and innocent documents.

A kind is a line as people write it, with a secret that was never issued. A shape is a file that
such a line ends up in.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import io
import json
import random
import re
import sqlite3
import string
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from PIL import Image, PngImagePlugin

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
_random = random.Random(18)


def draw(count: int, alphabet: str = ALNUM) -> str:
    """Return random characters, among them a digit and a letter."""
    text = "".join(_random.choice(alphabet) for _ in range(count - 2))
    return f"{text[: count // 2]}7{text[count // 2 :]}b"


def draw_upper(count: int) -> str:
    return draw(count, string.ascii_uppercase + string.digits).upper()


def draw_key() -> str:
    lines = [draw(64, f"{ALNUM}+/") for _ in range(4)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----"])


# The kinds that belong to this package's users first: settings, magics, commands.
KINDS: dict[str, str] = {
    "setting as argument": f'session = mjci.connect(ci_secret_key="{draw(32)}")',
    "setting assigned": f"mj_secret = '{draw(12)}'",
    "setting in a profile": f'[work.ci]\nsecret_key = "{draw(32)}"',
    "setting in a dict": f'settings = {{"ci_token": "{draw(40)}"}}',
    "%env": f"%env MJCI_MJ_SECRET={draw(16)}",
    "%set_env": f"%set_env MJCI_CI_SECRET_KEY {draw(32)}",
    "os.environ": f'os.environ["TENCENTCLOUD_SECRET_KEY"] = "{draw(32)}"',
    "environ.setdefault": f"os.environ.setdefault('MJCI_CI_TOKEN', '{draw(40)}')",
    "export": f"export MJCI_CI_SECRET_KEY={draw(32)}",
    ".env file": f"TENCENTCLOUD_TOKEN={draw(48)}",
    "YAML": f"MJCI_MJ_SECRET: {draw(20)}",
    "curl -u": f"!curl -s -u admin:{draw(12)} https://mj.example.com/mj/task/list",
    "requests auth": f'requests.get(url, auth=("alice", "{draw(12)}"))',
    "httpx auth": f'httpx.DigestAuth("alice", "{draw(12)}")',
    "smtp login": f"server.login('alice', '{draw(12)}')",
    "sshpass": f"!sshpass -p {draw(12)} ssh alice@example.com",
    "curl --header": f"curl --header 'Authorization: Bearer {draw(32)}' https://mj.example.com",
    "proxy's header": f'headers = {{"mj-api-secret": "{draw(14)}"}}',
    "X-Api-Key": f'-H "X-Api-Key: {draw(32)}"',
    "Basic": f"Authorization: Basic {base64.b64encode(f'admin:{draw(12)}'.encode()).decode()}",
    "URL user info": f"https://me:{draw(12)}@proxy.example.com/mj",
    "database URL": f"postgresql://app:{draw(16)}@db.example.com:5432/jobs",
    "Jupyter's token": f"http://127.0.0.1:8888/lab?token={draw(48, HEX)}",
    "access_token": f"https://api.example.com/v1/me?access_token={draw(40)}",
    "cookie": f"Cookie: theme=dark; sessionid={draw(32)}",
    "Set-Cookie": f"Set-Cookie: session={draw(43)}; Path=/; HttpOnly",
    "netrc": f"machine mj.example.com login me password {draw(14)}",
    "private key": draw_key(),
    "password": f'password = "{draw(14)}"',
    "AWS secret": f'aws_secret_access_key = "{draw(40, ALNUM + "/+")}"',
    "Tencent SecretId": f"SecretId AKID{draw(32)}",
    "COS signature": "q-sign-algorithm=sha1&q-ak=AKID"
    + draw(32)
    + "&q-sign-time=1767225600;1767226200"
    "&q-key-time=1767225600;1767226200&q-header-list=host&q-url-param-list=&q-signature="
    + draw(40, HEX),
    "presigned link": f"https://b.s3.example.com/a.png?X-Amz-Expires=60&X-Amz-Signature={draw(64, HEX)}",
    "relay key": f"key sk-{draw(48)}",
    "JSON Web Token": f"eyJ{draw(30)}.eyJ{draw(60)}.{draw(43)}",
    "Discord token": f"M{draw(23)}.{draw(6)}.{draw(38)}",
    "Discord webhook": f"https://discord.com/api/webhooks/112233445566778899/{draw(68)}",
    "AWS access key": f"AKIA{draw_upper(16)}",
    "GitHub": f"ghp_{draw(36)}",
    "GitHub fine-grained": f"github_pat_{draw(22)}_{draw(59)}",
    "GitLab": f"glpat-{draw(20)}",
    "Google API key": f"AIza{draw(35)}",
    "Hugging Face": f"hf_{draw(34)}",
    "npm": f"npm_{draw(36)}",
    "PyPI": f"pypi-AgEIcHlwaS5vcmc{draw(80)}",
    "Slack": f"xoxb-{_random.randrange(10**11, 10**12)}-{_random.randrange(10**12, 10**13)}-{draw(24)}",
    "Slack webhook": f"https://hooks.slack.com/services/T{draw_upper(8)}/B{draw_upper(10)}/{draw(24)}",
    "Stripe": f"sk_live_{draw(24)}",
    "SendGrid": f"SG.{draw(22)}.{draw(43)}",
    "Telegram": f"{_random.randrange(10**9, 10**10)}:AA{draw(33)}",
    "Azure account key": f"AccountName=a;AccountKey={draw(86)}==;EndpointSuffix=core.windows.net",
    "Twilio": f"SK{draw(32, HEX)}",
    "Replicate": f"r8_{draw(37)}",
}

Shape = Callable[[str], tuple[str, bytes]]


def colour(line: str) -> str:
    """As a highlighter colours a traceback: each sign has its own escape codes."""
    for sign in ("=", ":", '"', "'", " "):
        line = line.replace(sign, f"\x1b[38;5;241m{sign}\x1b[39m")
    return f"\x1b[1;32m      1\x1b[0m {line}"


def highlight(line: str) -> str:
    """As nbconvert writes a cell into a page."""
    escaped = re.sub(r"[= ]", r'<span class="o">\g<0></span>', html.escape(line))
    return f'<div class="highlight"><pre><span></span>{escaped}</pre></div>'


def zip_file(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def tar_file(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("notes/a.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def picture(line: str, kind: str) -> bytes:
    """A PNG with a text chunk, as pictures of proxies have them."""
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt("Description", line, zip=True)
    else:
        info.add_text("Description", line, zip=kind == "zTXt")
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def database(line: str) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table jobs (raw text)")
        connection.execute("insert into jobs values (?)", (line,))
        connection.commit()
        return connection.serialize()


def notebook(cell: dict[str, object], **metadata: object) -> bytes:
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": [], **cell}
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [cell]}
    return json.dumps(document, indent=1).encode()


def notebook_v3(cell: dict[str, object]) -> bytes:
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "input": [], **cell}
    return json.dumps({"nbformat": 3, "worksheets": [{"cells": [cell]}]}).encode()


def output(**content: object) -> dict[str, object]:
    return {"outputs": [{"output_type": "display_data", "metadata": {}, "data": content}]}


def split(line: str) -> list[str]:
    return ["# first\n", *line.splitlines(keepends=True), "\n", "x = 1"]


def wide(line: str, encoding: str) -> bytes:
    return f"# Settings\n\n{line}\n\nThat is all of it.\n".encode(encoding)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


SHAPES: dict[str, Shape] = {
    "text": lambda line: ("a.txt", f"before\n{line}\nafter".encode()),
    "CRLF": lambda line: ("a.md", f"before\r\n{line}\r\nafter".encode()),
    "log": lambda line: ("a.log", f"2026-01-01 00:00:00,000 DEBUG root {line}\n".encode()),
    "UTF-8 with BOM": lambda line: ("a.txt", wide(line, "utf-8-sig")),
    "UTF-16": lambda line: ("a.txt", wide(line, "utf-16")),
    "UTF-16 BE with BOM": lambda line: ("a.txt", b"\xfe\xff" + wide(line, "utf-16-be")),
    "UTF-16 without BOM": lambda line: ("a.txt", wide(line, "utf-16-le")),
    "UTF-32": lambda line: ("a.txt", wide(line, "utf-32")),
    "GBK": lambda line: ("a.txt", f"这是密钥：\n{line}\n请勿泄露".encode("gbk")),
    "Latin-1": lambda line: ("a.txt", f"clé :\n{line}\ngéré".encode("latin-1")),
    "base64 in lines": lambda line: ("a.eml", base64.encodebytes(wide(line, "utf-8"))),
    "base64 in JSON": lambda line: ("a.json", json.dumps({"body": b64(line.encode())}).encode()),
    "base64 URL-safe": lambda line: (
        "a.txt",
        b"d=" + base64.urlsafe_b64encode(line.encode()).rstrip(b"="),
    ),
    "base64 of UTF-16": lambda line: ("a.ps1", f"-enc {b64(line.encode('utf-16-le'))}".encode()),
    "data URL": lambda line: (
        "a.html",
        f'<a href="data:text/plain;base64,{b64(line.encode())}">'.encode(),
    ),
    "hexadecimal": lambda line: ("a.txt", line.encode().hex().encode()),
    "gzip": lambda line: ("a.log.gz", gzip.compress(line.encode())),
    "bz2": lambda line: ("a.bz2", bz2.compress(line.encode())),
    "zip": lambda line: ("a.zip", zip_file("notes.txt", line.encode())),
    "zip in zip": lambda line: ("a.zip", zip_file("b.zip", zip_file("c.txt", line.encode()))),
    "tar.gz": lambda line: ("a.tgz", gzip.compress(tar_file(line.encode()))),
    "gzip in base64": lambda line: ("a.txt", b64(gzip.compress(line.encode())).encode()),
    "PNG tEXt": lambda line: ("a.png", picture(line, "tEXt")),
    "PNG zTXt": lambda line: ("a.png", picture(line, "zTXt")),
    "PNG iTXt": lambda line: ("a.png", picture(line, "iTXt")),
    "entities": lambda line: ("a.html", f"<pre>{html.escape(line)}</pre>".encode()),
    "numeric entities": lambda line: (
        "a.xml",
        "".join(f"&#{ord(sign)};" if sign in "=:\"'&" else sign for sign in line).encode(),
    ),
    "exported page": lambda line: ("a.html", highlight(line).encode()),
    "URL-encoded": lambda line: ("a.txt", f"https://x.example/?q={quote(line, safe='')}".encode()),
    "URL-encoded twice": lambda line: ("a.txt", quote(quote(line, safe=""), safe="").encode()),
    "JSON in JSON": lambda line: (
        "a.jsonl",
        json.dumps({"body": json.dumps({"text": line})}).encode(),
    ),
    "Unicode escapes": lambda line: (
        "a.js",
        "".join(f"\\u{ord(sign):04x}" if sign in "=:\"'&+/-" else sign for sign in line).encode(),
    ),
    "ANSI colours": lambda line: ("a.txt", colour(line).encode()),
    "SQLite": lambda line: ("a.db", database(line)),
    "cell": lambda line: ("a.ipynb", notebook({"source": split(line)})),
    "stream": lambda line: (
        "a.ipynb",
        notebook({"outputs": [{"output_type": "stream", "name": "stdout", "text": split(line)}]}),
    ),
    "traceback": lambda line: (
        "a.ipynb",
        notebook(
            {"outputs": [{"output_type": "error", "ename": "E", "traceback": [colour(line)]}]}
        ),
    ),
    "HTML output": lambda line: ("a.ipynb", notebook(output(**{"text/html": [highlight(line)]}))),
    "PNG output": lambda line: (
        "a.ipynb",
        notebook(output(**{"image/png": b64(picture(line, "zTXt"))})),
    ),
    "attachment": lambda line: (
        "a.ipynb",
        notebook({"attachments": {"a.txt": {"text/plain": line}}}),
    ),
    "widget state": lambda line: (
        "a.ipynb",
        notebook({}, widgets={"x": {"state": {"1": {"state": {"value": line}}}}}),
    ),
    "notebook metadata": lambda line: ("a.ipynb", notebook({}, papermill={"parameters": line})),
    "cell of nbformat 3": lambda line: ("a.ipynb", notebook_v3({"input": split(line)})),
    "output of nbformat 3": lambda line: (
        "a.ipynb",
        notebook_v3({"outputs": [{"output_type": "pyout", "text": split(line)}]}),
    ),
    "picture of nbformat 3": lambda line: (
        "a.ipynb",
        notebook_v3(
            {"outputs": [{"output_type": "display_data", "png": b64(picture(line, "tEXt"))}]}
        ),
    ),
}

# --- what holds no secret -------------------------------------

_SENTENCES = (
    "Set MJCI_MJ_SECRET and MJCI_CI_SECRET_KEY in the environment; the token is renewed every hour.",
    "The signature is made of the secret key and the key time: see q-signature in the documents.",
    'httpx.get(url, auth=("alice", os.environ["PASSWORD"])) or auth=("user", "password")',
    "Pass the password with `curl -u user:$PASSWORD`, never in the clear.",
    'session = mjci.connect(mj_secret=os.environ["MJCI_MJ_SECRET"], ci_secret_key=secret_key)',
    'mjci.connect(mj_secret="…", ci_secret_id="AKID…", ci_secret_key="***")',
    "export MJCI_CI_SECRET_KEY=$SECRET_KEY  # from the vault",
    "%env MJCI_MJ_SECRET=your-secret-here",
    "Authorization: Bearer <token>",
    "headers = {'Authorization': f'Bearer {token}'}",
    "https://user:password@... is refused; http://127.0.0.1:8888/lab?token=...",
    "GET /mj/task/list?page=2&size=50&sort=desc HTTP/1.1",
    '{"NextToken": "c2Vjb25kLXBhZ2U=", "IsTruncated": true, "token_type": "bearer"}',
    "password: str | None = None, token: str = '', api_key: Secret = Secret('')",
    'secret = getpass("Secret: "); token = response.json()["token"]',
    "-----BEGIN PRIVATE KEY----- is the first line of a key in PEM.",
    "Cookie: name=value; Set-Cookie: theme=dark; Path=/",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx is what a token looks like; sk-XXXXXXXXXXXXXXXXXXXXXXXX too.",
    "max_tokens = 4096; tokenizer = 'cl100k_base'; secretary = 'Ms. Smith-Jones-2nd'",
    "rule = 'imageMogr2/thumbnail/800x600|watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg'",
    "a red fox --ar 3:2 --seed 1234567890 --v 6.1 --sref https://cdn.example.com/a.png?width=400",
    "class SecretKey: ...  # password = input()",
    "pip install --hash=sha256:{sha256} package==1.2.3",
    "Task 1767225600000230 SUCCESS 100% 1248x832 png sha {sha12}",
    "jupyter mjci sandbox --keys ID:SECRET --mj-secret SECRET",
    "machine HOST login USER password PASSWORD",
)


def make_document(number: int) -> bytes:
    """Return text like documentation, with hashes, IDs, base64 and data URLs in it."""
    chance = random.Random(number)
    digest = "".join(chance.choice(HEX) for _ in range(64))
    pixels = io.BytesIO()
    Image.frombytes("RGB", (16, 16), chance.randbytes(768)).save(pixels, "PNG")
    lines = chance.sample(_SENTENCES, 8)
    noise = chance.randbytes(300)
    lines += [
        f"commit {digest[:40]}",
        f"sha256:{digest}",
        f'ETag: "{digest[:32]}"',
        f"id = {uuid.UUID(int=chance.getrandbits(128))}",
        f'"integrity": "sha512-{b64(chance.randbytes(64))}"',
        f"j{digest[:16]}ed{digest[16:32]} Submitted PicProcess",
        f"crc64: {chance.getrandbits(64)}, x-cos-request-id: {b64(noise[:42])}",
        f'<img alt="fox" src="data:image/png;base64,{b64(pixels.getvalue())}">',
        f"packed: {b64(zlib.compress(noise))}",
        f"customId = 'MJ::JOB::upsample::1::{uuid.UUID(int=chance.getrandbits(128))}'",
        f"https://cdn.example.com/attachments/{chance.getrandbits(60)}/{digest[:24]}.png?width=512",
    ]
    chance.shuffle(lines)
    text = "\n".join(lines)
    return text.replace("{sha256}", digest).replace("{sha12}", digest[:12]).encode()


def write_innocent(folder: Path, count: int = 120) -> None:
    """Write documents of several formats without a secret."""
    for number in range(count):
        text = make_document(number)
        lines = text.decode().splitlines(keepends=True)
        formats = (
            ("md", text),
            ("ipynb", notebook({"source": lines})),
            ("ipynb", notebook(output(**{"text/html": lines, "text/plain": "fox"}))),
            ("json", json.dumps({"rows": lines}).encode()),
            ("txt", text.decode().encode("utf-16")),
            ("gz", gzip.compress(text, mtime=0)),
        )
        suffix, content = formats[number % len(formats)]
        (folder / f"{number}.{suffix}").write_bytes(content)
