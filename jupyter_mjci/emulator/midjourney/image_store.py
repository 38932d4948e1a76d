"""The pictures of a Midjourney proxy: links that are signed and die, recipes from the chain of
buttons, what was sent.

Nothing is drawn before somebody follows a link, and little is kept afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.http import Answer, Request
from jupyter_mjci.emulator.midjourney.bodies import (
    TEXT,
    decoded,
    from_data_url,
    invalid,
    picture_answer,
    same,
)
from jupyter_mjci.emulator.midjourney.tasks import FILMS, IN_PROGRESS, KINDS, MOVES, SUCCESS, Task

DAY = 86400
PIXELS = 48 * 1024 * 1024  # bytes of drawn pictures kept for the next time they are asked for
SNOWFLAKE_EPOCH = 1420070400000
USER = "sandbox_artist"
GONE = Answer(404, b"This content is no longer available.", TEXT)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CELL = re.compile(r"_0_([0-3])(_640_N\.webp|\.png|\.webp)$")
_SEED = re.compile(r"--(?:seed|sameseed)\s+(\d{1,10})(?!\S)")


def snowflake(moment: int, low: int) -> int:
    """A Discord id: milliseconds, then 22 bits of our choice."""
    return (max(0, moment - SNOWFLAKE_EPOCH) << 22) | (low & 0x3FFFFF)


class Gallery:
    """What the tasks of one proxy look like: names, links, recipes, drawn pictures, and the
    pictures that came in.

    `signed` links die after a day; others stay. `origin` starts the links. With `raw_pictures`
    clients may send bare base64 and links instead of data URLs.
    """

    def __init__(
        self,
        clock: Clock,
        seed: int,
        tasks: list[Task],
        *,
        signed: bool = True,
        raw_pictures: bool = False,
    ) -> None:
        self.clock, self.seed, self.tasks, self.signed, self.raw_pictures = (
            clock,
            seed,
            tasks,
            signed,
            raw_pictures,
        )
        self.origin = ""
        self.clear()

    def clear(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self._drawn: OrderedDict[tuple[int, str], Answer] = OrderedDict()
        self._drawn_size = 0
        self._recipes: OrderedDict[int, image_generator.Grid] = OrderedDict()
        self._read: OrderedDict[str, list[str]] = OrderedDict()

    def repaint(self, task: Task) -> None:
        """The task starts over: what was known of its picture is not true any more."""
        self._recipes.pop(task.number, None)
        for key in [key for key in self._drawn if key[0] == task.number]:
            self._drawn_size -= len(self._drawn.pop(key).body)

    # ── names ──

    def task_at(self, number: int) -> Task | None:
        return self.tasks[number] if 0 <= number < len(self.tasks) else None

    @property
    def channel(self) -> str:
        """The Discord channel, which is also the account's id."""
        return str(1_100_000_000_000_000_000 + self.number("channel", 10**17))

    @property
    def guild(self) -> str:
        return str(1_100_000_000_000_000_000 + self.number("guild", 10**17))

    def number(self, name: object, below: int) -> int:
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % below

    def uuid(self, task: Task) -> str:
        """The picture's name; its end is the task's number, so that a link leads back to its
        task.
        """
        text = hashlib.blake2b(
            f"{self.seed}/uuid/{task.number}".encode(), digest_size=10
        ).hexdigest()
        tail = f"{task.number ^ self.number('uuid', 2**48):012x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{tail}"

    def by_uuid(self, uuid: str) -> Task | None:
        task = self.task_at(int(uuid[-12:], 16) ^ self.number("uuid", 2**48))
        return task if task and self.uuid(task) == uuid else None

    def message(self, task: Task) -> str:
        return str(snowflake(task.phase.finish or task.submitted, task.number))

    # ── links ──

    def _link(self, message: int, name: str, moment: int) -> str:
        """An attachment's address, signed for a day from `moment` (ms) where links die."""
        path = f"/attachments/{self.channel}/{message}/{quote(name)}"
        if not self.signed:
            return self.origin + path
        issued = moment // 1000
        expires = f"{issued + DAY:x}"
        return f"{self.origin}{path}?ex={expires}&is={issued:x}&hm={self._signature(path, expires, f'{issued:x}')}"

    def _signature(self, path: str, expires: str, issued: str) -> str:
        text = f"{path}\n{expires}\n{issued}".encode("utf-8", "replace")
        return hmac.new(f"links/{self.seed}".encode(), text, hashlib.sha256).hexdigest()

    def image_url(self, task: Task) -> str | None:
        """The blurry preview while it is being made, then the picture; a described picture is the
        one that was sent.
        """
        if task.op in ("describe", "retry"):
            return self.blob_url(task.sent[0], task.submitted) if task.phase.start else None
        if task.op == "shorten":
            return None
        if task.phase.status == IN_PROGRESS and task.phase.percent:
            message = snowflake(task.phase.start or 0, task.phase.percent)
            return self._link(message, f"{self.uuid(task)}_grid_0.webp", task.phase.start or 0)
        if task.phase.status != SUCCESS:
            return None
        end = "_0_0_640_N.webp" if task.kind in FILMS else ".png"
        return self._link(int(self.message(task)), self._file(task) + end, task.phase.finish or 0)

    def _file(self, task: Task) -> str:
        words = re.findall(
            r"[A-Za-z0-9]+", re.sub(r"https?://\S+|--\w+(?:\s+[\d:.]+)?", " ", task.prompt)
        )
        slug = "_".join(words)[:48].strip("_")
        return "_".join(part for part in (USER, slug, self.uuid(task)) if part)

    def cell_url(self, task: Task, cell: int, end: str) -> str:
        return self._link(
            int(self.message(task)), f"{self.uuid(task)}_0_{cell}{end}", task.phase.finish or 0
        )

    def films(self, task: Task) -> int:
        return int((task.details or {}).get("batch", 1 if task.kind == "filmed" else 4))

    def blob_url(self, blob: str, moment: int) -> str:
        return self._link(snowflake(moment, self.number(blob, 2**22)), f"{blob}.png", moment)

    # ── links, followed ──

    def follow(self, request: Request) -> Answer:
        """A picture; after a day, or with a signature that is not ours, it is gone."""
        if request.method.upper() not in ("GET", "HEAD"):
            return Answer(405, b"", {"allow": "GET, HEAD"})
        if self.signed and not self._link_lives(request):
            return GONE
        name = unquote(request.path).rpartition("/")[2]
        stem = name.partition(".")[0]
        if stem in self.blobs:
            return picture_answer(self.blobs[stem])
        found = UUID.search(name)
        task = self.by_uuid(found[0]) if found else None
        if task is None or not self._visible(task, name):
            return GONE
        return self._picture_named(task, name, request.path)

    def _link_lives(self, request: Request) -> bool:
        given = {name: values[-1] for name, values in parse_qs(request.query[:1000]).items()}
        expires, issued = given.get("ex", ""), given.get("is", "")
        if not re.fullmatch(r"[0-9a-f]{1,12}", expires) or int(expires, 16) < self.clock.now():
            return False
        return same(given.get("hm", ""), self._signature(request.path, expires, issued))

    def _visible(self, task: Task, name: str) -> bool:
        return task.phase.status == SUCCESS or "_grid_0.webp" in name

    def _picture_named(self, task: Task, name: str, path: str) -> Answer:
        if name.endswith("_grid_0.webp"):
            percent = int(path.split("/")[-2]) & 127 if path.split("/")[-2].isdigit() else 50
            return self.shown(task, f"preview {min(percent, 100)}")
        cell = _CELL.search(name)
        return self.shown(task, f"cell {cell[1]} {cell[2]}" if cell else "whole")

    def shown(self, task: Task, what: str) -> Answer:
        """Draw, or take what was drawn a moment ago."""
        key = (task.number, what)
        if key in self._drawn:
            self._drawn.move_to_end(key)
            return self._drawn[key]
        reply = self._draw(task, *what.split(" "))
        self._drawn[key] = reply
        self._drawn_size += len(reply.body)
        while self._drawn_size > PIXELS and len(self._drawn) > 1:
            self._drawn_size -= len(self._drawn.popitem(last=False)[1].body)
        return reply

    def _draw(self, task: Task, what: str, part: str = "", end: str = "") -> Answer:
        grid, area = self.recipe(task), KINDS[task.kind].area
        if not grid:
            return GONE
        if what == "preview":
            return picture_answer(image_generator.preview(grid, int(part)))
        if what == "whole":
            return picture_answer(image_generator.png(image_generator.together(grid, area)))
        chosen = grid[int(part) % len(grid)]
        if end == "_640_N.webp":
            return picture_answer(
                image_generator.webp(chosen.draw(image_generator.size_of(chosen, 640 * 640)))
            )
        if end == ".webp" and task.kind in FILMS:
            return picture_answer(self._film(task, chosen, int(part)))
        return picture_answer(
            image_generator.png(chosen.draw(image_generator.size_of(chosen, area)))
        )

    def _film(self, task: Task, start: image_generator.Picture, number: int) -> bytes:
        """Moves on its own way for each of the four; one that was picked keeps the way of its
        parent's.
        """
        about = {**(MOVES[task.move].args if task.move else {}), **(task.details or {})}
        source = self.task_at(task.parent) if task.kind == "filmed" else task
        number = about.get("index", 1) - 1 if task.kind == "filmed" else number
        motion = 1.0 if about.get("motion") == "high" else 0.4
        end = (
            image_generator.photo(self.blobs[about["end"]])
            if about.get("end") in self.blobs
            else None
        )
        return image_generator.film(
            start, motion, self.seed_of(source or task) + number, end, bool(about.get("loop"))
        )

    # ── recipes ──

    def seed_of(self, task: Task) -> int:
        """What --seed says, else the task's own."""
        found = _SEED.search(task.prompt) if task.op == "imagine" else None
        return int(found[1]) % 2**32 if found else self.number(("seed", task.number), 2**32)

    def recipe(self, task: Task) -> image_generator.Grid:
        """How to draw a task's pictures: the steps of its ancestors, from the root on."""
        chain: list[tuple[Task, Task]] = []
        at: Task | None = task
        while at is not None and at.number not in self._recipes:
            step = self._repeated(at)
            chain.append((at, step))
            at = (
                None
                if step.op in ROOTS or self._starts_over(at, step)
                else self.task_at(step.parent)
            )
        base = self._recipes[at.number] if at else ()
        for each, step in reversed(chain):
            base = self._painted(each, step, base)
            self._recipes[each.number] = base
        while len(self._recipes) > 2000:
            self._recipes.popitem(last=False)
        return base

    def _repeated(self, task: Task) -> Task:
        """Whose step a task repeats: its own, or, for a reroll, the nearest ancestor's that is no
        reroll.
        """
        at: Task | None = task
        while at is not None and at.op == "reroll":
            at = self.task_at(at.parent)
        return at or task

    def _starts_over(self, task: Task, step: Task) -> bool:
        """Rerolling a single picture imagines its prompt anew."""
        return task is not step and step.kind in ("upscale", "hd")

    def _painted(self, task: Task, step: Task, base: image_generator.Grid) -> image_generator.Grid:
        op = "imagine" if self._starts_over(task, step) else step.op
        about = {**(MOVES[step.move].args if step.move else {}), **(step.details or {})}
        return PAINTERS[op](self, Stroke(task.prompt, self.seed_of(task), about, step.sent, base))

    # ── pictures that clients send ──

    def store(self, body: bytes) -> str:
        name = hashlib.sha256(body).hexdigest()[:32]
        self.blobs[name] = body
        return name

    def received(self, text: str) -> str:
        """The name of a picture that came as a data URL (or, where allowed, as base64 or a
        link).
        """
        body = from_data_url(text)
        if body is None and self.raw_pictures:
            body = (
                self._linked(text) if re.match(r"https?://|/attachments/", text) else decoded(text)
            )
        if body is None:
            raise invalid("base64格式错误")
        return self.store(body)

    def _linked(self, url: str) -> bytes:
        """What is behind a link: our own pictures are; for another host, which is never asked, one
        is imagined.
        """
        parts = urlsplit(url) if url.isascii() and "[" not in url else urlsplit("")
        if parts.path.startswith("/attachments/"):
            reply = self.follow(Request("GET", "", parts.path, parts.query))
            if reply.status == 200:
                return reply.body
        words = " ".join(re.findall(r"[a-z]+", unquote(parts.path.rpartition("/")[2]).lower()))
        return image_generator.png(
            image_generator.imagined(words, self.number(url, 2**32))[0].draw((512, 512))
        )

    def sent(self, names: Sequence[str]) -> list[image_generator.Photo]:
        return [image_generator.photo(self.blobs.get(name, b"")) for name in names]

    def sent_mask(self, about: Mapping[str, Any]) -> bytes | None:
        return self.blobs.get(about.get("mask") or "")

    def proposals(self, task: Task) -> list[str]:
        """The prompts that a describe or shorten task came up with."""
        if task.kind == "shorten":
            return image_generator.shortened(task.prompt)[1]
        return self._captions(task.sent[0])

    def _captions(self, blob: str) -> list[str]:
        if blob not in self._read:
            self._read[blob] = image_generator.captions(
                image_generator.opened(self.blobs.get(blob, b""))
            )
            if len(self._read) > 1000:
                self._read.popitem(last=False)
        return self._read[blob]


