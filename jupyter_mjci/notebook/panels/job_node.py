"""The jobs of a card as a tree: the first one, and those its buttons started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.notebook.panels.html import InlineImage


@dataclass(eq=False)
class JobNode:
    """One job of a card.

    Args:
        label: its name in the breadcrumb
        job: the job as last seen
        parent: the node whose button started it
        button: that button
        children: the nodes that its own buttons started
        before: the pictures it was made from, where they are
            shown beside the result
        pictures: its results
        lineage: thumbnails of its parent and of what was made of
            it, as HTML
        snapshot_pictures: the same pictures, small enough for the saved
            notebook
        preview: the unfinished picture of a running job
        message: why it is not followed, in lines
        follow_task: the task that follows it
        size: width and height of its first result in pixels
        grid_pictures: the four pictures of a grid, once one was
            selected
        selected: the numbers of the selected ones, from 1,
            ascending
    """

    label: str
    job: Job
    parent: JobNode | None = None
    button: Button | None = None
    children: list[JobNode] = field(default_factory=list)
    before: list[InlineImage] = field(default_factory=list)
    pictures: list[InlineImage] = field(default_factory=list)
    snapshot_pictures: list[InlineImage] = field(default_factory=list)
    lineage: str = ""
    preview: InlineImage | None = None
    message: tuple[str, ...] = ()
    follow_task: event_loop.BackgroundTask[None] | None = None
    size: tuple[int, int] = (0, 0)
    grid_pictures: list[InlineImage] = field(default_factory=list)
    selected: list[int] = field(default_factory=list)

    @property
    def needs_mask(self) -> bool:
        """Whether it asks for a region of its parent's picture: Vary (Region)."""
        if self.parent is None or self.button is None:
            return False
        name = f"{self.button.custom_id} {self.button.label}".lower()
        return "inpaint" in name or "region" in name

    @property
    def is_followed(self) -> bool:
        return self.follow_task is not None and not self.follow_task.done()

    @property
    def is_loading(self) -> bool:
        """Whether the job has ended or needs input, and pictures of it are still to come."""
        status = self.job.status
        return self.is_followed and (status.is_terminal or status is Status.NEEDS_INPUT)

    def get_path(self) -> list[JobNode]:
        """Return the nodes from the root to this one."""
        if self.parent is None:
            return [self]
        return [*self.parent.get_path(), self]

    def walk(self) -> Iterator[JobNode]:
        """Yield this node and all its descendants, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()
