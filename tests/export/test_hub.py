"""The folder for the Hub: rali, transformers.js and optimum find their files by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.export.hub import export_hub
from rali.scoring.model_folder import INTERVAL_FILE, PHRASES_FILE
from small import tower_student

NAMES = {"model.onnx", "model_fp16.onnx", "model_int8.onnx", "model_quantized.onnx"}
SCRIPT = """
import { AutoModel, Tensor, env } from "@huggingface/transformers";
const [folder, size, values] = JSON.parse(process.argv[2]);
Object.assign(env, { allowRemoteModels: false, localModelPath: folder });
const shape = [1, 3, size, size];
const data = Float32Array.from({ length: 3 * size * size }, (_, place) => values[place % 7]);
const scores = {};
for (const dtype of ["fp32", "fp16", "int8", "q8"]) {
  const model = await AutoModel.from_pretrained("model", { dtype });
  const { score } = await model({ pixel_values: new Tensor("float32", data, shape) });
  scores[dtype] = score.data[0];
}
console.log(JSON.stringify(scores));
"""


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("hub") / "source"
    tower_student("open_clip").save_pretrained(source)
    before = tower_student("timm").save_pretrained(source.with_name("model"))
    stales = "onnx/model_int8_dynamic.onnx", "tflite/model.tflite", "tflite/notes.txt"
    for stale in (*stales, INTERVAL_FILE, PHRASES_FILE):
        (before / stale).parent.mkdir(exist_ok=True)
        (before / stale).write_text("of another model", "utf-8")
    written = export_hub(source, source.with_name("model"), pictures[:8])
    assert [path.name for path, found in written.items() if found is None] == [
        "model_quantized.onnx"
    ]
    return source.with_name("model")


def test_each_precision_has_its_name_and_no_other_model_stays(folder) -> None:
    onnx = folder / "onnx"
    assert {path.name for path in onnx.iterdir()} == NAMES
    assert (onnx / "model_quantized.onnx").samefile(onnx / "model_int8.onnx")
    assert [path.name for path in (folder / "tflite").iterdir()] == ["notes.txt"]
    assert not (folder / INTERVAL_FILE).exists() and not (folder / PHRASES_FILE).exists()
    for precision in ("fp32", "fp16", "int8"):
        assert Scorer(folder, precision=precision).metadata["precision"] == precision


def test_what_is_edited_in_the_folder_changes_nothing_in_the_model(folder) -> None:
    for file in folder.with_name("source").iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()
        assert not (folder / file.name).samefile(file)


def test_a_readme_of_somebody_stays(folder) -> None:
    target = folder.with_name("with readme")
    target.mkdir()
    (target / "README.md").write_text("# My thesis", "utf-8")
    words = ["export", str(folder), "--hub", str(target)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "README.md is your own and stays" in done.stderr
    assert (target / "README.md").read_text("utf-8") == "# My thesis"
    tower_student("timm").save_pretrained(target)
    done = CliRunner().invoke(app, ["export", str(target), "--hub", str(target / "copy")])
    assert done.exit_code == 0 and "your own" not in done.stderr, "it came with the model"
    assert (target / "copy" / "README.md").read_text("utf-8") == "# My thesis"
    assert (target / "README.md").read_text("utf-8") == "# My thesis"


def test_transformers_js_scores_alike_from_each_file(folder) -> None:
    """RALI_TRANSFORMERS_JS: a folder in which `npm install @huggingface/transformers` was run."""
    package, node = os.environ.get("RALI_TRANSFORMERS_JS"), shutil.which("node")
    if not (package and node):
        pytest.skip("no transformers.js: set RALI_TRANSFORMERS_JS")
    scorer = Scorer(folder)
    size, values = scorer.preprocess.size, [-1.5, 0.25, 1.0, 2.0, -0.5, 0.0, 0.75]
    given = json.dumps([str(folder.parent), size, values])
    script = Path(package) / "rali_hub_test.mjs"
    script.write_text(SCRIPT, "utf-8")
    try:
        done = subprocess.run([node, script, given], capture_output=True, text=True, check=True)
    finally:
        script.unlink()
    scores = json.loads(done.stdout.splitlines()[-1])
    pixels = np.resize(np.array(values, np.float32), (1, 3, size, size))
    for dtype, precision in (("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8"), ("q8", "int8")):
        (expected,), _ = Scorer(folder, precision=precision).run(pixels)
        assert scores[dtype] == pytest.approx(expected, abs=0.02)


def test_what_a_folder_cannot_be_is_refused(tmp_path) -> None:
    words = ["export", "builtin", "--hub", str(tmp_path), "--precision", "int8", "--plain"]
    refused = str(CliRunner().invoke(app, words).exception)
    assert "--hub writes only a model folder; leave out --precision, --plain." in refused
