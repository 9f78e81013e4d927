"""The page of `rali export --web` in a real browser, against the same scores in Python."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

import rali
from rali import Scorer
from rali.cli import main
from rali.errors import InputError, PictureError
from rali.explain import Phrases, read_phrases, write_phrases
from rali.export import web
from rali.export.web_check import find_browser, serve
from rali.intervals import read_interval

TOLERANCE = 0.02  # between a browser's decoder and Pillow's
PATIENCE = 120_000  # milliseconds, on a busy machine


@pytest.fixture(scope="session")
def runtime(request) -> Path:
    """npm's package onnxruntime-web: RALI_ONNXRUNTIME_WEB, or what npm once fetched."""
    if given := os.environ.get("RALI_ONNXRUNTIME_WEB"):
        return Path(given)
    kept = request.config.cache.mkdir("onnxruntime-web")
    try:
        return next(kept.glob("*.tgz"), None) or web._fetch(kept)
    except InputError as error:
        pytest.skip(f"no onnxruntime-web at hand: {error}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    try:
        path = find_browser()
    except InputError as error:
        pytest.skip(str(error))
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """The built-in model with a table of phrases of its own."""
    folder = tmp_path_factory.mktemp("model") / "mine"
    shutil.copytree(Path(rali.__file__).parent / "builtin", folder)
    rng = np.random.default_rng(0)
    texts = tuple(f"phrase {number} – “so”" for number in range(40))
    meanings = tuple(f"meaning {number % 12}" for number in range(40))
    vectors = rng.normal(size=(40, 192)).astype(np.float32) / 4
    write_phrases(Phrases(texts, meanings, vectors, rng.normal(size=40)), folder)
    return folder


@pytest.fixture(scope="session")
def site(model, runtime, tmp_path_factory) -> Iterator[str]:
    """Its page as the plainest static host serves it."""
    folder = tmp_path_factory.mktemp("site")
    web.export_web(model, folder, runtime)

    with serve(folder) as address:
        yield address


@pytest.fixture(scope="module")
def files(photographs, photograph_files, tmp_path_factory) -> list[Path]:
    """Pictures of several shapes and kinds, and two that are none."""
    folder = tmp_path_factory.mktemp("files")
    coffee = Image.fromarray(photographs["coffee"])
    coffee.save(folder / "small.jpg", quality=90)
    Image.fromarray(photographs["rocket"][:40]).save(folder / "long, thin.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    coffee.save(folder / "turned.jpg", exif=exif, quality=90)
    coffee.convert("L").save(folder / "grey.jpg", quality=90)
    clear = coffee.copy()
    clear.putalpha(Image.linear_gradient("L").resize(coffee.size))
    clear.save(folder / "clear.png")
    whole = (folder / "small.jpg").read_bytes()
    (folder / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    return [*photograph_files, *sorted(folder.iterdir())]


@dataclass
class Visit:
    """A page that has scored `files`, and what it asked of the network."""

    page: Any
    files: list[Path]
    requests: list[Any] = field(default_factory=list)

    def rows(self) -> list[dict[str, str]]:
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Download CSV").click()
        return list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8"))))

    def row(self, name: str) -> Any:
        return self.page.locator("#rows tr", has_text=name)


def open_page(context: Any, address: str) -> Any:
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-state=ready]", timeout=PATIENCE)
    return page


@pytest.fixture(scope="module")
def visit(chromium, site, files) -> Iterator[Visit]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    requests: list[Any] = []
    context.on("request", lambda request: requests.append(request))
    page = open_page(context, site)
    page.set_input_files("#files", files)
    page.wait_for_selector("#running", state="hidden")
    yield Visit(page, files, requests)
    context.close()


@pytest.mark.slow
def test_scores_and_intervals_are_pythons(visit) -> None:
    scorer, interval = Scorer(), read_interval("builtin")
    rows = visit.rows()
    assert list(rows[0]) == ["image", "score", "low", "high", "error"]
    assert [row["image"] for row in rows] == [path.name for path in visit.files]
    for path, row in zip(visit.files, rows, strict=True):
        try:
            expected = scorer(path)
        except PictureError:
            expected = None
        if expected is None or path.suffix == ".heic":
            assert row["score"] == row["low"] == "" and row["error"]
            continue
        assert float(row["score"]) == pytest.approx(expected, abs=TOLERANCE), path.name
        bounds = interval.around(expected, web.LEVEL)
        assert (float(row["low"]), float(row["high"])) == pytest.approx(bounds, abs=TOLERANCE)
        assert row["error"] == ""


@pytest.mark.slow
def test_a_file_without_a_score_says_why(visit) -> None:
    reasons = {row["image"]: row["error"] for row in visit.rows() if row["error"]}
    assert set(reasons) == {"cut off.jpg", "phone.heic"}
    assert "truncated" in reasons["cut off.jpg"]
    assert "HEIC" in reasons["phone.heic"] and "cannot decode" in reasons["phone.heic"]
    assert "truncated" in visit.row("cut off.jpg").inner_text()
    assert visit.page.get_by_role("status").first.inner_text().endswith("2 without a score.")


@pytest.mark.slow
def test_phrases_are_pythons(visit, model) -> None:
    path = next(path for path in visit.files if path.suffix == ".png")  # decoded without loss
    reasons = read_phrases(model).rank(Scorer().embed(path)[0])
    shown = visit.row(path.name).locator("li").all_inner_texts()
    assert [text.rsplit(" ", 1)[0] for text in shown] == [reason.phrase for reason in reasons]
    chances = [float(text.split(" ")[-1].removesuffix("\u00a0%")) / 100 for text in shown]
    assert chances == pytest.approx([reason.probability for reason in reasons], abs=0.02)


@pytest.mark.slow
def test_pictures_stay_on_the_machine(visit, site) -> None:
    assert {request.method for request in visit.requests} == {"GET"}
    assert all(request.url.startswith((site, "blob:")) for request in visit.requests)
    assert "script-src 'self'" in visit.page.locator("meta[http-equiv]").get_attribute("content")
    elsewhere = "async () => fetch('http://127.0.0.2:9/').then(() => 'sent', (e) => e.message)"
    told: list[str] = []
    visit.page.on("console", lambda message: told.append(message.text))
    workers = [each for each in visit.page.workers if each.url.endswith("worker.js")]
    for place in (visit.page, *workers):
        assert place.evaluate(elsewhere) != "sent"
    assert len(workers) == 1 and sum("Content Security Policy" in text for text in told) >= 2


@pytest.mark.slow
def test_it_computes_on_several_threads(visit) -> None:
    assert visit.page.evaluate("() => crossOriginIsolated")
    assert "WebAssembly × " in visit.page.locator("#backend").inner_text()


@pytest.mark.slow
def test_where_points_at_the_blurred_half(visit, photographs, tmp_path) -> None:
    sharp = Image.fromarray(photographs["coffee"]).resize((512, 512))
    picture = Image.new("RGB", (1024, 512))
    picture.paste(sharp.filter(ImageFilter.GaussianBlur(6)), (0, 0))
    picture.paste(ImageOps.mirror(sharp), (512, 0))
    picture.save(tmp_path / "half.png")
    visit.page.set_input_files("#files", tmp_path / "half.png")
    visit.page.get_by_role("button", name="Where: half.png").click()
    dialog = visit.page.get_by_role("dialog", name="Where: half.png")
    said = dialog.get_by_text("the worst is").inner_text()
    visit.page.keyboard.press("Escape")
    assert dialog.is_hidden()
    parts = [(x, y) for y in (0, 128, 256) for x in range(0, 769, 128)]
    crops = [np.asarray(picture.crop((x, y, x + 256, y + 256))) for x, y in parts]
    scores = Scorer()(crops)
    assert said.startswith(f"Of {len(parts)} parts the worst is at the top left with ")
    assert "the best at the bottom right with " in said
    numbers = [float(text) for text in re.findall(r"\d\.\d\d", said)]
    assert numbers == pytest.approx([scores.min(), scores.max()], abs=TOLERANCE)


@pytest.mark.slow
def test_the_table_sorts(visit) -> None:
    head = visit.page.get_by_role("columnheader", name="Score")
    for order, sign in (("ascending", 1), ("descending", -1)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        rows = visit.rows()
        scores = [sign * float(row["score"]) for row in rows if row["score"]]
        assert scores == sorted(scores) and rows[-1]["error"]


@pytest.mark.slow
def test_keyboard_and_screen_reader(visit) -> None:
    visit.page.locator("h1").click()
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("() => document.activeElement.id") == "files"
    visit.page.evaluate(
        """() => document.activeElement.addEventListener("click", (event) => {
            event.preventDefault();  // the dialog itself is the browser's
            document.body.dataset.asked = "files";
        }, {once: true})"""
    )
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("body[data-asked=files]")
    tree = visit.page.context.new_cdp_session(visit.page).send("Accessibility.getFullAXTree")
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node["ignored"]
    ]
    controls = {"button", "link", "slider", "progressbar", "table", "columnheader", "rowheader"}
    roles = {role for role, _ in found}
    assert {"button", "table", "row", "cell", "columnheader", "rowheader", "status"} <= roles
    assert not [role for role, name in found if role in controls and not name.strip()]
    assert ("button", "Choose pictures") in found


@pytest.mark.slow
def test_without_a_service_worker_it_computes_on_one_thread(chromium, site, files) -> None:
    context = chromium.new_context(service_workers="block")
    page = open_page(context, site)
    assert "× 1 thread." in page.locator("#backend").inner_text()
    page.set_input_files("#files", files[0])
    score = page.locator("#rows .score b").inner_text(timeout=PATIENCE)
    assert float(score) == pytest.approx(Scorer()(files[0]), abs=TOLERANCE)
    context.close()


def fake_runtime(folder: Path) -> Path:
    (folder / "dist").mkdir(parents=True)
    for name in web.RUNTIME_FILES:
        (folder / "dist" / name).write_text(name)
    return folder


def test_command_writes_the_page_and_leaves_other_files(
    model, tmp_path, monkeypatch, capsys
) -> None:
    target = tmp_path / "site"
    target.mkdir()
    (target / "robots.txt").write_text("mine")
    package = fake_runtime(tmp_path / "package")
    typed = ["rali", "export", model, "--web", target, "--onnxruntime-web", package]
    monkeypatch.setattr(sys, "argv", list(map(str, typed)))
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert f"http.server --directory {target}" in capsys.readouterr().out
    written = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {"robots.txt", "index.html", "model.json", "model.onnx", "ort/LICENSE"} <= written
    assert {f"ort/{name}" for name in web.RUNTIME_FILES} <= written


def test_what_the_page_lacks_is_a_sentence(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="no dist/ort"):
        web.export_web("builtin", tmp_path / "site", tmp_path)
    (tmp_path / "bad.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not npm's package"):
        web.export_web("builtin", tmp_path / "site", tmp_path / "bad.tgz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no npm here.*--onnxruntime-web FILE\.tgz"):
        web.export_web("builtin", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_prepare_model_is_preprocess(photographs) -> None:
    import onnxruntime

    scorer, rgb = Scorer(), photographs["rocket"]
    model = web.prepare_model(scorer.preprocess).SerializeToString()
    (pixels,) = onnxruntime.InferenceSession(model).run(None, {"image": rgb})
    np.testing.assert_allclose(pixels[0], scorer.preprocess(rgb), atol=1e-6)
