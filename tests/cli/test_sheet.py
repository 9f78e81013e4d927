"""`rali score --report` keeps no more of the sources than its page shows."""

from __future__ import annotations

import gc
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from rali.cli import _sheet
from rali.cli.score import score
from rali.pictures.entry import Entry
from rali.pictures.sources import Entries
from tiny_onnx import write_model

COUNT = 300
app = typer.Typer()
app.command()(score)


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The keys that each pass over the sources took; photos/ and s.zip hold the same pictures."""
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    with zipfile.ZipFile("s.zip", "w") as archive:
        for number in range(COUNT):
            buffer = io.BytesIO()
            level = 255 if number == 7 else number % 200
            Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
            archive.writestr(f"{number}.png", buffer.getvalue())
            Path(f"photos/{number}.png").write_bytes(buffer.getvalue())
    passes: list[list[str]] = []
    own = Entries.__iter__

    def watched(self: Entries) -> Iterator[Entry]:
        passes.append([])
        for entry in own(self):
            passes[-1].append(entry.key)
            yield entry

    monkeypatch.setattr(Entries, "__iter__", watched)
    return passes


@pytest.mark.parametrize("source", ["photos", "s.zip"])
def test_the_best_of_many(
    source: str, taken: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, alive = _sheet.write_contact_sheet, list[int]()

    def counted(page: Path, rows: Iterator[Any], **options: Any) -> int:
        def each() -> Iterator[Any]:
            for row in rows:
                gc.collect()
                alive.append(sum(isinstance(one, Entry) for one in gc.get_objects()))
                yield row

        return write(page, each(), **options)

    monkeypatch.setattr(_sheet, "write_contact_sheet", counted)
    options = ["-m", "m", "--top", "1", "-o", "s.csv", "--report", "page.html"]
    done = CliRunner().invoke(app, [source, *options])
    assert done.exit_code == 0, (done.exception, done.output)
    page = Path("page.html").read_text("utf-8")
    assert re.findall(r'data-score="([^"]*)"', page) == ["4.500000"] and f"{source}/7.png" in page
    assert page.count("data:image/") == 1
    assert len(alive) == 1 and alive[0] < 10, alive
    assert len(taken[0]) == COUNT
    assert taken[1:] == ([] if source == "photos" else [[f"s.zip/{n}.png" for n in range(8)]])


def test_a_picture_that_is_gone_has_its_reason(taken: list[list[str]]) -> None:
    options = ["-m", "m", "-o", "s.csv"]
    assert CliRunner().invoke(app, ["photos", *options]).exit_code == 0
    Path("photos/7.png").unlink()
    done = CliRunner().invoke(app, ["photos", *options, "--report", "page.html"])
    assert done.exit_code == 0, (done.exception, done.output)
    page = Path("page.html").read_text("utf-8")
    assert page.count("data:image/") == COUNT - 1 and "There is no such file." in page
