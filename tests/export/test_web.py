"""The page of `rali export --web` in a real browser, against the same scores in Python."""

from __future__ import annotations

import base64
import csv
import dataclasses
import gzip
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
from rali.export import web
from rali.export.measure.browser import serve
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import PICTURE_SUFFIXES
from rali.scoring.heatmap import windows
from rali.scoring.intervals import read_interval
from rali.scoring.phrases import Phrases, read_phrases, write_phrases

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
    """Pictures of several shapes and kinds, and two files that are no pictures."""
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

    def where(self, name: str) -> Any:
        self.page.get_by_role("button", name=f"Where: {name}").click()
        return self.page.get_by_role("dialog", name=f"Where: {name}")

    def worker(self) -> Any:
        (found,) = [each for each in self.page.workers if each.url.endswith("worker.js")]
        return found

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
    reasons = [reason for reason in reasons if reason.probability >= 0.005]
    assert reasons
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
    messages: list[str] = []
    visit.page.on("console", lambda message: messages.append(message.text))
    for place in (visit.page, visit.worker()):
        assert place.evaluate(elsewhere) != "sent"
    assert sum("Content Security Policy" in text for text in messages) >= 2


@pytest.mark.slow
def test_headers_are_added_to_the_pages_own_files_only(visit) -> None:
    policies = visit.page.evaluate(
        """(names) => Promise.all(names.map(async (name) =>
            (await fetch(name)).headers.get("Content-Security-Policy")))""",
        ["./", "index.html", "worker.js", "ort/ort-wasm-simd-threaded.mjs", "ort/LICENSE"],
    )
    assert [policy is not None for policy in policies] == [True, True, True, True, False]


@pytest.mark.slow
def test_it_computes_on_several_threads(visit) -> None:
    assert visit.page.evaluate("() => crossOriginIsolated")
    backend = visit.page.locator("#backend").inner_text()
    threads = int(re.search(r"WebAssembly × (\d+) thread", backend)[1])
    assert threads >= min(2, os.cpu_count())


@pytest.mark.slow
def test_where_points_at_the_blurred_half(visit, photographs, tmp_path) -> None:
    sharp = Image.fromarray(photographs["coffee"]).resize((256, 512))
    picture = Image.new("RGB", (512, 512))
    picture.paste(sharp.filter(ImageFilter.GaussianBlur(6)), (0, 0))
    picture.paste(ImageOps.mirror(sharp), (256, 0))
    picture.save(tmp_path / "half.png")
    visit.page.set_input_files("#files", tmp_path / "half.png")
    dialog = visit.where("half.png")
    said = dialog.get_by_text("the worst is").inner_text()
    visit.page.keyboard.press("Escape")
    assert dialog.is_hidden()
    scores = Scorer().map(picture).scores
    assert said.startswith(f"Of {scores.size} parts the worst is ")
    places = re.findall(r"(left|right|middle|top|bottom) with (\d\.\d\d)", said)
    assert [place for place, _ in places] == ["left", "right"]
    numbers = [float(number) for _, number in places]
    assert numbers == pytest.approx([scores.min(), scores.max()], abs=TOLERANCE)


@pytest.mark.slow
def test_where_is_scorer_map(visit) -> None:
    visit.worker().evaluate(
        """() => {
            const send = postMessage.bind(self);
            self.told = [];
            self.postMessage = (answer, moved) => {
                told.push(answer.result);
                send(answer, moved);
            };
        }"""
    )
    dialog = visit.where("chelsea.png")
    dialog.get_by_text("the worst is").wait_for()
    scores = visit.worker().evaluate("() => told.filter(Number.isFinite)")
    expected = Scorer().map(next(path for path in visit.files if path.name == "chelsea.png"))
    assert scores == pytest.approx(expected.scores.ravel().tolist(), abs=TOLERANCE)
    shown = visit.page.evaluate(
        """() => {
            const map = document.querySelector("#where-map");
            const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
            return [map.height, map.width, ...data];
        }"""
    )
    colours = np.array(shown[2:]).reshape(*shown[:2], 4)[..., :3]
    grey = np.asarray(Image.fromarray(expected.picture).convert("L"), np.float64)[..., None]
    drawn = np.asarray(expected.overlay())[: len(colours), -colours.shape[1] :]
    np.testing.assert_allclose(0.5 * grey + 0.5 * colours, drawn, atol=4)
    ends = [dialog.locator(f"#where-{end}").inner_text() for end in ("low", "high")]
    assert ends == ["1 (bad)", "5 (excellent)"]
    visit.page.keyboard.press("Escape")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
