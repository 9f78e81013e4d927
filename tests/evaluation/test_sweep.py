"""Sweeps: templates, commands, what is done stays done, tables, files that are missing.

Two tests run rali's own commands. The others put `stand_in.py` in their place, which takes 0.1 s.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import Row, read_manifest, write_manifest
from rali.distill.pipeline import DistillConfig
from rali.errors import InputError
from rali.evaluation import sweep as evaluation_sweep
from rali.evaluation.sweep import (
    LOG,
    SweepConfig,
    jobs_of,
    missing_files,
    read_sweep,
    run_sweep,
)
from rali.evaluation.sweep_text import results, write_results
from rali.runs.config import from_dict, read_yaml, with_overrides
from rali.runs.folder import alone_in
from rali.teacher.grpo import GrpoConfig
from rali.teacher.sft import SftConfig

STAND_IN = """
import pathlib, shutil, sys, time
words = sys.argv[1:]
out = words[words.index("-o") + 1] if "-o" in words else ""
if words[0] == "evaluate":  # what the real one wrote before lies beside the predictions
    assert pathlib.Path(words[1]).is_file(), words[1]
    shutil.copytree(pathlib.Path(words[1]).with_suffix(""), out, dirs_exist_ok=True)
if words[0] == "quickstart":
    from rali.runs.folder import alone_in
    with alone_in(out):
        time.sleep(100)
"""


def evaluate_both(folder: Path, *more: str) -> None:
    """Write what the stand-in copies: the real results, made in this process."""
    for name in ("right", "backwards"):
        words = ["evaluate", str(folder / f"{name}.csv"), str(folder / "manifest.csv"), *more]
        done = CliRunner().invoke(app, [*words, "-o", str(folder / name)])
        assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def evaluated(photograph_files, tmp_path_factory) -> Path:
    """Two CSVs of predictions, one right and one backwards, and the folders of their results."""
    folder = tmp_path_factory.mktemp("sweep")
    rows = [
        Row(path, 1.0 + place, dataset="d", content=path.stem)
        for place, path in enumerate(photograph_files[:4])
    ]
    write_manifest(rows, folder / "manifest.csv")
    for name, sign in (("right", 1), ("backwards", -1)):
        lines = [f"{row.image},{3 + sign * (row.score or 0) / 2}" for row in rows]
        (folder / f"{name}.csv").write_text("image,predicted\n" + "\n".join(lines))
    evaluate_both(folder)
    return folder


@pytest.fixture
def sweep(evaluated, tmp_path):
    """A sweep of the two by the real `rali evaluate`."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "sweep.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "title": "Predictions",
                "commands": ["evaluate {data}/{name}.csv {data}/manifest.csv {options} -o {out}"],
                "cases": {
                    "Right one": {"name": "right", "options": ""},
                    "Backwards": {"name": "backwards", "options": "--batch-size 2"},
                },
                "seeds": [0, 1],
                "published": {"Right one": {"srcc": 0.9}},
            },
            sort_keys=False,
        )
    )
    return file


@pytest.fixture
def quick(sweep, monkeypatch):
    """The same sweep, whose commands are run by the stand-in."""
    script = sweep.parent / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr("rali.evaluation.sweep.RALI", (sys.executable, str(script)))
    return sweep


both_ways = pytest.mark.parametrize(
    "kind", ["quick", pytest.param("sweep", marks=pytest.mark.slow)]
)


def run(file, *more: str):
    folder = file.parent
    arguments = ["sweep", str(file), "--data", str(folder), "-o", str(folder / "out"), *more]
    return CliRunner().invoke(app, arguments)


@both_ways
def test_a_sweep_runs_every_case_and_seed_and_writes_a_table(kind, request):
    sweep = request.getfixturevalue(kind)
    done = run(sweep, "--jobs", "2")
    assert done.exit_code == 0, done.output
    out = sweep.parent / "out"
    assert "| Right one | 1.000 ± 0.000 | 1.000 ± 0.000 | 0.900 |" in done.output
    assert "| Backwards | -1.000 ± 0.000 |" in (out / "sweep.md").read_text()
    with (out / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["case"], r["metric"], r["seeds"]) for r in rows][:2] == [
        ("Right one", "plcc", "2"), ("Right one", "srcc", "2"),
    ]  # fmt: skip
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    log = out / "cases" / "right-one-seed0" / LOG
    before = log.read_text()
    assert before.startswith("$ rali evaluate")
    assert run(sweep).exit_code == 0
    assert log.read_text() == before  # done: not run again


