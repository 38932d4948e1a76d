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
from jupyter_mjci.errors import InvalidResponse, MjciError
from jupyter_mjci.history.image_archive import is_grid
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.base import Panel, force_main_shell
from jupyter_mjci.notebook.panels.html import InlineImage
from jupyter_mjci.services.midjourney import responses as midjourney

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.mask_canvas import MaskEditor

CARD_IMAGE_LIMITS = (720, 160_000)  # pixels of the longer side and bytes: a picture on a card
SNAPSHOT_IMAGE_LIMITS = (256, 24_000)  # and in the static record
MAX_PICTURES = 4  # pictures of one job
STOPPED_MESSAGE = (
    "Not waiting any more.",
    "The job goes on at the service; Wait again picks it up.",
)


@dataclass(eq=False)
class JobNode:
    """One job of a card. `label` is its crumb, `button` what it was begun with, `before` what it was
    made from, if that is to be seen beside it; `grid_pictures` are a grid's four pictures, `selected`
    those of them that were chosen.
    """

    label: str
    job: Job
    parent: JobNode | None = None
    children: list[JobNode] = field(default_factory=list)
    before: list[InlineImage] = field(default_factory=list)
    pictures: list[InlineImage] = field(default_factory=list)
    snapshot_pictures: list[InlineImage] = field(default_factory=list)
    preview: InlineImage | None = None
    message: tuple[str, ...] = ()
    follow_task: event_loop.BackgroundTask[None] | None = None
    button: Button | None = None
    size: tuple[int, int] = (0, 0)
    grid_pictures: list[InlineImage] = field(default_factory=list)
    selected: list[int] = field(default_factory=list)

    @property
    def needs_mask(self) -> bool:
        """Whether it asks for a region of its parent's picture."""
        asked = f"{self.button.custom_id} {self.button.label}".lower() if self.button else ""
        return self.parent is not None and ("inpaint" in asked or "region" in asked)

    def get_path(self) -> list[JobNode]:
        return [*(self.parent.get_path() if self.parent else ()), self]

    @property
    def is_followed(self) -> bool:
        return self.follow_task is not None and not self.follow_task.done()


