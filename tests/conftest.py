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
