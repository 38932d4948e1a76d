"""`pytest --mjci-notebooks`, on notebooks that save the same for everybody and on some that do
not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jupyter_mjci import pytest_plugin
from jupyter_mjci.pytest_plugin import SavedOutputs

pytest_plugins = ["pytester"]


def write(folder: Path, *sources: str, name: str = "a.ipynb", tags: tuple[str, ...] = ()) -> Path:
    cells = [nbformat.v4.new_markdown_cell("# A notebook")]  # type: ignore[no-untyped-call]
    for source in sources:
        cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}))  # type: ignore[no-untyped-call]
    path = folder / name
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)  # type: ignore[no-untyped-call]
    return path


LIVE = "live = get_ipython().get_parent()['content']['allow_stdin']\n"

# What a notebook does that it should not, and what is told of it.
UNLIKE: tuple[tuple[str, list[str]], ...] = (
    (
        LIVE + "print('seen by a person' if live else 'by nobody')",
        ["cell 2: live = ", "output 1, stream:", "-by nobody", "+seen by a person"],
    ),
    (
        LIVE + "if live:\n    print('progress')\n1",
        [
            "live, it saves stream stdout, execute_result text/plain",
            "headless, execute_result text/plain",
        ],
    ),
    (
        LIVE
        + "import IPython\nIPython.display.display({'text/html' if live else 'text/latex': 'x', 'text/plain': ''},"
        " raw=True)",
        [
            "output 1 is display_data text/html+text/plain live, display_data text/latex+text/plain headless"
        ],
    ),
    (
        LIVE + "import sys\nprint(1, file=sys.stderr if live else sys.stdout)",
        ["is stream stderr live, stream stdout"],
    ),
    (
        LIVE + "import io\nfrom PIL import Image\nfrom IPython.display import display\n"
        "out = io.BytesIO()\nImage.new('L', (2, 3 if live else 2)).save(out, 'PNG')\n"
        "import base64\ndisplay({'image/png': base64.b64encode(out.getvalue()).decode(), 'text/plain': ''}, raw=True)",
        ["output 1, image/png:", "two pictures"],
    ),
    (
        "from IPython.display import display\ndisplay({'image/png': 'AAAA', 'text/plain': ''}, raw=True)",
        ["output 1, image/png: this is no picture"],
    ),
    ("1 / 0", ["it raises ZeroDivisionError", "division by zero"]),
)

ALIKE = (
    LIVE
    + "from IPython.display import display\nhandle = display('one', display_id=True) if live else None\n"
    "handle.update('two') if live else display('two');",
    "from IPython.display import clear_output\nfor number in range(3):\n    clear_output(wait=True)\n    print(number)",
    "import ipywidgets\nipywidgets.IntSlider()",
    "object()",
    "input('Who is there? ') if 0 else None",
    "%load_ext jupyter_mjci\n%mjci sandbox --speed 500",
    "%mj_imagine a red fox",
)


@pytest.mark.kernel
def test_notebooks_that_differ_fail_and_say_where(pytester: pytest.Pytester) -> None:
    """Each in one message: the cell, the output, what is different; also where one run ends
    early.
    """
    for number, (source, _) in enumerate(UNLIKE):
        write(pytester.path, source, name=f"n{number}.ipynb")
    write(pytester.path, LIVE + "if live: 1 / 0", "1", name="short.ipynb")
    done = pytester.runpytest("--mjci-notebooks", "-p", "no:cacheprovider")
    done.assert_outcomes(failed=len(UNLIKE) + 1)
    text = done.stdout.str()
    for _, said in UNLIKE:
        for words in said:
            assert words in text
    assert "live, 1 cells were run; headless, 2" in text
    assert "INTERNALERROR" not in text


@pytest.mark.kernel
def test_a_notebook_that_is_the_same_passes(pytester: pytest.Pytester) -> None:
    """Displays that are updated, cleared outputs, widgets, addresses, and our own magics."""
    write(pytester.path, *ALIKE)
    write(pytester.path, "1 / 0", name="raises.ipynb", tags=(pytest_plugin.RAISES_TAG,))
    pytester.runpytest("--mjci-notebooks", "-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_without_the_flag_nothing_happens(pytester: pytest.Pytester) -> None:
    """No notebook is collected."""
    write(pytester.path, "1 / 0")
    assert pytester.runpytest("-p", "no:cacheprovider").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_it_costs_nothing_until_it_is_used() -> None:
    """Every pytest of an environment loads the plugin: it must load nothing else."""
    heavy = {
        "nbformat",
        "jupyter_client",
        "IPython",
        "PIL",
        "httpx",
        "anyio",
        "pandas",
        "ipywidgets",
    }
    code = (
        f"import pytest, sys; before = set(sys.modules); import jupyter_mjci.pytest_plugin as plugin; "
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_plugin_is_installed(pytester: pytest.Pytester) -> None:
    """pytest finds it by itself, and its help tells of it."""
    assert "--mjci-notebooks" in pytester.runpytest("--help").stdout.str()


def heard(*messages: tuple[str, dict[str, Any]]) -> list[list[dict[str, Any]]]:
    saved = SavedOutputs()
    saved.start_cell()
    for kind, content in messages:
        saved.handle_message({"msg_type": kind, "content": content})
    return saved.outputs


def test_what_a_front_end_saves() -> None:
    """Streams grow together, updates reach every display of their name, a waiting clear waits for
    the next output.
    """
    show = {"data": {"text/plain": "a"}, "metadata": {}, "transient": {"display_id": "d"}}
    later = {"data": {"text/plain": "b"}, "metadata": {"x": 1}, "transient": {"display_id": "d"}}
    (cell,) = heard(
        ("stream", {"name": "stdout", "text": "gone"}),
        ("clear_output", {"wait": True}),
        ("status", {}),
        ("display_data", show),
        *(("stream", {"name": "stdout", "text": text}) for text in "12"),
        ("stream", {"name": "stderr", "text": "3"}),
        ("display_data", show),
        ("update_display_data", later),
    )
    assert json.loads(json.dumps(cell)) == [
        {"type": "display_data", "data": {"text/plain": "b"}, "metadata": {"x": 1}},
        {"type": "stream", "name": "stdout", "text": "12"},
        {"type": "stream", "name": "stderr", "text": "3"},
        {"type": "display_data", "data": {"text/plain": "b"}, "metadata": {"x": 1}},
    ]
    assert heard(
        ("stream", {"name": "stdout", "text": "gone"}), ("clear_output", {"wait": False})
    ) == [[]]