class Card:
    """A submitted job in a panel, as it goes on. `fetch_before` is the picture it was made from, for a
    card of two.
    """

    def __init__(
        self,
        panel: Panel,
        job: Job,
        *,
        label: str,
        fetch_before: Callable[[], Coroutine[Any, Any, bytes]] | None = None,
        on_remove: Callable[[Card], None],
    ) -> None:
        self.panel, self._fetch_before, self._on_remove = panel, fetch_before, on_remove
        self.breadcrumb = _build_row("mjci-crumbs")
        self.header, self.pictures, self.message = W.HTML(), W.HTML(), W.HTML()
        self.action_buttons, self.controls, self.grid_buttons = (
            _build_row("mjci-moves"),
            _build_row("mjci-quiet"),
            _build_row("mjci-quiet"),
        )
        self.mask_editor: MaskEditor | None = None
        self.mask_editor_box = W.VBox(layout={"overflow": "visible"})
        parts = [
            self.breadcrumb,
            self.header,
            self.pictures,
            self.grid_buttons,
            self.action_buttons,
            self.message,
            self._build_dialog(),
        ]
        self.box = W.VBox([*parts, self.controls])
        self.box.add_class("mjci-card")
        self._render_keys: dict[str, Any] = {}
        self.root = self.current = JobNode(label, job)
        self._build_controls()
        self.start_following(self.root)

    # --- following --------------------------------------------------------------------------------

    def start_following(self, node: JobNode) -> None:
        """Follows the step's job on the engine, and shows each change."""
        node.message = ()
        node.follow_task = self.panel.start_task(self._follow(node))
        self.render()

    async def _follow(self, node: JobNode) -> None:
        try:
            async for job in self.panel.session.follow(node.job):
                node.job = job
                self.render()
                await self._load_preview(node)
            await self._load_pictures(node)
        except MjciError as error:  # WaitTooLong, a connection that broke, a service that went away
            node.message = html.error_lines(error)
        finally:
            node.follow_task = None
            self.render()
            self.panel.update_snapshot()

    async def _load_preview(self, node: JobNode) -> None:
        url = midjourney.get_preview_url(node.job) if node.job.service == "mj" else ""
        if not url:
            return
        try:
            content = await self.panel.session.picture(url)
        except MjciError:
            # a preview is a courtesy: the next one may come, and the picture itself will tell
            return
        node.preview = await anyio.to_thread.run_sync(
            make_inline_image, content, CARD_IMAGE_LIMITS, f"Preview of {node.job.subject}", ""
        )
        self.render()

    async def _load_pictures(self, node: JobNode) -> None:
        job, session = node.job, self.panel.session
        if job.status is not Status.SUCCEEDED:
            return
        node.pictures, node.snapshot_pictures, node.before = [], [], []
        if self._fetch_before is not None:
            before, _ = await _make_both_sizes(
                await self._fetch_before(), f"Before: {job.subject}", f"Before · {job.subject}"
            )
            node.before = [before]
        for index in range(min(len(job.outputs), MAX_PICTURES)):
            content = await session.picture(job, index)
            note = f"After · {_object_key(job.outputs[index])}" if self._fetch_before else ""
            large, small = await _make_both_sizes(content, images.format_alt_text(job), note)
            node.pictures.append(large)
            node.snapshot_pictures.append(small)
            if not index:
                seen = images.identify(content)
                node.size = (seen.width, seen.height) if seen else (0, 0)

    # --- what a person does -----------------------------------------------------------------------

    async def _run_action(self, node: JobNode, button: Button) -> None:
        """Does the next action in place."""
        node.message = ()
        try:
            job = await self.panel.session.mj.action(node.job, button.custom_id)
        except MjciError as error:
            node.message = html.error_lines(error)
            self.render()
            return
        child = JobNode(button.name, job, node, button=button)
        node.children.append(child)
        self.current = child
        self.start_following(child)

    async def _submit_dialog(self) -> None:
        """Answers the dialog that the task asks for. Only once: some servers start the task again
        each time.
        """
        step, asked = self.current, self.current.job
        try:
            job = await self.panel.session.mj.modal(
                asked.id, self.prompt.value, mask=self._get_mask(step)
            )
        except MjciError as error:
            step.message = html.error_lines(error)
            self.render()
            return
        step.job = replace(
            job, action=asked.action, subject=job.subject or asked.subject, parent=asked.parent
        )
        self.mask_upload.value = ()
        self.start_following(step)

    def _get_mask(self, node: JobNode) -> bytes | None:
        """The mask that was uploaded, else the one that was painted."""
        uploaded = next((bytes(one["content"]) for one in self.mask_upload.value), None)
        if uploaded is None and self.mask_editor is not None and node.needs_mask:
            return self.mask_editor.render_mask()
        return uploaded

    async def _toggle_picture(self, node: JobNode, number: int) -> None:
        """Chooses a picture of a grid, or no longer."""
        if not node.grid_pictures:
            found = await self.panel.session.pictures(node.job)
            for index, content in enumerate(found, 1):
                large, _ = await _make_both_sizes(
                    content,
                    f"{images.format_alt_text(node.job)}, picture {index}",
                    f"Picture {index}",
                )
                node.grid_pictures.append(large)
        node.selected = sorted(set(node.selected) ^ {number})
        self.render()

    async def _download(self) -> None:
        """Saves the chosen pictures of a grid, else all that came out, in the browser."""
        step, session = self.current, self.panel.session
        if step.selected:
            whole = await session.pictures(step.job)
            contents = {f"-{number}": whole[number - 1] for number in step.selected}
        else:
            several = len(step.job.outputs) > 1
            contents = {
                f"-{n}" * several: await session.picture(step.job, n - 1)
                for n in range(1, len(step.job.outputs) + 1)
            }
        await self.panel.save(
            downloads.build_file_stem(step.job),
            {downloads.build_file_stem(step.job) + end: one for end, one in contents.items()},
        )

    async def _select_node(self, node: JobNode) -> None:
        self.current = node
        self.render()

    async def _stop_following(self) -> None:
        step = self.current
        if step.follow_task is not None:
            step.follow_task.cancel()
            step.message = STOPPED_MESSAGE
            self.render()

    async def _cancel(self) -> None:
        """Asks the service to cancel, and then what came of it. A watch goes on: the service may
        have said no.
        """
        step = self.current
        try:
            await self._find_cancel(step.job)(step.job.id)
            step.job = await self.panel.session.describe(step.job)
        except MjciError as error:
            step.message = html.error_lines(error)
        self.render()
        self.panel.update_snapshot()

    def _find_cancel(self, job: Job) -> Any:
        """The service's call to cancel, or None: not every proxy can."""
        return getattr(getattr(self.panel.session, job.service), "cancel", None)

    async def _resume_following(self) -> None:
        if not self.current.is_followed:
            self.start_following(self.current)

    async def _remove(self) -> None:
        self.stop_all()
        self._on_remove(self)

    def stop_all(self) -> None:
        """Ends all watching of this card."""
        for step in self.list_nodes():
            if step.follow_task is not None:
                step.follow_task.cancel()

    def list_nodes(self) -> list[JobNode]:
        found, rest = [], [self.root]
        while rest:
            step = rest.pop(0)
            found.append(step)
            rest = [*step.children, *rest]
        return found

    # --- drawing: always in the engine's thread, or before the card is in sight -------------------

    def render(self) -> None:
        step, job = self.current, self.current.job
        self.header.value = (
            html.render_header(job) + html.render_subject(job) + html.render_progress(job)
        )
        chosen = [step.grid_pictures[number - 1] for number in step.selected]
        final = chosen or [*step.before, *step.pictures]
        preview = [] if final or step.preview is None else [step.preview]
        self.pictures.value = html.render_images(final or preview, preview=bool(preview))
        self._render_message(step)
        self._render_if_changed(self.breadcrumb, self._breadcrumb_key(step), self._build_breadcrumb)
        self._render_if_changed(
            self.action_buttons, (step, job.buttons), self._build_action_buttons
        )
        grid = bool(step.pictures) and is_grid(job)
        self._render_if_changed(
            self.grid_buttons,
            (step, grid, tuple(step.selected)),
            partial(self._build_grid_buttons, grid),
        )
        self._render_dialog(step)
        self.download_button.layout.display = "" if step.pictures else "none"
        waiting = step.is_followed
        self.stop_button.layout.display = "" if waiting else "none"
        self.cancel_button.layout.display = (
            "" if self._find_cancel(job) and job.status.is_active else "none"
        )
        self.resume_button.layout.display = "" if not waiting and job.status.is_active else "none"

    def _render_message(self, node: JobNode) -> None:
        told, note = (
            node.message or _default_message(node),
            node.message == STOPPED_MESSAGE or node.job.status is Status.NEEDS_INPUT,
        )
        self.message.value = html.render_alert(told, note=note)

    def _render_dialog(self, node: JobNode) -> None:
        asks = node.job.status is Status.NEEDS_INPUT
        self.dialog.layout.display = "" if asks else "none"
        if asks and self._render_keys.get("dialog") is not node:
            self._render_keys["dialog"] = node
            self.prompt.value = node.job.subject
        if asks:
            self._render_mask_editor(node)

    def _render_mask_editor(self, node: JobNode) -> None:
        """For a region: the parent's picture, to paint on."""
        wanted = node.needs_mask and node.parent is not None and bool(node.parent.pictures)
        if self._render_keys.get("painter") == (node, wanted):
            return
        self._render_keys["painter"] = node, wanted
        if wanted and self.mask_editor is None:
            self.mask_editor = downloads.create_mask_editor()
            self.mask_editor_box.children = [self.mask_editor.box] if self.mask_editor else ()
        if self.mask_editor is not None:
            self.mask_editor.box.layout.display = "" if wanted else "none"
        if wanted and self.mask_editor is not None and node.parent is not None:
            picture = node.parent.pictures[0]
            self.mask_editor.show_picture(
                picture.data_url, f"To paint on: {picture.alt}", node.parent.size
            )

    def _render_if_changed(self, box: Any, key: Any, build: Callable[[JobNode], list[Any]]) -> None:
        """Buttons are made anew only when they differ, so that the keyboard's place on them is
        kept.
        """
        if self._render_keys.get(box.model_id) == key:
            return
        self._render_keys[box.model_id] = key
        old, box.children = box.children, build(self.current)
        for one in old:
            one.close()

    def _breadcrumb_key(self, node: JobNode) -> Any:
        return node, tuple(
            (one.label, one.job.status) for one in (*node.get_path(), *node.children)
        )

    def _build_breadcrumb(self, node: JobNode) -> list[Any]:
        trail, made = node.get_path(), []
        if len(trail) == 1 and not node.children:
            return []
        for one in trail:
            name = one.label if one is trail[0] else f"› {one.label}"
            made.append(self._build_node_button(one, name, f"Back to {one.label}"))
            made[-1].disabled = one is node
        for one in node.children:
            name = f"→ {one.label} ({html.STATUS_LABELS[one.job.status]})"
            made.append(self._build_node_button(one, name, f"On to {one.label}"))
        return made

    def _build_node_button(self, node: JobNode, name: str, tooltip: str) -> Any:
        return self._build_button(name, partial(self._select_node, node), tooltip=tooltip)

    def _build_action_buttons(self, node: JobNode) -> list[Any]:
        made = []
        for button in node.job.buttons:
            one = self._build_button(
                _format_button(button),
                partial(self._run_action, node, button),
                tooltip=_format_tooltip(button),
            )
            if button.used or any(child.label == button.name for child in node.children):
                one.add_class("mjci-done")
            made.append(one)
        return made

    def _build_grid_buttons(self, grid: bool, node: JobNode) -> list[Any]:
        if not grid:
            return []
        made = []
        for number in range(1, 5):
            one = self._build_button(
                f"Picture {number}",
                partial(self._toggle_picture, node, number),
                tooltip=_PICTURE_TOOLTIP.format(number),
            )
            if number in node.selected:
                one.add_class("mjci-picked")
            made.append(one)
        return made

    def _build_dialog(self) -> Any:
        """What a task that asks wants to hear: a prompt, and for Vary (Region) a mask."""
        self.prompt = W.Textarea(description="Prompt", rows=2, layout={"width": "100%"}).add_class(
            "mjci-tall"
        )
        self.mask_upload = W.FileUpload(
            description="Mask file",
            accept="image/*",
            tooltip="For Vary (Region): white is drawn anew, black stays",
        )
        self.reply_button = self._build_button(
            "Answer", self._submit_dialog, tooltip="Go on with this prompt"
        )
        self.reply_button.button_style = "primary"
        row = _build_row("mjci-reply")
        row.children = [self.reply_button, self.mask_upload]
        self.dialog = W.VBox(
            [self.mask_editor_box, self.prompt, row],
            layout={"display": "none", "overflow": "visible"},
        )
        force_main_shell(self.dialog)
        return self.dialog

    def _build_controls(self) -> None:
        self.stop_button = self._build_button(
            "Stop waiting", self._stop_following, tooltip="The job goes on at the service"
        )
        self.cancel_button = self._build_button(
            "Cancel job", self._cancel, tooltip="Ask the service to cancel it"
        )
        self.resume_button = self._build_button(
            "Wait again", self._resume_following, tooltip="Pick the job up again"
        )
        self.remove_button = self._build_button(
            "Remove", self._remove, tooltip="Take this card away; the job goes on"
        )
        self.download_button = self._build_button(
            "Download", self._download, tooltip="Save what came out, or was chosen"
        )
        self.controls.children = [
            self.stop_button,
            self.cancel_button,
            self.resume_button,
            self.download_button,
            self.remove_button,
        ]

    def _build_button(
        self, name: str, handler: Callable[[], Coroutine[Any, Any, None]], *, tooltip: str = ""
    ) -> Any:
        button = W.Button(description=name, tooltip=tooltip)
        self.panel.on_click(button, handler)
        return button

    # --- the static record ------------------------------------------------------------------------

    def static_html(self) -> str:
        return f'<div class="mjci-card">{"".join(_render_snapshot(step) for step in self.list_nodes())}</div>'

    def static_text(self) -> str:
        return "\n".join(
            "  " * len(step.get_path()) + html.format_job(step.job) for step in self.list_nodes()
        )


