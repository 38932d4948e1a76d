"""A real JupyterLab and a real Chromium, shared by the tests of a session.

The server listens on loopback with its own configuration, data and home directories; each
pytest-xdist worker has its own. Playwright's blocking API keeps an event loop running in the thread
that uses it, which would break everything else that runs a loop there (nbclient, anyio's tests), so
one thread owns the browser and the tests talk to it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import nbformat
import pytest

T = TypeVar("T")
PATIENCE = 30_000  # milliseconds: a busy machine is slow, a hung page is for ever
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on this machine: apt-get install chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SETTINGS = {
    "apputils-extension/notification": {
        "checkForUpdates": False,
        "fetchNews": "false",
        "doNotDisturbMode": True,
    },
    "apputils-extension/themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
    # Every cell is in the page, also those out of sight.
    "notebook-extension/tracker": {"windowingMode": "none"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path. Without one the tests are skipped, or fail where MJCI_NO_SKIP=1 says that
    it belongs here.
    """
    found = chromium_here()
    if found is None:
        (pytest.fail if os.environ.get("MJCI_NO_SKIP") == "1" else pytest.skip)(MISSING)
    return found


def chromium_here() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


# --- the server -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab. `root` is the folder it shows."""

    url: str
    root: Path

    def write(self, name: str, sources: tuple[str, ...]) -> str:
        """A notebook with these code cells; its path below the root."""
        notebook = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_code_cell(source, id=f"cell-{n}")
                for n, source in enumerate(sources)
            ],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        nbformat.write(notebook, self.root / f"{name}.ipynb")
        return f"{name}.ipynb"

    def ask(self, path: str, method: str = "GET") -> Any:
        """One request to the server's own API."""
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def end_kernels(self) -> None:
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab, started once; every cell it runs has an empty home and no account."""
    place = tmp_path_factory.mktemp("lab")
    root = place / "notebooks"
    root.mkdir()
    with (place / "server.log").open("wb") as log:
        server, url = _serve(place, root, log, lab_command(root))
        try:
            yield Lab(url, root)
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def serving(
    place: Path, command: Sequence[str], probe: str = "/api", python: Path | None = None
) -> Iterator[str]:
    """A server of its own: `python …command --port=…` in a folder, with an empty home there; gives
    its address. `python` is that of another environment, which has its own settings and
    packages.
    """
    with (place / "server.log").open("wb") as log:
        server, url = _serve(place, place, log, command, probe, python)
        try:
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _serve(
    place: Path,
    root: Path,
    log: Any,
    command: Sequence[str],
    probe: str = "/api",
    python: Path | None = None,
) -> tuple[subprocess.Popen[bytes], str]:
    """The server's process and address. A port can be taken between choosing and using it, so there
    is another try.
    """
    environ = _environment(place, python)
    for _ in range(3):
        with socket.socket() as probing:
            probing.bind(("127.0.0.1", 0))
            port = probing.getsockname()[1]
        whole = [str(python or sys.executable), *command, f"--port={port}"]
        server = subprocess.Popen(
            whole, env=environ, stdout=log, stderr=subprocess.STDOUT, cwd=root
        )
        if _answers(server, url := f"http://127.0.0.1:{port}", probe):
            return server, url
    pytest.fail(f"The server did not start:\n{(place / 'server.log').read_text()[-2000:]}")


def lab_command(root: Path) -> list[str]:
    """JupyterLab on a folder, as `serving` wants it."""
    # No token and no XSRF check: this server answers on loopback, to its test only, for a minute.
    return [
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        "--ServerApp.port_retries=0",
        "--allow-root",
        f"--ServerApp.root_dir={root}",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--ServerApp.disable_check_xsrf=True",
        "--ServerApp.terminals_enabled=False",
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]


def _environment(place: Path, python: Path | None) -> dict[str, str]:
    """The surroundings of the server and its kernels: nothing of the person who runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "IPYTHON", "MJCI_", "TENCENTCLOUD", "PYTEST", "COV_"))
    }
    own = {
        "HOME": "home",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "MJCI_HOME": "mjci",
        "XDG_CONFIG_HOME": "xdg",
    }
    for name, folder in own.items():
        (place / folder).mkdir(exist_ok=True)
        kept[name] = str(place / folder)
    if python is None:
        _write_settings(place)
    path = f"{(python or Path(sys.executable)).parent}{os.pathsep}{kept.get('PATH', '')}"
    package = str(Path(__file__).parents[2]) if python is None else ""
    return {**kept, "PATH": path, "PYTHONPATH": package, "NO_PROXY": "*"}


