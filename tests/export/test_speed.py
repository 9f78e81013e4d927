"""`rali bench`: rows that add up, of real exports in processes of their own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import Row
from rali.errors import InputError
from rali.export.measure.promises import (
    Given,
    agreement,
    bars,
    explanations,
    image_graph,
    memory,
    rates,
    speed_bars,
)
from rali.export.measure.speed import Measured, gflop, prepare, random_student
from rali.scoring.speed import peak_memory


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
    # ViT-B/16 on 196, and SigLIP's pooling.
    assert gflop(random_student("ViT-B-16-SigLIP2")) == pytest.approx(2 * 17.6, rel=0.03)


def test_peak_memory_is_this_process():
    held = peak_memory()
    filled = bytearray(200 * 2**20)
    filled[:: 2**12] = b"x" * len(filled[:: 2**12])
    assert peak_memory() >= min(held + 50, 200) and len(filled)


def measured(precision: str, batch: int, **more) -> Measured:
    values = {"megabytes": 1.0, "seconds": 1.0, "speedup": 1.0, "peak": 100.0, "cosine": 1.0}
    return Measured("ViT-L-14-336", precision, batch, **values | more, gflop=1.0, gemm_share=1.0)


def test_speeds_meet_their_bars_or_miss_them_or_say_what_is_needed():
    rows = [measured("torch", 1), measured("torch", 4)]
    rows += [measured("fp32", 1, speedup=0.95), measured("fp32", 4, speedup=0.92)]
    rows += [measured("int8", 1, speedup=2.3, peak=40.0, cosine=0.9991)]
    full, small = speed_bars(rows)
    assert full.met is False and full.measured == {
        "speedup, batch 1": 0.95,
        "speedup, batch 4": 0.92,
    }
    assert small.met is None and "--batch 4" in small.why
    _, small = speed_bars([*rows, measured("int8", 4, speedup=3.1, peak=39.0)])
    assert small.met is True and small.measured["memory, batch 1"] == 0.4
    _, small = speed_bars([*rows, measured("int8", 4, speedup=3.1, peak=41.0)])
    assert small.met is False  # of memory


def test_bars_without_pictures_say_what_to_give():
    found = bars([], None, lambda *_: None)
    assert [bar.met for bar in found] == [None] * 8 and all(bar.why for bar in found)


@pytest.fixture(scope="module")
def given(photograph_files, tmp_path_factory) -> Given:
    folder = tmp_path_factory.mktemp("bars")
    (subject,) = prepare(["builtin"], folder, ["fp32", "int8"])
    rows = [Row(path, 1.0 + place) for place, path in enumerate(photograph_files[:5])]
    return Given(subject, rows, photograph_files[:1], count=3000, threads=2, rounds=1)


def test_agreement_rates_and_explanations_of_photographs(given):
    told, met = agreement(given)
    between, before, after = told.values()
    assert between > 0.9 and met == (between >= 0.995 and before - after <= 0.005)
    told, _ = rates(given)
    decoding, model = told["decode, d"], told["model, m"]
    assert told["of d·m/(d+m)"] == pytest.approx(
        told["pictures/s"] * (1 / decoding + 1 / model), rel=1e-6
    )
    told, met = explanations(given)
    assert told["pictures"] == 60 and met == (told["share"] >= 0.8)


@pytest.mark.slow
def test_memory_and_the_graph_that_resizes(given, monkeypatch):
    told, met = memory(given)
    assert told["pictures"] == 3000 and met and 50 < told["MiB after 1,000"] < 500
    monkeypatch.setattr("rali.export.measure.promises.SHAPES", 3)
    told, _ = image_graph(given)
    assert told["pictures with equal pixels"] == 1 and told["largest difference of scores"] < 1e-4


def test_agreement_asks_for_the_precisions_that_it_lacks(given):
    lacking = replace(given, student=replace(given.student, files={}))
    with pytest.raises(InputError, match="--precision fp32"):
        agreement(lacking)
