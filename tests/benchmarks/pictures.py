"""Measure a sheet of 64 pictures, the comparison of picture rules, and galleries of 10,000.

    python -m tests.benchmarks.pictures            all figures
    python -m tests.benchmarks.pictures gallery    one of: sheet, comparison, gallery
    python -m tests.benchmarks.pictures --full     20 rules over 20 pictures instead of 5 over 8

The sheet is drawn from the pictures of a study as they are fetched. The comparison is of pictures
of 12 megapixels, and uses all processors; its other is the same work in one process. Its memory is
that of all processes, each at its highest. The galleries are those of the Midjourney panel and of
`%mjci gallery`, whose pictures are in the archive; their times are of the processor.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from jupyter_mjci import panel, sandbox
from jupyter_mjci.imaging.similarity import WorkerInput, measure_all
from jupyter_mjci.jobs import rule_comparison
from jupyter_mjci.notebook.gallery import collect_items
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, faster, main, peak, within
from tests.benchmarks.panels import START, measure_median, open_gallery, record_jobs, task
from tests.hostile.readers import read_peak, reset_peak

SHEET_SECONDS = 1.5
SHEET_BYTES = 300e6
COMPARISON_RATIO = 1.7
COMPARISON_BYTES = 1.5e9
GALLERY_SECONDS = 0.5
GALLERY_PICTURES = 10_000
SIZE = (4000, 3000)
VALUES = "abcdefgh"
# What a worker process runs: it also leaves the most memory that it had.
WORKER = """
import os, re
from jupyter_mjci.imaging.similarity import main
main()
status = open("/proc/self/status").read()
open(f"{folder}/{{os.getpid()}}", "w").write(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
"""


def measure_sheet() -> Iterator[Figure]:
    # With a home the pictures are archived as soon as they are seen: the sandbox draws none then.
    with TemporaryDirectory() as home, sandbox(speed=float("inf"), home=home) as session:
        study = session.study("a {{x}} {{y}}", x=list(VALUES), y=list(VALUES))
        study.run(max_jobs=64, at_once=64)
        before = peak()
        seconds = measure_seconds(lambda: study.sheet(rows="x", columns="y"))
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
    with sandbox() as session, TemporaryDirectory() as folder:
        rule_comparison.WORKER = WORKER.format(folder=folder)
        reset_peak()
        seconds = measure_seconds(lambda: session.compare(texts, contents).run())
        workers = [int(note.read_text()) * 1024 for note in Path(folder).iterdir()]
        total = read_peak() * 2**20 + sum(workers)
    alone = measure_seconds(partial(measure_all, WorkerInput(texts, contents)))
    yield faster(name, seconds, alone, "one process", COMPARISON_RATIO, "s")
    yield within(f"memory of it and {len(workers)} others", total, COMPARISON_BYTES, "bar", 1, "MB")


def measure_galleries() -> Iterator[Figure]:
    with TemporaryDirectory() as home, sandbox(speed=1e6, home=home) as session:
        record_jobs(session, 0, GALLERY_PICTURES)
        archive_pictures(session)
        opened: Any = panel("mj", session)
        opened.wait()
        galleries: dict[str, Callable[[], Any]] = {
            "gallery of the panel": open_gallery(opened, session),
            "%mjci gallery": lambda: collect_items(session),
        }
        for name, run in galleries.items():
            text = f"{name}, {GALLERY_PICTURES:,} pictures"
            yield within(text, measure_median(run), GALLERY_SECONDS, "bar", 1)


def archive_pictures(session: Session) -> None:
    """Write a picture of its own for each task into the archive."""
    file = io.BytesIO()
    Image.effect_mandelbrot((1024, 1024), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(file, "PNG")
    with patch("os.fsync"):  # not what is measured
        for number in range(GALLERY_PICTURES):
            job = task(number)
            # What follows a PNG's end makes a file of its own.
            content = file.getvalue() + str(number).encode()
            session.archive.save(job, job.outputs[0], content, 0, START.timestamp())


def measure_seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def figures(names: list[str], *, is_full: bool) -> Iterator[Figure]:
    measures = {
        "sheet": measure_sheet,
        "comparison": partial(measure_comparison, *((20, 20) if is_full else (5, 8))),
        "gallery": measure_galleries,
    }
    for name in names or measures:
        yield from measures[name]()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    sys.exit(main(partial(figures, options.names, is_full=options.full)))
