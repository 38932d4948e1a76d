"""The widgets with code of our own in the browser.

This is the only module that imports anywidget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as W
import traitlets as T

HERE = Path(__file__).parent
# clicks whose repetition is recognized
MAX_KNOWN_CLICKS = 100
# what the scripts share stands before each of them
SHARED_SCRIPT = (HERE / "own_notebook.js").read_text("utf-8")
Fields = Sequence[Mapping[str, object]]
SubmitHandler = Callable[[Fields, Callable[[], None]], None]


def load_script(name: str) -> str:
    """Return a script of this folder, after what it shares with others."""
    return SHARED_SCRIPT + (HERE / name).read_text("utf-8")


class Canvas(anywidget.AnyWidget):
    """A picture with strokes over it.

    Traits:
        picture: a data URL
        label: the picture's alternative text
        strokes: dictionaries of `points` (x and y), `size` and
            `erase`; all numbers are fractions of the picture's
            width, y of its height
        brush: the width of the next stroke, as a fraction of the
            picture's width
        erase: whether the next stroke erases
    """

    _esm = HERE / "mask_canvas.js"
    picture = T.Unicode().tag(sync=True)
    label = T.Unicode().tag(sync=True)
    strokes: T.List[dict[str, object]] = T.List().tag(sync=True)
    brush = T.Float(0.12).tag(sync=True)
    erase = T.Bool(False).tag(sync=True)


class PageScript(anywidget.AnyWidget):
    """Saves files in the browser, and names what other widgets leave without a name."""

    _esm = HERE / "page.js"

    def save(self, name: str, mime: str, content: bytes) -> None:
        """Save one file."""
        self.send({"name": name, "mime": mime}, buffers=[content])


class SubmitSender(anywidget.AnyWidget):
    """Sends the fields of a form with a click on its button, as the page shows them.

    It takes the place of the button's own click, shows beside the
    button that the kernel is busy, and disables the button until
    the click is answered.

    Args:
        button: the button
        on_submit: called with the fields of each new click, and
            with a function to call when it has been answered

    Traits:
        form: model ID of the form's outermost box
        button: model ID of the button
        button_class: the button's CSS class
        click: ID of the click under way, "" if there is none
        accepted: ID of the last click that has arrived here
        note: the text beside the button
    """

    _esm = load_script("submit.js")
    form = T.Unicode().tag(sync=True)
    button = T.Unicode().tag(sync=True)
    button_class = T.Unicode().tag(sync=True)
    click = T.Unicode().tag(sync=True)
    accepted = T.Unicode().tag(sync=True)
    note = T.Unicode().tag(sync=True)

    def __init__(self, button: W.Button, on_submit: SubmitHandler) -> None:
        button_class = f"mjci-button-{button.model_id}"
        button.add_class(button_class)
        super().__init__(button=button.model_id, button_class=button_class)
        self._on_submit = on_submit
        self._known_clicks: deque[str] = deque(maxlen=MAX_KNOWN_CLICKS)
        self.on_msg(self._on_message)

    def _on_message(self, _: W.Widget, content: Mapping[str, object], buffers: list[bytes]) -> None:
        click = str(content.get("click", ""))
        if not click or click in self._known_clicks:
            return
        self._known_clicks.append(click)
        self.accepted = click
        self.click = click
        fields: Any = unpack_bytes(content["fields"], buffers)
        self._on_submit(fields, self._answer)

    def _answer(self) -> None:
        self.click = ""


class CardButtonsWidget(anywidget.AnyWidget):
    """Shows buttons under the cards of finished jobs; it needs no view.

    Args:
        on_click: called with the ID of each new click, the job's
            ID and the action's key

    Traits:
        cards: by job ID, dictionaries of an action's `key`,
            `label` and `tooltip`
    """

    _esm = load_script("card_buttons.js")
    cards: T.Dict[str, list[dict[str, str]]] = T.Dict().tag(sync=True)

    def __init__(self, on_click: Callable[[str, str, str], None]) -> None:
        super().__init__()
        self._on_click = on_click
        # the jobs of the clicks
        self._clicks: dict[str, str] = {}
        self.on_msg(self._on_message)

    def _on_message(self, _: W.Widget, content: Mapping[str, str], __: object) -> None:
        click, job, key = content["click"], content["job"], content["key"]
        if click not in self._clicks:
            self._clicks[click] = job
            self._on_click(click, job, key)

    def answer(self, click: str, html: str) -> None:
        """Show under the card what a click has brought, and enable its buttons."""
        self.send({"click": click, "job": self._clicks[click], "html": html})

    def save(self, name: str, mime: str, content: bytes) -> None:
        """Save one file in the browser."""
        self.send({"file": {"name": name, "mime": mime}}, buffers=[content])

    def insert_cell(self, job_id: str, source: str) -> None:
        """Add a cell of code below a job's card; elsewhere copy it, where the browser allows it."""
        self.send({"job": job_id, "cell": source})


class PictureViewerWidget(anywidget.AnyWidget):
    """Looks at the pictures of this kernel's jobs in the page; it needs no view.

    Args:
        on_request: called with each request: its `id`, its `kind`
            and the `name` of the picture

    Traits:
        ratings: by a picture's name, dictionaries of its `stars`,
            `tags` and `note`
    """

    _esm = load_script("viewer.js")
    ratings: T.Dict[str, dict[str, object]] = T.Dict().tag(sync=True)

    def __init__(self, on_request: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self.on_msg(lambda _, request, __: on_request(request))

    def answer(self, request_id: str, answer: Mapping[str, object], content: bytes = b"") -> None:
        """Answer a request, with the bytes of a picture if it asked for one."""
        self.send({"id": request_id, **answer}, buffers=[content] if content else None)


class PageLanguage(anywidget.AnyWidget):
    """Translates the labels in a page whose browser is not set to English; it needs no view.

    Args:
        load_catalogue: returns the messages of a language, by
            their English text

    Traits:
        is_enabled: whether the page translates
    """

    _esm = load_script("page_language.js")
    is_enabled = T.Bool(False).tag(sync=True)

    def __init__(self, load_catalogue: Callable[[str], Mapping[str, str]]) -> None:
        super().__init__()
        self._load_catalogue = load_catalogue
        self.on_msg(self._on_message)

    def _on_message(self, _: W.Widget, content: Mapping[str, str], __: object) -> None:
        self.send({"messages": self._load_catalogue(content["language"])})


def unpack_bytes(value: object, buffers: Sequence[object]) -> object:
    """Put the bytes that travel beside a message in their places, {"buffer": position}."""
    if isinstance(value, list):
        return [unpack_bytes(item, buffers) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"buffer"}:
        return buffers[value["buffer"]]
    return {name: unpack_bytes(item, buffers) for name, item in value.items()}
