"""Scorer on tiny real ONNX files: the same score by every way in, errors that name the picture."""

from __future__ import annotations

import copy
import io
import itertools
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rali.errors import InputError, PictureError
from rali.pictures.read import open_picture
from rali.scoring.scorer import Result, Scorer
from tiny_onnx import PREPROCESS, WEIGHTS, write_model

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx" / "model.onnx").parent.parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("снимки и фото")
    rng = np.random.default_rng(0)
    for number in range(11):
        size = (30 + number, 50 - 2 * number, 3)
        Image.fromarray(rng.integers(0, 20 + 20 * number, size, dtype=np.uint8)).save(
            folder / f"写真 {number}.png"
        )
    return folder


def by_hand(picture: Any) -> float:
    return float(1 + PREPROCESS(open_picture(picture)).mean(axis=(1, 2), dtype=float) @ WEIGHTS)


def test_one_picture_in_every_form(model: Path, photos: Path) -> None:
    path = photos / "写真 3.png"
    scorer = Scorer(model)
    expected = by_hand(path)
    rgb = open_picture(path)
    forms: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())]
    forms += [Image.open(path), rgb, rgb.astype(np.uint16) * 257, rgb / 255]
    for form in forms:
        score = scorer(form)
        assert type(score) is float
        assert score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 64])
def test_the_same_score_whatever_the_batch(model: Path, photos: Path, batch_size: int) -> None:
    paths = sorted(photos.iterdir())
    single = Scorer(model, threads=1)
    scores = Scorer(model, batch_size=batch_size)(paths)
    assert scores.dtype == np.float64 and scores.shape == (11,)
    np.testing.assert_allclose(scores, [by_hand(p) for p in paths], atol=1e-5)
    np.testing.assert_allclose(scores, [single(p) for p in paths], atol=1e-6)
    np.testing.assert_array_equal(scores, Scorer(model, batch_size=batch_size)(paths))


def test_the_built_in_gives_the_same_score_whatever_the_batch(photograph_files: list[Path]) -> None:
    single = Scorer(batch_size=1)(photograph_files)
    assert np.ptp(single) > 0.01
    for batch_size in (2, 3, 8):
        scores = Scorer(batch_size=batch_size)(photograph_files)
        np.testing.assert_allclose(scores, single, atol=1e-5)


def test_folder_and_batch_array(model: Path, photos: Path) -> None:
    scorer = Scorer(model)
    scores = scorer(str(photos))
    assert list(scores)[:3] == [str(photos / f"写真 {n}.png") for n in range(3)]
    assert list(scores)[-1].endswith("写真 10.png")  # natural order
    assert scores[str(photos / "写真 4.png")] == pytest.approx(
        by_hand(photos / "写真 4.png"), abs=1e-5
    )
    batch = np.random.default_rng(1).integers(0, 256, (5, 20, 31, 3), dtype=np.uint8)
    np.testing.assert_allclose(scorer(batch), [by_hand(b) for b in batch], atol=1e-5)
    assert scorer([]).shape == (0,)


def test_embed(model: Path, photos: Path) -> None:
    scorer = Scorer(model)
    paths = sorted(photos.iterdir())
    embedding = scorer.embed(paths)
    assert embedding.shape == (11, 3) and embedding.dtype == np.float32
    np.testing.assert_allclose(1 + embedding @ WEIGHTS, scorer(paths), atol=1e-5)
    assert scorer.embed(paths[0]).shape == (1, 3)
    assert scorer.embed([]).shape == (0, 3)


def test_errors_name_the_picture(model: Path, photos: Path, tmp_path: Path) -> None:
    scorer = Scorer(model)
    with pytest.raises(PictureError, match=r"nothing\.jpg: There is no such file"):
        scorer(tmp_path / "nothing.jpg")
    with pytest.raises(PictureError, match="no such file"):
        scorer("")  # not the current folder
    with pytest.raises(PictureError, match="Picture number 2"):
        scorer([open_picture(photos / "写真 1.png"), b"junk"])
    with pytest.raises(PictureError, match=r"Picture number 1: .*NaN"):
        scorer.embed(np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="no pictures in the folder"):
        scorer(tmp_path)


def test_score_many_continues_after_a_failure(model: Path, photos: Path, tmp_path: Path) -> None:
    good = photos / "写真 2.png"
    (tmp_path / "text.jpg").write_text("dear diary")
    sources = [good, tmp_path / "text.jpg", b"", good, tmp_path, "https://example.org/a.png", good]
    results = list(Scorer(model, batch_size=2).score_many(sources))
    assert [r.source for r in results] == sources
    assert [r.score is None for r in results] == [False, True, True, False, True, True, False]
    assert all((r.score is None) != (r.error is None) for r in results)
    assert results[0].score == pytest.approx(by_hand(good), abs=1e-5)
    assert next(Scorer(model).score_many([tmp_path / "text.jpg"])).error is not None


