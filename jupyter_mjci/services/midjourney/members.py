"""What the service adds to a session, for type checkers and editors.

At run time a session builds the API by the registry, and loads a
method of `Service.session_methods` when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_mjci.services.midjourney import session_methods
    from jupyter_mjci.services.midjourney.api import Midjourney


class ProxyMembers:
    """The members of a session for a Midjourney proxy."""

    if TYPE_CHECKING:
        mj: Midjourney
        tasks = session_methods.tasks
        queue = session_methods.queue
