"""Trainings that are killed at random moments end with the same bytes as if nobody had come."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.harness import SAMPLE, Command, kills, output_of, survives
from rali.data.degraded import degrade_folder
from rali.data.manifest import write_manifest
from rali.data.reference_rationales import build_reference_triplets
from rali.data.triplets import read_triplets
from rali.runs.folder import RunFolder
from rali.teacher.models import NANO

LONG = 4  # a training takes ten times as long as a scoring, and gets a fourth of its kills
beyond_the_sample = pytest.mark.skipif(SAMPLE, reason="a long one: make test-faults")
needs_teacher = pytest.mark.skipif(
    not (NANO / "model.safetensors").is_file(), reason="this copy has no nano teacher"
)
# Checkpoints are due once a minute, which these trainings do not last.
SAVING_OFTEN = (
    "-c",
    "import rali.distill.optim as optim; optim.SAVE_EVERY = 0; from rali.cli import main; main()",
)
DISTILL = {
    "encoder": "timm/test_efficientnet",
    "pretrained": "random",
    "align": {"epochs": 4, "batch_size": 12, "micro_batch": 6, "lr": 1e-3, "workers": 1},
    "bases": {"count": 20},
    "fit": {"steps": 50},
    "finetune": {"epochs": 3, "batch_size": 12, "average": 0.9, "climbed": 0.25},
    "phrases": {"photographs": 4, "pictures": 24},
}
TEACHER = {
    "model": "nano",
    "micro_batch": 4,
    "lr": 1e-4,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "save_every": 1,
    "log_every": 1,  # a mean over several steps is one over fewer after a kill
    "trl": {"max_steps": 4},
}


@pytest.fixture(scope="session")
def data(photograph_files, tmp_path_factory) -> Path:
    """`m.csv` of 30 degraded pictures with splits, and `triplets` of those to train on."""
    folder = tmp_path_factory.mktemp("training")
    rows = degrade_folder(
        photograph_files, folder / "pictures", distortions=("blur", "noise"), severities=(1, 3, 5),
        size=96,
    )  # fmt: skip
    contents = sorted({row.content for row in rows})
    splits = dict(zip(contents, ["train", "train", "train", "val", "test"], strict=True))
    rows = [dataclasses.replace(row, split=splits[row.content]) for row in rows]
    write_manifest(rows, folder / "m.csv")
    train = [row for row in rows if row.split == "train"]
    build_reference_triplets(train, folder / "triplets", count=2, workers=1)
    return folder


def settings(folder: Path, name: str, values: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), "utf-8")
    return path


def made(*patterns: str) -> Any:
    """The SHA-256 of the files in a run folder that match, and the losses."""

    def result(out: Path) -> Any:
        files = sorted(path for each in patterns for path in out.glob(each) if path.is_file())
        sums = {
            str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }
        assert any(path.suffix == ".safetensors" for path in files)
        # A teacher's rows tell seconds too.
        rows = [(row["stage"], row["step"], row.get("loss")) for row in RunFolder(out).metrics()]
        return sums, rows

    return result


def distillation(data: Path, tmp_path: Path, name: str, **align: Any) -> Command:
    values = DISTILL | {"align": DISTILL["align"] | align}
    config = settings(tmp_path, name, values)
    return Command(
        name,
        lambda out: [
            *("distill", data / "m.csv", "--triplets", data / "triplets"),
            *("--config", config, "-o", out),
        ],
        made("*.safetensors", "*.npz", "config.yaml", "model/**/*"),
        program=SAVING_OFTEN,
    )


@pytest.mark.slow
def test_distill(data, tmp_path):
    survives(distillation(data, tmp_path, "distill"), tmp_path, kills(LONG))


@pytest.mark.slow
@beyond_the_sample
def test_distill_with_other_settings_in_between(data, tmp_path):
    command, other = (
        distillation(data, tmp_path, f"distill, {name}", lr=lr)
        for name, lr in (("its folder shared", 1e-3), ("the other settings", 1e-2))
    )
    survives(command, tmp_path, kills(LONG), others=[other])


def teaching(verb: str, data: Path, tmp_path: Path) -> Command:
    own: dict[str, Any] = {
        "sft": {
            "batch_size": 4,
            "sources": [{"triplets": str(data / "triplets"), "prompt": "ract/description"}],
        },
        "train": {
            "prompts_per_step": 2,
            "num_generations": 2,
            "max_completion_length": 60,
            "tasks": [{"manifests": [str(data / "m.csv")]}],
        },
    }[verb]
    config = settings(tmp_path, verb, TEACHER | own)
    return Command(
        f"teach {verb}",
        lambda out: ["teach", verb, "--config", config, "-o", out],
        made("model/*"),
    )


@needs_teacher
@pytest.mark.slow
@beyond_the_sample
@pytest.mark.parametrize("verb", ["sft", "train"])
def test_teach(verb, data, tmp_path):
    survives(teaching(verb, data, tmp_path), tmp_path, kills(LONG))


@needs_teacher
@pytest.mark.slow
def test_teach_resumes_before_a_damaged_checkpoint(data, tmp_path):
    command, out = teaching("sft", data, tmp_path), tmp_path / "out"
    whole = command.finish(out)
    shutil.rmtree(out / "model")  # as if a kill had come before it
    weights = out / "checkpoints" / "checkpoint-4" / "model.safetensors"
    data_of = bytearray(weights.read_bytes())
    data_of[-1000] ^= 64
    weights.write_bytes(data_of)
    process = command.start(out)
    _, err = output_of(process)
    assert process.returncode == 0, err
    assert "model.safetensors is damaged; the training resumes from an earlier" in err
    assert command.result(out) == whole


@needs_teacher
@pytest.mark.slow
@beyond_the_sample
def test_harvest(data, tmp_path):
    command = Command(
        "teach harvest",
        lambda out: [
            *("teach", "harvest", "--model", "nano", "--manifest", data / "m.csv", "--seeds", 2),
            *("--batch-size", 4, "--max-tokens", 120, "-o", out),
        ],
        lambda out: sorted((str(t.image), t.seed, t.raw_text) for t in read_triplets(out)),
    )
    survives(command, tmp_path, kills(LONG))


# The command has no settings: it is made small here.
QUICK = (
    "-c",
    """
