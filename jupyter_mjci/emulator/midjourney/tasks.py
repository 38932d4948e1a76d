"""What a Midjourney task is, how each sort of it goes, and the buttons that lead from one to the
next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jupyter_mjci.emulator import image_generator

NOT_START, SUBMITTED, IN_PROGRESS, MODAL = "NOT_START", "SUBMITTED", "IN_PROGRESS", "MODAL"
SUCCESS, FAILURE, CANCEL = "SUCCESS", "FAILURE", "CANCEL"
TERMINAL_STATUSES = frozenset({SUCCESS, FAILURE, CANCEL})


class Phase(NamedTuple):
    """What changes about a task. Times are epoch milliseconds."""

    status: str
    percent: int | None = None
    start: int | None = None
    finish: int | None = None
    reason: str | None = None


@dataclass(slots=True, eq=False)
class Task:
    """One task, as small as it can be: links, buttons and properties are made when it is shown."""

    number: int
    id: str
    action: str
    kind: str  # a row of KINDS: how long it takes, what it shows, which buttons it gets
    op: str  # a row of PAINTERS: how its picture comes about
    prompt: str
    description: str
    submitted: int
    phase: Phase
    state: str | None = None
    notify_hook: str | None = None
    parent: int = -1  # the parent's number
    button: str = ""  # which button of the parent (a key of MOVES)
    bot: str = "MID_JOURNEY"
    mode: str = ""
    input_images: tuple[str, ...] = ()  # names of the pictures that came with it
    details: dict[str, Any] | None = None  # what only few tasks have: mask, motion, zoom …
    planned_failure: str = ""  # how it will end, if not well: "stuck", or a failReason
    submit_message: str = ""  # what the submission was answered with (relays show it)
    pressed_buttons: dict[str, int] | None = (
        None  # buttons already pressed: key of MOVES -> number of the task it made
    )
    step: int = 0
    due: float | None = None
    last_relayed: Phase | None = None  # what a relay saw last
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskKind:
    """How a sort of task goes: seconds from accepted to done, progress on the way, the buttons at
    the end.
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
    """A button: what it is called, what it makes of its parent, and whether it first asks for more
    (MODAL).
    """

    key: str  # the customId with {h} for the picture's uuid
    label: str
    emoji: str
    short_name: str  # how the description names it
    action: str  # what the new task is called
    kind: str
    op: str
    args: Mapping[str, Any] = field(default_factory=dict)
    modal_policy: str = "never"  # "never", "remix" (when remix is on) or "always"
    reusable: bool = True  # pressing it again gives the task it made before
    supported: bool = True  # False: the service shows it but cannot do it


def _iter_buttons() -> Iterator[ButtonSpec]:
    solo = "{h}::SOLO"
    for i in range(1, 5):
        yield ButtonSpec(
            f"MJ::JOB::upsample::{i}::{{h}}",
            f"U{i}",
            "",
            f"U{i}",
            "UPSCALE",
            "upscale",
            "upscale",
            {"index": i},
        )
        yield ButtonSpec(
            f"MJ::JOB::variation::{i}::{{h}}",
            f"V{i}",
            "",
            f"V{i}",
            "VARIATION",
            "grid",
            "vary",
            {"index": i, "strength": 0.35},
            "remix",
        )
        yield ButtonSpec(
            f"MJ::Job::PicReader::{i}",
            "",
            f"{i}️⃣",
            f"PicReader {i}",
            "IMAGINE",
            "grid",
            "imagine",
            {"index": i},
            "always",
            reusable=False,
        )
        yield ButtonSpec(
            f"MJ::JOB::video_virtual_upscale::{i}::{{h}}",
            f"U{i}",
            "",
            f"video U{i}",
            "UPSCALE",
            "filmed",
            "refilm",
            {"index": i},
        )
    for i in range(1, 6):
        yield ButtonSpec(
            f"MJ::Job::PromptAnalyzer::{i}",
            "",
            f"{i}️⃣",
            f"PromptAnalyzer {i}",
            "IMAGINE",
            "grid",
            "imagine",
            {"index": i},
            "always",
            reusable=False,
        )
    yield ButtonSpec(
        "MJ::Job::PicReader::all",
        "Imagine all",
        "🎉",
        "PicReader all",
        "IMAGINE",
        "grid",
        "imagine",
        reusable=False,
    )
    yield ButtonSpec(
        "MJ::Picread::Retry", "", "🔄", "Retry", "DESCRIBE", "describe", "retry", reusable=False
    )
    yield ButtonSpec(
        f"MJ::JOB::reroll::0::{solo}",
        "",
        "🔄",
        "R",
        "REROLL",
        "grid",
        "reroll",
        modal_policy="remix",
        reusable=False,
    )
    for version in ("v7_2x", "v6", "v6r1", "v5_2x", "v5_4x"):
        for style in ("subtle", "creative"):
            name = f"upsample_{version}_{style}"
            change = {"strength": 0.0 if style == "subtle" else 0.06}
            label = f"Upscale ({style.capitalize()})"
            yield ButtonSpec(
                f"MJ::JOB::{name}::1::{solo}",
                label,
                "upscale_1",
                name,
                "UPSCALE_HD",
                "hd",
                "enlarge",
                change,
            )
    for style, label, strength in (("low", "Vary (Subtle)", 0.15), ("high", "Vary (Strong)", 0.55)):
        name = f"{style}_variation"
        args = {"index": 1, "strength": strength}
        yield ButtonSpec(
            f"MJ::JOB::{name}::1::{solo}",
            label,
            "🪄",
            name,
            "VARIATION",
            "grid",
            "vary",
            args,
            "remix",
        )
    yield ButtonSpec(
        f"MJ::Inpaint::1::{solo}",
        "Vary (Region)",
        "🖌️",
        "Inpaint",
        "VARIATION",
        "grid",
        "inpaint",
        modal_policy="always",
        reusable=False,
    )
    for percent, label, factor in (
        (50, "Zoom Out 2x", 2.0),
        (75, "Zoom Out 1.5x", 1.5),
        (100, "Make Square", 0.0),
    ):
        zoom = {"factor": factor}
        yield ButtonSpec(
            f"MJ::Outpaint::{percent}::1::{solo}", label, "🔍", label, "ZOOM", "grid", "zoom", zoom
        )
    yield ButtonSpec(
        "MJ::CustomZoom::{h}",
        "Custom Zoom",
        "🔍",
        "CustomZoom",
        "ZOOM",
        "grid",
        "zoom",
        modal_policy="always",
        reusable=False,
    )
    for way, arrow in (("left", "⬅️"), ("right", "➡️"), ("up", "⬆️"), ("down", "⬇️")):
        name = f"pan_{way}"
        yield ButtonSpec(
            f"MJ::JOB::{name}::1::{solo}",
            "",
            arrow,
            name,
            "PAN",
            "grid",
            "pan",
            {"way": way},
            "remix",
        )
    for motion in ("high", "low"):
        for tail, label in (
            ("", f"Animate ({motion.capitalize()} motion)"),
            ("_extend", f"Extend ({motion})"),
        ):
            name = f"animate_{motion}{tail}"
            how = {"motion": motion}
            yield ButtonSpec(
                f"MJ::JOB::{name}::1::{solo}",
                label,
                "🎞️",
                name,
                "VIDEO",
                "film",
                "film",
                how,
                "remix",
            )
    yield ButtonSpec(
        "MJ::BOOKMARK::{h}", "", "❤️", "BOOKMARK", "ACTION", "grid", "vary", supported=False
    )


