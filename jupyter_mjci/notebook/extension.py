"""`%load_ext jupyter_mjci`: register the magics, completer, formatters and `%config MJCI`.

Loading imports no service, HTTP or data library (a test checks
it): those are imported when a magic first runs or its help is
shown. Therefore the names of the magics are listed here, where
they could otherwise be derived from the call builders; a test
compares the two.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jupyter_mjci.notebook.session_registry import register_provider, unregister_provider

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.displayhook import DisplayHook
    from IPython.core.formatters import BaseFormatter
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.lib.pretty import RepresentationPrinter

    from jupyter_mjci.client.job import Job, JobPicture
    from jupyter_mjci.notebook.config import MJCI
    from jupyter_mjci.notebook.current_session import SessionState
    from jupyter_mjci.notebook.images import MimeBundle
    from jupyter_mjci.notebook.job_future import JobFuture
    from jupyter_mjci.notebook.magics import Magic, Magics
    from jupyter_mjci.session import Session

# By the kinds of IPython's register_magic_function.
MAGIC_NAMES: Mapping[str, str] = {
    "line": """
        mjci
        mj_accounts mj_action mj_blend mj_cancel mj_change mj_describe mj_image_seed mj_query
        mj_queue mj_simple_change mj_swap mj_task mj_tasks mj_upload
        ci_batch ci_batches ci_bind ci_buckets ci_cancel ci_create_template ci_delete_object
        ci_delete_template ci_delete_workflow ci_execution ci_executions ci_get_object ci_jobs
        ci_objects ci_picture_job ci_process ci_processed ci_put_object ci_queues
        ci_switch_workflow ci_templates ci_trigger_workflow ci_unbind ci_update_queue
        ci_update_template ci_workflows
    """,
    "line_cell": "mj_edits mj_imagine mj_modal mj_retexture mj_shorten mj_video ci_job",
}
BUILT_IN_NAMES = tuple(" ".join(MAGIC_NAMES.values()).split())
# As in `services`, which is not imported for it.
ENTRY_POINTS = "jupyter_mjci.services"
FIND_MAGIC = "_find_with_lazy_load"
# Module and name of types with a formatter. Their modules need
# not be imported yet.
JOB_TYPE = ("jupyter_mjci.client.job", "Job")
JOB_PICTURE_TYPE = ("jupyter_mjci.client.job", "JobPicture")
JOB_FUTURE_TYPE = ("jupyter_mjci.notebook.job_future", "JobFuture")
STUDY_TYPE = ("jupyter_mjci.jobs.study", "Study")
# Of pandas 3, and of pandas 2.
FRAME_TYPES = (("pandas", "DataFrame"), ("pandas.core.frame", "DataFrame"))


class Extension:
    """Everything that is registered with one shell, and how to remove it.

    Args:
        ip: the shell
        saved_state: the session in use when the extension was
            unloaded
    """

    def __init__(self, ip: InteractiveShell, saved_state: SessionState | None = None) -> None:
        self.ip = ip
        self._saved_state = saved_state
        self._magics: Magics | None = None
        self._magics_by_name: dict[str, Magic] = {}
        self._config: MJCI | None = None
        self._undo = ExitStack()
        self._names: list[str] = []

    @property
    def magics(self) -> Magics:
        """The magics, imported at first use."""
        if self._magics is None:
            from jupyter_mjci.notebook.magics import Magics

            self._magics = Magics(self.ip, lambda: self.config.config_values, self._saved_state)
        return self._magics

    @property
    def config(self) -> MJCI:
        """The `%config MJCI` of the shell."""
        if self._config is None:
            from jupyter_mjci.notebook.config import MJCI

            self._config = MJCI(self.ip, lambda: self.magics.current_session.get())
        return self._config

    def get_magic(self, name: str) -> Magic:
        if not self._magics_by_name:
            self._magics_by_name = {magic.name: magic for magic in self.magics.iter_magics()}
        return self._magics_by_name[name]

    def register(self) -> None:
        """Register everything with the shell."""
        self._add_hook(self.ip.configurables, self.config)
        for kind, names in MAGIC_NAMES.items():
            for name in names.split():
                self._register_magic(kind, name)
        self._register_added_services()
        self._register_suggestions()
        self._register_completer()
        self._register_events()
        self._register_formatters()
        self._suppress_out_prompt()

    def unregister(self) -> SessionState | None:
        """Remove everything again. Return the session that the magics used."""
        self._undo.close()
        if self._magics is None:
            return self._saved_state
        return self._magics.current_session.state

    def _register_magic(self, kind: str, name: str) -> None:
        from IPython.core.magic import no_var_expand

        self._names.append(name)
        manager = self.ip.magics_manager
        self.ip.register_magic_function(no_var_expand(LazyMagic(self, name)), kind, name)
        self._undo.callback(vars(manager.user_magics).pop, name, None)
        for magic_kind in kind.split("_"):
            self._undo.callback(manager.magics[magic_kind].pop, name, None)

    def _register_added_services(self) -> None:
        """Register the magics of services that other packages add; only then import anything.

        A package that cannot be loaded does not keep the others
        from being used.
        """
        if not any(map(_has_added_services, sys.path)):
            return
        from jupyter_mjci.errors import SettingsError

        try:
            added = list(self.magics.iter_added_magics())
        except SettingsError as error:
            warnings.warn(str(error), stacklevel=2)
            return
        for magic in added:
            self._register_magic(magic.kind, magic.name)

    def _register_suggestions(self) -> None:
        """Let an unknown magic of ours say which one was meant.

        IPython offers no hook for it; where this private method
        does not exist, its own message remains.
        """
        find = getattr(self.ip, FIND_MAGIC, None)
        if find is not None:
            setattr(self.ip, FIND_MAGIC, partial(_find_or_suggest, find, self._names))
            self._undo.callback(delattr, self.ip, FIND_MAGIC)

    def _register_completer(self) -> None:
        from IPython.core.completer import context_matcher

        @context_matcher(identifier="mjci")  # type: ignore[untyped-decorator, unused-ignore]
        def mjci_matcher(context: CompletionContext) -> SimpleMatcherResult:
            from jupyter_mjci.notebook.completion import build_matcher_result

            return build_matcher_result(self.magics, context)

        self._add_hook(self.ip.Completer.custom_matchers, mjci_matcher)

    def _register_events(self) -> None:
        self.ip.events.register("pre_run_cell", self._on_pre_run_cell)
        self._undo.callback(self.ip.events.unregister, "pre_run_cell", self._on_pre_run_cell)
        self._add_hook(
            self.ip.input_transformers_cleanup, partial(keep_question_marks, names=self._names)
        )

    def _add_hook(self, hooks: list[Any], hook: object) -> None:
        hooks.append(hook)
        self._undo.callback(hooks.remove, hook)

    def _register_formatters(self) -> None:
        """Register cards for jobs, by the names of their types."""
        display = self.ip.display_formatter
        html = display.formatters["text/html"]
        self._add_formatter(html, JOB_TYPE, self._job_to_html)
        self._add_formatter(html, JOB_FUTURE_TYPE, self._future_to_html)
        self._add_formatter(display.formatters["text/plain"], JOB_TYPE, _print_job)
        self._add_formatter(display.mimebundle_formatter, JOB_PICTURE_TYPE, self._show_job_picture)
        plain = display.formatters["text/plain"]
        for type_name in FRAME_TYPES:
            if not _has_formatter(html, type_name):
                self._add_formatter(html, type_name, self._frame_to_html)
                self._add_formatter(plain, type_name, _print_frame)
        for type_name in (JOB_TYPE, JOB_FUTURE_TYPE, STUDY_TYPE):
            self._add_formatter(
                display.ipython_display_formatter, type_name, self._suppress_displayed
            )

    def _add_formatter(
        self,
        formatter: BaseFormatter,
        type_name: tuple[str, str],
        render: Callable[..., object],
    ) -> None:
        formatter.for_type_by_name(*type_name, render)
        self._undo.callback(formatter.pop, ".".join(type_name), None)

    def _suppress_out_prompt(self) -> None:
        """In a terminal, replace the display hook: it writes
        `Out[1]:` before any formatter is called. A kernel sends
        nothing for a value that no formatter shows.
        """
        if hasattr(self.ip, "get_parent"):
            return
        original = self.ip.displayhook
        replacement = partial(self._run_displayhook, original)
        self._replace_displayhook(original, replacement)
        self._undo.callback(self._replace_displayhook, replacement, original)

    def _replace_displayhook(self, old: Callable[..., None], new: Callable[..., None]) -> None:
        self.ip.display_trap.hook = new
        # While a cell runs, which loads or unloads the extension,
        # the trap has set sys.displayhook.
        if sys.displayhook is old:
            sys.displayhook = new

    def _job_to_html(self, job: Job) -> str:
        """Return the card of a job, with its picture where there is a session to fetch it."""
        from jupyter_mjci.notebook.cards import Extras, card_html
        from jupyter_mjci.notebook.job_results import fetch_card_picture

        session = self._session
        picture = fetch_card_picture(session, job) if session else ""
        return card_html(job, Extras(picture=picture))

    def _show_job_picture(self, source: JobPicture) -> MimeBundle:
        """Return one of a job's pictures, where there is a session to fetch it."""
        from jupyter_mjci.notebook.job_results import fetch_picture_bundle

        session = self._session
        return fetch_picture_bundle(session, source) if session else ({}, {})

    def _future_to_html(self, future: JobFuture) -> str:
        return self._job_to_html(future.job)

    @property
    def _session(self) -> Session | None:
        return self._magics.current_session.get_if_unique() if self._magics else None

    def _frame_to_html(self, frame: pd.DataFrame) -> str | None:
        from jupyter_mjci.notebook.job_table import is_job_frame, table_html

        if not is_job_frame(frame):
            html: str | None = frame._repr_html_()  # type: ignore[operator, unused-ignore]
            return html
        return table_html(frame, self._session)

    # --- called by the shell ------------------------------------

    def _was_displayed(self, value: object) -> bool:
        """Return whether a magic of this cell has displayed the value itself."""
        return self._magics is not None and self._magics.was_displayed(value)

    def _suppress_displayed(self, value: object) -> None:
        """Display nothing for a value that a magic has displayed; else let IPython go on."""
        if not self._was_displayed(value):
            # IPython then tries its other formatters.
            raise NotImplementedError

    def _run_displayhook(self, hook: DisplayHook, value: object = None) -> None:
        """Run the shell's display hook; for a displayed value only what does not write."""
        if not self._was_displayed(value):
            hook(value)
            return
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def _on_pre_run_cell(self, *_: object) -> None:
        if self._magics is not None:
            self._magics.clear_displayed()


