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
from jupyter_mjci.errors import CallError, MjciError
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.html import Shown
from jupyter_mjci.notebook.panels.job_card import LARGE, show

# seconds without a change before the work begins: a slider that moves is not worth a picture at
# each step
PAUSE = 0.2


class Trial:
    """The chosen picture and what the rule makes of it. `after` is the last result, as the engine
    gave it.
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.pictures = W.HTML()
        self.box = W.VBox([self.pictures]).add_class("mjci-trial")
        self.after: Any = None
        self._key, self._content, self._before = "", b"", Shown(b"", "")
        self._work: event_loop.Handle[None] | None = None

    def ask(self, key: str, rule: str) -> None:
        """Begins a trial; the one before it, done or not, is of no interest any more."""
        if self._work is not None:
            self._work.cancel()
        self._work = self.panel.start(self._try(key, rule))

    def forget(self) -> None:
        """The picture is another one under the same key."""
        self._key = ""

    async def _try(self, key: str, rule: str) -> None:
        await anyio.sleep(PAUSE)
        if not key:
            self.pictures.value, self.after = "", None
            return
        self._wait()
        try:
            await self._fetch(key)
            await self._carry_out(rule)
        except MjciError as error:
            self.after = None
            self._draw(html.said(html.lines(error)))

    async def _fetch(self, key: str) -> None:
        if key == self._key:
            return
        self._key = ""
        content = await self.panel.session.ci.get_object(key)
        self._before = await _in_thread(show, content, LARGE, f"Before: {key}", f"Before · {key}")
        self._key, self._content = key, content

    async def _carry_out(self, rule: str) -> None:
        if not rule:
            self.after = None
            self._draw(
                '<p class="mjci-faint">Add a step, or type a rule: what it makes is shown here at once.</p>'
            )
            return
        made = await self.panel.session.preview(rule, self._content)
        if made.info is not None:
            self.after, told = made, json.dumps(made.info, ensure_ascii=False, indent=2)
            self._draw(f'<pre class="mjci-answer">{html.escape(told)}</pre>')
            return
        shown = await _in_thread(_shown, made)
        self.after = made
        self._draw(shown.html())

    def _wait(self) -> None:
        self.box.add_class("mjci-stale")

    def _draw(self, after: str) -> None:
        before = self._before.html() if self._key else ""
        body = f'<div class="mjci-pictures mjci-pair">{before}<div class="mjci-after">{after}</div></div>'
        self.pictures.value = body
        self.box.remove_class("mjci-stale")


async def _in_thread(work: Callable[..., Shown], *given: Any) -> Shown:
    """Done elsewhere; who was called off meanwhile goes no further."""
    shown = await anyio.to_thread.run_sync(work, *given)
    await anyio.lowlevel.checkpoint_if_cancelled()
    return shown


def _shown(made: Any) -> Shown:
    facts = f"{made.width}×{made.height} {made.format} · {html.weight(made.size)}"
    try:
        return show(made.body, LARGE, "After: what the rule makes", "Preview", told=facts)
    except MjciError:
        raise CallError(
            f"The result ({facts}) cannot be shown here.", hint="Processing it works all the same."
        ) from None
