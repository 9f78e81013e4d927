"""RaliScorer in the engines that it is for: their real workers, the scores of a `Scorer`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rali import RaliScorer, Scorer
from rali.errors import InputError
from tiny_onnx import write_model

pa = pytest.importorskip("pyarrow")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model") / "model.onnx"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Seven pictures of different sizes, and a file in their midst that is none."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        pixels = rng.integers(0, 30 + 30 * number, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    paths[3].write_text("no picture")
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def expected(model: str, files: list[str]) -> list[float | None]:
    return [result.score for result in Scorer(model, threads=1).score_many(files)]


def objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_every_kind_of_column(model: str, files: list[str], expected: list[float | None]) -> None:
    scorer = RaliScorer(model)
    data = [Path(path).read_bytes() for path in files]
    ragged = objects([None if s is None else np.asarray(Image.open(p)) for p, s in
                      zip(files, expected, strict=True)])  # fmt: skip
    kinds = [np.array(files), objects(files), objects(data), ragged, data, pa.array(data)]
    kinds += [objects([{"bytes": each, "path": None} for each in data])]
    for kind in kinds:
        batch = {"image": kind, "id": np.arange(8)}
        scored = scorer(batch)
        assert list(scored) == ["image", "id", "score", "error"] and scored["image"] is kind
        assert scored["score"].to_pylist() == expected
        assert [e is None for e in scored["error"].to_pylist()] == [s is not None for s in expected]
        assert "score" not in batch
    same = np.random.default_rng(1).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(scorer({"image": same})["score"], Scorer(model, threads=1)(same))


def test_a_table_and_a_frame_stay_what_they_are(
    model: str, files: list[str], expected: list[float | None]
) -> None:
    pandas = pytest.importorskip("pandas")
    scorer = RaliScorer(model, column="path")
    table = scorer(pa.table({"path": files}))
    assert table["score"].to_pylist() == expected and table["error"].type == pa.string()
    frame = scorer(pandas.DataFrame({"path": files}))
    np.testing.assert_array_equal(frame["score"], np.array(expected, float))
    assert frame["error"].isna().sum() == 7
    empty = scorer(pa.table({"path": pa.array([], pa.string())}))
    assert empty.schema == table.schema and empty.num_rows == 0


def test_what_else_may_be_asked_for(photograph_files: list[Path]) -> None:
    scorer = RaliScorer(interval=0.9, explain=True, embed=True)
    scored = pickle.loads(pickle.dumps(scorer))({"image": [str(photograph_files[0]), b"junk"]})
    result = next(Scorer(threads=1).score_many(photograph_files[0], interval=0.9, explain=True))
    first, second = ({n: scored[n][i].as_py() for n in scorer.schema.names} for i in (0, 1))
    assert (first["score"], first["low"], first["high"]) == (result.score, result.low, result.high)
    assert first["why"] == [vars(reason) for reason in result.why]
    np.testing.assert_array_equal(first["embedding"], Scorer().embed(photograph_files[0])[0])
    assert second.pop("error") and not second.pop("why") and set(second.values()) == {None}


def test_what_is_refused(model: str) -> None:
    with pytest.raises(InputError, match="no column image, only a, b"):
        RaliScorer(model)({"a": [], "b": []})
    with pytest.raises(InputError, match="a column score already"):
        RaliScorer(model)(pa.table({"image": ["a.png"], "score": [3.0]}))
    with pytest.raises(InputError, match="takes a dict of arrays"):
        RaliScorer(model)(["a.png"])
    with pytest.raises(InputError, match=r"calibrate"):
        RaliScorer(model, interval=0.9)


def test_daft(model: str, files: list[str], expected: list[float | None]) -> None:
    daft = pytest.importorskip("daft", reason="Daft is not installed: pip install daft")
    kinds = {"score": daft.DataType.float64(), "error": daft.DataType.string()}

    @daft.cls
    class Quality(RaliScorer):
        @daft.method.batch(return_dtype=daft.DataType.struct(kinds), unnest=True)
        def of(self, pictures: Any) -> Any:
            return self.score(pictures).to_struct_array().combine_chunks()

    quality = Quality(model)
    pictures = {"path": files, "data": [Path(path).read_bytes() for path in files]}
    frame = daft.from_pydict(pictures)
    for column in pictures:
        scored = frame.select("path", quality.of(frame[column])).to_pydict()
        assert scored["path"] == files and scored["score"] == expected
        assert [e is None for e in scored["error"]] == [s is not None for s in expected]


@pytest.mark.slow
def test_ray(model: str, files: list[str], expected: list[float | None]) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rali[scale]'")
    data = pytest.importorskip("ray.data")
    own = not ray.is_initialized()
    if own:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        rows = [{"number": n, "image": path} for n, path in enumerate(files)]
        scored = data.from_items(rows).map_batches(
            RaliScorer,
            fn_constructor_args=[model],
            compute=data.ActorPoolStrategy(size=2),
            num_cpus=1,
            batch_size=3,
        )
        found = sorted(scored.take_all(), key=lambda row: row["number"])
    finally:
        if own:
            ray.shutdown()
    assert [row["image"] for row in found] == files
    assert [row["score"] for row in found] == expected
    assert [row["error"] is None for row in found] == [s is not None for s in expected]
