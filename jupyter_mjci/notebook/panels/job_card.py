"""A card: one submission and what came of it, step by step.

The first step is what was submitted; each button pressed under a picture makes a further step in
the same card, so a card is a small tree. It shows one step at a time; the breadcrumb leads back to
its parents, and on to its children.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import AnswerError, MjciError
from jupyter_mjci.history.image_archive import is_grid
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.base import Panel, in_order
from jupyter_mjci.notebook.panels.html import Shown
from jupyter_mjci.services.midjourney import api as midjourney

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.mask_canvas import Painter

LARGE = (720, 160_000)  # pixels of the longer side and bytes: a picture on a card
SMALL = (256, 24_000)  # and in the static record
MOST = 4  # pictures of one job
LEFT = ("Not waiting any more.", "The job goes on at the service; Wait again picks it up.")


@dataclass(eq=False)
class Step:
    """One job of a card. `label` is its crumb, `button` what it was begun with, `given` what it was
    made from, if that is to be seen beside it; `quarters` are a grid's four pictures, `picked`
    those of them that were chosen.
    """

    label: str
    job: Job
    parent: Step | None = None
    children: list[Step] = field(default_factory=list)
    given: list[Shown] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    small: list[Shown] = field(default_factory=list)
    preview: Shown | None = None
    told: tuple[str, ...] = ()
    watch: event_loop.Handle[None] | None = None
    button: Button | None = None
    size: tuple[int, int] = (0, 0)
    quarters: list[Shown] = field(default_factory=list)
    picked: list[int] = field(default_factory=list)

    @property
    def region(self) -> bool:
        """Whether it asks for a region of its parent's picture."""
        asked = f"{self.button.custom_id} {self.button.label}".lower() if self.button else ""
        return self.parent is not None and ("inpaint" in asked or "region" in asked)

    def trail(self) -> list[Step]:
        return [*(self.parent.trail() if self.parent else ()), self]

    @property
    def watched(self) -> bool:
        return self.watch is not None and not self.watch.done()


