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
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.notebook.config import MJCIConfig
    from jupyter_mjci.notebook.magics import Magic, Magics
    from jupyter_mjci.session import Session

MAGIC_NAMES: Mapping[str, str] = {  # by their kinds, as IPython says it
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
JOB_TYPE, JOB_FUTURE_TYPE = (
    ("jupyter_mjci.client.job", "Job"),
    ("jupyter_mjci.notebook.job_future", "JobFuture"),
)


class Extension:
    """What a shell has of ours: everything that came, and how each of it goes again. `saved_state` is what
    an earlier one has left, in plain values, for its code may have been another.
    """

    def __init__(self, ip: Any, saved_state: tuple[Any, ...] = ()) -> None:
        self.ip, self._saved_state = ip, saved_state
        self._undo = ExitStack()

    @cached_property
    def magics(self) -> Magics:
        """The magics themselves, made when the first of them is wanted."""
        from jupyter_mjci.notebook.magics import Magics

        made = Magics(self.ip, lambda: self.config.config_values)
        if self._saved_state:
            made.current_session.restore_state(self._saved_state)
        return made

    @cached_property
    def config(self) -> MJCIConfig:
        """What `%config MJCI` and configuration files say."""
        from jupyter_mjci.notebook.config import MJCI

        made: MJCIConfig = MJCI(self.ip, lambda: self.magics.current_session.get()[0])
        return made

    def get_magic(self, name: str) -> Magic:
        return self._magics_by_name[name]

    @cached_property
    def _magics_by_name(self) -> Mapping[str, Magic]:
        return {magic.name: magic for magic in self.magics.iter_magics()}

    def register(self) -> None:
        self._add_hook(self.ip.configurables, self.config)
        for kind, names in MAGIC_NAMES.items():
            for name in names.split():
                self._register_magic(kind, name)
        for hook in (
            self._register_completer,
            self._register_events,
            self._register_formatters,
            self._suppress_out_prompt,
        ):
            hook()

    def unregister(self) -> tuple[Any, ...]:
        """Takes everything away again. Gives which sessions the magics used."""
        self._undo.close()
        return (
            self.magics.current_session.save_state()
            if "magics" in vars(self)
            else self._saved_state
        )

    def _register_magic(self, kind: str, name: str) -> None:
        from IPython.core.magic import no_var_expand

        manager = self.ip.magics_manager
        self.ip.register_magic_function(no_var_expand(LazyMagic(self, name)), kind, name)
        self._undo.callback(vars(manager.user_magics).pop, name, None)
        for one in kind.split("_"):
            self._undo.callback(manager.magics[one].pop, name, None)

    def _register_completer(self) -> None:
        from IPython.core.completer import context_matcher

        @context_matcher(identifier="mjci")  # type: ignore[untyped-decorator, unused-ignore]
        def mjci_matcher(context: Any) -> Any:
            from jupyter_mjci.notebook.completion import build_matcher_result

            return build_matcher_result(self.magics, context)

        self._add_hook(self.ip.Completer.custom_matchers, mjci_matcher)

    def _register_events(self) -> None:
        self.ip.events.register("pre_run_cell", self._on_pre_run_cell)
        self._undo.callback(self.ip.events.unregister, "pre_run_cell", self._on_pre_run_cell)
        self._add_hook(self.ip.input_transformers_cleanup, keep_question_marks)

    def _add_hook(self, hooks: list[Any], hook: Any) -> None:
        hooks.append(hook)
        self._undo.callback(hooks.remove, hook)

    def _register_formatters(self) -> None:
        """Cards for jobs, by the names of their types, which need not be there yet."""
        display = self.ip.display_formatter
        self._add_formatter(display.formatters["text/html"], JOB_TYPE, _job_to_html)
        self._add_formatter(display.formatters["text/plain"], JOB_TYPE, _print_job)
        self._add_formatter(
            display.formatters["text/html"], JOB_FUTURE_TYPE, lambda one: _job_to_html(one.job)
        )
        for kind in (JOB_TYPE, JOB_FUTURE_TYPE):
            self._add_formatter(display.ipython_display_formatter, kind, self._suppress_displayed)

    def _add_formatter(
        self, formatter: Any, kind: tuple[str, str], render: Callable[..., Any]
    ) -> None:
        formatter.for_type_by_name(*kind, render)
        self._undo.callback(formatter.pop, ".".join(kind), None)

    def _suppress_out_prompt(self) -> None:
        """A terminal writes `Out[1]:` before anybody is asked how the value is to be shown."""
        if hasattr(
            self.ip, "get_parent"
        ):  # a kernel, which sends nothing where there is nothing to show
            return
        theirs, ours = self.ip.displayhook, partial(self._run_displayhook, self.ip.displayhook)
        self._replace_displayhook(theirs, ours)
        self._undo.callback(self._replace_displayhook, ours, theirs)

    def _replace_displayhook(self, old: Any, new: Any) -> None:
        self.ip.display_trap.hook = new
        if sys.displayhook is old:  # the cell that loads us is running
            sys.displayhook = new

    # --- what the shell asks us -------------------------------------------------------------------

    def _was_displayed(self, value: Any) -> bool:
        """Whether a magic of this cell has shown the value already; it is so once."""
        return "magics" in vars(self) and self.magics.was_displayed(value)

    def _suppress_displayed(self, value: Any) -> None:
        """IPython's door to show a value: what is shown already is not shown a second time as the
        cell's result.
        """
        if not self._was_displayed(value):
            raise NotImplementedError  # then IPython goes on to the other formatters

    def _run_displayhook(self, hook: Any, value: Any = None) -> None:
        """What the shell's own hook does, but for the writing."""
        if not self._was_displayed(value):
            hook(value)
            return
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def _on_pre_run_cell(self, *_: Any) -> None:
        """A new cell begins."""
        if "magics" in vars(self):
            self.magics.clear_displayed()


class LazyMagic:
    """A magic as the shell calls it; what it does, and its help, is looked up when that is
    wanted.
    """

    def __init__(self, extension: Extension, name: str) -> None:
        self._extension, self.__name__ = extension, name

    def __call__(self, line: str = "", cell: str | None = None) -> Any:
        run = self._extension.get_magic(self.__name__).run
        return run(line) if cell is None else run(line, cell)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self._extension.get_magic(self.__name__).help


_EXTENSIONS: WeakKeyDictionary[InteractiveShell, Extension] = WeakKeyDictionary()
# The session that the magics of a shell used, from unloading to the next loading.
_SAVED_STATES: WeakKeyDictionary[InteractiveShell, tuple[Any, ...]] = WeakKeyDictionary()


def load(ip: InteractiveShell) -> None:
    """Register the magics, the formatters of jobs and the completer; restore the session that was
    in use when the extension was unloaded. A second call changes nothing.
    """
    if ip in _EXTENSIONS:
        return
    extension = Extension(ip, _SAVED_STATES.pop(ip, ()))
    extension.register()
    _EXTENSIONS[ip] = extension


def unload(ip: InteractiveShell) -> None:
    """Remove everything that `load` registered, and remember the session in use."""
    if ip in _EXTENSIONS:
        _SAVED_STATES[ip] = _EXTENSIONS.pop(ip).unregister()


def get_current_session(ip: Any) -> Session:
    """The session that the magics of a shell use, also before they are loaded. Raises
    SettingsError.
    """
    return (_EXTENSIONS.get(ip) or Extension(ip)).magics.current_session.get_or_connect()


def _job_to_html(job: Any) -> str:
    from jupyter_mjci.notebook.cards import card_html

    return card_html(job)


def _print_job(job: Any, printer: Any, cycle: bool) -> None:
    """A card where the job stands alone, one line where it is part of a list."""
    from jupyter_mjci.notebook.cards import card_text, headline

    printer.text(card_text(job) if len(printer.stack) == 1 and not cycle else f"<{headline(job)}>")


# compiled when there is a question
_TRAILING_QUESTION_MARK = r"^(\s*(?:[\w.,\s\[\]'\"]+=\s*)?%(?:mj|ci)_\w+[ \t]+.*\?)(\s*)$"


def keep_question_marks(lines: list[str]) -> list[str]:
    """IPython takes a magic's line that ends in a question mark for a call for help on its last
    word; a blank after it keeps the prompt a prompt. `%mj_imagine?` is left alone.
    """
    if lines and lines[0].startswith("%%"):
        return lines
    return [
        re.sub(_TRAILING_QUESTION_MARK, r"\1 \2", line) if "?" in line else line for line in lines
    ]
