"""A picture rule both ways: as its text, and as blocks with controls. Each follows the other.

What is typed stays as it was typed; only moving a control writes the text anew. A wrong text leaves
the blocks as they are and says what is wrong with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as W

from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import in_order
from jupyter_mjci.notebook.panels.controls import Control, Shaped, control

# How an operation begins when it is added, where the lowest value would show nothing.
BEGIN = {
    "rotate": "90",
    "flip": "horizontal",
    "sharpen": "70",
    "bright": "30",
    "contrast": "30",
    "grayscale": "1",
    "format": "webp",
    "interlace": "1",
    "cgif": "10",
    "iradius": "200",
    "rradius": "40",
    "ignore-error": "1",
    "quality": "80",
    "rquality": "80",
    "lquality": "80",
    "text": "mjci",
    "w": "400",
    "h": "300",
}
ANSWERS = ("imageInfo", "imageAve", "exif")  # they answer with JSON, not with a picture
TITLES = {
    "imageView2/0": "Fit: long and short edge",
    "imageView2/1": "Cover and cut",
    "imageView2/2": "Fit inside",
    "imageView2/3": "Cover",
    "imageView2/4": "Cover: long and short edge",
    "imageView2/5": "Cover and cut: edges",
    "watermark/1": "Picture mark",
    "watermark/2": "Text mark",
    "imageSlim": "Slim",
}


def title(name: str) -> str:
    return TITLES.get(name) or name.rpartition("/")[2].replace("-", " ").capitalize()


class Block:
    """One step of a rule. `apart` keeps it out of the operation before it."""

    def __init__(self, kind: Any, editor: RuleEditor, *, apart: bool = False) -> None:
        self.kind, self.apart = kind, apart
        self.controls: dict[str, Control] = {}
        for parameter in kind.parameters:
            if not parameter.flag:
                self.controls[parameter.name] = control(parameter, parameter.name == kind.key)
        for one in self.controls.values():
            one.heard = editor.moved
        self.box = W.VBox([self._head(editor), *self._bodies()]).add_class("mjci-block")

    def _head(self, editor: RuleEditor) -> Any:
        name = W.HTML(
            f"<b>{html.escape(title(self.kind.name))}</b> "
            f'<span class="mjci-faint">{html.escape(self.kind.help)}</span>'
        ).add_class("mjci-grow")
        moves = (("↑", "Earlier", -1), ("↓", "Later", 1), ("✕", "Remove this step", 0))
        buttons = [
            W.Button(description=face, tooltip=f"{said}: {self.kind.name}")
            for face, said, _ in moves
        ]
        for button, (_, _, by) in zip(buttons, moves, strict=True):
            button.on_click(lambda _, by=by: editor.shift(self, by))
        return W.HBox([name, *buttons]).add_class("mjci-row").add_class("mjci-quiet")

    def _bodies(self) -> list[Any]:
        """The controls that matter at once; those with a usual value folded away, where there are
        many.
        """
        boxes = [one.box for one in self.controls.values()]
        few = [one.box for one in self.controls.values() if one.key or one.parameter.name in FIRST]
        rest = [box for box in boxes if box not in few] if few and len(boxes) > 4 else []
        shown = W.HBox([box for box in boxes if box not in rest]).add_class("mjci-controls")
        if not rest:
            return [shown] if boxes else []
        more = W.ToggleButton(
            description="More", icon="chevron-down", tooltip=f"More of {self.kind.name}"
        )
        folded = W.HBox(rest, layout={"display": "none"}).add_class("mjci-controls")
        more.observe(
            lambda change: setattr(folded.layout, "display", "" if change["new"] else "none"),
            "value",
        )
        shown.children = (*shown.children, more)
        return [shown, folded]

    def begin(self) -> None:
        """The values that a new block has."""
        for name, one in self.controls.items():
            wanted = name == self.kind.key or one.parameter.required or name == "w"
            if wanted and name in BEGIN:
                one.show(BEGIN[name])
            elif not isinstance(one, Shaped):
                one.show(one.parameter.default if not one.key else one.value())

    def show(self, step: Any) -> None:
        values = dict(step.parameters)
        for name, one in self.controls.items():
            one.show(values.get(name))

    def step(self, engine: Any) -> Any:
        read = {name: one.read() for name, one in self.controls.items()}
        flags = {one.name: "" for one in self.kind.parameters if one.flag}
        told = {**flags, **{name: value for name, value in read.items() if value is not None}}
        return engine.Operation(self.kind.name, tuple(told.items()))


FIRST = ("w", "h", "text", "fontsize", "fill", "gravity", "image_key", "dissolve")


class RuleEditor:
    """The text field, the blocks, and what is wrong. `changed` is called after every change of the
    rule.
    """

    def __init__(self, engine: Any, text: Any, changed: Callable[[], None]) -> None:
        self.engine, self.text, self._changed = engine, text, changed
        self.blocks: list[Block] = []
        self._lock, self._following = threading.RLock(), False
        self.problem = W.HTML()
        self.wrong = False
        offered = [
            (_offer(kind), name) for name, kind in engine.OPERATIONS.items() if name not in ANSWERS
        ]
        self.palette = W.Dropdown(
            options=offered, description="Step", tooltip="What to do to the picture"
        )
        self.add_button = W.Button(
            description="Add step", icon="plus", tooltip="Add it to the end of the rule"
        )
        self.add_button.on_click(lambda _: self.add(self.palette.value))
        self.stack = W.VBox().add_class("mjci-stack")
        row = W.HBox([self.palette, self.add_button]).add_class("mjci-row")
        self.box = W.VBox([self.problem, self.stack, row]).add_class("mjci-editor")
        text.observe(lambda _: self.typed(), "value")

    # --- from the text to the blocks --------------------------------------------------------------

    def typed(self) -> None:
        """The text is another: the blocks follow it, if it is a rule."""
        if self._following:
            return
        with self._alone():
            groups = self._read()
            if groups is not None:
                self._follow(
                    [
                        (step, group and place == 0)
                        for group in groups
                        for place, step in enumerate(group)
                    ]
                )
        self._changed()

    def _read(self) -> Any:
        rule = self.text.value.strip()
        self._say("")
        try:
            return self.engine.steps(rule) if rule else ()
        except self.engine.RuleError as error:
            self._say(error.message)
            return None

    def _say(self, problem: str) -> None:
        self.wrong = bool(problem)
        self.problem.value = html.said(("This is no rule yet.", problem)) if problem else ""

    def _follow(self, steps: list[tuple[Any, Any]]) -> None:
        if [block.kind.name for block in self.blocks] != [step.name for step, _ in steps]:
            self._place([self._made(step.name) for step, _ in steps])
        for block, (step, apart) in zip(self.blocks, steps, strict=True):
            block.apart = bool(apart)
            block.show(step)

    def _made(self, name: str) -> Block:
        block = Block(self.engine.OPERATIONS[name], self)
        in_order(block.box)
        return block

    def _place(self, blocks: list[Block]) -> None:
        gone = [block for block in self.blocks if block not in blocks]
        self.blocks = blocks
        self.stack.children = [block.box for block in blocks]
        for block in gone:
            block.box.close()

    # --- from the blocks to the text --------------------------------------------------------------

    def moved(self) -> None:
        """A control was moved: the text follows the blocks."""
        if self._following:
            return
        with self._alone():
            self.text.value = self.rule()
            self._read()
        self._changed()

    def rule(self) -> str:
        """The rule that the blocks say."""
        groups: list[list[Any]] = []
        for block in self.blocks:
            step = block.step(self.engine)
            inside = step.name.startswith("imageMogr2/") and not block.apart
            if inside and groups and groups[-1][0].name.startswith("imageMogr2/"):
                groups[-1].append(step)
            else:
                groups.append([step])
        return str(self.engine.joined(groups))

    def add(self, name: str) -> None:
        """A new step at the end."""
        with self._alone():
            block = self._made(name)
            block.begin()
            self._place([*self.blocks, block])
        self.moved()

    def shift(self, block: Block, by: int) -> None:
        """Moves a block earlier or later; by 0 takes it away."""
        with self._alone():
            if block not in self.blocks:
                return
            place = self.blocks.index(block)
            rest = [one for one in self.blocks if one is not block]
            if by:
                rest.insert(max(0, place + by), block)
            self._place(rest)
        self.moved()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """What changes in here changes because of us."""
        with self._lock:
            self._following = True
            try:
                yield
            finally:
                self._following = False


def _offer(kind: Any) -> str:
    return f"{title(kind.name)} · {kind.help.partition(';')[0]}"
