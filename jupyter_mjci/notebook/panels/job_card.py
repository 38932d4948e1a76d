"""A card: a submitted job, and the jobs that its buttons started.

The card shows one job of this tree at a time. The breadcrumb
leads back to its parents and on to its children.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.client.outcomes import allow_unconfirmed
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import MjciError
from jupyter_mjci.history.image_archive import is_grid
from jupyter_mjci.notebook import cards, images
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.async_button import Work
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.html import InlineImage
from jupyter_mjci.notebook.panels.inline_image import (
    CARD_IMAGE_LIMITS,
    make_both_sizes,
    make_inline_image,
)
from jupyter_mjci.notebook.panels.job_dialog import JobDialog, get_hint
from jupyter_mjci.notebook.panels.job_node import JobNode
from jupyter_mjci.notebook.panels.picture_viewer import attach_pictures, render_lineage
from jupyter_mjci.notebook.panels.widgets import (
    build_row,
    replace_children,
    set_visible,
    translate_all,
)

MAX_PICTURES = 4  # results of one job that a card shows
GRID_SIZE = 4  # pictures of a grid
STOPPED_MESSAGE = (
    mark("No longer waiting."),
    mark('The job keeps running at the service. "Wait again" follows it.'),
)
# U2: upscale picture 2
BUTTON_VERBS = {"U": mark("Upscale picture {}"), "V": mark("Vary picture {}")}

FetchPicture: TypeAlias = Callable[[], Coroutine[object, object, bytes]]


class Card:
    """A submitted job in a panel, with its progress, results and buttons.

    Args:
        panel: the panel that runs the card's tasks
        job: the job as submitted
        label: its name in the breadcrumb
        on_remove: called when the card is to be removed
        fetch_before: fetches the picture that the job works on,
            to be shown beside its result
        get_preview_url: returns the URL of a running job's
            preview, "" if there is none
        follow: whether to follow the job at once
    """

    def __init__(
        self,
        panel: Panel,
        job: Job,
        *,
        label: str,
        on_remove: Callable[[Card], None],
        fetch_before: FetchPicture | None = None,
        get_preview_url: Callable[[Job], str] | None = None,
        follow: bool = True,
    ) -> None:
        self.panel = panel
        self._on_remove = on_remove
        self._fetch_before = fetch_before
        self._get_preview_url = get_preview_url
        self.root = JobNode(label, job)
        self.current = self.root
        self._render_keys: dict[W.Widget, Hashable] = {}
        self._build()
        if follow or not job.status.is_active:
            self.start_following(self.root)
        else:
            self.render()

    def _build(self) -> None:
        self.breadcrumb = build_row(css_class="mjci-breadcrumb")
        self.header = W.HTML()
        self.pictures = W.HTML()
        self.lineage = W.HTML()
        self.grid_buttons = build_row(css_class="mjci-quiet")
        self.action_buttons = build_row(css_class="mjci-actions")
        self.message = W.HTML()
        self.dialog = JobDialog(self.panel, self._submit_dialog)
        self.box = W.VBox(
            [
                self.breadcrumb,
                self.header,
                self.pictures,
                self.lineage,
                self.grid_buttons,
                self.action_buttons,
                self.message,
                self.dialog.box,
                self._build_controls(),
            ]
        ).add_class("mjci-card")
        translate_all(self.box)

    def _build_controls(self) -> W.Widget:
        build = self.panel.build_button
        self.stop_button = build(
            "Stop waiting", "The job keeps running at the service", self._stop_following
        )
        self.cancel_button = build("Cancel job", "Ask the service to cancel the job", self._cancel)
        self.resume_button = build("Wait again", "Follow the job again", self._resume_following)
        self.download_button = build(
            "Download", "Save the results, or the selected pictures", self._download
        )
        self.remove_button = build(
            "Remove", "Remove this card; the job keeps running", self._remove
        )
        return build_row(
            self.stop_button,
            self.cancel_button,
            self.resume_button,
            self.download_button,
            self.remove_button,
            css_class="mjci-quiet",
        )

    # --- following ---

    def start_following(self, node: JobNode) -> None:
        """Follow a node's job on the event loop, and show each change."""
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
            await self._load_lineage(node)
        except MjciError as error:  # WaitTimeout, TransportError, ServiceError
            node.message = html.error_lines(error)
        finally:
            node.follow_task = None
            self.render()
            self.panel.update_snapshot()

    async def _load_preview(self, node: JobNode) -> None:
        if self._get_preview_url is None:
            return
        url = self._get_preview_url(node.job)
        if not url:
            return
        try:
            content = await self.panel.session.picture(url)
        except MjciError:
            # a preview may vanish at any time; the next one or
            # the result replaces it
            return
        alt = f"Preview of {node.job.subject}"
        node.preview = await anyio.to_thread.run_sync(
            make_inline_image, content, CARD_IMAGE_LIMITS, alt, ""
        )
        self.render()

    async def _load_pictures(self, node: JobNode) -> None:
        job = node.job
        if job.status is not Status.SUCCEEDED:
            return
        node.before = []
        node.pictures = []
        node.snapshot_pictures = []
        if self._fetch_before is not None:
            content = await self._fetch_before()
            caption = f"{translate('Before')} · {job.subject}"
            before, _ = await make_both_sizes(content, f"Before: {job.subject}", caption)
            node.before = [before]
        for index in range(min(len(job.outputs), MAX_PICTURES)):
            await self._load_picture(node, index)

    async def _load_picture(self, node: JobNode, index: int) -> None:
        content = await self.panel.session.picture(node.job, index)
        caption = ""
        name = node.job[index].name if len(node.job.outputs) > 1 else node.job.id
        if self._fetch_before is not None:
            caption = f"{translate('After')} · {get_object_key(node.job.outputs[index])}"
        alt = images.format_alt_text(node.job)
        large, small = await make_both_sizes(content, alt, caption, name)
        node.pictures.append(large)
        node.snapshot_pictures.append(small)
        if index == 0:
            info = images.identify(content)
            node.size = (info.width, info.height) if info else (0, 0)

    async def _load_lineage(self, node: JobNode) -> None:
        """Show a job among those that it was made of, and that were made of it."""
        nodes = [node] if node.parent is None else [node, node.parent]
        attach_pictures(self.panel.session, [each.job for each in nodes])
        for each in nodes:
            each.lineage = await render_lineage(self.panel.session, each.job)

    # --- actions of the user ---

    async def _run_action(self, node: JobNode, button: Button) -> None:
        """Press one of the job's own buttons; the new job becomes a child of the node."""
        node.message = ()
        try:
            job = await self._service_of(node.job).action(node.job, button.custom_id)
        except MjciError as error:
            self._show_node_error(node, error)
            return
        child = JobNode(button.name, job, node, button)
        node.children.append(child)
        self.current = child
        self.start_following(child)

    def _submit_dialog(self) -> Work:
        """Answer the dialog of the job that the page shows."""
        nodes = {node.job.id: node for node in self.root.walk()}
        node = nodes.get(self.dialog.job_id.value, self.current)
        try:
            call = self._service_of(node.job).modal(
                node.job.id, self.dialog.prompt.value, mask=self.dialog.get_mask(node)
            )
        except MjciError as error:
            node.message = html.error_lines(error)
            return self._select_node(node)
        return self._answer_dialog(node, call)

    async def _answer_dialog(self, node: JobNode, call: Call[Job]) -> None:
        """Send the answer once only: some proxies start the task again each time."""
        old = node.job
        try:
            job = await call
        except MjciError as error:
            self._show_node_error(node, error)
            return
        # The response to a modal names only the task; keep what
        # is known of it.
        subject = job.subject or old.subject
        node.job = replace(job, action=old.action, subject=subject, parent=old.parent)
        self.dialog.clear_upload()
        self.start_following(node)

    async def _toggle_picture(self, node: JobNode, number: int) -> None:
        """Select or deselect a picture of a grid."""
        if not node.grid_pictures:
            contents = await self.panel.session.pictures(node.job)
            for index, content in enumerate(contents, 1):
                alt = f"{images.format_alt_text(node.job)}, picture {index}"
                name = node.job[index - 1].name
                large, _ = await make_both_sizes(content, alt, f"Picture {index}", name)
                node.grid_pictures.append(large)
        node.selected = sorted({number} ^ set(node.selected))
        self.render()

    async def _download(self) -> None:
        """Save the selected pictures of a grid, else all results, in the browser."""
        node = self.current
        stem = downloads.build_file_stem(node.job)
        files: dict[str, bytes] = {}
        if node.selected:
            contents = await self.panel.session.pictures(node.job)
            for number in node.selected:
                files[f"{stem}-{number}"] = contents[number - 1]
        else:
            files = await downloads.fetch_files(self.panel.session, node.job)
        await self.panel.save(stem, files)

    async def _select_node(self, node: JobNode) -> None:
        self.current = node
        self.render()

    async def _stop_following(self) -> None:
        node = self.current
        if node.follow_task is not None:
            node.follow_task.cancel()
            node.message = STOPPED_MESSAGE
            self.render()

    async def _cancel(self) -> None:
        """Ask the service to cancel the job.

        The job stays followed: the service may refuse.
        """
        node = self.current
        try:
            with allow_unconfirmed():
                await self._service_of(node.job).cancel(node.job.id)
            node.job = await self.panel.session.describe(node.job)
        except MjciError as error:
            node.message = html.error_lines(error)
        self.render()
        self.panel.update_snapshot()

    def _can_cancel(self, job: Job) -> bool:
        return job.status.is_active and hasattr(self._service_of(job), "cancel")

    async def _resume_following(self) -> None:
        if not self.current.is_followed:
            self.start_following(self.current)

    async def _remove(self) -> None:
        self.stop_all()
        self._on_remove(self)

    def shows(self, job: Job) -> bool:
        """Return whether this is the card of a job."""
        return (self.root.job.service, self.root.job.id) == (job.service, job.id)

    def stop_all(self) -> None:
        """Stop following the jobs of this card."""
        for node in self.root.walk():
            if node.follow_task is not None:
                node.follow_task.cancel()

    def _show_node_error(self, node: JobNode, error: MjciError) -> None:
        node.message = html.error_lines(error)
        self.render()

    def _service_of(self, job: Job) -> Any:
        """Return the client of the job's service: `session.mj` or `session.ci`."""
        return getattr(self.panel.session, job.service)

    # --- rendering: in the event loop's thread, or before the
    # card is displayed ---

    def render(self) -> None:
        """Show the current node."""
        node = self.current
        job = node.job
        self.header.value = cards.live_html(job)
        self._render_pictures(node)
        self.lineage.value = f'<div class="mjci-lineage">{node.lineage}</div>'
        self._render_message(node)
        self._render_buttons(node)
        self.dialog.render(node)
        set_visible(self.download_button, bool(node.pictures))
        set_visible(self.stop_button, node.is_followed)
        set_visible(self.cancel_button, self._can_cancel(job))
        set_visible(self.resume_button, job.status.is_active and not node.is_followed)

    def _render_pictures(self, node: JobNode) -> None:
        pictures: Sequence[InlineImage] = [*node.before, *node.pictures]
        if node.selected:
            pictures = [node.grid_pictures[number - 1] for number in node.selected]
        if not pictures and node.preview is not None:
            self.pictures.value = html.render_images([node.preview], preview=True)
        else:
            self.pictures.value = html.render_images(pictures)

    def _render_message(self, node: JobNode) -> None:
        level: html.AlertLevel = "error"
        if node.message == STOPPED_MESSAGE or node.job.status is Status.NEEDS_INPUT:
            level = "note"
        message = list(map(translate, node.message)) or _default_message(node)
        self.message.value = html.render_alert(message, level=level)

    def _render_buttons(self, node: JobNode) -> None:
        relatives = (*node.get_path(), *node.children)
        statuses = tuple((relative.label, relative.job.status) for relative in relatives)
        self._render_if_changed(self.breadcrumb, (node, statuses), self._build_breadcrumb)
        grid = (node, _has_grid(node), tuple(node.selected))
        self._render_if_changed(self.grid_buttons, grid, self._build_grid_buttons)
        actions = (node, node.is_loading, node.job.buttons)
        self._render_if_changed(self.action_buttons, actions, self._build_action_buttons)

    def _render_if_changed(
        self, box: W.Widget, key: Hashable, build: Callable[[JobNode], Sequence[W.Widget]]
    ) -> None:
        """Rebuild buttons only when they change, or the keyboard focus would be lost."""
        if self._render_keys.get(box) != key:
            self._render_keys[box] = key
            replace_children(box, build(self.current))

    def _build_breadcrumb(self, node: JobNode) -> Sequence[W.Widget]:
        path = node.get_path()
        if len(path) == 1 and not node.children:
            return ()
        buttons = []
        for ancestor in path:
            name = ancestor.label if ancestor is self.root else f"› {ancestor.label}"
            button = self._build_node_button(ancestor, name, f"Back to {ancestor.label}")
            button.disabled = ancestor is node
            buttons.append(button)
        for child in node.children:
            name = f"→ {child.label} ({cards.format_label(child.job.status)})"
            buttons.append(self._build_node_button(child, name, f"On to {child.label}"))
        return buttons

    def _build_node_button(self, node: JobNode, name: str, tooltip: str) -> W.Widget:
        return self.panel.build_button(name, tooltip, partial(self._select_node, node))

    def _build_action_buttons(self, node: JobNode) -> Sequence[W.Widget]:
        if node.is_loading:
            # A picture that comes later would move them, and
            # a click would press another one.
            return ()
        pressed = {child.label for child in node.children}
        widgets = []
        for button in node.job.buttons:
            handler = partial(self._run_action, node, button)
            label, tooltip = cards.format_button(button), _format_tooltip(button)
            widget = self.panel.build_button(label, tooltip, handler)
            if button.used or button.name in pressed:
                widget.add_class("mjci-done")
            widgets.append(widget)
        return widgets

    def _build_grid_buttons(self, node: JobNode) -> Sequence[W.Widget]:
        if not _has_grid(node):
            return ()
        buttons = []
        for number in range(1, GRID_SIZE + 1):
            handler = partial(self._toggle_picture, node, number)
            label = translate("Picture {}").format(number)
            tooltip = translate("Select this picture, to see or download it alone")
            button = self.panel.build_button(label, tooltip, handler)
            if number in node.selected:
                button.add_class("mjci-picked")
            buttons.append(button)
        return buttons

    # --- the snapshot for the saved notebook ---

    def static_html(self) -> str:
        nodes = "".join(map(_render_snapshot, self.root.walk()))
        return f"<div>{nodes}</div>"

    def static_text(self) -> str:
        lines = []
        for node in self.root.walk():
            indent = "  " * len(node.get_path())
            lines.append(indent + cards.format_line(node.job))
        return "\n".join(lines)


