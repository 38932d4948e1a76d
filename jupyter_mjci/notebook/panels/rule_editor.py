"""Edit a picture rule as text and as blocks with controls; each follows the other.

Text stays as typed: a control that is moved rewrites only the
parameter that it stands for, and the spelling of its operation.
Text that is not a valid rule leaves the blocks unchanged, and the
error is shown below it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import ipywidgets as W

from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.controls import Control, TemplatedControl, build_control
from jupyter_mjci.notebook.panels.subshells import force_main_shell
from jupyter_mjci.notebook.panels.text_history import TextHistory
from jupyter_mjci.notebook.panels.widgets import (
    build_button,
    build_row,
    link_toggle,
    translate_all,
)

if TYPE_CHECKING:
    from jupyter_mjci.imaging.model import Operation, OperationSpec

# Values of a new block, where the lowest value would show no
# effect.
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
# their result is JSON, not a picture
JSON_OPERATIONS = ("imageInfo", "imageAve", "exif")
TITLES = {
    "imageView2": "Format and quality",
    "imageView2/0": "Fit: long and short edge",
    "imageView2/1": "Cover and cut",
    "imageView2/2": "Fit inside",
    "imageView2/3": "Cover",
    "imageView2/4": "Cover: long and short edge",
    "imageView2/5": "Cover and cut: edges",
    "watermark/1": "Picture watermark",
    "watermark/2": "Text watermark",
    "imageSlim": "Slim",
}
# Never folded away, besides the parameter that an operation
# begins with.
PRIMARY_PARAMETERS = ("w", "h", "text", "fontsize", "fill", "gravity", "image_key", "dissolve")
# controls of a block; of more, only the primary ones are visible
# at first
MAX_UNFOLDED = 4


def format_title(name: str) -> str:
    """Return the title of an operation's block."""
    return TITLES.get(name) or name.rpartition("/")[2].replace("-", " ").capitalize()


def summarize_operation(spec: OperationSpec) -> str:
    """Return the first half of an operation's help."""
    return spec.help.partition(";")[0]


class Source(NamedTuple):
    """An operation as it was typed, and its blocks; an imageMogr2 has one for each step."""

    text: str
    blocks: tuple[Block, ...]


