"""A package that adds a service, as if it were installed: its entry points are on the path."""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jupyter_mjci as mjci
from jupyter_mjci import services
from jupyter_mjci.client import redaction
from jupyter_mjci.emulator import registry
from jupyter_mjci.session import Session

PLUGIN = Path(__file__).parent / "replicate"


@pytest.fixture
def replicate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the plugin's metadata; its code is on the path of all tests."""
    monkeypatch.syspath_prepend(str(write_metadata(tmp_path / "site")))
    monkeypatch.setattr(redaction, "SECRET_PATTERNS", list(redaction.SECRET_PATTERNS))
    monkeypatch.setattr(services, "_registered", dict(services._registered))
    forget_entry_points()
    yield
    monkeypatch.undo()
    forget_entry_points()
    registry.SERVICES.pop("rp", None)


@pytest.fixture
def uninstall(
    replicate: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Return a function that uninstalls the plugin, as a new process would find it."""

    def remove_from_path() -> None:
        sys.path.remove(str(tmp_path / "site"))
        services._registered.pop("rp", None)
        forget_entry_points()
        registry.SERVICES.pop("rp", None)

    return remove_from_path


def forget_entry_points() -> None:
    """Look the installed packages up again, as a new process does."""
    services._list_entry_points.cache_clear()
    registry._list_entry_points.cache_clear()


def write_metadata(folder: Path) -> Path:
    """Write what an installer makes of the plugin's pyproject.toml."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text("utf-8"))["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(header)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def session(replicate: None) -> Iterator[Session]:
    with mjci.sandbox(speed=math.inf) as session:
        yield session
