"""Triplets: shards are read back whole; a killed run loses little and repeats nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from rali.data.manifest import Row
from rali.data.reference_rationales import (
    build_reference_triplets,
    reference_triplets,
    requested_triplets,
)
from rali.data.triplets import FIELDS, Triplet, TripletWriter, read_triplets, write_triplets
from rali.errors import InputError
from rali.files import image_sha256

ROOT = Path(__file__).parents[2]


def triplet(image: Path, seed: int = 0, **changes: object) -> Triplet:
    made = Triplet(
        image=image,
        image_sha256="ab" * 32,
        score=3.5,
        reasoning="Soft, 清楚 — and\nnoisy.",
        raw_text="<think>Soft</think><answer>3.5</answer>",
        teacher_score=3.4,
        teacher="someone/teacher-7B",
        prompt="Rate it.",
        seed=seed,
        parse_ok=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def stored_keys(folder: Path) -> Counter[tuple[str, int]]:
    """Every (image, seed) that lies in any shard, counted; read without rali."""
    from pyarrow import parquet

    return Counter(
        (record["image"], record["seed"])
        for shard in shards(folder)
        for record in parquet.ParquetFile(shard).read().to_pylist()
    )


def test_round_trip(tmp_path):
    folder = tmp_path / "triplets"
    wrong = triplet(tmp_path / "b.png", 7, score=None, teacher_score=None, parse_ok=False)
    triplets = [triplet(tmp_path / "a.png", 0), triplet(tmp_path / "a.png", 1), wrong]
    assert write_triplets(folder, triplets, shard_size=2) == 3
    assert read_triplets(folder) == triplets
    assert read_triplets(shards(folder)[0]) == triplets[:2]
    assert len(shards(folder)) == 2


def test_the_columns_are_those_of_the_format(tmp_path):
    from pyarrow import parquet

    write_triplets(tmp_path, [triplet(tmp_path / "a.png")])
    names = parquet.read_schema(shards(tmp_path)[0]).names
    assert names == list(FIELDS)
    assert " ".join(names) == (
        "image image_sha256 score reasoning raw_text teacher_score teacher prompt seed parse_ok"
    )


def test_what_is_done_is_not_written_again(tmp_path):
    write_triplets(tmp_path, [triplet(tmp_path / "a.png", seed) for seed in range(3)])
    again = [triplet(tmp_path / "a.png", seed) for seed in range(5)]
    with TripletWriter(tmp_path) as writer:
        assert (tmp_path / "a.png", 2) in writer.done
        assert (tmp_path / "a.png", 3) not in writer.done
        assert writer.add(again) == 2
        assert writer.add(again) == 0
    assert set(stored_keys(tmp_path).values()) == {1}
    assert [t.seed for t in read_triplets(tmp_path)] == [0, 1, 2, 3, 4]


def test_an_error_in_the_run_keeps_what_was_made(tmp_path):
    with pytest.raises(RuntimeError), TripletWriter(tmp_path, shard_size=100) as writer:
        writer.add([triplet(tmp_path / "a.png")])
        raise RuntimeError
    assert len(read_triplets(tmp_path)) == 1


def test_order_survives_more_than_ten_shards(tmp_path):
    images = [tmp_path / f"{i}.png" for i in range(25)]
    write_triplets(tmp_path, map(triplet, images), shard_size=1)
    assert [t.image for t in read_triplets(tmp_path)] == images


def test_a_folder_can_move_with_its_pictures(tmp_path):
    write_triplets(tmp_path / "old" / "t", [triplet(tmp_path / "old" / "a.png")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_triplets(tmp_path / "new" / "t")[0].image == tmp_path / "new" / "a.png"


def test_two_processes_that_wrote_the_same_are_read_once(tmp_path):
    first, second = TripletWriter(tmp_path), TripletWriter(tmp_path)
    first.add([triplet(tmp_path / "a.png")])
    second.add([triplet(tmp_path / "a.png"), triplet(tmp_path / "b.png")])
    first.flush()
    second.flush()
    assert len(shards(tmp_path)) == 2
    assert [t.image.name for t in read_triplets(tmp_path)] == ["a.png", "b.png"]


def test_a_broken_shard_is_a_sentence(tmp_path):
    write_triplets(tmp_path, [triplet(tmp_path / "a.png")])
    shard = shards(tmp_path)[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cannot be read as a Parquet file.*Delete it") as error:
        read_triplets(tmp_path)
    assert str(shard) in str(error.value)
    with pytest.raises(InputError, match="Delete it"):
        TripletWriter(tmp_path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", [None]), ("image", [7]), ("image", [["a.png"]]), ("image", [{"path": "a.png"}]),
        ("reasoning", [None]), ("seed", [0.5]), ("seed", [None]), ("seed", [[1]]),
        ("score", ["3.5"]), ("parse_ok", ["yes"]),
    ],
)  # fmt: skip
def test_a_shard_with_cells_of_another_kind_is_refused(tmp_path, column, values):
    from pyarrow import Table, parquet

    write_triplets(tmp_path, [triplet(tmp_path / "a.png")])
    shard = shards(tmp_path)[0]
    record = parquet.ParquetFile(shard).read().to_pylist()[0]
    parquet.write_table(Table.from_pylist([{**record, column: values[0]}]), shard)
    with pytest.raises(InputError, match=f"its column {column} has"):
        read_triplets(tmp_path)


def test_text_of_a_shard_that_is_no_text_is_told(tmp_path):
    write_triplets(tmp_path, [triplet(tmp_path / "a.png", reasoning="plain plain")])
    shard = shards(tmp_path)[0]
    from pyarrow import parquet

    table = parquet.ParquetFile(shard).read()
    parquet.write_table(table, shard, compression="none", use_dictionary=False)
    shard.write_bytes(shard.read_bytes().replace(b"plain plain", b"plain\xffplain"))
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        read_triplets(tmp_path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no triplets at"):
        read_triplets(tmp_path / "missing")
    with pytest.raises(InputError, match="no Parquet file"):
        read_triplets(tmp_path)
    from rali.data.manifest import write_manifest

    write_manifest([Row(tmp_path / "a.png")], tmp_path / "manifest.parquet")
    with pytest.raises(InputError, match="not a shard of triplets: it has no column"):
        read_triplets(tmp_path / "manifest.parquet")


def test_image_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert image_sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
    with pytest.raises(InputError, match="cannot be read"):
        image_sha256(tmp_path / "missing")


# ── reference triplets ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rows(photographs, tmp_path) -> list[Row]:
    folder = tmp_path / "photographs"
    folder.mkdir()
    made = []
    for number, (name, rgb) in enumerate(photographs.items()):
        Image.fromarray(rgb[:128, :160]).save(folder / f"{name}.png")
        made.append(Row(folder / f"{name}.png", score=1.0 + number, distortion="", severity=None))
    made[0] = replace(made[0], distortion="blur", severity=3)
    made[1] = replace(made[1], score=None)
    made[2] = replace(made[2], distortion="a name of another data set")
    return made


def test_reference_triplets_say_who_wrote_them(rows, tmp_path):
    folder = tmp_path / "triplets"
    steps: list[tuple[object, ...]] = []
    new = build_reference_triplets(rows, folder, count=3, progress=lambda *step: steps.append(step))
    triplets = read_triplets(folder)
    assert new == len(triplets) == 15
    assert steps[-1] == ("rationales", 5, 5)
    assert [t.image for t in triplets[::3]] == [row.image for row in rows]
    for t, row in zip(triplets[::3], rows, strict=True):
        assert (t.teacher, t.prompt, t.parse_ok) == ("reference", "", True)
        assert t.score == t.teacher_score == row.score
        assert t.reasoning == t.raw_text != ""
        assert t.image_sha256 == hashlib.sha256(row.image.read_bytes()).hexdigest()
    assert len({t.reasoning for t in triplets}) == 15


def test_the_same_call_writes_nothing_and_more_texts_are_added(rows, tmp_path):
    folder = tmp_path / "triplets"
    build_reference_triplets(rows[:2], folder, count=2)
    before = read_triplets(folder)
    assert build_reference_triplets(rows[:2], folder, count=2) == 0
    assert build_reference_triplets(rows, folder, count=4) == 2 * 2 + 3 * 4
    assert build_reference_triplets(rows, folder, count=4, seed=1) == 20
    after = read_triplets(folder)
    assert after[:4] == before
    assert len({t.reasoning for t in after}) == 40
    # the same texts as one run from nothing would have written
    expected = [t for row in rows for t in reference_triplets(row, count=4)]
    assert {t for t in after if t.seed < 1000} == set(expected)


def test_texts_do_not_depend_on_the_place(rows, tmp_path):
    row = rows[0]
    moved = tmp_path / "moved.png"
    moved.write_bytes(row.image.read_bytes())
    texts = [t.reasoning for t in reference_triplets(row)]
    assert [t.reasoning for t in reference_triplets(replace(row, image=moved))] == texts
    assert [t.reasoning for t in reference_triplets(row, seed=1)] != texts


def test_changed_scores_and_other_teachers_are_noticed(rows, tmp_path):
    folder = tmp_path / "triplets"
    build_reference_triplets(rows, folder, count=1)
    with pytest.raises(InputError, match=r"the manifest 4\.5"):
        build_reference_triplets([replace(rows[0], score=4.5)], folder, count=1)
    write_triplets(tmp_path / "other", [triplet(rows[0].image)])
    with pytest.raises(InputError, match="someone/teacher-7B"):
        build_reference_triplets(rows, tmp_path / "other", count=1)


@pytest.mark.parametrize("change", ["degradation", "severity", "bytes"])
def test_texts_of_what_the_picture_no_longer_is_are_refused(change, rows, tmp_path):
    rows = [replace(rows[0], distortion="noise", severity=4), *rows[1:]]
    build_reference_triplets(rows, tmp_path / "t", count=1)
    assert build_reference_triplets(rows, tmp_path / "t", count=1) == 0
    if change == "bytes":
        Image.open(rows[0].image).transpose(Image.Transpose.ROTATE_180).save(rows[0].image)
    other = {"degradation": {"distortion": "blur"}, "severity": {"severity": 1}}.get(change, {})
    with pytest.raises(InputError, match=r"degradation 'noise 4'|another picture"):
        build_reference_triplets([replace(rows[0], **other), *rows[1:]], tmp_path / "t", count=1)


def test_a_picture_without_texts_yet_may_be_corrected(rows, tmp_path):
    absent = replace(rows[0], image=tmp_path / "later.png", distortion="blur", severity=3)
    with pytest.raises(InputError, match="1 of 2 pictures cannot be read"):
        build_reference_triplets([absent, rows[1]], tmp_path / "t", count=1)
    Image.open(rows[0].image).save(absent.image)
    corrected = replace(absent, distortion="noise")
    assert build_reference_triplets([corrected, rows[1]], tmp_path / "t", count=1) == 1
    with pytest.raises(InputError, match="degradation 'noise 3'"):
        build_reference_triplets([absent, rows[1]], tmp_path / "t", count=1)


def test_unreadable_pictures_are_listed_and_the_others_written(rows, tmp_path):
    rows[1].image.write_bytes(b"not a picture")
    rows[3].image.unlink()
    with pytest.raises(InputError, match="2 of 5 pictures cannot be read") as error:
        build_reference_triplets(rows, tmp_path / "triplets", count=2)
    assert str(rows[1].image) in str(error.value)
    assert str(rows[3].image) in str(error.value)
    assert len(read_triplets(tmp_path / "triplets")) == 6


@pytest.mark.parametrize(("option", "value"), [("count", 0), ("count", 1001), ("seed", -1)])
def test_options_out_of_range(rows, tmp_path, option, value):
    with pytest.raises(InputError, match=f"{option} is {value}"):
        build_reference_triplets(rows, tmp_path / "triplets", **{option: value})


def test_a_killed_run_resumes_without_loss_or_repetition(rows, tmp_path):
    """SIGKILL in the middle, then the same call again."""
    many = []
    for number in range(24):
        copy = tmp_path / "photographs" / f"copy {number}.png"
        source = Image.open(rows[number % len(rows)].image)
        source.rotate(number).save(copy)
        many.append(Row(copy, score=1 + number / 6))
    folder = tmp_path / "triplets"
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        import rali.data.reference_rationales
        from rali.data.manifest import Row
        inner = rali.data.reference_rationales.reference_triplets
        def slow(*args, **options):
            time.sleep(0.05)  # so that the parent finds the run in its middle
            return inner(*args, **options)
        rali.data.reference_rationales.reference_triplets = slow
        rows = [Row(Path({str(tmp_path / "photographs")!r}) / f"copy {{i}}.png", score=1 + i / 6)
                for i in range(24)]
        rali.data.reference_rationales.build_reference_triplets(
            rows, {str(folder)!r}, count=3, shard_size=6, workers=1)
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        deadline = time.monotonic() + 300
        while len(shards(folder)) < 2 and time.monotonic() < deadline:
            assert run.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
    finally:
        run.kill()
        run.wait()
    (folder / ".triplets-00009-half.parquet.0123.tmp").write_bytes(b"PAR1 half a shard")
    survived = stored_keys(folder)
    assert 12 <= sum(survived.values()) < 72
    assert build_reference_triplets(many, folder, count=3, shard_size=6) == 72 - len(survived)
    keys = stored_keys(folder)
    assert set(keys.values()) == {1}
    assert len(keys) == 72
    in_one_go = tmp_path / "again"
    build_reference_triplets(many, in_one_go, count=3)
    assert set(read_triplets(folder)) == set(read_triplets(in_one_go))


def test_requested_triplets_are_those_asked_for_now(
    photograph_files: list[Path], tmp_path: Path
) -> None:
    """What a folder has from other seeds, counts and pictures is not trained on."""
    rows = [Row(path, score=3.0) for path in photograph_files[:2]]
    build_reference_triplets(rows, tmp_path, count=3, seed=0)
    build_reference_triplets(rows, tmp_path, count=2, seed=1)
    chosen = requested_triplets(rows[:1], tmp_path, count=2, seed=0)
    assert [(t.image, t.seed) for t in chosen] == [
        (photograph_files[0], 0),
        (photograph_files[0], 1),
    ]
    assert {t.seed for t in requested_triplets(rows, tmp_path, count=2, seed=1)} == {1000, 1001}
