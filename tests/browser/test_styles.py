"""The front end's own style does not change cards: each element looks as on a page without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

LOAD = "%load_ext jupyter_mjci\n%mjci sandbox --speed 500"
JOB = '%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "o.jpg"'
TASK = "%mj_imagine a red fox"
LINKED = """
from IPython.display import HTML
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.notebook import batch_cards, cards
job = Job("mj", "17", "IMAGINE", Status.FAILED, subject="a fox", reason="banned: fox")
extras = cards.Extras(["a note"], {"SUCCEEDED": 2}, "data:,", [("film.mp4", "https://x.example/")])
summary = batch_cards.BatchSummary("Fox", {Status.FAILED: 1}, 42, [("no quota", ["1"])])
HTML(
    cards.card_html(job, extras) + cards.progress_html(job) + batch_cards.summary_html(summary)
    + cards.table_html([("version", "1"), ("home", "/tmp")]) + cards.notice_html("Ended.")
)
"""
# What JupyterLab says of dt, dd, dl, a, code, img, b, button and
# tables in an output.
PROPERTIES = (
    "display float width height margin-top margin-right margin-bottom margin-left padding-top "
    "padding-right padding-bottom padding-left border-top-width border-bottom-style "
    "border-bottom-color border-radius background-color background-image color opacity "
    "font-family font-size font-style font-weight line-height text-align text-decoration-line "
    "text-transform letter-spacing white-space list-style-type overflow-wrap vertical-align "
    "max-width min-width min-height box-shadow position"
)
# Copies each card to a page without a style sheet, but with the
# theme's variables and our style of buttons, and compares.
FIND_LEAKS = """names => {
  const frame = document.createElement('iframe');
  frame.style.cssText = 'position: fixed; width: 1200px; height: 900px; visibility: hidden';
  document.body.append(frame);
  const page = frame.contentDocument;
  page.open();
  page.write('<!doctype html><body style="margin: 0"></body>');
  page.close();
  const theme = getComputedStyle(document.documentElement);
  const rules = [...document.styleSheets].flatMap(sheet => [...sheet.cssRules]);
  for (const name of new Set(rules.flatMap(rule => [...rule.style ?? []]))) {
    if (name.startsWith('--jp-')) {
      page.documentElement.style.setProperty(name, theme.getPropertyValue(name));
    }
  }
  for (const style of document.querySelectorAll('style')) {
    if (style.textContent.includes('.mjci-job-buttons')) {
      page.head.append(page.importNode(style, true));
    }
  }
  // What moves is nowhere twice.
  const isMoving = element => element.matches('.mjci-job-unknown');
  // The same to the eye: half a pixel more or less.
  const isSame = (own, other) => own === other
    || (/^[\\d.]+px$/.test(own) && Math.abs(parseFloat(own) - parseFloat(other)) <= .5);
  const found = new Set();
  const cards = document.querySelectorAll(
    '.jp-OutputArea-output > :is(.mjci-job, .mjci-job-notice)');
  for (const card of cards) {
    const output = getComputedStyle(card.parentElement);
    const box = page.createElement('div');
    box.style.width = `calc(${output.width} - ${output.paddingLeft} - ${output.paddingRight})`;
    if (output.boxSizing !== 'border-box') box.style.width = output.width;
    const copy = page.importNode(card, true);
    page.body.append(box);
    box.append(copy);
    const copies = [copy, ...copy.querySelectorAll('*')];
    [card, ...card.querySelectorAll('*')].forEach((element, index) => {
      const here = getComputedStyle(element);
      const there = frame.contentWindow.getComputedStyle(copies[index]);
      for (const name of names.split(' ')) {
        const [own, other] = [here.getPropertyValue(name), there.getPropertyValue(name)];
        if (!isSame(own, other) && !isMoving(element)) {
          found.add(`${element.localName}.${element.className} ${name}: ${own}, not ${other}`);
        }
      }
    });
  }
  frame.remove();
  return [cards.length, [...found]];
}"""


@pytest.mark.parametrize("notebook", ["lab", "notebook 7"], indirect=True)
def test_style_of_the_front_end_does_not_leak_into_cards(notebook: Callable[..., Any]) -> None:
    page = notebook(LOAD, JOB, TASK, LINKED)
    for cell in range(4):
        page.run(cell)
    page.wait_for(".mjci-job-buttons button")
    for theme in ("Light", "Dark") if page.front == "lab" else ("Light",):
        if page.front == "lab":
            page.theme(theme)
        count, leaks = page.js(FIND_LEAKS, PROPERTIES)
        assert count == 7
        assert not leaks, "\n".join(leaks)
