"""What a Midjourney task is, how each kind of it goes, and the buttons that lead to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jupyter_mjci.emulator import image_generator

NOT_START = "NOT_START"
SUBMITTED = "SUBMITTED"
IN_PROGRESS = "IN_PROGRESS"
MODAL = "MODAL"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
CANCEL = "CANCEL"
TERMINAL_STATUSES = frozenset({SUCCESS, FAILURE, CANCEL})


class Phase(NamedTuple):
    """The part of a task that changes. Times are epoch milliseconds."""

    status: str
    percent: int | None = None
    start: int | None = None
    finish: int | None = None
    reason: str | None = None


@dataclass(slots=True, eq=False)
class Task:
    """A task, kept small: links, buttons and properties are made when it is rendered."""

    number: int
    id: str
    action: str
    kind: str  # a key of TASK_KINDS: how long it takes, which buttons it gets
    op: str  # a key of image_store.GRID_BUILDERS: how its pictures are made
    prompt: str
    description: str
    submitted: int
    phase: Phase
    state: str | None = None
    notify_hook: str | None = None
    parent: int = -1  # the parent's number
    button: str = ""  # the button of the parent that made it, a key of BUTTONS
    bot: str = "MID_JOURNEY"
    mode: str = ""
    input_images: tuple[str, ...] = ()  # the blobs of the pictures sent with it
    details: dict[str, Any] | None = None  # of few tasks: mask, motion, zoom, …
    planned_failure: str = ""  # "stuck", or the failReason it will end with
    submit_message: str = ""  # the description that its submission got (relays show it)
    # The buttons already pressed: a key of BUTTONS to the number of the task that it made.
    pressed_buttons: dict[str, int] | None = None
    step: int = 0
    due: float | None = None
    last_relayed: Phase | None = None  # what a relay saw at its last refresh
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskKind:
    """How a kind of task goes.

    `min_seconds` and `max_seconds` are from accepted to done in fast mode, `progress_steps` the
    percents on the way, `buttons` those of the finished task, `area` the pixels of its picture.
    """

    min_seconds: float
    max_seconds: float
    progress_steps: tuple[int, ...]
    buttons: tuple[str, ...] = ()
    area: int = image_generator.CELL_AREA


LONG_PROGRESS = (0, 15, 31, 46, 62, 78, 93)
SHORT_PROGRESS = (0, 46)


@dataclass(frozen=True, slots=True)
class ButtonSpec:
    """A button of a task.

    `key` is its customId with {h} for the picture's UUID. The task that it makes has `action`,
    `kind` and `op`, and `args` for drawing.
    """

    key: str
    short_name: str  # its name in the new task's description
    action: str
    kind: str
    op: str
    label: str = ""
    emoji: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    modal_policy: str = "never"  # asks for more (MODAL): "never", "always", "remix" (with remix on)
    reusable: bool = True  # pressing it again returns the task that it made before
    supported: bool = True  # False: shown, but refused


def _iter_cell_buttons() -> Iterator[ButtonSpec]:
    """Yield the buttons of the four pictures of a grid, a description or a video."""
    for cell in range(1, 5):
        args = {"index": cell}
        yield ButtonSpec(
            key=f"MJ::JOB::upsample::{cell}::{{h}}",
            label=f"U{cell}",
            short_name=f"U{cell}",
            action="UPSCALE",
            kind="upscale",
            op="upscale",
            args=args,
        )
        yield ButtonSpec(
            key=f"MJ::JOB::variation::{cell}::{{h}}",
            label=f"V{cell}",
            short_name=f"V{cell}",
            action="VARIATION",
            kind="grid",
            op="vary",
            args={**args, "strength": 0.35},
            modal_policy="remix",
        )
        yield _build_prompt_button("PicReader", cell)
        yield ButtonSpec(
            key=f"MJ::JOB::video_virtual_upscale::{cell}::{{h}}",
            label=f"U{cell}",
            short_name=f"video U{cell}",
            action="UPSCALE",
            kind="filmed",
            op="refilm",
            args=args,
        )


def _build_prompt_button(name: str, index: int) -> ButtonSpec:
    """Build a button that imagines one of the prompts that a task suggests."""
    return ButtonSpec(
        key=f"MJ::Job::{name}::{index}",
        short_name=f"{name} {index}",
        action="IMAGINE",
        kind="grid",
        op="imagine",
        emoji=f"{index}️⃣",
        args={"index": index},
        modal_policy="always",
        reusable=False,
    )


def _iter_text_buttons() -> Iterator[ButtonSpec]:
    """Yield the other buttons of the tasks that make text: describe and shorten."""
    for index in range(1, 6):
        yield _build_prompt_button("PromptAnalyzer", index)
    yield ButtonSpec(
        key="MJ::Job::PicReader::all",
        label="Imagine all",
        emoji="🎉",
        short_name="PicReader all",
        action="IMAGINE",
        kind="grid",
        op="imagine",
        reusable=False,
    )
    yield ButtonSpec(
        key="MJ::Picread::Retry",
        emoji="🔄",
        short_name="Retry",
        action="DESCRIBE",
        kind="describe",
        op="retry",
        reusable=False,
    )


def _build_solo_button(
    name: str, label: str, emoji: str, action: str, kind: str, op: str, args: Mapping[str, Any]
) -> ButtonSpec:
    """Build a button of a single picture."""
    return ButtonSpec(
        key=f"MJ::JOB::{name}::1::{{h}}::SOLO",
        label=label,
        emoji=emoji,
        short_name=name,
        action=action,
        kind=kind,
        op=op,
        args=args,
        modal_policy="never" if action == "UPSCALE_HD" else "remix",
    )


def _iter_solo_buttons() -> Iterator[ButtonSpec]:
    """Yield the buttons of a single picture but those that zoom and that always ask for more."""
    for version in ("v7_2x", "v6", "v6r1", "v5_2x", "v5_4x"):
        for style, strength in (("subtle", 0.0), ("creative", 0.06)):
            name = f"upsample_{version}_{style}"
            label = f"Upscale ({style.capitalize()})"
            args = {"strength": strength}
            yield _build_solo_button(name, label, "upscale_1", "UPSCALE_HD", "hd", "enlarge", args)
    for style, label, strength in (("low", "Vary (Subtle)", 0.15), ("high", "Vary (Strong)", 0.55)):
        args = {"index": 1, "strength": strength}
        name = f"{style}_variation"
        yield _build_solo_button(name, label, "🪄", "VARIATION", "grid", "vary", args)
    for way, arrow in (("left", "⬅️"), ("right", "➡️"), ("up", "⬆️"), ("down", "⬇️")):
        yield _build_solo_button(f"pan_{way}", "", arrow, "PAN", "grid", "pan", {"way": way})
    for motion in ("high", "low"):
        motion_args = {"motion": motion}
        name = f"animate_{motion}"
        label = f"Animate ({motion.capitalize()} motion)"
        yield _build_solo_button(name, label, "🎞️", "VIDEO", "film", "film", motion_args)
        name = f"animate_{motion}_extend"
        label = f"Extend ({motion})"
        yield _build_solo_button(name, label, "🎞️", "VIDEO", "film", "film", motion_args)


def _iter_zoom_buttons() -> Iterator[ButtonSpec]:
    for percent, label, factor in (
        (50, "Zoom Out 2x", 2.0),
        (75, "Zoom Out 1.5x", 1.5),
        (100, "Make Square", 0.0),
    ):
        yield ButtonSpec(
            key=f"MJ::Outpaint::{percent}::1::{{h}}::SOLO",
            label=label,
            emoji="🔍",
            short_name=label,
            action="ZOOM",
            kind="grid",
            op="zoom",
            args={"factor": factor},
        )
    yield ButtonSpec(
        key="MJ::CustomZoom::{h}",
        label="Custom Zoom",
        emoji="🔍",
        short_name="CustomZoom",
        action="ZOOM",
        kind="grid",
        op="zoom",
        modal_policy="always",
        reusable=False,
    )


def _iter_buttons() -> Iterator[ButtonSpec]:
    yield from _iter_cell_buttons()
    yield from _iter_text_buttons()
    yield ButtonSpec(
        key="MJ::JOB::reroll::0::{h}::SOLO",
        emoji="🔄",
        short_name="R",
        action="REROLL",
        kind="grid",
        op="reroll",
        modal_policy="remix",
        reusable=False,
    )
    yield from _iter_solo_buttons()
    yield ButtonSpec(
        key="MJ::Inpaint::1::{h}::SOLO",
        label="Vary (Region)",
        emoji="🖌️",
        short_name="Inpaint",
        action="VARIATION",
        kind="grid",
        op="inpaint",
        modal_policy="always",
        reusable=False,
    )
    yield from _iter_zoom_buttons()
    yield ButtonSpec(
        key="MJ::BOOKMARK::{h}",
        emoji="❤️",
        short_name="BOOKMARK",
        action="ACTION",
        kind="grid",
        op="vary",
        supported=False,
    )


BUTTONS: dict[str, ButtonSpec] = {button.key: button for button in _iter_buttons()}
GRID_BUTTONS = (
    *(f"MJ::JOB::upsample::{i}::{{h}}" for i in range(1, 5)),
    "MJ::JOB::reroll::0::{h}::SOLO",
    *(f"MJ::JOB::variation::{i}::{{h}}" for i in range(1, 5)),
)
SINGLE_IMAGE_BUTTONS = (
    "MJ::JOB::low_variation::1::{h}::SOLO",
    "MJ::JOB::high_variation::1::{h}::SOLO",
    "MJ::Inpaint::1::{h}::SOLO",
    "MJ::Outpaint::50::1::{h}::SOLO",
    "MJ::Outpaint::75::1::{h}::SOLO",
    "MJ::CustomZoom::{h}",
    *(f"MJ::JOB::pan_{way}::1::{{h}}::SOLO" for way in ("left", "right", "up", "down")),
    *(f"MJ::JOB::animate_{motion}::1::{{h}}::SOLO" for motion in ("high", "low")),
    "MJ::JOB::reroll::0::{h}::SOLO",
)
UPSCALE_BUTTONS = tuple(
    f"MJ::JOB::upsample_v7_2x_{style}::1::{{h}}::SOLO" for style in ("subtle", "creative")
)
MAKE_SQUARE_BUTTON = "MJ::Outpaint::100::1::{h}::SOLO"
PIC_READER_BUTTONS = tuple(f"MJ::Job::PicReader::{i}" for i in (1, 2, 3, 4, "all"))

TASK_KINDS: dict[str, TaskKind] = {
    "grid": TaskKind(30, 60, LONG_PROGRESS, GRID_BUTTONS),
    "upscale": TaskKind(
        6,
        12,
        SHORT_PROGRESS,
        (*UPSCALE_BUTTONS, *SINGLE_IMAGE_BUTTONS),
        image_generator.CELL_AREA * 4,
    ),
    "hd": TaskKind(20, 35, LONG_PROGRESS, SINGLE_IMAGE_BUTTONS, image_generator.CELL_AREA * 16),
    "describe": TaskKind(
        8,
        15,
        SHORT_PROGRESS,
        (*PIC_READER_BUTTONS[:4], "MJ::Picread::Retry", PIC_READER_BUTTONS[4]),
    ),
    "shorten": TaskKind(4, 8, (), tuple(f"MJ::Job::PromptAnalyzer::{i}" for i in range(1, 6))),
    "swap": TaskKind(10, 20, SHORT_PROGRESS, (), image_generator.CELL_AREA * 4),
    "show": TaskKind(4, 8, (), GRID_BUTTONS),
    "film": TaskKind(
        40,
        80,
        LONG_PROGRESS,
        tuple(f"MJ::JOB::video_virtual_upscale::{i}::{{h}}" for i in range(1, 5)),
    ),
    "filmed": TaskKind(10, 20, SHORT_PROGRESS),
}
VIDEO_KINDS = frozenset({"film", "filmed"})
# Factors of the seconds above, which are those of fast mode.
SPEED_MODE_FACTORS = {"RELAX": 2.0, "TURBO": 0.5}
ACCEPT_DELAY = 1.2  # seconds from having a slot to being accepted
KNOWN_PARAMETERS = frozenset(
    """
    ar aspect v version niji stylize s style chaos c quality q seed sameseed stop no iw tile weird w
    repeat r fast relax turbo video raw cref cw sref sw sv p profile personalize draft exp zoom hd
    ow oref motion loop bs end hq vibe test testp upbeta creative uplight fail stuck dref dw sd
    """.split()  # noqa: SIM905
)
BANNED_WORDS = (
    "bloody",
    "gore",
    "nude",
    "naked",
    "nsfw",
    "porn",
    "suicide",
    "torture",
    "massacre",
    "beheading",
)

_PARAMETER_RE = re.compile(r"(?<!\S)--([A-Za-z]\w*)")
_ASPECT_RATIO_RE = re.compile(r"--(?:ar|aspect)\b\s*(\S*)")
_VALID_RATIO_RE = re.compile(r"0*[1-9]\d{0,3}:0*[1-9]\d{0,3},?")


def parse_parameters(prompt: str) -> list[str]:
    """Return the names of a prompt's --parameters, in lower case."""
    return [name.lower() for name in _PARAMETER_RE.findall(prompt)]


