"""Comparing rules locally: figures that other code agrees with, and errors before any work."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import jupyter_mjci as mjci
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.imaging import codecs, rule_syntax, similarity
from jupyter_mjci.imaging.rule_syntax import apply_rule
from jupyter_mjci.imaging.similarity import compute_similarity
from jupyter_mjci.jobs import rule_comparison
from jupyter_mjci.session import Session

QUALITIES = [f"imageMogr2/quality/{quality}" for quality in (10, 40, 70, 95)]


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as sandboxed:
        yield sandboxed


def make_picture(width: int = 120, height: int = 90, seed: int = 1) -> bytes:
    """Make a picture with edges, slopes and some noise."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 200, width)[None, :, None] * np.ones((height, 1, 3))
    slope[height // 3 : height // 2, width // 4 :] = 255
    noise = rng.normal(0, 8, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(slope + noise, 0, 255).astype("uint8")).save(buffer, "PNG")
    return buffer.getvalue()


def make_degraded(content: bytes) -> tuple[Image.Image, Image.Image]:
    """Return a picture in gray, and what a low quality leaves of it."""
    result = apply_rule("imageMogr2/format/jpg/quality/20", content)
    first, second = (Image.open(io.BytesIO(file)).convert("L") for file in (content, result.body))
    return first, second


# One strip, several with and without a rest, and strips of the
# fewest rows.
@pytest.mark.parametrize("size", [(64, 7), (4096, 32), (4096, 33), (4096, 40), (9000, 30)])
def test_similarity_is_that_of_scikit_image(size: tuple[int, int]) -> None:
    first, second = make_degraded(make_picture(*size))
    ssim, psnr = compute_similarity(first, second)
    arrays = [np.asarray(image, dtype="float64") for image in (first, second)]
    _, similarity = structural_similarity(*arrays, data_range=255, full=True)
    assert ssim == pytest.approx(similarity.mean(), abs=1e-6)
    assert psnr == pytest.approx(peak_signal_noise_ratio(*arrays, data_range=255), abs=1e-9)


def test_similarity_of_bright_areas_is_exact() -> None:
    noise = np.random.default_rng(1).integers(0, 2, (2, 300, 500), dtype="uint8")
    arrays = 254 + noise
    ssim, _ = compute_similarity(*map(Image.fromarray, arrays))
    _, similarity = structural_similarity(*arrays.astype("float64"), data_range=255, full=True)
    assert ssim == pytest.approx(similarity.mean(), abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (6, 3), (1, 400)])
def test_picture_smaller_than_a_window_has_a_similarity(size: tuple[int, int]) -> None:
    picture = Image.open(io.BytesIO(make_picture(*size))).convert("L")
    assert compute_similarity(picture, picture) == (1, math.inf)
    assert compute_similarity(picture, Image.new("L", size, 255))[0] < 1


def test_better_quality_is_larger_and_more_similar(session: Session) -> None:
    rules = [f"imageMogr2/format/jpg/quality/{quality}" for quality in (10, 40, 70, 95)]
    pictures = {"first": make_picture(), "second": make_picture(seed=2)}
    comparison = session.compare(rules, pictures).run()
    frame = comparison.frame()
    assert list(frame["rule"][:4]) == rules
    assert set(frame["picture"]) == {"first", "second"}
    for _, group in frame.groupby("picture"):
        assert group["bytes"].is_monotonic_increasing
        assert group["ssim"].is_monotonic_increasing
        assert group["psnr"].is_monotonic_increasing
        content = pictures[group["picture"].iloc[0]]
        expected = [apply_rule(rule, content) for rule in rules]
        assert list(group["bytes"]) == [result.size for result in expected]
    assert (frame["seconds"] > 0).all()
    summary = comparison.summary()
    middle = summary["ssim"].iloc[1]
    assert comparison.smallest(ssim=middle) == rules[1]
    with pytest.raises(InvalidRequest, match="None of the 4 rules keeps an SSIM of 1"):
        comparison.smallest(ssim=1)
    ax = comparison.plot()
    assert len(ax.collections[0].get_offsets()) == 4


def test_picture_is_decoded_once_for_all_rules(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    decode = codecs.load_image

    def count(content: bytes, *options: Any) -> Any:
        decoded.append(content)
        return decode(content, *options)

    for module in (similarity, rule_syntax):
        monkeypatch.setattr(module, "load_image", count)
    pictures = [make_picture(seed=1), make_picture(seed=2)]
    session.compare(QUALITIES, pictures).run()
    assert decoded == pictures


def test_same_result_in_processes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [make_picture(seed=seed) for seed in (1, 2, 3)]
    names = ["rule", "picture", "bytes", "format", "width", "height", "ssim", "psnr", "error"]
    here = session.compare(QUALITIES[:2], pictures).run().frame()[names]
    monkeypatch.setattr(rule_comparison, "MIN_PIXELS_OF_PROCESSES", 0)
    monkeypatch.setattr(rule_comparison.os, "cpu_count", lambda: 2)
    assert session.compare(QUALITIES[:2], pictures).run().frame()[names].equals(here)


def test_jobs_and_pictures_of_the_session_are_compared(session: Session) -> None:
    job = session.follow(session.mj.imagine("a red fox")).run()
    picture = session.picture(job).run()
    rules = {"small": "imageMogr2/thumbnail/!25p", "same": "imageMogr2/format/png"}
    frame = session.compare(rules, [job, picture, picture.image()]).run().frame()
    same = frame[frame["rule"] == "same"]
    assert (same["ssim"] > 0.9999).all()
    assert (same["psnr"] == math.inf).all()
    small = frame[frame["rule"] == "small"]
    assert set(small["width"]) == {picture.size[0] // 4}
    assert ((small["ssim"] > 0.3) & (small["ssim"] < 0.9999)).all()


def test_what_cannot_be_compared_has_no_similarity_or_an_error(session: Session) -> None:
    rules = {
        "cut": "imageMogr2/crop/60x90",
        "turned": "imageMogr2/rotate/90",
        "facts": "imageInfo",
        "stamped": "watermark/1/image/aHR0cDovL2EvYi5wbmc",
    }
    frame = session.compare(rules, make_picture()).run().frame().set_index("rule")
    assert frame["ssim"].isna().all()
    assert frame.loc["cut", "width"] == 60
    assert frame.loc["stamped", "error"] not in ("", None)


@pytest.mark.parametrize(
    ("rules", "pictures", "words"),
    [
        ([], [b""], "no rules"),
        (["imageMogr2/qualty/5"], [b""], "The rule imageMogr2/qualty/5 is not valid"),
        (QUALITIES, [], "no pictures"),
        (QUALITIES, [b"<html>"], "1 is not a picture"),
        (QUALITIES, {"mine": b""}, "mine is not a picture"),
        (QUALITIES, [5], "Objects of type int"),
    ],
)
def test_bad_input_is_refused(session: Session, rules: Any, pictures: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        session.compare(rules, pictures).run()


def test_process_that_dies_is_an_error_of_ours(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_comparison, "MIN_PIXELS_OF_PROCESSES", 0)
    monkeypatch.setattr(rule_comparison.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(rule_comparison, "WORKER", "raise SystemExit('out of memory')")
    with pytest.raises(MjciError, match="process that compares pictures ended"):
        session.compare(QUALITIES, [make_picture()] * 2).run()
