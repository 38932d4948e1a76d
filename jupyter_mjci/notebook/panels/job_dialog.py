"""Answer a job that needs input: a prompt and, for Vary (Region), a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as W

from jupyter_mjci.client.job import Status
from jupyter_mjci.client.translation import mark
from jupyter_mjci.notebook.panels import downloads
from jupyter_mjci.notebook.panels.async_button import Handler
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.job_node import JobNode
from jupyter_mjci.notebook.panels.subshells import force_main_shell
from jupyter_mjci.notebook.panels.widgets import build_row, set_visible

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.mask_canvas import MaskEditor

MASK_HINT = mark("Paint the area to regenerate; the rest is kept. Edit the prompt, or keep it.")
PROMPT_HINT = mark("Edit the prompt, or keep it. Custom Zoom: --zoom 1 to 2.")


def get_hint(node: JobNode) -> str:
    """Return what a node's dialog asks for."""
    return MASK_HINT if node.needs_mask else PROMPT_HINT


class JobDialog:
    """The form of a dialog, hidden while the current job needs no input.

    Args:
        panel: the panel that runs `on_submit`
        on_submit: called when the answer is to be sent
    """

    def __init__(self, panel: Panel, on_submit: Handler) -> None:
        self.mask_editor: MaskEditor | None = None
        self._mask_editor_box = W.VBox(layout={"overflow": "visible"})
        self.prompt = W.Textarea(description="Prompt", rows=2, layout={"width": "100%"})
        self.prompt.add_class("mjci-tall")
        self.mask_upload = W.FileUpload(
            description="Mask file",
            accept="image/*",
            tooltip="For Vary (Region): white areas are regenerated, black ones are kept",
        )
        # The shown job travels with the answer: meanwhile another
        # one may be opened.
        self.job_id = W.Text(description="Job", layout={"display": "none"})
        submit = panel.build_submit("Answer", "Send this prompt", on_submit, style="primary")
        self.submit_button = submit.button
        row = build_row(*submit.widgets, self.mask_upload)
        self.box = W.VBox(
            [self.job_id, self._mask_editor_box, self.prompt, row],
            layout={"display": "none", "overflow": "visible"},
        )
        submit.bind(self.box)
        self._node: JobNode | None = None
        self._picture_node: JobNode | None = None
        # The fields and their button wait together.
        force_main_shell(self.box)

    def get_mask(self, node: JobNode) -> bytes | None:
        """Return the uploaded mask, else the painted one, None if the job needs none.

        Raises:
            InvalidRequest: The job needs a mask and nothing is
                painted.
        """
        for file in self.mask_upload.value:
            return bytes(file["content"])
        if self.mask_editor is not None and node.needs_mask:
            return self.mask_editor.render_mask()
        return None

    def clear_upload(self) -> None:
        self.mask_upload.value = ()

    def render(self, node: JobNode) -> None:
        """Show the dialog if the node's job needs input, else hide it."""
        # Not before what is above it, which would move it.
        needs_input = node.job.status is Status.NEEDS_INPUT and not node.is_loading
        set_visible(self.box, needs_input)
        if not needs_input:
            return
        if self._node is not node:
            self._node = node
            self.job_id.value = node.job.id
            self.prompt.value = node.job.subject
        self._render_mask_editor(node)

    def _render_mask_editor(self, node: JobNode) -> None:
        """Show the picture to paint on: the parent's first result."""
        parent = node.parent
        paintable = node.needs_mask and parent is not None and bool(parent.pictures)
        if paintable and self.mask_editor is None:
            self.mask_editor = downloads.create_mask_editor()
            if self.mask_editor is not None:
                self._mask_editor_box.children = [self.mask_editor.box]
        if self.mask_editor is None:
            return
        set_visible(self.mask_editor.box, paintable)
        # Only once: showing the picture again would remove the
        # strokes.
        if paintable and parent is not None and self._picture_node is not node:
            self._picture_node = node
            picture = parent.pictures[0]
            label = f"To paint on: {picture.alt}"
            self.mask_editor.show_picture(picture.data_url, label, parent.size)
