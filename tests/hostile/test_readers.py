"""Readers take hostile answers: none hangs, raises anything but an MjciError, or fills the memory.

Here each reader takes a share of the answers, another one than its neighbours;
`python -m tests.hostile [READER …]` gives all of them to each, which takes a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.__main__ import ReaderProcess, write_bodies
from tests.hostile.answers import ANSWERS, BODIES
from tests.hostile.readers import ANSWER_READERS, FILE_READERS
from tests.hostile.server import HostileServer, serve

MAX_SECONDS = 30  # of processor time; waiting ends with the process
MAX_MEGABYTES = 300
# What pandas, matplotlib and ipywidgets take by themselves, where a reader needs them.
LIBRARIES = {"panels": 120, "plot of a listing": 100, "table of a listing": 90}
STEP = 6
TRANSPORTS = ("aiohttp", "httpx")
# What fetches pictures does so on both; the others take turns.
CASES = [
    *((name, TRANSPORTS[place % 2]) for place, name in enumerate(ANSWER_READERS)),
    *(("picture", transport) for transport in TRANSPORTS),
]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def readers() -> Iterator[ReaderProcess]:
    with ReaderProcess() as readers:
        yield readers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bodies")
    write_bodies(path)
    return path


def test_corpus_has_sixty_answers_and_more() -> None:
    names = [answer.name for answer in ANSWERS]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize(("name", "transport"), sorted(set(CASES)))
def test_reader_of_answers_survives_them(
    name: str, transport: str, server: HostileServer, readers: ReaderProcess
) -> None:
    first = [*ANSWER_READERS].index(name) % STEP
    rows = readers.run(name, transport, server.url, first=first, step=STEP)
    limit = MAX_MEGABYTES + LIBRARIES.get(name, 0)
    assert [row for row in rows if is_harmed(row, limit)] == []
    assert len(rows) == len(ANSWERS[first::STEP])


@pytest.mark.parametrize("name", FILE_READERS)
def test_reader_of_files_survives_them(name: str, folder: Path, readers: ReaderProcess) -> None:
    first = [*FILE_READERS].index(name) % STEP
    rows = readers.run(name, "httpx", str(folder), first=first, step=STEP)
    assert [row for row in rows if is_harmed(row)] == []
    assert len(rows) == len(BODIES[first::STEP])


def is_harmed(row: tuple[str, str, float, int], limit: int = MAX_MEGABYTES) -> bool:
    _, problem, seconds, megabytes = row
    return bool(problem) or seconds > MAX_SECONDS or megabytes > limit
