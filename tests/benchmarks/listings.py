"""Measure a hundred thousand tasks as a typed frame: time and memory, against pandas and msgspec.

python -m tests.benchmarks.listings
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import httpx
import msgspec
import pandas as pd
import polars as pl

from tests.benchmarks.figures import Figure, faster, in_turns, main, peak, pin, pin_to_all, within

TASKS = 100_000
ROUNDS = 5
CHUNK = 20_000


def make_body(count: int) -> bytes:
    """Make a listing as a proxy sends it, with nine buttons and nine properties a task (1.9 kB)."""
    chance = random.Random(1)
    tasks = (make_task(number, chance) for number in range(count))
    texts = [json.dumps(task, ensure_ascii=False, separators=(",", ":")) for task in tasks]
    return b"[%b]" % ",".join(texts).encode()


def make_task(number: int, chance: random.Random) -> dict[str, Any]:
    submitted = 1_735_689_600_000 + number * 1000
    started = submitted + chance.randint(500, 4000)
    message = f"{chance.getrandbits(60):019d}"
    image_id = str(UUID(int=chance.getrandbits(128)))
    done = chance.random() < 0.9
    prompt = f"a lighthouse at dusk, number {number}, in oil --ar 16:9"
    return {
        "id": str(1_735_689_600_000_000 + number * 7),
        "action": chance.choice(["IMAGINE", "UPSCALE", "VARIATION"]),
        "status": "SUCCESS" if done else "FAILURE",
        "progress": "100%" if done else f"{chance.randint(0, 99)}%",
        "prompt": prompt,
        "promptEn": prompt,
        "description": f"/imagine {prompt}",
        "state": f"n{number}",
        "submitTime": submitted,
        "startTime": started,
        "finishTime": started + chance.randint(20_000, 90_000),
        "failReason": "" if done else "timeout",
        "imageUrl": f"https://cdn.discordapp.com/attachments/{message}/{image_id}.png"
        f"?ex=6789abcd&is=67885a4d&hm={image_id}",
        "properties": {
            "notifyHook": "",
            "finalPrompt": prompt,
            "messageId": message,
            "messageHash": image_id,
            "flags": 0,
            "progressMessageId": message,
            "nonce": message,
            "discordInstanceId": "1203344556677889900",
            "referencedMessageId": message,
        },
        "buttons": [
            *(make_button(f"upsample::{n}::{image_id}", label=f"U{n}") for n in range(1, 5)),
            make_button(f"reroll::0::{image_id}::SOLO", emoji="🔄"),
            *(make_button(f"variation::{n}::{image_id}", label=f"V{n}") for n in range(1, 5)),
        ],
    }


def make_button(custom_id: str, label: str = "", emoji: str = "") -> dict[str, Any]:
    return {
        "customId": f"MJ::JOB::{custom_id}",
        "emoji": emoji,
        "label": label,
        "type": 2,
        "style": 2,
    }


# --- the others -----------------------------------------------------------------------------------


def read_with_pandas(response: httpx.Response) -> pd.DataFrame:
    """Make the frame by hand, as one does without this package."""
    frame = pd.DataFrame(response.json())
    for name in ("submitTime", "startTime", "finishTime"):
        frame[name] = pd.to_datetime(frame[name], unit="ms", utc=True)
    frame["progress"] = frame["progress"].str.rstrip("%").astype("float64")
    for name in ("action", "status"):
        frame[name] = frame[name].astype("category")
    return frame


def read_with_polars(payload: bytes) -> pl.DataFrame:
    """Make the frame by hand in Polars."""
    times = ("submitTime", "startTime", "finishTime")
    return pl.read_json(io.BytesIO(payload)).with_columns(
        *[pl.from_epoch(pl.col(name), "ms") for name in times],
        pl.col("progress").str.strip_chars_end("%").cast(pl.Float64),
        pl.col("action", "status").cast(pl.Categorical),
    )


def read_with_duckdb(file: Path) -> pd.DataFrame:
    """Make the frame by hand in DuckDB."""
    with duckdb.connect() as db:
        return db.sql(
            "SELECT * REPLACE (epoch_ms(submitTime) AS submitTime,"
            " epoch_ms(startTime) AS startTime, epoch_ms(finishTime) AS finishTime,"
            " TRY_CAST(rtrim(progress, '%') AS DOUBLE) AS progress)"
            f" FROM read_json('{file}', maximum_object_size = 1000000000)"
        ).df()


class Bare(msgspec.Struct, gc=False):
    """The decoder alone: every field typed, nested values not decoded."""

    id: str | None = None
    action: str | None = None
    status: str | None = None
    progress: str | None = None
    prompt: str | None = None
    promptEn: str | None = None
    description: str | None = None
    state: str | None = None
    failReason: str | None = None
    imageUrl: str | None = None
    submitTime: int | None = None
    startTime: int | None = None
    finishTime: int | None = None
    buttons: msgspec.Raw = msgspec.Raw(b"[]")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class BareButton(msgspec.Struct, gc=False):
    customId: str = ""
    label: str = ""
    emoji: str = ""


class Whole(Bare, gc=False):
    """The same with the buttons decoded, which the frame has a column of."""

    buttons: list[BareButton] = []  # type: ignore[assignment]


class Plain(Bare, gc=True):
    """The first as one usually writes it, seen by the garbage collector."""


BARE, WHOLE, PLAIN = (msgspec.json.Decoder(list[kind]) for kind in (Bare, Whole, Plain))  # type: ignore[valid-type]


# --- the figures ----------------------------------------------------------------------------------


def figures() -> Iterator[Figure]:
    pin(1)
    # First: a process inherits the peak memory of the one that starts it.
    memory = list(measure_memory())
    payload = make_body(TASKS)
    yield from measure_times(payload)
    yield from measure_engines(payload)
    yield check_damaged()
    yield from memory


def measure_times(payload: bytes) -> Iterator[Figure]:
    from jupyter_mjci.history.frames import listing_to_frame

    response = httpx.Response(200, content=payload)
    took = in_turns(
        {
            "ours": lambda: listing_to_frame("mj", payload),
            "bounded": lambda: listing_to_frame("mj", payload, chunk_size=CHUNK),
            "naive": lambda: read_with_pandas(response),
            "bare": lambda: BARE.decode(payload),
            "plain": lambda: PLAIN.decode(payload),
            "whole": lambda: WHOLE.decode(payload),
        },
        ROUNDS,
    )
    name = f"{TASKS:,} tasks ({len(payload) / 1e6:.0f} MB) -> typed frame"
    yield faster(name, took["ours"], took["naive"], "pandas", 3.5)
    yield faster("  in bounded memory", took["bounded"], took["naive"], "pandas", None)
    yield within(
        "  against decoding alone, nested fields as written",
        took["ours"],
        took["bare"],
        "msgspec",
        2.8,
    )
    yield within("  the same, collected", took["ours"], took["plain"], "msgspec", None)
    yield within(
        "  against decoding alone, buttons decoded", took["ours"], took["whole"], "msgspec", 1.3
    )


def measure_engines(payload: bytes) -> Iterator[Figure]:
    """Compare with engines that use every core; ours uses one."""
    from jupyter_mjci.history.frames import listing_to_frame

    pin_to_all()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tasks.json")
        file.write_bytes(payload)
        took = in_turns(
            {
                "ours": lambda: listing_to_frame("mj", payload),
                "polars": lambda: read_with_polars(payload),
                "duckdb": lambda: read_with_duckdb(file),
            },
            ROUNDS,
        )
    pin(1)
    yield faster("  the same", took["ours"], took["polars"], "Polars, all cores", 2.4)
    yield faster("  the same", took["ours"], took["duckdb"], "DuckDB, all cores", 4)


def check_damaged() -> Figure:
    """Check that odd values, for which pandas raises, give the same rows as task by task."""
    from jupyter_mjci.client.calls import Response
    from jupyter_mjci.history.frames import jobs_to_frame, listing_to_frame
    from jupyter_mjci.services.midjourney.responses import parse_tasks

    tasks = json.loads(make_body(1000))
    odd: list[dict[str, Any]] = [
        {"submitTime": 10**18},
        {"progress": 7},
        {"prompt": None},
        {"buttons": "x"},
        {"id": 5},
    ]
    for number, fields in enumerate(odd):
        tasks[number * 100] |= fields
    payload = json.dumps(tasks).encode()
    try:
        read_with_pandas(httpx.Response(200, content=payload))
        outcome = "pandas accepts it"
    except (ValueError, TypeError, AttributeError) as error:
        outcome = f"pandas: {type(error).__name__}"
    frame = listing_to_frame("mj", payload)
    expected = jobs_to_frame(parse_tasks(Response(200, payload)))
    good = frame.equals(expected) and "accepts" not in outcome
    rows = f"{len(frame):,} rows"
    return Figure("  with damaged records", rows, outcome, 1.0, "all right", good)


def measure_memory() -> Iterator[Figure]:
    """Measure the peak memory, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "payload.json"
        run_in_process(["write", str(file)])
        for name, chunk, bar in (
            ("  its peak memory", 0, 3.0),
            ("  its peak memory, bounded", CHUNK, 1.5),
        ):
            grown = int(run_in_process(["weigh", str(file), str(chunk)]))
            yield within(name, grown, file.stat().st_size, "payload", bar, "MB")


def run_in_process(role: list[str]) -> bytes:
    command = [sys.executable, "-m", "tests.benchmarks.listings", *role]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def weigh(file: Path, chunk: int) -> int:
    """Return the memory that making the frame takes beyond the payload and the imports."""
    from jupyter_mjci.history.frames import listing_to_frame

    assert len(listing_to_frame("mj", make_body(10), chunk_size=chunk)) == 10
    payload = file.read_bytes()
    before = peak()
    assert len(listing_to_frame("mj", payload, chunk_size=chunk)) == TASKS
    return peak() - before


def write(file: Path) -> None:
    file.write_bytes(make_body(TASKS))


if __name__ == "__main__":
    if sys.argv[1:2] == ["weigh"]:
        print(weigh(Path(sys.argv[2]), int(sys.argv[3])))
    elif sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]))
    else:
        sys.exit(main(figures))
