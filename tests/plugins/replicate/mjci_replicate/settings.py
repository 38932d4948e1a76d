"""The settings of Replicate: `[default.rp]` in a profile, `MJCI_RP_…` in the environment."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_mjci.client.settings import Secret, SettingsSection, define_setting


@dataclass(frozen=True, slots=True)
class ReplicateSettings(SettingsSection):
    """An account at Replicate."""

    token: Secret = define_setting(
        Secret(""), "API token: r8_…", "REPLICATE_API_TOKEN", required=True, credential=True
    )
    url: str = define_setting("https://api.replicate.com", "Base URL of the API")
