"""`%mjci`: which session the magics of a shell use, and the commands that are no endpoints.

A command is a public method of `Commands`; its flags and its help come from its signature, as
everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from jupyter_mjci.client.settings import MANNERS, Secret, Settings, load_manners
from jupyter_mjci.errors import CallError, SettingsError, instead
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.params import Kind, Param, arguments, params, parsed

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

SessionT = TypeVar("SessionT", bound="Session | None")


class Chosen:
    """The session that the magics of one shell use: the chosen one, else the one in the user's
    namespace, else a first connection of our own.
    """

    def __init__(self, ip: Any, given: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._ip, self._given = ip, given
        self._session: Session | None = None
        self._source = ""
        self._own: Session | None = None
        self.under: tuple[Session | None, str] = (None, "")  # what a recording stands before

    def session(self) -> Session:
        """The session to use; connects when there is none. Raises SettingsError."""
        found, _ = self.present()
        if found is None:
            found = self._own = self.connected()
        return found

    def connected(self, **given: Any) -> Session:
        """A new session: by what is given, else by `%config MJCI`, else by environment and
        profile.
        """
        from jupyter_mjci.session import connect

        told = {name: value for name, value in given.items() if value is not None}
        return connect(notice=self._say, **{**self._given(), **told})

    def kept(self) -> tuple[Any, ...]:
        """What outlives an unloading, for `take`."""
        return self._session, self._source, self._own, self.under

    def take(self, kept: tuple[Any, ...]) -> None:
        self._session, self._source, self._own, self.under = kept

    def settings(self) -> Settings:
        """What a new session would get, but for its credentials. Raises SettingsError."""
        return load_manners(self._given())

    def manners(self) -> dict[str, Any]:
        """What `%config MJCI` says of any session, wherever it is connected."""
        return {name: value for name, value in self._given().items() if name in MANNERS}

    def present(self) -> tuple[Session | None, str]:
        """The session that is there, and why it is the one. Never connects."""
        if self._session is not None:
            return self._session, self._source
        mine = self._in_namespace()
        if len(mine) > 1:
            raise SettingsError(
                f"There are several sessions: {', '.join(mine)}.",
                hint=f"Choose one: %mjci use {next(iter(mine))}",
            )
        for name, session in mine.items():
            return session, f"your variable {name}"
        return self._own, "connected by the first magic" if self._own else ""

    def choose(self, session: SessionT, source: str) -> SessionT:
        self._session, self._source = session, source
        return session

    def named(self, name: str) -> Session:
        """The session in a variable. Raises SettingsError."""
        kind, value = _session_type(), self._ip.user_ns.get(name)
        if kind is not None and isinstance(value, kind):
            found: Session = value
            return found
        known = ", ".join(self._in_namespace()) or "none"
        raise SettingsError(f"{name} is no session.", why=f"Variables that hold one: {known}.")

    def _in_namespace(self) -> dict[str, Session]:
        """Variables that hold a session, each session once; none before the session's module was
        ever imported.
        """
        kind = _session_type()
        if kind is None:
            return {}
        found: dict[int, tuple[str, Session]] = {}
        for name, value in list(self._ip.user_ns.items()):
            if not name.startswith("_") and isinstance(value, kind):
                found.setdefault(id(value), (name, value))
        return dict(found.values())

    def _say(self, line: str) -> None:
        """A line that must be seen, as an output: the same live and headless, and not on stdout."""
        data = {"text/plain": line, "text/html": cards.notice_html(line)}
        self._ip.display_pub.publish(data, {})


def _session_type() -> Any:
    module = sys.modules.get("jupyter_mjci.session")
    return getattr(module, "Session", None)


class Commands:
    """The commands of `%mjci`. Return types are left open: naming them would load what a session
    needs.
    """

    def __init__(self, ip: Any, chosen: Chosen) -> None:
        self._ip, self._chosen = ip, chosen

    def status(self) -> None:
        """Show which session the magics use and what it has seen."""
        from jupyter_mjci.notebook.doctor import status

        self._table(status(*self._chosen.present()))

    def connect(self, profile: str | None = None, **given: Any) -> Any:
        """Use your services: settings given here, else in the environment, else in the profile;
        secrets never here.

        Args:
            profile: a table of profiles.toml
        """
        return self._chosen.choose(
            self._chosen.connected(profile=profile, **given), "%mjci connect"
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

        speed = speed or self._chosen.settings().speed
        made = sandbox(speed=speed, dialect=dialect, seed=seed, **self._chosen.manners())
        return self._chosen.choose(made, "%mjci sandbox")

    def use(self, name: str) -> Any:
        """Use the session in one of your variables.

        Args:
            name: the variable
        """
        return self._chosen.choose(self._chosen.named(name), f"your variable {name}")

    def panel(self, kind: Literal["mj", "ci", "history", "status"]) -> Any:
        """Show a panel.

        Args:
            kind: which one
        """
        from jupyter_mjci.notebook.panels import panel

        return panel(kind, session=self._chosen.session())

    def history(self) -> Any:
        """Every job that the session has seen, as a DataFrame."""
        return self._chosen.session().history()

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
        from jupyter_mjci.notebook.job_display import screen

        session, place = self._chosen.session(), screen(self._ip)

        def say(counts: Any) -> None:
            if place.live and place.due():
                place.final(_line(f"{counts} …"))

        if load is None:
            counts = session.sync(since=since, until=until, say=say)
        else:
            counts = session.history.load(load, since=since, until=until, say=say)
        place.final(_line(str(counts)))

    def resume(self) -> Any:
        """Pick up what a dead kernel left: follow unfinished jobs to their end, with their
        pictures.
        """
        from jupyter_mjci.history.frames import frame
        from jupyter_mjci.notebook.job_display import screen, show

        session = self._chosen.session()
        return frame(
            [show(session, job, screen(self._ip), raises=False) for job in session.resume()]
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
        from jupyter_mjci.client.cassette import asked_for
        from jupyter_mjci.client.settings import notebook
        from jupyter_mjci.session import replayed

        name = notebook() or Path(self._ip.user_ns.get("__vsc_ipynb_file__", "")).stem
        chosen, place = asked_for(mode or "", folder or "", self._chosen.settings().replay, name)
        beneath = self._beneath()
        if chosen == "off":
            self._chosen.choose(*beneath)
        elif chosen == "play":
            self._chosen.choose(replayed(place), "%mjci replay play").adjust(
                **self._chosen.manners()
            )
        else:
            session = beneath[0] or self._chosen.connected(replay="off")
            self._chosen.choose(session.recorded(place, pixels=pixels), "%mjci replay record")
        self._chosen.under = beneath
        return self._chosen.present()[0]

    def _beneath(self) -> tuple[Session | None, str]:
        """The session that is there apart from recordings."""
        session, source = self._chosen.present()
        return (session, source) if session is None or not session.recording else self._chosen.under

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
        from jupyter_mjci.notebook.gallery import collected, sheet, written

        shown = collected(self._chosen.session(), text, action, limit)
        self._ip.display_pub.publish(
            *(sheet(shown) if save is None else _line(written(shown, save)))
        )

    def doctor(self) -> None:
        """Find out what is wrong: versions, credentials, addresses, what the services accept and
        offer, clocks.
        """
        from jupyter_mjci.notebook.doctor import examined, front_end
        from jupyter_mjci.notebook.job_display import screen

        session = self._chosen.session()
        place = f"{_PLACES[type(screen(self._ip)).__name__]}; {front_end(self._ip)}"
        self._table(examined(session, self._chosen.present()[1], place))

    def nest(self, switch: Literal["on"]) -> str:
        """Let `asyncio.run` work inside cells, where that is safe; our own magics never need it.

        Args:
            switch: on; there is no way back but a restart
        """
        from jupyter_mjci.client.event_loop import nest

        return f"nesting of event loops is {switch} ({nest(ipykernel=_ipykernel())})"

    def _table(self, rows: Sequence[tuple[str, str]]) -> None:
        data = {"text/plain": cards.table_text(rows), "text/html": cards.table_html(rows)}
        self._ip.display_pub.publish(data, {})


_PLACES = {
    "Live": "live: progress is shown",
    "Paper": "headless: only final outputs",
    "Terminal": "terminal: progress on stderr",
}


def _line(text: str) -> Any:
    return {"text/plain": text, "text/html": cards.notice_html(text)}, {}


def names() -> list[str]:
    return [name for name in vars(Commands) if not name.startswith("_")]


def flags(command: str) -> tuple[Param, ...]:
    """The parameters of a command."""
    known = params(getattr(Commands, command))
    if command != "connect":
        return known
    return known + tuple(_setting(one) for one in fields(Settings) if not _hidden(one))


def read(command: str, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command. Raises CallError for a wrong line, SettingsError for a secret
    written on it.
    """
    if command != "connect":
        return arguments(getattr(Commands, command), words)
    for one in fields(Settings):
        if _hidden(one) and any(word.partition("=")[0] == _flag(one.name) for word in words):
            raise SettingsError(
                f"{one.name} is not taken on a magic's line, where the notebook and its history would keep it.",
                why="Take it out of this cell now.",
                hint=f"Set {one.metadata['env'][0]} in the environment, or write it into a profile.",
            )
    return parsed(flags("connect"), words)


def wanted(word: str) -> str:
    """The command that a word names. Raises CallError."""
    known = names()
    if word not in known:
        raise CallError(f"There is no %mjci {word}.", hint=instead(word, known))
    return word


def _hidden(one: Any) -> bool:
    return isinstance(one.default, Secret)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _setting(one: Any) -> Param:
    kind = _KINDS.get(type(one.default), "text")
    choices = one.metadata["choices"]
    return Param(
        one.name,
        _flag(one.name),
        "choice" if choices else kind,
        one.default,
        False,
        choices,
        one.metadata["help"],
        False,
    )


_KINDS: Mapping[type, Kind] = {float: "number", int: "integer"}


def _ipykernel() -> tuple[int, ...]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return tuple(int(part) for part in version("ipykernel").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return (0,)
