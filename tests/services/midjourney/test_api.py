"""Builders of Midjourney calls: what they encode, and what they refuse. No network, no loop."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jupyter_mjci.client.image_input import to_data_url
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest, SettingsError
from jupyter_mjci.imaging.thumbnails import encode_image
from jupyter_mjci.services.midjourney.api import Midjourney, infer_action
from jupyter_mjci.services.midjourney.responses import parse_job

mj = Midjourney()


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        (
            mj.imagine("a {red, green} fox --ar 3:2 ::2"),
            "POST",
            "/mj/submit/imagine",
            {"prompt": "a {red, green} fox --ar 3:2 ::2", "base64Array": []},
        ),
        (
            mj.imagine("x", bot="NIJI_JOURNEY", state="s", notify_hook="http://h"),
            "POST",
            "/mj/submit/imagine",
            {
                "prompt": "x",
                "base64Array": [],
                "botType": "NIJI_JOURNEY",
                "state": "s",
                "notifyHook": "http://h",
            },
        ),
        (
            mj.action("14001934816969359", "MJ::JOB::upsample::2::3dbbd469", same_channel=True),
            "POST",
            "/mj/submit/action",
            {
                "chooseSameChannel": True,
                "customId": "MJ::JOB::upsample::2::3dbbd469",
                "taskId": "14001934816969359",
            },
        ),
        (mj.task("17"), "GET", "/mj/task/17/fetch", None),
        (mj.tasks(), "GET", "/mj/task/list", None),
        (mj.tasks(ids=["1", "2"]), "POST", "/mj/task/list-by-condition", {"ids": ["1", "2"]}),
        (mj.queue(), "GET", "/mj/task/queue", None),
    ],
)
def test_call_has_the_documented_method_path_and_body(
    call: Any, method: str, path: str, body: Any
) -> None:
    """Method, path and body are those of the published documents."""
    assert (call.method, call.path) == (method, path)
    assert (json.loads(call.body) if call.body else None) == body
    assert call.is_submission is (path.startswith("/mj/submit"))


def test_prompt_is_encoded_unchanged() -> None:
    """Letters of every script, quotes and braces are sent as they were written."""
    prompt = 'it\'s "a" {fox, 狐} $5 ::2 \\n – –no x'
    assert json.loads(mj.imagine(prompt).body)["prompt"] == prompt


def test_call_without_a_session_cannot_be_run() -> None:
    """The error says where to get a call that can be run."""
    with pytest.raises(SettingsError, match="no session to send it"):
        mj.imagine("a fox").run()


def test_equal_calls_compare_equal() -> None:
    assert mj.imagine("a") == mj.imagine("a") != mj.imagine("b")
    assert "a fox" not in repr(Job("mj", "1", raw={"prompt": "a fox"}))


GRID = {
    "id": "17",
    "status": "SUCCESS",
    "action": "IMAGINE",
    "buttons": [
        {"customId": "MJ::JOB::upsample::1::h", "label": "U1", "emoji": "", "style": 2},
        {"customId": "MJ::JOB::reroll::0::h::SOLO", "label": "", "emoji": "🔄", "style": 3},
    ],
}


@pytest.mark.parametrize("button", ["U1", "u1", "MJ::JOB::upsample::1::h"])
def test_action_finds_button_by_label_or_custom_id(button: str) -> None:
    assert (
        json.loads(mj.action(parse_job(GRID), button).body)["customId"] == "MJ::JOB::upsample::1::h"
    )


def test_find_button_by_emoji_returns_its_used_flag() -> None:
    button = parse_job(GRID).find_button("🔄")
    assert button.used
    assert button.name == "🔄"


def test_unknown_button_error_lists_the_available_ones() -> None:
    with pytest.raises(InvalidRequest, match="U1, 🔄"):
        mj.action(parse_job(GRID), "U7")


@pytest.mark.parametrize(
    "build",
    [
        lambda: mj.imagine("  "),
        lambda: mj.action("17", "U1"),
        lambda: mj.task(""),
        lambda: mj.task("a/b"),
        lambda: mj.imagine("x", images=[b"not a picture"]),
        lambda: mj.imagine("x", images=["/nowhere.png"]),
    ],
)
def test_invalid_arguments_raise_invalid_request(build: Any) -> None:
    with pytest.raises(InvalidRequest):
        build()


def test_pictures_are_encoded_as_data_urls(tmp_path: Path) -> None:
    """Every server family takes data URLs; links are sent as they are."""
    png = encode_image(Image.new("RGB", (2, 2)), "PNG")
    (tmp_path / "a.png").write_bytes(png)
    assert (
        to_data_url(png)
        == to_data_url(tmp_path / "a.png")
        == f"data:image/png;base64,{base64.b64encode(png).decode()}"
    )
    assert to_data_url("https://x/y.png") == "https://x/y.png"


@pytest.mark.parametrize(
    ("custom_id", "action"),
    [
        ("MJ::JOB::upsample::2::h", "UPSCALE"),
        ("MJ::JOB::upsample_v7_2x_subtle::1::h::SOLO", "UPSCALE_HD"),
        ("MJ::JOB::low_variation::1::h::SOLO", "VARIATION"),
        ("MJ::JOB::reroll::0::h::SOLO", "REROLL"),
        ("MJ::Outpaint::50::1::h::SOLO", "ZOOM"),
        ("MJ::JOB::pan_left::1::h::SOLO", "PAN"),
        ("X::Y", "ACTION"),
    ],
)
def test_infer_action_from_custom_id(custom_id: str, action: str) -> None:
    assert infer_action(custom_id) == action
