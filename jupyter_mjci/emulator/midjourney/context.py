"""What views and relay checks read of a proxy.

A protocol of its own, so that neither they nor the dialects,
which name them, import the proxy.
"""

from __future__ import annotations

from typing import Protocol

from jupyter_mjci.emulator.midjourney.image_store import ImageStore
from jupyter_mjci.emulator.midjourney.tasks import Phase, Task


class ProxyContext(Protocol):
    """A proxy, as far as rendering and checking needs it."""

    image_store: ImageStore
    tasks_by_id: dict[str, Task]

    @property
    def instance_id(self) -> str:
        """The account's ID."""

    @property
    def reports_final_prompt(self) -> bool:
        """Whether its dialect reports the final prompt."""

    def list_button_keys(self, task: Task) -> tuple[str, ...]:
        """Return the buttons of a task."""

    def get_relayed_phase(self, task: Task) -> Phase:
        """Return a task's phase as the relay knows it."""

    def build_relayed_url(self, task: Task, phase: Phase) -> str:
        """Return the relay's own link to a task's picture."""
