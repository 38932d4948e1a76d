"""Connect to a Midjourney proxy: its settings, its address, and three ways to send its secret."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_mjci.client.addresses import (
    BaseUrl,
    parse_base_url,
    parse_mirror_map,
    parse_mirrors,
)
from jupyter_mjci.client.redaction import strip_signature
from jupyter_mjci.client.settings import Secret, SettingsSection, define_setting
from jupyter_mjci.client.transport import AuthFunc, Clock, Endpoint
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.services.json_service import build_header_auth
from jupyter_mjci.services.midjourney.modes import MODE_STYLES

# Headers by authentication style. Proxies of the .NET family use
# the first one they find, so only one is sent.
_AUTH_HEADERS = {
    "secret": ("mj-api-secret", "{}"),
    "bearer": ("Authorization", "Bearer {}"),
    "raw": ("Authorization", "{}"),
}
AUTH_STYLES = tuple(_AUTH_HEADERS)


@dataclass(frozen=True, slots=True)
class MidjourneySettings(SettingsSection):
    """The settings of a Midjourney proxy, which may need no secret."""

    url: str = define_setting(
        "",
        "Base URL of the Midjourney proxy, with or without /mj",
        required=True,
        parse=parse_base_url,
    )
    secret: Secret = define_setting(Secret(""), "Secret or key of the proxy", credential=True)
    auth: str = define_setting(
        "secret",
        "How the secret is sent: secret (mj-api-secret), bearer (Authorization: Bearer …), "
        "raw (Authorization: …)",
        choices=AUTH_STYLES,
    )
    mode_by: str = define_setting(
        "path",
        "Where the mode of a task stands: path (/mj-relax/mj/…: the .NET family, relays), "
        "filter (accountFilter.modes: plus), flag (--relax in the prompt: the Java family)",
        choices=MODE_STYLES,
    )
    image_mirrors: str = define_setting(
        "",
        "Mirrors of picture hosts: HOST=URL, several with blanks between them, or a mapping",
        parse=parse_mirrors,
        name="image_mirrors",
    )

    def __post_init__(self) -> None:
        SettingsSection.__post_init__(self)
        has_password = isinstance(self.url, BaseUrl) and self.url.credentials
        if has_password and self.secret and self.auth != "secret":
            raise SettingsError(
                "The password in mj_url and mj_secret both need the Authorization header.",
                hint="Set MJCI_MJ_AUTH=secret, or leave one of them out.",
            )


def build_endpoints(settings: MidjourneySettings, _: Clock) -> dict[str, Endpoint]:
    """Build the one host that all calls are sent to."""
    authorize = build_mj_auth(settings.auth, settings.secret)
    endpoint = Endpoint(
        get_base_url(settings),
        authorize=authorize,
        resolves_links=True,
        credentials=Secret(getattr(settings.url, "credentials", "")),
        mirrors=parse_mirror_map(settings.image_mirrors),
    )
    return {"mj": endpoint}


def get_base_url(settings: MidjourneySettings) -> str:
    """Return the base URL without /mj, which is part of every path."""
    return settings.url.rstrip("/").removesuffix("/mj")


def describe_connection(settings: MidjourneySettings) -> str:
    """Return the base URL as it may be shown."""
    return strip_signature(settings.url)


def build_mj_auth(style: str, secret: Secret) -> AuthFunc | None:
    """Return what adds a proxy's secret to a request, or None without a secret."""
    header, template = _AUTH_HEADERS[style]
    return build_header_auth(header, template, secret)
