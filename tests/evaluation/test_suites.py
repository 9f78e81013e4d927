"""The papers' tables with a measured row."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import Row, write_manifest
from rali.errors import InputError
from rali.evaluation.degradation_suite import degradation_of, degradation_table
from rali.evaluation.published import suite_datasets, suites
from rali.evaluation.suite_text import FORMATS, render
from rali.evaluation.suites import pairwise_accuracy, suite_rows, suite_table


def rows_of(dataset: str, count: int = 30, split: str = "") -> list[Row]:
    draw = np.random.default_rng(len(dataset))
    return [
        Row(Path(f"/data/{dataset}/{i}.png"), float(s), dataset=dataset, split=split)
        for i, s in enumerate(draw.uniform(1, 5, count))
    ]


def guesses(rows: list[Row], noise: float = 0.5) -> dict[Path, float]:
    draw = np.random.default_rng(0)
    return {row.image: float(row.score or 0) + noise * draw.normal() for row in rows}


@pytest.mark.parametrize("name", suites())
def test_published_rows_are_as_wide_as_their_table(name):
    if name == "degradation":
        table = degradation_table("ours", [("noise", 1)], [("noise", 1)])
    elif name == "sriqa-bench":
        table = suite_table(name, "ours", *_enlarged())
    else:
        rows = rows_of(suite_datasets(name)[0])
        table = suite_table(name, "ours", rows, guesses(rows))
    assert len(table.published) >= 2
    for _, cells in table.published:
        assert len(cells) == len(table.columns)
        assert all(0 <= value <= 1 for cell in cells for value in cell.values.values())


def test_two_of_seven_data_sets_are_two_cells_and_five_dashes():
    rows = rows_of("koniq10k", 40, "test") + rows_of("koniq10k ", 0) + rows_of("csiq")
    table = suite_table("rali", "ours", rows, guesses(rows))
    cells = dict(zip(table.columns, table.measured[1], strict=True))
    assert [name for name, cell in cells.items() if cell.values] == ["KonIQ", "CSIQ"]
    low, high = cells["KonIQ"].intervals["srcc"]
    assert low < cells["KonIQ"].values["srcc"] < high
    for name in ("SPAQ", "KADID", "PIPAL", "LiveW", "AGIQA"):
        assert cells[name].reason.startswith("no manifest of")
    assert cells["average"].reason
    line = render(table, "markdown").split("| ours |")[1].splitlines()[0]
    assert line.count("–") == 6
    assert "0.000" not in line


def test_an_average_of_all_data_sets_is_their_mean():
    rows = [row for name in suite_datasets("ract") for row in rows_of(name)]
    table = suite_table("ract", "ours", rows, guesses(rows))
    cells = table.measured[1]
    assert table.columns[4] == "average in-domain"
    assert table.columns[9] == "average out-of-domain"
    for place, own in ((4, cells[:4]), (9, cells[5:9])):
        mean = np.mean([cell.values["plcc"] for cell in own])
        assert cells[place].values["plcc"] == pytest.approx(mean)


def test_the_test_split_is_taken_where_there_is_one():
    rows = rows_of("koniq10k", 20, "train") + [
        Row(Path(f"/data/koniq10k/test{i}.png"), 1.0 + i, dataset="koniq10k", split="test")
        for i in range(4)
    ]
    assert len(suite_rows("rali", rows + rows_of("spaq", 7))) == 4 + 7


def test_a_printed_average_that_does_not_add_up_is_flagged():
    rows = rows_of("koniq10k")
    table = suite_table("q-insight", "ours", rows, guesses(rows))
    assert [note for note in table.notes if "printed average" in note] == [
        "Q-Align: the printed average PLCC is 0.705; its row's mean is 0.743."
    ]


def test_what_a_title_leaves_out_is_said_below_the_table():
    rows = rows_of("koniq10k")
    for name, said in [("q-insight", "DQ-495K's degradations too"), ("rali", "CSIQ is as printed")]:
        assert said in render(suite_table(name, "ours", rows, guesses(rows)), "markdown")


def test_mispaired_rows_are_quoted_from_the_other_paper():
    rows = rows_of("koniq10k")
    tables = [suite_table(name, "x", rows, guesses(rows)) for name in ("rali", "q-insight")]
    for method in ("MUSIQ", "ManIQA", "CLIP-IQA+"):
        one, two = (dict(table.published)[method] for table in tables)
        assert one == two


def test_every_form_holds_the_measured_number():
    rows = rows_of("koniq10k")
    table = suite_table("rali", "our_model", rows, guesses(rows))
    value = table.measured[1][0].values["plcc"]
    for form in ("markdown", "latex"):
        assert f"{value:.3f}" in render(table, form)
    assert r"our\_model" in render(table, "latex")
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    ours = [line for line in lines if line["source"] == "measured" and line["metric"] == "plcc"]
    assert float(ours[0]["value"]) == pytest.approx(value)
    found = json.loads(render(table, "json"))
    assert found["rows"][-1]["cells"]["KonIQ"]["plcc"] == pytest.approx(value)
    assert found["rows"][-1]["cells"]["SPAQ"]["reason"]
    with pytest.raises(InputError, match="no format 'html'"):
        render(table, "html")


def test_unknown_suites_and_data_sets_are_refused():
    with pytest.raises(InputError, match="no suite 'koniq'"):
        suite_rows("koniq", [])
    with pytest.raises(InputError, match="manifests hold mine"):
        suite_rows("rali", rows_of("mine"))


# ── SRIQA-Bench and degradations ─────────────────────────────────────────────────────────────────


def test_pairwise_accuracy_by_hand():
    assert pairwise_accuracy([1, 2, 3], [1, 2, 3]) == 1
    assert pairwise_accuracy([3, 2, 1], [1, 2, 3]) == 0
    assert pairwise_accuracy([1, 3, 2], [1, 2, 3]) == pytest.approx(2 / 3)
    assert pairwise_accuracy([2, 2], [1, 2]) == 0  # a tie orders nothing
    assert pairwise_accuracy([1, 2], [3, 3]) == 0  # people saw no difference
    assert pairwise_accuracy([2, 2], [3, 3]) == 1
    assert np.isnan(pairwise_accuracy([1], [3]))


def _enlarged() -> tuple[list[Row], dict[Path, float]]:
    """Two contents: regression in the right order, generation in the wrong one, originals last."""
    mos = {"SwinIR": 2.0, "RealESRNet": 1.0, "SeeSR": 4.0, "SUPIR": 3.0, "Original": 5.0}
    predicted = {"SwinIR": 2.0, "RealESRNet": 1.0, "SeeSR": 3.0, "SUPIR": 4.0, "Original": 0.0}
    rows = [
        Row(Path(f"/d/{c}_{m}.png"), s, dataset="sriqa-bench", content=c, distortion=m)
        for c in ("x1", "x2")
        for m, s in mos.items()
    ]
    return rows, {row.image: predicted[row.distortion] for row in rows}


def test_sriqa_bench_by_hand():
    table = suite_table("sriqa-bench", "ours", *_enlarged())
    cells = zip(table.columns, table.measured[1], strict=True)
    values = {column: cell.values["value"] for column, cell in cells}
    assert values["Reg-Acc"] == pytest.approx(1 / 3)  # the original is below both, and is better
    assert values["Gen-Acc"] == 0
    assert values["Overall-Acc"] == pytest.approx(5 / 10)  # of ten pairs four with the original
    assert values["SRCC"] == pytest.approx(1 - 6 * (1 + 1 + 0 + 4 + 16) / (5 * 24))


def test_sriqa_bench_counts_the_pairs_that_the_printed_numbers_need():
    methods = ["SwinIR", "RealESRNet", *(f"generates {n}" for n in range(8)), "Original"]
    mos = dict(zip(methods, np.linspace(1, 5, 11), strict=True))
    rows = [
        Row(Path(f"/d/{m}.png"), s, dataset="sriqa-bench", content="x", distortion=m)
        for m, s in mos.items()
    ]
    predicted = {row.image: row.score or 0 for row in rows} | {Path("/d/Original.png"): 0.0}
    cells = suite_table("sriqa-bench", "ours", rows, predicted).measured[1]
    wrong = (2 / 3, 8 / 36, 10 / 55)  # pairs of the original, of those of its group
    found = [cell.values["value"] for cell in cells[:3]]
    assert found == pytest.approx([1 - share for share in wrong])


def test_degradation_accuracy_by_hand():
    truth = [("noise", 1), ("noise", 2), ("blur", 3), ("null", 0)]
    perceived = [("noise", 1), ("noise", 5), None, ("null", 0)]
    table = degradation_table("ours", truth, perceived)
    cells = dict(zip(table.columns, table.measured[1], strict=True))
    assert cells["noise"].values == {"class": 1.0, "level": 0.5}
    assert cells["blur"].values == {"class": 0.0, "level": 0.0}
    assert cells["null"].values == {"class": 1.0}
    assert cells["darken"].reason
    assert "needs all of them" in cells["average"].reason
    assert cells["noise"].intervals["class"] == (1.0, 1.0)
    low, high = cells["noise"].intervals["level"]
    assert low < 0.5 < high
    more = [*truth, ("compression", 1), ("darken", 1), ("fog", 2), ("fog", 3)]
    whole = degradation_table("ours", more, [*perceived, *[("darken", 1)] * 4])
    assert whole.measured[1][-1].values["class"] == pytest.approx((1 + 0 + 0 + 1 + 1) / 5)
    assert any("left out: fog 2" in note for note in whole.notes)


def test_a_level_that_is_not_known_counts_for_the_class_alone():
    assert degradation_of(Row(Path("x.png"), distortion="noise")) == ("noise", 0)
    truth, perceived = [("noise", 0), ("noise", 2), ("blur", 0)], [("noise", 3)] * 3
    table = degradation_table("ours", truth, perceived)
    cells = dict(zip(table.columns, table.measured[1], strict=True))
    assert cells["noise"].values == {"class": 1.0, "level": 0.0}
    assert cells["blur"].values == {"class": 0.0}
    assert any("class alone: 2" in note for note in table.notes)


def test_pictures_that_a_suite_leaves_out_are_counted(photograph_files, tmp_path):
    rows = [
        Row(path, 1.0 + n if n < 3 else None, dataset="kadid10k", distortion="x", split="test")
        for n, path in enumerate(photograph_files[:4])
    ]
    write_manifest(rows, tmp_path / "kadid.csv")
    lines = [f"{row.image},{row.score}" for row in rows[:2]]
    (tmp_path / "p.csv").write_text("image,predicted\n" + "\n".join(lines))
    words = ["evaluate", str(tmp_path / "p.csv"), str(tmp_path / "kadid.csv"), "--suite", "rali"]
    done = CliRunner().invoke(app, [*words, "--unscored", "3"])
    assert done.exit_code == 0, done.output
    assert "KADID 3 (test)" in done.output
    assert "Rows without a score, skipped: 1." in done.output
    assert "got no score and count as 3: 1." in done.output


def test_rows_of_a_split_that_a_suite_does_not_use_are_not_counted_as_skipped():
    rows = [Row(Path(f"/{n}.png"), dataset="koniq10k", split="train") for n in range(9)]
    tested = [Row(Path(f"/t{n}.png"), 1.0 + n, dataset="koniq10k", split="test") for n in range(4)]
    predictions = {row.image: row.score or 0 for row in tested}
    table = suite_table("rali", "ours", [*rows, *tested], predictions)
    assert not any("skipped" in note for note in table.notes)


def test_a_picture_twice_in_a_suite_is_refused_before_a_teacher_is_asked():
    row = Row(Path("/x.png"), distortion="noise", severity=2, dataset="dq495k")
    with pytest.raises(InputError, match="listed twice"):
        suite_rows("degradation", [row, row])


def test_classes_are_compared_by_one_name():
    row = Row(Path("x.png"), distortion="JPEG", severity=3)
    assert degradation_of(row) == ("compression", 3)
    assert degradation_of(replace(row, severity=0)) == ("null", 0)
    assert degradation_of(replace(row, distortion="", severity=None)) == ("null", 0)
    assert degradation_of(replace(row, distortion="fog")) == ("fog", 3)


def test_a_label_can_break_neither_markdown_nor_latex():
    table = degradation_table(r"C:\a|b_{c}$", [("noise", 1)], [("noise", 1)])
    assert r"a\|b_{c}$ | measured" in render(table, "markdown")
    latex = render(table, "latex")
    assert r"C:\textbackslash{}a|b\_\{c\}\$ & measured" in latex
    assert "Q-Insight & published" in latex


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_a_suite_by_command(photograph_files, tmp_path):
    rows = [
        Row(path, 1.0 + place, dataset="csiq", content=path.stem)
        for place, path in enumerate(photograph_files[:4])
    ]
    write_manifest(rows, tmp_path / "csiq.csv")
    arguments = ["evaluate", "builtin", str(tmp_path / "csiq.csv"), "--suite", "rali"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "| builtin | measured |" in done.output
    files = {f"rali.{ending}" for ending in ("md", "tex", "csv", "json")}
    assert files <= {path.name for path in (tmp_path / "out").iterdir()}
    assert len(FORMATS) == len(files)


def test_a_split_with_a_suite_is_refused():
    done = CliRunner().invoke(
        app, ["evaluate", "builtin", "x.csv", "--suite", "rali", "--split", "val"]
    )
    assert "leave out --split" in str(done.exception)


@pytest.mark.slow
def test_a_teacher_goes_through_the_degradation_suite(photograph_files, tmp_path):
    from rali.data.degraded import degrade_folder

    rows = degrade_folder(
        photograph_files[:1], tmp_path / "pictures", size=128,
        distortions=["noise", "blur"], severities=[5],
    )  # fmt: skip
    rows = [replace(row, dataset="dq495k", content="") for row in rows]
    write_manifest(rows, tmp_path / "dq.csv")
    arguments = ["evaluate", "teacher:nano", str(tmp_path / "dq.csv"), "--suite", "degradation"]
    done = CliRunner().invoke(app, [*arguments, "--format", "json"])
    assert done.exit_code == 0, done.output
    cells = json.loads(done.stdout)["rows"][-1]["cells"]
    assert set(cells["noise"]) >= {"class", "level"}
    refused = CliRunner().invoke(
        app, ["evaluate", "builtin", str(tmp_path / "dq.csv"), "--suite", "degradation"]
    )
    assert isinstance(refused.exception, InputError)