def _has_added_services(folder: str) -> bool:
    """Return whether a package in a folder of `sys.path` adds a service.

    `importlib.metadata` finds the same, in ten times the time.
    """
    header = f"[{ENTRY_POINTS}]".encode()
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in entries:
            if entry.name.endswith(("dist-info", "egg-info")):
                with suppress(OSError), open(f"{entry.path}/entry_points.txt", "rb") as file:
                    if header in file.read():
                        return True
    return False


def _find_or_suggest(
    find: Callable[[str, str], Callable[..., object] | None],
    known: Sequence[str],
    kind: str,
    name: str,
) -> Callable[..., object] | None:
    """Find a magic as IPython does; for an unknown one of ours return what says so."""
    magic = find(kind, name)
    prefixes = ("mj", *{f"{each.partition('_')[0]}_" for each in known})
    if magic is not None or name in known or not name.casefold().startswith(prefixes):
        return magic
    return partial(_raise_unknown_magic, name, known)


def _raise_unknown_magic(name: str, known: Sequence[str], line: str = "", *_: str) -> None:
    from IPython.core.error import UsageError

    from jupyter_mjci.errors import suggest
    from jupyter_mjci.notebook.commands import list_commands

    spelt = name.casefold().replace("-", "_")
    # %mj imagine …, and %ci_status for %mjci status
    joined = "_".join((spelt, *line.split()[:1]))
    command = spelt.partition("_")[2]
    if joined in known:
        hint = f"Did you mean %{joined}?"
    elif command in list_commands():
        hint = f"Did you mean %mjci {command}?"
    else:
        hint = suggest(spelt, known)
    raise UsageError(f"There is no magic %{name}.\n→ {hint}")


