"""Print what rules take for the largest picture of each mode that is decoded: python -m …

A line has mode, format, rule, and the MB above those of the process before.
"""

from __future__ import annotations

import io

from PIL import Image

from jupyter_mjci.imaging.rule_syntax import apply_rule
from tests.hostile.readers import read_peak, reset_peak

# Files of a few kilobytes, just below the bound.
LARGEST = (
    ("RGB", "PNG", (10_000, 5_000)),
    ("RGB", "JPEG", (10_000, 5_000)),
    ("RGBA", "PNG", (5_000, 5_000)),
    ("1", "PNG", (20_000, 2_000)),
    ("P", "PNG", (8_000, 5_000)),
    ("CMYK", "JPEG", (5_000, 5_000)),
    ("I;16", "PNG", (4_000, 4_000)),
    ("RGB", "WEBP", (4_000, 3_100)),
)
RULES = ("imageMogr2/thumbnail/256x", "imageInfo")


def make_picture(mode: str, format: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format, **({"method": 0} if format == "WEBP" else {}))
    return buffer.getvalue()


def main() -> None:
    for mode, format, size in LARGEST:
        content = make_picture(mode, format, size)
        for rule in RULES:
            reset_peak()
            before = read_peak()
            result = apply_rule(rule, content)
            assert rule == "imageInfo" or result.width == 256
            print(mode, format, rule, read_peak() - before)


if __name__ == "__main__":
    main()
