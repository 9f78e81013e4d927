"""`rali score` resumes rows that are known by numbers only while these mean the same pictures."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from rali.cli.score import score
from rali.errors import InputError
from rali.pictures.sources import find_entries
from rali.scoring.journal import Journal
from rali.scoring.rows import differences
from tiny_onnx import write_model

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
app = typer.Typer()
app.command()(score)
ROWS = 40
LEVELS = [3 * row for row in range(ROWS)]
OUTPUTS = ("s.csv", "s.jsonl", "s.parquet", "shards")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(level: int) -> bytes:
    """A grey picture; of all levels the files are equally long."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (level, level, level)).save(buffer, "BMP")
    return buffer.getvalue()


def score_of(level: int) -> float:
    return 1 + 3.5 * level / 255


def table(path: str, **levels: Sequence[int]) -> None:
    """Pictures of these levels, a column each, without statistics."""
    columns = {name: [picture(level) for level in each] for name, each in levels.items()}
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    parquet.write_table(pa.table(columns), path, **options)


def run(*arguments: str, code: int = 0, **options: Any) -> str:
    """Standard error of a command that succeeds, or the sentence of one that is refused."""
    done = CliRunner().invoke(app, ["-m", "m", *arguments], **options)
    if code == 2:
        assert isinstance(done.exception, InputError), (done.exception, done.output)
        return str(done.exception)
    assert done.exit_code == code, (done.exception, done.output)
    return done.stderr


def scores_in(output: str) -> dict[str, float]:
    path = Path(output)
    if path.suffix == ".csv":
        rows: Any = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    else:
        rows = parquet.read_table(output).to_pylist()
    return {row["image"]: float(row["score"]) for row in rows}


def of_levels(key: str, levels: Sequence[int]) -> Any:
    return pytest.approx({f"{key}#{n}": score_of(each) for n, each in enumerate(levels)}, abs=1e-4)


@pytest.mark.parametrize("output", OUTPUTS)
def test_another_column_is_refused(output: str) -> None:
    table("t.parquet", a=LEVELS, b=LEVELS[::-1])
    run("t.parquet", "--column", "a", "-o", output)
    refused = run("t.parquet", "--column", "b", "-o", output, code=2)
    assert "made with --column a, not with b" in refused and "--restart" in refused
    assert scores_in(output) == of_levels("t.parquet", LEVELS)
    run("t.parquet", "--column", "a", "-o", output)
    run("t.parquet", "--column", "b", "-o", output, "--restart")
    assert scores_in(output) == of_levels("t.parquet", LEVELS[::-1])
    run("t.parquet", "--column", "b", "-o", output)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_table_that_was_written_anew_is_refused(output: str) -> None:
    table("t.parquet", image=LEVELS)
    before, footer = Path("t.parquet").read_bytes(), parquet.read_metadata("t.parquet")
    run("t.parquet", "-o", output)
    os.utime("t.parquet", (1, 1))  # copied, say
    run("t.parquet", "-o", output)
    table("t.parquet", image=random.Random(0).sample(LEVELS, ROWS))
    assert parquet.read_metadata("t.parquet").equals(footer), "the rows alone changed places"
    assert Path("t.parquet").stat().st_size == len(before)
    refused = run("t.parquet", "-o", output, code=2)
    assert "t.parquet has been written anew" in refused and "--restart" in refused
    table("t.parquet", image=[*LEVELS, 255])
    assert "written anew" in run("t.parquet", "-o", output, code=2)
    assert scores_in(output) == of_levels("t.parquet", LEVELS)
    Path("t.parquet").write_bytes(before)
    run("t.parquet", "-o", output)


def test_a_table_without_rows_yet_may_be_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        table(f"{name}.parquet", image=LEVELS)
    own = Journal.write

    def stopped(self: Journal, row: dict[str, Any]) -> None:
        own(self, row)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", stopped)
        run("a.parquet", "b.parquet", "-o", "s.csv", code=130)
    assert set(scores_in("s.csv")) == {"a.parquet#0"}
    table("b.parquet", image=LEVELS[::-1])
    run("a.parquet", "b.parquet", "-o", "s.csv")
    found = {key: score for key, score in scores_in("s.csv").items() if key[0] == "b"}
    assert found == of_levels("b.parquet", LEVELS[::-1])
    table("b.parquet", image=LEVELS)
    assert "written anew" in run("a.parquet", "b.parquet", "-o", "s.csv", code=2)


