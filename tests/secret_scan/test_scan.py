"""`jupyter mjci scan` on secrets that are shared by mistake, and on harmless look-alikes."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image, PngImagePlugin

import jupyter_mjci as mjci
from jupyter_mjci.cli import main
from jupyter_mjci.cli.demo import find_notebooks
from jupyter_mjci.client.redaction import redact
from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.secret_scan import Leak, scan
from jupyter_mjci.secret_scan.patterns import Patterns, compile_patterns, iter_secrets
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

# A text, and the kinds of secrets in it.
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

# Texts that look like secrets.
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


def scan_kinds(path: Path, environ: dict[str, str] | None = None) -> set[str]:
    return {leak.kind for leak in scan([path], environ or {})}


@pytest.mark.parametrize(("text", "expected"), SECRETS, ids=range(len(SECRETS)))
def test_secret_is_found_in_text_and_notebook_output(
    text: str, expected: set[str], tmp_path: Path
) -> None:
    (tmp_path / "note.md").write_text(f"before {text} after")
    assert scan_kinds(tmp_path / "note.md") == expected
    output = nbformat.v4.new_output("stream", text=["before\n", f"{text}\n"])  # type: ignore[no-untyped-call]
    write_notebook(tmp_path / "a.ipynb", nbformat.v4.new_code_cell("1", outputs=[output]))  # type: ignore[no-untyped-call]
    assert scan_kinds(tmp_path / "a.ipynb") == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_not_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text(f"before {text} after")
    assert scan_kinds(tmp_path / "note.md") == set()


def write_notebook(path: Path, *cells: Any, **metadata: Any) -> Path:
    notebook = nbformat.v4.new_notebook(cells=list(cells), metadata=metadata)  # type: ignore[no-untyped-call]
    path.write_text(json.dumps(notebook), "utf-8")
    return path


def test_every_part_of_a_notebook_is_scanned(tmp_path: Path) -> None:
    """Each kind is reported once per location."""
    out = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    info.add_text("source", f"sent with {KEYS['secret_id']}")
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=info)
    png = base64.b64encode(out.getvalue()).decode()
    v4 = nbformat.v4
    path = write_notebook(
        tmp_path / "a.ipynb",
        v4.new_markdown_cell("nothing here"),  # type: ignore[no-untyped-call]
        v4.new_code_cell(  # type: ignore[no-untyped-call]
            "1",
            metadata={"x": {"authorization": "abcdefgh1234"}},
            outputs=[
                v4.new_output("display_data", {"text/html": [f"<img src='{LINK}'>"]}),  # type: ignore[no-untyped-call]
                v4.new_output("display_data", {"image/png": png}),  # type: ignore[no-untyped-call]
                v4.new_output(  # type: ignore[no-untyped-call]
                    "error", ename="E", evalue="", traceback=["\x1b[31m", f"  {DISCORD}"]
                ),
            ],
        ),
        v4.new_markdown_cell("", attachments={"a.txt": {"text/plain": "sk-" + "a" * 30}}),  # type: ignore[no-untyped-call]
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
def test_invalid_notebook_is_scanned_as_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(f"{text}      {DISCORD}")
    assert scan_kinds(tmp_path / "a.ipynb") == {"Discord token"}


@pytest.mark.parametrize(
    "encode",
    [
        lambda secret: secret,
        lambda secret: secret.replace("/", "%2F").replace("+", "%2B"),
        lambda secret: base64.b64encode(secret.encode()).decode(),
    ],
    ids=["plain", "in a URL", "base64"],
)
def test_secret_values_of_the_environment_are_found(
    encode: Callable[[str], str], tmp_path: Path
) -> None:
    """Whatever they look like. They are reported by the variable's name."""
    environ = {
        "MJCI_MJ_SECRET": "ab/cd+ef",
        "MJCI_MJ_URL": "https://mj.example.com",
        "HOME": "before",
    }
    (tmp_path / "a.txt").write_text(f"before {encode('ab/cd+ef')} https://mj.example.com")
    assert scan_kinds(tmp_path / "a.txt", environ) == {"the value of MJCI_MJ_SECRET"}


def test_known_secrets_are_those_of_our_variables_tencents_and_the_profiles(tmp_path: Path) -> None:
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


