from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from jupyter_mjci.emulator.drawing.canvas import Box, Size, center_view
from jupyter_mjci.emulator.drawing.palettes import (
    build_palette,
    choose_mood,
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

CELL_AREA = 512 * 512  # pixels of one cell of a grid; an upscale has four times as many
CELL_POSITIONS = ((0, 0), (1, 0), (0, 1), (1, 1))  # the four cells, row by row


class Drawable(Protocol):
    """Something that can be drawn at any size, varied, and seen through a wider window."""

    @property
    def view(self) -> Box: ...
    def draw(self, size: Size) -> Image.Image: ...
    def vary(self, seed: int, strength: float) -> Drawable: ...
    def expand(self, seed: int, view: Box) -> Drawable: ...


def get_aspect_ratio(picture: Drawable) -> float:
    """Width by height."""
    left, top, right, bottom = picture.view
    return (right - left) / (bottom - top)


def get_pixel_size(picture: Drawable, area: int = CELL_AREA) -> Size:
    """Pixels of a picture of about that area, both sides multiples of 16."""
    ratio = get_aspect_ratio(picture)
    height = math.sqrt(area / ratio)
    return max(16, round(height * ratio / 16) * 16), max(16, round(height / 16) * 16)


def open_image(body: bytes) -> Image.Image:
    """The pixels of a picture that somebody sent, upright, RGB; a plain grey square if it is
    none.
    """
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.width * image.height > 40_000_000:
                return Image.new("RGB", (64, 64), (128, 128, 128))
            image.draft("RGB", (2048, 2048))
            return _flatten(ImageOps.exif_transpose(image))
    except Exception:  # whatever Pillow says about bytes that are no picture
        return Image.new("RGB", (64, 64), (128, 128, 128))


def _flatten(image: Image.Image) -> Image.Image:
    """Transparency on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def is_image(body: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(body)) as image:
            return image.width > 0
    except Exception:
        return False


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture that somebody sent; a variation leans its colours towards the palette of the
    words.
    """

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
        dice = SeededRandom(((self.lineage[0][0], 1.0), *self.lineage[1:]))
        words = extract_words(self.prompt)
        colors = build_palette(choose_mood(words, dice), words, dice)
        tinted = ImageOps.colorize(
            ImageOps.autocontrast(image.convert("L")),
            colors.near,
            colors.light,
            mid=mix_colors(colors.accent, colors.middle, 0.5),
        )
        strength = min(0.85, sum(share for _, share in self.lineage))
        return Image.blend(image, tinted, strength * dice("tint", 0.5, 0.95))


def load_photo(body: bytes, prompt: str = "", lineage: Lineage = ()) -> Photo:
    image = open_image(body)
    return Photo(body, prompt, lineage, center_view(min(5.0, max(0.2, image.width / image.height))))


@dataclass(frozen=True, slots=True)
class Outpainted:
    """`inner`, kept as it is, in the world that `outer` shows around it."""

    outer: Drawable
    inner: Drawable
    view: Box

    def vary(self, seed: int, strength: float) -> Outpainted:
        return replace(
            self, outer=self.outer.vary(seed, strength), inner=self.inner.vary(seed, strength)
        )

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.outer.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        image = self.outer.draw(size)
        scale = size[0] / (self.view[2] - self.view[0])
        left, top = (round((self.inner.view[i] - self.view[i]) * scale) for i in (0, 1))
        right, bottom = (round((self.inner.view[i + 2] - self.view[i]) * scale) for i in (0, 1))
        inner = self.inner.draw((max(1, right - left), max(1, bottom - top)))
        image.paste(
            inner, (left, top), _build_feather_mask(inner.size, (left, top, right, bottom), size)
        )
        return image


def _build_feather_mask(inner: Size, box: tuple[int, int, int, int], outer: Size) -> Image.Image:
    """Opaque, with soft edges wherever the inner picture does not reach the rim of the outer
    one.
    """
    soft = max(2, min(inner) // 24)
    solid = Image.new("L", inner)
    left, top = (soft if box[i] > 1 else -soft for i in (0, 1))
    right, bottom = (inner[i] - (soft if box[i + 2] < outer[i] - 1 else -soft) for i in (0, 1))
    ImageDraw.Draw(solid).rectangle((left, top, right, bottom), fill=255)
    grown = ImageOps.expand(solid, soft * 2, 0)
    ImageDraw.Draw(grown).rectangle(
        (left + soft * 2, top + soft * 2, right + soft * 2, bottom + soft * 2), fill=255
    )
    return grown.filter(ImageFilter.GaussianBlur(soft / 2)).crop(
        (soft * 2, soft * 2, inner[0] + soft * 2, inner[1] + soft * 2)
    )


@dataclass(frozen=True, slots=True)
class Inpainted:
    """`over` where the mask is white, `under` elsewhere, to the pixel."""

    under: Drawable
    over: Drawable
    mask: bytes

    @property
    def view(self) -> Box:
        return self.under.view

    def vary(self, seed: int, strength: float) -> Inpainted:
        return replace(
            self, under=self.under.vary(seed, strength), over=self.over.vary(seed, strength)
        )

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.under.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        mask = open_image(self.mask).convert("L").resize(size, Image.Resampling.BILINEAR)
        return Image.composite(
            self.over.draw(size),
            self.under.draw(size),
            mask.point(lambda level: level // 128 * 255),
        )


@dataclass(frozen=True, slots=True)
class Blended:
    """Several pictures in one: the last ones shine through the first along a soft wave."""

    parts: tuple[Drawable, ...]
    lineage: Lineage
    view: Box

    def vary(self, seed: int, strength: float) -> Blended:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.parts[0].expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        dice = SeededRandom(self.lineage)
        image = self.parts[0].draw(size)
        for number, part in enumerate(self.parts[1:], 2):
            wave = (
                Image.linear_gradient("L")
                .rotate(360 * dice(("turn", number)))
                .crop((40, 40, 216, 216))
                .resize(size)
            )
            share = dice(("share", number), 1.1, 1.7) / number
            mask = wave.point([round(min(235, max(30, level * share))) for level in range(256)])
            image = Image.composite(part.draw(size), image, mask)
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
        face = ImageOps.fit(
            self.source.draw((side * 2, side * 2)), (side, side), centering=(0.5, 0.4)
        )
        oval = (
            Image.radial_gradient("L")
            .resize((side, side))
            .point([255 if x < 150 else 0 for x in range(256)])
        )
        image.paste(
            face,
            ((size[0] - side) // 2, (size[1] - side) // 3),
            oval.filter(ImageFilter.GaussianBlur(side / 30)),
        )
        return image


Grid = tuple[Drawable, ...]


def imagine(prompt: str, seed: int) -> Grid:
    """The four pictures of a prompt: the same prompt and seed always give the same four."""
    view = center_view(parse_aspect_ratio(prompt))
    return tuple(Scene(prompt, ((derive_seed(seed, cell), 1.0),), view) for cell in range(4))


def vary(picture: Drawable, seed: int, strength: float) -> Grid:
    """Four relatives; strength from 0 (the same) to 1 (nothing left of it)."""
    return tuple(picture.vary(derive_seed(seed, cell), strength) for cell in range(4))


def zoom_out(picture: Drawable, seed: int, factor: float) -> Grid:
    """The picture in the middle of four wider ones."""
    left, top, right, bottom = picture.view
    x, y = (left + right) / 2, (top + bottom) / 2
    wide, high = (right - left) / 2 * factor, (bottom - top) / 2 * factor
    return _outpaint(picture, seed, (x - wide, y - high, x + wide, y + high))


def make_square(picture: Drawable, seed: int) -> Grid:
    """The picture, widened in its shorter direction until it is square."""
    left, top, right, bottom = picture.view
    half = max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return _outpaint(picture, seed, (x - half, y - half, x + half, y + half))


PAN_DIRECTIONS = {
    "left": (-1, 0, 0, 0),
    "up": (0, -1, 0, 0),
    "right": (0, 0, 1, 0),
    "down": (0, 0, 0, 1),
}


def pan(picture: Drawable, seed: int, direction: str) -> Grid:
    """The picture, longer by half in one direction."""
    left, top, right, bottom = picture.view
    a, b, c, d = PAN_DIRECTIONS[direction]
    wide, high = (right - left) / 2, (bottom - top) / 2
    return _outpaint(
        picture, seed, (left + a * wide, top + b * high, right + c * wide, bottom + d * high)
    )


MAX_PAN_RATIO = 6.0  # sides of a panned picture
MAX_VIEW_SIDE = 40.0  # how much of the world one can see
MAX_NESTING = 6  # pictures in pictures


def _get_nesting_depth(picture: Drawable) -> int:
    return (
        1 + _get_nesting_depth(picture.inner if isinstance(picture, Outpainted) else picture.under)
        if _is_nested(picture)
        else 0
    )


def _is_nested(picture: Drawable) -> TypeGuard[Outpainted | Inpainted]:
    return isinstance(picture, Outpainted | Inpainted)


def _limit_nesting(picture: Drawable) -> Drawable:
    """Of a picture in a picture in a picture … only the outermost world."""
    while _is_nested(picture) and _get_nesting_depth(picture) > MAX_NESTING:
        picture = picture.outer if isinstance(picture, Outpainted) else picture.under
    return picture


def _outpaint(picture: Drawable, seed: int, view: Box) -> Grid:
    left, top, right, bottom = view
    if (
        max(right - left, bottom - top) > MAX_VIEW_SIDE
        or not 1 / MAX_PAN_RATIO <= (right - left) / (bottom - top) <= MAX_PAN_RATIO
    ):
        view = picture.view
    picture = _limit_nesting(picture)
    return tuple(
        Outpainted(picture.expand(derive_seed(seed, cell), view), picture, view)
        for cell in range(4)
    )


def inpaint(picture: Drawable, seed: int, prompt: str, mask: bytes | None) -> Grid:
    """Four takes on what could be in the white part of the mask (everywhere without one)."""
    picture = _limit_nesting(picture)
    fresh = [_replace_scene(picture, derive_seed(seed, cell), prompt) for cell in range(4)]
    return tuple(Inpainted(picture, scene, mask) if mask else scene for scene in fresh)


def _replace_scene(picture: Drawable, seed: int, prompt: str) -> Scene:
    """Another story in the same land, so that the seam of a patch hardly shows."""
    if isinstance(picture, Scene):
        lineage = extend_lineage(picture.lineage, seed, 0.12)
        return Scene(prompt, lineage, picture.view, picture.color_prompt or picture.prompt)
    if isinstance(picture, Outpainted | Inpainted):
        return replace(
            _replace_scene(
                picture.outer if isinstance(picture, Outpainted) else picture.under, seed, prompt
            ),
            view=picture.view,
        )
    return Scene(prompt, ((seed, 1.0),), picture.view)


def edit(picture: Drawable, seed: int, prompt: str, mask: bytes | None) -> Grid:
    """Four takes on a sent picture in the colours of the prompt."""
    tinted = [picture.vary(derive_seed(seed, cell), 0.8) for cell in range(4)]
    if isinstance(picture, Photo):
        tinted = [
            Photo(picture.body, prompt, ((derive_seed(seed, cell), 0.8),), picture.view)
            for cell in range(4)
        ]
    return tuple(Inpainted(picture, take, mask) if mask else take for take in tinted)


def replace_prompt(picture: Drawable, prompt: str) -> Drawable:
    """The same picture for another prompt, where it was drawn from one."""
    if isinstance(picture, Scene):
        return replace(picture, prompt=prompt, color_prompt="")
    if isinstance(picture, Outpainted):
        return replace(
            picture,
            outer=replace_prompt(picture.outer, prompt),
            inner=replace_prompt(picture.inner, prompt),
        )
    return picture


def blend(parts: Sequence[Drawable], seed: int, ratio: float) -> Grid:
    return tuple(
        Blended(tuple(parts), ((derive_seed(seed, cell), 1.0),), center_view(ratio))
        for cell in range(4)
    )


def compose_grid(pictures: Sequence[Drawable], area: int = CELL_AREA) -> Image.Image:
    """One picture as it is, four as a grid without gutters."""
    size = get_pixel_size(pictures[0], area)
    if len(pictures) == 1:
        return pictures[0].draw(size)
    sheet = Image.new("RGB", (size[0] * 2, size[1] * 2))
    for picture, (column, row) in zip(pictures, CELL_POSITIONS, strict=False):
        sheet.paste(picture.draw(size), (column * size[0], row * size[1]))
    return sheet


def encode_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def encode_webp(image: Image.Image, quality: int = 80) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=quality, method=0)
    return out.getvalue()


def render_preview(pictures: Sequence[Drawable], progress: int) -> bytes:
    """What is to be seen half way: small, and the blurrier the earlier."""
    image = compose_grid(pictures, CELL_AREA // 16 if len(pictures) > 1 else CELL_AREA // 4)
    radius = max(1.0, (100 - progress) / 100 * min(image.size) / 14)
    return encode_webp(image.filter(ImageFilter.GaussianBlur(radius)), 60)


VIDEO_FRAMES = 16


def render_video(
    start: Drawable, motion: float, seed: int, end: Drawable | None = None, loop: bool = False
) -> bytes:
    """A short moving picture (an animated WebP): a slow camera over the scene, or from one picture
    to another.
    """
    width, height = get_pixel_size(start, 320 * 320)
    reach = 1 + 0.5 * motion
    still = start.draw((round(width * reach), round(height * reach)))
    last = end.draw((width, height)) if end else None
    frames = list(_iter_video_frames(still, (width, height), last, seed, loop))
    out = io.BytesIO()
    frames[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=125,
        loop=0,
        quality=70,
        method=0,
    )
    return out.getvalue()


def _iter_video_frames(
    still: Image.Image, size: Size, last: Image.Image | None, seed: int, loop: bool
) -> Iterator[Image.Image]:
    room = (still.width - size[0], still.height - size[1])
    turn = hash_to_unit(seed, "way") * 6.28
    for number in range(VIDEO_FRAMES):
        share = number / (VIDEO_FRAMES - 1)
        path = math.sin(math.pi * share) if loop else share
        x = room[0] / 2 * (1 + math.cos(turn) * (path - 0.5) * 1.9)
        y = room[1] / 2 * (1 + math.sin(turn) * (path - 0.5) * 1.9)
        image = still.transform(
            size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BILINEAR
        )
        yield Image.blend(image, last, path) if last else image
