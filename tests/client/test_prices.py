"""Prices: which key counts, what is refused, and where they may be set."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_mjci.client.prices import Prices, format_cost, parse_prices
from jupyter_mjci.client.settings import load_runtime_settings
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.services import load_settings

TABLE = {
    "imagine": 0.03,
    "mj/Imagine/turbo": 0.08,
    "mj/*/relax": 0.01,
    "ci/*": 0.0005,
    "*": 0.02,
}
# (service, names, queue, price)
LOOKUPS = (
    ("mj", ("IMAGINE", "imagine"), "", 0.03),
    ("mj", ("IMAGINE", "imagine"), "TURBO", 0.08),
    ("mj", ("IMAGINE", "imagine"), "fast", 0.03),
    ("mj", ("UPSCALE", "action"), "RELAX", 0.01),
    ("mj", ("UPSCALE", "action"), "", 0.02),
    ("ci", ("PicProcess", "picture_job"), "p123", 0.0005),
    ("other", ("IMAGINE",), "turbo", 0.03),
    ("other", ("draw",), "", 0.02),
)


@pytest.mark.parametrize(("service", "names", "queue", "price"), LOOKUPS)
def test_key_that_says_more_counts(
    service: str, names: tuple[str, ...], queue: str, price: float
) -> None:
    assert parse_prices(TABLE).find(service, names, queue) == price


def test_action_without_price_has_none() -> None:
    prices = parse_prices({"imagine": 0.03, "ci/*": 0.1})
    assert prices.find("mj", ("UPSCALE", "action")) is None
    assert Prices().find("mj", ("IMAGINE",)) is None
    assert not Prices()


@pytest.mark.parametrize(
    "raw",
    [
        {"imagine": "cheap"},
        {"imagine": -1},
        {"imagine": True},
        {"imagine": float("nan")},
        {"imagine": float("inf")},
        {"imagine": {"fast": 1}},
        {"mj/imagine/fast/now": 1},
        {"mj//fast": 1},
        {"": 1},
        "imagine",
        "imagine=a lot",
        0.03,
        [("imagine", 1)],
    ],
)
def test_invalid_table_raises(raw: object) -> None:
    with pytest.raises(SettingsError, match=r"^prices: ") as caught:
        load_settings({"prices": raw}, environ={})
    assert '"mj/imagine/turbo" = 0.08' in str(caught.value)


def test_table_is_read_from_profile_environment_and_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(
        '[default]\nmj_url = "http://a"\n[default.prices]\nimagine = 0.03\n"ci/*" = 1\n'
    )
    settings = load_settings(environ={}, file=file)
    assert settings.prices == parse_prices({"imagine": 0.03, "ci/*": 1})
    environ = {"MJCI_PRICES": "imagine=0.5, *=0.25"}
    assert load_settings(environ=environ, file=file).prices.find("mj", ("video",)) == 0.25
    given = load_settings({"prices": {"*": 2}}, environ=environ, file=file)
    assert given.prices == parse_prices("*=2")
    monkeypatch.setenv("MJCI_PRICES", "*=7")
    assert load_runtime_settings({}).prices == parse_prices({"*": 7})


def test_text_of_a_table_is_read_back() -> None:
    prices = parse_prices(TABLE)
    assert parse_prices(str(prices)) == prices


def test_cost_is_shown_without_binary_noise() -> None:
    assert format_cost(0.1 + 0.2) == "0.3"
    assert format_cost(3 * 411.5) == "1,234.5"
    assert format_cost(0.0005) == "0.0005"