class Block:
    """One operation of a rule, with a control for each parameter.

    Args:
        spec: the operation
        editor: the editor that the block is part of
        starts_group: whether it begins a new imageMogr2, instead
            of joining the one before it
    """

    def __init__(
        self, spec: OperationSpec, editor: RuleEditor, *, starts_group: bool = False
    ) -> None:
        self.operation = spec
        self.starts_group = starts_group
        self.source: Source | None = None
        self.controls: dict[str, Control] = {}
        self._loaded_parameters: dict[str, str] = {}
        self._loaded_texts: dict[str, str] = {}
        for parameter in spec.parameters:
            if not parameter.flag:
                is_key = parameter.name == spec.key
                control = build_control(parameter, is_key, editor.on_control_change)
                self.controls[parameter.name] = control
        self.box = W.VBox([self._build_header(editor), *self._build_body()])
        self.box.add_class("mjci-block")
        translate_all(self.box)

    def _build_header(self, editor: RuleEditor) -> W.Widget:
        spec = self.operation
        title = f"<b>{cards.escape_text(translate(format_title(spec.name)))}</b>"
        help_text = f'<span class="mjci-faint">{cards.escape_text(translate(spec.help))}</span>'
        label = W.HTML(f"{title} {help_text}").add_class("mjci-grow")
        actions = (
            ("↑", mark("Earlier: {rule}"), partial(editor.move_block, self, -1)),
            ("↓", mark("Later: {rule}"), partial(editor.move_block, self, 1)),
            ("✕", mark("Remove this step: {rule}"), partial(editor.remove_block, self)),
        )
        buttons = [self._build_button(*action) for action in actions]
        return build_row(label, *buttons, css_class="mjci-quiet")

    def _build_button(self, icon: str, tooltip: str, action: Callable[[], None]) -> W.Widget:
        button = build_button(icon, translate(tooltip).format(rule=self.operation.name))
        button.on_click(lambda _: action())
        return button

    def _build_body(self) -> Sequence[W.Widget]:
        """Build the boxes of the controls; those that rarely matter are folded away."""
        if not self.controls:
            return ()
        controls = list(self.controls.values())
        primary = [control for control in controls if self._is_primary(control)]
        others = [control for control in controls if control not in primary]
        if not primary or not others or len(controls) <= MAX_UNFOLDED:
            return [_build_control_row(controls)]
        folded = _build_control_row(others)
        tooltip = translate("More of {rule}").format(rule=self.operation.name)
        toggle = W.ToggleButton(description="More", icon="chevron-down", tooltip=tooltip)
        link_toggle(toggle, folded)
        return [_build_control_row(primary, toggle), folded]

    @staticmethod
    def _is_primary(control: Control) -> bool:
        return control.is_key or control.parameter.name in PRIMARY_PARAMETERS

    def set_initial_values(self) -> None:
        """Set the values of a new block."""
        first = next(iter(self.controls), "")
        for name, control in self.controls.items():
            # every operation begins with what gives it an effect
            is_needed = control.is_key or control.parameter.required or name in ("w", first)
            if is_needed and name in INITIAL_VALUES:
                control.set_value(INITIAL_VALUES[name])
            elif not control.is_key and not isinstance(control, TemplatedControl):
                control.set_value(None)

    def load_step(self, step: Operation) -> None:
        """Show the values of a parsed operation."""
        self._loaded_parameters = dict(step.parameters)
        for name, control in self.controls.items():
            control.set_value(self._loaded_parameters.get(name))
        self._loaded_texts = self._get_texts()

    def _get_texts(self) -> dict[str, str]:
        return {name: control.get_text() for name, control in self.controls.items()}

    @property
    def is_changed(self) -> bool:
        """Whether a control was moved since its step was parsed."""
        return self._get_texts() != self._loaded_texts

    def build_step(self, engine: ModuleType) -> Operation:
        """Return the operation with the values of the controls.

        A parameter whose control was not moved stays as it was
        written, or left out.
        """
        flags = {spec.name: "" for spec in self.operation.parameters if spec.flag}
        values = dict(self._loaded_parameters or flags)
        for name, control in self.controls.items():
            if self._loaded_texts.get(name) == control.get_text():
                continue
            value = control.get_value()
            if value is not None:
                values[name] = value
            else:
                values.pop(name, None)
        step: Operation = engine.Operation(self.operation.name, tuple(values.items()))
        return step


def _build_control_row(controls: Sequence[Control], *more: W.Widget) -> W.HBox:
    boxes = [control.box for control in controls]
    return W.HBox([*boxes, *more]).add_class("mjci-controls")