class Card:
    """A submitted job in a panel, as it goes on. `given` is the picture it was made from, for a
    card of two.
    """

    def __init__(
        self,
        panel: Panel,
        job: Job,
        *,
        label: str,
        given: Callable[[], Coroutine[Any, Any, bytes]] | None = None,
        leave: Callable[[Card], None],
    ) -> None:
        self.panel, self._given, self._leave = panel, given, leave
        self.crumbs = _row("mjci-crumbs")
        self.head, self.pictures, self.message = W.HTML(), W.HTML(), W.HTML()
        self.moves, self.controls, self.picks = (
            _row("mjci-moves"),
            _row("mjci-quiet"),
            _row("mjci-quiet"),
        )
        self.painter: Painter | None = None
        self.canvas_place = W.VBox(layout={"overflow": "visible"})
        parts = [
            self.crumbs,
            self.head,
            self.pictures,
            self.picks,
            self.moves,
            self.message,
            self._dialog(),
        ]
        self.box = W.VBox([*parts, self.controls])
        self.box.add_class("mjci-card")
        self._drawn: dict[str, Any] = {}
        self.first = self.step = Step(label, job)
        self._build_controls()
        self.watch(self.first)

    # --- following --------------------------------------------------------------------------------

    def watch(self, step: Step) -> None:
        """Follows the step's job on the engine, and shows each change."""
        step.told = ()
        step.watch = self.panel.start(self._follow(step))
        self.draw()

    async def _follow(self, step: Step) -> None:
        try:
            async for job in self.panel.session.follow(step.job):
                step.job = job
                self.draw()
                await self._see_preview(step)
            await self._see_pictures(step)
        except MjciError as error:  # WaitTooLong, a connection that broke, a service that went away
            step.told = html.lines(error)
        finally:
            step.watch = None
            self.draw()
            self.panel.keep_record()

    async def _see_preview(self, step: Step) -> None:
        url = midjourney.preview_of(step.job) if step.job.service == "mj" else ""
        if not url:
            return
        try:
            content = await self.panel.session.picture(url)
        except MjciError:
            # a preview is a courtesy: the next one may come, and the picture itself will tell
            return
        step.preview = await anyio.to_thread.run_sync(
            show, content, LARGE, f"Preview of {step.job.subject}", ""
        )
        self.draw()

    async def _see_pictures(self, step: Step) -> None:
        job, session = step.job, self.panel.session
        if job.status is not Status.SUCCEEDED:
            return
        step.shown, step.small, step.given = [], [], []
        if self._given is not None:
            before, _ = await _both(
                await self._given(), f"Before: {job.subject}", f"Before · {job.subject}"
            )
            step.given = [before]
        for index in range(min(len(job.outputs), MOST)):
            content = await session.picture(job, index)
            note = f"After · {_key(job.outputs[index])}" if self._given else ""
            large, small = await _both(content, images.alt(job), note)
            step.shown.append(large)
            step.small.append(small)
            if not index:
                seen = images.look(content)
                step.size = (seen.width, seen.height) if seen else (0, 0)

    # --- what a person does -----------------------------------------------------------------------

    async def _press(self, step: Step, button: Button) -> None:
        """Does the next action in place."""
        step.told = ()
        try:
            job = await self.panel.session.mj.action(step.job, button.custom_id)
        except MjciError as error:
            step.told = html.lines(error)
            self.draw()
            return
        child = Step(button.name, job, step, button=button)
        step.children.append(child)
        self.step = child
        self.watch(child)

    async def _reply(self) -> None:
        """Answers the dialog that the task asks for. Only once: some servers start the task again
        each time.
        """
        step, asked = self.step, self.step.job
        try:
            job = await self.panel.session.mj.modal(
                asked.id, self.answer.value, mask=self._mask(step)
            )
        except MjciError as error:
            step.told = html.lines(error)
            self.draw()
            return
        step.job = replace(
            job, action=asked.action, subject=job.subject or asked.subject, parent=asked.parent
        )
        self.mask.value = ()
        self.watch(step)

    def _mask(self, step: Step) -> bytes | None:
        """The mask that was uploaded, else the one that was painted."""
        uploaded = next((bytes(one["content"]) for one in self.mask.value), None)
        if uploaded is None and self.painter is not None and step.region:
            return self.painter.mask()
        return uploaded

    async def _pick(self, step: Step, number: int) -> None:
        """Chooses a picture of a grid, or no longer."""
        if not step.quarters:
            found = await self.panel.session.pictures(step.job)
            for index, content in enumerate(found, 1):
                large, _ = await _both(
                    content, f"{images.alt(step.job)}, picture {index}", f"Picture {index}"
                )
                step.quarters.append(large)
        step.picked = sorted(set(step.picked) ^ {number})
        self.draw()

    async def _download(self) -> None:
        """Saves the chosen pictures of a grid, else all that came out, in the browser."""
        step, session = self.step, self.panel.session
        if step.picked:
            whole = await session.pictures(step.job)
            contents = {f"-{number}": whole[number - 1] for number in step.picked}
        else:
            several = len(step.job.outputs) > 1
            contents = {
                f"-{n}" * several: await session.picture(step.job, n - 1)
                for n in range(1, len(step.job.outputs) + 1)
            }
        await self.panel.save(
            downloads.name(step.job),
            {downloads.name(step.job) + end: one for end, one in contents.items()},
        )

    async def _go(self, step: Step) -> None:
        self.step = step
        self.draw()

    async def _stop(self) -> None:
        step = self.step
        if step.watch is not None:
            step.watch.cancel()
            step.told = LEFT
            self.draw()

    async def _cancel(self) -> None:
        """Asks the service to cancel, and then what came of it. A watch goes on: the service may
        have said no.
        """
        step = self.step
        try:
            await self._canceller(step.job)(step.job.id)
            step.job = await self.panel.session.describe(step.job)
        except MjciError as error:
            step.told = html.lines(error)
        self.draw()
        self.panel.keep_record()

    def _canceller(self, job: Job) -> Any:
        """The service's call to cancel, or None: not every proxy can."""
        return getattr(getattr(self.panel.session, job.service), "cancel", None)

    async def _again(self) -> None:
        if not self.step.watched:
            self.watch(self.step)

    async def _remove(self) -> None:
        self.stop()
        self._leave(self)

    def stop(self) -> None:
        """Ends all watching of this card."""
        for step in self.steps():
            if step.watch is not None:
                step.watch.cancel()

    def steps(self) -> list[Step]:
        found, rest = [], [self.first]
        while rest:
            step = rest.pop(0)
            found.append(step)
            rest = [*step.children, *rest]
        return found

    # --- drawing: always in the engine's thread, or before the card is in sight -------------------

    def draw(self) -> None:
        step, job = self.step, self.step.job
        self.head.value = html.head(job) + html.subject(job) + html.bar(job)
        chosen = [step.quarters[number - 1] for number in step.picked]
        final = chosen or [*step.given, *step.shown]
        preview = [] if final or step.preview is None else [step.preview]
        self.pictures.value = html.pictures(final or preview, preview=bool(preview))
        self._draw_message(step)
        self._draw_if_new(self.crumbs, self._crumbs(step), self._crumb_buttons)
        self._draw_if_new(self.moves, (step, job.buttons), self._move_buttons)
        grid = bool(step.shown) and is_grid(job)
        self._draw_if_new(
            self.picks, (step, grid, tuple(step.picked)), partial(self._pick_buttons, grid)
        )
        self._draw_dialog(step)
        self.download_button.layout.display = "" if step.shown else "none"
        waiting = step.watched
        self.stop_button.layout.display = "" if waiting else "none"
        self.cancel_button.layout.display = (
            "" if self._canceller(job) and job.status.moving else "none"
        )
        self.again_button.layout.display = "" if not waiting and job.status.moving else "none"

    def _draw_message(self, step: Step) -> None:
        told, note = (
            step.told or _of_itself(step),
            step.told == LEFT or step.job.status is Status.ASKING,
        )
        self.message.value = html.said(told, note=note)

    def _draw_dialog(self, step: Step) -> None:
        asks = step.job.status is Status.ASKING
        self.dialog.layout.display = "" if asks else "none"
        if asks and self._drawn.get("dialog") is not step:
            self._drawn["dialog"] = step
            self.answer.value = step.job.subject
        if asks:
            self._draw_painter(step)

    def _draw_painter(self, step: Step) -> None:
        """For a region: the parent's picture, to paint on."""
        wanted = step.region and step.parent is not None and bool(step.parent.shown)
        if self._drawn.get("painter") == (step, wanted):
            return
        self._drawn["painter"] = step, wanted
        if wanted and self.painter is None:
            self.painter = downloads.painter()
            self.canvas_place.children = [self.painter.box] if self.painter else ()
        if self.painter is not None:
            self.painter.box.layout.display = "" if wanted else "none"
        if wanted and self.painter is not None and step.parent is not None:
            picture = step.parent.shown[0]
            self.painter.show(picture.url, f"To paint on: {picture.alt}", step.parent.size)

    def _draw_if_new(self, box: Any, key: Any, make: Callable[[Step], list[Any]]) -> None:
        """Buttons are made anew only when they differ, so that the keyboard's place on them is
        kept.
        """
        if self._drawn.get(box.model_id) == key:
            return
        self._drawn[box.model_id] = key
        old, box.children = box.children, make(self.step)
        for one in old:
            one.close()

    def _crumbs(self, step: Step) -> Any:
        return step, tuple((one.label, one.job.status) for one in (*step.trail(), *step.children))

    def _crumb_buttons(self, step: Step) -> list[Any]:
        trail, made = step.trail(), []
        if len(trail) == 1 and not step.children:
            return []
        for one in trail:
            name = one.label if one is trail[0] else f"› {one.label}"
            made.append(self._go_button(one, name, f"Back to {one.label}"))
            made[-1].disabled = one is step
        for one in step.children:
            name = f"→ {one.label} ({html.WORDS[one.job.status]})"
            made.append(self._go_button(one, name, f"On to {one.label}"))
        return made

    def _go_button(self, step: Step, name: str, tooltip: str) -> Any:
        return self._button(name, partial(self._go, step), tooltip=tooltip)

    def _move_buttons(self, step: Step) -> list[Any]:
        made = []
        for button in step.job.buttons:
            one = self._button(
                _face(button), partial(self._press, step, button), tooltip=_hint(button)
            )
            if button.pressed or any(child.label == button.name for child in step.children):
                one.add_class("mjci-done")
            made.append(one)
        return made

    def _pick_buttons(self, grid: bool, step: Step) -> list[Any]:
        if not grid:
            return []
        made = []
        for number in range(1, 5):
            one = self._button(
                f"Picture {number}", partial(self._pick, step, number), tooltip=_PICK.format(number)
            )
            if number in step.picked:
                one.add_class("mjci-picked")
            made.append(one)
        return made

    def _dialog(self) -> Any:
        """What a task that asks wants to hear: a prompt, and for Vary (Region) a mask."""
        self.answer = W.Textarea(description="Prompt", rows=2, layout={"width": "100%"}).add_class(
            "mjci-tall"
        )
        self.mask = W.FileUpload(
            description="Mask file",
            accept="image/*",
            tooltip="For Vary (Region): white is drawn anew, black stays",
        )
        self.reply_button = self._button("Answer", self._reply, tooltip="Go on with this prompt")
        self.reply_button.button_style = "primary"
        row = _row("mjci-reply")
        row.children = [self.reply_button, self.mask]
        self.dialog = W.VBox(
            [self.canvas_place, self.answer, row], layout={"display": "none", "overflow": "visible"}
        )
        in_order(self.dialog)
        return self.dialog

    def _build_controls(self) -> None:
        self.stop_button = self._button(
            "Stop waiting", self._stop, tooltip="The job goes on at the service"
        )
        self.cancel_button = self._button(
            "Cancel job", self._cancel, tooltip="Ask the service to cancel it"
        )
        self.again_button = self._button("Wait again", self._again, tooltip="Pick the job up again")
        self.remove_button = self._button(
            "Remove", self._remove, tooltip="Take this card away; the job goes on"
        )
        self.download_button = self._button(
            "Download", self._download, tooltip="Save what came out, or was chosen"
        )
        self.controls.children = [
            self.stop_button,
            self.cancel_button,
            self.again_button,
            self.download_button,
            self.remove_button,
        ]

    def _button(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, tooltip: str = ""
    ) -> Any:
        button = W.Button(description=name, tooltip=tooltip)
        self.panel.on_press(button, work)
        return button

    # --- the static record ------------------------------------------------------------------------

    def static_html(self) -> str:
        return f'<div class="mjci-card">{"".join(_still(step) for step in self.steps())}</div>'

    def static_text(self) -> str:
        return "\n".join("  " * len(step.trail()) + html.line(step.job) for step in self.steps())