def test_generators_folders_and_single_pictures_wherever_a_list_is(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    scorer = Scorer(model)
    paths = [photos / f"写真 {n}.png" for n in range(11)]
    scores = scorer(paths)
    for several in (
        (p for p in paths),
        dict.fromkeys(paths).keys(),
        np.array([str(p) for p in paths]),
    ):
        np.testing.assert_array_equal(scorer(several), scores)
    embeddings = scorer.embed(iter(paths))
    np.testing.assert_array_equal(scorer.embed(str(photos)), embeddings)
    for folder in (photos, str(photos)):
        results = list(scorer.score_many(folder, embed=True))
        assert [r.source for r in results] == paths and [r.score for r in results] == list(scores)
        np.testing.assert_array_equal([r.embedding for r in results], embeddings)
    for single in (str(paths[3]), paths[3].read_bytes(), open_picture(paths[3])):
        assert [r.score for r in scorer.score_many(single)] == [scores[3]]
    for empty in (scorer.score_many, scorer.embed, scorer):
        with pytest.raises(InputError, match="no pictures in the folder"):
            empty(tmp_path)


def test_intervals_and_phrases_beside_the_scores(photograph_files: list[Path]) -> None:
    scorer = Scorer()
    results = list(scorer.score_many([*photograph_files[:2], b"junk"], interval=0.9, explain=True))
    for path, result in zip(photograph_files, results[:2], strict=False):
        assert (result.low, result.high) == scorer.interval.around(result.score, 0.9)
        assert result.low < result.score < result.high
        assert list(result.why) == scorer.explain(path) and len(result.why) == 3
        assert result.embedding is None
    assert (results[2].low, results[2].high, results[2].why) == (None, None, ())
    plain = next(scorer.score_many(photograph_files))
    assert (plain.score, plain.low, plain.why) == (results[0].score, None, ())
    with pytest.raises(InputError, match="between 0 and 1"):
        scorer.score_many(photograph_files, interval=90)


def test_the_repr_is_the_call_that_makes_it(model: Path) -> None:
    assert repr(Scorer()) == "Scorer('builtin')"
    assert eval(repr(Scorer(model, threads=2))).threads == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory so")
def test_a_batch_that_does_not_fit_into_the_memory_is_halved(tmp_path: Path) -> None:
    """In a process of its own, whose memory is bounded once the model is open."""
    code = """
import re, resource, warnings
import numpy as np
from rali import Scorer
scorer = Scorer(batch_size=16, threads=1)
rng = np.random.default_rng(0)
pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(20)]
before = Scorer(threads=1)(pictures)
list(scorer.score_many(pictures[:1]))  # the thread's buffer is there
used = int(re.search(r"VmSize:[ \t]+([0-9]+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), -1))
with warnings.catch_warnings(record=True) as told:
    results = list(scorer.score_many(pictures))
assert "from here on it is" in str(told[0].message), told
np.testing.assert_allclose([r.score for r in results], before, atol=1e-5)
"""
    (tmp_path / "bounded.py").write_text(code)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    subprocess.run([sys.executable, tmp_path / "bounded.py"], check=True, env=environment)


def test_score_many_is_bounded_and_may_be_left_early(model: Path) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.full((9, 9), taken % 256, np.uint8)

    results = Scorer(model, batch_size=4).score_many(endless())
    assert all(isinstance(r, Result) for r in itertools.islice(results, 10))
    results.close()  # type: ignore[attr-defined]
    assert taken <= 10 + 3 * 4 + 4


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_score_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    broken = write_model(tmp_path / "m.onnx", std=[1e-45, 1e-45, 1e-45])
    result = next(Scorer(broken).score_many([np.full((9, 9, 3), 255, np.uint8)]))
    assert result.score is None and result.error is not None and "no score" in result.error


def test_properties(model: Path) -> None:
    scorer = Scorer(model / "onnx" / "model.onnx")
    assert scorer.score_range == (1.0, 5.0)
    assert scorer.preprocess == PREPROCESS
    assert scorer.metadata["model_type"] == "rali"


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"model_type": None}, "not one that rali wrote"),
        ({"size": None}, "lack size"),
        ({"score_range": 5}, "two numbers"),
        ({"score_range": [1, 10**400]}, "two numbers"),
        ({"score_range": [5, 1]}, "the lower first"),
        ({"size": 5}, "takes pictures of 16 × 16 pixels, but its metadata say size 5"),
        ({"size": 10**6}, "size 1000000"),
        ({"mean": [0, 0, 10**400]}, "three finite numbers"),
        ({"size": "big"}, "size must be"),
        ({"input_name": "image"}, "expected pixel_values"),
    ],
)
def test_foreign_onnx_files(tmp_path: Path, metadata: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Scorer(write_model(tmp_path / "m.onnx", **metadata))


def test_a_file_that_is_no_onnx_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("text")
    with pytest.raises(InputError, match="cannot be loaded"):
        Scorer(tmp_path / "m.onnx")


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"threads": 0}, {"providers": ["Abacus"]}])
def test_wrong_options(model: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options)) + "|Abacus"):
        Scorer(model, **options)


