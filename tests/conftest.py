"""What all tests share: a place of their own for journals and pictures, and no skip where none is
allowed.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Where another environment than this one is active, IPython warns, and imports from it.
os.environ.pop("VIRTUAL_ENV", None)


# What takes longest, longest first. pytest-xdist would begin with the files of most tests, and
# these have few: at the end one worker would wait for the other.
SLOW = (
    "tests/simulation",
    "tests/history/test_referee.py",
    "tests/hostile",
    "tests/emulator/test_foreign_clients.py",
    "tests/jobs/test_submission.py",
    "tests/history/test_lake.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.nodeid))


def rank(nodeid: str) -> int:
    """Return the place of a test's file among the slow ones; the others are behind them."""
    return next((n for n, path in enumerate(SLOW) if nodeid.startswith(path)), len(SLOW))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave out thousands of tests and their modules where garbage is looked for: they stay."""
    gc.collect()
    gc.freeze()


# A shell starts what runs in its background with interrupts ignored, and so would be the processes
# that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the person's own settings, journal or pictures."""
    for name in [
        name
        for name in os.environ
        if name.startswith(("MJCI_", "TENCENTCLOUD_")) and name != "MJCI_NO_SKIP"
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MJCI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Test on asyncio only: anyio's plugin would ask for trio, too, and skip where it is not."""
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With MJCI_NO_SKIP=1 a skipped test is a failed one: nothing missing hides behind it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("MJCI_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, but MJCI_NO_SKIP=1: {report.longrepr}"
    return report
