"""Record the exchanges of a session, and make the same submission markers again in a replay."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.client.player import Player
from jupyter_mjci.client.recorder import Recorder
from jupyter_mjci.client.settings import Settings, describe_settings, list_secrets
from jupyter_mjci.client.transport import Transport
from jupyter_mjci.history.image_archive import resize_to_fit

if TYPE_CHECKING:
    import httpx


def build_recorder(
    folder: Path, transport: Transport, settings: Settings, pixels: int | None
) -> Recorder:
    """Build what records into a folder what a transport sends.

    Args:
        folder: an existing recording is replaced
        transport: sends the requests
        settings: are part of the recording, without secrets
        pixels: the longer side of images, at most; None keeps
            them as they are
    """
    return Recorder(
        folder,
        transport.make_transport,
        transport.clock,
        settings=describe_settings(settings),
        secrets=list_secrets(settings),
        shrink=partial(resize_to_fit, max_size=pixels) if pixels else None,
    )


def find_marker_seed(transport: httpx.AsyncBaseTransport | None, is_fresh: bool) -> str | None:
    """Return the seed of the submission markers; None where they must be globally unique.

    Args:
        transport: may be a recording, which has a seed
        is_fresh: a new sandbox without a journal that is kept:
            one holds the markers of earlier sandboxes
    """
    if isinstance(transport, (Player, Recorder)):
        return transport.marker_seed
    return "" if is_fresh else None