def _render_snapshot(node: JobNode) -> str:
    crumbs = " › ".join(one.label for one in node.get_path())
    job = replace(node.job, subject="") if node.parent else node.job
    parts = (
        html.render_header(job),
        html.render_subject(job),
        html.render_images(node.snapshot_pictures),
        html.render_alert(node.message),
    )
    named = f'<div class="mjci-faint">{escape(crumbs)}</div>' if node.parent else ""
    return named + "".join(parts)


def _build_row(css_class: str) -> Any:
    return W.HBox().add_class("mjci-row").add_class(css_class)


def _default_message(node: JobNode) -> tuple[str, ...]:
    """What there is to say about a job that nobody told anything of yet."""
    job = node.job
    if job.status in (Status.FAILED, Status.CANCELLED):
        told = (f"{job.action or 'The job'} {html.STATUS_LABELS[job.status]}.", job.reason)
        return tuple(line for line in told if line)
    if job.status is Status.NEEDS_INPUT:
        return (
            "The service asks before it goes on.",
            _PAINT_HINT if node.needs_mask else _PROMPT_HINT,
        )
    return ()


def _format_button(button: Button) -> str:
    """What stands on a button: its emoji, where it is one (Discord's own have but a name), and a
    word.
    """
    emoji = "" if button.emoji.isascii() else button.emoji
    return f"{emoji} {button.label or button.alias.capitalize()}".strip() or button.custom_id


