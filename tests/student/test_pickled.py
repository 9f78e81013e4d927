"""Pickles of a PCA, intact and hostile, through the reader that builds nothing of theirs."""

from __future__ import annotations

import importlib.util
import io
import pickle
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rali.errors import InputError
from rali.student.pickled import PickleRefusedError, array, read_pca
from rali.student.tensors_only import read_checkpoint

joblib = pytest.importorskip("joblib")
decomposition = pytest.importorskip("sklearn.decomposition")

WIDTH = 6
POINTS = np.random.default_rng(0).normal(size=(30, WIDTH)) + 2


def dumped(fitted: Any, way: Any) -> bytes:
    """Bytes by `pickle.dump` (an int is its protocol) or `joblib.dump` (else its compression)."""
    if isinstance(way, int):
        return pickle.dumps(fitted, way)
    file = io.BytesIO()
    joblib.dump(fitted, file, **way)
    return file.getvalue()


WAYS = [
    *range(6),
    {},
    {"protocol": 2},
    {"compress": 3},
    *({"compress": (kind, 3)} for kind in ("zlib", "gzip", "bz2", "xz", "lzma")),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("kind", ["PCA", "IncrementalPCA"])
def test_a_pca_is_read_as_scikit_learn_wrote_it(kind, way):
    fitted = getattr(decomposition, kind)(3).fit(POINTS)
    state = read_pca(dumped(fitted, way))
    names = ["mean_", "components_", "explained_variance_"]
    for name in names + (["var_"] if kind == "IncrementalPCA" else []):
        wanted, found = getattr(fitted, name), array(state[name])
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)
    assert state["n_components"] == 3


def test_other_kinds_of_pca_are_read(tmp_path):
    import pandas

    frame = pandas.DataFrame(POINTS, columns=[f"column {n}" for n in range(WIDTH)])
    fits = [
        decomposition.PCA(3, random_state=np.random.RandomState(1), whiten=True).fit(POINTS),
        decomposition.PCA(3).fit(POINTS.astype(np.float32)),
        decomposition.PCA(0.9, svd_solver="full").fit(frame),  # names of columns: objects
    ]
    for fitted in fits:
        fitted.components_ = np.asfortranarray(fitted.components_)
        for way in (0, 2, 5, {}, {"compress": 3}):
            state = read_pca(dumped(fitted, way))
            assert np.array_equal(array(state["components_"]), fitted.components_)
            assert np.array_equal(array(state["mean_"]), fitted.mean_)
    big_endian = pickle.dumps({"mean_": np.arange(3).astype(">f8")})
    assert array(read_pca(big_endian)["mean_"]).tolist() == [0, 1, 2]


