from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from jupyter_mjci.imaging.model import (
    BAD_PARAMETER,
    MAX_BYTES,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SIDE,
    NOT_AN_IMAGE,
    TOO_LARGE,
    Frame,
    ImageInfo,
    ObjectLoader,
    RuleError,
    RuleResult,
    Size,
    WorkingImage,
    check_output_size,
)

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    AvifImagePlugin = None  # type: ignore[assignment]
SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "avif"),
)
DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
if AvifImagePlugin is not None and AvifImagePlugin.SUPPORTED:
    DECODERS["avif"] = AvifImagePlugin.AvifImageFile


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Pillow's decoders raise whatever comes to hand on damaged input; for us it is all the
    same.
    """
    try:
        yield
    except RuleError:
        raise
    except Exception as problem:
        raise RuleError(f"the picture can't be read: {problem}", NOT_AN_IMAGE) from problem


def _detect_format(picture: bytes) -> str:
    found = next((name for signature, name in SIGNATURES if signature.match(picture)), "")
    if found not in DECODERS:
        raise RuleError("not a picture; accepted are " + ", ".join(DECODERS), NOT_AN_IMAGE)
    return found


def open_image(picture: bytes, limited: bool = True) -> tuple[str, ImageFile.ImageFile, int]:
    """The format, the opened but not yet decoded picture, and its number of frames. Refuses what is
    too large.
    """
    name = _detect_format(picture)
    check = _check_input if limited else lambda *_: None
    if limited and len(picture) > MAX_BYTES:
        raise RuleError(
            f"the picture has {len(picture)} bytes; at most {MAX_BYTES} are accepted", TOO_LARGE
        )
    with decoding_errors():
        frames = 1
        if name == "webp":
            check(_webp_size(picture), 1)  # the decoder takes memory for the canvas at once
        if name == "gif":
            size, frames = _scan_gif(picture)
            check(size, frames)
        image = DECODERS[name](io.BytesIO(picture))
        if name == "webp":
            frames = int(getattr(image, "n_frames", 1))
        check(image.size, frames)
    return name, image, max(1, frames)


def _check_input(size: Size, frames: int) -> None:
    width, height = size
    if max(size) > MAX_SIDE:
        raise RuleError(
            f"the picture is {width}x{height}; a side may have {MAX_SIDE} pixels", TOO_LARGE
        )
    if width * height * frames > MAX_PIXELS:
        raise RuleError(
            f"{width}x{height} in {frames} frames is more than {MAX_PIXELS} pixels", TOO_LARGE
        )
    if frames > MAX_FRAMES:
        raise RuleError(f"the picture has more than {MAX_FRAMES} frames", TOO_LARGE)


def _webp_size(picture: bytes) -> Size:
    """From the header of any of WebP's three kinds: lossy, lossless, extended."""
    kind, first = picture[12:16], picture[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(first[4:7], "little"), 1 + int.from_bytes(first[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(first[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", first[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _scan_gif(picture: bytes) -> tuple[Size, int]:
    """The canvas that all frames of a GIF need, and their number, without decoding any (one past
    the limit is enough to know).
    """
    width, height = struct.unpack("<HH", picture[6:10])
    place = 13 + _get_gif_table_size(picture[10])
    frames = 0
    while place + 10 < len(picture) and frames <= MAX_FRAMES and picture[place] != 0x3B:
        if picture[place] == 0x2C:
            left, top, across, down = struct.unpack("<HHHH", picture[place + 1 : place + 9])
            width, height = max(width, left + across), max(height, top + down)
            frames += 1
            place = _skip_gif_blocks(picture, place + 11 + _get_gif_table_size(picture[place + 9]))
        elif picture[place] == 0x21:
            place = _skip_gif_blocks(picture, place + 2)
        else:
            place += 1
    return (width, height), frames


def _get_gif_table_size(flags: int) -> int:
    """How many bytes the colour table takes that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_gif_blocks(picture: bytes, offset: int) -> int:
    """Where the chain of data blocks that starts here ends."""
    while offset < len(picture) and picture[offset]:
        offset += 1 + picture[offset]
    return offset + 1


def load_image(picture: bytes, load_object: ObjectLoader) -> WorkingImage:
    """A picture decoded, with all its frames if it moves."""
    name, image, count = open_image(picture)
    with decoding_errors():
        quality = estimate_quality(image)
        shown = list(_iter_frames(image, count))
        frames, durations = zip(*shown, strict=True)
        exif, icc = image.info.get("exif", b""), image.info.get("icc_profile") or b""
        loop = image.info.get("loop")
        usable = (
            icc if image.mode in ("RGB", "RGBA", "P", "PA") else b""
        )  # we work in RGB: no other profile fits
    return WorkingImage(
        picture,
        name,
        frames,
        durations,
        loop,
        quality,
        normalize_exif(exif),
        usable,
        load_object,
        name,
    )


def _iter_frames(image: ImageFile.ImageFile, count: int) -> Iterator[tuple[Frame, int]]:
    size = image.size
    for index in range(count):
        try:
            image.seek(index)
        except EOFError:
            return
        image.load()
        frame = _to_rgb(image)
        yield (
            frame if frame.size == size else frame.crop((0, 0, *size)),
            round(image.info.get("duration", 0)),
        )


def _to_rgb(image: Frame) -> Frame:
    """The same picture as RGB, or as RGBA if anything in it can be seen through."""
    if image.mode.startswith("I") or image.mode == "F":
        frame = _to_8bit(image)
    else:
        frame = image.convert("RGBA" if image.has_transparency_data else "RGB")
    frame.info.clear()  # writers would take profile, comment and more from there unasked
    return frame


def _to_8bit(image: Frame) -> Frame:
    """16-bit greys keep their upper byte (a plain conversion would clip them to white)."""
    return (
        image.convert("I").point(lambda value: value * (1 / 256), "I").convert("L").convert("RGB")
    )


def normalize_exif(raw: bytes) -> bytes:
    bare = raw.removeprefix(b"Exif\x00\x00")
    return b"Exif\x00\x00" + bare if bare else b""


def read_exif(block: bytes) -> Image.Exif:
    """Tags, or none if the block is damaged: cameras write all sorts of things, and the picture is
    still good.
    """
    exif = Image.Exif()
    try:
        exif.load(block)
        dict(exif)
    except Exception:
        return Image.Exif()
    return exif


def read_orientation(block: bytes) -> int:
    value = read_exif(block).get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


# The luminance table of the JPEG standard (annex K), which nearly every encoder scales by its
# quality.
LUMINANCE = (
    16,
    11,
    10,
    16,
    24,
    40,
    51,
    61,
    12,
    12,
    14,
    19,
    26,
    58,
    60,
    55,
    14,
    13,
    16,
    24,
    40,
    57,
    69,
    56,
    14,
    17,
    22,
    29,
    51,
    87,
    80,
    62,
    18,
    22,
    37,
    56,
    68,
    109,
    103,
    77,
    24,
    35,
    55,
    64,
    81,
    104,
    113,
    92,
    49,
    64,
    78,
    87,
    103,
    121,
    120,
    101,
    72,
    92,
    95,
    98,
    112,
    100,
    103,
    99,
)


def _scale_table(quality: int) -> list[int]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(255, max(1, (value * scale + 50) // 100)) for value in LUMINANCE]


QUANTIZATION_TABLES = {quality: sorted(_scale_table(quality)) for quality in range(1, 101)}


def estimate_quality(image: ImageFile.ImageFile) -> int:
    """The quality from 1 to 100 whose quantisation table is nearest to this JPEG's (sorted, because
    Pillow's versions order the table differently); 100 for other formats.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 100
    table = sorted(image.quantization.get(0, ()))
    return min(
        QUANTIZATION_TABLES, key=lambda q: (_compute_distance(QUANTIZATION_TABLES[q], table), -q)
    )


def _compute_distance(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(abs(a - b) for a, b in zip(first, second, strict=False))


def read_image_info(picture: bytes) -> ImageInfo:
    """What the service tells about a picture (IsPicInfo, imageInfo). Raises RuleError if it isn't
    one.
    """
    name, image, frames = open_image(picture)
    with decoding_errors():
        quality = estimate_quality(image)
        image.load()
        ave = compute_average_color(_to_rgb(image))
        orientation = read_orientation(normalize_exif(image.info.get("exif", b"")))
    width, height = image.size
    md5 = hashlib.md5(picture, usedforsecurity=False).hexdigest()
    return ImageInfo(name, width, height, quality, ave, orientation, len(picture), md5, frames)


def compute_average_color(frame: Frame) -> str:
    pixel = _flatten(frame).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return "0x{:02x}{:02x}{:02x}".format(*pixel)


CONTENT_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "avif": "image/avif",
}
LOSSY_FORMATS = ("jpeg", "webp", "avif")
ANIMATED_FORMATS = ("gif", "webp")
DEFAULT_QUALITY = 85


def build_result(picture: WorkingImage) -> RuleResult:
    if picture.info is not None:
        body = json.dumps(picture.info, ensure_ascii=False, separators=(",", ":")).encode()
        width, height = picture.size
        frames = len(picture.frames)
        return RuleResult(
            body,
            "application/json",
            picture.format,
            width,
            height,
            len(body),
            None,
            frames,
            picture.info,
        )
    body, quality = encode_image(picture)
    if picture.never_larger and len(body) >= len(picture.original):
        return build_original_result(picture.original)
    return _build_image_result(
        body,
        picture.format,
        picture.size,
        quality,
        len(picture.frames) if picture.format in ANIMATED_FORMATS else 1,
    )


def _build_image_result(
    body: bytes, name: str, size: Size, quality: int | None, frames: int
) -> RuleResult:
    return RuleResult(body, CONTENT_TYPES[name], name, *size, len(body), quality, frames)


def build_original_result(picture: bytes) -> RuleResult:
    """The picture as it came in, described by its header alone: it may be too large to decode."""
    name, image, frames = open_image(picture, limited=False)
    return _build_image_result(picture, name, image.size, estimate_quality(image), frames)


def encode_image(picture: WorkingImage) -> tuple[bytes, int]:
    """The bytes and the quality they were written with (100 where the format has none)."""
    check_output_size(
        picture.size, len(picture.frames) if picture.format in ANIMATED_FORMATS else 1
    )
    if picture.format not in ENCODERS:
        raise RuleError(f"format/{picture.format} can't be written here", BAD_PARAMETER)
    writer = ENCODERS[picture.format]
    quality = _choose_quality(picture)
    body = writer(picture, quality)
    if picture.size_limit is None or len(body) <= picture.size_limit:
        return body, quality
    return _fit_file_size(picture, writer, quality, picture.size_limit)


def _choose_quality(picture: WorkingImage) -> int:
    if picture.format not in LOSSY_FORMATS:
        return 100
    if picture.quality is not None:
        return picture.quality
    return picture.source_quality if picture.source_format == "jpeg" else DEFAULT_QUALITY


Encoder = Callable[[WorkingImage, int], bytes]


def _fit_file_size(
    picture: WorkingImage, writer: Encoder, quality: int, limit: int
) -> tuple[bytes, int]:
    """As good as the limit allows; if nothing is small enough, as small as can be."""
    if picture.format not in LOSSY_FORMATS:
        return _fit_palette(picture, writer, limit), 100
    low, high = 1, quality  # high is known to be too large
    best = writer(picture, low)
    while high - low > 1:
        middle = (low + high) // 2
        body = writer(picture, middle)
        if len(body) <= limit:
            low, best = middle, body
        else:
            high = middle
    return best, low


def _fit_palette(picture: WorkingImage, writer: Encoder, limit: int) -> bytes:
    body = b""
    for colours in (256, 64, 16, 4, 2):
        body = writer(replace(picture, palette_size=colours), 100)
        if len(body) <= limit:
            break
    return body


def _flatten(frame: Frame) -> Frame:
    """Without transparency, on white."""
    if frame.mode == "RGB":
        return frame
    ground = Image.new("RGB", frame.size, "#FFFFFF")
    ground.paste(frame, (0, 0), frame)
    return ground


def _save_frame(frame: Frame, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, name, **options)
    return buffer.getvalue()


def _build_metadata(picture: WorkingImage) -> dict[str, Any]:
    """EXIF and colour profile, if they are wanted and there are any."""
    if picture.strip:
        return {}
    found = {"exif": picture.exif, "icc_profile": picture.icc_profile}
    return {key: value for key, value in found.items() if value}


def _encode_jpeg(picture: WorkingImage, quality: int) -> bytes:
    attached = _build_metadata(picture)
    if len(attached.get("exif", b"")) > 65_533:  # more than a JPEG's segment holds
        del attached["exif"]
    frame = _flatten(picture.frames[0])
    small = picture.size_limit is not None or picture.never_larger  # else not worth the second pass
    return _save_frame(
        frame, "JPEG", quality=quality, progressive=picture.progressive, optimize=small, **attached
    )


def _encode_png(picture: WorkingImage, _quality: int) -> bytes:
    frame = picture.frames[0]
    if picture.palette_size:
        frame = frame.quantize(picture.palette_size, dither=Image.Dither.NONE)
    return _save_frame(frame, "PNG", **_build_metadata(picture))


def _encode_bmp(picture: WorkingImage, _quality: int) -> bytes:
    return _save_frame(_flatten(picture.frames[0]), "BMP")


# Moving pictures are put together here, from frames that Pillow wrote one by one: its own writers
# leave out a frame that equals the one before, and then a rule would change the number of frames.
def _encode_gif(picture: WorkingImage, _quality: int) -> bytes:
    frames = [_quantize(frame, picture.palette_size or 256) for frame in picture.frames]
    if len(frames) == 1:
        return _save_frame(frames[0], "GIF")
    header = b"GIF89a" + struct.pack("<HHBBB", *picture.size, 0x70, 0, 0)
    loop = (
        b""
        if picture.loop is None
        else b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", picture.loop & 0xFFFF, 0)
    )
    moves = [
        _encode_gif_frame(frame, span)
        for frame, span in zip(frames, picture.durations, strict=True)
    ]
    return b"".join([header, loop, *moves, b";"])


def _encode_gif_frame(frame: Frame, milliseconds: int) -> bytes:
    """One frame with its own colour table, replaced as a whole by the next."""
    alone = _save_frame(frame, "GIF", optimize=False)  # optimizing would renumber the colours
    place = 13 + _get_gif_table_size(alone[10])
    table = alone[13:place]
    while alone[place] == 0x21:
        place = _skip_gif_blocks(alone, place + 2)
    absent = frame.info.get("transparency")
    shown = (
        0x04 if absent is None else 0x09
    )  # keep this frame; or clear it away, and one colour is "not there"
    delay = min(0xFFFF, round(milliseconds / 10))
    control = b"!\xf9\x04" + struct.pack("<BHBB", shown, delay, absent or 0, 0)
    descriptor = alone[place : place + 9] + bytes([alone[place + 9] | 0x80 | alone[10] & 7])
    return control + descriptor + table + alone[place + 10 : _skip_gif_blocks(alone, place + 11)]


def _quantize(frame: Frame, colours: int) -> Frame:
    """A GIF's pixel is there or not there; the colour after the last of the palette stands for "not
    there".
    """
    if frame.mode == "RGB":
        return frame.quantize(colours, dither=Image.Dither.NONE)
    absent = min(colours, 255)
    shown = frame.convert("RGB").quantize(absent, dither=Image.Dither.NONE)
    shown.putpalette(
        [*(shown.getpalette() or [])[: 3 * absent], *[255] * 3 * 256][: 3 * (absent + 1)]
    )
    shown.paste(
        absent, (0, 0), frame.getchannel("A").point(lambda value: 255 if value < 128 else 0)
    )
    shown.info["transparency"] = absent
    return shown


def _encode_webp(picture: WorkingImage, quality: int) -> bytes:
    options: dict[str, Any] = {"quality": quality, "method": 4}
    attached = _build_metadata(picture)
    if len(picture.frames) == 1:
        return _save_frame(picture.frames[0], "WEBP", **options, **attached)
    loop = 1 if picture.loop is None else picture.loop
    chunks = [_build_webp_chunk(b"ANIM", struct.pack("<IH", 0, loop & 0xFFFF))]
    for frame, span in zip(picture.frames, picture.durations, strict=True):
        chunks.append(_build_webp_frame(_save_frame(frame, "WEBP", **options), frame.size, span))
    flags = 0x02 | 0x10 * any(frame.mode == "RGBA" for frame in picture.frames)
    if "icc_profile" in attached:
        flags |= 0x20
        chunks.insert(0, _build_webp_chunk(b"ICCP", attached["icc_profile"]))
    if "exif" in attached:
        flags |= 0x08
        chunks.append(_build_webp_chunk(b"EXIF", attached["exif"]))
    canvas = _build_webp_chunk(b"VP8X", struct.pack("<I", flags) + _encode_webp_size(picture.size))
    return _build_webp_chunk(b"RIFF", b"".join([b"WEBP", canvas, *chunks]))


def _build_webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def _encode_webp_size(size: Size) -> bytes:
    return b"".join((side - 1).to_bytes(3, "little") for side in size)


def _build_webp_frame(encoded: bytes, size: Size, milliseconds: int) -> bytes:
    """A picture's pixels as one frame of an animation, which replaces the frame before."""
    pixels = [
        _build_webp_chunk(name, content)
        for name, content in _iter_webp_chunks(encoded)
        if name in WEBP_PIXEL_CHUNKS
    ]
    place = (
        bytes(6)
        + _encode_webp_size(size)
        + min(0xFFFFFF, milliseconds).to_bytes(3, "little")
        + b"\x02"
    )
    return _build_webp_chunk(b"ANMF", place + b"".join(pixels))


WEBP_PIXEL_CHUNKS = (b"ALPH", b"VP8 ", b"VP8L")


def _iter_webp_chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(picture):
        (length,) = struct.unpack("<I", picture[place + 4 : place + 8])
        yield picture[place : place + 4], picture[place + 8 : place + 8 + length]
        place += 8 + length + (length & 1)


def _encode_avif(picture: WorkingImage, quality: int) -> bytes:
    return _save_frame(
        picture.frames[0], "AVIF", quality=quality, max_threads=1, **_build_metadata(picture)
    )


ENCODERS: dict[str, Encoder] = {
    "jpeg": _encode_jpeg,
    "png": _encode_png,
    "bmp": _encode_bmp,
    "gif": _encode_gif,
    "webp": _encode_webp,
    "avif": _encode_avif,
}
