"""A run's or a user's file that is cut, garbage or of another kind is named, with what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rali.data.degraded import STAMP, degrade_folder
from rali.errors import InputError
from rali.files import read_json
from rali.runs.config import read_yaml
from rali.runs.folder import add_row, claim, read_rows

DAMAGED = {
    "cut": b'{"teacher": "na',
    "empty": b"",
    "a list": b"[]",
    "no text": b"\xff\xfe\x00",
    "zeros": bytes(64),
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", ["harvest.json", "stages.json", "examples.json", "config.yaml"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_note_is_named_and_stays(tmp_path: Path, name: str, damage: str) -> None:
    stamp = tmp_path / name
    stamp.write_bytes(DAMAGED[damage])
    with pytest.raises(InputError, match=f"(?s){stamp}.*give another folder, or delete"):
        claim(stamp, {"teacher": "nano"}, str)
    assert stamp.read_bytes() == DAMAGED[damage]


def test_a_folder_of_degradations_with_a_cut_note_keeps_its_pictures(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    rgb = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "in" / "a.png")
    photographs = [tmp_path / "in" / "a.png"]
    degrade_folder(photographs, tmp_path / "out", per_photograph=2)
    stamp = tmp_path / "out" / STAMP
    stamp.write_bytes(stamp.read_bytes()[:-7])
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    with pytest.raises(InputError, match=f"{STAMP} is damaged.*give another folder"):
        degrade_folder(photographs, tmp_path / "out", per_photograph=2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read: No such file"):
        read_json(tmp_path / "none.json", "")


@pytest.mark.parametrize("text", ["seed: 2026-13-45", "a: [", "- 1", "é: \udce9"])
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"mine\.yaml"):
        read_yaml(tmp_path / "mine.yaml")


def test_a_row_after_one_that_was_cut_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    add_row({"step": 1}, file)
    with file.open("ab") as log:
        log.write(b'{"step": 2, "lo')
    add_row({"step": 3}, file)
    with file.open("ab") as log:
        log.write(b'[4]\n{"other": 5}\n\xff\n')
    assert list(read_rows(file, "step")) == [{"step": 1}, {"step": 3}]


def test_an_evaluation_that_is_none_is_named_by_the_figure(tmp_path: Path) -> None:
    from rali.cli.figure import parameters

    for name, content in DAMAGED.items():
        (tmp_path / "e.json").write_bytes(content)
        with pytest.raises(InputError, match=r"e\.json"):
            parameters([f"2={tmp_path / 'e.json'}"], tmp_path / "x.png", "srcc", False)
        assert not (tmp_path / "x.png").exists(), name


def test_bases_that_are_damaged_are_named(tmp_path: Path) -> None:
    from rali import Student
    from rali.distill.unfitted import UNFITTED, scores_before_and_after

    student = Student.from_pretrained("builtin")
    for content in (b"", b"PK\x03\x04" + bytes(90), b"x" * 50):
        (tmp_path / UNFITTED).write_bytes(content)
        with pytest.raises(InputError, match=rf"{UNFITTED} is damaged.*Delete it"):
            scores_before_and_after(student, np.zeros((1, 192), np.float32), tmp_path)


def test_nano_of_a_damaged_folder_is_named(tmp_path: Path) -> None:
    from rali.student.encoders import load_encoder
    from rali.student.nano import packaged_nano

    folder = tmp_path / "nano"
    shutil.copytree(packaged_nano(), folder)
    good = json.loads((folder / "config.json").read_text("utf-8"))
    for content in (*DAMAGED.values(), b"{}", json.dumps(good | {"image": 3}).encode()):
        (folder / "config.json").write_bytes(content)
        with pytest.raises(InputError, match=r"config\.json"):
            load_encoder("nano", str(folder))
