"""A model in, a folder with a page out: the browser scores pictures, and they never leave it.

The page (`page/`) is plain HTML, CSS and ES modules, served as static files. Beside it lie
`prepare.onnx` (image uint8 [H, W, 3] → pixel_values, Pillow's pixels), `window.onnx` (the same for
a part of a picture), the model, `model.json` with what else the page needs from it, and ONNX
Runtime's own builds for browsers, one for WebAssembly and one for WebGPU. The page unpacks these
itself, so that a host which does not compress sends a quarter of them. `NOTICE` says of each file
where it comes from and under which terms.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, external_data_helper, helper

from rali.errors import InputError
from rali.files import replace_atomically
from rali.pictures.preprocess import Preprocess
from rali.scoring.heatmap import COLOUR_SHARE, ENDS, MOST, SHARE, colour_scale, window_preprocess
from rali.scoring.licenses import model_parts
from rali.scoring.model_folder import INTERVAL_FILE, PHRASES_FILE
from rali.scoring.scorer import Scorer
from rali.version import __version__

from .checked import take_along
from .graph import Graph, Value
from .image import normalise
from .resize import IMAGE, OPSET

LEVEL = 0.9  # probability that an interval covers the human score
RUNTIME = "onnxruntime-web@1.30.0"  # the npm package that the page was tested with
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_PAGE = Path(__file__).parent / "page"


def export_web(
    model: str | Path,
    folder: str | Path,
    runtime: str | Path | None = None,
    *,
    precision: str = "fp32",
) -> Path:
    """Write the page into `folder` and return its `index.html`; other files there stay.

    Args:
        model: what `Scorer` takes. Its intervals and phrases go along if it has them.
        folder: created if it does not exist.
        runtime: the npm package onnxruntime-web, as `.tgz` or unpacked; by default npm fetches it.
        precision: which of the model's files, as `Scorer` takes it.

    Raises:
        InputError: there is no such model, it is more than one ONNX file, or the npm package
            cannot be fetched.
    """
    scorer, folder = Scorer(model, precision=precision), Path(folder)
    _refuse_several_files(scorer.path)
    files = {path.name: path.read_bytes() for path in _PAGE.iterdir()}
    for name, data in _runtime(runtime).items():
        if name.endswith(".wasm"):
            name, data = f"{name}.gz", gzip.compress(data, mtime=0)
        files[f"ort/{name}"] = data
    files["ort/LICENSE"] = files.pop("ort-LICENSE")
    files["prepare.onnx"] = prepare_model(scorer.preprocess).SerializeToString()
    files["window.onnx"] = window_model(scorer.preprocess).SerializeToString()
    files["model.onnx"] = scorer.path.read_bytes()
    files["model.json"] = json.dumps(describe(model, scorer), ensure_ascii=False).encode()
    files["NOTICE"] = _notice(files).encode()
    for name in sorted(files, key=lambda name: name == "index.html"):  # itself last
        replace_atomically(folder / name, partial(Path.write_bytes, data=files[name]))
    return folder / "index.html"


def _notice(files: dict[str, bytes]) -> str:
    """What the files with weights or of others say of themselves."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            if name.endswith((".onnx", ".wasm.gz")):
                Path(folder, Path(name).name).write_bytes(data)
        parts = [replace(part, file=Path(part.file).name) for part in model_parts(folder)]
    return "\n\n".join(part.words() for part in parts) + "\n"


def prepare_model(preprocess: Preprocess) -> ModelProto:
    """A model from `image` uint8 [H, W, 3], of any size, to `pixel_values` float32 [1, 3, S, S]."""
    graph = Graph("prepare")
    normalise(graph, preprocess)
    return _model(graph, "pixel_values", preprocess.size)


def window_model(preprocess: Preprocess) -> ModelProto:
    """A model from `image` uint8 [H, W, 3], a window of a picture, to `mirrored` [1, 3, S, S].

    The output is the window as `rali.scoring.heatmap.windows` gives it.
    """
    graph, small = Graph("window"), window_preprocess(preprocess)
    normalise(graph, small)
    places = np.pad(np.arange(small.size), (0, preprocess.size - small.size), "symmetric")
    down = graph.Gather(Value(graph, "pixel_values"), places, axis=2)
    graph.node("Gather", down, places, output="mirrored", axis=3)
    return _model(graph, "mirrored", preprocess.size)


def _model(graph: Graph, output: str, size: int) -> ModelProto:
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, 3, size, size])
    return graph.model([IMAGE], [info], OPSET)