def test_database_is_scanned_by_row_and_in_free_space(tmp_path: Path) -> None:
    """A text that is spread over two pages, and a deleted one."""
    path = tmp_path / "journal.db"
    database = sqlite3.connect(path)
    database.execute("pragma secure_delete = off")
    database.execute("create table jobs (raw text)")
    long = "".join(f"{number:06d}" for number in range(4000))
    for index in range(0, 24000, 1000):  # one of them crosses the boundary of two pages
        text = f"{long[:index]} {DISCORD} {long[index:]}"
        database.execute("insert into jobs values (?)", (text,))
    database.execute("create table gone (raw text)")
    database.execute("insert into gone values (?)", (KEYS["secret_id"],))
    database.commit()
    database.execute("delete from gone")
    database.commit()
    database.close()
    leaks = {(leak.location, leak.kind) for leak in scan([path], {})}
    assert {("table jobs", "Discord token"), ("free space", "Tencent Cloud SecretId")} <= leaks


def test_journal_and_recording_hold_no_secret_of_the_session(tmp_path: Path) -> None:
    with mjci.sandbox(speed=float("inf"), home=tmp_path / "home") as session:
        session.follow(session.mj.imagine("a fox")).run()
        recorded = session.record_to(tmp_path / "a.mjci")
        recorded.follow(
            recorded.ci.picture_job(
                input="input/deer.jpg", rule="imageMogr2/rotate/9", output="o.jpg"
            )
        ).run()
        settings = session.settings
        environ = {
            "MJCI_MJ_SECRET": settings.mj_secret.reveal(),
            "MJCI_CI_SECRET_KEY": settings.ci_secret_key.reveal(),
        }
    assert [str(leak) for leak in scan([tmp_path / "a.mjci"], environ)] == []
    kinds = {leak.kind for leak in scan([tmp_path / "home"], environ)}
    # The link of an image, journaled as the service sent it.
    assert kinds <= {"presigned query"}


def test_command_prints_locations_and_exits_with_1_where_it_finds_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clean folder exits with 0, a missing one with 2."""
    write_notebook(tmp_path / "a.ipynb", nbformat.v4.new_code_cell(f"key = '{KEYS['secret_id']}'"))  # type: ignore[no-untyped-call]
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(DISCORD)
    assert main.main(["scan", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert output == f"{tmp_path / 'a.ipynb'}: cell 1: Tencent Cloud SecretId\n"
    (tmp_path / "a.ipynb").unlink()
    assert main.main(["scan", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert main.main(["scan", str(tmp_path / "none")]) == 2
    assert "There is no" in capsys.readouterr().err
    with pytest.raises(InvalidRequest):
        list(scan([tmp_path / "none"], {}))


def test_demo_notebooks_hold_no_secret() -> None:
    assert list(scan([find_notebooks()], {})) == []


def test_leak_does_not_hold_the_secret(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(DISCORD)
    (leak,) = scan([tmp_path], {})
    assert leak == Leak(tmp_path / "a.txt", "", "Discord token")
    assert DISCORD not in repr(leak)


def test_unreadable_file_is_reported_and_pipes_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a pipe would never end."""
    (tmp_path / "a.txt").write_text("whatever")
    (tmp_path / "b.txt").write_text("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE")
    os.mkfifo(tmp_path / "pipe")
    original = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    leaks = [(leak.path.name, leak.kind) for leak in scan([tmp_path], {})]
    assert leaks == [
        ("a.txt", "cannot be read (Permission denied)"),
        ("b.txt", "Tencent Cloud SecretId"),
    ]


def write_leaking_notebook(path: Path) -> Path:
    """A secret in the source of the first cell, one in an output of the second."""
    v4 = nbformat.v4
    outputs = [
        v4.new_output("stream", text="fine"),  # type: ignore[no-untyped-call]
        v4.new_output("stream", text=f"token {DISCORD}"),  # type: ignore[no-untyped-call]
    ]
    return write_notebook(
        path,
        v4.new_code_cell(f"key = '{KEYS['secret_id']}'"),  # type: ignore[no-untyped-call]
        v4.new_code_cell("1", outputs=outputs),  # type: ignore[no-untyped-call]
    )


