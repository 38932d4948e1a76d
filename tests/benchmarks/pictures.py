"""Measure a sheet of 64 pictures, and the comparison of picture rules over large ones.

    python -m tests.benchmarks.pictures          20 rules over 20 pictures of 12 megapixels
    python -m tests.benchmarks.pictures 6 4      6 rules over 4 pictures

The sheet is drawn from the pictures of a study as they are fetched. The comparison uses all
processors; its other is the same work in one process. Its memory is that of all processes.
"""

from __future__ import annotations

import io
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from jupyter_mjci import sandbox
from jupyter_mjci.imaging.similarity import WorkerInput, measure_all
from tests.benchmarks.figures import Figure, faster, main, peak, within

SHEET_SECONDS = 1.5
SHEET_BYTES = 300e6
COMPARISON_RATIO = 1.7
COMPARISON_BYTES = 1.5e9
SIZE = (4000, 3000)
VALUES = "abcdefgh"


def measure_sheet() -> Iterator[Figure]:
    # With a home the pictures are archived as soon as they are seen: the sandbox draws none then.
    with TemporaryDirectory() as home, sandbox(speed=float("inf"), home=home) as session:
        study = session.study("a {{x}} {{y}}", x=list(VALUES), y=list(VALUES))
        study.run(max_jobs=64, at_once=64)
        before = peak()
        started = time.perf_counter()
        study.sheet(rows="x", columns="y")
        seconds = time.perf_counter() - started
    yield within("sheet of 64 pictures", seconds, SHEET_SECONDS, "bar", 1, "s")
    yield within("its memory over the pictures", peak() - before, SHEET_BYTES, "bar", 1, "MB")


def draw_photo(seed: int) -> bytes:
    """Draw what compresses as a photo does: soft shapes, and some noise."""
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(0, 255, (30, 40, 3), dtype="uint8"))
    pixels = np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC)).astype("int16")
    pixels = pixels + chance.integers(-6, 7, (*pixels.shape[:2], 1), dtype="int16")
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(file, "JPEG", quality=92)
    return file.getvalue()


def measure_comparison(rules: int, pictures: int) -> Iterator[Figure]:
    texts = [f"imageMogr2/thumbnail/1600x/quality/{40 + 2 * number}" for number in range(rules)]
    contents = [draw_photo(number) for number in range(pictures)]
    name = f"{rules} rules over {pictures} pictures of 12 megapixels"
    with sandbox() as session:
        seconds = measure_seconds(lambda: session.compare(texts, contents).run())
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    total = peak() + children * min(os.cpu_count() or 1, pictures)
    alone = measure_seconds(partial(measure_all, WorkerInput(texts, contents)))
    yield faster(name, seconds, alone, "one process", COMPARISON_RATIO, "s")
    yield within("its memory, at most", total, COMPARISON_BYTES, "bar", 1, "MB")


def measure_seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def figures() -> Iterator[Figure]:
    rules, pictures = map(int, sys.argv[1:] or ("20", "20"))
    yield from measure_sheet()
    yield from measure_comparison(rules, pictures)


if __name__ == "__main__":
    sys.exit(main(figures))