@pytest.mark.parametrize("output", ["s.csv", "s.parquet"])
def test_a_refused_output_that_is_deleted_begins_anew(output: str) -> None:
    table("t.parquet", image=LEVELS)
    run("t.parquet", "-o", output)
    table("t.parquet", image=LEVELS[::-1])
    assert "written anew" in run("t.parquet", "-o", output, code=2)
    Path(output).unlink()
    run("t.parquet", "-o", output)
    assert scores_in(output) == of_levels("t.parquet", LEVELS[::-1])


@pytest.mark.parametrize("output", ["s.csv", "shards"])
def test_further_sources_extend_an_output(output: str) -> None:
    table("t.parquet", image=LEVELS[:3])
    table("u.parquet", other=LEVELS[3:5])
    Path("photos").mkdir()
    Path("photos/a.bmp").write_bytes(picture(9))
    run("photos", "-o", output)
    run("photos", "t.parquet", "-o", output)
    run("u.parquet", "--column", "other", "-o", output)
    run("t.parquet", "--column", "image", "-o", output)  # the default, named
    assert set(scores_in(output)) == {
        "photos/a.bmp", *(f"t.parquet#{row}" for row in range(3)), "u.parquet#0", "u.parquet#1",
    }  # fmt: skip
    table("u.parquet", other=LEVELS[:2])
    run("photos", "t.parquet", "-o", output)
    assert "u.parquet has" in run("u.parquet", "--column", "other", "-o", output, code=2)


@pytest.mark.parametrize(
    "source", ["tables/*.parquet", "@list.txt", "-", ["photos", "tables/t.parquet"]]
)
def test_tables_among_other_sources_are_compared_too(source: str | list[str]) -> None:
    for folder in ("tables", "photos"):
        Path(folder).mkdir()
    Path("photos/a.bmp").write_bytes(picture(9))
    Path("list.txt").write_text("photos/a.bmp\ntables/t.parquet\n")
    table("tables/t.parquet", image=LEVELS)
    command = [*([source] if isinstance(source, str) else source), "-o", "s.csv"]
    run(*command, input=Path("list.txt").read_text())
    before = Path("s.csv").read_bytes()
    table("tables/t.parquet", image=LEVELS[::-1])
    if source != "-":
        Path("photos/b.bmp").write_bytes(picture(1))  # not scored first
    assert "written anew" in run(*command, code=2, input=Path("list.txt").read_text())
    assert Path("s.csv").read_bytes() == before


def test_rows_that_a_list_names_are_of_the_column_and_compared() -> None:
    table("t.parquet", image=LEVELS, photo=LEVELS[::-1])
    Path("l.txt").write_text("t.parquet#0\nt.parquet#1\n")
    run("@l.txt", "--column", "photo", "-o", "s.csv", "--copy-to", "best")
    assert scores_in("s.csv") == of_levels("t.parquet", LEVELS[:-3:-1])
    assert Path("best/t-0.bmp").read_bytes() == picture(LEVELS[-1])
    assert "with --column photo, not with image" in run("@l.txt", "-o", "s.csv", code=2)
    run("t.parquet#1", "--column", "photo", "-o", "s.csv")
    said = run("@l.txt", "--column", "none", "-o", "n.csv", code=1)
    assert "2 failed" in said and "has no column 'none'" in Path("n.csv").read_text()
    for output, engine in (("s.csv", ()), ("shards", ("--engine", "ray"))):
        table("t.parquet", image=LEVELS, photo=LEVELS[::-1])
        run("@l.txt", "--column", "photo", "-o", output)
        table("t.parquet", image=LEVELS, photo=LEVELS)
        command = ("@l.txt", "--column", "photo", "-o", output, *engine)
        assert "t.parquet has been written anew" in run(*command, code=2)