def plan_failure(prompt: str) -> str:
    """Return how a task will fail, "" if it does not.

    Either a parameter is not valid, or the prompt asks for a failure to demonstrate it.
    """
    names = parse_parameters(prompt)
    unknown = [f"--{name}" for name in names if name not in KNOWN_PARAMETERS]
    if unknown:
        return f"[Invalid parameter] Unrecognized parameter(s): {', '.join(unknown)}"
    ratio = _ASPECT_RATIO_RE.search(prompt)
    if ratio and not _VALID_RATIO_RE.fullmatch(ratio[1]):
        return f"[Invalid parameter] --ar needs two numbers like 3:2, not {ratio[1] or 'nothing'}"
    if "stuck" in names:
        return "stuck"
    if "fail" in names:
        return "The picture could not be made: --fail asked for it"
    return ""


class Change(NamedTuple):
    """What submit/simple-change and submit/change ask for; `cell` is the picture of the grid."""

    task_id: str
    action: str
    cell: int


def parse_simple_change(content: str) -> Change | None:
    """Parse the content of a simple change, like "1712345678901234 u2"; None if it is not one."""
    parts = content.split(" ")
    if len(parts) != 2 or not all(parts):
        return None
    task_id, code = parts
    letter = code[0].upper()
    digit = code[1:2]
    if letter == "R":
        return Change(task_id, "REROLL", 1)
    if letter in "UV" and digit in ("1", "2", "3", "4"):
        return Change(task_id, "UPSCALE" if letter == "U" else "VARIATION", int(digit))
    return None


CHANGE_BUTTONS = {
    "UPSCALE": "MJ::JOB::upsample::{}::{h}",
    "VARIATION": "MJ::JOB::variation::{}::{h}",
    "REROLL": "MJ::JOB::reroll::0::{h}::SOLO",
}


def parse_speed_mode(name: str | None) -> str:
    """Return FAST, RELAX or TURBO for a path's prefix, an account's mode or a --parameter; or
    "".
    """
    mode = (name or "").removeprefix("mj-").upper()
    return mode if mode in ("FAST", "RELAX", "TURBO") else ""


def is_equivalent_button(key: str, keys: Sequence[str]) -> bool:
    """Return whether a button is another version's name of one of these
    ("upsample_v6_2x_subtle").
    """
    return BUTTONS[key].op == "enlarge" and any(BUTTONS[other].op == "enlarge" for other in keys)
