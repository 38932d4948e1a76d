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
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.midjourney.bodies import (
    TEXT_HEADERS,
    decode_base64,
    decode_data_url,
    image_response,
    secrets_equal,
    validation_error,
)
from jupyter_mjci.emulator.midjourney.captions import caption_image, shorten_prompt
from jupyter_mjci.emulator.midjourney.tasks import (
    BUTTONS,
    IN_PROGRESS,
    SUCCESS,
    TASK_KINDS,
    VIDEO_KINDS,
    Task,
)

SECONDS_PER_DAY = 86400
CACHE_BYTES = 48 * 1024 * 1024  # bytes of drawn pictures kept for the next time they are asked for
SNOWFLAKE_EPOCH = 1420070400000
USERNAME = "sandbox_artist"
EXPIRED_RESPONSE = Response(404, b"This content is no longer available.", TEXT_HEADERS)
UUID_RE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CELL_FILE_RE = re.compile(r"_0_([0-3])(_640_N\.webp|\.png|\.webp)$")
_SEED_PARAMETER_RE = re.compile(r"--(?:seed|sameseed)\s+(\d{1,10})(?!\S)")


def build_snowflake(timestamp_ms: int, low: int) -> int:
    """A Discord id: milliseconds, then 22 bits of our choice."""
    return (max(0, timestamp_ms - SNOWFLAKE_EPOCH) << 22) | (low & 0x3FFFFF)


