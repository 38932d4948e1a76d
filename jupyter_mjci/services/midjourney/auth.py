"""Send a proxy's secret: three families, three ways."""

from __future__ import annotations

import httpx

from jupyter_mjci.client.settings import Secret
from jupyter_mjci.client.transport import AuthFunc

# Headers by authentication style. Proxies of the .NET family use
# the first one they find, so only one is sent.
_MJ_AUTH_HEADERS = {
    "secret": ("mj-api-secret", "{}"),
    "bearer": ("Authorization", "Bearer {}"),
    "raw": ("Authorization", "{}"),
}


def build_mj_auth(style: str, secret: Secret) -> AuthFunc | None:
    """Return what adds a proxy's secret to a request, or None without a secret."""
    header, template = _MJ_AUTH_HEADERS[style]

    def authorize(request: httpx.Request, _: str) -> None:
        request.headers[header] = template.format(secret.reveal())

    return authorize if secret else None