def test_a_cold_process_imports_little(model: Path, photos: Path) -> None:
    path = photos / "写真 1.png"
    code = (
        "import sys; from rali import Scorer; s = Scorer(sys.argv[1])(sys.argv[2]);"
        "heavy = {'torch', 'scipy', 'huggingface_hub', 'pyarrow', 'PIL.ImageCms', 'rich', 'typer'};"
        "print(s, heavy & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(model), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    score, heavy = run.stdout.strip().split(" ", 1)
    assert heavy == "set()"
    assert float(score) == pytest.approx(by_hand(path), abs=1e-5)


def test_a_provider_may_have_options(photograph_files):
    options = {"arena_extend_strategy": "kSameAsRequested"}
    scorer = Scorer(providers=[("CPUExecutionProvider", options)])
    assert scorer(photograph_files[0]) == Scorer()(photograph_files[0])


def test_a_provider_that_does_not_start_is_an_error(model: Path, monkeypatch) -> None:
    """onnxruntime-gpu without its libraries says it has CUDA, and would use the processor."""
    import onnxruntime

    with pytest.raises(InputError, match="has no CUDAExecutionProvider; it has"):
        Scorer(model, providers=["CUDAExecutionProvider"])
    known = onnxruntime.get_available_providers()
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *known]
    )
    for providers in (
        ["CUDAExecutionProvider"],
        ["CUDAExecutionProvider", "CPUExecutionProvider"],
        [("CUDAExecutionProvider", {"device_id": 0})],
    ):
        with pytest.raises(InputError, match="could not start CUDAExecutionProvider"):
            Scorer(model, providers=providers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_used_scorer_works_after_a_fork(photos: Path) -> None:
    """In a process of its own, which is killed where the fork hangs."""
    code = f"""
import multiprocessing, os, sys
from rali import Scorer
paths = [{str(photos / "写真 1.png")!r}, {str(photos / "写真 2.png")!r}]
scorer = Scorer(threads=2)
before = scorer(paths).tolist(), scorer(paths[0])
child = os.fork()
if not child:
    same = (scorer(paths).tolist(), scorer(paths[0])) == before
    sys.exit(0 if same else 3)  # by way of Python's own end
assert os.waitpid(child, 0)[1] == 0
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(scorer, paths * 3) == before[0] * 3
assert scorer(paths).tolist() == before[0]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_scorer_is_pickled_and_copied(model: Path, photos: Path, monkeypatch) -> None:
    monkeypatch.chdir(model.parent)
    scorer = Scorer(model.name, batch_size=3, threads=1)
    scores = scorer(sorted(photos.iterdir()))
    written = pickle.dumps(scorer)
    assert len(written) < 1000  # no weights
    monkeypatch.chdir(photos)  # who reads it may be elsewhere
    for other in (pickle.loads(written), copy.deepcopy(scorer)):
        assert (other.batch_size, other.threads) == (3, 1)
        np.testing.assert_array_equal(other(sorted(photos.iterdir())), scores)
    assert pickle.loads(pickle.dumps(Scorer())).model == "builtin"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(scorer, photos / "写真 1.png").result() == scores[1]


def test_an_archive_or_a_table_is_as_good_as_a_folder(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    scorer, names = Scorer(model), sorted(path.name for path in photos.iterdir())
    table, archive = tmp_path / "list.csv", tmp_path / "photos.zip"
    table.write_text("image\n" + "".join(f"{photos / name}\n" for name in names))
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.write(photos / name, name)
    expected = scorer([photos / name for name in names]).tolist()
    assert scorer(table) == {str(photos / name): s for name, s in zip(names, expected, strict=True)}
    inside = {f"{archive}/{name}": s for name, s in zip(names, expected, strict=True)}
    assert scorer(str(archive)) == inside
    assert scorer(list(inside)).tolist() == expected  # what lies inside has a path of its own
    assert [row.score for row in scorer.score_many(archive)] == expected
    assert len(scorer.embed(archive)) == len(names)
    with pytest.raises(PictureError, match=r"photos\.zip: This is an archive or a table"):
        scorer([photos / names[0], archive])
