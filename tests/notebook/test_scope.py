"""Names in functions: a magic's line sees what Python would see there. Real shell, real sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest
from IPython.core.error import UsageError

from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell


def record_prompts(session: Session) -> list[str]:
    """Record the prompt of every submission from now on."""
    prompts: list[str] = []

    def record(event: str, value: Any) -> None:
        if event == "submitting":
            prompts.append(json.loads(value.body).get("prompt", value.name))

    session.listeners.append(record)
    return prompts


RUN = 'get_ipython().run_line_magic("mj_imagine", "{{p}}")'

# (cell, prompts that are submitted), where the global p is
# "global".
CELLS: tuple[tuple[str, list[str]], ...] = (
    ("%mj_imagine {{p}}", ["global"]),
    ("def f(p):\n    %mj_imagine {{p}}\nf('local')", ["local"]),
    ("def f():\n    %mj_imagine {{p}}\nf()", ["global"]),
    (f"async def f(p):\n    return {RUN}\nawait f('local')", ["local"]),
    (f"[{RUN} for p in ('x', 'y')]", ["x", "y"]),
    (f"def f(p):\n    return [{RUN} for _ in range(2)]\nf('local')", ["local"] * 2),
    (f"def f(p):\n    return list({RUN} for _ in 'a')\nf('local')", ["local"]),
    (f"(lambda p: {RUN})('local')", ["local"]),
    (
        "def outer(p):\n    def inner():\n        %mj_imagine {{p}}\n    inner()\nouter('outer')",
        ["outer"],
    ),
    (
        "class A:\n    p = 'class'\n    def m(self, q):\n"
        "        %mj_imagine {{self.p}} {{q}} {{p}}\nA().m('q')",
        ["class q global"],
    ),
    (
        "async def outer(p):\n    async def inner():\n        %mj_imagine {{p}}\n"
        "    await inner()\nawait outer('outer')",
        ["outer"],
    ),
    ("def f(p):\n    %time %mj_imagine {{p}}\nf('local')", ["local"]),
    ("def f(rows):\n    %mj_imagine {{c}} --each rows\nf([{'c': 'a'}, {'c': 'b'}])", ["a", "b"]),
    (
        "rows = [{'c': 'x'}]\ndef f(c):\n    %mj_imagine {{c}} {{p}} --each rows\nf('y')",
        ["x global"],
    ),
    ("d = {'k': ['v', 'w']}\n%mj_imagine {{d['k'][1]}} {{ d }}", ["w {'k': ['v', 'w']}"]),
    ("def f(p):\n    %mj_imagine {{p}}\n    p = 'later'\nf('local')", ["local"]),
    (
        "import threading\ndef f(p):\n    return get_ipython().run_line_magic('mj_imagine', "
        "'{{p}} --dry-run')\nt = threading.Thread(target=f, args=('x',)); t.start(); t.join()\n"
        "%mj_imagine {{p}}",
        ["global"],
    ),
)


@pytest.mark.parametrize(("cell", "expected"), CELLS, ids=[row[0] for row in CELLS])
def test_local_names_come_first(
    shell: Shell, session: Session, cell: str, expected: list[str]
) -> None:
    """A global's text instead of the local's would be drawn and paid for."""
    prompts = record_prompts(session)
    shell.run(f"p = 'global'\n{cell}")
    assert prompts == expected


# (cell, what the error says), where the global p is "global".
REFUSED_CELLS: tuple[tuple[str, str], ...] = (
    (
        "def outer(p):\n    def inner():\n        %mj_imagine {{p}}\n    return inner\nouter(1)()",
        "belongs to a function around inner",
    ),
    ("def f():\n    %mj_imagine {{p}}\n    p = 1\nf()", "of f has no value yet"),
    ("%mj_imagine {{p.nope}}", "'p' has no attribute nope"),
    ("%mj_imagine {{nope.id}}", "There is no variable 'nope'"),
    ("%mj_imagine {{p[99]}}", "'p' has no item 99"),
    ("%mj_imagine {{p.upper}}", "p.upper is a function or class, not a text."),
    ("p = None\n%mj_imagine {{p}}", "p is None, not a text."),
    ("def f():\n    %mj_imagine {{c}} --each rows\n    rows = []\nf()", "'rows' of f has no value"),
)


@pytest.mark.parametrize(("cell", "message"), REFUSED_CELLS, ids=[row[0] for row in REFUSED_CELLS])
def test_name_without_value_is_refused(
    shell: Shell, session: Session, cell: str, message: str
) -> None:
    """Nothing is sent with a text that Python would not have seen there."""
    prompts = record_prompts(session)
    assert message in shell.fails(f"p = 'global'\n{cell}")
    assert prompts == []


def test_ids_in_functions_are_local(shell: Shell, session: Session) -> None:
    """By name, by attribute, and as a placeholder."""
    shell.run("job = %mj_imagine a red fox")
    shell.run("other = %mj_imagine a blue owl")
    shell.run(
        "def f(job, holder):\n"
        "    a = %mj_task job\n"
        "    b = %mj_action job U1\n"
        "    c = %mj_task {{job.id}}\n"
        "    d = %mj_task holder.job\n"
        "    return a, b, c, d\n"
        "from types import SimpleNamespace\n"
        "results = f(other, SimpleNamespace(job=other))\n"
        "by_index = [job, other]\n"
        "e = %mj_task by_index[1]"
    )
    names = shell.ip.user_ns
    first, pressed, second, third = names["results"]
    assert first.id == second.id == third.id == pressed.parent == names["other"].id == names["e"].id


@pytest.mark.parametrize(
    "cell",
    [
        "def f():\n    %mj_imagine a fox -o job\nf()",
        "async def f():\n    %mj_imagine a fox -o job\nawait f()",
        "def f():\n    %mj_tasks -o job\nf()",
        "def f():\n    %mjci history -o job\nf()",
    ],
)
def test_output_variable_in_a_function_is_refused(
    shell: Shell, session: Session, cell: str
) -> None:
    """It would become a global; the value of the magic can be assigned instead."""
    prompts = record_prompts(session)
    assert "-o cannot assign a variable in the function f" in shell.fails(cell)
    assert isinstance(shell.error, UsageError)
    assert prompts == []
    assert "job" not in shell.ip.user_ns


def test_line_of_a_module_is_not_in_a_function(shell: Shell, session: Session) -> None:
    """Code of a module, as this test, builds its lines itself: its names are not looked up."""
    prompts = record_prompts(session)
    p = "of this test"
    shell.run("p = 'global'")
    shell.ip.run_line_magic("mj_imagine", "{{p}} -o job")
    assert (prompts, shell.ip.user_ns["job"].subject) == (["global"], "global")
    assert p not in prompts