class LazyMagic:
    """A magic as registered with the shell. What it runs and its help are looked up lazily."""

    def __init__(self, extension: Extension, name: str) -> None:
        self._extension = extension
        self.__name__ = name

    def __call__(self, line: str = "", cell: str | None = None) -> object:
        run = self._extension.get_magic(self.__name__).run
        return run(line) if cell is None else run(line, cell)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return self._extension.get_magic(self.__name__).help


_EXTENSIONS: WeakKeyDictionary[InteractiveShell, Extension] = WeakKeyDictionary()
# The session that the magics of a shell used, from unloading to
# the next loading.
_SAVED_STATES: WeakKeyDictionary[InteractiveShell, SessionState | None] = WeakKeyDictionary()


def load(ip: InteractiveShell) -> None:
    """Register the magics, the formatters of jobs and the
    completer; restore the session that was in use when the
    extension was unloaded. A second call changes nothing.
    """
    if ip in _EXTENSIONS:
        return
    extension = Extension(ip, _SAVED_STATES.pop(ip, None))
    extension.register()
    register_provider(ip, lambda: extension.magics.current_session)
    _EXTENSIONS[ip] = extension


def unload(ip: InteractiveShell) -> None:
    """Remove everything that `load` registered, and remember the session in use."""
    if ip in _EXTENSIONS:
        unregister_provider(ip)
        _SAVED_STATES[ip] = _EXTENSIONS.pop(ip).unregister()


