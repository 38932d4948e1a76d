"""Compare what rules make of pictures with the pictures: bytes, time, SSIM and PSNR.

`main` is what a worker process runs: it reads a pickled `WorkerInput` and
writes the pickled measurements.
"""

from __future__ import annotations

import math
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from jupyter_mjci.errors import requires_extra
from jupyter_mjci.imaging.model import RuleError, RuleResult
from jupyter_mjci.imaging.rule_syntax import apply_rule
from jupyter_mjci.imaging.thumbnails import DECODE_ERRORS, normalize_orientation, open_image

if TYPE_CHECKING:
    import numpy as np

# Rows of a strip: SSIM needs ten times the memory of what it is
# computed of.
STRIP_ROWS = 256
WINDOW = 7  # pixels, the side of SSIM's window
# A result of another shape is not the same picture any more.
MAX_ASPECT_CHANGE = 0.02


@dataclass(frozen=True, slots=True)
class WorkerInput:
    """What a worker measures: every rule on every picture."""

    rules: Sequence[str]
    contents: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a rule made of a picture.

    Args:
        bytes: the size of the file
        format: its format
        width: in pixels
        height: in pixels
        seconds: how long the rule took, without the comparison
        ssim: structural similarity, 1 for the same picture; NaN
            where the rule has cut or turned it
        psnr: peak signal-to-noise ratio in dB; infinite for the
            same picture, NaN as for `ssim`
        error: why there is no result
    """

    bytes: int = 0
    format: str = ""
    width: int = 0
    height: int = 0
    seconds: float = math.nan
    ssim: float = math.nan
    psnr: float = math.nan
    error: str = ""


def measure_all(work: WorkerInput) -> list[list[Measurement]]:
    """Return the measurements of every rule, for each picture."""
    return [list(_measure_picture(work.rules, content)) for content in work.contents]


def _measure_picture(
    rules: Sequence[str],
    content: bytes,
) -> Iterator[Measurement]:
    try:
        original = load_gray(content)
    except DECODE_ERRORS as error:
        for _ in rules:
            yield Measurement(error=f"not a picture: {error}")
        return
    for rule in rules:
        yield measure(rule, content, original)


def measure(
    rule: str,
    content: bytes,
    original: Image.Image | None = None,
) -> Measurement:
    """Apply a rule to a picture, and compare the result with the picture.

    The comparison is of the brightness, at the size of the
    original, as a page would show both.

    Args:
        rule: the rule
        content: the bytes of the picture
        original: the picture in gray, where it is known
    """
    begin = time.perf_counter()
    try:
        result = apply_rule(rule, content)
    except RuleError as error:
        return Measurement(error=error.message)
    seconds = time.perf_counter() - begin
    ssim, psnr = compare_result(original or load_gray(content), result)
    return Measurement(result.size, result.format, result.width, result.height, seconds, ssim, psnr)


def compare_result(
    original: Image.Image,
    result: RuleResult,
) -> tuple[float, float]:
    """Return SSIM and PSNR of what a rule made; NaN where it has cut or turned the picture.

    Args:
        original: the picture in gray
        result: what the rule made of it
    """
    if result.info is not None:
        return math.nan, math.nan
    processed = load_gray(result.body)
    ratio = processed.width * original.height / (processed.height * original.width)
    if abs(ratio - 1) > MAX_ASPECT_CHANGE:
        return math.nan, math.nan
    if processed.size != original.size:
        processed = processed.resize(original.size)
    return compute_similarity(original, processed)


def load_gray(content: bytes) -> Image.Image:
    """Decode a picture's brightness; what is transparent is white."""
    image = normalize_orientation(open_image(content))
    if image.mode == "RGBA":
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return image.convert("L")


def compute_similarity(
    first: Image.Image,
    second: Image.Image,
) -> tuple[float, float]:
    """Return SSIM and PSNR of two gray pictures of the same size, strip by strip."""
    import numpy as np

    total = squared = 0.0
    for top in range(0, first.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, first.height)
        total += _sum_ssim(first, second, top, bottom)
        strips = [_to_array(image, top, bottom) for image in (first, second)]
        squared += float(np.square(strips[0] - strips[1]).sum(dtype="float64"))
    pixels = first.width * first.height
    error = squared / pixels
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    return total / pixels, psnr


def _sum_ssim(
    first: Image.Image,
    second: Image.Image,
    top: int,
    bottom: int,
) -> float:
    """Return the sum of a strip's SSIM; its neighbours' rows are looked at, too."""
    with requires_extra("scikit-image", "compare"):
        from skimage.metrics import structural_similarity
    margin = WINDOW // 2
    start = max(top - margin, 0)
    end = min(bottom + margin, first.height)
    start = min(start, max(end - WINDOW, 0))
    strips = [_to_array(image, start, end) for image in (first, second)]
    _, similarity = structural_similarity(*strips, data_range=255.0, win_size=WINDOW, full=True)
    return float(similarity[top - start : bottom - start].sum(dtype="float64"))


def _to_array(
    image: Image.Image,
    top: int,
    bottom: int,
) -> np.ndarray:
    import numpy as np

    return np.asarray(image.crop((0, top, image.width, bottom)), dtype="float32")


def main() -> None:
    """Measure what stands on the standard input."""
    work: WorkerInput = pickle.load(sys.stdin.buffer)
    pickle.dump(measure_all(work), sys.stdout.buffer)