def _format_tooltip(button: Button) -> str:
    number = button.label[1:]
    if number.isdigit() and button.label[0] in _BUTTON_VERBS:
        return f"{_BUTTON_VERBS[button.label[0]]} picture {number}"
    return button.label or button.alias.capitalize() or button.custom_id


_PAINT_HINT = "Paint over what is to be drawn anew; the rest stays. Change the prompt or leave it."
_PROMPT_HINT = "Change the prompt or leave it. Custom Zoom: --zoom 1 to 2."
_PICTURE_TOOLTIP = "Choose picture {} of the grid: it is shown alone, and Download saves it"
_BUTTON_VERBS = {"U": "Upscale", "V": "Vary"}


def _object_key(url: str) -> str:
    return unquote(urlsplit(url).path).removeprefix("/")


def make_inline_image(
    content: bytes, limits: tuple[int, int], alt: str, caption: str, *, details: str = ""
) -> InlineImage:
    """The picture small enough to show, with its true size in its caption. Raises AnswerError for
    what is none.
    """
    seen = images.identify(content)
    if seen is None:
        raise InvalidResponse(
            "The result is no picture that can be shown here.",
            body=content,
            hint="session.picture(job).run() gives its bytes.",
        )
    small, mime, *_ = images.make_thumbnail(content, *limits)
    size = details or f"{seen.width}×{seen.height} {seen.format} · {html.format_size(len(content))}"
    return InlineImage(small, mime, alt, f"{caption} · {size}" if caption else size)


def _make_both_sizes(
    content: bytes, alt: str, caption: str
) -> Awaitable[tuple[InlineImage, InlineImage]]:
    """Both sizes; made in a worker thread, because the engine has other jobs."""
    return anyio.to_thread.run_sync(
        lambda: (
            make_inline_image(content, CARD_IMAGE_LIMITS, alt, caption),
            make_inline_image(content, SNAPSHOT_IMAGE_LIMITS, alt, caption),
        )
    )
