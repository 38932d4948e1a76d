"""`jupyter mjci scan` over a corpus of what people give away by mistake, and of what is no
secret.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image, PngImagePlugin

import jupyter_mjci as mjci
from jupyter_mjci.cli import main
from jupyter_mjci.cli.demo import find_notebooks
from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.secret_scan import Leak, scan
from jupyter_mjci.services.tencent_ci.signing import presign, sign

KEYS: dict[str, Any] = {
    "secret_id": "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
    "secret_key": "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE",
    "key_time": "1767225600;1767226200",
}
SIGNED = sign(
    "GET", "/a.jpg", headers={"host": "demo-1250000000.cos.ap-chongqing.myqcloud.com"}, **KEYS
)
LINK = presign(
    "GET", "https://demo-1250000000.cos.ap-chongqing.myqcloud.com/a.jpg", **KEYS, token="t0ken" * 5
)
DISCORD = "MTE" + "k" * 21 + ".GhIjKl." + "a1B2_" * 6

# What stands somewhere, and the kinds that must be told of it.
SECRETS: tuple[tuple[str, set[str]], ...] = (
    (KEYS["secret_id"], {"Tencent Cloud SecretId"}),
    (SIGNED.partition("q-ak")[0] + SIGNED.partition("&q-header")[2], {"COS signature"}),
    (LINK, {"Tencent Cloud SecretId", "COS signature", "security token"}),
    (LINK.replace("=", "%3D"), {"Tencent Cloud SecretId", "COS signature", "security token"}),
    (LINK.replace("&", "&amp;"), {"Tencent Cloud SecretId", "COS signature", "security token"}),
    ("x-ci-security-token: 1234567890abcdef", {"security token"}),
    ("https://s3.example.com/a.png?X-Amz-Signature=" + "a1" * 32, {"presigned query"}),
    (
        f"https://cdn.discordapp.com/attachments/1/2/a.png?ex=6789abcd&is=6789abcd&hm={'0f' * 32}&",
        {"presigned query"},
    ),
    ("Authorization: Bearer abcdefgh12345678", {"Authorization header"}),
    ('headers={"Authorization": "abcdefgh12345678"}', {"Authorization header"}),
    ('{"mj-api-secret": "hunter2"}', {"proxy secret"}),
    ("curl -H 'mj-api-secret: hunter2'", {"proxy secret"}),
    ("mjci.connect(mj_secret='correct horse')", set()),
    ("mjci.connect(mj_secret='correcthorse')", {"secret in an assignment"}),
    ('secret_key = "Gu5t9xGARNpq86cd98joQYCN3"', {"secret in an assignment"}),
    ("%env MJCI_MJ_SECRET=correcthorse", {"secret in an assignment"}),
    ("export TENCENTCLOUD_SECRET_KEY=Gu5t9xGARNpq86", {"secret in an assignment"}),
    ("sk-" + "Ab1" * 12, {"relay key"}),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        {"JSON Web Token"},
    ),
    (DISCORD, {"Discord token"}),
)

# What looks a little like a secret, and is none.
HARMLESS = (
    "mj-api-secret: ***",
    "authorization: ***",
    'mj_secret=os.environ["MJCI_MJ_SECRET"]',
    "Secret(***)",
    'connect(mj_secret="…")',
    "Set MJCI_MJ_SECRET (and MJCI_CI_SECRET_KEY)",
    "MJCI_MJ_SECRET=$SECRET",
    "https://cdn.example.com/a.png?width=400&height=300",
    "The signature is verified.",
    "q-signature is missing",
    "MJ 1767225600000230 1248×832 png sha cf4067f05d6c",
    "sk-learn",
    "a token economy",
    "Authorization is needed",
    '{"NextToken": "c2Vjb25kLXBhZ2U="}',
    "password: ",
    "cf4067f05d6ca476d67bb5ea80aa8799e883",
)


def kinds(path: Path, environ: dict[str, str] | None = None) -> set[str]:
    return {leak.kind for leak in scan([path], environ or {})}


@pytest.mark.parametrize(("text", "wanted"), SECRETS, ids=range(len(SECRETS)))
def test_what_is_a_secret(text: str, wanted: set[str], tmp_path: Path) -> None:
    """In a plain file and inside the JSON of a notebook's output alike."""
    (tmp_path / "note.md").write_text(f"before {text} after")
    assert kinds(tmp_path / "note.md") == wanted
    output = nbformat.v4.new_output("stream", text=["before\n", f"{text}\n"])  # type: ignore[no-untyped-call]
    write(tmp_path / "a.ipynb", nbformat.v4.new_code_cell("1", outputs=[output]))  # type: ignore[no-untyped-call]
    assert kinds(tmp_path / "a.ipynb") == wanted


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text(f"before {text} after")
    assert kinds(tmp_path / "note.md") == set()


