"""Embeddings of another program: every way in which Parquet holds them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from rali.data.features import Features
from rali.errors import InputError
from rali.pictures.entry import Unreadable

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
NAMES = ["a.jpg", "b.jpg", "deep/c.jpg", "d.jpg"]


def write(path: Path, names: list, vectors: pa.Array, key: str = "image", **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({key: names, "embedding": vectors})
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


def lists(rows: list, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(rows, pa.list_(kind or pa.float32()))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float16()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.float16(), 3),
    ],
    ids=str,
)
def test_each_storage_gives_the_same_vectors(tmp_path, kind):
    rows = [np.float16(row) if "half" in str(kind) else row for row in VECTORS]
    file = write(tmp_path / "e.parquet", NAMES, pa.array([list(row) for row in rows], kind))
    features = Features(file)
    assert (features.count, features.width) == (4, 3)
    found = [entry.picture for entry in features]
    assert np.stack(found).dtype == np.float32 and np.array_equal(found, VECTORS)


def test_pictures_are_found_by_path_or_by_name_in_the_order_asked(tmp_path):
    write(tmp_path / "run" / "0.parquet", NAMES[:2], lists(VECTORS[:2].tolist()), "path")
    write(tmp_path / "run" / "more" / "1.parquet", NAMES[2:], lists(VECTORS[2:].tolist()), "path")
    asked = [Path("/photos/deep/c.jpg"), Path("/photos/a.jpg"), Path("/photos/deep/c.jpg")]
    assert np.array_equal(Features(tmp_path / "run").of(asked), VECTORS[[2, 0, 2]])
    with pytest.raises(InputError, match=r"2 of 3 pictures have no embedding in .*/other/c\.jpg"):
        Features(tmp_path / "run").of([Path("/other/c.jpg"), Path("/a.jpg"), Path("/e.jpg")])


def test_rows_that_hold_no_vector_say_why(tmp_path):
    rows = [[1.0, 2.0], None, [], [float("nan"), 1.0], [None, 1.0], [1e300, 1.0]]
    names = [f"{number}.jpg" for number in range(6)]
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float64(), 2)):
        given = [row or None for row in rows] if "fixed" in str(kind) else rows
        features = Features(write(tmp_path / "e.parquet", names, pa.array(given, kind)))
        found = [entry.picture for entry in features]
        assert np.array_equal(found[0], [1, 2])
        assert all(isinstance(each, Unreadable) for each in found[1:])
        assert found[2].reason == "Row 2 has no embedding."
        assert found[3].reason == "The embedding in row 3 holds NaN or infinity."
        with pytest.raises(InputError, match=r"3\.jpg: The embedding in row 3 holds NaN"):
            features.of([Path("/p/0.jpg"), Path("/p/3.jpg")])


def test_what_is_refused(tmp_path):
    def refused(words: str, names: list, vectors: pa.Array, **more: str) -> None:
        file = write(tmp_path / "e.parquet", names, vectors, **more)
        with pytest.raises(InputError, match=words):
            Features(file).of([Path("/p/a.jpg"), Path("/p/b.jpg")])

    two = [[1.0, 2.0], [3.0, 4.0]]
    refused(r"row 1: a\.jpg is there already", ["a.jpg", "a.jpg"], lists(two))
    refused(r"row 1: \./a\.jpg is there already", ["a.jpg", "./a.jpg"], lists(two))
    refused("row 1, column 'image': None is no picture's name", ["a.jpg", None], lists(two))
    refused("has no column 'image' or .* it has: id, embedding", ["a", "b"], lists(two), key="id")
    refused(r"b\.jpg: its embedding has 1 num", ["a.jpg", "b.jpg"], lists([[1.0, 2.0], [3.0]]))
    refused("holds list<.*int64>.*; expected lists of floats", ["a.jpg"], lists([[1]], pa.int64()))
    with pytest.raises(InputError, match=r"read from \.parquet"):
        Features(tmp_path / "vectors.npy")
    write(tmp_path / "f" / "0.parquet", ["a.jpg"], lists([[1.0]]), encoder="clip")
    write(tmp_path / "f" / "1.parquet", ["b.jpg"], lists([[1.0]]), encoder="dino")
    with pytest.raises(InputError, match="are of different encoders: clip, dino"):
        Features(tmp_path / "f")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        Features(tmp_path / "broken.parquet")