def call(module: str, name: str, *args: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(args) + b"tR"


INT = lambda n: b"J" + struct.pack("<i", n)  # noqa: E731
DTYPE = call("numpy", "dtype", b"X\x02\0\0\0f8", b"\x89", b"\x88")
EMPTY = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(K\0t", b"C\x01b")
MEAN = b"}X\x05\0\0\0mean_"


def lying(shape: bytes, data: bytes, dtype: bytes = DTYPE) -> bytes:
    """A dict whose mean_ is an array with this state."""
    return b"\x80\x04" + MEAN + EMPTY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tbs."


HOSTILE = {
    "more numbers than bytes": lying(b"(J\xff\xff\xff\x0ft", b"C\x08" + b"\0" * 8),
    "a negative length": lying(b"(" + INT(-1) + b"t", b"C\x08" + b"\0" * 8),
    "lengths whose product wraps to one": lying(
        b"(\x8a\x05\0\0\0\0\x01\x8a\x05\x01\0\0\0\x01t", b"C\x08" + b"\0" * 8
    ),
    "pointers for numbers": lying(
        b"(K\x01t", b"C\x08" + b"A" * 8, call("numpy", "dtype", b"X\x02\0\0\0O8")
    ),
    "a type whose state lies": lying(
        b"(K\x01t", b"C\x08" + b"A" * 8,
        DTYPE + b"(K\x03X\x01\0\0\0|N(X\x01\0\0\0at}X\x01\0\0\0a(" + DTYPE + INT(2**30)
        + b"tsJ\x08\0\0\0K\x01K\x1btb",
    ),
    "records": lying(b"(K\x01t", b"C\x08" + b"A" * 8, call("numpy", "dtype", b"X\x02\0\0\0V8")),
    "an item of an array is set": b"\x80\x04" + MEAN + EMPTY + b"(K\0K\0u.",
    "a function is altered": b"cnumpy.core.multiarray\n_reconstruct\n}X\x01\0\0\0aK\0sb.",
    "a class of numpy's is altered": b"cnumpy\nndarray\n}X\x01\0\0\0aK\0sb.",
    "another name of an admitted module": call("numpy", "save", b"X\x01\0\0\0a") + b".",
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__base__\x93.",
    "nested keys": b"}(K\0t" + b"2\x86" * 60 + b"K\0s.",
    "nested keys in a dict": b"}" + b")" + b"2\x86" * 100 + b"K\0s.",
    "a bomb of hexadecimals": call("_codecs", "encode", b"X\x02\0\0\000", b"X\x03\0\0\0hex") + b".",
    "the same bytes again and again": b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\0"
    + b"".join(call("_codecs", "encode", b"h\0", b"X\x06\0\0\0latin1") + b"0" for _ in range(999)),
    "an array of joblib's that is not there": b"\x80\x04" + MEAN + b"cjoblib.numpy_pickle\n"
    b"NumpyArrayWrapper\n)\x81}(X\x05\0\0\0shape(J\xff\xff\xff\x0ftX\x05\0\0\0dtype" + DTYPE
    + b"ubs.",
    "a list in itself": b"]q\0h\0a.",
    "a persistent name": b"Pa\n.",
    "a name from a registry": b"\x82\x01.",
    "a number of two gibibytes": b"\x8b\xff\xff\xff\x7f\x01.",
    "bytes beyond the file": b"\x8e" + b"\xff" * 7 + b"\x7f.",
    "no end": b"N" * 30,
    "nothing on the stack": b"0.",
    "too many opcodes": b"N0" * 20_000 + b"N.",
    "deep tuples": b")" + b"\x85" * 19_000 + b".",
    "nothing": b"",
    "zeros": b"\0" * 99,
    "a bomb of zlib's": b"\x78\x9c" + zlib.compress(b"N" * 2**20)[2:],
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_is_refused_at_once(what):
    """In a process of its own: a reader that builds arrays crashes on some of these."""
    code = (
        "import sys, resource, rali.student.pickled as p\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "try: state = p.read_pca(sys.stdin.buffer.read()); p.array(state['mean_'])\n"
        "except p.PickleRefusedError as error: print('refused:', error)\n"
    )
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], input=HOSTILE[what], capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr.decode()[-300:]
    assert done.stdout.startswith(b"refused: ")
    assert len(done.stdout) < 300
    assert time.monotonic() - before < 10


def fuzz() -> Any:
    place = Path(__file__).parents[2] / "benchmarks" / "pickle_fuzz.py"
    spec = importlib.util.spec_from_file_location("pickle_fuzz", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_hundred_thousand_broken_pickles_are_read_or_refused():
    module = fuzz()
    intact, draw = module.seeds(), random.Random(1)
    found = [module.read(module.broken(draw.choice(intact), draw)) for _ in range(100_000)]
    assert set(found) <= {"read", "read, without arrays", "refused"}
    assert found.count("refused") > 10_000 < found.count("read")


@pytest.mark.slow
def test_broken_checkpoints_end_no_process():
    found = fuzz().checkpoints(1_000, 1)
    assert found["refused"] + found["read"] == 1_000
    assert not found["ended the reading process"]


def test_a_checkpoint_that_asks_for_all_of_the_memory_is_refused(tmp_path):
    many = torch.zeros(1).expand(2**36)  # four bytes that say they are 256 GiB
    torch.save({"state_dict": {"clip.a": many}}, tmp_path / "ckpt.pt")
    with pytest.raises(InputError, match=r"ckpt\.pt is refused: reading it takes more than four"):
        read_checkpoint(tmp_path / "ckpt.pt")


def test_a_checkpoint_is_read_with_what_it_shares(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"a": whole, "row": whole[1], "turned": whole.T, "half": whole.half()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "ckpt.pt")
    found = read_checkpoint(tmp_path / "ckpt.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    for content in ([1, 2], {"state_dict": {"a": 1}}):
        torch.save(content, tmp_path / "ckpt.pt")
        with pytest.raises(InputError, match="no state_dict of tensors"):
            read_checkpoint(tmp_path / "ckpt.pt")


def test_what_is_refused_says_why():
    with pytest.raises(PickleRefusedError, match=r"asks for os\.system"):
        read_pca(b"cos\nsystem\n(X\x01\0\0\0atR.")
    with pytest.raises(PickleRefusedError, match="holds no PCA"):
        read_pca(pickle.dumps([1, 2]))
    with pytest.raises(PickleRefusedError, match="something else where an array"):
        array(read_pca(pickle.dumps({"mean_": "a"}))["mean_"])
