"""What is checked, as sessions: `nox -s lint`. Workflows and `.ci/run` call the same ones.

`nox` alone runs the quick ones. In an environment that has everything already (`pip install -e
'.[test,dev]'`), `nox --no-venv --no-install -s NAME` runs there.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.needs_version = ">=2024.10"

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_IN_REAL_TIME = "not browser and not kernel"
DIST = Path("dist")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite but for browsers and kernels, by three workers; a file stays on one of them."""
    session.install("-e", ".[test]")
    arguments = session.posargs or ["-n", "3", "--dist", "loadfile", "-m", NOT_IN_REAL_TIME]
    session.run("pytest", *arguments)


@nox.session
def kernels(session: nox.Session) -> None:
    """Run real kernels and browsers, one after the other: they wait in real time."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "browser or kernel", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """Run the suite, or only some files of it, with every lower bound of pyproject.toml."""
    session.install("-e", ".[test]")
    command = ("python", "-m", "tests.matrix", "--python", "3.11", "--set", "oldest", "--")
    session.run(*command, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style, spelling, workflows and secrets."""
    session.install("-e", ".[test,dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("codespell")
    workflows = sorted(map(str, Path(".github/workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run(
        "check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"
    )
    session.run("jupyter-mjci", "scan", "notebooks", "docs", "README.md")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site in docs/_build/html; a warning fails. `nox -s docs -- -t preview` is quick."""
    session.install("-e", ".[lab,lake,docs]")
    session.run(
        "sphinx-build", "-W", "-q", "--keep-going", *session.posargs, "docs", "docs/_build/html"
    )


@nox.session
def links(session: nox.Session) -> None:
    """Ask for the links of the site that lead to other hosts."""
    session.install("-e", ".[lab,lake,docs]")
    session.run("sphinx-build", "-t", "preview", "-b", "linkcheck", "docs", "docs/_build/links")


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist, check them, and run the demo from the wheel in a fresh environment."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "build", "--outdir", str(DIST))
    files = [str(path) for path in DIST.iterdir()]
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", str(DIST))
    (wheel,) = DIST.glob("*.whl")
    run_demo(session, wheel.resolve())


def run_demo(session: nox.Session, wheel: Path) -> None:
    """Install a wheel as a user does, and let it execute its notebook into a page."""
    folder = Path(session.create_tmp())
    python = folder / "fresh" / ("Scripts" if os.name == "nt" else "bin") / "python"
    page = folder / "demo.html"
    session.run("python", "-m", "venv", "--clear", str(folder / "fresh"))
    session.run(str(python), "-m", "pip", "install", "-q", f"{wheel}[lab]", external=True)
    command = ("-m", "jupyter_mjci.cli", "demo", "--execute", str(page))
    session.run(str(python), *command, external=True)
    if "data:image/" not in page.read_text("utf-8"):
        session.error(f"{page} shows no picture.")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Print ratios against named baselines; not part of any check."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Look up advisories for the dependencies, and write the SBOM of the core installation."""
    session.install(".", "pip-audit", "cyclonedx-bom")
    session.run("pip-audit", "--skip-editable")
    session.run("cyclonedx-py", "environment", "--output-file", "dist/sbom.cdx.json")
