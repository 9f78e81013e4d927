"""`rali score`: one row per picture in each format, and exit codes that a script can rely on."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from rali.cli.score import score
from rali.errors import InputError
from rali.pictures.degrade import degrade
from rali.pictures.entry import Entry
from rali.pictures.samples import sample_files
from rali.scoring.scorer import Scorer
from tiny_onnx import write_model

app = typer.Typer()
app.command()(score)
runner = CliRunner()
LONG = "очень длинное имя " * 5 + "写真.png"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("m") / "onnx" / "model.onnx").parent.parent)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name, level in (("a2.png", 50), ("a10.png", 90), (LONG, 200), ("inner/b.png", 20)):
        Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(folder / name)
    return folder


def test_table_is_the_default_and_never_cuts_paths(photos: Path, model: str) -> None:
    run = runner.invoke(app, [str(photos), "--model", model])
    assert run.exit_code == 0
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["image", "score", "error"]
    assert [line.rsplit(maxsplit=1)[0].rstrip() for line in lines[1:]] == [
        str(photos / name) for name in ("a2.png", "a10.png", LONG)
    ]
    expected = Scorer(model)(photos / "a2.png")
    assert float(lines[1].rsplit(maxsplit=1)[1]) == pytest.approx(expected, abs=1e-3)


def test_csv_and_jsonl(photos: Path, model: str) -> None:
    run = runner.invoke(app, [str(photos), "-r", "-m", model, "-f", "csv"])
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    assert [Path(row["image"]).name for row in rows] == ["a2.png", "a10.png", LONG, "b.png"]
    run = runner.invoke(app, [str(photos), "-r", "-m", model, "-f", "jsonl", "--batch-size", "1"])
    objects = [json.loads(line) for line in run.stdout.splitlines()]
    assert [list(one) for one in objects] == [["image", "score", "error"]] * 4
    for row, one in zip(rows, objects, strict=True):
        assert float(row["score"]) == pytest.approx(one["score"], abs=1e-5)
        assert row["error"] == "" and one["error"] is None


def test_failures_are_rows_and_exit_code_1(photos: Path, model: str) -> None:
    (photos / "text.jpg").write_text("dear diary")
    missing = photos / "missing.png"
    run = runner.invoke(app, [str(missing), str(photos), "-m", model, "-f", "jsonl"])
    assert run.exit_code == 1
    rows = {Path(row["image"]).name: row for row in map(json.loads, run.stdout.splitlines())}
    assert len(rows) == 5 and next(iter(rows)) == "missing.png"
    assert rows["missing.png"]["error"] == "There is no such file."
    assert "not a picture" in rows["text.jpg"]["error"] and rows["text.jpg"]["score"] is None
    assert rows["a2.png"]["score"] is not None
    table = runner.invoke(app, [str(missing), "-m", model])
    assert table.exit_code == 1 and "There is no such file." in table.stdout


def test_an_interrupt_keeps_what_was_scored(
    photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Scorer.score_many

    def interrupted(self: Scorer, sources: Any, **asked: Any) -> Iterator[Any]:
        yield next(real(self, sources, **asked))
        raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "score_many", interrupted)
    run = runner.invoke(app, [str(photos), "-m", model, "-o", str(tmp_path / "scores.csv")])
    assert run.exit_code == 130 and "stopped: 1 scored" in run.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text("utf-8"))))
    assert [Path(row["image"]).name for row in rows] == ["a2.png"]


def test_parquet(photos: Path, model: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "scores.parquet"
    assert runner.invoke(app, [str(photos), "-m", model, "-o", str(out)]).exit_code == 0
    table = parquet.read_table(out)
    assert table.column_names == ["image", "score", "error"] and table.num_rows == 3
    assert table["score"].null_count == 0 and table["error"].null_count == 3


@pytest.mark.parametrize(
    ("name", "first"),
    [("s.csv", "image,score,error"), ("s.jsonl", '{"image": '), ("s.txt", "image ")],
)
def test_output_format_follows_the_suffix(
    photos: Path, model: str, tmp_path: Path, name: str, first: str
) -> None:
    out = tmp_path / name
    run = runner.invoke(app, [str(photos), "-m", model, "-o", str(out)])
    assert run.exit_code == 0 and run.stdout == ""
    assert out.read_text(encoding="utf-8").startswith(first)
    assert {p.name for p in tmp_path.iterdir()} == {"photos", name, f".{name}.rali"}


def test_a_file_of_something_else_is_not_replaced(photos: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("old")
    arguments = [str(photos), "-m", model, "-o", str(out)]
    run = runner.invoke(app, arguments)
    assert isinstance(run.exception, InputError) and "not from this command" in str(run.exception)
    assert out.read_text() == "old" and {p.name for p in tmp_path.iterdir()} == {"photos", out.name}
    assert runner.invoke(app, [*arguments, "--restart"]).exit_code == 0
    assert out.read_text("utf-8").startswith("image,score,error\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["{empty}"], "There are no pictures in"),
        (["{photos}", "-f", "parquet"], "needs a file"),
        (["{photos}", "-o", "{empty}/no/where.csv"], "There is no folder"),
        (["{photos}", "-m", "nowhere"], "There is no model"),
    ],
)
def test_bad_usage_is_a_sentence(
    photos: Path, tmp_path: Path, arguments: list[str], word: str
) -> None:
    """`rali.cli.main` turns InputError into exit code 2."""
    (tmp_path / "empty").mkdir()
    places = {"empty": str(tmp_path / "empty"), "photos": str(photos)}
    run = runner.invoke(app, [a.format(**places) for a in arguments])
    assert isinstance(run.exception, InputError)
    assert word in str(run.exception)


@pytest.mark.parametrize("arguments", [[], ["a.png", "-f", "xml"], ["a.png", "--batch-size", "0"]])
def test_wrong_options_exit_with_2(arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def rali(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rali", "score", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_real_command(photos: Path, model: str, tmp_path: Path) -> None:
    run = rali(str(photos), "--model", model)
    assert run.returncode == 0 and LONG in run.stdout
    assert re.fullmatch(r"rali: 3 scored, 0 failed, mean 2\.\d+, [\d.]+ pictures/s\.\n", run.stderr)
    (tmp_path / "empty").mkdir()
    run = rali(str(tmp_path / "empty"), "--model", model)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.startswith("rali: There are no pictures in")
    assert rali(str(tmp_path / "gone.png"), "--model", model).returncode == 1


def test_nothing_heavy_is_imported(photos: Path, model: str) -> None:
    code = (
        "import sys; sys.argv = ['rali', 'score', *sys.argv[1:]]; from rali.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'scipy', 'pandas', 'huggingface_hub', 'rich'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(photos), "--model", model]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_table_and_bar_on_a_terminal(
    photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rali.cli import score as module

    (photos / "[bold]odd.jpg").write_text("no picture")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(typer.Exit):
        module.score([photos], model=model)
    out, _ = capsys.readouterr()
    assert LONG in out and "[bold]odd.jpg" in out and "not a picture" in out


def test_a_map_that_cannot_be_drawn_is_drawn_by_the_same_command(
    model: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = Scorer.map, []

    def full(self: Scorer, picture: Entry) -> Any:
        calls.append(picture)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return own(self, picture)

    monkeypatch.setattr(Scorer, "map", full)
    out = tmp_path / "scores.csv"
    maps = str(tmp_path / "maps")
    command = [str(photos), "-m", model, "--map", maps, "-o", str(out)]
    assert isinstance(runner.invoke(app, command).exception, OSError)
    with out.open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [calls[0].key]
    assert runner.invoke(app, command).exit_code == 0
    with out.open(newline="") as file:
        rows = [row["image"] for row in csv.DictReader(file)]
    assert len(rows) == 3 and {one.stem for one in Path(maps).glob("*.png")} == {
        Path(row).stem for row in rows
    }
    without = runner.invoke(app, [*command[:3], "-o", str(out)])
    assert "were made with --map" in str(without.exception)
    table = runner.invoke(app, [str(photos), "-m", model, "-o", str(photos), "-f", "csv"])
    assert "is a folder, which holds Parquet; --format csv needs a file" in str(table.exception)


def test_a_resumed_folder_of_shards_keeps_its_maps(model: str, tmp_path: Path) -> None:
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    for number, name in enumerate(("one", "two")):
        (photos / name).mkdir(parents=True)
        rgb = np.full((32, 32, 3), 60 + 90 * number, np.uint8)
        Image.fromarray(rgb).save(photos / name / "same.png")
    options = ["-m", model, "--map", str(maps), "-o", str(tmp_path / "shards")]
    assert runner.invoke(app, [str(photos / "one"), *options]).exit_code == 0
    before = (maps / "same.png").read_bytes()
    assert runner.invoke(app, [str(photos / "two"), *options]).exit_code == 0
    assert (maps / "same.png").read_bytes() == before and (maps / "same-2.png").is_file()


def test_reasons_maps_and_intervals(photographs: dict[str, np.ndarray], tmp_path: Path) -> None:
    blurred, noisy = tmp_path / "a.png", tmp_path / "a.bmp"  # maps must not overwrite each other
    Image.fromarray(degrade(photographs["coffee"], "blur", 5)).save(blurred)
    Image.fromarray(degrade(photographs["coffee"], "noise", 5)).save(noisy)
    (tmp_path / "b.png").write_text("no picture")
    pictures = [str(blurred), str(noisy), str(tmp_path / "b.png")]
    maps = tmp_path / "maps"
    arguments = [*pictures, "--explain", "--map", str(maps), "--interval", "0.9"]
    done = runner.invoke(app, [*arguments, "--format", "csv"])
    assert done.exit_code == 1, "one is no picture"
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["image", "score", "low", "high", "why", "error"]
    assert "blur" in rows[0]["why"] and rows[0]["why"].count("%") == 3
    assert re.match(r"[a-z ]*(noise|grain) ?[a-z ]*\(\d+%\)", rows[1]["why"])
    assert rows[2]["why"] == "" and rows[2]["error"]
    assert sorted(path.name for path in maps.iterdir()) == ["a-2.png", "a.png"]
    width = photographs["coffee"].shape[1]  # the photograph stands beside its map
    assert 2 * width <= Image.open(maps / "a.png").width <= 2 * width + 16
    table = runner.invoke(app, [str(blurred), "--explain"]).stdout
    assert "why" in table.splitlines()[0] and "blur" in table


def test_provider_and_threads(photos: Path, model: str) -> None:
    arguments = [str(photos / "a2.png"), "-m", model, "-f", "csv"]
    usual = runner.invoke(app, arguments)
    given = runner.invoke(app, [*arguments, "--provider", "CPUExecutionProvider", "--threads", "1"])
    assert given.exit_code == 0 and given.stdout == usual.stdout
    refused = runner.invoke(app, [*arguments, "--provider", "NoExecutionProvider"])
    assert refused.exit_code and "has no NoExecutionProvider; it has" in str(refused.exception)


@pytest.mark.parametrize("output", [None, "rows.csv", "rows.jsonl", "rows.parquet"])
def test_the_report_shows_every_row_of_an_archive_with_its_own_map(
    tmp_path: Path, output: str | None
) -> None:
    files, page = sample_files()[:3], tmp_path / "page.html"
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
        archive.writestr("other/" + files[0].name, files[1].read_bytes())  # a map of that name too
        archive.writestr("bad.png", b"no picture")
    options = ["--explain", "--interval", "0.9", "--map", str(tmp_path / "maps")]
    options += ["--output", str(tmp_path / output)] if output else ["--sort", "worst"]
    run = runner.invoke(app, [str(tmp_path / "z.zip"), *options, "--report", str(page)])
    assert run.exit_code == 1, run.output
    text = page.read_text("utf-8")
    rows = {row["image"]: row for row in csv.DictReader(io.StringIO(_as_csv(tmp_path / "z.zip")))}
    shown = re.findall(r'data-score="([^"]*)"', text)
    scores = sorted(float(row["score"]) for row in rows.values() if row["score"])
    assert sorted(float(one) for one in shown if one) == pytest.approx(scores, abs=0.006)
    phrases = {reason.phrase for file in files for reason in Scorer().explain(file)}
    assert all(escape(phrase) in text for phrase in phrases)
    assert len(shown) == len(rows) == 5 and all(Path(key).name in text for key in rows)
    assert len(list((tmp_path / "maps").iterdir())) == 4
    cards = [
        re.findall(r"data:image/[^\"']+", line) for line in text.splitlines() if "data-map" in line
    ]
    assert [len(card) for card in cards] == [2] * 4
    assert len({tuple(card) for card in cards}) == 3, "each picture beside its own map"


def _as_csv(source: Path) -> str:
    return runner.invoke(app, [str(source), "-f", "csv"]).stdout
