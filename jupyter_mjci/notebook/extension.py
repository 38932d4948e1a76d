"""`%load_ext jupyter_mjci`: registers names and hooks, and nothing that is behind them.

Services, calls and the big libraries are looked at when a magic runs, or when somebody asks for its
help. So that the names are known before, they stand here; a test compares them with what the
builders make.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from jupyter_mjci.notebook.config import Manners
    from jupyter_mjci.notebook.magics import Magic, Magics
    from jupyter_mjci.session import Session

NAMES: Mapping[str, str] = {  # by their kinds, as IPython says it
    "line": """
        mjci
        mj_accounts mj_action mj_blend mj_cancel mj_change mj_describe mj_image_seed mj_query mj_queue mj_simple_change
        mj_swap mj_task mj_tasks mj_upload
        ci_batch ci_batches ci_bind ci_buckets ci_cancel ci_create_template ci_delete_object ci_delete_template
        ci_delete_workflow ci_execution ci_executions ci_get_object ci_jobs ci_objects ci_picture_job ci_process
        ci_processed ci_put_object ci_queues ci_switch_workflow ci_templates ci_trigger_workflow ci_unbind
        ci_update_queue ci_update_template ci_workflows
    """,
    "line_cell": "mj_edits mj_imagine mj_modal mj_retexture mj_shorten mj_video ci_job",
}
JOB, FOLLOWING = (
    ("jupyter_mjci.client.job", "Job"),
    ("jupyter_mjci.notebook.job_display", "Following"),
)


class Door:
    """What a shell has of ours: everything that came, and how each of it goes again. `left` is what
    an earlier one has left, in plain values, for its code may have been another.
    """

    def __init__(self, ip: Any, left: tuple[Any, ...] = ()) -> None:
        self.ip, self._left = ip, left
        self._undo = ExitStack()

    @cached_property
    def magics(self) -> Magics:
        """The magics themselves, made when the first of them is wanted."""
        from jupyter_mjci.notebook.magics import Magics

        made = Magics(self.ip, lambda: self.config.given)
        if self._left:
            made.chosen.take(self._left)
        return made

    @cached_property
    def config(self) -> Manners:
        """What `%config MJCI` and configuration files say."""
        from jupyter_mjci.notebook.config import MJCI

        made: Manners = MJCI(self.ip, lambda: self.magics.chosen.present()[0])
        return made

    def magic(self, name: str) -> Magic:
        return self._table[name]

    @cached_property
    def _table(self) -> Mapping[str, Magic]:
        return {magic.name: magic for magic in self.magics.table()}

    def open(self) -> None:
        self._put(self.ip.configurables, self.config)
        for kind, names in NAMES.items():
            for name in names.split():
                self._register(kind, name)
        for hook in (self._complete, self._listen, self._show, self._keep_prompt_back):
            hook()

    def close(self) -> tuple[Any, ...]:
        """Takes everything away again. Gives which sessions the magics used."""
        self._undo.close()
        return self.magics.chosen.kept() if "magics" in vars(self) else self._left

    def _register(self, kind: str, name: str) -> None:
        from IPython.core.magic import no_var_expand

        manager = self.ip.magics_manager
        self.ip.register_magic_function(no_var_expand(Entry(self, name)), kind, name)
        self._undo.callback(vars(manager.user_magics).pop, name, None)
        for one in kind.split("_"):
            self._undo.callback(manager.magics[one].pop, name, None)

    def _complete(self) -> None:
        from IPython.core.completer import context_matcher

        @context_matcher(identifier="mjci")  # type: ignore[untyped-decorator, unused-ignore]
        def mjci_matcher(context: Any) -> Any:
            from jupyter_mjci.notebook.completion import matches

            return matches(self.magics, context)

        self._put(self.ip.Completer.custom_matchers, mjci_matcher)

    def _listen(self) -> None:
        self.ip.events.register("pre_run_cell", self._forget)
        self._undo.callback(self.ip.events.unregister, "pre_run_cell", self._forget)
        self._put(self.ip.input_transformers_cleanup, keep_question_marks)

    def _put(self, hooks: list[Any], hook: Any) -> None:
        hooks.append(hook)
        self._undo.callback(hooks.remove, hook)

    def _show(self) -> None:
        """Cards for jobs, by the names of their types, which need not be there yet."""
        display = self.ip.display_formatter
        self._format(display.formatters["text/html"], JOB, _card)
        self._format(display.formatters["text/plain"], JOB, _pretty)
        self._format(display.formatters["text/html"], FOLLOWING, lambda one: _card(one.job))
        for kind in (JOB, FOLLOWING):
            self._format(display.ipython_display_formatter, kind, self._is_shown)

    def _format(self, formatter: Any, kind: tuple[str, str], show: Callable[..., Any]) -> None:
        formatter.for_type_by_name(*kind, show)
        self._undo.callback(formatter.pop, ".".join(kind), None)

    def _keep_prompt_back(self) -> None:
        """A terminal writes `Out[1]:` before anybody is asked how the value is to be shown."""
        if hasattr(
            self.ip, "get_parent"
        ):  # a kernel, which sends nothing where there is nothing to show
            return
        theirs, ours = self.ip.displayhook, partial(self._display, self.ip.displayhook)
        self._hook(theirs, ours)
        self._undo.callback(self._hook, ours, theirs)

    def _hook(self, old: Any, new: Any) -> None:
        self.ip.display_trap.hook = new
        if sys.displayhook is old:  # the cell that loads us is running
            sys.displayhook = new

    # --- what the shell asks us -------------------------------------------------------------------

    def _shown(self, value: Any) -> bool:
        """Whether a magic of this cell has shown the value already; it is so once."""
        return "magics" in vars(self) and self.magics.is_shown(value)

    def _is_shown(self, value: Any) -> None:
        """IPython's door to show a value: what is shown already is not shown a second time as the
        cell's result.
        """
        if not self._shown(value):
            raise NotImplementedError  # then IPython goes on to the other formatters

    def _display(self, hook: Any, value: Any = None) -> None:
        """What the shell's own hook does, but for the writing."""
        if not self._shown(value):
            hook(value)
            return
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def _forget(self, *_: Any) -> None:
        """A new cell begins."""
        if "magics" in vars(self):
            self.magics.forget()


