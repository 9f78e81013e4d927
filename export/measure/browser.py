"""The page of `rali export --web` in a real, headless Chromium, and the scores it gives pictures.

Needs playwright and a Chromium on the PATH.
"""

from __future__ import annotations

import csv
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import InputError, require

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 500_000  # milliseconds, on a busy machine


@dataclass(frozen=True)
class PageVisit:
    """The page after it scored pictures.

    Attributes:
        browser: the browser's version.
        backend: what the page computes with, in its own words.
        scores: by the file's name, for files that the browser could read.
        milliseconds: [n, 2], to decode, and to resize and score.
    """

    browser: str
    backend: str
    scores: dict[str, float]
    milliseconds: np.ndarray


def find_browser() -> str:
    """The path of a Chromium.

    Raises:
        InputError: no Chromium is on the PATH.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise InputError(f"There is no browser on the PATH; looked for {', '.join(BROWSERS)}.")
    return found


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address at which the folder is served, as the plainest static host does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def visit(address: str, files: Sequence[Path], switches: Sequence[str] = ()) -> PageVisit:
    """Open the page in a fresh Chromium and let it score the files.

    Args:
        switches: command-line switches of Chromium.

    Raises:
        InputError: there is no Chromium, or no playwright to drive it.
    """
    require("playwright", "dev")
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as started:
        try:
            browser = started.chromium.launch(
                executable_path=find_browser(), args=["--no-sandbox", *switches]
            )
            found = _visit(browser, address, files)
        except Error as error:
            raise InputError(
                f"The browser stopped: {error.message.splitlines()[0].rstrip('.')}."
            ) from error
        browser.close()
    return found


def _visit(browser: Any, address: str, files: Sequence[Path]) -> PageVisit:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector("body[data-state=ready]")
    page.set_input_files("#files", list(files))
    page.wait_for_selector("#running", state="hidden")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    with download.value.path().open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    scores = {row["image"]: float(row["score"]) for row in rows if row["score"]}
    spans = page.locator("#rows .time span").all_inner_texts()
    times = np.array([float(text.split()[1]) for text in spans]).reshape(-1, 2)
    return PageVisit(browser.version, page.locator("#backend").inner_text(), scores, times)