def test_rows_of_an_earlier_command_are_copied_where_their_column_is_known() -> None:
    Path("a.bmp").write_bytes(picture(9))
    table("one.parquet", image=LEVELS[:1])
    table("two.parquet", image=LEVELS[:1], photo=LEVELS[1:2])
    run("one.parquet", "-o", "s.csv")
    run("two.parquet", "--column", "photo", "-o", "s.csv")
    said = run("a.bmp", "-o", "s.csv", "--copy-to", "best", code=1)
    assert "2 pictures copied to best, 1 cannot be read." in said
    assert {path.name for path in Path("best").glob("*")} == {
        ".lock",
        ".rali.jsonl",
        "a.bmp",
        "one-0.bmp",
    }
    run("two.parquet", "--column", "photo", "-o", "s.csv", "--copy-to", "best")
    assert Path("best/two-0.bmp").read_bytes() == picture(LEVELS[1])


def test_a_list_that_is_a_pipe() -> None:
    Path("a.bmp").write_bytes(picture(9))
    table("t.parquet", image=LEVELS[:2])
    for output in ("s.csv", "shards"):
        read, write = os.pipe()
        os.write(write, b"a.bmp\nt.parquet\n")
        os.close(write)
        run(f"@/dev/fd/{read}", "-o", output)
        os.close(read)
        assert set(scores_in(output)) == {"a.bmp", "t.parquet#0", "t.parquet#1"}


