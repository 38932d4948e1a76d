"""What surrounds the package agrees with it: versions, workflows, recipe, site, sessions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import jupyter_mjci
from tests import release

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NOXFILE = (ROOT / "noxfile.py").read_text("utf-8")
SESSIONS = set(re.findall(r"^@nox\.session.*?\ndef (\w+)", NOXFILE, re.M | re.S))


def read_yaml(name: str) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    return loaded


def test_version_has_a_section_of_the_changelog() -> None:
    assert release.read_notes(jupyter_mjci.__version__)


@pytest.mark.parametrize("tag", ["0.0.1", "v0.0.1", "latest"])
def test_tag_of_another_version_is_refused(tag: str) -> None:
    with pytest.raises(SystemExit, match=f"The tag is {tag}"):
        release.main(tag)


def test_version_without_section_is_refused() -> None:
    with pytest.raises(SystemExit, match="no dated section"):
        release.read_notes("99.0")


def test_citation_and_recipe_have_the_version() -> None:
    recipe = read_yaml("conda-recipe/recipe.yaml")
    versions = {read_yaml("CITATION.cff")["version"], recipe["context"]["version"]}  # type: ignore[index]
    assert versions == {jupyter_mjci.__version__}


def test_recipe_has_the_dependencies_of_the_package() -> None:
    recipe = read_yaml("conda-recipe/recipe.yaml")
    required = {entry.replace(" ", "") for entry in recipe["requirements"]["run"]}  # type: ignore[index]
    assert required == {f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_sessions_of_a_workflow_exist(path: Path) -> None:
    """Also those that a matrix names."""
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
    matrices = [job.get("strategy", {}).get("matrix", {}) for job in jobs]
    names = {name for matrix in matrices for name in matrix.get("session", ())}
    for command in (step.get("run", "") for job in jobs for step in job["steps"]):
        if called := re.search(r"nox -s ([^$]*?)(?: -- |\$|$)", command):
            names.update(re.sub(r"-3\.\d+|-$", "", name) for name in called[1].split())
    assert names <= SESSIONS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_has_least_permissions_and_a_limit(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"]["contents"] == "read"
    assert [name for name, job in workflow["jobs"].items() if "runs-on" not in job] == []


def test_supported_pythons_are_tested() -> None:
    classified = re.findall(r":: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    checks = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text("utf-8"))
    assert checks["jobs"]["tests"]["strategy"]["matrix"]["python"] == classified


def test_project_urls_are_those_that_package_indexes_show() -> None:
    assert set(PROJECT["urls"]) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    """Folders list theirs by a pattern; their index also says what each is for."""
    for folder in ("how-to", "explanation"):
        index = (ROOT / "docs" / folder / "index.md").read_text("utf-8")
        pages = {page.name for page in (ROOT / "docs" / folder).glob("*.md")} - {"index.md"}
        assert pages == set(re.findall(r"\]\(([\w-]+\.md)", index))


def test_every_notebook_is_among_the_tutorials() -> None:
    linked = re.findall(
        r"notebooks/([\w-]+\.ipynb)", (ROOT / "docs/tutorials.md").read_text("utf-8")
    )
    assert sorted(linked) == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