BUTTONS: dict[str, ButtonSpec] = {move.key: move for move in _iter_buttons()}
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
SPEED_MODE_FACTORS = {
    "RELAX": 2.0,
    "TURBO": 0.5,
}  # against the seconds above, which are those of fast mode
ACCEPT_DELAY = 1.2  # seconds from having a slot to being accepted
KNOWN_PARAMETERS = frozenset(
    "ar aspect v version niji stylize s style chaos c quality q seed sameseed stop no iw tile weird w repeat r fast "  # noqa: SIM905
    "relax turbo video raw cref cw sref sw sv p profile personalize draft exp zoom hd ow oref motion loop bs end hq "
    "vibe test testp upbeta creative uplight fail stuck dref dw sd".split()
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


def parse_parameters(prompt: str) -> list[str]:
    """The names of a prompt's --parameters."""
    return [name.lower() for name in _PARAMETER_RE.findall(prompt)]


def plan_failure(prompt: str) -> str:
    """How a prompt will end, if not well: what demonstrations ask for, or what the bot refuses to
    read.
    """
    names = parse_parameters(prompt)
    if unknown := [f"--{name}" for name in names if name not in KNOWN_PARAMETERS]:
        return f"[Invalid parameter] Unrecognized parameter(s): {', '.join(unknown)}"
    if (found := _ASPECT_RATIO_RE.search(prompt)) and not re.fullmatch(
        r"0*[1-9]\d{0,3}:0*[1-9]\d{0,3},?", found[1]
    ):
        return f"[Invalid parameter] --ar needs two numbers like 3:2, not {found[1] or 'nothing'}"
    return (
        "stuck"
        if "stuck" in names
        else "The picture could not be made: --fail asked for it"
        if "fail" in names
        else ""
    )


def parse_simple_change(content: str) -> tuple[str, str, int] | None:
    """ "1712345678901234 u2" -> the task, what to do, and with which picture."""
    parts = content.split(" ")
    if len(parts) != 2 or not parts[0] or not parts[1]:
        return None
    letter, digit = parts[1][0].upper(), parts[1][1:2]
    if letter == "R":
        return parts[0], "REROLL", 1
    if letter in "UV" and digit in ("1", "2", "3", "4"):
        return parts[0], "UPSCALE" if letter == "U" else "VARIATION", int(digit)
    return None


CHANGE_BUTTONS = {
    "UPSCALE": "MJ::JOB::upsample::{}::{h}",
    "VARIATION": "MJ::JOB::variation::{}::{h}",
    "REROLL": "MJ::JOB::reroll::0::{h}::SOLO",
}


def parse_speed_mode(name: str | None) -> str:
    """FAST, RELAX or TURBO as the name of a path's prefix, an account's mode or a --parameter has
    it; else nothing.
    """
    found = (name or "").removeprefix("mj-").upper()
    return found if found in ("FAST", "RELAX", "TURBO") else ""


def is_equivalent_button(key: str, keys: Sequence[str]) -> bool:
    """Another version's name of a button that is there ("upsample_v6_2x_subtle")."""
    return BUTTONS[key].op == "enlarge" and any(BUTTONS[other].op == "enlarge" for other in keys)
