"""Elements of HTML that carry their style with them.

Cards are read where no style sheet of ours is: on GitHub, in a
notebook that is not trusted, as Markdown, in slides. There a
`<style>` element is dropped, or its text is shown. So each rule of
`cards.css` is written into the elements that it is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files

_RULE = re.compile(r"^\.?([\w-]+) \{([^}]*)\}", re.MULTILINE)
# What no attribute can hold: the movement of a bar whose end is
# not known. It is in running cards only. The comment is CSS to a
# browser, and nothing to read where the element is dropped.
MOTION = (
    "<style><!-- @keyframes mjci-job-go { to { margin-left: 70% } } "
    "@media (prefers-reduced-motion: reduce) "
    "{ .mjci-job-unknown { animation: none !important; width: 100% !important } } --></style>"
)


@cache
def load_rules() -> Mapping[str, str]:
    """Return the declarations of `cards.css` by class or element."""
    css = files("jupyter_mjci.notebook").joinpath("cards.css").read_text("utf-8")
    return {name: " ".join(body.split()).rstrip(";") for name, body in _RULE.findall(css)}


def render_element(
    tag: str, content: str, css_class: str = "", *, style: str = "", **attributes: str
) -> str:
    """Render an element with the style of its tag and its classes.

    Args:
        tag: its name
        content: HTML, already escaped
        css_class: names of classes, with blanks between them
        style: declarations beyond those
        attributes: escaped here; `_` stands for `-`

    Returns:
        The element as HTML.
    """
    start = render_start(tag, css_class, style=style, **attributes)
    return f"{start}{content}</{tag}>"


def render_start(tag: str, css_class: str = "", *, style: str = "", **attributes: str) -> str:
    """Render the start tag of an element, or an element without an end, as `img`."""
    rules = load_rules()
    known = [rules[name] for name in (tag, *css_class.split()) if name in rules]
    named = {"class": css_class, "style": "; ".join(filter(None, (*known, style)))}
    shown = {name: value for name, value in named.items() if value} | attributes
    pairs = [f' {name.replace("_", "-")}="{escape(value)}"' for name, value in shown.items()]
    return f"<{tag}{''.join(pairs)}>"
