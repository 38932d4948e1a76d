"""The names of Midjourney's buttons, for the catalogue of translations. U1 to V4 have none."""

from __future__ import annotations

from jupyter_mjci.client.translation import mark

BUTTON_NAMES = (
    mark("Upscale (Subtle)"),
    mark("Upscale (Creative)"),
    mark("Upscale (2x)"),
    mark("Upscale (4x)"),
    mark("Redo Upscale (Subtle)"),
    mark("Redo Upscale (Creative)"),
    mark("Vary (Subtle)"),
    mark("Vary (Strong)"),
    mark("Vary (Region)"),
    mark("Zoom Out 2x"),
    mark("Zoom Out 1.5x"),
    mark("Custom Zoom"),
    mark("Make Square"),
    mark("Animate (High motion)"),
    mark("Animate (Low motion)"),
    mark("Extend (high)"),
    mark("Extend (low)"),
    mark("Imagine all"),
)