class RuleEditor:
    """The blocks below a rule's text field, and the error of a rule that is not valid.

    Args:
        engine: the module of picture rules
        text: the widget that holds the rule
        on_change: called after every change of the rule
    """

    def __init__(self, engine: ModuleType, text: W.Widget, on_change: Callable[[], None]) -> None:
        self.engine = engine
        self.text = text
        self._on_change = on_change
        self.blocks: list[Block] = []
        self._lock = threading.RLock()
        self._syncing = False
        self.history = TextHistory(text)
        self.error_message = W.HTML()
        self.is_invalid = False
        self.palette = W.Dropdown(
            options=self._list_operations(), description="Step", tooltip="The step to add"
        )
        self.add_button = build_button("Add step", "Add it to the end of the rule", icon="plus")
        self.add_button.on_click(lambda _: self.add_step(self.palette.value))
        self.stack = W.VBox().add_class("mjci-stack")
        history = (self.history.undo_button, self.history.redo_button)
        row = build_row(self.palette, self.add_button, *history)
        self.box = W.VBox([self.error_message, self.stack, row]).add_class("mjci-editor")
        text.observe(lambda _: self.on_text_change(), "value")

    def _list_operations(self) -> list[tuple[str, str]]:
        options = []
        for name, spec in self.engine.OPERATIONS.items():
            if name not in JSON_OPERATIONS:
                summary = translate(summarize_operation(spec))
                options.append((f"{translate(format_title(name))} · {summary}", name))
        return options

    # --- from the text to the blocks ---

    def on_text_change(self) -> None:
        """Update the blocks from the text, if it is a valid rule."""
        if self._syncing:
            return
        with self._suppress_events():
            groups = self._parse_text()
            if groups is not None:
                self._update_blocks(groups)
        self._on_change()

    def _parse_text(self) -> Sequence[Sequence[Operation]] | None:
        """Parse the text and show its error; return None if it is not valid."""
        rule = self.text.value.strip()
        error = ""
        groups: Sequence[Sequence[Operation]] | None = ()
        if rule:
            try:
                groups = self.engine.split_steps(rule)
            except self.engine.RuleError as rule_error:
                groups = None
                error = rule_error.message
        self._show_error(error)
        return groups

    def _show_error(self, error: str) -> None:
        self.is_invalid = bool(error)
        message = ("The rule is not valid.", error) if error else ()
        self.error_message.value = html.render_alert(message)

    def _update_blocks(self, groups: Sequence[Sequence[Operation]]) -> None:
        steps = [step for group in groups for step in group]
        if [block.operation.name for block in self.blocks] != [step.name for step in steps]:
            self._set_blocks([self._build_block(step.name) for step in steps])
        texts = self.text.value.strip().split("|") if groups else ()
        blocks = iter(self.blocks)
        for text, group in zip(texts, groups, strict=True):
            source = Source(text, tuple(islice(blocks, len(group))))
            for index, (block, step) in enumerate(zip(source.blocks, group, strict=True)):
                block.source = source
                block.starts_group = index == 0
                block.load_step(step)

    def _build_block(self, name: str) -> Block:
        block = Block(self.engine.OPERATIONS[name], self)
        force_main_shell(block.box)
        return block

    def _set_blocks(self, blocks: list[Block]) -> None:
        removed = [block for block in self.blocks if block not in blocks]
        self.blocks = blocks
        self.stack.children = [block.box for block in blocks]
        for block in removed:
            block.box.close()

    # --- from the blocks to the text ---

    def on_control_change(self) -> None:
        """Rewrite the text from the blocks."""
        if self._syncing:
            return
        rule = self.build_rule()
        if rule == self.text.value.strip():
            return
        with self._suppress_events():
            self.history.is_typed = False
            self.text.value = rule
            self.history.is_typed = True
            self._parse_text()
        self._on_change()

    def build_rule(self) -> str:
        """Return the rule of the blocks; neighbouring imageMogr2 operations share one."""
        groups: list[list[Block]] = []
        for block in self.blocks:
            if groups and not block.starts_group and _can_share(groups[-1][0], block):
                groups[-1].append(block)
            else:
                groups.append([block])
        return "|".join(map(self._format_group, groups))

    def _format_group(self, blocks: Sequence[Block]) -> str:
        """Return an operation as it was typed, unless one of its blocks was changed."""
        source = blocks[0].source
        is_same = source is not None and source.blocks == tuple(blocks)
        if source is not None and is_same and not any(block.is_changed for block in blocks):
            return source.text
        return str(self.engine.join_steps([[block.build_step(self.engine) for block in blocks]]))

    def add_step(self, name: str) -> None:
        """Add a block at the end.

        Args:
            name: the operation's name in `engine.OPERATIONS`
        """
        self.history.separate()
        with self._suppress_events():
            block = self._build_block(name)
            block.set_initial_values()
            self._set_blocks([*self.blocks, block])
        self.on_control_change()

    def add_rule(self, rule: str) -> None:
        """Add the operations of a rule at the end of the text."""
        self.history.separate()
        text = self.text.value.strip()
        self.text.value = f"{text}|{rule}" if text else rule

    def move_block(self, block: Block, offset: int) -> None:
        """Move a block by so many places, earlier (below 0) or later."""
        self.history.separate()
        with self._suppress_events():
            if block not in self.blocks:
                return
            target = max(0, self.blocks.index(block) + offset)
            blocks = [other for other in self.blocks if other is not block]
            blocks.insert(target, block)
            self._set_blocks(blocks)
        self.on_control_change()

    def remove_block(self, block: Block) -> None:
        """Remove a block."""
        self.history.separate()
        with self._suppress_events():
            self._set_blocks([other for other in self.blocks if other is not block])
        self.on_control_change()

    @contextmanager
    def _suppress_events(self) -> Iterator[None]:
        """Ignore the changes that the editor itself makes to its widgets."""
        with self._lock:
            self._syncing = True
            try:
                yield
            finally:
                self._syncing = False


def _can_share(first: Block, second: Block) -> bool:
    """Return whether two operations can be part of one imageMogr2."""
    return all(block.operation.name.startswith("imageMogr2/") for block in (first, second))
