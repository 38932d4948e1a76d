"""Build each service's endpoints from the settings, and name the origin of its jobs."""

from __future__ import annotations

from jupyter_mjci.client.bodies import MAX_FILM_SIZE, MAX_XML_SIZE
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.client.transport import Clock, Endpoint
from jupyter_mjci.services.midjourney.auth import build_mj_auth
from jupyter_mjci.services.tencent_ci.auth import build_cos_auth
from jupyter_mjci.services.tencent_ci.regions import normalize_region


def build_endpoints(settings: Settings, clock: Clock) -> dict[str, Endpoint]:
    """Build the endpoints of the configured services: mj, ci, cos and account."""
    endpoints = {}
    if settings.has_mj:
        authorize = build_mj_auth(settings.mj_auth, settings.mj_secret)
        endpoints["mj"] = Endpoint(_get_mj_url(settings), authorize=authorize)
    if settings.has_ci:
        ci_url = settings.ci_endpoint.rstrip("/")
        cos_url = settings.cos_endpoint.rstrip("/")
        endpoints["ci"] = _build_bucket_endpoint(settings, clock, "ci", ci_url)
        endpoints["cos"] = _build_bucket_endpoint(settings, clock, "cos", cos_url)
        # Requests about the account rather than a bucket.
        host = f"ci.{normalize_region(settings.ci_region)}.myqcloud.com"
        authorize = endpoints["ci"].authorize
        endpoints["account"] = Endpoint(ci_url or f"https://{host}", host, authorize, MAX_XML_SIZE)
    return endpoints


def _build_bucket_endpoint(settings: Settings, clock: Clock, name: str, url: str) -> Endpoint:
    host = f"{settings.ci_bucket}.{name}.{normalize_region(settings.ci_region)}.myqcloud.com"
    authorize = build_cos_auth(
        settings.ci_secret_id,
        settings.ci_secret_key,
        settings.ci_token,
        clock,
        f"x-{name}-security-token",
    )
    # An object may be a film.
    max_body_size = MAX_FILM_SIZE if name == "cos" else MAX_XML_SIZE
    return Endpoint(url or f"https://{host}", host, authorize, max_body_size)


def _get_mj_url(settings: Settings) -> str:
    return settings.mj_url.rstrip("/").removesuffix("/mj")


def get_origins(settings: Settings) -> dict[str, str]:
    """Return the proxy and the bucket that jobs belong to: IDs are unique only there."""
    return {"mj": _get_mj_url(settings), "ci": settings.ci_bucket}
