"""The commands that train and export, as typed."""

from __future__ import annotations

import sys

import pytest

from rali.cli import main


def rali(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["rali", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.slow
def test_export_builtin_checks_itself(monkeypatch, capsys, tmp_path):
    assert rali(monkeypatch, "export", "builtin", "-o", tmp_path / "model.onnx") == 0
    assert "largest difference from torch" in capsys.readouterr().out
    assert (tmp_path / "model.onnx").is_file()


def test_faults_are_one_sentence_and_exit_2(monkeypatch, capsys, tmp_path):
    assert rali(monkeypatch, "export", tmp_path / "nothing") == 2
    said = capsys.readouterr().err
    assert said.startswith("rali: ") and "--output FILE" in said and "Traceback" not in said
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("image,score,split\na.jpg,3,test\n")
    assert rali(monkeypatch, "distill", manifest, "--encoder", "nano", "-o", tmp_path / "r") == 2
    assert "No picture to train on" in capsys.readouterr().err
    assert (
        rali(monkeypatch, "distill", manifest, "-o", tmp_path / "r", "--set", "align.epoch=1") == 2
    )
    assert "align.epoch is not a setting" in capsys.readouterr().err


def test_a_missing_package_is_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "rali.student.student", None)
    monkeypatch.setattr(
        "rali.cli.app", lambda: (_ for _ in ()).throw(ModuleNotFoundError(name="torch"))
    )
    assert rali(monkeypatch, "distill", "m.csv", "-o", tmp_path) == 2
    assert "pip install 'rali[distill]'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_a_sentence(
    monkeypatch, capsys, tmp_path, photograph_files
):
    file = tmp_path / "a-file"
    file.write_text("")
    assert rali(monkeypatch, "data", "degrade", photograph_files[0], "-o", file) == 2
    assert str(file) in capsys.readouterr().err
