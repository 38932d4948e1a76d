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
from jupyter_mjci.notebook.panels.base import force_main_shell
from jupyter_mjci.notebook.panels.controls import Control, TemplatedValue, build_control

# How an operation begins when it is added, where the lowest value would show nothing.
INITIAL_VALUES = {
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
JSON_OPERATIONS = ("imageInfo", "imageAve", "exif")  # they answer with JSON, not with a picture
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


def format_title(name: str) -> str:
    return TITLES.get(name) or name.rpartition("/")[2].replace("-", " ").capitalize()


class Block:
    """One step of a rule. `starts_group` keeps it out of the operation before it."""

    def __init__(self, operation: Any, editor: RuleEditor, *, starts_group: bool = False) -> None:
        self.operation, self.starts_group = operation, starts_group
        self.controls: dict[str, Control] = {}
        for parameter in operation.parameters:
            if not parameter.flag:
                self.controls[parameter.name] = build_control(
                    parameter, parameter.name == operation.key
                )
        for one in self.controls.values():
            one.on_change = editor.on_control_change
        self.box = W.VBox([self._build_header(editor), *self._build_body()]).add_class("mjci-block")

    def _build_header(self, editor: RuleEditor) -> Any:
        name = W.HTML(
            f"<b>{html.escape(format_title(self.operation.name))}</b> "
            f'<span class="mjci-faint">{html.escape(self.operation.help)}</span>'
        ).add_class("mjci-grow")
        moves = (("↑", "Earlier", -1), ("↓", "Later", 1), ("✕", "Remove this step", 0))
        buttons = [
            W.Button(description=face, tooltip=f"{said}: {self.operation.name}")
            for face, said, _ in moves
        ]
        for button, (_, _, by) in zip(buttons, moves, strict=True):
            button.on_click(lambda _, by=by: editor.move_block(self, by))
        return W.HBox([name, *buttons]).add_class("mjci-row").add_class("mjci-quiet")

    def _build_body(self) -> list[Any]:
        """The controls that matter at once; those with a usual value folded away, where there are
        many.
        """
        boxes = [one.box for one in self.controls.values()]
        few = [
            one.box
            for one in self.controls.values()
            if one.is_key or one.parameter.name in PRIMARY_PARAMETERS
        ]
        rest = [box for box in boxes if box not in few] if few and len(boxes) > 4 else []
        shown = W.HBox([box for box in boxes if box not in rest]).add_class("mjci-controls")
        if not rest:
            return [shown] if boxes else []
        more = W.ToggleButton(
            description="More", icon="chevron-down", tooltip=f"More of {self.operation.name}"
        )
        folded = W.HBox(rest, layout={"display": "none"}).add_class("mjci-controls")
        more.observe(
            lambda change: setattr(folded.layout, "display", "" if change["new"] else "none"),
            "value",
        )
        shown.children = (*shown.children, more)
        return [shown, folded]

    def set_initial_values(self) -> None:
        """The values that a new block has."""
        for name, one in self.controls.items():
            wanted = name == self.operation.key or one.parameter.required or name == "w"
            if wanted and name in INITIAL_VALUES:
                one.set_value(INITIAL_VALUES[name])
            elif not isinstance(one, TemplatedValue):
                one.set_value(one.parameter.default if not one.is_key else one.get_text())

    def load_step(self, step: Any) -> None:
        values = dict(step.parameters)
        for name, one in self.controls.items():
            one.set_value(values.get(name))

    def build_step(self, engine: Any) -> Any:
        read = {name: one.get_value() for name, one in self.controls.items()}
        flags = {one.name: "" for one in self.operation.parameters if one.flag}
        told = {**flags, **{name: value for name, value in read.items() if value is not None}}
        return engine.Operation(self.operation.name, tuple(told.items()))


PRIMARY_PARAMETERS = ("w", "h", "text", "fontsize", "fill", "gravity", "image_key", "dissolve")


class RuleEditor:
    """The text field, the blocks, and what is wrong. `on_change` is called after every change of the
    rule.
    """

    def __init__(self, engine: Any, text: Any, on_change: Callable[[], None]) -> None:
        self.engine, self.text, self._on_change = engine, text, on_change
        self.blocks: list[Block] = []
        self._lock, self._syncing = threading.RLock(), False
        self.error_message = W.HTML()
        self.is_invalid = False
        offered = [
            (_format_option(kind), name)
            for name, kind in engine.OPERATIONS.items()
            if name not in JSON_OPERATIONS
        ]
        self.palette = W.Dropdown(
            options=offered, description="Step", tooltip="What to do to the picture"
        )
        self.add_button = W.Button(
            description="Add step", icon="plus", tooltip="Add it to the end of the rule"
        )
        self.add_button.on_click(lambda _: self.add_step(self.palette.value))
        self.stack = W.VBox().add_class("mjci-stack")
        row = W.HBox([self.palette, self.add_button]).add_class("mjci-row")
        self.box = W.VBox([self.error_message, self.stack, row]).add_class("mjci-editor")
        text.observe(lambda _: self.on_text_change(), "value")

    # --- from the text to the blocks --------------------------------------------------------------

    def on_text_change(self) -> None:
        """The text is another: the blocks follow it, if it is a rule."""
        if self._syncing:
            return
        with self._suppress_events():
            groups = self._parse_text()
            if groups is not None:
                self._update_blocks(
                    [
                        (step, group and place == 0)
                        for group in groups
                        for place, step in enumerate(group)
                    ]
                )
        self._on_change()

    def _parse_text(self) -> Any:
        rule = self.text.value.strip()
        self._show_problem("")
        try:
            return self.engine.split_steps(rule) if rule else ()
        except self.engine.RuleError as error:
            self._show_problem(error.message)
            return None

    def _show_problem(self, problem: str) -> None:
        self.is_invalid = bool(problem)
        self.error_message.value = (
            html.render_alert(("This is no rule yet.", problem)) if problem else ""
        )

    def _update_blocks(self, steps: list[tuple[Any, Any]]) -> None:
        if [block.operation.name for block in self.blocks] != [step.name for step, _ in steps]:
            self._set_blocks([self._build_block(step.name) for step, _ in steps])
        for block, (step, apart) in zip(self.blocks, steps, strict=True):
            block.starts_group = bool(apart)
            block.load_step(step)

    def _build_block(self, name: str) -> Block:
        block = Block(self.engine.OPERATIONS[name], self)
        force_main_shell(block.box)
        return block

    def _set_blocks(self, blocks: list[Block]) -> None:
        gone = [block for block in self.blocks if block not in blocks]
        self.blocks = blocks
        self.stack.children = [block.box for block in blocks]
        for block in gone:
            block.box.close()

    # --- from the blocks to the text --------------------------------------------------------------

    def on_control_change(self) -> None:
        """A control was moved: the text follows the blocks."""
        if self._syncing:
            return
        with self._suppress_events():
            self.text.value = self.build_rule()
            self._parse_text()
        self._on_change()

    def build_rule(self) -> str:
        """The rule that the blocks say."""
        groups: list[list[Any]] = []
        for block in self.blocks:
            step = block.build_step(self.engine)
            inside = step.name.startswith("imageMogr2/") and not block.starts_group
            if inside and groups and groups[-1][0].name.startswith("imageMogr2/"):
                groups[-1].append(step)
            else:
                groups.append([step])
        return str(self.engine.join_steps(groups))

    def add_step(self, name: str) -> None:
        """A new step at the end."""
        with self._suppress_events():
            block = self._build_block(name)
            block.set_initial_values()
            self._set_blocks([*self.blocks, block])
        self.on_control_change()

    def move_block(self, block: Block, offset: int) -> None:
        """Moves a block earlier or later; by 0 takes it away."""
        with self._suppress_events():
            if block not in self.blocks:
                return
            place = self.blocks.index(block)
            rest = [one for one in self.blocks if one is not block]
            if offset:
                rest.insert(max(0, place + offset), block)
            self._set_blocks(rest)
        self.on_control_change()

    @contextmanager
    def _suppress_events(self) -> Iterator[None]:
        """What changes in here changes because of us."""
        with self._lock:
            self._syncing = True
            try:
                yield
            finally:
                self._syncing = False


def _format_option(operation: Any) -> str:
    return f"{format_title(operation.name)} · {operation.help.partition(';')[0]}"
