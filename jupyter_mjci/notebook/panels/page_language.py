"""Show labels in the browser's language: `language = "auto"`.

The kernel cannot know that language before a page has told it,
and what it writes is saved. So it writes English, and the page
replaces the labels that it shows (`page_language.js`). One widget
without a view does that for all panels and cards of a kernel.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jupyter_mjci.client.translation import AUTO, load_catalogue
from jupyter_mjci.notebook.panels.subshells import allow_subshell

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.browser_widgets import PageLanguage


@cache
def _get_page_language() -> PageLanguage:
    """Return the widget of this kernel; ImportError without anywidget."""
    from jupyter_mjci.notebook.panels.browser_widgets import PageLanguage

    widget = PageLanguage(load_catalogue)
    allow_subshell(widget)
    return widget


def follow_browser(language: str) -> None:
    """Let pages translate labels if the setting `language` says so; never without anywidget."""
    try:
        _get_page_language().is_enabled = language == AUTO
    except ImportError:
        return