def test_a_changed_case_is_run_again_and_the_others_are_not(quick):
    assert run(quick).exit_code == 0
    values = yaml.safe_load(quick.read_text())
    values["cases"]["Backwards"]["name"] = "right"
    quick.write_text(yaml.safe_dump(values, sort_keys=False))
    done = run(quick)
    assert "| Backwards | 1.000 ± 0.000 |" in done.output
    logs = {f.parent.name: f.read_text().count("$ rali") for f in quick.parent.rglob(LOG)}
    assert logs["right-one-seed0"] == 1
    assert logs["backwards-seed0"] == 2


def test_a_case_whose_files_changed_is_run_again(quick):
    folder = quick.parent
    assert run(quick).exit_code == 0
    (folder / "backwards.csv").write_text((folder / "right.csv").read_text())
    shutil.rmtree(folder / "backwards")
    shutil.copytree(folder / "right", folder / "backwards")  # what the stand-in finds for it
    assert "| Backwards | 1.000 ± 0.000 |" in run(quick).output
    logs = {f.parent.name: f.read_text().count("$ rali") for f in folder.rglob(LOG)}
    assert logs["right-one-seed0"] == 1
    assert logs["backwards-seed0"] == 2


def test_a_case_of_which_a_seed_is_missing_says_so(quick):
    config = read_sweep(quick)
    jobs = jobs_of(config, quick.parent / "out", quick.parent)
    run_sweep([job for job in jobs if (job.case, job.seed) != ("Backwards", 1)])
    text = write_results(config, jobs, quick.parent / "out")
    assert "| Backwards | -1.000 (1 of 2 seeds) |" in text
    assert "| Right one | 1.000 ± 0.000 |" in text


def test_a_failed_command_names_case_command_and_log_and_can_be_resumed(quick):
    (quick.parent / "backwards.csv").rename(quick.parent / "away.csv")
    failed = run(quick)
    assert isinstance(failed.exception, InputError)
    assert "Backwards, seed 0: `rali evaluate" in str(failed.exception)
    assert LOG in str(failed.exception)
    (quick.parent / "away.csv").rename(quick.parent / "backwards.csv")
    assert run(quick).exit_code == 0


def test_dry_run_prints_the_commands_and_only_chooses(sweep):
    done = run(sweep, "--dry-run", "--only", "Backwards")
    lines = [line for line in done.output.splitlines() if line.startswith("rali ")]
    assert len(lines) == 2
    assert all("--batch-size 2" in line and "backwards.csv" in line for line in lines)
    assert not (sweep.parent / "out").exists()
    assert isinstance(run(sweep, "--only", "Wrong").exception, InputError)


