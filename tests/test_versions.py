"""What is written down more than once says the same: versions, floors, and the paths of a guide."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from rali.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_citation_and_the_changelog_have_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == __version__
    assert f"\n## {__version__} (" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_a_package_has_one_floor():
    floors: dict[str, set[str]] = {}
    for wanted in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in wanted:
            name, at_least, floor = requirement.partition(",")[0].partition(">=")
            assert at_least or name.startswith("rali["), f"{requirement} has no floor"
            floors.setdefault(name, set()).add(floor)
    assert {name: found for name, found in floors.items() if len(found) > 1} == {}


def test_every_python_that_is_promised_is_tested():
    promised = {
        kind.rpartition(" ")[2] for kind in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", kind)
    }
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))["jobs"]
    assert set(jobs["tests"]["strategy"]["matrix"]["python"]) == promised
    assert PROJECT["requires-python"] == f">={min(promised)}"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_a_guide_names_files_that_are_there(page):
    text = (ROOT / page).read_text("utf-8")
    paths = re.findall(r"`((?:\.|[a-z_]+/)[\w./]*)`", text) + re.findall(r"\]\(([^)#:]+)\)", text)
    own = {path.replace("NAME", "") for path in paths if not path.startswith((".venv", "build"))}
    assert page != "CONTRIBUTING.md" or len(own) > 15
    for path in own:
        there = ROOT / path
        assert there.exists() or (there.parent.is_dir() and there.name in (".py", ".yaml")), path
