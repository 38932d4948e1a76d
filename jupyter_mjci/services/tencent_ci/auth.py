"""Sign the requests of COS and CI."""

from __future__ import annotations

import httpx

from jupyter_mjci.client.settings import Secret
from jupyter_mjci.client.transport import AuthFunc, Clock
from jupyter_mjci.services.tencent_ci import signing

_SIGNED_HEADERS = ("content-", "x-cos-", "x-ci-", "pic-operations", "range")


def build_cos_auth(
    secret_id: str, secret_key: Secret, token: Secret, clock: Clock, token_header: str
) -> AuthFunc:
    """Return what signs a request of COS or CI: Host, the content headers and every parameter.

    https://cloud.tencent.com/document/product/436/7778
    """

    def authorize(request: httpx.Request, path: str) -> None:
        if token:
            request.headers[token_header] = token.reveal()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.startswith(_SIGNED_HEADERS) or name == "host"
        }
        request.headers["Authorization"] = signing.sign(
            request.method,
            path,
            params=dict(request.url.params),
            headers=headers,
            secret_id=secret_id,
            secret_key=secret_key.reveal(),
            key_time=signing.key_time(clock.now()),
        )

    return authorize