from dataclasses import replace
import rali.cli._quickstart as q
import rali.distill.optim as optim
optim.SAVE_EVERY, q.SIZE, q.RATIONALES = 0, 64, 1
q.TEACHING |= {"prompts_per_step": 2, "num_generations": 2, "micro_batch": 4, "save_every": 1,
               "max_completion_length": 40, "trl": {"max_steps": 2}}
q.CONFIG = replace(q.CONFIG, align=replace(q.CONFIG.align, epochs=0.3),
                   fit=replace(q.CONFIG.fit, steps=20))
few = q.sample_files()[::3]
q.sample_files = lambda: few
from rali.cli import main
main()
""",
)


@needs_teacher
@pytest.mark.slow
@beyond_the_sample
def test_quickstart(tmp_path):
    def result(out: Path) -> Any:
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        # embeddings.safetensors names the pictures, which lie in this folder.
        sums = made("teacher/model/*", "aligned.safetensors", "*.npz", "model/onnx/*")(out)
        return sums[0], [summary[name] for name in ("srcc", "plcc", "n")]

    command = Command("quickstart", lambda out: ["quickstart", "-o", out], result, program=QUICK)
    survives(command, tmp_path, kills(3 * LONG))


@pytest.mark.slow
@beyond_the_sample
def test_sweep(data, tmp_path):
    config = settings(
        tmp_path,
        "sweep",
        {
            "title": "Two seeds",
            "commands": [
                "distill {data}/m.csv --triplets {data}/triplets --encoder "
                "timm/test_efficientnet --pretrained random --set align.epochs=0.5 --set "
                "align.batch_size=12 --set align.workers=0 --set bases.count=20 --set "
                "fit.steps=20 --set seed={seed} --no-export -o {run}",
                "evaluate {run}/model {data}/m.csv -o {out}",
            ],
            "cases": {"one": {}},
            "seeds": [0, 1],
        },
    )
    command = Command(
        "sweep",
        lambda out: ["sweep", config, "--data", data, "-o", out],
        lambda out: (out / "sweep.csv").read_text("utf-8"),
    )
    survives(command, tmp_path, kills(LONG))