def _still(step: Step) -> str:
    crumbs = " › ".join(one.label for one in step.trail())
    job = replace(step.job, subject="") if step.parent else step.job
    parts = (html.head(job), html.subject(job), html.pictures(step.small), html.said(step.told))
    named = f'<div class="mjci-faint">{escape(crumbs)}</div>' if step.parent else ""
    return named + "".join(parts)


def _row(kind: str) -> Any:
    return W.HBox().add_class("mjci-row").add_class(kind)


def _of_itself(step: Step) -> tuple[str, ...]:
    """What there is to say about a job that nobody told anything of yet."""
    job = step.job
    if job.status in (Status.FAILED, Status.CANCELLED):
        told = (f"{job.action or 'The job'} {html.WORDS[job.status]}.", job.reason)
        return tuple(line for line in told if line)
    if job.status is Status.ASKING:
        return "The service asks before it goes on.", _TO_PAINT if step.region else _TO_WRITE
    return ()


def _face(button: Button) -> str:
    """What stands on a button: its emoji, where it is one (Discord's own have but a name), and a
    word.
    """
    emoji = "" if button.emoji.isascii() else button.emoji
    return f"{emoji} {button.label or button.word.capitalize()}".strip() or button.custom_id


def _hint(button: Button) -> str:
    number = button.label[1:]
    if number.isdigit() and button.label[0] in _WORDS:
        return f"{_WORDS[button.label[0]]} picture {number}"
    return button.label or button.word.capitalize() or button.custom_id


