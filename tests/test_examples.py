"""The programs in examples/ do what their first lines say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from rali import Scorer
from rali.degradations import degrade_folder
from rali.manifest import write_manifest
from rali.splits import assign_splits

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, argument: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), str(argument)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_best_of_each_folder(photograph_files: list[Path], tmp_path: Path) -> None:
    for path in photograph_files:
        place = tmp_path / ("first" if path.stem in {"china", "coffee"} else "second")
        place.mkdir(exist_ok=True)
        shutil.copy(path, place)
    (tmp_path / "first" / "broken.jpg").write_text("no picture")
    done = run("best_of_each_folder.py", tmp_path)
    best = {}
    for line in done.stdout.splitlines():
        place, name = re.fullmatch(r"(.+): (\S+) \(\d\.\d\d, best of \d\)", line).groups()
        best[Path(place).name] = Path(place) / name
    assert set(best) == {"first", "second"}
    scores = Scorer()(tmp_path / "second")
    assert str(best["second"]) == max(scores, key=scores.__getitem__)
    assert "broken.jpg" in done.stderr


def test_score_your_embeddings(photograph_files: list[Path], tmp_path: Path) -> None:
    rows = degrade_folder(
        photograph_files, tmp_path, distortions=("blur", "compression"), severities=(1, 3, 5)
    )
    write_manifest(assign_splits(rows, (3, 1, 1), seed=0), tmp_path / "manifest.csv")
    done = run("score_your_embeddings.py", tmp_path / "manifest.csv")
    correlation = re.search(r"SRCC (-?\d\.\d+), PLCC (-?\d\.\d+)", done.stdout)
    assert correlation is not None
    assert float(correlation[1]) > 0
