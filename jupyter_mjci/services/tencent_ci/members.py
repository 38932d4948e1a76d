"""What the service adds to a session, for type checkers and editors.

At run time a session builds the API by the registry, and loads a
method of `Service.session_methods` when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_mjci.services.tencent_ci import session_methods
    from jupyter_mjci.services.tencent_ci.api import TencentCI


class BucketMembers:
    """The members of a session for a bucket and its jobs."""

    if TYPE_CHECKING:
        ci: TencentCI
        jobs = session_methods.jobs
        upload = session_methods.upload
        presign = session_methods.presign
        preview = session_methods.preview