def test_windows_lie_where_scorer_map_has_them(visit, mode) -> None:
    shapes = [(1, 1), (2, 2), (3, 100), (40, 320), (171, 100), (340, 512), (683, 1024), (4000, 6)]
    shapes += np.random.default_rng(0).integers(1, 3000, (200, 2)).tolist()
    preprocess = Preprocess(size=64, resize_mode=mode)
    found = visit.page.evaluate(
        """async ([shapes, told]) => {
            const { windowsOf } = await import("./heatmap.js");
            return shapes.map((shape) => windowsOf(...shape, told));
        }""",
        [shapes, web._map(preprocess, (1.0, 5.0))],
    )
    for shape, each in zip(shapes, found, strict=True):
        (down, across), _ = windows(np.empty((*shape, 3), np.uint8), preprocess)
        assert [top + each["height"] / 2 for top in each["tops"]] == down.tolist(), shape
        assert [left + each["width"] / 2 for left in each["lefts"]] == across.tolist(), shape


@pytest.mark.slow
def test_where_shows_the_picture_that_was_opened_last(visit) -> None:
    visit.worker().evaluate(
        """() => {
            self.asked = [];
            addEventListener("message", ({ data }) => asked.push(data.task));
        }"""
    )
    visit.page.evaluate(
        """() => {
            const where = (name) => document.querySelector(`[aria-label="Where: ${name}"]`);
            where("chelsea.png").click();
            document.querySelector("#where-close").click();
            where("coffee.png").click();
        }"""
    )
    assert visit.page.get_by_role("dialog", name="Where: coffee.png").is_visible()
    with Image.open(next(path for path in visit.files if path.name == "coffee.png")) as picture:
        size = list(picture.size)
    visit.page.wait_for_function(
        """([width, height]) => {
            const canvas = document.querySelector("#where-picture");
            return canvas.width === width && canvas.height === height;
        }""",
        arg=size,
    )
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_timeout(2000)
    asked = visit.worker().evaluate("() => asked")
    asked = asked[asked.index("open") :]
    assert asked == ["open", "open", *["window"] * (len(asked) - 3), "close"]


