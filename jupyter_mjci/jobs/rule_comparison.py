"""Compare picture rules locally, without a job: what they cost in bytes, and what they keep."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from jupyter_mjci.client.calls import Operation
from jupyter_mjci.client.image_input import read_content
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.history.frames import records_to_frame
from jupyter_mjci.imaging.model import RuleError
from jupyter_mjci.imaging.rule_syntax import parse_rule
from jupyter_mjci.imaging.similarity import Measurement, WorkerInput, measure_all
from jupyter_mjci.imaging.thumbnails import identify

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from jupyter_mjci.client.calls import Sender

# Such a process imports nothing of the program that starts it.
WORKER = "from jupyter_mjci.imaging.similarity import main; main()"
# Pixels times rules; less is done in this process, before another
# one would have started.
MIN_PIXELS_OF_PROCESSES = 8_000_000

Rules = str | Sequence[str] | Mapping[str, str]


class RuleComparison:
    """What every rule makes of every picture, measured on this machine.

    Args:
        rules: the rules by their names
        names: the names of the pictures
        measurements: of every rule, for each picture
    """

    def __init__(
        self,
        rules: Mapping[str, str],
        names: Sequence[str],
        measurements: Sequence[Sequence[Measurement]],
    ) -> None:
        self.rules = rules
        self.names = names
        self.measurements = measurements

    def __repr__(self) -> str:
        return f"<comparison of {len(self.rules)} rules over {len(self.names)} pictures: .frame()>"

    def frame(self) -> pd.DataFrame:
        """Return a row per rule and picture.

        Columns: rule (its name), picture, bytes, format, width,
        height, seconds, ssim, psnr (dB), error. SSIM and PSNR are
        those of the brightness, at the size of the picture; NaN
        where the rule cuts or turns it.
        """
        rows = []
        for picture, measurements in zip(self.names, self.measurements, strict=True):
            for rule, measurement in zip(self.rules, measurements, strict=True):
                rows.append({"rule": rule, "picture": picture, **asdict(measurement)})
        return records_to_frame(rows)

    def summary(self) -> pd.DataFrame:
        """Return a row per rule, the smallest first.

        Columns: rule, bytes (of all pictures), seconds, ssim and
        psnr (the worst of all pictures), errors.
        """
        frame = self.frame()
        frame["errors"] = frame["error"].fillna("") != ""
        worst = frame.groupby("rule", sort=False).agg(
            bytes=("bytes", "sum"),
            seconds=("seconds", "sum"),
            ssim=("ssim", _get_worst),
            psnr=("psnr", _get_worst),
            errors=("errors", "sum"),
        )
        return worst.reset_index().sort_values("bytes", ignore_index=True)

    def smallest(self, ssim: float = 0.95) -> str:
        """Return the rule with the fewest bytes that keeps every picture's similarity.

        Args:
            ssim: the least structural similarity, up to 1

        Raises:
            InvalidRequest: no rule keeps it; names the best
        """
        summary = self.summary()
        good = summary[(summary["ssim"] >= ssim) & (summary["errors"] == 0)]
        if len(good):
            return self.rules[str(good["rule"].iloc[0])]
        best = summary.sort_values("ssim", ascending=False, ignore_index=True).iloc[0]
        raise InvalidRequest(
            f"None of the {len(self.rules)} rules keeps an SSIM of {ssim:g} for every picture.",
            detail=f"The best is {best['rule']} with {best['ssim']:.3f}.",
            hint="Raise the quality, or ask for less.",
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot similarity against size: a point per rule, named; the best rules are a line."""
        from jupyter_mjci.history.plots import plot_rate_distortion

        return plot_rate_distortion(self.summary(), ax)


def _get_worst(values: Any) -> float:
    """Return the least value; NaN where one is missing."""
    return float(values.min(skipna=False))


def compare(
    session: Sender,
    rules: Rules,
    pictures: object,
) -> Operation[RuleComparison]:
    """Compare picture rules locally, in processes: bytes, time, and what they keep.

    The result has `.frame()`, `.summary()`, `.plot()`, and
    `.smallest(ssim=0.95)`, the smallest rule that keeps this
    similarity. Raises InvalidRequest for a rule or a picture that
    is none.

    Args:
        session: reads the pictures
        rules: rules, or rules by the names that they get
        pictures: pictures, or one: paths, bytes, jobs, their IDs,
            links, Pillow images, arrays; or these by name
    """
    return Operation(partial(compare_rules, session, rules, pictures))


