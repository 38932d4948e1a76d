"""Compare what rules make of pictures with the pictures: bytes, time, SSIM and PSNR.

SSIM is that of scikit-image, in a fourth of its time: what is
summed over a window fits into 32 bits, and a strip of few rows
into the processor's cache. A larger array is mapped and unmapped
by the system at every step.

`main` is what a worker process runs: it reads a pickled `WorkerInput` and
writes the pickled measurements.

Source: Wang et al., Image quality assessment: from error
visibility to structural similarity, doi:10.1109/TIP.2003.819861
"""

from __future__ import annotations

import math
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from jupyter_mjci.imaging.codecs import load_image
from jupyter_mjci.imaging.model import RuleError, RuleResult, WorkingImage
from jupyter_mjci.imaging.rule_syntax import apply_rule
from jupyter_mjci.imaging.thumbnails import DECODE_ERRORS, normalize_orientation, open_image

if TYPE_CHECKING:
    import numpy as np

STRIP_PIXELS = 2**16
MIN_STRIP_ROWS = 8  # each is computed with six rows around it
WINDOW = 7  # pixels, the side of SSIM's window
AREA = WINDOW**2
# What keeps a quotient of small values stable, for sums over a
# window instead of means.
STABLE_MEANS = (0.01 * 255 * AREA) ** 2
STABLE_VARIANCES = (0.03 * 255) ** 2 * AREA * (AREA - 1)
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


def _measure_picture(rules: Sequence[str], content: bytes) -> Iterator[Measurement]:
    try:
        original = load_gray(content)
    except DECODE_ERRORS as error:
        for _ in rules:
            yield Measurement(error=f"not a picture: {error}")
        return
    begin = time.perf_counter()
    decoded = _decode(content)
    seconds = time.perf_counter() - begin
    for rule in rules:
        yield _measure_rule(rule, content, decoded, original, seconds)


def _decode(content: bytes) -> WorkingImage | None:
    """Decode a picture for all rules; None if none of them can."""
    try:
        return load_image(content, lambda _: None)
    except RuleError:
        return None


def _measure_rule(
    rule: str,
    content: bytes,
    decoded: WorkingImage | None,
    original: Image.Image,
    decode_seconds: float,
) -> Measurement:
    """Apply a rule to a picture, and compare the result with the picture.

    The comparison is of the brightness, at the size of the
    original, as a page would show both.
    """
    begin = time.perf_counter()
    try:
        result = apply_rule(rule, content, decoded=decoded)
    except RuleError as error:
        return Measurement(error=error.message)
    seconds = decode_seconds + time.perf_counter() - begin
    ssim, psnr = compare_result(original, result)
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


def compute_similarity(first: Image.Image, second: Image.Image) -> tuple[float, float]:
    """Return SSIM and PSNR of two gray pictures of the same size."""
    pixels = first.width * first.height
    differences = ImageChops.difference(first, second).histogram()
    error = sum(count * value**2 for value, count in enumerate(differences)) / pixels
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    return _sum_ssim(first, second) / pixels, psnr


def _sum_ssim(first: Image.Image, second: Image.Image) -> float:
    """Return the sum of the SSIM of all windows, those at the edges mirrored; strip by strip."""
    import numpy as np

    margin = WINDOW // 2
    padded = [np.pad(np.asarray(image), margin, "symmetric") for image in (first, second)]
    rows = max(STRIP_PIXELS // first.width, MIN_STRIP_ROWS)
    total = 0.0
    for top in range(0, first.height, rows):
        end = top + rows + 2 * margin
        strips = [pixels[top:end].astype("int32") for pixels in padded]
        total += float(_compute_ssim(*strips).sum(dtype="float64"))
    return total


def _compute_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the SSIM of each whole window.

    Variances are small differences of large integers, and exact.
    """
    sums = _sum_windows(first), _sum_windows(second)
    product = sums[0] * sums[1]
    squares = sums[0] ** 2 + sums[1] ** 2
    covariance = AREA * _sum_windows(first * second) - product
    variances = AREA * _sum_windows(first**2 + second**2) - squares
    similarity = _stabilize(2 * product, STABLE_MEANS)
    similarity *= _stabilize(2 * covariance, STABLE_VARIANCES)
    # Of the same picture exactly 1.
    similarity /= _stabilize(squares, STABLE_MEANS) * _stabilize(variances, STABLE_VARIANCES)
    return similarity


def _stabilize(values: np.ndarray, constant: float) -> np.ndarray:
    stable = values.astype("float32")
    stable += constant
    return stable


def _sum_windows(values: np.ndarray) -> np.ndarray:
    """Return the sum of each window: of seven rows, then of seven columns of these."""
    return _sum_seven_rows(_sum_seven_rows(values).T).T


def _sum_seven_rows(values: np.ndarray) -> np.ndarray:
    pairs = values[:-1] + values[1:]
    sums: np.ndarray = pairs[:-5] + pairs[2:-3]
    sums += pairs[4:-1]
    sums += values[6:]
    return sums


def main() -> None:
    """Measure what stands on the standard input."""
    work: WorkerInput = pickle.load(sys.stdin.buffer)
    pickle.dump(measure_all(work), sys.stdout.buffer)
