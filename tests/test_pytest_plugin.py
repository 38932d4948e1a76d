"""`pytest --mjci-notebooks`, on notebooks that save the same outputs live and headless, and not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jupyter_mjci import pytest_plugin
from jupyter_mjci.pytest_plugin import Output, SavedOutputs

pytest_plugins = ["pytester"]


def write_notebook(
    folder: Path, *sources: str, name: str = "a.ipynb", tags: tuple[str, ...] = ()
) -> Path:
    cells = [nbformat.v4.new_markdown_cell("# A notebook")]  # type: ignore[no-untyped-call]
    for source in sources:
        cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}))  # type: ignore[no-untyped-call]
    path = folder / name
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)  # type: ignore[no-untyped-call]
    return path


LIVE = "live = get_ipython().get_parent()['content']['allow_stdin']\n"

# The source of a cell, and parts of the report about it.
DIFFERENT: tuple[tuple[str, list[str]], ...] = (
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
        LIVE + "import IPython\nmime = 'text/html' if live else 'text/latex'\n"
        "IPython.display.display({mime: 'x', 'text/plain': ''}, raw=True)",
        [
            "output 1 is display_data text/html+text/plain live, "
            "display_data text/latex+text/plain headless"
        ],
    ),
    (
        LIVE + "import sys\nprint(1, file=sys.stderr if live else sys.stdout)",
        ["is stream stderr live, stream stdout"],
    ),
    (
        LIVE + "import base64, io\nfrom PIL import Image\nfrom IPython.display import display\n"
        "out = io.BytesIO()\nImage.new('L', (2, 3 if live else 2)).save(out, 'PNG')\n"
        "png = base64.b64encode(out.getvalue()).decode()\n"
        "display({'image/png': png, 'text/plain': ''}, raw=True)",
        ["output 1, image/png:", "different images"],
    ),
    (
        "from IPython.display import display\n"
        "display({'image/png': 'AAAA', 'text/plain': ''}, raw=True)",
        ["output 1, image/png: not a readable image"],
    ),
    ("1 / 0", ["it raises ZeroDivisionError", "division by zero"]),
)

EQUAL = (
    LIVE + "from IPython.display import display\n"
    "handle = display('one', display_id=True) if live else None\n"
    "handle.update('two') if live else display('two');",
    "from IPython.display import clear_output\n"
    "for number in range(3):\n    clear_output(wait=True)\n    print(number)",
    "import ipywidgets\nipywidgets.IntSlider()",
    "object()",
    "input('Who is there? ') if 0 else None",
    "%load_ext jupyter_mjci\n%mjci sandbox --speed 500",
    "%mj_imagine a red fox",
)


@pytest.mark.kernel
def test_different_outputs_fail_with_cell_output_and_diff(pytester: pytest.Pytester) -> None:
    """Also where one of the runs ends early."""
    for number, (source, _) in enumerate(DIFFERENT):
        write_notebook(pytester.path, source, name=f"n{number}.ipynb")
    write_notebook(pytester.path, LIVE + "if live: 1 / 0", "1", name="short.ipynb")
    done = pytester.runpytest("--mjci-notebooks", "-p", "no:cacheprovider")
    done.assert_outcomes(failed=len(DIFFERENT) + 1)
    text = done.stdout.str()
    for _, excerpts in DIFFERENT:
        for excerpt in excerpts:
            assert excerpt in text
    assert "live, 1 cells were run; headless, 2" in text
    assert "INTERNALERROR" not in text


@pytest.mark.kernel
def test_equal_outputs_pass(pytester: pytest.Pytester) -> None:
    """With display updates, cleared outputs, widgets, memory addresses and our own magics."""
    write_notebook(pytester.path, *EQUAL)
    write_notebook(pytester.path, "1 / 0", name="raises.ipynb", tags=(pytest_plugin.RAISES_TAG,))
    pytester.runpytest("--mjci-notebooks", "-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_without_the_option_no_notebook_is_collected(pytester: pytest.Pytester) -> None:
    write_notebook(pytester.path, "1 / 0")
    assert pytester.runpytest("-p", "no:cacheprovider").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_loading_the_plugin_imports_no_heavy_library() -> None:
    """Every pytest run of an environment loads it."""
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
        f"import pytest, sys; before = set(sys.modules); import jupyter_mjci.pytest_plugin; "
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_installed_plugin_is_found_by_pytest(pytester: pytest.Pytester) -> None:
    assert "--mjci-notebooks" in pytester.runpytest("--help").stdout.str()


def save_messages(*messages: tuple[str, dict[str, Any]]) -> list[list[Output]]:
    saved = SavedOutputs()
    saved.start_cell()
    for kind, content in messages:
        saved.handle_message({"msg_type": kind, "content": content})
    return saved.outputs


def test_messages_are_saved_as_a_front_end_does() -> None:
    """Chunks of a stream are joined, an update changes every display of its ID, and
    `clear_output(wait=True)` waits for the next output.
    """
    display = {"data": {"text/plain": "a"}, "metadata": {}, "transient": {"display_id": "d"}}
    update = {"data": {"text/plain": "b"}, "metadata": {"x": 1}, "transient": {"display_id": "d"}}
    (cell,) = save_messages(
        ("stream", {"name": "stdout", "text": "gone"}),
        ("clear_output", {"wait": True}),
        ("status", {}),
        ("display_data", display),
        *(("stream", {"name": "stdout", "text": text}) for text in "12"),
        ("stream", {"name": "stderr", "text": "3"}),
        ("display_data", display),
        ("update_display_data", update),
    )
    assert json.loads(json.dumps(cell)) == [
        {"type": "display_data", "data": {"text/plain": "b"}, "metadata": {"x": 1}},
        {"type": "stream", "name": "stdout", "text": "12"},
        {"type": "stream", "name": "stderr", "text": "3"},
        {"type": "display_data", "data": {"text/plain": "b"}, "metadata": {"x": 1}},
    ]
    assert save_messages(
        ("stream", {"name": "stdout", "text": "gone"}), ("clear_output", {"wait": False})
    ) == [[]]
