"""A request as text, as it would be sent: secrets are hidden, data URLs shortened."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jupyter_mjci.notebook.cards import NO_MATH, escape_text

_SECRET_HEADERS = frozenset(
    {
        "authorization",
        "mj-api-secret",
        "cookie",
        "proxy-authorization",
        "x-cos-security-token",
        "x-ci-security-token",
    }
)
# Values of signed query parameters, and user:password@ of the
# URL.
_SECRET_PARAMS = re.compile(
    r"(?i)(?<=[?&]q-signature=)[^&#]*"
    r"|(?<=[?&]x-cos-security-token=)[^&#]*"
    r"|(?<=[?&]x-ci-security-token=)[^&#]*"
    r"|(?<=://)[^/@?#]*(?=@)"
)
_DATA_URL = re.compile(r"(data:[\w/+.-]+;base64,)([A-Za-z0-9+/=]{64,})")


def request_html(text: str) -> str:
    """Return a request's text as HTML."""
    return f'<pre class="{NO_MATH}" style="white-space:pre-wrap">{escape_text(text)}</pre>'


def request_text(method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """Return a request as text: request line, headers, an empty line and the body."""
    lines = [f"{method} {_SECRET_PARAMS.sub('***', url)}"]
    for name, value in headers:
        is_secret = name.lower() in _SECRET_HEADERS
        lines.append(f"{name}: {'***' if is_secret else value}")
    lines += ["", _format_body(body)]
    return "\n".join(lines).rstrip()


def _format_body(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes)"
    return _DATA_URL.sub(_shorten_data_url, text)


def _shorten_data_url(match: re.Match[str]) -> str:
    return f"{match[1]}…({len(match[2]) * 3 // 4} bytes)"
