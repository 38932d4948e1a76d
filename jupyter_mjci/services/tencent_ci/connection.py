"""Connect to Tencent CI: its settings, its hosts, and the signature of each request."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from jupyter_mjci.client.bodies import MAX_FILM_SIZE, MAX_XML_SIZE
from jupyter_mjci.client.settings import Secret, SettingsSection, define_setting
from jupyter_mjci.client.transport import AuthFunc, Clock, Endpoint
from jupyter_mjci.services.tencent_ci import signing

_SIGNED_HEADERS = ("content-", "x-cos-", "x-ci-", "pic-operations", "range")


@dataclass(frozen=True, slots=True)
class TencentCISettings(SettingsSection):
    """The settings of a Tencent Cloud account and one of its buckets."""

    secret_id: str = define_setting(
        "", "Tencent Cloud SecretId", "TENCENTCLOUD_SECRET_ID", required=True, credential=True
    )
    secret_key: Secret = define_setting(
        Secret(""),
        "Tencent Cloud SecretKey",
        "TENCENTCLOUD_SECRET_KEY",
        required=True,
        credential=True,
    )
    token: Secret = define_setting(
        Secret(""),
        "Session token of a temporary key (STS)",
        "TENCENTCLOUD_TOKEN",
        credential=True,
    )
    bucket: str = define_setting("", "Bucket with its APPID: name-1250000000", required=True)
    region: str = define_setting("", "Region: ap-chongqing, …", required=True)
    endpoint: str = define_setting(
        "", "Base URL instead of https://<bucket>.ci.<region>.myqcloud.com"
    )
    cos_endpoint: str = define_setting(
        "", "Base URL instead of https://<bucket>.cos.<region>.myqcloud.com", name="cos_endpoint"
    )


def build_endpoints(settings: TencentCISettings, clock: Clock) -> dict[str, Endpoint]:
    """Build the hosts of the bucket at CI and COS, and that of the account."""
    ci_url = settings.endpoint.rstrip("/")
    ci = _build_bucket_endpoint(settings, clock, "ci", ci_url)
    # Requests about the account rather than a bucket.
    host = f"ci.{settings.region}.myqcloud.com"
    return {
        "ci": ci,
        "cos": _build_bucket_endpoint(settings, clock, "cos", settings.cos_endpoint.rstrip("/")),
        "account": Endpoint(ci_url or f"https://{host}", host, ci.authorize, MAX_XML_SIZE),
    }


def _build_bucket_endpoint(
    settings: TencentCISettings, clock: Clock, name: str, url: str
) -> Endpoint:
    host = f"{settings.bucket}.{name}.{settings.region}.myqcloud.com"
    authorize = build_cos_auth(
        settings.secret_id,
        settings.secret_key,
        settings.token,
        clock,
        f"x-{name}-security-token",
    )
    # An object may be a film.
    max_body_size = MAX_FILM_SIZE if name == "cos" else MAX_XML_SIZE
    return Endpoint(url or f"https://{host}", host, authorize, max_body_size)


def get_bucket(settings: TencentCISettings) -> str:
    """Return the bucket, which job IDs are unique within."""
    return settings.bucket


def describe_connection(settings: TencentCISettings) -> str:
    """Return bucket and region as people write them."""
    return f"{settings.bucket} in {settings.region}"


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