@pytest.mark.parametrize("place", ["l.txt", "memory://listed/l.txt"])
def test_a_list_of_addresses_is_not_looked_up_before_the_first_row(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    names = [f"memory://listed/{number:04x}" for number in range(9)]
    for name in names:
        store.pipe(name, picture(9))
    Path("l.txt").write_text("\n".join(names))
    store.pipe("/listed/l.txt", Path("l.txt").read_bytes())
    asked, own = list[str](), type(store).isdir
    monkeypatch.setattr(
        type(store), "isdir", lambda self, path: asked.append(path) or own(self, path)
    )
    tables = find_entries([f"@{place}"]).tables()
    assert not list(tables) and not asked
    run(f"@{place}", "-o", "s.csv")
    assert set(scores_in("s.csv")) == set(names) and len(asked) == len(names)


def test_an_output_from_before_is_accepted(here: Path) -> None:
    table("t.parquet", image=LEVELS)
    for output, note in (("s.csv", ".s.csv.rali/tables.jsonl"), ("shards", "shards/*/_tables*")):
        run("t.parquet", "-o", output)
        next(here.glob(note)).unlink()
        run("t.parquet", "-o", output)
        assert next(here.glob(note)).is_file()


def test_json_lines_may_grow() -> None:
    def lines(*levels: int) -> str:
        urls = [base64.b64encode(picture(level)).decode() for level in levels]
        return "".join(json.dumps({"image": f"data:image/bmp;base64,{u}"}) + "\n" for u in urls)

    Path("t.jsonl").write_text(lines(1, 2))
    run("t.jsonl", "-o", "s.csv")
    Path("t.jsonl").write_text(lines(1, 2, 3))
    run("t.jsonl", "-o", "s.csv")
    assert scores_in("s.csv") == of_levels("t.jsonl", (1, 2, 3))
    for other in ((1, 2, 4), (1, 3, 2, 4), (1, 2)):
        Path("t.jsonl").write_text(lines(*other))
        assert "written anew" in run("t.jsonl", "-o", "s.csv", code=2)


def test_data_urls_in_a_csv() -> None:
    def rows(*levels: int) -> str:
        buffer = io.BytesIO()
        texts = []
        for level in levels:
            buffer = io.BytesIO()
            Image.new("L", (8, 8), level).save(buffer, "BMP")
            texts.append(f'"data:image/bmp;base64,{base64.b64encode(buffer.getvalue()).decode()}"')
        return "\n".join(["image", *texts, ""])

    Path("t.csv").write_text(rows(1, 2))
    run("t.csv", "-o", "s.csv")
    assert scores_in("s.csv") == of_levels("t.csv", (1, 2))
    Path("t.csv").write_text(rows(2, 1))
    assert "written anew" in run("t.csv", "-o", "s.csv", code=2)


def test_a_table_of_paths_may_change() -> None:
    for level in (1, 2):
        Path(f"{level}.bmp").write_bytes(picture(level))
    Path("t.csv").write_text("image\n1.bmp\n")
    run("t.csv", "-o", "s.csv")
    Path("t.csv").write_text("path\n2.bmp\n1.bmp\n")
    run("t.csv", "-o", "s.csv")
    wanted = {f"{level}.bmp": score_of(level) for level in (1, 2)}
    assert scores_in("s.csv") == pytest.approx(wanted, abs=1e-4)


def test_data_sets(here: Path) -> None:
    datasets = pytest.importorskip("datasets")

    def save(train: Sequence[int], **more: Sequence[int]) -> None:
        levels = {"train": train, **more}
        splits = {
            name: datasets.Dataset.from_dict(
                {"image": [{"bytes": picture(level)} for level in each]},
                features=datasets.Features({"image": datasets.Image()}),
            )
            for name, each in levels.items()
        }
        datasets.DatasetDict(splits).save_to_disk(here / "saved")
        from rali.pictures import hugging_face

        hugging_face._loaded.cache_clear()  # as in a new process
        hugging_face._stored.cache_clear()

    save(LEVELS)
    run("saved", "-o", "s.csv")
    assert scores_in("s.csv") == of_levels("saved/train", LEVELS)
    save(LEVELS, test=LEVELS[:2])
    run("saved", "-o", "s.csv")
    assert len(scores_in("s.csv")) == ROWS + 2
    save(LEVELS, test=LEVELS[1::-1])
    assert "saved/test has been written anew" in run("saved", "-o", "s.csv", code=2)


def test_a_table_at_an_address() -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    table("t.parquet", image=LEVELS)
    store.pipe("/seals/t.parquet", Path("t.parquet").read_bytes())
    run("memory://seals/t.parquet", "-o", "s.csv")
    run("memory://seals/t.parquet", "-o", "s.csv")
    table("t.parquet", image=[*LEVELS, 1])
    store.pipe("/seals/t.parquet", Path("t.parquet").read_bytes())
    assert "written anew" in run("memory://seals/t.parquet", "-o", "s.csv", code=2)


def test_what_a_store_notes_beside_a_table_does_not_change_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    table("t.parquet", image=LEVELS[:3])
    store.pipe("/noted/t.parquet", Path("t.parquet").read_bytes())
    own = type(store).info

    def noting(etag: str, content: str) -> None:
        tags = {"etag": etag, "md5Hash": content}
        monkeypatch.setattr(type(store), "info", lambda *given, **more: own(*given, **more) | tags)

    noting("CJ1=", "1B2M")
    run("memory://noted/t.parquet", "-o", "s.csv")
    noting("CJ2=", "1B2M")
    run("memory://noted/t.parquet", "-o", "s.csv")
    noting("CJ2=", "9nZz")
    assert "written anew" in run("memory://noted/t.parquet", "-o", "s.csv", code=2)


def test_ray_is_not_started_for_a_changed_table() -> None:
    table("t.parquet", image=LEVELS)
    run("t.parquet", "-o", "shards")
    table("t.parquet", image=LEVELS[::-1])
    assert "written anew" in run("t.parquet", "-o", "shards", "--engine", "ray", code=2)


def test_scores_of_another_provider_are_not_mixed() -> None:
    given = {"provider": "CUDAExecutionProvider"}
    assert differences({"provider": None}, {"provider": None}) == ""
    assert differences({"provider": None}, given) == "no --provider"
    assert differences(given, {"provider": None}) == "--provider CUDAExecutionProvider"
    assert differences({}, given) == ""  # an output from before says nothing
    table("t.parquet", image=LEVELS[:2])
    run("t.parquet", "-o", "s.csv")
    run("t.parquet", "-o", "s.csv", "--provider", "CPUExecutionProvider")
    settings = Path(".s.csv.rali/settings.json")
    noted = json.loads(settings.read_text())
    noted["settings"] |= given
    settings.write_text(json.dumps(noted))
    refused = run("t.parquet", "-o", "s.csv", code=2)
    assert "made with --provider CUDAExecutionProvider" in refused
