"""Cards of a saved notebook where it is only read: as a page, as Markdown, in slides, sanitized."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mistune
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter, MarkdownExporter, SlidesExporter

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.notebook.batch_cards import BatchSummary, summary_html
from jupyter_mjci.notebook.cards import Extras, card_html, notice_html, progress_html
from jupyter_mjci.notebook.panels.html import InlineImage, render_images
from tests.execute_notebooks import NOTEBOOKS

EXPORTERS = {"page": HTMLExporter, "slides": SlidesExporter, "markdown": MarkdownExporter}
CARDS = ".mjci-job, .mjci-job-notice, .mjci-pictures, .mjci-snapshot"
# What shows that text of a style sheet is read as text.
STYLE_TEXT = ("{", "mjci-", "border-", "@media")
# What a card of each notebook has to say: status, prompt, facts,
# buttons.
SAVED: dict[str, tuple[str, ...]] = {
    "01-quickstart": (
        "IMAGINE succeeded Midjourney",
        "a red fox in the snow at dusk --ar 3:2",
        "U1 · U2 · U3",
        "%mj_action",
        "PicProcess succeeded Tencent CI",
        "input/deer.jpg → output/deer.jpg",
        "rule imageMogr2/thumbnail/480x|imageMogr2/rotate/90",
        "480",
    ),
    "02-panels": (
        "IMAGINE succeeded Midjourney",
        "a red fox in the snow at dusk --ar 3:2",
        "PicProcess succeeded Tencent CI",
        "After · output/deer.jpg",
    ),
    "04-batch-from-a-dataframe": ("4 succeeded",),
}
BUTTONS = (Button("MJ::1", "U1", used=True), Button("MJ::2", "U2"))
PROMPT = "a fox\n\n# in *snow* <b>\n\n    indented"
JOB = Job("mj", "17", "IMAGINE", Status.SUCCEEDED, 100, PROMPT, (), BUTTONS)


def keep(soup: BeautifulSoup) -> None:
    """A trusted notebook: everything stays."""


def sanitize(soup: BeautifulSoup) -> None:
    """As GitHub does, and JupyterLab where the notebook is not trusted."""
    for element in soup.select("style, script"):
        element.decompose()
    drop_attributes(soup)


def unwrap_styles(soup: BeautifulSoup) -> None:
    """As a reader that drops the tags it does not know, and shows their text."""
    for element in soup.select("style, script"):
        element.replace_with(BeautifulSoup(element.decode_contents(), "html.parser"))
    drop_attributes(soup)


def drop_attributes(soup: BeautifulSoup) -> None:
    for element in soup.find_all(True):
        for name in set(element.attrs) & {"style", "role"}:
            del element[name]


READERS: dict[str, Callable[[BeautifulSoup], None]] = {
    "trusted": keep,
    "sanitized": sanitize,
    "unwrapped": unwrap_styles,
}


def export(notebook: Any, way: str) -> str:
    """Return a notebook as HTML in one of the ways of nbconvert."""
    text, _ = EXPORTERS[way]().from_notebook_node(notebook)
    if way == "markdown":
        text = str(mistune.html(text))
    return str(text)


def read_cards(page: str, reader: Callable[[BeautifulSoup], None]) -> list[str]:
    """Return the visible text of each card, its blanks joined."""
    soup = BeautifulSoup(page, "html.parser")
    found = soup.select(CARDS)
    cards = [BeautifulSoup(str(card), "html.parser") for card in found]
    for card in cards:
        reader(card)
    return [" ".join(card.get_text(" ").split()) for card in cards]


def build_notebook(*outputs: str) -> Any:
    data: Iterator[Any] = (
        nbformat.v4.new_output("display_data", {"text/html": html, "text/plain": "card"})  # type: ignore[no-untyped-call]
        for html in outputs
    )
    cell = nbformat.v4.new_code_cell("", outputs=list(data))  # type: ignore[no-untyped-call]
    return nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def pages() -> dict[tuple[str, str], str]:
    """Each saved notebook, exported in each way."""
    return {
        (name, way): export(nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4), way)  # type: ignore[no-untyped-call]
        for name in SAVED
        for way in EXPORTERS
    }


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("way", EXPORTERS)
@pytest.mark.parametrize("name", SAVED)
def test_saved_card_is_readable(
    pages: dict[tuple[str, str], str], name: str, way: str, reader: str
) -> None:
    """Status, prompt, facts and buttons are there, and no text of a style sheet."""
    cards = read_cards(pages[name, way], READERS[reader])
    text = "\n".join(cards)
    assert [words for words in SAVED[name] if words not in text] == []
    assert [word for word in STYLE_TEXT if word in text] == []


@pytest.mark.parametrize("way", EXPORTERS)
def test_saved_panel_keeps_the_alternative_texts_of_its_pictures(
    pages: dict[tuple[str, str], str], way: str
) -> None:
    soup = BeautifulSoup(pages["02-panels", way], "html.parser")
    alts = [picture["alt"] for picture in soup.select(".mjci-snapshot img")]
    assert "IMAGINE: a red fox in the snow at dusk --ar 3:2" in alts
    assert "PicProcess: input/deer.jpg" in alts
    assert all(alts)


RENDERED: dict[str, tuple[str, str]] = {
    "card": (card_html(JOB, Extras(["a\n\nnote"])), "a fox # in *snow* <b> indented"),
    "progress": (
        progress_html(Job("mj", "17", "IMAGINE", Status.RUNNING, None, PROMPT), "", "As of now"),
        "IMAGINE running Midjourney 17 a fox # in *snow* <b> indented As of now",
    ),
    "failure": (
        card_html(Job("mj", "17", "IMAGINE", Status.FAILED, reason="banned:\n\n- wolf")),
        "IMAGINE failed Midjourney 17 banned: - wolf",
    ),
    "batch": (
        summary_html(BatchSummary("Fox", {Status.FAILED: 1}, None, [("no\n\nquota", ["1"])])),
        "Fox 1 job, 1 failed no quota row 1",
    ),
    "notice": (notice_html("one\n\n# two"), "one # two"),
    "pictures": (
        render_images([InlineImage(b"", "image/png", "a fox", "one\n\ntwo")]),
        "one two",
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("way", EXPORTERS)
@pytest.mark.parametrize("kind", RENDERED)
def test_empty_lines_do_not_end_a_card(kind: str, way: str, reader: str) -> None:
    """In Markdown, HTML ends at an empty line: the rest of a prompt would be headings and code."""
    html, words = RENDERED[kind]
    page = export(build_notebook(html), way)
    (text,) = read_cards(page, READERS[reader])
    assert words in text
    assert [word for word in STYLE_TEXT if word in text] == []