class Entry:
    """A magic as the shell calls it; what it does, and its help, is looked up when that is
    wanted.
    """

    def __init__(self, door: Door, name: str) -> None:
        self._door, self.__name__ = door, name

    def __call__(self, line: str = "", cell: str | None = None) -> Any:
        run = self._door.magic(self.__name__).run
        return run(line) if cell is None else run(line, cell)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self._door.magic(self.__name__).help


_LOADED: WeakKeyDictionary[Any, Door] = WeakKeyDictionary()


def load(ip: Any, left: tuple[Any, ...] = ()) -> None:
    """Registers the magics, the cards of jobs and the completion; takes up what `unload` has left.
    A second time changes nothing.
    """
    if ip in _LOADED:
        return
    old = [
        name for name, value in ip.user_ns.items() if not name.startswith("_") and _outlived(value)
    ]
    if any(map(_outlived, left)):
        left, old = (), old or ["the session that the magics used"]
    if old:
        _say(
            ip,
            f"jupyter_mjci: its code has changed and is loaded anew. Make these anew as well: {', '.join(old)}.",
        )
    door = Door(ip, left)
    door.open()
    _LOADED[ip] = door


def unload(ip: Any) -> tuple[Any, ...]:
    """Takes everything away again that `load` has put there. Gives what the next one may take
    up.
    """
    return _LOADED.pop(ip).close() if ip in _LOADED else ()


def _outlived(value: Any) -> bool:
    """Whether it is a session or a job of code that is no longer loaded."""
    kind = type(value)
    there = getattr(sys.modules.get(kind.__module__), kind.__name__, None)
    return kind.__module__ in ("jupyter_mjci.session", JOB[0]) and there is not kind


def _say(ip: Any, line: str) -> None:
    from jupyter_mjci.notebook.cards import notice_html

    ip.display_pub.publish({"text/plain": line, "text/html": notice_html(line)}, {})


def current(ip: Any) -> Session:
    """The session that the magics of a shell use, also before they are loaded. Raises
    SettingsError.
    """
    return (_LOADED.get(ip) or Door(ip)).magics.chosen.session()


def _card(job: Any) -> str:
    from jupyter_mjci.notebook.cards import card_html

    return card_html(job)


def _pretty(job: Any, printer: Any, cycle: bool) -> None:
    """A card where the job stands alone, one line where it is part of a list."""
    from jupyter_mjci.notebook.cards import card_text, headline

    printer.text(card_text(job) if len(printer.stack) == 1 and not cycle else f"<{headline(job)}>")


# compiled when there is a question
_ASKED = r"^(\s*(?:[\w.,\s\[\]'\"]+=\s*)?%(?:mj|ci)_\w+[ \t]+.*\?)(\s*)$"


def keep_question_marks(lines: list[str]) -> list[str]:
    """IPython takes a magic's line that ends in a question mark for a call for help on its last
    word; a blank after it keeps the prompt a prompt. `%mj_imagine?` is left alone.
    """
    if lines and lines[0].startswith("%%"):
        return lines
    return [re.sub(_ASKED, r"\1 \2", line) if "?" in line else line for line in lines]
