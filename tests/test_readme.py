"""The READMEs cannot lie: every command, cell and name of the English one is tried, and the Chinese
one keeps step.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jupyter_mjci.client.settings import list_settings
from jupyter_mjci.notebook import commands as magic_commands
from jupyter_mjci.notebook import magics
from jupyter_mjci.services import get_section_types
from tests.execute_notebooks import copy_notebook
from tests.installing import NEEDS_INDEX, build_clean_environ, clone
from tests.notebook.conftest import Shell, with_magics

ROOT = Path(__file__).parent.parent
TEXT, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
BOTH = pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["English", "Chinese"])
SHOTS = sorted((ROOT / "notebooks" / "screenshots").iterdir())
BIN = Path(sys.executable).parent


def find_code_blocks(text: str) -> list[tuple[str, str]]:
    """Every fenced block: its language and its lines."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def remove_code_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def find_commands(text: str = TEXT) -> list[str]:
    """Every command that a shell is to run: indented lines, and code spans that begin like one."""
    lines = [line.strip() for line in re.findall(r"^ {4}(\S.*)$", remove_code_blocks(text), re.M)]
    spans = re.findall(r"`((?:jupyter mjci|pytest|python|pip)\b[^`]*)`", remove_code_blocks(text))
    return [remove_comment(item) for item in [*lines, *spans]]


def remove_comment(line: str) -> str:
    return re.sub(r"\s+#.*", "", line)


def find_first_columns(text: str) -> list[list[str]]:
    """The rows of every table, heads left out: the code that is in the first column."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", remove_code_blocks(text), re.M)
    return [
        re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", row)[1])
        for table in tables
        for row in table.splitlines()
    ]


def find_links(text: str) -> list[str]:
    """Where every link and picture in here leads, but for the way to the other language."""
    return [
        item
        for item in re.findall(r'(?:\]\(|src(?:set)?=")([^)"]+)', text)
        if not item.startswith(("README", "https:"))
    ]


def build_environ() -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def run_command(
    command: str, folder: Path, timeout: float = 120, **environ: str
) -> subprocess.CompletedProcess[str]:
    """The command as it stands, by a shell, with this environment's programs."""
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**build_environ(), **environ},
    )


