"""Settings are stripped and checked before anything is sent, and never show a password."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_mjci.client.redaction import find_secrets, redact, strip_signature
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.services import load_settings

CI = {
    "ci_secret_id": "AKID1",
    "ci_secret_key": "k3y",
    "ci_bucket": "photos-1250000000",
    "ci_region": "ap-x",
}


def load(**given: Any) -> Settings:
    return load_settings(given, environ={})


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\r\n", "\u00a0", "\u3000"])
def test_settings_are_stripped(blank: str) -> None:
    settings = load_settings(
        {name: f"{blank}{value}{blank}" for name, value in CI.items()},
        environ={
            "MJCI_MJ_URL": f"{blank}http://proxy/mj/{blank}",
            "MJCI_MJ_SECRET": f"sk-1{blank}",
            "MJCI_WAIT": f" 7{blank}",
        },
    )
    assert settings.mj_url == "http://proxy/mj"
    assert settings.mj_secret.reveal() == "sk-1"
    assert settings.wait == 7
    assert (settings.ci_secret_id, settings.ci_secret_key.reveal()) == ("AKID1", "k3y")
    assert (settings.ci_bucket, settings.ci_region) == ("photos-1250000000", "ap-x")


@pytest.mark.parametrize("secret", ["sk-s3cr3t\nx", "sk-s3cr3t\x00", "“sk-s3cr3t”", "密钥s3cr3t"])
@pytest.mark.parametrize("name", ["mj_secret", "ci_secret_key", "ci_token", "ci_secret_id"])
def test_secret_that_no_header_can_carry_is_refused_unseen(name: str, secret: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load(**{name: secret})
    assert "s3cr3t" not in str(caught.value)


BAD_URLS = [
    "proxy",
    "proxy:8080",
    "ftp://proxy",
    "http://",
    "https:///mj",
    "://proxy",
    "http://proxy:99999",
    "http://proxy:port",
    "http://[::1",
    "http://proxy?key=1",
    "http://proxy#top",
    "http://a b",
    "http://me:s3cr3t@",
    "ftp://me:s3cr3t@proxy",
    "http://me:s3cr3t@proxy:99999",
    "http://me:s3cr3t/x@proxy",
    "http://me:s3c:s3cr3t@pro xy",
]


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("name", ["mj_url", "ci_endpoint", "cos_endpoint"])
def test_bad_base_url_is_refused_before_anything_is_sent(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**CI, **{name: url})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "bucket",
    ["photos", "photos-", "Photos-1250000000", "photos-1250000000.cos.ap-x", "a/b-1", "-1"],
)
def test_bucket_without_its_appid_is_refused(bucket: str) -> None:
    with pytest.raises(SettingsError, match="NAME-APPID"):
        load(**{**CI, "ci_bucket": bucket})


@pytest.mark.parametrize("region", ["ap x", "ap-x.myqcloud.com", "https://ap-x", "Guangzhou 1"])
def test_region_that_is_no_short_name_is_refused(region: str) -> None:
    with pytest.raises(SettingsError, match="region"):
        load(**{**CI, "ci_region": region})


@pytest.mark.parametrize("mirrors", ["cdn.example", "=https://m", "cdn.example=", "a=ftp://m"])
def test_mirror_without_an_address_is_refused(mirrors: str) -> None:
    with pytest.raises(SettingsError):
        load(mj_url="http://proxy", image_mirrors=mirrors)


def test_password_and_another_use_of_the_authorization_header_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="Authorization"):
        load(mj_url="http://me:pass@proxy", mj_secret="sk-1", mj_auth="bearer")
    with pytest.raises(SettingsError, match="password"):
        load(**CI, cos_endpoint="http://me:pass@proxy")
    assert load(mj_url="http://me:pass@proxy", mj_secret="sk-1").mj_url == "http://proxy"


def test_endpoint_and_domain_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="exclude"):
        load(**CI, cos_endpoint="http://proxy", cos_domain="img.example.com")


@pytest.mark.parametrize(
    "url",
    ["http://me:s3cr3t@h/x", "http://s3cr3t@h", "https://a@b:s3cr3t@h/x"],
)
def test_password_of_a_url_is_masked_in_texts(url: str) -> None:
    assert "s3c" not in strip_signature(url)
    assert "s3cr3t" not in redact(f"see {url}, please")


def test_scan_finds_a_password_in_a_url_but_no_mask() -> None:
    assert find_secrets('mj_url = "http://me:hunter22@proxy.example/mj"') == ["password in a URL"]
    assert find_secrets("http://me:***@proxy") == []
    assert find_secrets("http://proxy:8080/mj/@me, ratio http://h/a:b@c") == []
