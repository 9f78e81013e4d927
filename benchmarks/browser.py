"""The page of `rali export --web` in headless Chromium against Python: browser.md.

    python benchmarks/browser.py --data DIR --onnxruntime-web PACKAGE

The model scores photographs of `pristine` (JPEG, unchanged) and of `biq2021` in the browser and
with `Scorer`. Each backend gets a fresh browser. WebGPU runs on the CPU (SwiftShader), which shows
that it computes the same, but not how fast a graphics card is.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from rali import Scorer
from rali.export.measure.browser import serve, visit
from rali.export.web import RUNTIME, export_web
from rali.pictures.read import find_pictures
from rali.version import __version__

EACH = 12  # photographs of each data set
# The page's query, Chromium's switches, and a stride: every 6th picture is scored.
BACKENDS: dict[str, tuple[str, list[str], int]] = {
    "WebAssembly, 1 thread": ("?backend=wasm&threads=1", [], 1),
    "WebAssembly, all threads": ("?backend=wasm", [], 1),
    "WebGPU": ("", ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"], 6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--onnxruntime-web", type=Path)
    arguments = parser.parse_args()
    sets = [find_pictures([arguments.data / name]) for name in ("pristine", "biq2021/images")]
    files = [path for found in sets for path in found[:: max(1, len(found) // EACH)][:EACH]]
    expected = Scorer(arguments.model, threads=1)(files)
    lines, version = "", ""
    with tempfile.TemporaryDirectory() as folder:
        export_web(arguments.model, folder, arguments.onnxruntime_web)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        with serve(Path(folder)) as address:
            for name, (query, switches, every) in BACKENDS.items():
                some = files[::every]
                page = visit(address + query, some, switches)
                version = page.browser
                off = np.abs([page.scores[path.name] for path in some] - expected[::every])
                decode, model = np.median(page.milliseconds, axis=0)
                backend = page.backend.removeprefix("Computes with ").rstrip(".")
                lines += (
                    f"| {name} | {backend} | {len(some)} | {off.max():.4f} | {off.mean():.4f} | "
                    f"{decode:.0f} | {model:.0f} |\n"
                )
    text = f"""# The page in a browser

{platform.machine()}, {os.cpu_count()} cores, no graphics card (WebGPU on SwiftShader), headless
Chromium {version}, {RUNTIME}, rali {__version__}, built-in model. {len(files)} photographs, {EACH} each of
`pristine` and BIQ2021. Written by `python benchmarks/browser.py`. Other work ran on the machine:
the times are upper bounds.

| asked for | the page computed with | pictures | largest difference from Python (bar: ≤ 0.02) | mean | decode (ms, median) | resize and model (ms, median) |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
{lines}
The folder of the page holds {size / 1e6:.1f} MB (45.1 MB before ONNX Runtime's builds lay there packed).
"""  # noqa: E501
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
