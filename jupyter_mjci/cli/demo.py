"""`jupyter mjci demo`: open the quickstart in JupyterLab, or execute it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jupyter_mjci.cli.exit_codes import Exit, echo, report_write_errors
from jupyter_mjci.errors import InvalidRequest, MjciError, missing_extra, requires_extra

QUICKSTART = "01-quickstart.ipynb"
DEMO_FOLDER = Path("mjci-demo")
CELL_TIMEOUT = 120  # seconds
# The templates of nbconvert drop the alternative text of
# pictures.
_BLOCK_TEMPLATE = """\
{{% block data_{block} scoped %}}\
{{% set alt = output | get_metadata('alt', 'image/{kind}') or output.data['text/plain'] %}}\
{{{{ super() | replace('<img ', '<img alt="' ~ (alt | escape_html) ~ '" ', 1) }}}}\
{{% endblock %}}"""
PAGE_TEMPLATE = (
    "{% extends 'lab/index.html.j2' %}"
    + _BLOCK_TEMPLATE.format(block="png", kind="png")
    + _BLOCK_TEMPLATE.format(block="jpg", kind="jpeg")
)
# Without the warning that the connection is not encrypted: the
# kernel runs on this machine.
KERNEL_ARGS = ["--IPKernelApp.log_level=ERROR"]


class Stopwatch:
    """Measures how long a reader waits for the first picture of a notebook."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.first_picture: float | None = None

    def note_cell(self, cell: dict[str, Any], **_: object) -> None:
        """Note whether the outputs of an executed cell have a picture."""
        kinds = [kind for output in cell["outputs"] for kind in output.get("data", ())]
        if self.first_picture is None and any(kind.startswith("image/") for kind in kinds):
            self.first_picture = time.monotonic() - self.started_at

    def __str__(self) -> str:
        end = time.monotonic() - self.started_at
        if self.first_picture is None:
            return f"No picture in {end:.1f} s"
        return f"First picture after {self.first_picture:.1f} s, page after {end:.1f} s"


def run_demo(page: Path | None, *, timing: bool = False) -> int:
    """Open a copy of the quickstart notebook in JupyterLab, or execute the notebook.

    The copy is made in the current folder; an existing one is
    opened as it is.

    Args:
        page: the HTML page to execute it into, instead of opening
            it
        timing: print when the first picture was there; for a page

    Returns:
        The exit status.

    Raises:
        InvalidRequest: Timing is asked for without a page.
        MjciError: JupyterLab or the notebook is not installed, or
            a file cannot be written.
    """
    source = find_notebooks() / QUICKSTART
    if page:
        return execute_notebook(source, page, timing=timing)
    if timing:
        raise InvalidRequest(
            "--timing needs a page to execute into.", hint="Add --execute OUT.html."
        )
    if find_spec("jupyterlab") is None:
        raise missing_extra("jupyterlab", "lab")
    notebook = DEMO_FOLDER / QUICKSTART
    with report_write_errors(DEMO_FOLDER):
        DEMO_FOLDER.mkdir(exist_ok=True)
        if not notebook.exists():
            shutil.copyfile(source, notebook)
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(notebook)])


def find_notebooks() -> Path:
    """Return the folder of the demo notebooks: in the installed package, or in a checkout.

    Raises:
        MjciError: They are not there.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder
    raise MjciError(
        "The demo notebooks are not installed.",
        hint="Reinstall jupyter_mjci, or run from a checkout.",
    )


def execute_notebook(notebook: Path, page: Path, *, timing: bool = False) -> Exit:
    """Execute a notebook headlessly and write it as an HTML page, also if a cell fails.

    Args:
        notebook: is not changed
        page: the HTML page
        timing: print the seconds from this call to the first
            picture, and to the end

    Raises:
        SettingsError: nbconvert is not installed.
        InvalidRequest: The page cannot be written.
    """
    stopwatch = Stopwatch()
    with requires_extra("nbconvert", "lab"):
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
        from nbconvert import HTMLExporter
    document = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        document,
        timeout=CELL_TIMEOUT,
        extra_arguments=KERNEL_ARGS,
        resources={"metadata": {"path": str(notebook.parent)}},
        on_cell_executed=stopwatch.note_cell,
    )
    failure = ""
    try:
        client.execute()
    except CellExecutionError as error:
        failure = f"{error.ename}: {error.evalue}"
    exporter = HTMLExporter(raw_template=PAGE_TEMPLATE)  # type: ignore[no-untyped-call]
    html, _ = exporter.from_notebook_node(document)
    with report_write_errors(page):
        page.write_text(html, "utf-8")
    if timing:
        echo(str(stopwatch))
    if failure:
        echo(f"{failure}: {page}", file=sys.stderr)
        return Exit.FAILED
    echo(f"All cells succeeded: {page}")
    return Exit.SUCCESS
