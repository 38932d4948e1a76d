"""Generate images from a prompt and a seed: the same bytes in every run.

An image is a small frozen recipe that is drawn only when its
pixels are needed. A `Scene` is a world without edges, seen
through a `view`, so what the service offers follows from it: an
upscale is the same view with more pixels, zooming out and panning
widen the view, a variation changes the scene's random numbers a
little. An uploaded image is a `Photo`. `Outpainted` sets an image
into a larger one, and `Inpainted` repaints the white part of a
mask.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from jupyter_mjci.emulator.drawing.canvas import Box, Size, center_view
from jupyter_mjci.emulator.drawing.palettes import (
    build_palette,
    choose_mood,
    clamp_ratio,
    extract_words,
    mix_colors,
    parse_aspect_ratio,
)
from jupyter_mjci.emulator.drawing.scene import Scene
from jupyter_mjci.emulator.drawing.seeding import (
    Lineage,
    SeededRandom,
    derive_seed,
    extend_lineage,
    hash_to_unit,
)

# pixels of one cell of a grid; an upscale has four times as many
CELL_AREA = 512 * 512
# columns and rows of the four cells
CELL_POSITIONS = ((0, 0), (1, 0), (0, 1), (1, 1))
MAX_PHOTO_PIXELS = 40_000_000
MAX_PAN_RATIO = 6.0  # aspect ratio of a panned image
MAX_VIEW_SIDE = 40.0  # how much of the world can be seen
MAX_NESTING = 6  # images within images
VIDEO_FRAMES = 16
VIDEO_AREA = 320 * 320
PAN_DIRECTIONS = {
    "left": (-1, 0, 0, 0),
    "up": (0, -1, 0, 0),
    "right": (0, 0, 1, 0),
    "down": (0, 0, 0, 1),
}


class Drawable(Protocol):
    """What can be drawn at any size, varied, and seen through a wider view."""

    @property
    def view(self) -> Box: ...
    def draw(self, size: Size) -> Image.Image: ...
    def vary(self, seed: int, strength: float) -> Drawable: ...
    def expand(self, seed: int, view: Box) -> Drawable: ...


Grid = tuple[Drawable, ...]


def get_aspect_ratio(picture: Drawable) -> float:
    """Return width by height."""
    left, top, right, bottom = picture.view
    return (right - left) / (bottom - top)


def get_pixel_size(picture: Drawable, area: int = CELL_AREA) -> Size:
    """Return width and height of about that area in pixels, both multiples of 16."""
    ratio = get_aspect_ratio(picture)
    height = math.sqrt(area / ratio)
    return max(16, round(height * ratio / 16) * 16), max(16, round(height / 16) * 16)


# Uploaded images


def open_image(body: bytes) -> Image.Image:
    """Decode an uploaded image, upright and as RGB; a plain gray square if it cannot be read."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.width * image.height <= MAX_PHOTO_PIXELS:
                image.draft("RGB", (2048, 2048))
                return _flatten(ImageOps.exif_transpose(image))
    except Exception:  # Pillow raises many kinds on damaged input
        pass
    return Image.new("RGB", (64, 64), (128, 128, 128))


