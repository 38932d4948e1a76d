"""`%mjci`: its commands, and the parsing of its line.

A command is a public method of `Commands`; its flags and its help
come from its signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jupyter_mjci.client.settings import NamedSetting, Secret, list_settings
from jupyter_mjci.client.translation import translate
from jupyter_mjci.errors import InvalidRequest, SettingsError, suggest
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.argument_parser import parse_arguments, parse_tokens
from jupyter_mjci.notebook.current_session import CurrentSession, Selection
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.notebook.panels import check_panel_kind, list_panel_kinds, panel
from jupyter_mjci.notebook.params import Kind, Param, parse_signature
from jupyter_mjci.services import get_section_types

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.client.job import Job
    from jupyter_mjci.session import Session

# cards that `resume` shows; of more jobs it returns the rows only
MAX_RESUMED_CARDS = 20


class Commands:
    """The commands of `%mjci`. Return types are `object`, because
    annotations are resolved for the help, and naming the types
    would import pandas and ipywidgets.
    """

    def __init__(self, ip: InteractiveShell, current: CurrentSession) -> None:
        self._ip = ip
        self._current = current

    def status(self) -> None:
        """Show the session that the magics use, its services and its jobs."""
        from jupyter_mjci.notebook.doctor import build_status

        self._publish_table(build_status(self._current.find()))

    def connect(self, profile: str | None = None, **overrides: Any) -> object:
        """Connect to your services. A setting on this line
        overrides the environment, which overrides the profile.
        Secrets are not accepted on this line.

        Args:
            profile: a table of profiles.toml
            overrides: settings by name
        """
        session = self._current.connect(profile=profile, **overrides)
        return self._current.set(session, "%mjci connect")

    def sandbox(
        self,
        *,
        speed: float | None = None,
        dialect: Literal["plus", "java", "trueai", "new-api"] = "plus",
        seed: int = 0,
    ) -> object:
        """Use a new sandbox in this process: both services, without account or network.

        Args:
            speed: how fast its clock runs (20)
            dialect: which proxy family it emulates
            seed: another seed makes other pictures
        """
        from jupyter_mjci.connection import sandbox

        session = sandbox(
            speed=speed or self._current.settings().speed,
            dialect=dialect,
            seed=seed,
            **self._current.runtime_settings(),
        )
        return self._current.set(session, "%mjci sandbox")

    def use(self, name: str) -> object:
        """Use the session in one of your variables.

        Args:
            name: the variable
        """
        return self._current.set(self._current.from_variable(name), f"your variable {name}")

    def panel(self, kind: str) -> object:
        """Show a panel.

        Args:
            kind: which panel
        """
        return panel(kind, session=self._current.get_or_connect())

    def history(self) -> object:
        """Return every job that the session has seen, as a DataFrame."""
        return self._current.get_or_connect().history()

    def sync(
        self,
        since: str | None = None,
        until: str | None = None,
        load: str | None = None,
    ) -> None:
        """Update the journal from the services, or from exported files.

        Args:
            since: jobs created from then on (2026-01-31,
                2026-01-31T12:00+08:00), instead of only new ones
            until: jobs created until then
            load: an exported listing or a log of callbacks (JSON,
                XML), or a folder of them, instead of the services
        """
        from jupyter_mjci.notebook.outputs import select_output

        session = self._current.get_or_connect()
        output = select_output(self._ip)

        def show_progress(counts: object) -> None:
            if output.live and output.should_update():
                output.show_final(_notice_bundle(f"{counts} …"))

        if load is None:
            counts = session.sync(since=since, until=until, on_progress=show_progress)
        else:
            counts = session.history.load(load, since=since, until=until, on_progress=show_progress)
        output.show_final(_notice_bundle(str(counts)))

    def resume(self, *, forget: Sequence[str] = ()) -> object:
        """Show the jobs that ended while no kernel looked, and
        follow the unfinished ones of earlier kernels to their
        end. Submissions of unknown outcome are searched for;
        those that remain are named, and so are the jobs that wait
        for your input.

        Args:
            forget: only close these submissions, by the IDs that
                are named: they are searched for no more
        """
        from jupyter_mjci.history.frames import jobs_to_frame
        from jupyter_mjci.notebook.job_display import display_job
        from jupyter_mjci.notebook.outputs import select_output

        session = self._current.get_or_connect()
        if forget:
            self._forget(session, forget)
            return None
        finished: list[Job] = []
        for job in session.resume():
            if len(finished) < MAX_RESUMED_CARDS:
                job = display_job(session, job, select_output(self._ip), raises=False)
            finished.append(job)
        more = len(finished) - MAX_RESUMED_CARDS
        if more > 0:
            text = translate("{count} more have ended: they are in the table.")
            self._publish(_notice_bundle(text.format(count=f"{more:,}")))
        waiting = session.journal.waiting_jobs()
        lines = [f"{job} → {cards.input_command(job)}" for job in waiting[-MAX_RESUMED_CARDS:]]
        self._publish_list(translate("Waiting for your input:"), lines)
        left = session.describe_unresolved()
        title = translate("Left as they are (%mjci resume --forget ID closes one):")
        self._publish_list(title, left)
        return jobs_to_frame(finished)

    def _publish_list(self, title: str, lines: Sequence[str]) -> None:
        if lines:
            self._publish(_notice_bundle("\n".join([title, *lines])))

    def _forget(self, session: Session, markers: Sequence[str]) -> None:
        for marker in markers:
            row = session.journal.forget_submission(marker)
            self._publish(_notice_bundle(f"Closed: {row.name} ({row.marker})."))

    def replay(
        self,
        mode: Literal["record", "play", "off"] | None = None,
        folder: str | None = None,
        *,
        pixels: int | None = None,
    ) -> object:
        """Record the session's requests and responses into a
        folder, without secrets; or play a recording back, without
        network.

        Args:
            mode: by default MJCI_REPLAY, else play if there is a
                recording, else record
            folder: NAME.mjci; by default next to the notebook, by
                its name
            pixels: while recording, scale larger pictures down to
                this size
        """
        from jupyter_mjci.client.cassette import resolve_mode
        from jupyter_mjci.client.settings import get_notebook_name

        # VS Code puts the notebook's path into the namespace
        # instead of the environment.
        vscode_name = Path(self._ip.user_ns.get("__vsc_ipynb_file__", "")).stem
        resolved_mode, path = resolve_mode(
            mode or "",
            folder or "",
            self._current.settings().replay,
            get_notebook_name() or vscode_name,
        )
        unrecorded = self._get_unrecorded()
        self._switch_recording(resolved_mode, path, pixels, unrecorded)
        self._current.state.unrecorded = unrecorded
        return self._current.get()

    def _switch_recording(
        self, mode: str, folder: Path, pixels: int | None, unrecorded: Selection
    ) -> None:
        from jupyter_mjci.connection import replay

        if mode == "off":
            self._current.state.selected = unrecorded
        elif mode == "play":
            session = self._current.set(replay(folder), "%mjci replay play")
            session.configure(**self._current.runtime_settings())
        else:
            session = unrecorded.session or self._current.connect(replay="off")
            self._current.set(session.record_to(folder, pixels=pixels), "%mjci replay record")

    def _get_unrecorded(self) -> Selection:
        """Return the session that is neither a recording nor a replay."""
        selection = self._current.find()
        if selection.session is None or not selection.session.recording:
            return selection
        return self._current.state.unrecorded

    def gallery(
        self,
        text: str = "",
        *,
        action: str = "",
        limit: int = 24,
        save: str | None = None,
    ) -> None:
        """Show the pictures of this session, of the journal and
        of the archive on one sheet, latest first.

        Args:
            text: only pictures whose prompt or key contains this
            action: only pictures of this action: IMAGINE,
                UPSCALE, PicProcess, …
            limit: at most so many
            save: write an HTML page instead: FILE.html
        """
        from jupyter_mjci.notebook.gallery import (
            collect_items,
            render_contact_sheet,
            write_page,
        )

        items = collect_items(self._current.get_or_connect(), text, action, limit)
        if save is None:
            self._publish(render_contact_sheet(items))
        else:
            self._publish(_notice_bundle(write_page(items, save)))

    def doctor(self) -> None:
        """Diagnose versions, credentials, addresses, what the
        services accept and offer, and clocks.
        """
        from jupyter_mjci.notebook.doctor import build_report, detect_front_end
        from jupyter_mjci.notebook.outputs import select_output

        session = self._current.get_or_connect()
        output_mode = f"{select_output(self._ip).description}; {detect_front_end(self._ip)}"
        self._publish_table(build_report(session, self._current.find().source, output_mode))

    def nest(self, switch: Literal["on"]) -> str:
        """Allow `asyncio.run` inside cells, where that is safe. The magics never need it.

        Args:
            switch: on; only a restart of the kernel undoes it
        """
        from jupyter_mjci.client.event_loop import enable_nested_loops

        library = enable_nested_loops(ipykernel=_ipykernel_version())
        return f"nesting of event loops is {switch} ({library})"

    def _publish_table(self, rows: Sequence[tuple[str, str]]) -> None:
        text = cards.table_text(rows)
        self._publish(({"text/plain": text, "text/html": cards.table_html(rows)}, {}))

    def _publish(self, bundle: MimeBundle) -> None:
        data, metadata = bundle
        self._ip.display_pub.publish(data, metadata)


def _notice_bundle(text: str) -> MimeBundle:
    return {"text/plain": text, "text/html": cards.notice_html(text)}, {}


# --- parsing a line ---------------------------------------------


def list_commands() -> list[str]:
    """Return the names of the commands."""
    return [name for name in vars(Commands) if not name.startswith("_")]


def get_command_params(command: str) -> tuple[Param, ...]:
    """Return the parameters of a command; `connect` also takes every setting but the secrets."""
    params = parse_signature(getattr(Commands, command))
    if command == "panel":
        return tuple(replace(param, choices=tuple(list_panel_kinds())) for param in params)
    if command != "connect":
        return params
    settings = list_settings(get_section_types())
    return (*params, *(_make_setting_param(each) for each in settings if not _is_secret(each)))


def parse_command_line(command: str, words: Sequence[str]) -> dict[str, Any]:
    """Parse the arguments of a command.

    Raises:
        InvalidRequest: an argument is unknown, missing or
            invalid.
        SettingsError: a secret is written on the line.
    """
    if command != "connect":
        arguments = parse_arguments(getattr(Commands, command), words)
        if command == "panel":
            check_panel_kind(arguments["kind"])
        return arguments
    flags = {word.partition("=")[0] for word in words}
    for setting in list_settings(get_section_types()):
        if _is_secret(setting) and _flag_name(setting.name) in flags:
            raise SettingsError(
                f"{setting.name} is not accepted on a line: notebook and history would store it.",
                detail="Remove it from this cell now.",
                hint=f"Set {setting.env[0]} in the environment, or write it into a profile.",
            )
    return parse_tokens(get_command_params("connect"), words)


def resolve_command(word: str) -> str:
    """Return the command that a word names.

    Raises:
        InvalidRequest: there is no such command.
    """
    commands = list_commands()
    if word not in commands:
        raise InvalidRequest(f"There is no command %mjci {word}.", hint=suggest(word, commands))
    return word


def _is_secret(setting: NamedSetting) -> bool:
    return isinstance(setting.field.default, Secret)


def _flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def _make_setting_param(setting: NamedSetting) -> Param:
    field = setting.field
    choices = field.metadata["choices"]
    kind = "choice" if choices else _KIND_BY_TYPE.get(type(field.default), "text")
    help = field.metadata["help"]
    return Param(
        setting.name,
        _flag_name(setting.name),
        kind,
        field.default,
        False,
        choices,
        help,
        False,
    )


_KIND_BY_TYPE: Mapping[type, Kind] = {float: "number", int: "integer"}


def _ipykernel_version() -> tuple[int, ...]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return tuple(map(int, version("ipykernel").split(".")[:2]))
    except (PackageNotFoundError, ValueError):
        return (0,)
