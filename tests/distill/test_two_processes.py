"""A distillation on two processes: the same training, shares of the work, one that is killed.

The encoder has no batch normalisation, which would see each process's own half of a batch.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from rali.distill.align import AlignConfig
from rali.distill.pipeline import distill
from rali.runs.folder import RunFolder
from rali.student.encoders import image_tower
from rali.student.towers import Encoder
from small import small_encoder

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def vit() -> Encoder:
    """A small vision transformer of open_clip's beside nano's text tower."""
    encoder = small_encoder()
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16}
    spec = {"name": "clip", "embed_dim": 24, "vision_cfg": vision, "quick_gelu": False}
    return replace(encoder, spec=spec, image=image_tower(spec))


def main(inputs: Path, folder: Path) -> None:
    """What each process does; `inputs` holds the arguments of `distill`."""
    import rali.distill.optim as optim

    optim.SAVE_EVERY = 0
    config, rows, triplets = pickle.loads(inputs.read_bytes())
    distill(config, rows, triplets, folder, encoder=vit())


@pytest.fixture
def start(small_run, tmp_path):
    """Starts a distillation into a folder on a number of processes, with `batch` pictures each."""

    def run(folder: str, processes: int, batch: int) -> subprocess.Popen[str]:
        align = AlignConfig(epochs=8, batch_size=batch, micro_batch=3, lr=1e-3, workers=1)
        config = replace(small_run.config, align=align)
        inputs = tmp_path / f"{batch}.pickle"
        inputs.write_bytes(pickle.dumps((config, small_run.rows, small_run.triplets)))
        code = (
            "import sys; from pathlib import Path; from test_two_processes import main; "
            "main(*map(Path, sys.argv[1:]))"
        )
        script = tmp_path / "run.py"
        script.write_text(code)
        launch = ("-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone")
        return subprocess.Popen(
            [sys.executable, *launch, str(script), str(inputs), str(tmp_path / folder)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ
            | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "CUDA_VISIBLE_DEVICES": ""}
            | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    return run


def finish(process: subprocess.Popen[str]) -> None:
    told, _ = process.communicate(timeout=600)
    assert process.returncode == 0, told


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in RunFolder(folder).metrics() if row["stage"] == "align"]


def test_two_processes_make_what_one_makes_and_survive_a_kill(start, tmp_path):
    finish(start("one", 1, batch=12))
    finish(start("two", 2, batch=6))
    one, two = tmp_path / "one", tmp_path / "two"
    assert len(losses(one)) == 14 and losses(two) == pytest.approx(losses(one), abs=1e-4)
    assert not list(two.glob("embeddings-*"))
    shared = (two / "embeddings.safetensors").read_bytes()
    whole = load_file(one / "embeddings.safetensors")
    for name, values in load_file(two / "embeddings.safetensors").items():
        np.testing.assert_allclose(values, whole[name], atol=1e-3)

    # The same weights embedded by one process alone.
    (two / "embeddings.safetensors").unlink()
    finish(start("two", 1, batch=6))
    assert (two / "embeddings.safetensors").read_bytes() == shared

    killed = tmp_path / "killed"
    process = start("killed", 2, batch=6)
    while len(losses(killed)) < 4 and process.poll() is None:
        time.sleep(0.05)
    os.kill(second_of(process.pid), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0 and not (killed / "aligned.safetensors").exists()
    finish(start("killed", 2, batch=6))
    for name in ("aligned.safetensors", "model/model.safetensors"):
        assert (killed / name).read_bytes() == (two / name).read_bytes(), name


def second_of(launcher: int) -> int:
    """The process of rank 1 among a launcher's children."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            parent = (environment.parent / "stat").read_text().rpartition(")")[2].split()[1]
            variables = environment.read_bytes().split(b"\0")
        except OSError:
            continue
        if int(parent) == launcher and b"RANK=1" in variables:
            return int(environment.parent.name)
    raise AssertionError("no second process")
