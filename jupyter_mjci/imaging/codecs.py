"""Decode and encode image files, and read what is known about them.

Sizes are checked in the header before a pixel is decoded, against
the service's limits. Pillow's own limits are global and not ours
to change, so images are opened by their plugin rather than by
`Image.open`, which would warn about sizes that the service
accepts.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    MAX_BYTES,
    MAX_DECODED_BYTES,
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

try:
    import pillow_heif
except ImportError:  # the extra `heif`
    pillow_heif = None

SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "avif"),
    (re.compile(rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL), "heif"),
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
if pillow_heif is not None:
    DECODERS["heif"] = pillow_heif.HeifImageFile

MISSING_DECODERS = {"avif": "pillow>=11.3", "heif": "jupyter_mjci[heif]"}
CONTENT_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "avif": "image/avif",
    "heif": "image/heic",
}
LOSSY_FORMATS = ("jpeg", "webp", "avif")
ANIMATED_FORMATS = ("gif", "webp")
# Pillow decodes them row by row; the others' decoders make the
# whole picture, which is copied.
DIRECT_FORMATS = ("jpeg", "png", "gif", "bmp")
# Of a pixel, in the mode of the file; gray of 16 bits is
# converted twice.
DECODED_BYTES = {"1": 1, "L": 1, "P": 1, "RGB": 4, "RGBA": 4, "CMYK": 4}
DEFAULT_QUALITY = 85
MAX_JPEG_EXIF_BYTES = 65_533  # what one APP1 segment holds
EXIF_HEADER = b"Exif\x00\x00"


# Decoding


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """An image whose header has been read, and nothing more."""

    format: str
    file: ImageFile.ImageFile
    frames: int


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn whatever Pillow raises on damaged input into a RuleError."""
    try:
        yield
    except RuleError:
        raise
    except Image.DecompressionBombError as error:
        raise RuleError(f"the picture is too large: {error}", TOO_LARGE) from error
    except Exception as error:
        raise RuleError(f"the picture can't be read: {error}", NOT_AN_IMAGE) from error


def open_image(content: bytes, limited: bool = True) -> OpenedImage:
    """Read an image's header.

    Args:
        limited: refuse what exceeds the service's limits

    Raises:
        RuleError: the bytes are not an image, or exceed a limit
    """
    name = _detect_format(content)
    if limited and len(content) > MAX_BYTES:
        raise RuleError(
            f"the picture has {len(content)} bytes; at most {MAX_BYTES} are accepted", TOO_LARGE
        )
    with decoding_errors():
        if limited and name == "webp":
            # The decoder allocates the whole canvas when it is
            # created.
            _check_input(_read_webp_size(content), 1)
        file = DECODERS[name](io.BytesIO(content))
        frames = 1
        if name in ANIMATED_FORMATS:
            frames = max(1, int(getattr(file, "n_frames", 1)))
        opened = OpenedImage(name, file, frames)
        if limited:
            _check_input(file.size, frames)
            _check_memory(opened)
    return opened


def _detect_format(content: bytes) -> str:
    for signature, name in SIGNATURES:
        if not signature.match(content):
            continue
        if name in DECODERS:
            return name
        raise RuleError(
            f"{name} can't be read here; install {MISSING_DECODERS[name]}", NOT_AN_IMAGE
        )
    raise RuleError("not a picture; accepted: " + ", ".join(DECODERS), NOT_AN_IMAGE)


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


def _check_memory(opened: OpenedImage) -> None:
    """Refuse what takes too much memory: a few kilobytes can be a picture of 100 megapixels."""
    width, height = opened.file.size
    needed = width * height * _count_pixel_bytes(opened)
    if needed > MAX_DECODED_BYTES:
        raise RuleError(
            f"{width}x{height} takes {needed // 10**6} MB of memory here, and at most "
            f"{MAX_DECODED_BYTES // 10**6} are used; the service takes {MAX_PIXELS} pixels",
            TOO_LARGE,
        )