def _flatten(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def is_image(body: bytes) -> bool:
    """Whether the bytes have the header of an image."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            return image.width > 0
    except Exception:
        return False


@dataclass(frozen=True, slots=True)
class Photo:
    """An uploaded image; variations tint it towards the palette of the prompt's words."""

    body: bytes
    prompt: str
    lineage: Lineage
    view: Box

    def vary(self, seed: int, strength: float) -> Photo:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Scene:
        return Scene(self.prompt, ((seed, 1.0),), view)

    def draw(self, size: Size) -> Image.Image:
        image = ImageOps.fit(open_image(self.body), size, Image.Resampling.LANCZOS)
        if not self.lineage:
            return image
        rng = SeededRandom(((self.lineage[0][0], 1.0), *self.lineage[1:]))
        words = extract_words(self.prompt)
        colors = build_palette(choose_mood(words, rng), words, rng)
        tinted = ImageOps.colorize(
            ImageOps.autocontrast(image.convert("L")),
            colors.near,
            colors.light,
            mid=mix_colors(colors.accent, colors.middle, 0.5),
        )
        strength = min(0.85, sum(strength for _, strength in self.lineage))
        return Image.blend(image, tinted, strength * rng("tint", 0.5, 0.95))


def load_photo(body: bytes, prompt: str = "", lineage: Lineage = ()) -> Photo:
    """Return an uploaded image in its own aspect ratio."""
    image = open_image(body)
    return Photo(body, prompt, lineage, center_view(clamp_ratio(image.width / image.height)))


# Images made of images


@dataclass(frozen=True, slots=True)
class Outpainted:
    """`inner`, unchanged, in the world that `outer` shows around it."""

    outer: Drawable
    inner: Drawable
    view: Box

    def vary(self, seed: int, strength: float) -> Outpainted:
        outer = self.outer.vary(seed, strength)
        return replace(self, outer=outer, inner=self.inner.vary(seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.outer.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        image = self.outer.draw(size)
        scale = size[0] / (self.view[2] - self.view[0])
        left = round((self.inner.view[0] - self.view[0]) * scale)
        top = round((self.inner.view[1] - self.view[1]) * scale)
        right = round((self.inner.view[2] - self.view[0]) * scale)
        bottom = round((self.inner.view[3] - self.view[1]) * scale)
        inner = self.inner.draw((max(1, right - left), max(1, bottom - top)))
        mask = _build_feather_mask(inner.size, (left, top, right, bottom), size)
        image.paste(inner, (left, top), mask)
        return image


def _build_feather_mask(inner: Size, box: tuple[int, int, int, int], outer: Size) -> Image.Image:
    """Return an opaque mask with soft edges where the inner image
    does not reach the outer one's edge.
    """
    width, height = inner
    soft = max(2, min(inner) // 24)
    left = soft if box[0] > 1 else -soft
    top = soft if box[1] > 1 else -soft
    right = width - soft if box[2] < outer[0] - 1 else width + soft
    bottom = height - soft if box[3] < outer[1] - 1 else height + soft
    # The margin keeps the blur from fading the edges that stay
    # hard.
    margin = soft * 2
    mask = Image.new("L", (width + 2 * margin, height + 2 * margin))
    ImageDraw.Draw(mask).rectangle(
        (left + margin, top + margin, right + margin, bottom + margin), fill=255
    )
    blurred = mask.filter(ImageFilter.GaussianBlur(soft / 2))
    return blurred.crop((margin, margin, width + margin, height + margin))


@dataclass(frozen=True, slots=True)
class Inpainted:
    """`over` where the mask is white, exactly `under` elsewhere."""

    under: Drawable
    over: Drawable
    mask: bytes

    @property
    def view(self) -> Box:
        return self.under.view

    def vary(self, seed: int, strength: float) -> Inpainted:
        under = self.under.vary(seed, strength)
        return replace(self, under=under, over=self.over.vary(seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.under.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        mask = open_image(self.mask).convert("L").resize(size, Image.Resampling.BILINEAR)
        binary = mask.point(lambda level: level // 128 * 255)
        return Image.composite(self.over.draw(size), self.under.draw(size), binary)


@dataclass(frozen=True, slots=True)
class Blended:
    """Several images in one: the later ones show through the first along a soft wave."""

    parts: tuple[Drawable, ...]
    lineage: Lineage
    view: Box

    def vary(self, seed: int, strength: float) -> Blended:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.parts[0].expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        rng = SeededRandom(self.lineage)
        image = self.parts[0].draw(size)
        for number, part in enumerate(self.parts[1:], 2):
            gradient = Image.linear_gradient("L").rotate(360 * rng(("turn", number)))
            wave = gradient.crop((40, 40, 216, 216)).resize(size)
            share = rng(("share", number), 1.1, 1.7) / number
            levels = [round(min(235, max(30, level * share))) for level in range(256)]
            image = Image.composite(part.draw(size), image, wave.point(levels))
        return image


@dataclass(frozen=True, slots=True)
class FaceSwapped:
    """`target` with the middle of `source` as its face."""

    source: Drawable
    target: Drawable

    @property
    def view(self) -> Box:
        return self.target.view

    def vary(self, seed: int, strength: float) -> FaceSwapped:
        return replace(self, target=self.target.vary(seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.target.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        image = self.target.draw(size)
        side = min(size) // 2
        source = self.source.draw((side * 2, side * 2))
        face = ImageOps.fit(source, (side, side), centering=(0.5, 0.4))
        oval = Image.radial_gradient("L").resize((side, side))
        mask = oval.point([255] * 150 + [0] * 106).filter(ImageFilter.GaussianBlur(side / 30))
        image.paste(face, ((size[0] - side) // 2, (size[1] - side) // 3), mask)
        return image


# What the service offers: each returns the four images of a grid


def _build_grid(seed: int, build_cell: Callable[[int], Drawable]) -> Grid:
    """Build four cells, each from a seed of its own."""
    return tuple(build_cell(derive_seed(seed, cell)) for cell in range(4))


def imagine(prompt: str, seed: int) -> Grid:
    """Return the four images of a prompt; the same prompt and seed always give the same four."""
    view = center_view(parse_aspect_ratio(prompt))
    return _build_grid(seed, lambda cell_seed: Scene(prompt, ((cell_seed, 1.0),), view))


def vary(picture: Drawable, seed: int, strength: float) -> Grid:
    """Return four variations; strength is from 0 (the same) to 1 (unrelated)."""
    return _build_grid(seed, lambda cell_seed: picture.vary(cell_seed, strength))


def zoom_out(picture: Drawable, seed: int, factor: float) -> Grid:
    """Return the image in the middle of four wider ones."""
    left, top, right, bottom = picture.view
    half_width, half_height = (right - left) / 2 * factor, (bottom - top) / 2 * factor
    return _outpaint_centered(picture, seed, half_width, half_height)


def make_square(picture: Drawable, seed: int) -> Grid:
    """Return the image widened in its shorter direction until it is square."""
    left, top, right, bottom = picture.view
    half = max(right - left, bottom - top) / 2
    return _outpaint_centered(picture, seed, half, half)


def _outpaint_centered(picture: Drawable, seed: int, half_width: float, half_height: float) -> Grid:
    left, top, right, bottom = picture.view
    x, y = (left + right) / 2, (top + bottom) / 2
    view = (x - half_width, y - half_height, x + half_width, y + half_height)
    return _outpaint(picture, seed, view)


def pan(picture: Drawable, seed: int, direction: str) -> Grid:
    """Return the image extended by half its size in one direction."""
    left, top, right, bottom = picture.view
    half_width, half_height = (right - left) / 2, (bottom - top) / 2
    to_left, to_top, to_right, to_bottom = PAN_DIRECTIONS[direction]
    view = (
        left + to_left * half_width,
        top + to_top * half_height,
        right + to_right * half_width,
        bottom + to_bottom * half_height,
    )
    return _outpaint(picture, seed, view)


def _outpaint(picture: Drawable, seed: int, view: Box) -> Grid:
    if not _is_drawable_view(view):
        view = picture.view
    inner = _limit_nesting(picture)
    return _build_grid(
        seed, lambda cell_seed: Outpainted(inner.expand(cell_seed, view), inner, view)
    )


def _is_drawable_view(view: Box) -> bool:
    left, top, right, bottom = view
    width, height = right - left, bottom - top
    return (
        max(width, height) <= MAX_VIEW_SIDE and 1 / MAX_PAN_RATIO <= width / height <= MAX_PAN_RATIO
    )


def _get_nesting_depth(picture: Drawable) -> int:
    depth = 0
    while isinstance(picture, Outpainted | Inpainted):
        picture = picture.inner if isinstance(picture, Outpainted) else picture.under
        depth += 1
    return depth


def _get_world(picture: Outpainted | Inpainted) -> Drawable:
    """Return the image that sets the surroundings of a nested one."""
    return picture.outer if isinstance(picture, Outpainted) else picture.under


def _limit_nesting(picture: Drawable) -> Drawable:
    """Replace an image that is nested too deeply by its surroundings alone."""
    while isinstance(picture, Outpainted | Inpainted) and _get_nesting_depth(picture) > MAX_NESTING:
        picture = _get_world(picture)
    return picture


def inpaint(picture: Drawable, seed: int, prompt: str, mask: bytes | None) -> Grid:
    """Repaint the white part of the mask, or everything without one."""
    under = _limit_nesting(picture)

    def build_cell(cell_seed: int) -> Drawable:
        scene = _replace_scene(under, cell_seed, prompt)
        return Inpainted(under, scene, mask) if mask else scene

    return _build_grid(seed, build_cell)


def _replace_scene(picture: Drawable, seed: int, prompt: str) -> Scene:
    """Return another scene in the same land, so that the seam of a patch hardly shows."""
    if isinstance(picture, Scene):
        lineage = extend_lineage(picture.lineage, seed, 0.12)
        return Scene(prompt, lineage, picture.view, picture.color_prompt or picture.prompt)
    if isinstance(picture, Outpainted | Inpainted):
        return replace(_replace_scene(_get_world(picture), seed, prompt), view=picture.view)
    return Scene(prompt, ((seed, 1.0),), picture.view)


def edit(picture: Drawable, seed: int, prompt: str, mask: bytes | None) -> Grid:
    """Tint an uploaded image in the colors of a prompt, within the white part of the mask."""

    def build_cell(cell_seed: int) -> Drawable:
        tinted = picture.vary(cell_seed, 0.8)
        if isinstance(picture, Photo):
            tinted = Photo(picture.body, prompt, ((cell_seed, 0.8),), picture.view)
        return Inpainted(picture, tinted, mask) if mask else tinted

    return _build_grid(seed, build_cell)


def replace_prompt(picture: Drawable, prompt: str) -> Drawable:
    """Return the same image for another prompt, where it was drawn from one."""
    if isinstance(picture, Scene):
        return replace(picture, prompt=prompt, color_prompt="")
    if isinstance(picture, Outpainted):
        outer = replace_prompt(picture.outer, prompt)
        return replace(picture, outer=outer, inner=replace_prompt(picture.inner, prompt))
    return picture


def blend(parts: Sequence[Drawable], seed: int, ratio: float) -> Grid:
    """Return four blends of several images, in an aspect ratio."""
    view = center_view(ratio)
    return _build_grid(seed, lambda cell_seed: Blended(tuple(parts), ((cell_seed, 1.0),), view))


# Rendering


def compose_grid(pictures: Sequence[Drawable], area: int = CELL_AREA) -> Image.Image:
    """Draw one image as it is, or four as a grid without gutters; `area` is in pixels per cell."""
    size = get_pixel_size(pictures[0], area)
    if len(pictures) == 1:
        return pictures[0].draw(size)
    grid = Image.new("RGB", (size[0] * 2, size[1] * 2))
    for picture, (column, row) in zip(pictures, CELL_POSITIONS, strict=False):
        grid.paste(picture.draw(size), (column * size[0], row * size[1]))
    return grid


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_webp(image: Image.Image, quality: int = 80) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=0)
    return buffer.getvalue()


def render_preview(pictures: Sequence[Drawable], progress: int) -> bytes:
    """Return a small WebP of an unfinished image, the blurrier the less progress (0 to 100)."""
    area = CELL_AREA // 16 if len(pictures) > 1 else CELL_AREA // 4
    image = compose_grid(pictures, area)
    radius = max(1.0, (100 - progress) / 100 * min(image.size) / 14)
    return encode_webp(image.filter(ImageFilter.GaussianBlur(radius)), 60)


def render_video(
    start: Drawable, motion: float, seed: int, end: Drawable | None = None, loop: bool = False
) -> bytes:
    """Return an animated WebP: the camera moves slowly over an
    image, or one image fades into another.

    Args:
        motion: how far the camera moves, from 0 to 1
        end: the image that the video ends in
        loop: come back to the start
    """
    width, height = get_pixel_size(start, VIDEO_AREA)
    overscan = 1 + 0.5 * motion
    still = start.draw((round(width * overscan), round(height * overscan)))
    last = end.draw((width, height)) if end else None
    frames = list(_iter_video_frames(still, (width, height), last, seed, loop))
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=125,
        loop=0,
        quality=70,
        method=0,
    )
    return buffer.getvalue()


def _iter_video_frames(
    still: Image.Image, size: Size, last: Image.Image | None, seed: int, loop: bool
) -> Iterator[Image.Image]:
    margin_x, margin_y = still.width - size[0], still.height - size[1]
    angle = hash_to_unit(seed, "way") * 6.28
    for number in range(VIDEO_FRAMES):
        share = number / (VIDEO_FRAMES - 1)
        path = math.sin(math.pi * share) if loop else share
        x = margin_x / 2 * (1 + math.cos(angle) * (path - 0.5) * 1.9)
        y = margin_y / 2 * (1 + math.sin(angle) * (path - 0.5) * 1.9)
        image = still.transform(
            size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BILINEAR
        )
        yield Image.blend(image, last, path) if last else image