def write(path: Path, *cells: Any, **metadata: Any) -> Path:
    notebook = nbformat.v4.new_notebook(cells=list(cells), metadata=metadata)  # type: ignore[no-untyped-call]
    path.write_text(json.dumps(notebook), "utf-8")
    return path


def test_every_part_of_a_notebook_is_looked_at(tmp_path: Path) -> None:
    """Source, outputs, metadata, attachments, papermill's parameters, widgets: told by cell, each
    kind once.
    """
    out = io.BytesIO()
    note = PngImagePlugin.PngInfo()
    note.add_text("source", f"sent with {KEYS['secret_id']}")
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=note)
    png = base64.b64encode(out.getvalue()).decode()
    new = nbformat.v4
    path = write(
        tmp_path / "a.ipynb",
        new.new_markdown_cell("nothing here"),  # type: ignore[no-untyped-call]
        new.new_code_cell(  # type: ignore[no-untyped-call]
            "1",
            metadata={"x": {"authorization": "abcdefgh1234"}},
            outputs=[
                new.new_output("display_data", {"text/html": [f"<img src='{LINK}'>"]}),  # type: ignore[no-untyped-call]
                new.new_output("display_data", {"image/png": png}),  # type: ignore[no-untyped-call]
                new.new_output(  # type: ignore[no-untyped-call]
                    "error", ename="E", evalue="", traceback=["\x1b[31m", f"  {DISCORD}"]
                ),
            ],
        ),
        new.new_markdown_cell("", attachments={"a.txt": {"text/plain": "sk-" + "a" * 30}}),  # type: ignore[no-untyped-call]
        papermill={"parameters": {"mj_secret": "correcthorse"}},
        widgets={"application/vnd.jupyter.widget-state+json": {"state": {"1": {"value": DISCORD}}}},
    )
    assert {str(leak).removeprefix(f"{path}: ") for leak in scan([path], {})} == {
        "cell 2, metadata: Authorization header",
        "cell 2, output 1: Tencent Cloud SecretId",
        "cell 2, output 1: COS signature",
        "cell 2, output 1: security token",
        "cell 2, output 2: Tencent Cloud SecretId",
        "cell 2, output 3: Discord token",
        "cell 3, attachments: relay key",
        "notebook metadata: secret in an assignment",
        "widget state: Discord token",
    }


@pytest.mark.parametrize("text", ["{", '{"cells": 7}', '{"cells": [7]}', "[]"])
def test_a_broken_notebook_is_looked_at_as_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(f"{text}      {DISCORD}")
    assert kinds(tmp_path / "a.ipynb") == {"Discord token"}


@pytest.mark.parametrize(
    "write_it",
    [
        lambda secret: secret,
        lambda secret: secret.replace("/", "%2F").replace("+", "%2B"),
        lambda secret: base64.b64encode(secret.encode()).decode(),
    ],
    ids=["plain", "in a URL", "base64"],
)
def test_the_environments_own_secrets_are_looked_for(write_it: Any, tmp_path: Path) -> None:
    """Whatever they look like; they are told by their variable's name."""
    environ = {
        "MJCI_MJ_SECRET": "ab/cd+ef",
        "MJCI_MJ_URL": "https://mj.example.com",
        "HOME": "before",
    }
    (tmp_path / "a.txt").write_text(f"before {write_it('ab/cd+ef')} https://mj.example.com")
    assert kinds(tmp_path / "a.txt", environ) == {"the value of MJCI_MJ_SECRET"}


