"""Connect to Tencent CI: its settings, its hosts, and the signature of each request."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import httpx

from jupyter_mjci.client.addresses import parse_base_url
from jupyter_mjci.client.bodies import MAX_ANSWER_SIZE, MAX_FILM_SIZE
from jupyter_mjci.client.settings import Secret, SettingsSection, define_setting
from jupyter_mjci.client.transport import AuthFunc, Clock, Endpoint
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.services.tencent_ci import signing
from jupyter_mjci.services.tencent_ci.regions import normalize_region

_SIGNED_HEADERS = ("content-", "x-cos-", "x-ci-", "pic-operations", "range")


_BUCKET = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?-\d+")
_REGION = re.compile(r"[a-z0-9-]+")


def parse_bucket(value: object, name: str) -> str:
    """Return the bucket's name, which has to end with its APPID."""
    bucket = str(value).strip()
    if not bucket or _BUCKET.fullmatch(bucket):
        return bucket
    raise SettingsError(
        f"{bucket[:80]!r} is not the full name of a bucket.",
        detail=f"{name} is NAME-APPID, in lower case: photos-1250000000.",
        hint="The console shows the APPID under account information.",
    )


def parse_region(value: object, name: str) -> str:
    """Return the region's short name of today."""
    region = normalize_region(str(value))
    if not region or _REGION.fullmatch(region):
        return region
    raise SettingsError(
        f"{region[:80]!r} is not a region.", hint=f"{name} is its short name: ap-guangzhou."
    )


def parse_domain(value: object, name: str) -> str:
    """Return the URL of a domain that is given with or without https://."""
    text = str(value).strip()
    return parse_base_url(text if "://" in text or not text else f"https://{text}", name)


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
    bucket: str = define_setting(
        "", "Bucket with its APPID: name-1250000000", required=True, parse=parse_bucket
    )
    region: str = define_setting("", "Region: ap-chongqing, …", required=True, parse=parse_region)
    endpoint: str = define_setting(
        "",
        "Address in front of <bucket>.ci.<region>.myqcloud.com, whose name stays in Host and "
        "signature",
        parse=parse_base_url,
    )
    cos_endpoint: str = define_setting(
        "",
        "Address in front of <bucket>.cos.<region>.myqcloud.com, whose name stays in Host and "
        "signature",
        name="cos_endpoint",
        parse=parse_base_url,
    )
    domain: str = define_setting(
        "",
        "The bucket's own name at CI, instead of <bucket>.ci.<region>.myqcloud.com: it is asked "
        "and signed",
        parse=parse_domain,
    )
    cos_domain: str = define_setting(
        "",
        "The bucket's own name at COS (custom, CDN or accelerated domain): it is asked and signed",
        name="cos_domain",
        parse=parse_domain,
    )

    def __post_init__(self) -> None:
        SettingsSection.__post_init__(self)
        for endpoint, domain, name in (
            (self.endpoint, self.domain, "ci"),
            (self.cos_endpoint, self.cos_domain, "cos"),
        ):
            if getattr(endpoint, "credentials", "") or getattr(domain, "credentials", ""):
                raise SettingsError(
                    f"The address of {name} has a user name and a password.",
                    detail="The signature needs the Authorization header for itself.",
                )
            if endpoint and domain:
                raise SettingsError(
                    f"{name}_endpoint and {name}_domain exclude each other.",
                    hint=f"{name}_domain is the service's other name; {name}_endpoint is a gateway "
                    "in front of it, which passes the service's own name on.",
                )


def build_endpoints(settings: TencentCISettings, clock: Clock) -> dict[str, Endpoint]:
    """Build the hosts of the bucket at CI and COS, and that of the account."""
    ci = _build_bucket_endpoint(settings, clock, "ci", settings.endpoint, settings.domain)
    cos = _build_bucket_endpoint(settings, clock, "cos", settings.cos_endpoint, settings.cos_domain)
    # Requests about the account rather than a bucket.
    host = f"ci.{settings.region}.myqcloud.com"
    account = replace(ci, url=settings.endpoint or f"https://{host}", host=host, aliases=())
    return {"ci": ci, "cos": cos, "account": account}


def _build_bucket_endpoint(
    settings: TencentCISettings, clock: Clock, name: str, url: str, domain: str
) -> Endpoint:
    host = f"{settings.bucket}.{name}.{settings.region}.myqcloud.com"
    authorize = build_cos_auth(
        settings.secret_id,
        settings.secret_key,
        settings.token,
        clock,
        f"x-{name}-security-token",
    )
    own_host = httpx.URL(domain).netloc.decode() if domain else host
    return Endpoint(
        domain or url or f"https://{host}",
        own_host,
        authorize,
        # An object may be a film.
        max_body_size=MAX_FILM_SIZE if name == "cos" else MAX_ANSWER_SIZE,
        aliases=(host,),
    )


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
