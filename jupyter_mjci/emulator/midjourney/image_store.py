"""The pictures of a Midjourney proxy: links that are signed and expire, and how pictures are made.

A task's pictures are a recipe: the steps of the tasks that led to
it. Nothing is drawn before a link is followed, and little is kept
afterwards.
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
CACHE_BYTES = 48 * 1024 * 1024  # of rendered pictures
MAX_CACHED_GRIDS = 2000
MAX_CACHED_CAPTIONS = 1000
THUMBNAIL_AREA = 640 * 640
# epoch milliseconds that Discord counts from
SNOWFLAKE_EPOCH = 1420070400000
FIRST_SNOWFLAKE = 1_100_000_000_000_000_000
USERNAME = "sandbox_artist"
EXPIRED_RESPONSE = Response(404, b"This content is no longer available.", TEXT_HEADERS)
UUID_RE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CELL_FILE_RE = re.compile(r"_0_([0-3])(_640_N\.webp|\.png|\.webp)$")
_SEED_PARAMETER_RE = re.compile(r"--(?:seed|sameseed)\s+(\d{1,10})(?!\S)")


def build_snowflake(timestamp_ms: int, low: int) -> int:
    """Build a Discord ID: milliseconds since its epoch, then 22 free bits."""
    return (max(0, timestamp_ms - SNOWFLAKE_EPOCH) << 22) | (low & 0x3FFFFF)


class ImageStore:
    """The pictures of a proxy's tasks, and those that clients sent.

    Args:
        clock: the time that links expire by
        seed: where names and pictures come from
        tasks: all tasks, by number
        signs_links: links expire after a day
        accepts_raw_images: clients may send bare base64 and links
            instead of data URLs
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
        self.clock = clock
        self.seed = seed
        self.tasks = tasks
        self.signs_links = signs_links
        self.accepts_raw_images = accepts_raw_images
        self.origin = ""  # what links start with
        self.clear()

    def clear(self) -> None:
        """Forget the pictures that were sent, and empty the caches."""
        self.blobs: dict[str, bytes] = {}
        self._rendered: OrderedDict[tuple[int, str], Response] = OrderedDict()
        self._rendered_bytes = 0
        self._grids: OrderedDict[int, image_generator.Grid] = OrderedDict()
        self._caption_cache: OrderedDict[str, list[str]] = OrderedDict()

    def invalidate(self, task: Task) -> None:
        """Drop what is cached of a task that starts over."""
        self._grids.pop(task.number, None)
        for key in list(self._rendered):
            if key[0] == task.number:
                self._rendered_bytes -= len(self._rendered.pop(key).body)

    # ── names ──

    def get_task(self, number: int) -> Task | None:
        """Return a task by number."""
        return self.tasks[number] if 0 <= number < len(self.tasks) else None

    @property
    def channel_id(self) -> str:
        """The Discord channel, which is also the account's ID."""
        return str(FIRST_SNOWFLAKE + self.derive_number("channel", 10**17))

    @property
    def guild_id(self) -> str:
        """The Discord guild."""
        return str(FIRST_SNOWFLAKE + self.derive_number("guild", 10**17))

    def derive_number(self, name: object, below: int) -> int:
        """Return a number that depends on the seed and a name."""
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % below

    def build_uuid(self, task: Task) -> str:
        """Build the UUID of a task's picture; its end encodes the number, for `find_by_uuid`."""
        name = f"{self.seed}/uuid/{task.number}".encode()
        text = hashlib.blake2b(name, digest_size=10).hexdigest()
        tail = f"{task.number ^ self.derive_number('uuid', 2**48):012x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{tail}"

    def find_by_uuid(self, uuid: str) -> Task | None:
        """Return the task of a picture, None if the UUID is not one of this proxy."""
        task = self.get_task(int(uuid[-12:], 16) ^ self.derive_number("uuid", 2**48))
        return task if task and self.build_uuid(task) == uuid else None

    def build_message_id(self, task: Task) -> str:
        """Build the ID of the Discord message with a task's pictures."""
        return str(build_snowflake(task.phase.finish or task.submitted, task.number))

    # ── links ──

    def _build_attachment_url(self, message: int, name: str, timestamp_ms: int) -> str:
        """Build the URL of an attachment, signed for a day from
        `timestamp_ms` where links expire.
        """
        path = f"/attachments/{self.channel_id}/{message}/{quote(name)}"
        if not self.signs_links:
            return self.origin + path
        issued_at = timestamp_ms // 1000
        issued = f"{issued_at:x}"
        expires = f"{issued_at + SECONDS_PER_DAY:x}"
        signature = self._sign(path, expires, issued)
        return f"{self.origin}{path}?ex={expires}&is={issued}&hm={signature}"

    def _sign(self, path: str, expires: str, issued: str) -> str:
        text = f"{path}\n{expires}\n{issued}".encode("utf-8", "replace")
        return hmac.new(f"links/{self.seed}".encode(), text, hashlib.sha256).hexdigest()

    def build_image_url(self, task: Task) -> str | None:
        """Build the link to a task's picture: the preview while it is drawn, then the picture.

        For a described picture, the link to that picture.
        """
        phase = task.phase
        if task.op in ("describe", "retry"):
            return (
                self.build_blob_url(task.input_images[0], task.submitted) if phase.start else None
            )
        if task.op == "shorten":
            return None
        if phase.status == IN_PROGRESS and phase.percent:
            started = phase.start or 0
            message = build_snowflake(started, phase.percent)
            name = f"{self.build_uuid(task)}_grid_0.webp"
            return self._build_attachment_url(message, name, started)
        if phase.status != SUCCESS:
            return None
        suffix = "_0_0_640_N.webp" if task.kind in VIDEO_KINDS else ".png"
        return self._build_result_url(task, self._build_file_stem(task) + suffix)

    def _build_result_url(self, task: Task, name: str) -> str:
        message = int(self.build_message_id(task))
        return self._build_attachment_url(message, name, task.phase.finish or 0)

    def _build_file_stem(self, task: Task) -> str:
        """Build the name of a picture's file: user, words of the prompt, UUID."""
        prompt = re.sub(r"https?://\S+|--\w+(?:\s+[\d:.]+)?", " ", task.prompt)
        slug = "_".join(re.findall(r"[A-Za-z0-9]+", prompt))[:48].strip("_")
        parts = [USERNAME, slug, self.build_uuid(task)]
        return "_".join(filter(None, parts))

    def build_cell_url(self, task: Task, cell: int, suffix: str) -> str:
        """Build the link to one picture of a grid, or to one video."""
        return self._build_result_url(task, f"{self.build_uuid(task)}_0_{cell}{suffix}")

    def count_videos(self, task: Task) -> int:
        """Return how many videos a task makes."""
        default = 1 if task.kind == "filmed" else 4
        return int((task.details or {}).get("batch", default))

    def build_blob_url(self, blob: str, timestamp_ms: int) -> str:
        """Build the link to a picture that was sent."""
        message = build_snowflake(timestamp_ms, self.derive_number(blob, 2**22))
        return self._build_attachment_url(message, f"{blob}.png", timestamp_ms)

    # ── serving links ──

    def serve(self, request: Request) -> Response:
        """Serve a picture; 404 after a day, or with a signature that is not valid."""
        if request.method.upper() not in ("GET", "HEAD"):
            return Response(405, b"", {"allow": "GET, HEAD"})
        if self.signs_links and not self._is_link_valid(request):
            return EXPIRED_RESPONSE
        name = unquote(request.path).rpartition("/")[2]
        stem = name.partition(".")[0]
        if stem in self.blobs:
            return image_response(self.blobs[stem])
        uuid = UUID_RE.search(name)
        task = self.find_by_uuid(uuid[0]) if uuid else None
        if task is None or not self._is_visible(task, name):
            return EXPIRED_RESPONSE
        return self._serve_file(task, name, request.path)

    def _is_link_valid(self, request: Request) -> bool:
        params = parse_qs(request.query[:1000])
        expires = params.get("ex", [""])[-1]
        issued = params.get("is", [""])[-1]
        signature = params.get("hm", [""])[-1]
        if not re.fullmatch(r"[0-9a-f]{1,12}", expires) or int(expires, 16) < self.clock.now():
            return False
        return secrets_equal(signature, self._sign(request.path, expires, issued))

    def _is_visible(self, task: Task, name: str) -> bool:
        return task.phase.status == SUCCESS or "_grid_0.webp" in name

    def _serve_file(self, task: Task, name: str, path: str) -> Response:
        if name.endswith("_grid_0.webp"):
            message = path.split("/")[-2]
            # The low bits of the message's ID are the percent
            # (see `build_image_url`).
            percent = int(message) & 127 if message.isdigit() else 50
            return self.render(task, f"preview {min(percent, 100)}")
        cell = _CELL_FILE_RE.search(name)
        return self.render(task, f"cell {cell[1]} {cell[2]}" if cell else "whole")

    def render(self, task: Task, variant: str) -> Response:
        """Return a picture of a task, drawn or from the cache.

        Args:
            task: the task
            variant: "whole", "preview <percent>" or "cell
                <number> <suffix>"
        """
        key = (task.number, variant)
        if key in self._rendered:
            self._rendered.move_to_end(key)
            return self._rendered[key]
        response = self._render_variant(task, *variant.split(" "))
        self._rendered[key] = response
        self._rendered_bytes += len(response.body)
        while self._rendered_bytes > CACHE_BYTES and len(self._rendered) > 1:
            _, oldest = self._rendered.popitem(last=False)
            self._rendered_bytes -= len(oldest.body)
        return response

    def _render_variant(
        self, task: Task, variant: str, part: str = "", suffix: str = ""
    ) -> Response:
        grid = self.build_grid(task)
        area = TASK_KINDS[task.kind].area
        if not grid:
            return EXPIRED_RESPONSE
        if variant == "preview":
            return image_response(image_generator.render_preview(grid, int(part)))
        if variant == "whole":
            image = image_generator.compose_grid(grid, area)
            return image_response(image_generator.encode_png(image))
        picture = grid[int(part) % len(grid)]
        if suffix == "_640_N.webp":
            size = image_generator.get_pixel_size(picture, THUMBNAIL_AREA)
            return image_response(image_generator.encode_webp(picture.draw(size)))
        if suffix == ".webp" and task.kind in VIDEO_KINDS:
            return image_response(self._render_video(task, picture, int(part)))
        size = image_generator.get_pixel_size(picture, area)
        return image_response(image_generator.encode_png(picture.draw(size)))

    def _render_video(self, task: Task, start: image_generator.Drawable, number: int) -> bytes:
        """Render one of four videos, each with its own motion; a picked one keeps that motion."""
        options = get_options(task)
        source: Task | None = task
        if task.kind == "filmed":
            source = self.get_task(task.parent)
            number = options.get("index", 1) - 1
        motion = 1.0 if options.get("motion") == "high" else 0.4
        end = None
        if options.get("end") in self.blobs:
            end = image_generator.load_photo(self.blobs[options["end"]])
        seed = self.get_seed(source or task) + number
        return image_generator.render_video(start, motion, seed, end, bool(options.get("loop")))

    # ── recipes ──

    def get_seed(self, task: Task) -> int:
        """Return the seed of a task's pictures: that of --seed, else its own."""
        match = _SEED_PARAMETER_RE.search(task.prompt) if task.op == "imagine" else None
        if match:
            return int(match[1]) % 2**32
        return self.derive_number(("seed", task.number), 2**32)

    def build_grid(self, task: Task) -> image_generator.Grid:
        """Build the recipe of a task's pictures: the steps of its ancestors, from the root on."""
        pending: list[tuple[Task, Task]] = []
        ancestor: Task | None = task
        while ancestor is not None and ancestor.number not in self._grids:
            step = self._resolve_reroll(ancestor)
            pending.append((ancestor, step))
            if step.op in ROOT_OPERATIONS or self._restarts_from_prompt(ancestor, step):
                ancestor = None
            else:
                ancestor = self.get_task(step.parent)
        grid = self._grids[ancestor.number] if ancestor else ()
        for descendant, step in reversed(pending):
            grid = self._apply_step(descendant, step, grid)
            self._grids[descendant.number] = grid
        while len(self._grids) > MAX_CACHED_GRIDS:
            self._grids.popitem(last=False)
        return grid

    def _resolve_reroll(self, task: Task) -> Task:
        """Return the task whose step this one repeats.

        That is its own; for a reroll, that of the nearest
        ancestor that is not a reroll.
        """
        ancestor: Task | None = task
        while ancestor is not None and ancestor.op == "reroll":
            ancestor = self.get_task(ancestor.parent)
        return ancestor or task

    def _restarts_from_prompt(self, task: Task, step: Task) -> bool:
        """Return whether a task is a reroll of a single picture, which imagines its prompt anew."""
        return task is not step and step.kind in ("upscale", "hd")

    def _apply_step(
        self, task: Task, step: Task, parent_grid: image_generator.Grid
    ) -> image_generator.Grid:
        op = "imagine" if self._restarts_from_prompt(task, step) else step.op
        seed = self.get_seed(task)
        inputs = StepInput(task.prompt, seed, get_options(step), step.input_images, parent_grid)
        return GRID_BUILDERS[op](self, inputs)

    # ── pictures that clients send ──

    def save_blob(self, body: bytes) -> str:
        """Save a picture; return the name of its blob."""
        name = hashlib.sha256(body).hexdigest()[:32]
        self.blobs[name] = body
        return name

    def save_input_image(self, text: str) -> str:
        """Save a picture that was sent; return the name of its blob.

        Args:
            text: a data URL; where `accepts_raw_images`, also
                base64 or a link

        Raises:
            ErrorResponse: it is neither
        """
        body = decode_data_url(text)
        if body is None and self.accepts_raw_images:
            is_link = re.match(r"https?://|/attachments/", text)
            body = self._load_linked_image(text) if is_link else decode_base64(text)
        if body is None:
            raise validation_error("base64格式错误")
        return self.save_blob(body)

    def _load_linked_image(self, url: str) -> bytes:
        """Return the picture behind one of this proxy's links.

        Other hosts are not asked: a picture is imagined from the
        words of the URL.
        """
        parts = urlsplit(url if url.isascii() and "[" not in url else "")
        if parts.path.startswith("/attachments/"):
            response = self.serve(Request("GET", "", parts.path, parts.query))
            if response.status == 200:
                return response.body
        file_name = unquote(parts.path.rpartition("/")[2]).lower()
        prompt = " ".join(re.findall(r"[a-z]+", file_name))
        picture = image_generator.imagine(prompt, self.derive_number(url, 2**32))[0]
        return image_generator.encode_png(picture.draw((512, 512)))

    def load_photos(self, names: Sequence[str]) -> list[image_generator.Photo]:
        """Load pictures that were sent."""
        return [image_generator.load_photo(self.blobs.get(name, b"")) for name in names]

    def load_mask(self, options: Mapping[str, Any]) -> bytes | None:
        """Return the mask that a task's options name."""
        return self.blobs.get(options.get("mask") or "")

    def suggest_prompts(self, task: Task) -> list[str]:
        """Return the prompts that a describe or shorten task comes up with."""
        if task.kind == "shorten":
            return shorten_prompt(task.prompt)[1]
        return self._caption_blob(task.input_images[0])

    def _caption_blob(self, blob: str) -> list[str]:
        if blob not in self._caption_cache:
            image = image_generator.open_image(self.blobs.get(blob, b""))
            self._caption_cache[blob] = caption_image(image)
            if len(self._caption_cache) > MAX_CACHED_CAPTIONS:
                self._caption_cache.popitem(last=False)
        return self._caption_cache[blob]