def _print_frame(frame: pd.DataFrame, printer: RepresentationPrinter, cycle: bool) -> None:
    """Print a frame of jobs as a short table where it is alone, any other as pandas does."""
    from jupyter_mjci.notebook.job_table import is_job_frame, table_text

    is_alone = len(printer.stack) == 1 and not cycle
    printer.text(table_text(frame) if is_alone and is_job_frame(frame) else repr(frame))


def _has_formatter(formatter: BaseFormatter, type_name: tuple[str, str]) -> bool:
    """Return whether somebody has registered a formatter of a type before."""
    types = {(kind.__module__, kind.__name__) for kind in formatter.type_printers}
    return type_name in types or type_name in formatter.deferred_printers


def _print_job(job: Job, printer: RepresentationPrinter, cycle: bool) -> None:
    """Print a card if the job is alone, one line if it is part of a collection."""
    from jupyter_mjci.notebook.cards import card_text, headline

    is_alone = len(printer.stack) == 1 and not cycle
    printer.text(card_text(job) if is_alone else f"<{headline(job)}>")


# Compiled by re at first use: loading stays fast.
_TRAILING_QUESTION_MARK = r"^(\s*(?:[\w.,\s\[\]'\"]+=\s*)?%(?:NAMES)[ \t]+.*\?)(\s*)$"


def keep_question_marks(lines: list[str], names: Sequence[str] = BUILT_IN_NAMES) -> list[str]:
    """Add a blank after the question mark of a prompt of one of the magics.

    IPython takes a line that ends in a question mark as a request
    for help on its last word. `%mj_imagine?` is such a request
    and is left alone.
    """
    if lines and lines[0].startswith("%%"):
        return lines
    pattern = _TRAILING_QUESTION_MARK.replace("NAMES", "|".join(names))
    return [re.sub(pattern, r"\1 \2", line) for line in lines]
