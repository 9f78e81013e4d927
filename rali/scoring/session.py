"""An ONNX file in, onnxruntime's session and the model's metadata out, checked to be rali's.

Sessions have threads, which `fork` does not copy: `Engine` opens another in each process.
"""

from __future__ import annotations

import ctypes
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Lock, local
from typing import Any

import numpy as np

from rali.errors import InputError, shortened
from rali.files import from_json
from rali.pictures.preprocess import Preprocess
from rali.runs.halving import Halving

from .model_folder import PRECISIONS

Provider = str | tuple[str, Mapping[str, Any]]
_INPUT = "pixel_values"
# Cores with AVX2 but without VNNI add products of 8-bit integers in 16 bits, which overflow: scores
# were up to 0.4 off. With this they compute as all others do, a fifth slower; others ignore it.
EXACT_INTEGERS = ("session.x64quantprecision", "1")
_PREPROCESS = tuple(field.name for field in fields(Preprocess))


def open_session(path: Path, providers: Sequence[Provider] | None, threads: int) -> Any:
    """An `onnxruntime.InferenceSession`; without `providers`, on the processor.

    Raises:
        InputError: onnxruntime lacks a provider or cannot start it, or the file cannot be loaded.
    """
    import onnxruntime

    chosen = list(providers) if providers else ["CPUExecutionProvider"]
    known = onnxruntime.get_available_providers()
    names = [each if isinstance(each, str) else each[0] for each in chosen]
    if missing := [name for name in names if name not in known]:
        raise InputError(
            f"onnxruntime here has no {', '.join(missing)}; it has {', '.join(known)}."
        )
    if {"CUDAExecutionProvider", "TensorrtExecutionProvider"} & set(names):
        with redirect_stdout(io.StringIO()):  # what is not there is told below, where it matters
            getattr(onnxruntime, "preload_dlls", lambda: None)()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and told as sentences
    options.intra_op_num_threads = threads
    # Several runs at once share these threads; one that waits must not take a core from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*EXACT_INTEGERS)
    # A planned block for the whole run comes on top of the first run's memory: a quarter more at
    # batch 4, and no faster.
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=chosen, enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own exceptions derive from Exception only
        on = "" if names == ["CPUExecutionProvider"] else f" on {', '.join(names)}"
        raise InputError(
            f"{path} cannot be loaded as an ONNX model{on}: {str(error).strip()}"
        ) from error
    if missing := [name for name in names if name not in session.get_providers()]:
        raise InputError(
            f"onnxruntime could not start {missing[0]}: {_why(missing[0])}. Without it the scores "
            "would come from the processor; leave the provider out for that."
        )
    return session


def _why(provider: str) -> str:
    """Why onnxruntime could not load a provider's library, as the system tells it."""
    from onnxruntime import capi

    stem = f"onnxruntime_providers_{provider.removesuffix('ExecutionProvider').lower()}"
    for file in (Path(folder) / f"{kind}" for folder in capi.__path__ for kind in _LIBRARIES):
        library = file.with_name(file.name.format(stem))
        if library.is_file():
            try:
                ctypes.CDLL(str(library))
            except OSError as error:
                return str(error)
    return "its library was not loaded, or there is no such device here"


_LIBRARIES = ("lib{}.so", "{}.dll", "lib{}.dylib")


@dataclass
class _Held:
    """What belongs to one process: a session, threads with their buffers, and a lock."""

    session: Any
    pool: ThreadPoolExecutor
    turn: AbstractContextManager[Any]
    own: local = field(default_factory=local)
    process: int = field(default_factory=os.getpid)