def _write_settings(place: Path) -> None:
    page = place / "config" / "labconfig" / "page_config.json"
    page.parent.mkdir(exist_ok=True)
    page.write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    for name, value in SETTINGS.items():
        file = place / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))


def _answers(server: subprocess.Popen[bytes], url: str, probe: str) -> bool:
    while True:
        try:
            urllib.request.urlopen(f"{url}{probe}", timeout=5).close()
        except urllib.error.HTTPError as answer:  # no such page, says a server that is there
            answer.close()
            return True
        except OSError:
            pass
        else:
            return True
        with suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
            return False


# --- the browser ----------------------------------------------------------------------------------


class Chromium:
    """A browser and the one thread that may touch it. `context` is what its pages are like, as
    Playwright says it.
    """

    def __init__(self, path: str, **context: Any) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browser")
        self.do(lambda: self._start(path, {"viewport": {"width": 1280, "height": 1000}, **context}))

    def do(self, work: Callable[[], T]) -> T:
        """Carries out the work in the browser's thread."""
        return self._thread.submit(work).result()

    def _start(self, path: str, context: dict[str, Any]) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        self.context = self._browser.new_context(**context)
        self.context.set_default_timeout(PATIENCE)

    def close(self) -> None:
        self.do(self._browser.close)
        self.do(self._playwright.stop)
        self._thread.shutdown()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Chromium]:
    shown = Chromium(chromium)
    yield shown
    shown.close()


# What JupyterLab's own pages complain of: with no cell run at all, when a kernel is restarted, and
# where the machine is busy.
_ITS_OWN = re.compile(
    "Disabling terminals plugin|Connection lost, reconnecting|Plugin @.* to activate"
).search
# JupyterLab may open first what its workspace had open the last time.
_OPENED = """path => {
  const panel = jupyterapp.shell.currentWidget;
  return !!panel && !!panel.context && panel.context.path === path
    && panel.content.widgets.length > 0;
}"""
_IDLE = """() => {
  const panel = jupyterapp.shell.currentWidget;
  const session = panel && panel.sessionContext && panel.sessionContext.session;
  return !!session && !!session.kernel && session.kernel.status === 'idle';
}"""
_RESTART = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
_DONE = """n => {
  const cell = jupyterapp.shell.currentWidget.content.widgets[n].model;
  return cell.executionCount !== null && cell.executionState !== 'running';
}"""
_APPEARANCE = """selector => {
  const met = [];
  const look = () => {
    const button = document.querySelector(selector);
    if (button && button.checkVisibility()) {
      if (!met.length) button.scrollIntoView({block: 'center'});
      const place = button.getBoundingClientRect();
      met.push(document.elementFromPoint(place.x + 9, place.y + 9) === button);
      const box = button.parentNode.parentNode.getBoundingClientRect();
      if (met.at(-1)) window.appeared = [met[0], place.top - box.top];
    }
    if (!window.appeared) requestAnimationFrame(look);
  };
  look();
}"""
# With a cell at once: the focus that a widget takes meanwhile would make another one active.
_COMMAND = """([name, given, cell]) => {
  if (cell !== null) jupyterapp.shell.currentWidget.content.activeCellIndex = cell;
  window.commanded = 'begun';
  jupyterapp.commands.execute(name, given).finally(() => { window.commanded = 'ended'; });
}"""
_PICTURES = """selector => {
  const found = [...document.querySelectorAll(selector)];
  return found.length > 0 && found.every(img => img.complete && img.naturalWidth > 0);
}"""


# JupyterLab's server serves Notebook 7 as well.
FRONTS = {
    "lab": "/lab/workspaces/auto-{name}/tree/{path}",
    "binder": "/lab/tree/{path}",
    "notebook 7": "/notebooks/{path}",
}


