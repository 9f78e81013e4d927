"""The quickstart, killed in the middle and started again, as a user would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_quickstart_survives_a_kill_and_learns_something_that_transfers(tmp_path, photograph_files):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "rali", "quickstart", photograph_files[0], "-o", out]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 1200
        while not list((out / "triplets").glob("*.parquet")):  # the teacher is trained, and speaks
            assert first.poll() is None and time.monotonic() < limit
            time.sleep(0.5)
    finally:
        first.kill()
        first.wait()
    teacher = out / "teacher" / "model" / "model.safetensors"
    kept = [*(out / "pictures").glob("*.png"), *(out / "triplets").glob("*.parquet"), teacher]
    made = {path: path.stat().st_mtime_ns for path in kept}
    assert len(made) > 100
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == made, "work was done again"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["srcc"] > 0.55 and summary["held_out_photographs"] >= 3
    assert summary["onnx_max_difference"] <= 1e-4
    assert 1 <= summary["pictures"][0]["score"] <= 5
    assert set(summary["stages"]) >= {"degrade", "teach", "harvest", "align", "fit", "export"}
    page = (out / "report.html").read_text()
    assert photograph_files[0].name in page
    assert not re.search(r"(src|href)=.https?:", page), "the page needs no network"
