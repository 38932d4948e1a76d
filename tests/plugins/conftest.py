"""A package that adds a service, as if it were installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jupyter_mjci as mjci
import mjci_replicate
import mjci_replicate.emulator
from jupyter_mjci import services
from jupyter_mjci.client import redaction
from jupyter_mjci.emulator import registry
from jupyter_mjci.session import Session


@pytest.fixture
def replicate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the entry points name the plugin, until the test ends."""
    monkeypatch.setattr(redaction, "SECRET_PATTERNS", list(redaction.SECRET_PATTERNS))
    monkeypatch.setitem(services._registered, "rp", mjci_replicate.SERVICE)
    redaction.register_secret_patterns(mjci_replicate.SERVICE.secret_patterns)
    monkeypatch.setitem(registry.SERVICES, "rp", mjci_replicate.emulator.SERVICE)
    return


@pytest.fixture
def session(replicate: None) -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as session:
        yield session
