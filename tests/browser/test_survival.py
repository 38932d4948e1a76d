"""Panels live through what happens to notebooks: a service that goes away, a page that is reloaded,
a new kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.test_panels import BAR, IMAGINE, PICTURE, PROMPT

SERVER = """
import json, subprocess, sys, jupyter_mjci as mjci
command = [sys.executable, "-m", "jupyter_mjci.cli", "sandbox", "--speed", "60"]
command += ["--data", "kept", "--mj-secret", "kept-secret", "--port"]
def start(port):
    server = subprocess.Popen([*command, str(port)], stdout=subprocess.PIPE)
    return server, json.loads(server.stdout.readline())
server, told = start(0)
s = mjci.connect(mj_url=told["mj_url"], mj_secret=told["mj_secret"])
"""
STOP = "server.terminate(); server.wait()"
AGAIN = "from urllib.parse import urlsplit\nserver, told = start(urlsplit(told['mj_url']).port)"


def test_panel_survives_a_restart_of_the_server(notebook: Callable[..., Any]) -> None:
    """While it is gone a click says so, in two lines; once it is back the same click draws, with no
    cell run again.
    """
    page = notebook(SERVER, "panel = mjci.panel('mj', session=s)\npanel", STOP, AGAIN, STOP)
    page.run(0)
    page.run(1)
    page.fill(PROMPT, "a red fox")
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.run(2)
    page.fill(PROMPT, "a blue whale")
    page.click(IMAGINE)
    page.wait_for(".mjci-live [role=status]:has-text('No response yet.')")
    page.wait_for(".mjci-live [role=alert]:has-text('→')")
    page.run(3)
    page.click(IMAGINE)
    page.wait_js("selector => document.querySelectorAll(selector).length === 2", PICTURE)
    assert page.texts(".mjci-live .mjci-job-subject") == ["a blue whale", "a red fox"]
    assert page.count(".mjci-live > .widget-html [role=alert]") == 0
    page.run(4)


def test_new_kernel_resumes_unfinished_jobs(notebook: Callable[..., Any]) -> None:
    """A task is under way when the kernel is restarted; the new kernel's history panel knows it,
    and `resume` follows it to its end.
    """
    begin = SERVER.replace('"60"', '"12"').replace("server, told = start(0)", _KEEP)
    resume = "[job.status.value for job in s.resume()]"
    show = "panel = mjci.panel('mj', session=s)\npanel"
    page = notebook(begin, show, resume, "import os, signal; os.kill(told['pid'], signal.SIGTERM)")
    page.run(0)
    page.run(1)
    page.fill(PROMPT, "a red fox")
    page.click(IMAGINE)
    page.wait_for(BAR)
    page.restart()
    page.run(0)
    page.run(2)
    assert page.outputs(2) == "['SUCCEEDED']"
    page.run(3)


_KEEP = """
from pathlib import Path
note = Path("server.json")  # the server outlives the kernel, as a real one does
if not note.exists():
    server = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, start_new_session=True)
    note.write_text(json.dumps({**json.loads(server.stdout.readline()), "pid": server.pid}))
told = json.loads(note.read_text())
"""