_TO_PAINT = "Paint over what is to be drawn anew; the rest stays. Change the prompt or leave it."
_TO_WRITE = "Change the prompt or leave it. Custom Zoom: --zoom 1 to 2."
_PICK = "Choose picture {} of the grid: it is shown alone, and Download saves it"
_WORDS = {"U": "Upscale", "V": "Vary"}


def _key(url: str) -> str:
    return unquote(urlsplit(url).path).removeprefix("/")


def show(content: bytes, room: tuple[int, int], alt: str, note: str, *, told: str = "") -> Shown:
    """The picture small enough to show, with its true size in its caption. Raises AnswerError for
    what is none.
    """
    seen = images.look(content)
    if seen is None:
        raise AnswerError(
            "The result is no picture that can be shown here.",
            body=content,
            hint="session.picture(job).run() gives its bytes.",
        )
    small, mime, *_ = images.thumbnail(content, *room)
    size = told or f"{seen.width}×{seen.height} {seen.format} · {html.weight(len(content))}"
    return Shown(small, mime, alt, f"{note} · {size}" if note else size)


def _both(content: bytes, alt: str, note: str) -> Awaitable[tuple[Shown, Shown]]:
    """Both sizes; made in a worker thread, because the engine has other jobs."""
    return anyio.to_thread.run_sync(
        lambda: (show(content, LARGE, alt, note), show(content, SMALL, alt, note))
    )
