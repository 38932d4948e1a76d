"""Preview what a rule makes of a picture, while the rule is edited.

The rule is applied in this process, in a worker thread; nothing
is submitted. Of many quick changes only the last one is
previewed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.imaging.similarity import compare_result, load_gray
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel, Task
from jupyter_mjci.notebook.panels.html import InlineImage
from jupyter_mjci.notebook.panels.inline_image import CARD_IMAGE_LIMITS, make_inline_image

if TYPE_CHECKING:
    from jupyter_mjci.imaging.model import RuleResult

T = TypeVar("T")
# Seconds without a change before the rule is applied: a moving
# slider changes it at each step.
DEBOUNCE = 0.2
NO_RULE = mark("Add a step or type a rule to see a preview.")


class RulePreview:
    """The chosen picture and the rule's result.

    `result` is the last one, None after an error.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.pictures = W.HTML()
        self.change = W.HTML()
        self.box = W.VBox([self.pictures, self.change]).add_class("mjci-rule-preview")
        self.result: RuleResult | None = None
        self._key = ""
        self._content = b""
        self._original = InlineImage(b"", "")
        self._task: Task | None = None

    def schedule(self, key: str, rule: str) -> None:
        """Preview a rule soon; a preview that is still under way is cancelled.

        Args:
            key: the picture's key in the bucket; "" clears the
                preview
            rule: the rule; "" shows only the picture
        """
        self._task = self.panel.restart_task(self._task, self._update(key, rule))

    def invalidate(self) -> None:
        """Forget the loaded picture: its key now holds another one."""
        self._key = ""

    async def _update(self, key: str, rule: str) -> None:
        await anyio.sleep(DEBOUNCE)
        if not key:
            self.pictures.value = self.change.value = ""
            self.result = None
            return
        self.box.add_class("mjci-stale")
        try:
            await self._load_original(key)
            await self._apply_rule(rule)
        except MjciError as error:
            self.result = None
            self.change.value = ""
            self._render(html.render_alert(html.error_lines(error)))

    async def _load_original(self, key: str) -> None:
        if key == self._key:
            return
        self._key = ""
        content = await self.panel.session.ci.get_object(key)
        alt, caption = f"Before: {key}", f"Before · {key}"
        self._original = await _run_in_thread(
            partial(make_inline_image, content, CARD_IMAGE_LIMITS, alt, caption)
        )
        self._key = key
        self._content = content

    async def _apply_rule(self, rule: str) -> None:
        if not rule:
            self.result = None
            self.change.value = ""
            self._render(cards.dim_html(translate(NO_RULE)))
            return
        result = (await self.panel.session.preview(rule, self._content)).result
        if result.info is not None:
            text = json.dumps(result.info, ensure_ascii=False, indent=2)
            after = f'<pre class="mjci-json">{cards.escape_text(text)}</pre>'
        else:
            image = await _run_in_thread(partial(_make_result_image, result))
            after = image.to_html()
        self.result = result
        self._render(after)
        # It takes longer than the picture.
        change = await _run_in_thread(partial(_describe_change, self._content, result))
        self.change.value = html.render_status(change)

    def _render(self, after: str) -> None:
        before = self._original.to_html() if self._key else ""
        after_box = f'<div class="mjci-after">{after}</div>'
        self.pictures.value = render_element("div", before + after_box, "mjci-pictures mjci-pair")
        self.box.remove_class("mjci-stale")


async def _run_in_thread(func: Callable[[], T]) -> T:
    """Run a function in a worker thread; a task cancelled meanwhile ends here."""
    value = await anyio.to_thread.run_sync(func)
    await anyio.lowlevel.checkpoint_if_cancelled()
    return value


def _describe_change(content: bytes, result: RuleResult) -> str:
    """Return what a rule costs and what it keeps: its share of the bytes, SSIM and PSNR."""
    if result.info is not None:
        return ""
    text = f"{result.size / len(content):.0%} of the original's bytes"
    ssim, psnr = compare_result(load_gray(content), result)
    if math.isnan(ssim):
        return f"{text} · cut or turned, so not compared"
    quality = "the same picture" if math.isinf(psnr) else f"PSNR {psnr:.1f} dB"
    return f"{text} · SSIM {ssim:.3f} · {quality}"


def _make_result_image(result: RuleResult) -> InlineImage:
    size = html.format_size(result.size)
    details = f"{result.width}×{result.height} {result.format} · {size}"
    alt = "After: what the rule makes"
    try:
        return make_inline_image(result.body, CARD_IMAGE_LIMITS, alt, "Preview", details=details)
    except MjciError:
        raise InvalidRequest(
            f"The result ({details}) cannot be shown here.", hint="You can still process it."
        ) from None