def describe(model: str | Path, scorer: Scorer) -> dict[str, Any]:
    """What the page needs besides the model's file; arrays are base64 of little-endian float32."""
    return {
        "name": Path(model).resolve().name,
        "rali_version": __version__,
        "size": scorer.preprocess.size,
        "score_range": scorer.score_range,
        "interval": _interval(model, scorer),
        "phrases": _phrases(model, scorer),
        "map": _map(scorer.preprocess, scorer.score_range),
        "check": {"shape": CHECK_SHAPE, "score": scorer(check_picture())},
    }


CHECK_SHAPE = (160, 240, 3)


def check_picture() -> np.ndarray:
    """A picture that page and Python must score alike, uint8 [H, W, 3]: (5y + 3x + 60c) mod 256."""
    y, x, c = np.indices(CHECK_SHAPE)
    return ((5 * y + 3 * x + 60 * c) % 256).astype(np.uint8)


def _interval(model: str | Path, scorer: Scorer) -> dict[str, Any] | None:
    if take_along(model, INTERVAL_FILE) is None:
        return None
    interval = scorer.interval
    return {
        "level": LEVEL,
        "radius": interval.radius(LEVEL),
        "score_range": interval.score_range,
        "source": interval.source,
    }


def _phrases(model: str | Path, scorer: Scorer) -> dict[str, Any] | None:
    if take_along(model, PHRASES_FILE) is None:
        return None
    phrases = scorer.phrases
    phrases.rank(scorer.embed(check_picture())[0])  # refuses a table of another width
    return {
        "texts": phrases.texts,
        "meanings": phrases.meanings,
        "vectors": _base64(phrases.vectors),
        "offsets": _base64(phrases.offsets),
    }


def _map(preprocess: Preprocess, score_range: tuple[float, float]) -> dict[str, Any]:
    """How `rali.scoring.heatmap` lays windows over a picture and colours their scores."""
    return {
        "mode": preprocess.resize_mode,
        "share": SHARE,
        "most": MOST,
        "range": score_range,
        "ends": ENDS,
        "opacity": COLOUR_SHARE,
        "colours": colour_scale(np.linspace(0, 1, 256)).tolist(),
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _refuse_several_files(path: Path) -> None:
    if path.suffix == ".ort":
        raise InputError(f"A page takes the .onnx file that {path} was made from; give that.")
    initializers = onnx.load(str(path), load_external_data=False).graph.initializer
    if any(map(external_data_helper.uses_external_data, initializers)):
        raise InputError(
            f"The weights of {path} lie in a second file, as they do from 2 GB on, and a page "
            "takes a model in one file. Type: rali export MODEL --precision int8"
        )


# --- ONNX Runtime --------------------------------------------------------------------------------


def _runtime(given: str | Path | None) -> dict[str, bytes]:
    """`RUNTIME_FILES` of the npm package: given as a folder or `.tgz`, or else fetched."""
    if given is not None:
        return _unpacked(Path(given)) if Path(given).is_dir() else _packed(Path(given))
    with tempfile.TemporaryDirectory() as folder:
        return _packed(_fetch(Path(folder)))


def _fetch(folder: Path) -> Path:
    name = RUNTIME.partition("@")[0]
    instead = f"Or download the package elsewhere and give it with --{name} FILE.tgz"
    npm = shutil.which("npm")  # on Windows npm.cmd
    if npm is None:
        raise InputError(f"There is no npm here to fetch {name}: install Node.js. {instead}")
    fetch = [npm, "pack", RUNTIME, "--pack-destination", str(folder)]
    ended = subprocess.run(fetch, cwd=folder, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tgz"))
    if ended.returncode or not archives:
        reason = (ended.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise InputError(f"npm could not fetch {RUNTIME}: {reason}. {instead}")
    return archives[0]


def _unpacked(folder: Path) -> dict[str, bytes]:
    if missing := [name for name in RUNTIME_FILES if not (folder / "dist" / name).is_file()]:
        raise InputError(
            f"{folder} is not the npm package {RUNTIME}, unpacked: it has no dist/{missing[0]}."
        )
    return {name: (folder / "dist" / name).read_bytes() for name in RUNTIME_FILES}


def _packed(archive: Path) -> dict[str, bytes]:
    """`RUNTIME_FILES` of an archive. They are read by name; nothing is unpacked to a path in it."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as opened:
            for name in RUNTIME_FILES:
                member = opened.extractfile(f"package/dist/{name}")
                found[name] = member.read() if member else b""
    except (OSError, EOFError, tarfile.TarError, KeyError) as error:
        raise InputError(f"{archive} is not the npm package {RUNTIME} ({error}).") from error
    return found
