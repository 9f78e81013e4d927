"""A pickle's bytes in, the attributes of the PCA in it out; nothing in the pickle ever runs.

`rali.student.opcodes` reads it into notes; an array is made by `numpy.frombuffer` after the length
of its bytes was compared with its shape and type. `pickle.dump` and `joblib.dump` are read.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .opcodes import (
    BYTES,
    DTYPE,
    MOST_BYTES,
    NEW,
    WRAPPER,
    Machine,
    Made,
    PickleRefusedError,
    count,
    type_of,
)

ARRAY = ("numpy", "ndarray")
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
BUFFERS = {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}
PCA = {
    ("sklearn.decomposition._pca", "PCA"),
    ("sklearn.decomposition.pca", "PCA"),
    ("sklearn.decomposition._incremental_pca", "IncrementalPCA"),
    ("sklearn.decomposition.incremental_pca", "IncrementalPCA"),
}
# Names that a pickled PCA may hold; they stay names.
ADMITTED = {
    ARRAY, DTYPE, *BYTES, WRAPPER, *ARRAYS, *BUFFERS, *NEW, *PCA,
    ("builtins", "object"),
    ("__builtin__", "object"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._mt19937", "MT19937"),
}  # fmt: skip


COMPRESSED: dict[bytes, Callable[[io.BytesIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
    b"\x5d\x00": lzma.LZMAFile,
}


def read_pca(content: bytes) -> dict[str, Any]:
    """The attributes of a pickled PCA or IncrementalPCA, or of a dict, by their names.

    An array among them is a stand-in, which `array` makes into one.

    Raises:
        PickleRefusedError: it holds anything else, or is damaged.
    """
    try:
        found = Machine(io.BytesIO(_decompressed(content)), ADMITTED).run()
    except PickleRefusedError:
        raise
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        raise PickleRefusedError(
            f"it is damaged: {str(error)[:200] or type(error).__name__}"
        ) from error
    if isinstance(found, Made) and found.name in PCA:
        found = found.state
    if not isinstance(found, dict):
        raise PickleRefusedError("it holds no PCA")
    return found


def array(value: Any) -> np.ndarray:
    """The array that a stand-in notes, copied from its bytes.

    Raises:
        PickleRefusedError: it notes no array, one of other types than numbers, or one whose bytes
            are not as many as its shape and type say.
    """
    state: Any = value.state if isinstance(value, Made) else None
    if isinstance(value, Made) and value.name in ARRAYS and _is_tuple(state, 5):
        _, shape, dtype, fortran, data = state
    elif isinstance(value, Made) and value.name in BUFFERS and len(value.args) in (4, 5):
        data, dtype, shape, order = value.args[:4]
        fortran = order == "F"
        if order not in ("C", "F"):
            raise PickleRefusedError("it holds an array in another order than C or F")
    elif isinstance(value, Made) and value.name == WRAPPER and isinstance(state, dict):
        shape, dtype, data = state.get("shape"), state.get("dtype"), value.data
        fortran = state.get("order") == "F"
    else:
        raise PickleRefusedError("it holds something else where an array is expected")
    kind = np.dtype(type_of(dtype))
    if not isinstance(data, bytes | bytearray) or len(data) != count(shape) * kind.itemsize:
        raise PickleRefusedError(f"an array's bytes are not those of its shape and type {kind}")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C").copy()


def _decompressed(content: bytes) -> bytes:
    """The pickle itself, where joblib compressed it."""
    start = content[:2]
    try:
        if start[:1] == b"\x78":
            plain = zlib.decompressobj().decompress(content, MOST_BYTES + 1)
        elif open_as := COMPRESSED.get(start):
            plain = open_as(io.BytesIO(content)).read(MOST_BYTES + 1)
        else:
            plain = content
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise PickleRefusedError(f"it cannot be decompressed: {error}") from error
    if len(plain) > MOST_BYTES:
        raise PickleRefusedError(f"it is larger than {MOST_BYTES >> 20} MiB")
    return plain


def _is_tuple(value: Any, length: int) -> bool:
    return type(value) is tuple and len(value) == length
