"""`%mjci`: which session the magics of a shell use, and the commands that are no endpoints.

A command is a public method of `Commands`; its flags and its help come from its signature, as
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jupyter_mjci.client.settings import Secret, Settings
from jupyter_mjci.errors import InvalidRequest, SettingsError, suggest
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.argument_parser import parse_arguments, parse_tokens
from jupyter_mjci.notebook.current_session import CurrentSession
from jupyter_mjci.notebook.params import Kind, Param, parse_signature

if TYPE_CHECKING:
    from jupyter_mjci.session import Session


class Commands:
    """The commands of `%mjci`. Return types are left open: naming them would load what a session
    needs.
    """

    def __init__(self, ip: Any, current: CurrentSession) -> None:
        self._ip, self._current = ip, current

    def status(self) -> None:
        """Show which session the magics use and what it has seen."""
        from jupyter_mjci.notebook.doctor import build_status

        self._publish_table(build_status(*self._current.get()))

    def connect(self, profile: str | None = None, **overrides: Any) -> Any:
        """Use your services: settings given here, else in the environment, else in the profile;
        secrets never here.

        Args:
            profile: a table of profiles.toml
        """
        return self._current.set(
            self._current.connect(profile=profile, **overrides), "%mjci connect"
        )

    def sandbox(
        self,
        *,
        speed: float | None = None,
        dialect: Literal["plus", "java", "trueai", "new-api"] = "plus",
        seed: int = 0,
    ) -> Any:
        """Use a fresh sandbox in this process: both services, without account or network.

        Args:
            speed: how fast its time runs (20)
            dialect: which proxy family it speaks like
            seed: another seed, other pictures
        """
        from jupyter_mjci.session import sandbox

        speed = speed or self._current.settings().speed
        made = sandbox(speed=speed, dialect=dialect, seed=seed, **self._current.runtime_settings())
        return self._current.set(made, "%mjci sandbox")

    def use(self, name: str) -> Any:
        """Use the session in one of your variables.

        Args:
            name: the variable
        """
        return self._current.set(self._current.from_variable(name), f"your variable {name}")

    def panel(self, kind: Literal["mj", "ci", "history", "status"]) -> Any:
        """Show a panel.

        Args:
            kind: which one
        """
        from jupyter_mjci.notebook.panels import panel

        return panel(kind, session=self._current.get_or_connect())

    def history(self) -> Any:
        """Every job that the session has seen, as a DataFrame."""
        return self._current.get_or_connect().history()

    def sync(
        self, since: str | None = None, until: str | None = None, load: str | None = None
    ) -> None:
        """Bring the journal up to what the services know, or record the jobs of exported files.

        Args:
            since: jobs created from then on (2026-01-31, 2026-01-31T12:00+08:00), instead of what
                is new
            until: jobs created until then
            load: an exported listing or a log of callbacks (JSON, XML), or a folder of them,
                instead of the services
        """
        from jupyter_mjci.notebook.outputs import select_output

        session, place = self._current.get_or_connect(), select_output(self._ip)

        def say(counts: Any) -> None:
            if place.live and place.should_update():
                place.show_final(_notice_bundle(f"{counts} …"))

        if load is None:
            counts = session.sync(since=since, until=until, on_progress=say)
        else:
            counts = session.history.load(load, since=since, until=until, on_progress=say)
        place.show_final(_notice_bundle(str(counts)))

    def resume(self) -> Any:
        """Pick up what a dead kernel left: follow unfinished jobs to their end, with their
        pictures.
        """
        from jupyter_mjci.history.frames import jobs_to_frame
        from jupyter_mjci.notebook.job_display import display_job
        from jupyter_mjci.notebook.outputs import select_output

        session = self._current.get_or_connect()
        return jobs_to_frame(
            [
                display_job(session, job, select_output(self._ip), raises=False)
                for job in session.resume()
            ]
        )

    def replay(
        self,
        mode: Literal["record", "play", "off"] | None = None,
        folder: str | None = None,
        *,
        pixels: int | None = None,
    ) -> Any:
        """Record what the session exchanges into a folder, without secrets; or play a recording
        back, without network.

        Args:
            mode: by default what MJCI_REPLAY says, else play where there is a recording, else
                record
            folder: NAME.mjci; by default beside the notebook, by its name
            pixels: while recording, make pictures that are larger this small
        """
        from jupyter_mjci.client.cassette import resolve_mode
        from jupyter_mjci.client.settings import get_notebook_name
        from jupyter_mjci.session import replay

        name = get_notebook_name() or Path(self._ip.user_ns.get("__vsc_ipynb_file__", "")).stem
        chosen, place = resolve_mode(
            mode or "", folder or "", self._current.settings().replay, name
        )
        beneath = self._get_unrecorded()
        if chosen == "off":
            self._current.set(*beneath)
        elif chosen == "play":
            self._current.set(replay(place), "%mjci replay play").configure(
                **self._current.runtime_settings()
            )
        else:
            session = beneath[0] or self._current.connect(replay="off")
            self._current.set(session.record_to(place, pixels=pixels), "%mjci replay record")
        self._current.unrecorded = beneath
        return self._current.get()[0]

    def _get_unrecorded(self) -> tuple[Session | None, str]:
        """The session that is there apart from recordings."""
        session, source = self._current.get()
        return (
            (session, source)
            if session is None or not session.recording
            else self._current.unrecorded
        )

    def gallery(
        self, text: str = "", *, action: str = "", limit: int = 24, save: str | None = None
    ) -> None:
        """Show the pictures of this session, of the journal and of the archive on one sheet, the
        latest first.

        Args:
            text: only those that are about this: words of the prompt, part of the key
            action: only of this kind: IMAGINE, UPSCALE, PicProcess, …
            limit: at most so many
            save: write a page with them instead: FILE.html
        """
        from jupyter_mjci.notebook.gallery import collect_items, render_contact_sheet, write_page

        shown = collect_items(self._current.get_or_connect(), text, action, limit)
        self._ip.display_pub.publish(
            *(
                render_contact_sheet(shown)
                if save is None
                else _notice_bundle(write_page(shown, save))
            )
        )

    def doctor(self) -> None:
        """Find out what is wrong: versions, credentials, addresses, what the services accept and
        offer, clocks.
        """
        from jupyter_mjci.notebook.doctor import build_report, detect_front_end
        from jupyter_mjci.notebook.outputs import select_output

        session = self._current.get_or_connect()
        place = (
            f"{_OUTPUT_MODES[type(select_output(self._ip)).__name__]}; {detect_front_end(self._ip)}"
        )
        self._publish_table(build_report(session, self._current.get()[1], place))

    def nest(self, switch: Literal["on"]) -> str:
        """Let `asyncio.run` work inside cells, where that is safe; our own magics never need it.

        Args:
            switch: on; there is no way back but a restart
        """
        from jupyter_mjci.client.event_loop import enable_nested_loops

        return f"nesting of event loops is {switch} ({enable_nested_loops(ipykernel=_ipykernel_version())})"

    def _publish_table(self, rows: Sequence[tuple[str, str]]) -> None:
        data = {"text/plain": cards.table_text(rows), "text/html": cards.table_html(rows)}
        self._ip.display_pub.publish(data, {})


_OUTPUT_MODES = {
    "LiveOutput": "live: progress is shown",
    "HeadlessOutput": "headless: only final outputs",
    "TerminalOutput": "terminal: progress on stderr",
}


def _notice_bundle(text: str) -> Any:
    return {"text/plain": text, "text/html": cards.notice_html(text)}, {}


def list_commands() -> list[str]:
    return [name for name in vars(Commands) if not name.startswith("_")]


def get_command_params(command: str) -> tuple[Param, ...]:
    """The parameters of a command."""
    known = parse_signature(getattr(Commands, command))
    if command != "connect":
        return known
    return known + tuple(_setting_param(one) for one in fields(Settings) if not _is_secret(one))


def parse_command_line(command: str, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command. Raises CallError for a wrong line, SettingsError for a secret
    written on it.
    """
    if command != "connect":
        return parse_arguments(getattr(Commands, command), words)
    for one in fields(Settings):
        if _is_secret(one) and any(
            word.partition("=")[0] == _flag_name(one.name) for word in words
        ):
            raise SettingsError(
                f"{one.name} is not taken on a magic's line, where the notebook and its history would keep it.",
                detail="Take it out of this cell now.",
                hint=f"Set {one.metadata['env'][0]} in the environment, or write it into a profile.",
            )
    return parse_tokens(get_command_params("connect"), words)


def resolve_command(word: str) -> str:
    """The command that a word names. Raises CallError."""
    known = list_commands()
    if word not in known:
        raise InvalidRequest(f"There is no %mjci {word}.", hint=suggest(word, known))
    return word


def _is_secret(field: Any) -> bool:
    return isinstance(field.default, Secret)


def _flag_name(name: str) -> str:
    return "--" + name.replace("_", "-")


def _setting_param(field: Any) -> Param:
    kind = _KIND_BY_TYPE.get(type(field.default), "text")
    choices = field.metadata["choices"]
    return Param(
        field.name,
        _flag_name(field.name),
        "choice" if choices else kind,
        field.default,
        False,
        choices,
        field.metadata["help"],
        False,
    )


_KIND_BY_TYPE: Mapping[type, Kind] = {float: "number", int: "integer"}


def _ipykernel_version() -> tuple[int, ...]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return tuple(int(part) for part in version("ipykernel").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return (0,)