# ── how pictures come about
# ──────────────────────────────────────────────────────────────────────────────────────────


class Stroke(NamedTuple):
    """What one step of a recipe is given."""

    prompt: str
    seed: int
    about: Mapping[str, Any]
    sent: tuple[str, ...]
    base: image_generator.Grid

    @property
    def chosen(self) -> image_generator.Picture:
        """The picture of the parent that the button named."""
        return self.base[min(int(self.about.get("index", 1)), len(self.base)) - 1]


def _imagine(gallery: Gallery, stroke: Stroke) -> image_generator.Grid:
    grid = image_generator.imagined(stroke.prompt, stroke.seed)
    if not stroke.sent:
        return grid
    photos, view = gallery.sent(stroke.sent), grid[0].view
    return tuple(
        image_generator.Blended((*photos, cell), ((stroke.seed + number, 1.0),), view)
        for number, cell in enumerate(grid)
    )


def _vary(_: Gallery, stroke: Stroke) -> image_generator.Grid:
    chosen = image_generator.reworded(stroke.chosen, stroke.prompt)
    return image_generator.varied(chosen, stroke.seed, stroke.about["strength"])


def _zoom(_: Gallery, stroke: Stroke) -> image_generator.Grid:
    factor = stroke.about.get("factor", 2.0)
    return (
        image_generator.zoomed(stroke.chosen, stroke.seed, factor)
        if factor
        else image_generator.squared(stroke.chosen, stroke.seed)
    )


