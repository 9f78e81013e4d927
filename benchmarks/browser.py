"""The page of `rali export --web` in headless Chromium against Python: browser.md.

    python benchmarks/browser.py --data ../shared/data --onnxruntime-web PACKAGE

The model scores photographs of `pristine` (JPEG, as they are) and of `biq2021` in the
browser and with `Scorer`. Each backend is a fresh browser; WebGPU runs on the processor
(SwiftShader), which shows that it computes the same, but not how fast a graphics card is.
"""

from __future__ import annotations

import argparse
import csv
import functools
import http.server
import os
import platform
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from rali import Scorer, __version__
from rali.export.web import RUNTIME, export_web
from rali.pictures import find_pictures

EACH = 12  # photographs of each data set
PATIENCE = 500_000  # milliseconds
# What the page is asked for, Chromium's switches, and of how many pictures one is scored.
BACKENDS: dict[str, tuple[str, list[str], int]] = {
    "WebAssembly, 1 thread": ("?backend=wasm&threads=1", [], 1),
    "WebAssembly, all threads": ("?backend=wasm", [], 1),
    "WebGPU": ("", ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"], 6),
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


def in_browser(
    address: str, switches: list[str], files: list[Path]
) -> tuple[str, str, dict[str, float], np.ndarray]:
    """Chromium's version, the backend in the page's words, scores, and ms [n, 2] of the parts."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", *switches]
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("body[data-state=ready]")
        page.set_input_files("#files", files)
        page.wait_for_selector("#running", state="hidden")
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        with download.value.path().open(encoding="utf-8") as table:
            scores = {row["image"]: float(row["score"]) for row in csv.DictReader(table)}
        spans = page.locator("#rows .time span").all_inner_texts()
        times = np.array([float(text.split()[1]) for text in spans]).reshape(-1, 2)
        found = browser.version, page.locator("#backend").inner_text(), scores, times
        browser.close()
    return found


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
        handler = functools.partial(Quiet, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}/"
            for name, (query, switches, every) in BACKENDS.items():
                some = files[::every]
                version, said, scores, times = in_browser(address + query, switches, some)
                off = np.abs([scores[path.name] for path in some] - expected[::every])
                decode, model = np.median(times, axis=0)
                said = said.removeprefix("Computes with ").rstrip(".")
                lines += (
                    f"| {name} | {said} | {len(some)} | {off.max():.4f} | {off.mean():.4f} | "
                    f"{decode:.0f} | {model:.0f} |\n"
                )
            server.shutdown()
    text = f"""# The page in a browser

{platform.machine()}, {os.cpu_count()} cores, no graphics card (WebGPU on SwiftShader), headless
Chromium {version}, {RUNTIME}, rali {__version__}, built-in model. {len(files)} photographs, {EACH} each of
`pristine` and BIQ2021. Written by `python benchmarks/browser.py`. Other work ran on the machine:
the times are upper bounds.

| asked for | the page said | pictures | largest difference from Python (bar: ≤ 0.02) | mean | decode (ms, median) | resize and model (ms, median) |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
{lines}"""  # noqa: E501
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