def test_dry_run_names_the_files_that_are_missing(sweep):
    folder = sweep.parent
    assert run(sweep, "--dry-run").exit_code == 0
    (folder / "backwards.csv").unlink()
    missing = run(sweep, "--dry-run")
    assert "# Backwards, seed 1" in missing.output  # the commands are printed first
    assert isinstance(missing.exception, InputError)
    lines = str(missing.exception).splitlines()
    assert lines[1:] == [f"  {folder / 'backwards.csv'} (Backwards)"]
    assert run(sweep, "--dry-run", "--only", "Right one").exit_code == 0
    (folder / "manifest.csv").unlink()
    assert f"  {folder / 'manifest.csv'}" in str(run(sweep, "--dry-run").exception).splitlines()
    command = [sys.executable, "-m", "rali", "sweep", str(sweep), "--data", str(folder)]
    done = subprocess.run([*command, "-o", "out", "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "manifest.csv" in done.stderr


def test_files_of_settings_are_needed_and_those_that_commands_write_are_not(tmp_path):
    (tmp_path / "there.csv").touch()
    config = SweepConfig(
        title="t",
        commands=[
            "teach train --config nano-rl2r --data {data} --set tasks.0.manifests=[{table}] "
            "-o {runs}/t",
            "teach harvest --model {runs}/t/model --manifest {data}/there.csv -o {data}/triplets",
            "distill {data}/there.csv --triplets {data}/triplets -o {run}",
            "figure parameters 2={data}/old/evaluation.json 9={out}/evaluation.json -o {out}/x.png",
        ],
        cases={"a": {"table": "a.csv"}, "b": {"table": "there.csv"}},
    )
    jobs = jobs_of(config, "out", tmp_path)
    assert missing_files(jobs) == {
        tmp_path / "a.csv": ["a"],
        tmp_path / "old" / "evaluation.json": ["a", "b"],
    }


def test_words_with_spaces_stay_whole_and_options_become_several():
    config = SweepConfig(
        title="t", commands=["evaluate {model} {options} -o {out}"],
        cases={"a": {"model": "m", "options": "--split test --json"}},
    )  # fmt: skip
    [job] = jobs_of(config, "/a folder", "/data")
    assert job.commands == (
        ("evaluate", "m", "--split", "test", "--json", "-o", "/a folder/cases/a-seed0"),
    )


def test_cases_that_share_a_folder_share_it():
    config = SweepConfig(
        title="t", commands=["x {run}"], run="{align}-{seed}", seeds=[0, 1],
        cases={"a": {"align": "same"}, "b": {"align": "same"}, "c": {"align": "other"}},
    )  # fmt: skip
    runs = [job.run.name for job in jobs_of(config, "o", "d")]
    assert runs == ["same-0", "same-1", "same-0", "same-1", "other-0", "other-1"]


def test_sweeps_share_a_folder_of_runs_and_a_case_may_leave_a_command_out():
    config = SweepConfig(
        title="t", commands=["teach train -o {runs}/{name}", "{more}", "evaluate {runs}/{name}"],
        cases={"a": {"name": "x", "more": ""}, "b": {"name": "x", "more": "data list {runs}"}},
    )  # fmt: skip
    first, second = jobs_of(config, "o", "d", runs="shared")
    assert first.commands == (("teach", "train", "-o", "shared/x"), ("evaluate", "shared/x"))
    assert second.commands[1] == ("data", "list", "shared")
    assert jobs_of(config, "o", "d")[0].commands[0][-1] == "o/runs/x"


def test_metrics_of_one_column_and_of_a_suite_are_read(quick):
    values = yaml.safe_load(quick.read_text())
    values |= {"metrics": ["srcc", "d/plcc"], "published": {}}
    quick.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "| Right one | 1.000 ± 0.000 | 1.000 ± 0.000 |" in run(quick).output
    rows = read_manifest(quick.parent / "manifest.csv")
    write_manifest([replace(row, dataset="csiq") for row in rows], quick.parent / "manifest.csv")
    values["commands"] = [
        "evaluate {data}/{name}.csv {data}/manifest.csv --suite rali {options} -o {out}"
    ]
    values |= {"suite": "rali", "metrics": ["CSIQ/srcc"]}
    quick.write_text(yaml.safe_dump(values, sort_keys=False))
    evaluate_both(quick.parent, "--suite", "rali")
    assert "| Backwards | -1.000 ± 0.000 |" in run(quick).output
    values["metrics"] = ["KonIQ/srcc"]  # not measured: there is no such manifest
    quick.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "'srcc'" in str(run(quick).exception)


def test_a_template_that_wants_what_is_not_there_is_refused():
    config = SweepConfig(title="t", commands=["evaluate x{model}"], cases={"a": {}})
    with pytest.raises(InputError, match=r"Case 'a'.*needs 'model'"):
        jobs_of(config, "o", "d")
    with pytest.raises(InputError, match="no case 'b'"):
        SweepConfig(title="t", commands=["x"], cases={"a": {}}, published={"b": {}})


def test_results_of_nothing_are_dashes(tmp_path):
    config = SweepConfig(title="t", commands=["x"], cases={"a": {}, "b": {}})
    jobs = jobs_of(config, tmp_path, "d")
    assert results(config, jobs) == {}
    assert "| a | – | – |" in write_results(config, jobs, tmp_path)


def test_commands_that_leave_no_evaluation_are_refused(tmp_path):
    config = SweepConfig(title="t", commands=["data list"], cases={"a": {}})
    with pytest.raises(InputError, match=r"left no .*evaluation\.json"):
        run_sweep(jobs_of(config, tmp_path, "d"))


RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_of_commands_and_settings_that_exist(recipe, monkeypatch):
    """Every command line is parsed by the real commands, every setting by the real configs."""
    pytest.importorskip("trl")
    monkeypatch.chdir(recipe.parent.parent.parent)
    config = read_sweep(recipe)
    jobs = jobs_of(config, "out", "data")
    assert len(jobs) == len(config.cases) * len(config.seeds)
    kinds = {"train": GrpoConfig, "sft": SftConfig, "distill": DistillConfig}
    root = typer.main.get_command(app)
    for words in {words for job in jobs for words in job.commands}:
        context, command, left = root.make_context("rali", list(words)), root, list(words)
        while hasattr(command, "resolve_command"):
            name, command, left = command.resolve_command(context, left)
        given = command.make_context(name, left, parent=context).params
        if name in kinds:
            base = read_yaml(Path(given["config"])) if given.get("config") else {}
            from_dict(kinds[name], with_overrides(base, given["set_"] or []))


def test_cases_that_would_share_a_folder_are_refused():
    config = SweepConfig(title="t", commands=["x"], cases={"K+1": {}, "K-1": {}})
    with pytest.raises(InputError, match=r"'K\+1' and 'K-1' would share"):
        jobs_of(config, "o", "d")


def test_an_old_result_does_not_stand_for_a_new_one(quick):
    assert run(quick).exit_code == 0
    values = yaml.safe_load(quick.read_text())
    values["commands"] = ["data list"]
    quick.write_text(yaml.safe_dump(values, sort_keys=False))
    assert "left no" in str(run(quick).exception)


def test_a_kill_after_another_settings_result_leaves_nothing_to_the_first(quick):
    """Settings A to the end, B killed between its result and its note, and A again."""
    assert run(quick).exit_code == 0
    first, out = quick.read_text(), quick.parent / "out" / "cases" / "right-one-seed0"
    wanted = {path.name: path.read_text() for path in out.glob("*.json")}
    values = yaml.safe_load(first)
    values["cases"]["Right one"]["name"] = "backwards"
    values["commands"].append("evaluate -o {out}")  # fails, after B's result was written
    quick.write_text(yaml.safe_dump(values, sort_keys=False))
    assert run(quick).exit_code != 0
    quick.write_text(first)
    assert run(quick).exit_code == 0
    assert {path.name: path.read_text() for path in out.glob("*.json")} == wanted


@both_ways
def test_a_stopped_sweep_leaves_no_process_and_meanwhile_no_other_gets_in(kind, request):
    sweep = request.getfixturevalue(kind)
    settings = yaml.safe_load(sweep.read_text())
    long = "quickstart -o {runs}/quick"
    sweep.write_text(yaml.safe_dump({**settings, "commands": [long, *settings["commands"]]}))
    folder = sweep.parent
    start = (
        f"import rali.evaluation.sweep as sweep; sweep.RALI = {evaluation_sweep.RALI!r}; "
        "from rali.cli import main; main()"
    )
    words = [sys.executable, "-c", start, "sweep", str(sweep), "--data", str(folder)]
    running = subprocess.Popen([*words, "-o", str(folder / "out")], stderr=subprocess.DEVNULL)
    try:
        lock = folder / "out" / "runs" / "quick" / ".lock"
        end = time.monotonic() + 100
        while not lock.exists() and time.monotonic() < end:
            time.sleep(0.1)
        refused = run(sweep)
        assert isinstance(refused.exception, InputError)
        assert "nother process is at work in" in str(refused.exception)
        with pytest.raises(InputError, match="nother process"), alone_in(lock.parent):
            pass
    finally:
        running.terminate()
    assert running.wait(30) == 143
    with alone_in(lock.parent):  # its command has released it
        pass