def test_fix_clears_the_outputs_with_secrets_and_keeps_everything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks; the mode of the file stays; a secret in the source is reported still."""
    path = write_leaking_notebook(tmp_path / "a.ipynb")
    path.chmod(0o640)
    before = path.read_bytes()
    assert main.main(["scan", str(path), "--fix"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main.main(["scan", str(path), "--fix", "--yes"]) == 1
    assert "cleared cell 2, output 2" in capsys.readouterr().err
    texts = [output["text"] for output in json.loads(path.read_text())["cells"][1]["outputs"]]
    assert texts == ["fine"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert scan_kinds(path) == {"Tencent Cloud SecretId"}


def test_baseline_hides_known_secrets_also_when_their_cell_moves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_leaking_notebook(tmp_path / "a.ipynb")
    baseline = ["scan", str(tmp_path / "a.ipynb"), "--baseline", str(tmp_path / "known.json")]
    assert main.main(baseline) == 2
    assert "--update-baseline" in capsys.readouterr().err
    assert main.main([*baseline, "--update-baseline"]) == 0
    assert DISCORD not in (tmp_path / "known.json").read_text()
    notebook = json.loads(path.read_text())
    notebook["cells"].reverse()
    path.write_text(json.dumps(notebook))
    assert main.main(baseline) == 0
    path.write_text(json.dumps(notebook).replace("k" * 21, "q" * 21))
    capsys.readouterr()
    assert main.main(baseline) == 1
    assert capsys.readouterr().out == f"{path}: cell 1, output 2: Discord token\n"
    (tmp_path / "known.json").write_text('{"version": 99, "findings": []}')
    assert main.main(baseline) == 2


def test_sarif_names_rule_file_and_cell_but_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_leaking_notebook(tmp_path / "a.ipynb")
    assert main.main(["scan", str(path), "--format", "sarif"]) == 1
    output = capsys.readouterr().out
    assert DISCORD not in output
    (run,) = json.loads(output)["runs"]
    assert [result["ruleId"] for result in run["results"]] == [
        "tencent-cloud-secretid",
        "discord-token",
    ]
    location = run["results"][1]["locations"][0]
    assert location["logicalLocations"] == [{"fullyQualifiedName": "cell 2, output 2"}]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == path.as_uri()


def test_what_cannot_be_unpacked_is_reported_and_the_scan_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 3 where nothing but that was found; damaged, too deep, and far too large."""
    deep = DISCORD.encode()
    for _ in range(9):
        deep = gzip.compress(deep)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * 1000)[:-20])
    (tmp_path / "b.gz").write_bytes(deep)
    (tmp_path / "c.gz").write_bytes(gzip.compress(bytes(260_000_000), compresslevel=1))
    (tmp_path / "d.json").write_text("[" * 100_000)
    assert main.main(["scan", str(tmp_path)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0].rpartition("/")[2] for line in lines] == [
        "a.gz",
        "b.gz",
        "c.gz",
    ]
    assert all("cannot be read" in line for line in lines)
    (tmp_path / "e.txt").write_text(DISCORD)
    assert main.main(["scan", str(tmp_path)]) == 1


def test_search_takes_linear_time() -> None:
    """Twice the text, at most thrice the time, also where careless expressions start anew."""
    patterns = compile_patterns()
    for unit in (
        "a_b_",
        "eyJ-",
        "q-sign-algorithm=",
        "cookie: a=b; ",
        "-----BEGIN A ",
        "http://a:b",
    ):
        times = [measure_search(unit * (size // len(unit)), patterns) for size in (10_000, 20_000)]
        assert times[1] < 3 * times[0] + 0.1, unit


def measure_search(text: str, patterns: Patterns) -> float:
    began = time.process_time()
    list(iter_secrets(text, patterns, {}))
    redact(text)
    return time.process_time() - began


@pytest.mark.parametrize(
    "line",
    [
        'headers={"mj-api-secret": server.settings["mj_secret"]}',
        'x-api-key: get_key("production")',
        'headers={"x-api-key": config.api_key}',
        "connect(mj_secret=read_secret())",
    ],
)
def test_code_that_reads_a_secret_is_not_one(tmp_path: Path, line: str) -> None:
    (tmp_path / "page.md").write_text(line, "utf-8")
    assert list(scan([tmp_path])) == []
