"""A request as text, as it would be sent."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jupyter_mjci.errors import sanitize as sanitize
from jupyter_mjci.notebook.cards import _escape


def request_html(text: str) -> str:
    """A request's text, as it would be sent."""
    return f'<pre class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{_escape(text)}</pre>'


def request_text(method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """The request that would be sent: every header, the body as text. Secrets are hidden, data URLs
    shortened.
    """
    told = [
        f"{name}: {'***' if name.lower() in _SECRET_HEADERS else value}" for name, value in headers
    ]
    return "\n".join(
        [f"{method} {_SECRET_PARAMS.sub('***', url)}", *told, "", _body_text(body)]
    ).rstrip()


_SECRET_HEADERS = {
    "authorization",
    "mj-api-secret",
    "cookie",
    "proxy-authorization",
    "x-cos-security-token",
    "x-ci-security-token",
}


_SECRET_PARAMS = re.compile(
    r"(?i)(?<=[?&]q-signature=)[^&#]*|(?<=[?&]x-cos-security-token=)[^&#]*|(?<=[?&]x-ci-security-token=)[^&#]*"
    r"|(?<=://)[^/@?#]*(?=@)"
)


_DATA_URL = re.compile(r"(data:[\w/+.-]+;base64,)([A-Za-z0-9+/=]{64,})")


def _body_text(body: bytes) -> str:
    try:
        words = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes)"
    return _DATA_URL.sub(lambda found: f"{found[1]}…({len(found[2]) * 3 // 4} bytes)", words)