def _has_grid(node: JobNode) -> bool:
    """Return whether pictures of a grid can be selected."""
    return bool(node.pictures) and not node.is_loading and is_grid(node.job)


def _render_snapshot(node: JobNode) -> str:
    job = node.job
    path = ""
    if node.parent is not None:
        # The path says where it came from; its prompt is the
        # root's.
        job = replace(job, subject="")
        labels = " › ".join(ancestor.label for ancestor in node.get_path())
        path = cards.dim_html(labels)
    parts = (
        path,
        cards.card_html(job),
        html.render_images(node.snapshot_pictures),
        html.render_alert(node.message),
    )
    return "".join(parts)


def _default_message(node: JobNode) -> Sequence[str]:
    """Return what a job's status says, for a node without a message of its own."""
    job = node.job
    if job.status in (Status.FAILED, Status.CANCELLED):
        name = job.action or "The job"
        reason = translate(cards.failure_reason(job))
        lines = (f"{name} {cards.format_label(job.status)}.", reason)
        return [line for line in lines if line]
    if job.status is Status.NEEDS_INPUT:
        return translate("The service needs your input."), translate(get_hint(node))
    return ()


def _format_tooltip(button: Button) -> str:
    verb = BUTTON_VERBS.get(button.label[:1])
    number = button.label[1:]
    if verb and number.isdigit():
        return translate(verb).format(number)
    return cards.format_button(button)


def get_object_key(url: str) -> str:
    """Return the key of an object of the bucket from its URL."""
    return unquote(urlsplit(url).path).removeprefix("/")
