"""What a rule would make of a picture: before and after side by side, worked out here while the
rule is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client import event_loop
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.html import InlineImage
from jupyter_mjci.notebook.panels.job_card import CARD_IMAGE_LIMITS, make_inline_image

# seconds without a change before the work begins: a slider that moves is not worth a picture at
# each step
DEBOUNCE = 0.2


class RulePreview:
    """The chosen picture and what the rule makes of it. `result` is the last result, as the engine
    gave it.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.pictures = W.HTML()
        self.box = W.VBox([self.pictures]).add_class("mjci-trial")
        self.result: Any = None
        self._key, self._content, self._original = "", b"", InlineImage(b"", "")
        self._task: event_loop.BackgroundTask[None] | None = None

    def schedule(self, key: str, rule: str) -> None:
        """Begins a trial; the one before it, done or not, is of no interest any more."""
        if self._task is not None:
            self._task.cancel()
        self._task = self.panel.start_task(self._update(key, rule))

    def invalidate(self) -> None:
        """The picture is another one under the same key."""
        self._key = ""

    async def _update(self, key: str, rule: str) -> None:
        await anyio.sleep(DEBOUNCE)
        if not key:
            self.pictures.value, self.result = "", None
            return
        self._mark_stale()
        try:
            await self._load_original(key)
            await self._apply_rule(rule)
        except MjciError as error:
            self.result = None
            self._render(html.render_alert(html.error_lines(error)))

    async def _load_original(self, key: str) -> None:
        if key == self._key:
            return
        self._key = ""
        content = await self.panel.session.ci.get_object(key)
        self._original = await _run_in_thread(
            make_inline_image, content, CARD_IMAGE_LIMITS, f"Before: {key}", f"Before · {key}"
        )
        self._key, self._content = key, content

    async def _apply_rule(self, rule: str) -> None:
        if not rule:
            self.result = None
            self._render(
                '<p class="mjci-faint">Add a step, or type a rule: what it makes is shown here at once.</p>'
            )
            return
        made = await self.panel.session.preview(rule, self._content)
        if made.info is not None:
            self.result, told = made, json.dumps(made.info, ensure_ascii=False, indent=2)
            self._render(f'<pre class="mjci-answer">{html.escape(told)}</pre>')
            return
        shown = await _run_in_thread(_make_result_image, made)
        self.result = made
        self._render(shown.to_html())

    def _mark_stale(self) -> None:
        self.box.add_class("mjci-stale")

    def _render(self, after: str) -> None:
        before = self._original.to_html() if self._key else ""
        body = f'<div class="mjci-pictures mjci-pair">{before}<div class="mjci-after">{after}</div></div>'
        self.pictures.value = body
        self.box.remove_class("mjci-stale")


async def _run_in_thread(func: Callable[..., InlineImage], *args: Any) -> InlineImage:
    """Done elsewhere; who was called off meanwhile goes no further."""
    shown = await anyio.to_thread.run_sync(func, *args)
    await anyio.lowlevel.checkpoint_if_cancelled()
    return shown


def _make_result_image(result: Any) -> InlineImage:
    facts = f"{result.width}×{result.height} {result.format} · {html.format_size(result.size)}"
    try:
        return make_inline_image(
            result.body, CARD_IMAGE_LIMITS, "After: what the rule makes", "Preview", details=facts
        )
    except MjciError:
        raise InvalidRequest(
            f"The result ({facts}) cannot be shown here.", hint="Processing it works all the same."
        ) from None