@dataclass
class Page:
    """A notebook open in the browser. Cells are counted from 0."""

    shown: Chromium
    lab: Lab
    path: str
    front: str = "lab"
    page: Any = None
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self) -> Page:
        self.shown.do(self._open)
        return self

    def _open(self) -> None:
        self.page = self.shown.context.new_page()
        self.page.on("request", self._note_request)
        self.page.on("console", lambda said: self.console.append(f"{said.type}: {said.text}"))
        name = self.path.partition(".")[0].replace("/", "-")
        self.page.goto(f"{self.lab.url}{FRONTS[self.front].format(name=name, path=self.path)}")
        self.page.wait_for_function("() => window.jupyterapp")
        self.page.wait_for_function(_OPENED, arg=self.path)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self.page.wait_for_function(_IDLE)

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith((self.lab.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def close(self) -> None:
        self.shown.do(self.page.close)

    def reload(self) -> None:
        """As a person reloads the page: what was not saved is gone, the kernel lives on."""
        self.shown.do(self.page.close)
        self.open()

    # What a person does.

    def restart(self) -> None:
        """Restarts the kernel, and waits until the new one is idle."""
        self.shown.do(lambda: self.page.evaluate(_RESTART))
        self.wait_js(_IDLE)

    def command(self, name: str, cell: int | None = None, **given: Any) -> None:
        """A JupyterLab command, on a cell if one is given; begun but not waited for."""
        self.js(_COMMAND, [name, given, cell])

    def run_all(self, wait: bool = True) -> None:
        self.command("notebook:run-all-cells")
        if wait:
            self.wait_commands()

    def wait_commands(self) -> None:
        """Until the last command has ended, well or not: a run of many cells ends at the first
        error.
        """
        self.wait_js("() => window.commanded === 'ended'")
        self.wait_js(_IDLE)

    def run(self, cell: int, wait: bool = True) -> None:
        self.command("notebook:run-cell", cell)
        if wait:
            self.wait_cell(cell)

    def click(self, selector: str) -> None:
        self.shown.do(self.page.locator(selector).first.click)

    def double_click(self, selector: str) -> None:
        self.shown.do(self.page.locator(selector).first.dblclick)

    def fill(self, selector: str, text: str) -> None:
        self.shown.do(lambda: self.page.locator(selector).first.fill(text))

    def press(self, key: str) -> None:
        self.shown.do(lambda: self.page.keyboard.press(key))

    def save(self) -> nbformat.NotebookNode:
        """Saves, and gives the file's content."""
        self.shown.do(
            lambda: self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        )
        return nbformat.read(self.lab.root / self.path, as_version=4)

    def theme(self, name: str) -> None:
        self.shown.do(
            lambda: self.page.evaluate(
                "name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
                f"JupyterLab {name}",
            )
        )
        light = "true" if name == "Light" else "false"
        self.wait_js(f"""() => document.body.dataset.jpThemeLight === '{light}'
          && !document.getElementById('jupyterlab-splash')""")

    # What a person sees.

    def js(self, code: str, given: Any = None) -> Any:
        return self.shown.do(lambda: self.page.evaluate(code, given))

    def wait_js(self, code: str, given: Any = None) -> Any:
        return self.shown.do(lambda: self.page.wait_for_function(code, arg=given).json_value())

    def wait_for(self, selector: str, **given: Any) -> None:
        self.shown.do(lambda: self.page.locator(selector).first.wait_for(**given))

    def wait_cell(self, cell: int) -> None:
        self.wait_js(_DONE, cell)
        self.wait_js(_IDLE)

    def wait_pictures(self, selector: str) -> None:
        """Until every picture there is has come."""
        self.wait_js(_PICTURES, selector)

    def text(self, selector: str) -> str:
        return self.shown.do(self.page.locator(selector).first.inner_text)

    def texts(self, selector: str) -> list[str]:
        return self.shown.do(self.page.locator(selector).all_inner_texts)

    def count(self, selector: str) -> int:
        return self.shown.do(self.page.locator(selector).count)

    def prompts(self) -> list[str]:
        """The `[ ]:` of each cell: `[*]:` while it is queued or runs."""
        return [text.strip() for text in self.texts(".jp-Cell .jp-InputArea-prompt")]

    def outputs(self, cell: int) -> str:
        """What a cell shows below its source, without the prompts."""
        return "\n".join(
            text.strip() for text in self.texts(f".jp-Cell >> nth={cell} >> .jp-OutputArea-output")
        )

    def watch_text(self, selector: str, name: str = "seen") -> None:
        """From now on keeps every text that the selector ever shows, in the page: `seen(name)`
        reads them.
        """
        self.js(_WATCH, [selector, name])

    def seen(self, name: str = "seen") -> list[str]:
        return list(self.js("name => window[name]", name))

    def watch_appearance(self, selector: str) -> None:
        """From now on looks whether a click would meet a button: `appeared()` tells."""
        self.js(_APPEARANCE, selector)

    def appeared(self) -> tuple[bool, float]:
        """Whether a click would have met the button as soon as it was there, and how far it was
        below the top of its row's box when a click did meet it.
        """
        self.wait_js("() => !!window.appeared")
        was_met, top = self.js("() => window.appeared")
        return was_met, top

    def fetch(self, source: str) -> bytes:
        """The bytes behind a picture's data URL."""
        return urllib.request.urlopen(source).read()

    def download(self, selector: str) -> bytes:
        """The file that a click gives to the browser's downloads."""

        def work() -> bytes:
            with self.page.expect_download() as told:
                self.page.locator(selector).first.click()
            return Path(told.value.path()).read_bytes()

        return self.shown.do(work)

    def complaints(self) -> list[str]:
        """What the console said above "info", but for what the front end says of itself; Notebook
        7, which says much of its menus, is listened to where it speaks of us.
        """
        told = [
            line
            for line in self.console
            if line.startswith(("error", "warning")) and not _ITS_OWN(line)
        ]
        return [line for line in told if "mjci" in line] if self.front == "notebook 7" else told

    def scroll_to(self, selector: str) -> None:
        self.shown.do(self.page.locator(selector).first.scroll_into_view_if_needed)

    def screenshot(self, selector: str | None = None) -> bytes:
        if selector is None:
            return bytes(self.shown.do(self.page.screenshot))
        return bytes(self.shown.do(self.page.locator(selector).first.screenshot))


_WATCH = """([selector, name]) => {
  const kept = window[name] = [];
  const look = () => {
    for (const one of document.querySelectorAll(selector)) {
      const text = one.getAttribute('aria-valuenow') || one.textContent.trim();
      if (text && kept[kept.length - 1] !== text) kept.push(text);
    }
  };
  new MutationObserver(look).observe(document.body,
    {subtree: true, childList: true, characterData: true, attributes: true});
  look();
}"""


@pytest.fixture
def notebook(
    request: pytest.FixtureRequest, lab: Lab, browser: Chromium, shots: Path
) -> Iterator[Callable[..., Page]]:
    """`notebook(source, …)`: opens a notebook with these cells, its kernel started and idle.
    Afterwards nothing may have left the machine, and the console may hold no complaint. A test that
    fails prints what its pages showed, and leaves a screenshot. A parameter chooses the front end,
    of FRONTS.
    """
    opened: list[Page] = []
    front = getattr(request, "param", "lab")

    def open_one(*sources: str) -> Page:
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        path = lab.write(f"{name}-{len(opened)}", sources)
        opened.append(Page(browser, lab, path, front).open())
        return opened[-1]

    yield open_one
    for page in opened:
        if request.node.stash.get(FAILED, False):
            print(page.path, *page.console, *page.texts(".jp-OutputArea-output"), sep="\n")
            (shots / f"failed-{page.path}.png").write_bytes(page.screenshot())
        page.close()
    lab.end_kernels()
    assert [url for page in opened for url in page.foreign] == []
    assert [line for page in opened for line in page.complaints()] == []


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: MJCI_SHOTS, or a temporary folder."""
    place = Path(os.environ.get("MJCI_SHOTS") or tmp_path_factory.mktemp("shots"))
    place.mkdir(parents=True, exist_ok=True)
    return place
