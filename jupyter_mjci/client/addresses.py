"""Check addresses before anything is sent to them, and keep their passwords out of sight.

A base URL may hold `user:password@`. It is split off when the
setting is read, so that the address that is shown, journaled and
recorded has none, and is sent as Basic authentication (RFC 7617)
by both transports.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Self

import httpx

from jupyter_mjci.client.redaction import strip_signature
from jupyter_mjci.errors import SettingsError

DEFAULT_PORTS = {"http": 80, "https": 443}


class BaseUrl(str):
    """An address without its user name and password, which `credentials` has as "user:password".

    Args:
        text: the address
        credentials: user name and password, decoded; "" for none
    """

    credentials = ""

    def __new__(cls, text: str, credentials: str = "") -> Self:
        url = super().__new__(cls, text)
        url.credentials = credentials
        return url


def parse_base_url(value: object, name: str) -> str:
    """Return a setting's address, validated.

    Raises:
        SettingsError: it is no address that requests can be sent
            to
    """
    if isinstance(value, BaseUrl):
        return value
    text = str(value).strip()
    if not text:
        return ""
    # Also of a password that is not percent-encoded.
    shown = strip_signature(re.sub(r"//.*@", "//", text))[:200]
    hint = "A base URL is http:// or https://, a host, and what stands before the API's paths."
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        detail = "" if "@" in text else str(error)
        raise SettingsError(
            f"{name} is not a valid URL: {shown}", detail=detail, hint=hint
        ) from None
    if not text.isprintable() or " " in text:
        raise SettingsError(f"{name} has a blank in it: {shown!r}", hint=hint)
    if url.scheme not in DEFAULT_PORTS or not url.host:
        raise SettingsError(f"{name} is not a valid URL: {shown}", hint=hint)
    if url.port is not None and not 0 < url.port < 65536:
        raise SettingsError(f"{name} has the port {url.port}.", hint="Ports are 1 to 65535.")
    if url.query or url.fragment:
        raise SettingsError(f"{name} has a query or a fragment: {shown}", hint=hint)
    credentials = ""
    if url.userinfo:
        credentials = f"{url.username}:{url.password}"
        text = str(url.copy_with(username=None, password=None))
    return BaseUrl(text.rstrip("/"), credentials)


def strip_userinfo(url: httpx.URL) -> tuple[httpx.URL, str]:
    """Return a URL without user name and password, and these as "user:password"."""
    if not url.userinfo:
        return url, ""
    return url.copy_with(username=None, password=None), f"{url.username}:{url.password}"


def build_basic_auth(credentials: str) -> str:
    """Return the Authorization header of "user:password"."""
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def get_origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port, the default port written out."""
    return url.scheme, url.host, url.port or DEFAULT_PORTS.get(url.scheme)


# --- mirrors ----------------------------------------------


def parse_mirrors(value: object, name: str) -> str:
    """Return picture hosts and their mirrors as "HOST=URL HOST=URL".

    Args:
        value: that text, with blanks or commas between the pairs,
            or a mapping
        name: of the setting

    Raises:
        SettingsError: a pair has no mirror, or one that is no URL
    """
    if isinstance(value, Mapping):
        pairs = [(str(host), str(mirror)) for host, mirror in value.items()]
    else:
        parts = str(value).replace(",", " ").split()
        pairs = [(host, mirror) for host, _, mirror in (part.partition("=") for part in parts)]
    checked = []
    for host, mirror in pairs:
        address = mirror if "://" in mirror or not mirror else f"https://{mirror}"
        url = parse_base_url(address, name)
        if not host.strip() or not url:
            raise SettingsError(
                f"{name} has no mirror for {host or mirror!r}.",
                hint=f"Write {name} as cdn.discordapp.com=https://mirror.example/discord",
            )
        checked.append(f"{_get_host(host)}={url}")
    return " ".join(checked)


def _get_host(text: str) -> str:
    """Return the host of what may be a URL, in lower case."""
    return text.strip().lower().rpartition("://")[2].partition("/")[0]


def replace_mirrored_host(url: httpx.URL, mirrors: Mapping[str, str]) -> httpx.URL:
    """Return a URL at the mirror of its host, below the mirror's path."""
    mirror = mirrors.get(url.host)
    return url if mirror is None else move_url(url, httpx.URL(mirror))


def move_url(url: httpx.URL, base: httpx.URL) -> httpx.URL:
    """Return a URL at another address: below its path, unless it is there already."""
    path = base.raw_path.rstrip(b"/")
    raw_path = url.raw_path
    if path and not raw_path.startswith(path + b"/"):
        raw_path = path + raw_path
    return url.copy_with(
        scheme=base.scheme, host=base.host, port=base.port, raw_path=raw_path, userinfo=b""
    )


def parse_mirror_map(text: str) -> dict[str, str]:
    """Return the mapping of a checked `image_mirrors`."""
    return dict(pair.split("=", 1) for pair in text.split())


__all__ = [
    "BaseUrl",
    "build_basic_auth",
    "get_origin",
    "move_url",
    "parse_base_url",
    "parse_mirror_map",
    "parse_mirrors",
    "replace_mirrored_host",
    "strip_userinfo",
]