def get_options(task: Task) -> dict[str, Any]:
    """Return the arguments of a task's step: those of its button, and its own."""
    button_args = BUTTONS[task.button].args if task.button else {}
    return {**button_args, **(task.details or {})}


# ── the steps of a recipe ──


class StepInput(NamedTuple):
    """What a step of a recipe is made from."""

    prompt: str
    seed: int
    options: Mapping[str, Any]
    input_images: tuple[str, ...]
    parent_grid: image_generator.Grid

    @property
    def selected(self) -> image_generator.Drawable:
        """The picture of the parent that the button names."""
        index = min(int(self.options.get("index", 1)), len(self.parent_grid))
        return self.parent_grid[index - 1]


def _imagine(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    grid = image_generator.imagine(inputs.prompt, inputs.seed)
    if not inputs.input_images:
        return grid
    photos = store.load_photos(inputs.input_images)
    view = grid[0].view
    return tuple(
        image_generator.Blended((*photos, cell), ((inputs.seed + number, 1.0),), view)
        for number, cell in enumerate(grid)
    )


def _vary(_: ImageStore, inputs: StepInput) -> image_generator.Grid:
    chosen = image_generator.replace_prompt(inputs.selected, inputs.prompt)
    return image_generator.vary(chosen, inputs.seed, inputs.options["strength"])


def _zoom(_: ImageStore, inputs: StepInput) -> image_generator.Grid:
    factor = inputs.options.get("factor", 2.0)
    if factor:
        return image_generator.zoom_out(inputs.selected, inputs.seed, factor)
    return image_generator.make_square(inputs.selected, inputs.seed)


def _inpaint(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    return image_generator.inpaint(
        inputs.selected, inputs.seed, inputs.prompt, store.load_mask(inputs.options)
    )


def _enlarge(_: ImageStore, inputs: StepInput) -> image_generator.Grid:
    strength = inputs.options["strength"]
    if not strength:
        return (inputs.selected,)
    return (inputs.selected.vary(inputs.seed, strength),)


def _swap_faces(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    source, target = store.load_photos(inputs.input_images)
    return (image_generator.FaceSwapped(source, target),)


def _edit(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    return image_generator.edit(
        store.load_photos(inputs.input_images)[0],
        inputs.seed,
        inputs.prompt,
        store.load_mask(inputs.options),
    )


def _blend(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    return image_generator.blend(
        store.load_photos(inputs.input_images), inputs.seed, inputs.options["ratio"]
    )


def _build_start_frame(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    if inputs.input_images:
        return _load_inputs(store, inputs)
    return image_generator.imagine(inputs.prompt, inputs.seed)[:1]


def _load_inputs(store: ImageStore, inputs: StepInput) -> image_generator.Grid:
    return tuple(store.load_photos(inputs.input_images))


GRID_BUILDERS: dict[str, Callable[[ImageStore, StepInput], image_generator.Grid]] = {
    "imagine": _imagine,
    "blend": _blend,
    "describe": _load_inputs,
    "retry": _load_inputs,
    "shorten": lambda _, __: (),
    "swap": _swap_faces,
    "edit": _edit,
    "retexture": _edit,
    "video": _build_start_frame,
    "upscale": lambda _, inputs: (inputs.selected,),
    "same": lambda _, inputs: inputs.parent_grid,
    "enlarge": _enlarge,
    "vary": _vary,
    "zoom": _zoom,
    "pan": lambda _, inputs: image_generator.pan(
        inputs.selected, inputs.seed, inputs.options["way"]
    ),
    "inpaint": _inpaint,
    "film": lambda _, inputs: (inputs.selected,),
    "refilm": lambda _, inputs: inputs.parent_grid[:1],
}
ROOT_OPERATIONS = frozenset(
    {"imagine", "blend", "describe", "retry", "shorten", "swap", "edit", "retexture", "video"}
)
