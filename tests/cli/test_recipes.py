"""Recipes ship with the package and are found by name, from any folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.distill.pipeline import DistillConfig
from rali.errors import InputError
from rali.evaluation.sweep import SweepConfig
from rali.recipes import find_recipe, recipes, summary
from rali.runs.config import from_dict, read_yaml
from rali.teacher.grpo import GrpoConfig
from rali.teacher.sft import SftConfig

ROOT = Path(__file__).parents[2]
# What a recipe is for shows in the setting that only its command has.
COMMANDS = {
    "tasks": GrpoConfig,
    "sources": SftConfig,
    "commands": SweepConfig,
    "encoder": DistillConfig,
}


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_has_a_summary_and_settings_that_its_command_takes(name):
    file = find_recipe(name)
    assert len(summary(file)) > 10
    values = read_yaml(file)
    if "compute_environment" in values:  # accelerate's own
        return
    kind = next(kind for key, kind in COMMANDS.items() if key in values)
    from_dict(kind, values)


def test_a_file_goes_before_a_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("nano-rl2r").parent != tmp_path
    (tmp_path / "nano-rl2r").write_text("epochs: 1\n")
    assert find_recipe("nano-rl2r").resolve() == tmp_path / "nano-rl2r"


def test_what_is_neither_a_file_nor_a_recipe_is_refused():
    with pytest.raises(InputError, match=r"no file nope.*type: rali recipes$"):
        find_recipe("nope")


def test_the_command_lists_them_and_prints_one_that_can_be_changed(tmp_path):
    runner = CliRunner()
    listed = runner.invoke(app, ["recipes"]).output
    assert "visualquality-r1-kadid" in listed and "rali-table4" in listed
    text = runner.invoke(app, ["recipes", "visualquality-r1-kadid"]).output
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    assert read_yaml(tmp_path / "mine.yaml") == read_yaml(find_recipe("visualquality-r1-kadid"))
    path = runner.invoke(app, ["recipes", "fsdp2", "--path"]).output.strip()
    assert path == str(recipes()["fsdp2"])


def test_completion_is_offered_and_can_be_installed(tmp_path):
    rali = Path(sys.executable).with_name("rali")
    asked = {"_RALI_COMPLETE": "complete_bash", "COMP_WORDS": "rali rec", "COMP_CWORD": "1"}
    done = subprocess.run([rali], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.split() == ["recipes"]
    # The shell is named here: the one that runs the tests may not be known.
    named = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    subprocess.run([rali, "--install-completion", "bash"], env=os.environ | named, check=True)
    assert (tmp_path / ".bash_completions" / "rali.sh").is_file()


KEYS = {name: read_yaml(find_recipe(name)) for name in recipes()}
TRAINED = {
    name: "train" if "tasks" in keys else "sft"
    for name, keys in KEYS.items()
    if {"tasks", "sources"} & set(keys)
}


def test_the_page_of_dry_runs_says_what_the_recipes_say():
    """Every recipe of a teacher is on it, with the batch that it has now."""
    page = (ROOT / "benchmarks" / "dry_runs.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [\d.]+ \| (.+) \|$", page, re.MULTILINE))
    assert rows.keys() == TRAINED.keys() and "Bar: ≤ 5 s on the wall clock. Met." in page
    for name, words in rows.items():
        if TRAINED[name] == "train":
            settings = from_dict(GrpoConfig, KEYS[name])
            assert settings.plan(settings.gpus).words() == words, name


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_dry_run_of_every_recipe_is_quick_and_needs_no_network_and_no_torch(name, tmp_path):
    """From a folder without data: the batch in words, the memory, and what is missing."""
    rali = Path(sys.executable).with_name("rali")
    alone = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    alone |= {"PYTHONPROFILEIMPORTTIME": "1"}
    command = [rali, "teach", TRAINED[name], "--config", name, "-o", "run", "--dry-run"]
    seconds = []
    for call in ([rali, "--version"], command):  # one after the other, as other work may go on
        begin = time.perf_counter()
        run = {"capture_output": True, "text": True, "cwd": tmp_path, "env": alone}
        done = subprocess.run(call, check=False, **run)
        seconds.append(time.perf_counter() - begin)
    assert done.returncode == 2, done.stderr[-2000:]
    assert re.search(r"\d+ (prompts?|examples)( × \d+ completions)?.* = \d+ ", done.stdout)
    assert "An epoch has a step for each" in done.stdout and "GPU memory" in done.stdout
    assert re.search(r"rali: There is no file or folder at ", done.stderr)
    assert not re.search(r"\| +(torch|transformers|trl|scipy)$", done.stderr, re.MULTILINE)
    assert seconds[1] < max(5, 10 * seconds[0]), seconds
    if "authors" in name or name.startswith(("visualquality", "q-insight")):
        assert re.search(rf"(on each of|over) {KEYS[name]['gpus']} GPUs", done.stdout)
        assert "reference 15.4" in done.stdout
