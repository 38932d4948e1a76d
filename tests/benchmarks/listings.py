"""A hundred thousand tasks as a typed frame: time against pandas and against the decoder alone, and
memory.

python -m tests.benchmarks.listings
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pandas as pd

from tests.benchmarks.figures import Figure, faster, in_turns, main, peak, pin, within

TASKS = 100_000
ROUNDS = 5
CHUNK = 20_000


def body(tasks: int) -> bytes:
    """A listing as a proxy sends it: the documented fields, nine buttons, nine properties; about
    1.9 kB a task.
    """
    chance = random.Random(1)
    made = (
        json.dumps(task(number, chance), ensure_ascii=False, separators=(",", ":"))
        for number in range(tasks)
    )
    return b"[%b]" % ",".join(made).encode()


def task(number: int, chance: random.Random) -> dict[str, Any]:
    submitted = 1_735_689_600_000 + number * 1000
    started = submitted + chance.randint(500, 4000)
    message, mark = f"{chance.getrandbits(60):019d}", f"{chance.getrandbits(128):032x}"
    mark = "-".join((mark[:8], mark[8:12], mark[12:16], mark[16:20], mark[20:]))
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
        "imageUrl": f"https://cdn.discordapp.com/attachments/{message}/{mark}.png?ex=6789abcd&is=67885a4d&hm={mark}",
        "properties": {
            "notifyHook": "",
            "finalPrompt": prompt,
            "messageId": message,
            "messageHash": mark,
            "flags": 0,
            "progressMessageId": message,
            "nonce": message,
            "discordInstanceId": "1203344556677889900",
            "referencedMessageId": message,
        },
        "buttons": [
            *(button(f"upsample::{one}::{mark}", label=f"U{one}") for one in range(1, 5)),
            button(f"reroll::0::{mark}::SOLO", emoji="🔄"),
            *(button(f"variation::{one}::{mark}", label=f"V{one}") for one in range(1, 5)),
        ],
    }


def button(custom_id: str, label: str = "", emoji: str = "") -> dict[str, Any]:
    return {
        "customId": f"MJ::JOB::{custom_id}",
        "emoji": emoji,
        "label": label,
        "type": 2,
        "style": 2,
    }


# ---------------------------------------------------------------- the others


def naive(response: httpx.Response) -> pd.DataFrame:
    """What one writes without us."""
    made = pd.DataFrame(response.json())
    for name in ("submitTime", "startTime", "finishTime"):
        made[name] = pd.to_datetime(made[name], unit="ms", utc=True)
    made["progress"] = made["progress"].str.rstrip("%").astype("float64")
    for name in ("action", "status"):
        made[name] = made[name].astype("category")
    return made


class Bare(msgspec.Struct, gc=False):
    """The decoder alone: every field typed, what is nested left as it is written."""

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
    """The same with the buttons decoded, which the frame tells of."""

    buttons: list[BareButton] = []  # type: ignore[assignment]


class Plain(Bare, gc=True):
    """The first as one writes it, without telling Python's collector to keep away."""


BARE, WHOLE, PLAIN = (msgspec.json.Decoder(list[kind]) for kind in (Bare, Whole, Plain))  # type: ignore[valid-type]


# ---------------------------------------------------------------- the figures


def figures() -> Iterator[Figure]:
    pin(1)
    weights = list(memory())  # first: a process inherits the peak of the one that starts it
    payload = body(TASKS)
    yield from times(payload)
    yield damaged()
    yield from weights


def times(payload: bytes) -> Iterator[Figure]:
    from jupyter_mjci.history.frames import tasks_to_frame

    response = httpx.Response(200, content=payload)
    took = in_turns(
        {
            "ours": lambda: tasks_to_frame(payload),
            "bounded": lambda: tasks_to_frame(payload, chunk_size=CHUNK),
            "naive": lambda: naive(response),
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
        "  against decoding alone, buttons decoded", took["ours"], took["whole"], "msgspec", None
    )


def damaged() -> Figure:
    """One odd value in a thousand tasks: pandas raises, ours gives every row, the same as task by
    task.
    """
    from jupyter_mjci.client.calls import Response
    from jupyter_mjci.history.frames import jobs_to_frame, tasks_to_frame
    from jupyter_mjci.services.midjourney.responses import parse_tasks

    tasks = json.loads(body(1000))
    odd: list[dict[str, Any]] = [
        {"submitTime": 10**18},
        {"progress": 7},
        {"prompt": None},
        {"buttons": "x"},
        {"id": 5},
    ]
    for number, one in enumerate(odd):
        tasks[number * 100] |= one
    written = json.dumps(tasks).encode()
    try:
        naive(httpx.Response(200, content=written))
        said = "pandas takes it"
    except (ValueError, TypeError, AttributeError) as error:
        said = f"pandas: {type(error).__name__}"
    made = tasks_to_frame(written)
    right = made.equals(jobs_to_frame(parse_tasks(Response(200, written)))) and "takes" not in said
    return Figure("  with damaged records", f"{len(made):,} rows", said, 1.0, "all right", right)


def memory() -> Iterator[Figure]:
    """Each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "payload.json"
        told(["write", str(file)])
        for name, chunk, bar in (
            ("  its peak memory", 0, 3.0),
            ("  its peak memory, bounded", CHUNK, 1.5),
        ):
            grown = int(told(["weigh", str(file), str(chunk)]))
            yield within(name, grown, file.stat().st_size, "payload", bar, "MB")


def told(role: list[str]) -> bytes:
    command = [sys.executable, "-m", "tests.benchmarks.listings", *role]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def weigh(file: Path, chunk: int) -> int:
    """How much more memory the frame takes on its way than the payload and the imports."""
    from jupyter_mjci.history.frames import tasks_to_frame

    assert len(tasks_to_frame(body(10), chunk_size=chunk)) == 10
    payload = file.read_bytes()
    before = peak()
    assert len(tasks_to_frame(payload, chunk_size=chunk)) == TASKS
    return peak() - before


def write(file: Path) -> None:
    file.write_bytes(body(TASKS))


if __name__ == "__main__":
    if sys.argv[1:2] == ["weigh"]:
        print(weigh(Path(sys.argv[2]), int(sys.argv[3])))
    elif sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]))
    else:
        sys.exit(main(figures))