@pytest.mark.slow
def test_pictures_in_dropped_folders(visit, files, tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        shutil.copy(files[0], tmp_path / name / "1.png")
        shutil.copy(files[0], tmp_path / name / "deeper" / "2.PNG")
        (tmp_path / name / "notes.txt").write_text("no picture")
        (tmp_path / name / ".hidden.png").write_text("not to be seen")
    (tmp_path / "alone.txt").write_text("no picture")
    before = len(visit.rows())
    dropped = [str(tmp_path / name) for name in ("a", "alone.txt", "b")]
    data = {"items": [], "files": dropped, "dragOperationsMask": 1}
    session = visit.page.context.new_cdp_session(visit.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 300, "y": 100, "data": data}
        session.send("Input.dispatchDragEvent", event)
    visit.page.locator("#rows th", has_text="b/deeper/2.PNG").wait_for()
    visit.page.wait_for_selector("#running", state="hidden")
    rows = visit.rows()[before:]
    found = ["a/1.png", "a/deeper/2.PNG", "alone.txt", "b/1.png", "b/deeper/2.PNG"]
    assert [row["image"] for row in rows] == found
    assert [row["image"] for row in rows if row["error"]] == ["alone.txt"]


@pytest.mark.slow
def test_what_cannot_be_read_in_a_dropped_folder_says_so(visit) -> None:
    found = visit.page.evaluate(
        """async () => {
            const { droppedFiles } = await import("./files.js");
            const entry = (name, fullPath, more) =>
                ({ name, fullPath, isFile: true, isDirectory: false, ...more });
            const good = entry("10.png", "/a/10.png", { file: (done) => done(new File([], "")) });
            const locked = (_, failed) => failed(new Error("locked"));
            const bad = entry("9.png", "/a/9.png", { file: locked });
            const folder = (name, fullPath, answers) => entry(name, fullPath, {
                isFile: false, isDirectory: true, createReader: () => ({
                    readEntries: (done, failed) => {
                        const next = answers.shift();
                        next instanceof Error ? failed(next) : done(next);
                    },
                }),
            });
            const inner = folder("b", "/a/b", [new Error("closed")]);
            const outer = folder("a", "/a", [[inner, good], [bad], []]);
            const items = [{ webkitGetAsEntry: () => outer }];
            return (await droppedFiles({ items })).map(({ path, error }) => [path, error ?? ""]);
        }"""
    )
    assert found == [
        ["a/9.png", "The file cannot be read: locked"],
        ["a/10.png", ""],
        ["a/b", "The folder cannot be read: closed"],
    ]


def test_page_knows_the_suffixes_of_pictures() -> None:
    script = (web._PAGE / "files.js").read_text("utf-8")
    assert set(re.findall(r'"(\.\w+)"', script)) == PICTURE_SUFFIXES


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


@pytest.mark.slow
def test_a_picture_may_be_dropped_before_the_model_is_there(chromium, site, files) -> None:
    context = chromium.new_context(service_workers="block")
    context.add_init_script(
        """Object.defineProperty(window, "sessionStorage", {
            get() { throw new DOMException("blocked", "SecurityError"); },
        })"""
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    held = []
    page.route("**/model.json", lambda route: held.append(route))
    page.goto(site)
    page.get_by_text("Loading the model…").wait_for()
    page.evaluate(
        """(text) => {
            const dataTransfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
            dataTransfer.items.add(new File([bytes], "early.png"));
            const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
            if (document.body.dispatchEvent(drop)) throw new Error("the browser would open it");
        }""",
        base64.b64encode(files[0].read_bytes()).decode(),
    )
    assert page.locator("#rows tr", has_text="early.png").inner_text().endswith("Waiting")
    held[0].continue_()
    score = page.locator("#rows .score b").inner_text()
    assert float(score) == pytest.approx(Scorer()(files[0]), abs=TOLERANCE)
    context.close()


@pytest.mark.slow
def test_pictures_get_the_reason_why_the_model_cannot_be_loaded(chromium, site, files) -> None:
    context = chromium.new_context(service_workers="block")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.route("**/model.onnx", lambda route: route.abort())
    page.goto(site)
    page.get_by_role("status").get_by_text("The model cannot be loaded: ").wait_for()
    page.set_input_files("#files", files[0])
    page.locator("#rows .error", has_text="The model cannot be loaded: ").wait_for()
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
    packed = {f"ort/{name}" + ".gz" * name.endswith(".wasm") for name in web.RUNTIME_FILES}
    assert packed == {name for name in written if name.startswith("ort/ort")}
    wasm = gzip.decompress((target / "ort" / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    assert wasm == b"ort-wasm-simd-threaded.wasm"
    notice = (target / "NOTICE").read_text("utf-8")
    assert all(
        f"{Path(name).name}: " in notice for name in ("model.onnx", *packed) if ".mjs" not in name
    )
    assert "licence: MIT" in notice


def test_what_the_page_lacks_is_named(tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="no dist/ort"):
        web.export_web("builtin", tmp_path / "site", tmp_path)
    (tmp_path / "bad.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not the npm package"):
        web.export_web("builtin", tmp_path / "site", tmp_path / "bad.tgz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"There is no npm here.*--onnxruntime-web FILE\.tgz"):
        web.export_web("builtin", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_phrases_of_another_model_are_refused(tmp_path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Path(rali.__file__).parent / "builtin", folder)
    other = dataclasses.replace(read_phrases("builtin"), weights_sha256="0" * 64)
    write_phrases(other, folder)
    with pytest.raises(InputError, match="is another model's"):
        web.describe(folder, Scorer(folder))
    (folder / "phrases.npz").unlink()
    assert web.describe(folder, Scorer(folder))["phrases"] is None


def test_intervals_of_a_hub_model_come_along(tmp_path, monkeypatch) -> None:
    import huggingface_hub

    held = Path(shutil.copytree(Path(rali.__file__).parent / "builtin", tmp_path / "snapshot"))

    def download(hub_id: str, name: str, revision: str | None) -> str:
        if not (held / name).is_file():  # as the client does
            raise huggingface_hub.errors.EntryNotFoundError(f"404: {hub_id} has no {name}.")
        return str(held / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    described = web.describe("owner/name", Scorer("owner/name"))
    assert described["interval"] == web.describe("builtin", Scorer())["interval"] is not None
    (held / "interval.json").unlink()
    assert web.describe("owner/name", Scorer("owner/name"))["interval"] is None


@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
def test_window_model_is_the_heatmaps(photographs, mode) -> None:
    import onnxruntime

    preprocess = Preprocess(size=64, resize_mode=mode)
    rgb = photographs["rocket"]
    model = web.window_model(preprocess).SerializeToString()
    session = onnxruntime.InferenceSession(model)
    (tops, lefts), expected = windows(rgb, preprocess)
    edges = rgb.shape[:2]
    seen = {"shortest": [min(edges)] * 2, "mirror": [max(edges)] * 2, "squash": edges}[mode]
    high, wide = (min(edge, each // 3) for edge, each in zip(edges, seen, strict=True))
    top, left = int(tops[0] - high / 2), int(lefts[0] - wide / 2)
    (found,) = session.run(None, {"image": rgb[top : top + high, left : left + wide]})
    np.testing.assert_allclose(found[0], next(expected), atol=1e-6)


def test_prepare_model_is_preprocess(photographs) -> None:
    import onnxruntime

    scorer, rgb = Scorer(), photographs["rocket"]
    model = web.prepare_model(scorer.preprocess).SerializeToString()
    (pixels,) = onnxruntime.InferenceSession(model).run(None, {"image": rgb})
    np.testing.assert_allclose(pixels[0], scorer.preprocess(rgb), atol=1e-6)
