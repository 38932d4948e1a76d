"""`jupyter mjci demo`: the quickstart notebook, in JupyterLab or executed into a page."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from jupyter_mjci.cli.exit_codes import Exit, echo, report_write_errors
from jupyter_mjci.errors import MjciError, missing_extra, requires_extra

QUICKSTART = "01-quickstart.ipynb"
# nbconvert's own page leaves out what outputs tell of their pictures to those who do not see them.
PAGE_TEMPLATE = "{% extends 'lab/index.html.j2' %}" + "".join(
    f"{{% block data_{block} scoped %}}"
    f"{{% set alt = output | get_metadata('alt', 'image/{kind}') or output.data['text/plain'] %}}"
    """{{ super() | replace('<img ', '<img alt="' ~ (alt | escape_html) ~ '" ', 1) }}{% endblock %}"""
    for block, kind in (("png", "png"), ("jpg", "jpeg"))
)
KERNEL_ARGS = [
    "--IPKernelApp.log_level=ERROR"
]  # no word about transport encryption: the kernel is on this machine


def run_demo(page: Path | None) -> int:
    """Opens a copy in the current folder, so that the original stays as it is; a second demo goes
    on with the first one's. With a page, executes it instead. Gives the exit status. Raises
    MjciError where that cannot be.
    """
    source = find_notebooks() / QUICKSTART
    if page:
        return execute_notebook(source, page)
    if find_spec("jupyterlab") is None:
        raise missing_extra("jupyterlab", "lab")
    folder = Path("mjci-demo")
    notebook = folder / QUICKSTART
    with report_write_errors(folder):
        folder.mkdir(exist_ok=True)
        if not notebook.exists():
            shutil.copyfile(source, notebook)
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(notebook)])


def find_notebooks() -> Path:
    """The demo notebooks: inside an installed package, beside it in a checkout. Raises
    MjciError.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder
    raise MjciError(
        "The demo notebooks are not installed.",
        hint="Reinstall jupyter_mjci, or run from a checkout.",
    )


def execute_notebook(notebook: Path, page: Path) -> Exit:
    """Runs a notebook headlessly and writes it as an HTML page, also where a cell fails.

    Raises SettingsError where nbconvert is not installed, CallError where the page cannot be
    written.
    """
    with requires_extra("nbconvert", "lab"):
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
        from nbconvert import HTMLExporter
    document = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(notebook.parent)}}
    client = NotebookClient(document, timeout=120, extra_arguments=KERNEL_ARGS, resources=resources)
    failure = ""
    try:
        client.execute()
    except CellExecutionError as error:
        failure = f"{error.ename}: {error.evalue}"
    html, _ = HTMLExporter(raw_template=PAGE_TEMPLATE).from_notebook_node(document)  # type: ignore[no-untyped-call]
    with report_write_errors(page):
        page.write_text(html, "utf-8")
    echo(f"{failure or 'Every cell succeeded'}: {page}", file=sys.stderr if failure else sys.stdout)
    return Exit.FAILED if failure else Exit.SUCCESS