async def compare_rules(
    sender: Sender,
    rules: Rules,
    pictures: object,
) -> RuleComparison:
    """Apply every rule to every picture in processes of their own, and compare the results.

    Raises:
        InvalidRequest: a rule or a picture cannot be read
    """
    named = _name_rules(rules)
    contents = await anyio.to_thread.run_sync(partial(_read_pictures, sender, pictures))
    works = _split_work(tuple(named.values()), list(contents.values()))
    results: list[list[list[Measurement]]] = [[] for _ in works]
    errors: list[MjciError] = []

    async def run(position: int, work: WorkerInput) -> None:
        try:
            results[position] = await _run_worker(work)
        except MjciError as error:
            errors.append(error)

    if len(works) == 1:
        results = [await anyio.to_thread.run_sync(measure_all, works[0])]
    else:
        async with anyio.create_task_group() as group:
            for position, work in enumerate(works):
                group.start_soon(run, position, work)
    if errors:
        raise errors[0]
    measurements = [
        results[number % len(works)][number // len(works)] for number in range(len(contents))
    ]
    return RuleComparison(named, list(contents), measurements)


def _split_work(rules: Sequence[str], contents: Sequence[bytes]) -> list[WorkerInput]:
    """Deal the pictures out to as many processes as there are processors, where that pays."""
    headers = [header for header in map(identify, contents) if header]
    pixels = sum(header.width * header.height for header in headers) * len(rules)
    count = min(os.cpu_count() or 1, len(contents))
    if pixels < MIN_PIXELS_OF_PROCESSES:
        count = 1
    return [WorkerInput(rules, contents[start::count]) for start in range(count)]


async def _run_worker(work: WorkerInput) -> list[list[Measurement]]:
    package_folder = str(Path(__file__).parents[2])
    paths = [package_folder, os.environ.get("PYTHONPATH", "")]
    try:
        process = await anyio.run_process(
            [sys.executable, "-c", WORKER],
            input=pickle.dumps(work),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            check=False,
        )
    except (OSError, ExceptionGroup) as error:
        # It ended before it had read its input.
        raise _build_worker_error("at once", str(error)) from error
    if process.returncode:
        lines = process.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _build_worker_error(f"with status {process.returncode}", "".join(lines[-1:]))
    results: list[list[Measurement]] = pickle.loads(process.stdout)
    return results


def _build_worker_error(how: str, detail: str) -> MjciError:
    return MjciError(
        f"A process that compares pictures ended {how}.",
        detail=detail,
        hint="Compare fewer or smaller pictures: it may have run out of memory.",
    )


def _name_rules(rules: Rules) -> dict[str, str]:
    """Return the rules by name, after checking each."""
    if isinstance(rules, str):
        rules = [rules]
    named = dict(rules) if isinstance(rules, Mapping) else {str(rule): str(rule) for rule in rules}
    if not named:
        raise InvalidRequest("There are no rules to compare.")
    for name, rule in named.items():
        try:
            parse_rule(rule)
        except RuleError as error:
            raise InvalidRequest(f"The rule {name} is not valid.", detail=error.message) from None
    return named


def _read_pictures(sender: Sender, pictures: object) -> dict[str, bytes]:
    """Return the pictures by name: a path's, a job's, or their number.

    Raises:
        InvalidRequest: there is none, or one cannot be read
    """
    if not isinstance(pictures, (list, tuple, Mapping)):
        pictures = [pictures]
    if isinstance(pictures, Mapping):
        named = {str(name): picture for name, picture in pictures.items()}
    else:
        named = {
            _name_picture(number, picture): picture for number, picture in enumerate(pictures, 1)
        }
    if not named:
        raise InvalidRequest("There are no pictures to compare.")
    contents = {name: read_content(picture, sender) for name, picture in named.items()}
    for name, content in contents.items():
        if identify(content) is None:
            raise InvalidRequest(f"{name} is not a picture.")
    return contents


def _name_picture(number: int, picture: object) -> str:
    if isinstance(picture, (str, Path)) and len(str(picture)) < 200:
        return f"{number} {Path(str(picture)).name}"
    provenance = getattr(picture, "provenance", None)
    label = getattr(provenance, "job_id", "") or getattr(picture, "id", "")
    return f"{number} {label}".strip()