def _inpaint(gallery: Gallery, stroke: Stroke) -> image_generator.Grid:
    return image_generator.repainted(
        stroke.chosen, stroke.seed, stroke.prompt, gallery.sent_mask(stroke.about)
    )


def _enlarge(_: Gallery, stroke: Stroke) -> image_generator.Grid:
    strength = stroke.about["strength"]
    return (stroke.chosen.vary(stroke.seed, strength) if strength else stroke.chosen,)


def _swapped(gallery: Gallery, stroke: Stroke) -> image_generator.Grid:
    source, target = gallery.sent(stroke.sent)
    return (image_generator.Swapped(source, target),)


def _edit(gallery: Gallery, stroke: Stroke) -> image_generator.Grid:
    return image_generator.edited(
        gallery.sent(stroke.sent)[0], stroke.seed, stroke.prompt, gallery.sent_mask(stroke.about)
    )


def _blend(gallery: Gallery, stroke: Stroke) -> image_generator.Grid:
    return image_generator.blended(gallery.sent(stroke.sent), stroke.seed, stroke.about["ratio"])


def _opening(gallery: Gallery, stroke: Stroke) -> image_generator.Grid:
    return (
        tuple(gallery.sent(stroke.sent)) or image_generator.imagined(stroke.prompt, stroke.seed)[:1]
    )


PAINTERS: dict[str, Callable[[Gallery, Stroke], image_generator.Grid]] = {
    "imagine": _imagine,
    "blend": _blend,
    "describe": lambda gallery, stroke: tuple(gallery.sent(stroke.sent)),
    "retry": lambda gallery, stroke: tuple(gallery.sent(stroke.sent)),
    "shorten": lambda _, __: (),
    "swap": _swapped,
    "edit": _edit,
    "retexture": _edit,
    "video": _opening,
    "upscale": lambda _, stroke: (stroke.chosen,),
    "same": lambda _, stroke: stroke.base,
    "enlarge": _enlarge,
    "vary": _vary,
    "zoom": _zoom,
    "pan": lambda _, stroke: image_generator.panned(
        stroke.chosen, stroke.seed, stroke.about["way"]
    ),
    "inpaint": _inpaint,
    "film": lambda _, stroke: (stroke.chosen,),
    "refilm": lambda _, stroke: stroke.base[:1],
}
ROOTS = frozenset(
    {"imagine", "blend", "describe", "retry", "shorten", "swap", "edit", "retexture", "video"}
)