def test_which_variables_are_secret(tmp_path: Path) -> None:
    """Those of ours and Tencent's that are named like one, and what the profile file holds."""
    environ = {
        "MJCI_CI_SECRET_KEY": "a",
        "TENCENTCLOUD_TOKEN": "b",
        "MJCI_HOME": "c",
        "GITHUB_TOKEN": "d",
        "MJCI_MJ_SECRET": "",
    }
    file = tmp_path / "profiles.toml"
    file.write_text('[work]\nmj_url = "https://x"\nmj_secret = "e"\n')
    assert load_known_secrets(environ, file) == {
        "MJCI_CI_SECRET_KEY": "a",
        "TENCENTCLOUD_TOKEN": "b",
        "mj_secret of the profile work": "e",
    }
    file.write_text("[")
    assert load_known_secrets({}, file) == {}


def test_a_journal_is_read_row_by_row(tmp_path: Path) -> None:
    """A text that is spread over pages, and one that was deleted: both are still in the file."""
    path = tmp_path / "journal.db"
    database = sqlite3.connect(path)
    database.execute("pragma secure_delete = off")
    database.execute("create table jobs (raw text)")
    long = "".join(f"{number:06d}" for number in range(4000))
    for at in range(0, 24000, 1000):  # one of them lies across the border of two pages
        database.execute(
            "insert into jobs values (?)", (long[:at] + " " + DISCORD + " " + long[at:],)
        )
    database.execute("create table gone (raw text)")
    database.execute("insert into gone values (?)", (KEYS["secret_id"],))
    database.commit()
    database.execute("delete from gone")
    database.commit()
    database.close()
    told = {(leak.location, leak.kind) for leak in scan([path], {})}
    assert {("table jobs", "Discord token"), ("free space", "Tencent Cloud SecretId")} <= told


def test_our_own_journal_and_recording_are_clean(tmp_path: Path) -> None:
    """What the toolkit writes by itself holds no secret of the session that wrote it."""
    with mjci.sandbox(speed=float("inf"), home=tmp_path / "home") as session:
        session.follow(session.mj.imagine("a fox")).run()
        tape = session.record_to(tmp_path / "a.mjci")
        tape.follow(
            tape.ci.picture_job(input="input/deer.jpg", rule="imageMogr2/rotate/9", output="o.jpg")
        ).run()
        told = session.settings
        environ = {
            "MJCI_MJ_SECRET": told.mj_secret.reveal(),
            "MJCI_CI_SECRET_KEY": told.ci_secret_key.reveal(),
        }
    assert [str(leak) for leak in scan([tmp_path / "a.mjci"], environ)] == []
    found = {leak.kind for leak in scan([tmp_path / "home"], environ)}
    assert found <= {"presigned query"}  # a picture's link, in the journal as the service told it


def test_the_command_tells_where_and_never_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 and a line for each; 0 and silence for a clean folder; 1 and a reason for one
    that is not there.
    """
    write(tmp_path / "a.ipynb", nbformat.v4.new_code_cell(f"key = '{KEYS['secret_id']}'"))  # type: ignore[no-untyped-call]
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(DISCORD)
    assert main.main(["scan", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said == f"{tmp_path / 'a.ipynb'}: cell 1: Tencent Cloud SecretId\n"
    (tmp_path / "a.ipynb").unlink()
    assert main.main(["scan", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert main.main(["scan", str(tmp_path / "none")]) == 2
    assert "There is no" in capsys.readouterr().err
    with pytest.raises(InvalidRequest):
        list(scan([tmp_path / "none"], {}))


def test_the_demo_notebooks_are_clean() -> None:
    assert list(scan([find_notebooks()], {})) == []


def test_a_leak_never_holds_the_secret(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(DISCORD)
    (leak,) = scan([tmp_path], {})
    assert leak == Leak(tmp_path / "a.txt", "", "Discord token")
    assert DISCORD not in repr(leak)


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others are looked into all the same. What is no file (a pipe, which never ends) is
    left alone.
    """
    (tmp_path / "a.txt").write_text("whatever")
    (tmp_path / "b.txt").write_text("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE")
    os.mkfifo(tmp_path / "pipe")
    usual = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    told = [(leak.path.name, leak.kind) for leak in scan([tmp_path], {})]
    assert told == [
        ("a.txt", "cannot be read (Permission denied)"),
        ("b.txt", "Tencent Cloud SecretId"),
    ]
