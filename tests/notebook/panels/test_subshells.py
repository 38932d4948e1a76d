"""The private names of ipykernel and ipywidgets that `panels.subshells` relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ipykernel
import ipywidgets as W
import pytest
from ipykernel.comm.comm import BaseComm

from jupyter_mjci.notebook.panels import subshells


class FakeComm:
    """A comm of an ipykernel with subshells; its hook names the one that last published."""

    comm_id = "comm"

    def _reply_subshell_for(self, *_: object) -> str | None:
        return "last"

    def on_msg(self, callback: Callable[..., None]) -> None:
        """Widgets register their handler of messages here."""

    def close(self) -> None:
        """Widgets close their comm when they are deleted."""


@pytest.fixture
def row() -> Iterator[W.HBox]:
    row = W.HBox([W.VBox([W.Button()]), W.Button()])
    yield row
    for widget in subshells.walk_widgets(row):
        widget.close()


def test_walk_yields_widgets_parents_first(row: W.HBox) -> None:
    """A widget, then its children with their own children."""
    column, button = row.children
    assert list(subshells.walk_widgets(row)) == [row, column, column.children[0], button]


@pytest.mark.parametrize(
    ("set_shell", "answers"),
    [(subshells.allow_subshell, "subshell"), (subshells.force_main_shell, None)],
)
def test_reply_shell_is_set_for_all_descendants(
    row: W.HBox, set_shell: Callable[[W.Widget], None], answers: str | None
) -> None:
    """Allowed: the front end's choice; forced: the main shell, which is None."""
    for widget in subshells.walk_widgets(row):
        widget.comm = FakeComm()
    set_shell(row)
    for widget in subshells.walk_widgets(row):
        assert getattr(widget.comm, subshells.REPLY_HOOK)({}, "subshell") == answers


def test_comm_without_the_hook_is_left_alone(row: W.HBox) -> None:
    """Outside a kernel, and before ipykernel 7.4, there is nothing to choose."""
    before = vars(row.comm).copy()
    subshells.allow_subshell(row)
    assert vars(row.comm) == before


def test_ipykernel_has_the_reply_hook_from_7_4_on() -> None:
    """A later version without it needs another way to choose the subshell."""
    has_hook = hasattr(BaseComm, subshells.REPLY_HOOK)
    assert has_hook == (ipykernel.version_info >= (7, 4))


def test_closed_widget_has_its_mimebundle_again(row: W.HBox) -> None:
    """ipywidgets hides the method of a closed widget, which `restore_mimebundle` undoes."""
    row.close()
    assert row._repr_mimebundle_ is None
    subshells.restore_mimebundle(row)
    assert callable(row._repr_mimebundle_)
