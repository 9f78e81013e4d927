"""`rali bench`: rows that add up, of real exports in processes of their own."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.export.bench import gflop, random_student
from rali.speed import peak_memory


def test_the_bench_measures_every_precision_beside_torch(tmp_path):
    plot = tmp_path / "speed.png"
    words = ["bench", "--precision", "fp32", "--precision", "int8", "--batch", "2", "--json"]
    run = CliRunner().invoke(app, [*words, "--rounds", "1", "--threads", "1", "--plot", str(plot)])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["threads"] == 1 and told["onnxruntime"]
    torch, full, small = told["rows"]
    assert [row["precision"] for row in told["rows"]] == ["torch", "fp32", "int8"]
    assert torch["speedup"] == 1 and full["speedup"] == pytest.approx(
        torch["seconds"] / full["seconds"], rel=0.01
    )
    assert small["megabytes"] < full["megabytes"] / 2
    assert full["peak"] < torch["peak"] / 2, "a scorer's process must not hold torch"
    assert 0.995 < small["cosine"] <= 1.0001 and full["gflop"] == torch["gflop"] > 0
    assert plot.stat().st_size > 10_000


def test_arithmetic_of_a_known_encoder():
    # ViT-B/32 on 50 tokens: 4.4 billion multiplications and additions, as its papers say.
    assert gflop(random_student("ViT-B-32")) == pytest.approx(2 * 4.4, rel=0.03)


def test_peak_memory_is_this_process():
    held = peak_memory()
    filled = bytearray(200 * 2**20)
    filled[:: 2**12] = b"x" * len(filled[:: 2**12])
    assert peak_memory() >= min(held + 50, 200) and len(filled)
