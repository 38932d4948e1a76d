"""Takes the README's pictures again, in a real JupyterLab: `python -m tests.screenshots [NAME
...]`.

The tests' own server and browser (tests/browser/conftest.py) show what a person would see; each
picture is a part of the page in the light theme and in the dark one, all of one size. Needs a
Chromium, and fonts-noto-color-emoji for buttons that show an emoji.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.browser.conftest import MISSING, Chromium, Lab, Page, chromium_here, lab_command, serving
from tests.browser.test_panels import IMAGINE, MOVE, PICTURE, PROMPT, SESSION
from tests.browser.test_region import CANVAS, drag
from tests.browser.test_workbench import AFTER, RULE

FOLDER = Path(__file__).parent.parent / "notebooks" / "screenshots"
# of a picture, in the page's pixels, and how many of its own are one of those
WIDTH, HEIGHT, SCALE = 800, 620, 1.25
# what the names of the files end with, by theme
THEMES = {"Light": "", "Dark": "-dark"}
MARGIN, COLOURS = 6, 160
MAGIC = "%load_ext jupyter_mjci\n%mjci sandbox --speed 200"
MANY_JOBS = """%config InlineBackend.figure_formats = ["retina"]
from pathlib import Path
from tempfile import TemporaryDirectory
import jupyter_mjci as mjci
from jupyter_mjci.emulator.datasets import write_exports
home = TemporaryDirectory()
s = mjci.sandbox(home=home.name)
write_exports(Path(home.name) / "exports", jobs=100_000)
s.history.load(Path(home.name) / "exports")"""
# No file browser, and no cell that looks more active than others.
TIDY = """() => {
  jupyterapp.shell.collapseLeft();
  document.head.insertAdjacentHTML('beforeend', `<style>
    .jp-Collapser, .jp-cell-toolbar { visibility: hidden; }
  </style>`);
  document.activeElement.blur();
}"""


def show_cells(page: Page) -> str:
    """From the second cell on."""
    page.wait_pictures(".jp-OutputArea img")
    return ".jp-Cell >> nth=1"


def show_workbench(page: Page) -> str:
    """A rule as text and as blocks, and what it makes of a picture."""
    page.click(".mjci-live button:has-text('input/')")
    page.click(".mjci-tile button:has-text('deer.jpg')")
    page.wait_pictures(".mjci-rule-preview figure img")
    page.fill(RULE, "imageMogr2/thumbnail/480x/rotate/8")
    page.wait_for(".mjci-block >> nth=1")
    page.wait_pictures(AFTER)
    return RULE


def show_region(page: Page) -> str:
    """A part of a picture painted over, to be drawn anew."""
    page.fill(PROMPT, "a red fox in the snow at dusk --ar 16:9")
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.click(MOVE.format("U2"))
    page.click(MOVE.format("Vary (Region)"))
    page.wait_pictures(".mjci-mask-editor img")
    page.scroll_to(CANVAS)
    drag(page, (0.54, 0.38), (0.66, 0.38), (0.58, 0.33), (0.62, 0.48), (0.67, 0.46), (0.54, 0.46))
    return ".mjci-live .mjci-card"


@dataclass(frozen=True)
class Shot:
    """The cells, all but the last of which are run; and what is then done, which tells where the
    picture begins.
    """

    cells: tuple[str, ...]
    prepare: Callable[[Page], str] = show_cells


SHOTS = {
    "cell": Shot((MAGIC, "%mj_imagine a red fox in the snow at dusk --ar 3:2", "%mj_action _ U2")),
    "workbench": Shot(
        (SESSION.format(speed=200), "mjci.panel('ci', session=s)", ""), show_workbench
    ),
    "region": Shot((SESSION.format(speed=200), "mjci.panel('mj', session=s)", ""), show_region),
    "plot": Shot(
        (
            MANY_JOBS,
            'df = s.history()\ndf.mjci.queue_stats(every=None, by="service")',
            "_ = df.mjci.plot.timeline()",
            "_ = df.mjci.plot.failures()",
        )
    ),
}


def prepare(page: Page, shot: Shot) -> str:
    """Run the cells, and do what the shot does; return where the picture begins."""
    for number in range(len(shot.cells) - 1):
        page.run(number)
    page.js(TIDY)
    return shot.prepare(page)


def take_screenshot(page: Page, begin: str) -> bytes:
    """Return the part of the page from where the picture begins, as a PNG of few colours."""
    page.scroll_to(begin)

    def cut() -> bytes:
        left, top = (
            page.page.locator(selector).first.bounding_box()
            for selector in (".jp-InputArea", begin)
        )
        clip = {"x": left["x"], "y": top["y"] - MARGIN, "width": WIDTH, "height": HEIGHT}
        return bytes(page.page.screenshot(clip=clip))

    whole = Image.open(io.BytesIO(page.shown.do(cut))).convert("RGB")
    out = io.BytesIO()
    whole.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    chromium = chromium_here()
    if chromium is None:
        sys.exit(MISSING)
    with (
        tempfile.TemporaryDirectory() as place,
        serving(Path(place), lab_command(Path(place))) as url,
    ):
        shown = Chromium(
            chromium, viewport={"width": WIDTH + 110, "height": 1600}, device_scale_factor=SCALE
        )
        for name in sys.argv[1:] or SHOTS:
            shot, lab = SHOTS[name], Lab(url, Path(place))
            page = Page(shown, lab, lab.write(name, shot.cells)).open()
            begin = prepare(page, shot)
            for theme, ending in THEMES.items():
                page.theme(theme)
                file = FOLDER / f"{name}{ending}.png"
                file.write_bytes(take_screenshot(page, begin))
                print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")
        shown.close()


if __name__ == "__main__":
    main()