class Engine:
    """A session and the threads that use it, anew in each process that was forked.

    Args:
        open: opens the session. threads: of the pool.

    Attributes:
        batches: how many pictures a run of the session takes.
    """

    def __init__(self, open: Callable[[], Any], threads: int) -> None:
        self._open, self._threads = open, threads
        self.batches = Halving("score pictures")
        self._held = self._make()

    def here(self) -> _Held:
        """What belongs to this process."""
        if self._held.process != os.getpid():
            # To free the other process's session would be to wait for its threads for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._held.session))
            self._held = self._make()
        return self._held

    @property
    def on_processor(self) -> bool:
        return bool(self._held.session.get_providers()[0] == "CPUExecutionProvider")

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores [n] and embeddings [n, D] of pixels float32 [n, 3, S, S].

        A batch that does not fit into the memory is halved until it does, as are later ones.

        Raises:
            MemoryError: not even one picture fits.
        """
        held = self.here()

        def run(part: np.ndarray) -> Any:
            with held.turn:
                return held.session.run(["score", "embedding"], {_INPUT: part})

        outputs = self.batches.run(run, pixels)
        scores, embeddings = zip(*outputs, strict=True)
        return np.concatenate(scores), np.concatenate(embeddings)

    def buffer(self, shape: tuple[int, ...]) -> np.ndarray:
        """The calling thread's memory for a batch of pixels, float32, always of the same shape.

        Memory that is allocated for each picture is mapped page by page while the other threads
        wait, which costs a third of the pictures per second.

        Raises:
            InputError: there is not enough memory for it.
        """
        own = self.here().own
        if not hasattr(own, "pixels"):
            try:
                own.pixels = np.empty(shape, np.float32)
            except MemoryError:
                raise InputError(
                    f"There is not enough memory for batches of {shape[0]} pictures on "
                    f"{self._threads} threads; give a smaller batch_size or fewer threads."
                ) from None
        return own.pixels

    def _make(self) -> _Held:
        session = self._open()
        on_processor = session.get_providers()[0] == "CPUExecutionProvider"
        return _Held(
            session,
            # Threads are kept, with their buffers; concurrent calls share the cores.
            ThreadPoolExecutor(self._threads, thread_name_prefix="rali"),
            # Not every accelerator's sessions may be run by two threads at once.
            nullcontext() if on_processor else Lock(),
        )


def decode_metadata(texts: Mapping[str, str]) -> dict[str, Any]:
    """Metadata as any exported file holds them, decoded from JSON where they are JSON."""
    metadata: dict[str, Any] = {}
    for key, text in texts.items():
        try:
            metadata[key] = from_json(text)
        except ValueError:
            metadata[key] = text
    return metadata


def read_metadata(session: Any, path: Path) -> dict[str, Any]:
    """`metadata_props`, decoded from JSON.

    Raises:
        InputError: this is not a model of rali, or its metadata, inputs or outputs are not those
            that `Scorer` needs.
    """
    metadata = decode_metadata(session.get_modelmeta().custom_metadata_map)
    again = "Write one with: rali export MODEL_FOLDER"
    if metadata.get("model_type") != "rali":
        raise InputError(f"{path} is an ONNX file, but not one that rali wrote. {again}")
    if missing := [key for key in (*_PREPROCESS, "score_range") if key not in metadata]:
        raise InputError(f"The metadata of {path} lack {', '.join(missing)}. {again}")
    inputs = [i.name for i in session.get_inputs()]
    outputs = {o.name for o in session.get_outputs()}
    if inputs != [_INPUT] or not {"score", "embedding"} <= outputs:
        raise InputError(
            f"{path} takes {', '.join(inputs)} and gives {', '.join(sorted(outputs))}; expected "
            f"pixel_values in, score and embedding out, as in {PRECISIONS['fp32'].file}. {again}"
        )
    if not is_range(bounds := metadata["score_range"]):
        raise InputError(
            f"score_range of {path} must be two numbers, the lower first, got "
            f"{shortened(repr(bounds))}. {again}"
        )
    size, edges = metadata["size"], session.get_inputs()[0].shape[2:]
    if isinstance(size, int) and any(isinstance(edge, int) and edge != size for edge in edges):
        raise InputError(
            f"{path} takes pictures of {' × '.join(map(str, edges))} pixels, but its metadata say "
            f"size {shortened(size)}. {again}"
        )
    return metadata


def is_range(bounds: Any) -> bool:
    """Whether these are two finite numbers as JSON holds them, the lower first."""
    return (
        isinstance(bounds, list)
        and len(bounds) == 2
        and all(isinstance(bound, int | float) and abs(bound) < 1e9 for bound in bounds)
        and bounds[0] < bounds[1]
    )


def read_preprocess(metadata: Mapping[str, Any]) -> Preprocess:
    """How a picture becomes this model's input.

    Raises:
        InputError: a field is of the wrong kind.
    """
    return Preprocess.from_dict({name: metadata[name] for name in _PREPROCESS})


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