def _count_pixel_bytes(opened: OpenedImage) -> int:
    """Return the bytes of a pixel: of all frames as RGB, and of what is there beside them."""
    mode = _choose_mode(opened.file)
    total = 4 * opened.frames
    if opened.frames > 1 or opened.file.mode != mode:
        total += DECODED_BYTES.get(opened.file.mode, 8)
    if mode == "RGBA":  # a flat copy, or colors times alpha
        total += 4
    if opened.format not in DIRECT_FORMATS:
        total += 12
    return total


def _read_webp_size(content: bytes) -> Size:
    """Read the size from the header of any kind of WebP: extended, lossless or lossy.

    Source:
    https://developers.google.com/speed/webp/docs/riff_container
    """
    kind = content[12:16]
    payload = content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        width, height = payload[4:7], payload[7:10]
        return 1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little")
    if kind == b"VP8L":
        bits = int.from_bytes(payload[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    (width_bits, height_bits) = struct.unpack("<HH", payload[6:10])
    return width_bits & 0x3FFF, height_bits & 0x3FFF


def load_image(content: bytes, load_object: ObjectLoader) -> WorkingImage:
    """Decode an image with all its frames. Raises RuleError as `open_image` does."""
    opened = open_image(content)
    file = opened.file
    with decoding_errors():
        quality = estimate_quality(file)
        frames, durations = zip(*_iter_frames(opened), strict=True)
        # Operations work in RGB, so a profile of another color
        # space no longer fits.
        icc_profile = b""
        if file.mode in ("RGB", "RGBA", "P", "PA"):
            icc_profile = file.info.get("icc_profile") or b""
        return WorkingImage(
            original=content,
            source_format=opened.format,
            frames=frames,
            durations=durations,
            loop=file.info.get("loop"),
            source_quality=quality,
            exif=normalize_exif(file.info.get("exif") or b""),
            icc_profile=icc_profile,
            load_object=load_object,
            format=opened.format,
        )


def _iter_frames(opened: OpenedImage) -> Iterator[tuple[Frame, int]]:
    """Yield each frame and its duration in milliseconds."""
    file = opened.file
    size = file.size
    for index in range(opened.frames):
        try:
            file.seek(index)
        except EOFError:
            return
        # A later frame of a GIF can enlarge the canvas.
        _check_input(file.size, opened.frames)
        file.load()
        frame = _to_rgb(file, shared=opened.frames == 1)
        if frame.size != size:
            frame = frame.crop((0, 0, *size))
        yield frame, round(file.info.get("duration", 0))


def _choose_mode(image: Frame) -> str:
    return "RGBA" if image.has_transparency_data else "RGB"


def _to_rgb(image: Frame, *, shared: bool = False) -> Frame:
    """Convert to RGB, or to RGBA if anything is transparent.

    Args:
        image: the decoded image
        shared: do not copy pixels that are RGB already; a next
            frame would be decoded into them
    """
    mode = _choose_mode(image)
    if image.mode.startswith("I") or image.mode == "F":
        frame = _to_8bit(image)
    elif shared and image.mode == mode:
        frame = image._new(image.im)
    else:
        frame = image.convert(mode)
    # Encoders would write profile, comment and more from here
    # unasked.
    frame.info.clear()
    return frame


def _to_8bit(image: Frame) -> Frame:
    """Keep the upper byte of 16-bit grays, which a plain conversion would clip to white."""
    scaled = image.convert("I").point(lambda value: value * (1 / 256), "I")
    return scaled.convert("L").convert("RGB")


# Metadata


def normalize_exif(block: bytes) -> bytes:
    """Return an EXIF block with its header, or nothing if it is empty."""
    tags = block.removeprefix(EXIF_HEADER)
    return EXIF_HEADER + tags if tags else b""


def read_exif(block: bytes) -> Image.Exif:
    """Parse EXIF tags. A damaged block counts as empty, because the image is still good."""
    exif = Image.Exif()
    try:
        exif.load(block)
        dict(exif)
    except Exception:
        return Image.Exif()
    return exif


def read_orientation(block: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8."""
    value = read_exif(block).get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


# The luminance table of the JPEG standard (ITU-T T.81, annex K),
# which nearly every encoder scales by its quality. fmt: off
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
# fmt: on


def _scale_table(quality: int) -> list[int]:
    """Scale the standard table as libjpeg does (`jpeg_quality_scaling`)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(255, max(1, (value * scale + 50) // 100)) for value in LUMINANCE]


# Sorted, because versions of Pillow order the values of a table
# differently.
QUANTIZATION_TABLES = {quality: sorted(_scale_table(quality)) for quality in range(1, 101)}


def estimate_quality(image: ImageFile.ImageFile) -> int:
    """Return the quality, 1 to 100, whose quantization table is
    nearest to a JPEG's; 100 for other formats.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 100
    table = sorted(image.quantization.get(0, ()))
    return min(
        reversed(QUANTIZATION_TABLES),
        key=lambda quality: _compute_distance(QUANTIZATION_TABLES[quality], table),
    )


def _compute_distance(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(abs(a - b) for a, b in zip(first, second, strict=False))


def read_image_info(content: bytes, decoded: WorkingImage | None = None) -> ImageInfo:
    """Return what the service reports about an image (IsPicInfo, imageInfo).

    Args:
        content: the bytes of an image file
        decoded: the same, where it has been decoded already

    Raises:
        RuleError: the bytes are not an image, or exceed a limit
    """
    opened = open_image(content)
    file = opened.file
    with decoding_errors():
        quality = estimate_quality(file)
        if decoded:
            frame, tags = decoded.frames[0], decoded.exif
        else:
            file.load()
            frame = _to_rgb(file, shared=opened.frames == 1)
            tags = normalize_exif(file.info.get("exif") or b"")
        ave = compute_average_color(frame)
        orientation = read_orientation(tags)
    return ImageInfo(
        format=opened.format,
        width=file.width,
        height=file.height,
        quality=quality,
        ave=ave,
        orientation=orientation,
        size=len(content),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        frames=opened.frames,
    )


def compute_average_color(frame: Frame) -> str:
    """Return the mean color as "0xRRGGBB", transparent parts counted as white."""
    pixel = _flatten(frame).resize((1, 1), Image.Resampling.BOX).tobytes()
    return f"0x{pixel.hex()}"


# Results


def build_result(picture: WorkingImage) -> RuleResult:
    """Encode an image, or the JSON that an operation answers with."""
    if picture.info is not None:
        return _build_json_result(picture, picture.info)
    body, quality = encode_image(picture)
    if picture.never_larger and len(body) >= len(picture.original):
        return build_original_result(picture.original)
    frames = _count_encoded_frames(picture)
    return _build_image_result(body, picture.format, picture.size, quality, frames)


def _build_json_result(picture: WorkingImage, info: dict[str, object]) -> RuleResult:
    body = json.dumps(info, ensure_ascii=False, separators=(",", ":")).encode()
    return RuleResult(
        body=body,
        content_type="application/json",
        format=picture.format,
        width=picture.size[0],
        height=picture.size[1],
        size=len(body),
        quality=None,
        frames=len(picture.frames),
        info=info,
    )


def _build_image_result(
    body: bytes, name: str, size: Size, quality: int | None, frames: int
) -> RuleResult:
    return RuleResult(body, CONTENT_TYPES[name], name, *size, len(body), quality, frames)


def build_original_result(content: bytes) -> RuleResult:
    """Return the image as it came in, described by its header
    alone: it may be too large to decode.
    """
    opened = open_image(content, limited=False)
    quality = estimate_quality(opened.file)
    return _build_image_result(content, opened.format, opened.file.size, quality, opened.frames)


# Encoding

Encoder = Callable[[WorkingImage, int], bytes]


def encode_image(picture: WorkingImage) -> tuple[bytes, int]:
    """Return the encoded image, and the quality used (100 where the format has none).

    Raises:
        RuleError: the image is too large, or its format cannot be
            written
    """
    check_output_size(picture.size, _count_encoded_frames(picture))
    encoder = ENCODERS.get(picture.format)
    if encoder is None:
        raise RuleError(f"format/{picture.format} can't be written here")
    quality = _choose_quality(picture)
    body = encoder(picture, quality)
    if picture.size_limit is None or len(body) <= picture.size_limit:
        return body, quality
    if picture.format in LOSSY_FORMATS:
        return _fit_quality(picture, encoder, quality, picture.size_limit)
    return _fit_palette(picture, encoder, picture.size_limit), 100


def _count_encoded_frames(picture: WorkingImage) -> int:
    return len(picture.frames) if picture.format in ANIMATED_FORMATS else 1


def _choose_quality(picture: WorkingImage) -> int:
    if picture.format not in LOSSY_FORMATS:
        return 100
    if picture.quality is not None:
        return picture.quality
    return picture.source_quality if picture.source_format == "jpeg" else DEFAULT_QUALITY


def _fit_quality(
    picture: WorkingImage, encoder: Encoder, quality: int, limit: int
) -> tuple[bytes, int]:
    """Find the best quality below the given one that fits the limit, or else the lowest."""
    low, high = 1, quality
    best = encoder(picture, low)
    while high - low > 1:
        middle = (low + high) // 2
        body = encoder(picture, middle)
        if len(body) <= limit:
            low, best = middle, body
        else:
            high = middle
    return best, low


def _fit_palette(picture: WorkingImage, encoder: Encoder, limit: int) -> bytes:
    """Reduce the colors until the file fits the limit, to two at least."""
    body = b""
    for colors in (256, 64, 16, 4, 2):
        body = encoder(replace(picture, palette_size=colors), 100)
        if len(body) <= limit:
            break
    return body


def _flatten(frame: Frame) -> Frame:
    """Lay a transparent frame on white."""
    if frame.mode == "RGB":
        return frame
    background = Image.new("RGB", frame.size, "#FFFFFF")
    background.paste(frame, (0, 0), frame)
    return background


def _save_frame(frame: Frame, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, name, **options)
    return buffer.getvalue()


def _build_metadata(picture: WorkingImage) -> dict[str, bytes]:
    """Return the EXIF and the color profile to write, if any."""
    if picture.strip:
        return {}
    blocks = {"exif": picture.exif, "icc_profile": picture.icc_profile}
    return {name: block for name, block in blocks.items() if block}


def _encode_jpeg(picture: WorkingImage, quality: int) -> bytes:
    metadata = _build_metadata(picture)
    if len(metadata.get("exif", b"")) > MAX_JPEG_EXIF_BYTES:
        del metadata["exif"]
    # Optimizing takes a second pass over the image: only where
    # the file size matters.
    optimize = picture.size_limit is not None or picture.never_larger
    return _save_frame(
        _flatten(picture.frames[0]),
        "JPEG",
        quality=quality,
        progressive=picture.progressive,
        optimize=optimize,
        **metadata,
    )


def _encode_png(picture: WorkingImage, _quality: int) -> bytes:
    frame = picture.frames[0]
    if picture.palette_size:
        frame = frame.quantize(picture.palette_size, dither=Image.Dither.NONE)
    return _save_frame(frame, "PNG", **_build_metadata(picture))


def _encode_bmp(picture: WorkingImage, _quality: int) -> bytes:
    return _save_frame(_flatten(picture.frames[0]), "BMP")


# Animations are assembled here from frames that Pillow encodes
# one by one. Its `save_all` merges a frame that equals the one
# before it (five equal frames come out as one, in GIF and in
# WebP, whatever the options), so a rule would change the number
# of frames, which the service reports.


def _encode_gif(picture: WorkingImage, _quality: int) -> bytes:
    frames = [_quantize(frame, picture.palette_size or 256) for frame in picture.frames]
    if len(frames) == 1:
        return _save_frame(frames[0], "GIF")
    parts = [b"GIF89a" + struct.pack("<HHBBB", *picture.size, 0x70, 0, 0)]
    if picture.loop is not None:
        parts.append(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", picture.loop & 0xFFFF, 0))
    for frame, duration in zip(frames, picture.durations, strict=True):
        parts += _encode_gif_frame(frame, duration)
    parts.append(b";")
    return b"".join(parts)


def _encode_gif_frame(frame: Frame, milliseconds: int) -> list[bytes]:
    """Encode one frame with its own color table, which the next frame replaces as a whole."""
    transparency = frame.info.get("transparency")
    centiseconds = min(0xFFFF, round(milliseconds / 10))
    return GifImagePlugin.getdata(
        frame,
        duration=centiseconds * 10,
        # 1 leaves an opaque frame in place; 2 clears one that the
        # next must not shine through
        disposal=1 if transparency is None else 2,
        transparency=transparency,
        include_color_table=True,
    )


def _quantize(frame: Frame, colors: int) -> Frame:
    """Reduce to a palette. The color after the last of the
    palette stands for transparent pixels.
    """
    if frame.mode == "RGB":
        return frame.quantize(colors, dither=Image.Dither.NONE)
    transparent = min(colors, 255)
    reduced = frame.convert("RGB").quantize(transparent, dither=Image.Dither.NONE)
    palette = [*(reduced.getpalette() or [])[: 3 * transparent], *[255] * 3 * 256]
    reduced.putpalette(palette[: 3 * (transparent + 1)])
    hidden = frame.getchannel("A").point(lambda value: 255 if value < 128 else 0)
    reduced.paste(transparent, (0, 0), hidden)
    reduced.info["transparency"] = transparent
    return reduced


# The flags of a VP8X chunk.
WEBP_ANIMATION = 0x02
WEBP_EXIF = 0x08
WEBP_ALPHA = 0x10
WEBP_ICC = 0x20
WEBP_PIXEL_CHUNKS = (b"ALPH", b"VP8 ", b"VP8L")
WEBP_NO_BLENDING = b"\x02"


def _encode_webp(picture: WorkingImage, quality: int) -> bytes:
    metadata = _build_metadata(picture)
    if len(picture.frames) == 1:
        return _save_frame(picture.frames[0], "WEBP", quality=quality, method=4, **metadata)
    loop = 1 if picture.loop is None else picture.loop
    chunks = [_build_webp_chunk(b"ANIM", struct.pack("<IH", 0, loop & 0xFFFF))]
    for frame, duration in zip(picture.frames, picture.durations, strict=True):
        encoded = _save_frame(frame, "WEBP", quality=quality, method=4)
        chunks.append(_build_webp_frame(encoded, frame.size, duration))
    flags = WEBP_ANIMATION
    if any(frame.mode == "RGBA" for frame in picture.frames):
        flags |= WEBP_ALPHA
    if "icc_profile" in metadata:
        flags |= WEBP_ICC
        chunks.insert(0, _build_webp_chunk(b"ICCP", metadata["icc_profile"]))
    if "exif" in metadata:
        flags |= WEBP_EXIF
        chunks.append(_build_webp_chunk(b"EXIF", metadata["exif"]))
    header = struct.pack("<I", flags) + _encode_webp_size(picture.size)
    body = b"".join([b"WEBP", _build_webp_chunk(b"VP8X", header), *chunks])
    return _build_webp_chunk(b"RIFF", body)


def _build_webp_chunk(name: bytes, content: bytes) -> bytes:
    padding = b"\0" * (len(content) % 2)
    return name + struct.pack("<I", len(content)) + content + padding


def _encode_webp_size(size: Size) -> bytes:
    width, height = size
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _build_webp_frame(encoded: bytes, size: Size, milliseconds: int) -> bytes:
    """Turn a still WebP into one frame of an animation that replaces the frame before it."""
    offset = bytes(6)
    duration = min(0xFFFFFF, milliseconds).to_bytes(3, "little")
    parts = [offset, _encode_webp_size(size), duration, WEBP_NO_BLENDING]
    for name, content in _iter_webp_chunks(encoded):
        if name in WEBP_PIXEL_CHUNKS:
            parts.append(_build_webp_chunk(name, content))
    return _build_webp_chunk(b"ANMF", b"".join(parts))


def _iter_webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 12
    while offset + 8 <= len(content):
        name, length = struct.unpack("<4sI", content[offset : offset + 8])
        start = offset + 8
        yield name, content[start : start + length]
        offset = start + length + length % 2


def _encode_avif(picture: WorkingImage, quality: int) -> bytes:
    # More threads would make the bytes depend on the machine.
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
