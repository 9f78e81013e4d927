"""A run folder: its log, the seconds of its stages also after a stop, and what it is made from."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest

from rali.errors import InputError
from rali.runs.config import read_yaml
from rali.runs.folder import RunFolder, claim


def test_metrics_survive_a_cut_line(tmp_path):
    run = RunFolder(tmp_path)
    run.log(stage="align", step=1, loss=2.0)
    run.log(stage="align", step=2, loss=1.8)
    run.log(stage="align", step=1, loss=1.5)  # started again with another setting
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "ali')
    assert run.metrics() == [{"stage": "align", "step": 1, "loss": 1.5}]


def test_seconds_of_stopped_tries_count_and_finished_work_keeps_its_own(tmp_path, monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(
        "rali.runs.folder.time", SimpleNamespace(monotonic=lambda: float(next(clock)))
    )
    run = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), run.timed("align", "a"):
        raise KeyboardInterrupt
    assert not run.done("align", "a")
    with run.timed("align", "a"):
        pass
    assert run.done("align", "a") and run.seconds() == {"align": 20}
    with run.timed("align", "a"):  # looks what is there
        pass
    assert run.seconds() == {"align": 20}
    with run.timed("align", "b"):  # another setting, other work
        pass
    assert run.seconds() == {"align": 10} and not run.done("align", "a")


@pytest.mark.parametrize("name", ["stamp.json", "stamp.yaml"])
def test_a_folder_made_from_something_else_is_refused_and_left_as_it_is(tmp_path, name):
    stamp = tmp_path / "run" / name
    read = read_yaml if stamp.suffix == ".yaml" else lambda path: json.loads(path.read_text())
    claim(stamp, {"seed": 0, "size": 8}, str)
    with pytest.raises(InputError, match=r"^\{'seed': 0\}$"):
        claim(stamp, {"seed": 1, "size": 8}, str)
    assert read(stamp) == {"seed": 0, "size": 8}
    claim(stamp, {"seed": 1, "size": 8, "newer": True}, str, free=("seed",))
    assert read(stamp) == {"seed": 1, "size": 8, "newer": True}
    claim(stamp, {"size": 8.4}, str, same=lambda noted, value: noted == round(value), write=False)
    assert read(stamp)["size"] == 8


def test_a_growing_note_keeps_the_names_of_earlier_calls(tmp_path):
    for name in ("a", "b"):
        claim(tmp_path / "stamp.json", {name: 1}, str, grows=True)
    assert json.loads((tmp_path / "stamp.json").read_text()) == {"a": 1, "b": 1}
    claim(tmp_path / "stamp.json", {"a": 1}, str)
    assert json.loads((tmp_path / "stamp.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("text", ["{", "", "[]"])
def test_a_damaged_note_is_refused_and_stays(text, tmp_path):
    (tmp_path / "made.json").write_text(text)
    with pytest.raises(InputError, match=r"made\.json is damaged.*another folder"):
        claim(tmp_path / "made.json", {"seed": 1}, lambda other: f"{other} differs")
    assert (tmp_path / "made.json").read_text() == text


def test_a_cut_note_of_stages_is_named(tmp_path):
    run = RunFolder(tmp_path)
    with run.timed("align", "a"):
        pass
    note = tmp_path / "stages.json"
    note.write_text(note.read_text("utf-8")[:-9], "utf-8")
    with pytest.raises(InputError, match=r"stages\.json is damaged.*delete "):
        RunFolder(tmp_path).done("align", "a")
