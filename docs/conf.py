"""Configuration of the documentation site: `nox -s docs`, or `sphinx-build -W docs docs/_build`.

Each build executes the notebooks, offline, and copies them and the pages of the top folder into
`docs/`; a cell that fails fails the build. With `-t preview` their committed outputs are shown. All
pages are read on GitHub as well, where links are relative to the repository; `LINKS` says what they
are on the site.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

from jupyter_mjci import __version__

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.execute_notebooks import execute  # noqa: E402

REPOSITORY = "https://github.com/jupyter-mjci/jupyter_mjci"
FILES = f"{REPOSITORY}/blob/main"
# Pages of the top folder that are pages of the site, too.
TOP_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
# How links of the repository begin, and what that is on the site. A picture for either color scheme
# becomes two images, one of which the theme shows.
LINKS = {
    r'<picture><source [^>]*srcset="([^"]+)"><img alt="([^"]*)" src="([^"]+)"></picture>': (
        r"![\2](\3){.only-light} ![\2](\1){.only-dark}"
    ),
    r"\]\(docs/": "](/",
    r"\]\((?:\.\./)+docs/": "](/",
    r"\]\((?:\.\./)*notebooks/": "](/tutorials/",
    rf"\]\((?:\.\./)*(?=(?:{'|'.join(TOP_PAGES)})\b)": "](/project/",
    r"\]\((?:\.\./)*(?=(?:binder|jupyter_mjci|tests|LICENSE|README)\b)": f"]({FILES}/",
}

project = "jupyter_mjci"
author = "The jupyter_mjci founders"
copyright = author
release = version = __version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "README.md", "**.mjci"]

# --- pages ---

myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3
# `copy_pages` executes them, without the state of widgets, which have no kernel here.
nb_execution_mode = "off"
# Cells are not only Python: bodies in TOML and XML are highlighted as far as possible.
suppress_warnings = ["misc.highlighting_failure"]

# --- reference ---

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# --- appearance ---

html_theme = "pydata_sphinx_theme"
html_title = "jupyter_mjci"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "github_url": REPOSITORY,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
# Pages without others below them have nothing to list at their side.
html_sidebars: dict[str, list[str]] = {
    page: [] for page in ("api", "reference", "project/*", "zh/*")
}
html_context = {"default_mode": "auto"}
html_show_sourcelink = False

# --- links ---

# Only links to other hosts are asked for; those between pages are checked in every build.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1)", f"{REPOSITORY}.*"]

os.environ.setdefault("MJCI_HOME", str(ROOT / "docs" / "_build" / "home"))


def copy_pages(app: Sphinx) -> None:
    """Bring notebooks, what they read, and the pages of the top folder to where Sphinx reads."""
    docs = Path(app.srcdir)
    tutorials = docs / "tutorials"
    shutil.copytree(ROOT / "notebooks", tutorials, dirs_exist_ok=True)
    if not app.tags.has("preview"):
        for path in sorted(tutorials.glob("*.ipynb")):
            path.write_text(execute(path), "utf-8")
    (docs / "project").mkdir(exist_ok=True)
    for name in TOP_PAGES:
        shutil.copy(ROOT / name, docs / "project" / name)


def rewrite_links(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Make the repository's links those of the site."""
    for pattern, replacement in LINKS.items():
        source[0] = re.sub(pattern, replacement, source[0])


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", rewrite_links)
