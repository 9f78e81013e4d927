"""`model_image.onnx` on OpenVINO's provider beside ONNX Runtime's own: openvino_image.md.

    pip install --no-deps --target OPENVINO onnxruntime-openvino
    PYTHONPATH=OPENVINO python benchmarks/openvino_image.py --data DIR     (a folder of photographs)

200 pictures of many shapes are cut from the photographs, seed 0, and pass through the file of the
built-in model on both providers, in one session each, so that what one picture leaves behind would
show in the next.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from rali import Scorer
from rali.export import export_image
from rali.export.measure.resizing import between_providers, cut
from rali.export.resize import pixels_model
from rali.pictures.read import find_pictures
from rali.version import __version__

COUNT = 200
BAR = 0.02
OPENVINO = "OpenVINOExecutionProvider"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    made = list(cut(find_pictures([parser.parse_args().data], True), COUNT))
    black_and_white = [(rgb > np.median(rgb)) * np.uint8(255) for rgb in made]
    resized = pixels_model(Scorer().preprocess)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model_image.onnx"
        export_image("builtin", file, made[:1])
        lines = ""
        for name, pictures in (("photographs", made), ("in black and white", black_and_white)):
            levels = between_providers(resized, "pixels", pictures, OPENVINO)
            scores = between_providers(file, "score", pictures, OPENVINO)
            lines += (
                f"| {name} | {len(pictures)} | {np.mean(np.array(levels) == 0):.0%} | "
                f"{max(levels):.0f} | {np.median(scores):.1e} | {max(scores):.1e} | "
                f"{'met' if max(scores) <= BAR else 'missed'} |\n"
            )
    shapes = sorted(max(rgb.shape) for rgb in made)
    text = f"""# model_image.onnx on OpenVINO

{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},
onnxruntime-openvino {onnxruntime.__version__}, rali {__version__}, the built-in model, seed 0.
{COUNT} pictures cut from photographs, longer edge {shapes[0]}–{shapes[-1]} pixels, up to 12 : 1, wide and tall in turns.
Written by `python benchmarks/openvino_image.py --data DIR`. Bar: scores within {BAR}.

| pictures | | equal pixels | levels off, at most | scores differ by, median | at most | bar |
| --- | ---: | ---: | ---: | ---: | ---: | --- |
{lines}
OpenVINO computes doubles and shifts in float32, so that a sum beside the border of a level may come out on
its other side.
"""  # noqa: E501
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