def check_ci_runs(command: str, _: Path) -> None:
    """.ci/run runs this line whole, in a fresh clone. Here: it is found there."""
    pattern = re.search(r"sed -n \"(.*)\" README\.md", (ROOT / ".ci/run").read_text("utf-8"))
    assert pattern is not None
    found = subprocess.run(
        ["sed", "-n", pattern[1], "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == command


def check_demo_opens(command: str, folder: Path) -> None:
    """The whole line in a fresh clone, by somebody who has nothing of ours: JupyterLab comes up
    with the notebook, and is taken down again.
    """
    here, config, runtime = clone(folder / "clone"), folder / "config", folder / "runtime"
    config.mkdir()
    (config / "jupyter_server_config.json").write_text(
        json.dumps({"ServerApp": {"allow_root": True}})
    )
    places = {
        "JUPYTER_CONFIG_DIR": config,
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_SETTINGS_DIR": folder / "lab",
    }
    environ = {
        **build_clean_environ(),
        **{name: str(place) for name, place in places.items()},
        "BROWSER": "true",
    }
    with (folder / "said").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=here,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        server = wait_for_server(runtime, process, folder / "said")
        assert Path(server["root_dir"]) == here / "mjci-demo"
        url = f"{server['url']}api/contents/01-quickstart.ipynb?content=0&token={server['token']}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert json.load(answer)["type"] == "notebook"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for_server(runtime: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """What the server tells of itself, once everything is installed and it is up."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        for found in runtime.glob("jpserver-*.json"):
            try:
                server: dict[str, Any] = json.loads(found.read_text("utf-8"))
                urllib.request.urlopen(
                    f"{server['url']}api?token={server['token']}", timeout=5
                ).close()
            except (OSError, ValueError):
                continue
            return server
        time.sleep(0.2)
    pytest.fail(f"No server came up. {NEEDS_INDEX}.\n{log.read_text()[-3000:]}")


def check_demo_executes(command: str, folder: Path) -> None:
    """Pictures, cards and the plot are in the page, and the exit status is 0."""
    done = run_command(command, folder)
    assert (done.returncode, done.stderr) == (0, "")
    page = (folder / "out.html").read_text("utf-8")
    assert page.count("data:image/") >= 6
    assert 'alt="IMAGINE: a red fox in the snow at dusk --ar 3:2"' in page
    assert "No description has been provided" not in page


def check_sandbox(command: str, folder: Path) -> None:
    """Prints its one line, and ends when it is told to."""
    process = subprocess.Popen(
        shlex.split(command), cwd=folder, env=build_environ(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
    assert found["mj_url"].startswith("http://127.0.0.1:")


def check_doctor(command: str, folder: Path) -> None:
    """Without any account it examines the sandbox, where nothing is wrong."""
    done = run_command(command, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Midjourney secret +ok: ", done.stdout, re.M)
    assert re.search(r"^Tencent CI signature +ok: ", done.stdout, re.M)


def check_scan(command: str, folder: Path) -> None:
    """Silent where nothing is; where something is, its place."""
    copy_notebook("06-record-and-replay", folder)
    done = run_command(command, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (folder / "key.txt").write_text("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE")
    done = run_command(command, folder)
    assert (done.returncode, done.stdout) == (1, "key.txt: Tencent Cloud SecretId\n")


def check_comparison(command: str, folder: Path) -> None:
    copy_notebook("06-record-and-replay", folder)
    done = run_command(f"{command} -p no:cacheprovider", folder)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def check_watch(command: str, folder: Path) -> None:
    """Without any account nothing can be unfinished: it says so, and ends."""
    done = run_command(command, folder)
    assert (done.returncode, done.stdout[:21]) == (0, "The journal has no un")


def check_gallery(command: str, folder: Path) -> None:
    shutil.copy(ROOT / "notebooks" / "06-record-and-replay.ipynb", folder / "foxes.ipynb")
    done = run_command(command, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4 pictures: foxes.html\n", "")
    assert (folder / "foxes.html").read_text("utf-8").count("<figure>") == 4


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "python3 -m venv .venv && .venv/bin/pip install -e '.[lab]' && .venv/bin/jupyter mjci demo": check_demo_opens,  # noqa: E501
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest": check_ci_runs,  # noqa: E501
    "jupyter mjci demo --execute out.html": check_demo_executes,
    "jupyter mjci sandbox": check_sandbox,
    "jupyter mjci doctor": check_doctor,
    "jupyter mjci scan .": check_scan,
    "pytest --mjci-notebooks": check_comparison,
    "jupyter mjci gallery foxes.ipynb --out foxes.html": check_gallery,
    "jupyter mjci watch": check_watch,
}


def mark_install(command: str) -> Any:
    marks = [pytest.mark.install] if CHECKS.get(command) is check_demo_opens else []
    return pytest.param(command, marks=marks)


@pytest.mark.kernel
@pytest.mark.parametrize(
    "command", [mark_install(command) for command in sorted(set(find_commands()))]
)
def test_commands_work(command: str, tmp_path: Path) -> None:
    """As they stand in the README. A new one needs a row above."""
    CHECKS[command](command, tmp_path)


def test_nothing_is_tried_that_is_not_there() -> None:
    assert set(CHECKS) == set(find_commands())


def split_cells(text: str) -> list[str]:
    """A block of the README as cells: a cell magic takes the block, of line magics each is one."""
    return [text] if text.startswith("%%") else text.strip().splitlines()


def test_cells_work(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another in one shell, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    blocks = [text for language, text in find_code_blocks(TEXT) if not language]
    assert len(blocks) >= 3
    for cell in (cell for block in blocks for cell in split_cells(block)):
        shell.run(cell)
    assert (tmp_path / "foxes.mjci").is_dir()


def test_python_works() -> None:
    """The block with all its lines; what it leaves is what it says."""
    (text,) = (text for language, text in find_code_blocks(TEXT) if language == "python")
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)
    assert names["words"].action == "DESCRIBE"
    assert names["large"].parent == names["job"].id
    assert names["png"][:4] == b"\x89PNG"
    assert [job.status for job in names["done"]] == ["SUCCEEDED"] * 2
    assert [job.status for job in names["study"]] == ["SUCCEEDED"] * 4
    assert len(names["df"]) == 9
    names["s"].close()


@pytest.fixture
def shell(empty_shell: Shell) -> Shell:
    empty_shell.run("%mjci sandbox --speed inf")
    return empty_shell


@pytest.fixture
def empty_shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    return with_magics(monkeypatch)


@BOTH
def test_names_exist(text: str, empty_shell: Shell) -> None:
    """Magics and settings that the README tells of; and every setting is told of, or can be looked
    up.
    """
    known = {item.name for item in magics.Magics(empty_shell.ip).iter_magics()} | {"load_ext"}
    found = set(re.findall(r"(?<![\w%])%{1,2}([a-z]\w+)", re.sub(r"`%config[^`]*`", "", text)))
    assert found - known == set()
    settings = list_settings(get_section_types())
    variables = {variable for setting in settings for variable in setting.env}
    assert set(re.findall(r"\bMJCI_[A-Z_]+", text)) - variables <= {"MJCI_PROFILE", "MJCI_HEADLESS"}


def test_flags_of_the_table_exist(empty_shell: Shell) -> None:
    """What a row writes after a magic's name, its magic knows."""
    helps = {item.name: item.help for item in magics.Magics(empty_shell.ip).iter_magics()}
    for span in (span for row in find_first_columns(TEXT) for span in row if span.startswith("%")):
        name, *words = span.lstrip("%").split()
        if name == "mjci" and words:
            assert words[0] in magic_commands.list_commands()
        else:
            assert [
                flag for flag in re.findall(r"--[a-z-]+", span) if flag not in helps[name]
            ] == []


@BOTH
def test_it_is_short(text: str) -> None:
    assert len(text.splitlines()) < 140


@pytest.mark.parametrize(
    "extract",
    [
        lambda text: re.findall(r"^#+", remove_code_blocks(text), re.M),
        lambda text: [
            (kind, [*map(remove_comment, lines.splitlines())])
            for kind, lines in find_code_blocks(text)
        ],
        find_commands,
        find_first_columns,
        find_links,
    ],
    ids=["headings", "fences", "commands", "rows", "links"],
)
def test_both_say_the_same(extract: Callable[[str], list[Any]]) -> None:
    """The Chinese README has the English one's headings, code (comments are translated), commands,
    tables and links.
    """
    assert extract(CHINESE) == extract(TEXT) != []


def test_links_lead_somewhere() -> None:
    """Each README leads to the other; whatever else is linked to is there, every picture among
    it.
    """
    assert ("(README.zh-CN.md)" in TEXT, "(README.md)" in CHINESE) == (True, True)
    assert [item for item in find_links(TEXT) if not (ROOT / item).exists()] == []
    assert {f"notebooks/screenshots/{shot.name}" for shot in SHOTS} <= set(find_links(TEXT))


def test_pictures_are_small_and_of_one_size() -> None:
    """They stand in rows, and every clone has them. `python -m tests.screenshots` takes them
    again.
    """
    contents = [shot.read_bytes() for shot in SHOTS]
    assert max(map(len, contents)) < 80_000
    assert len({Image.open(io.BytesIO(content)).size for content in contents}) == 1
