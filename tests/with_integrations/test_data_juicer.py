"""The filter in the real Data-Juicer: `dj-process` runs the recipe of docs/pipelines.md."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import ImageFile

from .conftest import INTEGRATIONS

# It is imported late: with it Pillow takes half a picture for a whole one, in other tests too.
pytestmark = pytest.mark.skipif(not find_spec("data_juicer"), reason="Data-Juicer is not installed")

PAGE = INTEGRATIONS.parents[1] / "docs" / "pipelines.md"
TOKEN = "<__dj__image>"


def process(folder: Path, recipe: str, samples: list[list[str]]) -> list[dict]:
    """The samples that `dj-process --config recipe.yaml` keeps, with their stats."""
    shutil.copy(INTEGRATIONS / "data_juicer_filter.py", folder)
    (folder / "recipe.yaml").write_text(f"{recipe}\nnp: 1\n")
    lines = [json.dumps({"images": paths, "text": TOKEN * len(paths)}) for paths in samples]
    (folder / "pictures.jsonl").write_text("\n".join(lines))
    command = [Path(sys.executable).parent / "dj-process", "--config", "recipe.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    kept = (folder / "kept" / "kept.jsonl").read_text().splitlines()
    stats = (folder / "kept" / "kept_stats.jsonl").read_text().splitlines()
    return [json.loads(line) | json.loads(stat) for line, stat in zip(kept, stats, strict=True)]


def test_the_recipe_of_the_page(files, expected, middle, tmp_path):
    recipe = re.search(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    recipe = recipe.replace("min_score: 3.0", f"min_score: {middle}")
    order = sorted(range(6), key=lambda number: expected[number])
    worst, best, broken = files[order[0]], files[order[-1]], files[-1]
    samples = [[best], [worst], [best, worst], [best, broken], [broken], []]
    kept = process(tmp_path, recipe, samples)
    assert [sample["images"] for sample in kept] == [[best], []]
    assert kept[0]["__dj__stats__"]["rali_scores"] == [pytest.approx(expected[order[-1]], abs=1e-4)]


def test_any_good_picture_keeps_a_sample(integration, files, expected, middle, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    from data_juicer.ops import load_ops

    integration("data_juicer_filter")
    [op] = load_ops([{"rali_filter": {"min_score": middle, "any_or_all": "any"}}])
    good = next(f for f, s in zip(files, expected, strict=True) if s is not None and s >= middle)
    for paths, kept in (([files[-1], good], True), ([files[-1]], False)):
        sample = op.compute_stats_single({"images": paths, "__dj__stats__": {}})
        assert math.isnan(sample["__dj__stats__"]["rali_scores"][0])
        assert op.process_single(sample) is kept