class ImageStore:
    """What the tasks of one proxy look like: names, links, recipes, drawn pictures, and the
    pictures that came in.

    `signs_links` links die after a day; others stay. `origin` starts the links. With `accepts_raw_images`
    clients may send bare base64 and links instead of data URLs.
    """

    def __init__(
        self,
        clock: Clock,
        seed: int,
        tasks: list[Task],
        *,
        signs_links: bool = True,
        accepts_raw_images: bool = False,
    ) -> None:
        self.clock, self.seed, self.tasks, self.signs_links, self.accepts_raw_images = (
            clock,
            seed,
            tasks,
            signs_links,
            accepts_raw_images,
        )
        self.origin = ""
        self.clear()

    def clear(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self._rendered: OrderedDict[tuple[int, str], Response] = OrderedDict()
        self._rendered_bytes = 0
        self._grids: OrderedDict[int, image_generator.Grid] = OrderedDict()
        self._caption_cache: OrderedDict[str, list[str]] = OrderedDict()

    def invalidate(self, task: Task) -> None:
        """The task starts over: what was known of its picture is not true any more."""
        self._grids.pop(task.number, None)
        for key in [key for key in self._rendered if key[0] == task.number]:
            self._rendered_bytes -= len(self._rendered.pop(key).body)

    # ── names ──

    def get_task(self, number: int) -> Task | None:
        return self.tasks[number] if 0 <= number < len(self.tasks) else None

    @property
    def channel_id(self) -> str:
        """The Discord channel, which is also the account's id."""
        return str(1_100_000_000_000_000_000 + self.derive_number("channel", 10**17))

    @property
    def guild_id(self) -> str:
        return str(1_100_000_000_000_000_000 + self.derive_number("guild", 10**17))

    def derive_number(self, name: object, below: int) -> int:
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % below

    def build_uuid(self, task: Task) -> str:
        """The picture's name; its end is the task's number, so that a link leads back to its
        task.
        """
        text = hashlib.blake2b(
            f"{self.seed}/uuid/{task.number}".encode(), digest_size=10
        ).hexdigest()
        tail = f"{task.number ^ self.derive_number('uuid', 2**48):012x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{tail}"

    def find_by_uuid(self, uuid: str) -> Task | None:
        task = self.get_task(int(uuid[-12:], 16) ^ self.derive_number("uuid", 2**48))
        return task if task and self.build_uuid(task) == uuid else None

    def build_message_id(self, task: Task) -> str:
        return str(build_snowflake(task.phase.finish or task.submitted, task.number))

    # ── links ──

    def _build_attachment_url(self, message: int, name: str, timestamp_ms: int) -> str:
        """An attachment's address, signed for a day from `timestamp_ms` (ms) where links die."""
        path = f"/attachments/{self.channel_id}/{message}/{quote(name)}"
        if not self.signs_links:
            return self.origin + path
        issued = timestamp_ms // 1000
        expires = f"{issued + SECONDS_PER_DAY:x}"
        return f"{self.origin}{path}?ex={expires}&is={issued:x}&hm={self._sign(path, expires, f'{issued:x}')}"

    def _sign(self, path: str, expires: str, issued: str) -> str:
        text = f"{path}\n{expires}\n{issued}".encode("utf-8", "replace")
        return hmac.new(f"links/{self.seed}".encode(), text, hashlib.sha256).hexdigest()

    def build_image_url(self, task: Task) -> str | None:
        """The blurry preview while it is being made, then the picture; a described picture is the
        one that was sent.
        """
        if task.op in ("describe", "retry"):
            return (
                self.build_blob_url(task.input_images[0], task.submitted)
                if task.phase.start
                else None
            )
        if task.op == "shorten":
            return None
        if task.phase.status == IN_PROGRESS and task.phase.percent:
            message = build_snowflake(task.phase.start or 0, task.phase.percent)
            return self._build_attachment_url(
                message, f"{self.build_uuid(task)}_grid_0.webp", task.phase.start or 0
            )
        if task.phase.status != SUCCESS:
            return None
        end = "_0_0_640_N.webp" if task.kind in VIDEO_KINDS else ".png"
        return self._build_attachment_url(
            int(self.build_message_id(task)),
            self._build_file_stem(task) + end,
            task.phase.finish or 0,
        )

    def _build_file_stem(self, task: Task) -> str:
        words = re.findall(
            r"[A-Za-z0-9]+", re.sub(r"https?://\S+|--\w+(?:\s+[\d:.]+)?", " ", task.prompt)
        )
        slug = "_".join(words)[:48].strip("_")
        return "_".join(part for part in (USERNAME, slug, self.build_uuid(task)) if part)

    def build_cell_url(self, task: Task, cell: int, suffix: str) -> str:
        return self._build_attachment_url(
            int(self.build_message_id(task)),
            f"{self.build_uuid(task)}_0_{cell}{suffix}",
            task.phase.finish or 0,
        )

    def count_videos(self, task: Task) -> int:
        return int((task.details or {}).get("batch", 1 if task.kind == "filmed" else 4))

    def build_blob_url(self, blob: str, timestamp_ms: int) -> str:
        return self._build_attachment_url(
            build_snowflake(timestamp_ms, self.derive_number(blob, 2**22)),
            f"{blob}.png",
            timestamp_ms,
        )

    # ── links, followed ──

    def serve(self, request: Request) -> Response:
        """A picture; after a day, or with a signature that is not ours, it is gone."""
        if request.method.upper() not in ("GET", "HEAD"):
            return Response(405, b"", {"allow": "GET, HEAD"})
        if self.signs_links and not self._is_link_valid(request):
            return EXPIRED_RESPONSE
        name = unquote(request.path).rpartition("/")[2]
        stem = name.partition(".")[0]
        if stem in self.blobs:
            return image_response(self.blobs[stem])
        found = UUID_RE.search(name)
        task = self.find_by_uuid(found[0]) if found else None
        if task is None or not self._is_visible(task, name):
            return EXPIRED_RESPONSE
        return self._serve_file(task, name, request.path)

    def _is_link_valid(self, request: Request) -> bool:
        given = {name: values[-1] for name, values in parse_qs(request.query[:1000]).items()}
        expires, issued = given.get("ex", ""), given.get("is", "")
        if not re.fullmatch(r"[0-9a-f]{1,12}", expires) or int(expires, 16) < self.clock.now():
            return False
        return secrets_equal(given.get("hm", ""), self._sign(request.path, expires, issued))

    def _is_visible(self, task: Task, name: str) -> bool:
        return task.phase.status == SUCCESS or "_grid_0.webp" in name

    def _serve_file(self, task: Task, name: str, path: str) -> Response:
        if name.endswith("_grid_0.webp"):
            percent = int(path.split("/")[-2]) & 127 if path.split("/")[-2].isdigit() else 50
            return self.render(task, f"preview {min(percent, 100)}")
        cell = _CELL_FILE_RE.search(name)
        return self.render(task, f"cell {cell[1]} {cell[2]}" if cell else "whole")

    def render(self, task: Task, variant: str) -> Response:
        """Draw, or take what was drawn a moment ago."""
        key = (task.number, variant)
        if key in self._rendered:
            self._rendered.move_to_end(key)
            return self._rendered[key]
        reply = self._render_variant(task, *variant.split(" "))
        self._rendered[key] = reply
        self._rendered_bytes += len(reply.body)
        while self._rendered_bytes > CACHE_BYTES and len(self._rendered) > 1:
            self._rendered_bytes -= len(self._rendered.popitem(last=False)[1].body)
        return reply

    def _render_variant(
        self, task: Task, variant: str, part: str = "", suffix: str = ""
    ) -> Response:
        grid, area = self.build_grid(task), TASK_KINDS[task.kind].area
        if not grid:
            return EXPIRED_RESPONSE
        if variant == "preview":
            return image_response(image_generator.render_preview(grid, int(part)))
        if variant == "whole":
            return image_response(
                image_generator.encode_png(image_generator.compose_grid(grid, area))
            )
        chosen = grid[int(part) % len(grid)]
        if suffix == "_640_N.webp":
            return image_response(
                image_generator.encode_webp(
                    chosen.draw(image_generator.get_pixel_size(chosen, 640 * 640))
                )
            )
        if suffix == ".webp" and task.kind in VIDEO_KINDS:
            return image_response(self._render_video(task, chosen, int(part)))
        return image_response(
            image_generator.encode_png(chosen.draw(image_generator.get_pixel_size(chosen, area)))
        )

    def _render_video(self, task: Task, start: image_generator.Drawable, number: int) -> bytes:
        """Moves on its own way for each of the four; one that was picked keeps the way of its
        parent's.
        """
        about = {**(BUTTONS[task.button].args if task.button else {}), **(task.details or {})}
        source = self.get_task(task.parent) if task.kind == "filmed" else task
        number = about.get("index", 1) - 1 if task.kind == "filmed" else number
        motion = 1.0 if about.get("motion") == "high" else 0.4
        end = (
            image_generator.load_photo(self.blobs[about["end"]])
            if about.get("end") in self.blobs
            else None
        )
        return image_generator.render_video(
            start, motion, self.get_seed(source or task) + number, end, bool(about.get("loop"))
        )

    # ── recipes ──

    def get_seed(self, task: Task) -> int:
        """What --seed says, else the task's own."""
        found = _SEED_PARAMETER_RE.search(task.prompt) if task.op == "imagine" else None
        return int(found[1]) % 2**32 if found else self.derive_number(("seed", task.number), 2**32)

    def build_grid(self, task: Task) -> image_generator.Grid:
        """How to draw a task's pictures: the steps of its ancestors, from the root on."""
        chain: list[tuple[Task, Task]] = []
        at: Task | None = task
        while at is not None and at.number not in self._grids:
            step = self._resolve_reroll(at)
            chain.append((at, step))
            at = (
                None
                if step.op in ROOT_OPERATIONS or self._restarts_from_prompt(at, step)
                else self.get_task(step.parent)
            )
        base = self._grids[at.number] if at else ()
        for each, step in reversed(chain):
            base = self._apply_step(each, step, base)
            self._grids[each.number] = base
        while len(self._grids) > 2000:
            self._grids.popitem(last=False)
        return base

    def _resolve_reroll(self, task: Task) -> Task:
        """Whose step a task repeats: its own, or, for a reroll, the nearest ancestor's that is no
        reroll.
        """
        at: Task | None = task
        while at is not None and at.op == "reroll":
            at = self.get_task(at.parent)
        return at or task

    def _restarts_from_prompt(self, task: Task, step: Task) -> bool:
        """Rerolling a single picture imagines its prompt anew."""
        return task is not step and step.kind in ("upscale", "hd")

    def _apply_step(
        self, task: Task, step: Task, base: image_generator.Grid
    ) -> image_generator.Grid:
        op = "imagine" if self._restarts_from_prompt(task, step) else step.op
        about = {**(BUTTONS[step.button].args if step.button else {}), **(step.details or {})}
        return GRID_BUILDERS[op](
            self, StepInput(task.prompt, self.get_seed(task), about, step.input_images, base)
        )

    # ── pictures that clients send ──

    def save_blob(self, body: bytes) -> str:
        name = hashlib.sha256(body).hexdigest()[:32]
        self.blobs[name] = body
        return name

    def save_input_image(self, text: str) -> str:
        """The name of a picture that came as a data URL (or, where allowed, as base64 or a
        link).
        """
        body = decode_data_url(text)
        if body is None and self.accepts_raw_images:
            body = (
                self._load_linked_image(text)
                if re.match(r"https?://|/attachments/", text)
                else decode_base64(text)
            )
        if body is None:
            raise validation_error("base64格式错误")
        return self.save_blob(body)

    def _load_linked_image(self, url: str) -> bytes:
        """What is behind a link: our own pictures are; for another host, which is never asked, one
        is imagined.
        """
        parts = urlsplit(url) if url.isascii() and "[" not in url else urlsplit("")
        if parts.path.startswith("/attachments/"):
            reply = self.serve(Request("GET", "", parts.path, parts.query))
            if reply.status == 200:
                return reply.body
        words = " ".join(re.findall(r"[a-z]+", unquote(parts.path.rpartition("/")[2]).lower()))
        return image_generator.encode_png(
            image_generator.imagine(words, self.derive_number(url, 2**32))[0].draw((512, 512))
        )

    def load_photos(self, names: Sequence[str]) -> list[image_generator.Photo]:
        return [image_generator.load_photo(self.blobs.get(name, b"")) for name in names]

    def load_mask(self, options: Mapping[str, Any]) -> bytes | None:
        return self.blobs.get(options.get("mask") or "")

    def suggest_prompts(self, task: Task) -> list[str]:
        """The prompts that a describe or shorten task came up with."""
        if task.kind == "shorten":
            return shorten_prompt(task.prompt)[1]
        return self._caption_blob(task.input_images[0])

    def _caption_blob(self, blob: str) -> list[str]:
        if blob not in self._caption_cache:
            self._caption_cache[blob] = caption_image(
                image_generator.open_image(self.blobs.get(blob, b""))
            )
            if len(self._caption_cache) > 1000:
                self._caption_cache.popitem(last=False)
        return self._caption_cache[blob]


# ── how pictures come about
# ──────────────────────────────────────────────────────────────────────────────────────────


class StepInput(NamedTuple):
    """What one step of a recipe is given."""

    prompt: str
    seed: int
    options: Mapping[str, Any]
    input_images: tuple[str, ...]
    parent_grid: image_generator.Grid

    @property
    def selected(self) -> image_generator.Drawable:
        """The picture of the parent that the button named."""
        return self.parent_grid[min(int(self.options.get("index", 1)), len(self.parent_grid)) - 1]


def _imagine(gallery: ImageStore, stroke: StepInput) -> image_generator.Grid:
    grid = image_generator.imagine(stroke.prompt, stroke.seed)
    if not stroke.input_images:
        return grid
    photos, view = gallery.load_photos(stroke.input_images), grid[0].view
    return tuple(
        image_generator.Blended((*photos, cell), ((stroke.seed + number, 1.0),), view)
        for number, cell in enumerate(grid)
    )


def _vary(_: ImageStore, stroke: StepInput) -> image_generator.Grid:
    chosen = image_generator.replace_prompt(stroke.selected, stroke.prompt)
    return image_generator.vary(chosen, stroke.seed, stroke.options["strength"])


def _zoom(_: ImageStore, stroke: StepInput) -> image_generator.Grid:
    factor = stroke.options.get("factor", 2.0)
    return (
        image_generator.zoom_out(stroke.selected, stroke.seed, factor)
        if factor
        else image_generator.make_square(stroke.selected, stroke.seed)
    )


def _inpaint(gallery: ImageStore, stroke: StepInput) -> image_generator.Grid:
    return image_generator.inpaint(
        stroke.selected, stroke.seed, stroke.prompt, gallery.load_mask(stroke.options)
    )


def _enlarge(_: ImageStore, stroke: StepInput) -> image_generator.Grid:
    strength = stroke.options["strength"]
    return (stroke.selected.vary(stroke.seed, strength) if strength else stroke.selected,)


def _swap_faces(gallery: ImageStore, stroke: StepInput) -> image_generator.Grid:
    source, target = gallery.load_photos(stroke.input_images)
    return (image_generator.FaceSwapped(source, target),)


def _edit(gallery: ImageStore, stroke: StepInput) -> image_generator.Grid:
    return image_generator.edit(
        gallery.load_photos(stroke.input_images)[0],
        stroke.seed,
        stroke.prompt,
        gallery.load_mask(stroke.options),
    )


def _blend(gallery: ImageStore, stroke: StepInput) -> image_generator.Grid:
    return image_generator.blend(
        gallery.load_photos(stroke.input_images), stroke.seed, stroke.options["ratio"]
    )


def _build_start_frame(gallery: ImageStore, stroke: StepInput) -> image_generator.Grid:
    return (
        tuple(gallery.load_photos(stroke.input_images))
        or image_generator.imagine(stroke.prompt, stroke.seed)[:1]
    )


GRID_BUILDERS: dict[str, Callable[[ImageStore, StepInput], image_generator.Grid]] = {
    "imagine": _imagine,
    "blend": _blend,
    "describe": lambda gallery, stroke: tuple(gallery.load_photos(stroke.input_images)),
    "retry": lambda gallery, stroke: tuple(gallery.load_photos(stroke.input_images)),
    "shorten": lambda _, __: (),
    "swap": _swap_faces,
    "edit": _edit,
    "retexture": _edit,
    "video": _build_start_frame,
    "upscale": lambda _, stroke: (stroke.selected,),
    "same": lambda _, stroke: stroke.parent_grid,
    "enlarge": _enlarge,
    "vary": _vary,
    "zoom": _zoom,
    "pan": lambda _, stroke: image_generator.pan(
        stroke.selected, stroke.seed, stroke.options["way"]
    ),
    "inpaint": _inpaint,
    "film": lambda _, stroke: (stroke.selected,),
    "refilm": lambda _, stroke: stroke.parent_grid[:1],
}
ROOT_OPERATIONS = frozenset(
    {"imagine", "blend", "describe", "retry", "shorten", "swap", "edit", "retexture", "video"}
)
