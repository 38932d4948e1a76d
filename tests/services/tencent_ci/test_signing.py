"""Signatures, compared with vectors of the official SDK and with the SDK itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_mjci.services.tencent_ci.signing import key_time, presign, sign

SAMPLES = Path(__file__).parents[2] / "samples"
VECTORS = json.loads((SAMPLES / "cos_signature.json").read_text("utf-8"))["vectors"]
KEYS = {"secret_id": "AKIDexample", "secret_key": "key", "key_time": "1700000000;1700003660"}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_signature_equals_vector(vector: dict[str, Any]) -> None:
    """The vectors were made with the official SDK."""
    authorization = sign(
        vector["method"],
        vector["path"],
        params=vector["params"],
        headers=vector["signed_headers"],
        secret_id=vector["secret_id"],
        secret_key=vector["secret_key"],
        key_time=vector["q_key_time"],
    )
    assert authorization == vector["authorization"]


texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r\n"), min_size=1, max_size=12
)
names = st.text("abcdefghijklmnop-XYZ/|_~", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def official() -> Any:
    """The official SDK's signer, with a fixed clock."""
    pytest.importorskip("qcloud_cos")
    from qcloud_cos import cos_auth

    def authorization(
        method: str, path: str, params: dict[str, str], headers: dict[str, str]
    ) -> str:
        conf = SimpleNamespace(
            _secret_id=KEYS["secret_id"],
            _secret_key=KEYS["secret_key"],
            _anonymous=False,
            _sign_params=True,
            _sign_host=True,
            _credential_inst=None,
        )
        request = SimpleNamespace(method=method, headers=dict(headers), url="http://unused/")
        with mock.patch.object(cos_auth, "time", SimpleNamespace(time=lambda: 1700000060)):
            cos_auth.CosS3Auth(conf, path, params, 3600)(request)
        return str(request.headers["Authorization"])

    return authorization


@given(
    path=texts.map(lambda text: f"/{text}"),
    params=st.dictionaries(names, texts, max_size=4).filter(
        lambda d: len({k.lower() for k in d}) == len(d)
    ),
    token=texts,
)
def test_signature_of_any_path_and_parameters_equals_the_sdk(
    official: Any, path: str, params: dict[str, str], token: str
) -> None:
    """Paths, parameters and tokens of any letters."""
    headers = {"host": "demo-1.cos.ap-x.myqcloud.com", "x-cos-security-token": token}
    ours = sign("GET", path, params=params, headers=headers, **KEYS)
    assert ours == official("GET", path, params, headers)


def test_presigned_url_has_the_signature_of_the_header() -> None:
    """The q-* values are those of the header; the rule is a parameter with an empty value."""
    url = "https://demo-1.cos.ap-x.myqcloud.com/in/a%20b.jpg"
    params, headers = {"imageMogr2/rotate/90": ""}, {"host": "demo-1.cos.ap-x.myqcloud.com"}
    query = dict(
        parse_qsl(urlsplit(presign("GET", url, params=params, headers=headers, **KEYS)).query, True)
    )
    header = dict(
        part.split("=", 1)
        for part in sign("GET", "/in/a b.jpg", params=params, headers=headers, **KEYS).split("&")
    )
    assert {name: query[name] for name in header} == header
    assert query["imageMogr2/rotate/90"] == ""


def test_presigned_url_includes_and_signs_the_token() -> None:
    """The token of a temporary key is in the URL, and in the list of signed parameters."""
    url = presign("GET", "https://demo-1.cos.ap-x.myqcloud.com/a", token="t/+=", **KEYS)
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["x-cos-security-token"] == "t/+="
    assert "x-cos-security-token" in query["q-url-param-list"].split(";")


def test_presigned_url_equals_the_sdk(official: Any) -> None:
    """For a plain key, a rule and a token."""
    from qcloud_cos import CosConfig, CosS3Client, cos_auth

    client = CosS3Client(
        CosConfig(
            Region="ap-x", SecretId=KEYS["secret_id"], SecretKey=KEYS["secret_key"], Scheme="https"
        )
    )
    host = "demo-1250000000.cos.ap-x.myqcloud.com"
    for params in ({}, {"imageMogr2/rotate/90": ""}, {"x-cos-security-token": "a/b+c=="}):
        with mock.patch.object(cos_auth, "time", SimpleNamespace(time=lambda: 1700000060)):
            theirs = client.get_presigned_url(
                "demo-1250000000", "in/deer.jpg", "GET", 3600, Params=params
            )
        ours = presign(
            "GET", f"https://{host}/in/deer.jpg", params=params, headers={"host": host}, **KEYS
        )
        assert ours == theirs


def test_key_time_starts_a_minute_ago() -> None:
    """Clocks differ, so a signature is valid from a minute ago on."""
    assert key_time(1700000060.7, 3600) == "1700000000;1700003660"
