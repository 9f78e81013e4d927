"""Degraded photographs: their scores, and the folder that holds them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rali.data.degraded import degrade_folder, degraded_score
from rali.errors import InputError
from rali.pictures.degrade import DISTORTIONS, degrade

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", DISTORTIONS)
def test_scores_fall_with_severity(name: str) -> None:
    scores = [degraded_score(name, severity) for severity in range(6)]
    assert scores[0] == 5 and min(scores) >= 1
    assert np.all(np.diff(scores) <= 0)


@pytest.mark.data
def test_the_table_is_what_its_script_derives(data_dir: Path) -> None:
    spec = importlib.util.spec_from_file_location("k", ROOT / "benchmarks" / "kadid_scores.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.table(data_dir) == json.loads(
        (ROOT / "rali" / "data" / "kadid_scores.json").read_text()
    )


def test_folder_writes_pictures_and_rows(photograph_files: list[Path], tmp_path: Path) -> None:
    steps: list[tuple[Any, ...]] = []
    rows = degrade_folder(
        photograph_files[:2],
        tmp_path,
        distortions=["jpeg", "contrast weaken"],
        severities=(1, 4),
        size=64,
        progress=lambda *step: steps.append(step),
    )
    assert steps == [("degrade", 1, 2), ("degrade", 2, 2)]
    content = photograph_files[0].stem
    assert sorted(path.name for path in tmp_path.glob(f"{content}__*")) == [
        f"{content}__{rest}.png"
        for rest in (
            "compression__1",
            "compression__4",
            "contrast-weaken__1",
            "contrast-weaken__4",
            "null__0",
        )
    ]
    assert len(rows) == 10 and {row.content for row in rows} == {
        p.stem for p in photograph_files[:2]
    }
    for row in rows:
        assert row.dataset == "degraded" and row.severity is not None
        assert row.score == row.raw_score == degraded_score(row.distortion, row.severity)
        reference = np.asarray(Image.open(row.reference))
        assert max(reference.shape) == 64
        picture = np.asarray(Image.open(row.image))
        np.testing.assert_array_equal(picture, degrade(reference, row.distortion, row.severity))


def test_folder_resumes_where_it_stopped(photograph_files: list[Path], tmp_path: Path) -> None:
    def run() -> list:
        return degrade_folder(
            photograph_files[:1], tmp_path, distortions=["noise"], severities=(1, 2, 3), size=48
        )

    rows = run()
    contents = {row.image: row.image.read_bytes() for row in rows}
    kept, lost = rows[1].image, rows[2].image
    lost.unlink()
    (tmp_path / "half.tmp").write_bytes(b"left by a kill")
    stamp = kept.stat().st_mtime_ns
    assert run() == rows
    assert kept.stat().st_mtime_ns == stamp
    assert lost.read_bytes() == contents[lost]


@pytest.mark.parametrize("change", ["photograph", "size", "seed", "no stamp", "empty stamp"])
def test_folder_made_in_another_way_is_refused(
    change: str, photograph_files: list[Path], tmp_path: Path
) -> None:
    """Old pixels under new scores would go unnoticed."""
    source, folder = tmp_path / "a.png", tmp_path / "out"
    shutil.copy(photograph_files[0], source)
    kinds: dict[str, Any] = {"distortions": ["noise"], "severities": [1], "size": 64, "seed": 0}
    degrade_folder([source], folder, **kinds)
    if change == "photograph":
        shutil.copy(photograph_files[1], source)
    elif change == "no stamp":
        (folder / "degraded.json").unlink()
    elif change == "empty stamp":
        (folder / "degraded.json").write_text("{}")
    else:
        kinds[change] += 1
    with pytest.raises(InputError, match="Give another folder"):
        degrade_folder([source], folder, **kinds)


def test_folder_gives_each_picture_its_own_noise(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (32, 24), (128, 128, 128)).save(tmp_path / f"{name}.png")
    sources = [tmp_path / "a.png", tmp_path / "b.png"]
    rows = degrade_folder(sources, tmp_path / "out", distortions=["noise"], severities=(3,))
    first, second = (np.asarray(Image.open(row.image)) for row in rows if row.severity)
    assert not np.array_equal(first, second)


def test_folder_leaves_out_what_changes_nothing(tmp_path: Path) -> None:
    """A grey photograph has no colours to lose: such rows would have a wrong score."""
    grey = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for _ in range(2):  # a second call, which finds the files, agrees
        rows = degrade_folder([tmp_path / "grey.png"], tmp_path / "out")
        assert len(rows) == 1 + 10 * 5
        assert not any(row.distortion.startswith("saturate") for row in rows)


def test_folder_draws_as_many_as_asked(photograph_files: list[Path], tmp_path: Path) -> None:
    rows = degrade_folder(photograph_files[:2], tmp_path, size=32, per_photograph=4, seed=5)
    assert len(rows) == 2 * (1 + 4) and len({row.image for row in rows}) == len(rows)
    again = degrade_folder(photograph_files[:2], tmp_path, size=32, per_photograph=4, seed=5)
    assert again == rows


def test_folder_keeps_namesakes_apart(tmp_path: Path) -> None:
    paths = []
    for number, folder in enumerate(("x", "y")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "photo.png")
        picture = Image.new("RGB", (9, 8), (number * 90, 0, 0))
        picture.putpixel((4, 4), (255, 255, 255))
        picture.save(paths[-1])
    rows = degrade_folder(paths, tmp_path / "out", distortions=["blur"], severities=(1,))
    assert len({row.content for row in rows}) == 2 and len({row.image for row in rows}) == 4


def test_folder_names_what_it_cannot_read(photograph_files: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"1 of 2 photographs.*broken\.jpg"):
        rows = degrade_folder(
            [broken, photograph_files[0]],
            tmp_path / "out",
            distortions=["darken"],
            severities=(2,),
            size=32,
        )
    assert {row.content for row in rows} == {photograph_files[0].stem}
    with pytest.raises(InputError, match="broken"):
        degrade_folder([broken], tmp_path / "out")
