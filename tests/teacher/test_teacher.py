"""The nano teacher itself: generation, training, stopping, harvesting, looking into it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from typer.testing import CliRunner

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row, write_manifest
from rali.data.triplets import read_triplets
from rali.errors import InputError
from rali.evaluation.analysis import map_2d
from rali.runs.folder import RunFolder
from rali.teacher import analysis
from rali.teacher.adapter import LoraConfig
from rali.teacher.analysis import attention_share, separation, transplant, visual_features
from rali.teacher.answers import Description, Score
from rali.teacher.completions import parse
from rali.teacher.engines import Request, Sampling, TransformersEngine, load_engine
from rali.teacher.grpo import GrpoConfig, train
from rali.teacher.harvest import harvest
from rali.teacher.learned import noted
from rali.teacher.models import NANO, load_teacher, vision_tower
from rali.teacher.questions import find_prompt
from rali.teacher.report import training_curves, write_teacher_report
from rali.teacher.sft import SftConfig, SftExample, train_sft
from rali.teacher.sheets import write_sheet
from rali.teacher.tasks import TaskConfig
from rali.teacher.watch_config import WatchConfig

VQ = find_prompt("visualquality-r1/score")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (NANO / "model.safetensors").is_file(),
        reason="this copy has no nano teacher; recipes/weights/make_nano_teacher.py makes one",
    ),
]


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    loaded = load_engine("transformers", "nano", batch_size=8)
    assert isinstance(loaded, TransformersEngine)
    return loaded


@pytest.fixture(scope="module")
def degraded(photograph_files, tmp_path_factory) -> tuple[list[Row], Path]:
    folder = tmp_path_factory.mktemp("degraded")
    rows = degrade_folder(
        photograph_files, folder, distortions=("blur", "noise"), severities=(2, 5), size=256
    )
    rows = [dataclasses.replace(row, split="train") for row in rows]
    write_manifest(rows, folder / "manifest.csv")
    return rows, folder / "manifest.csv"


def config(manifest: Path, **more) -> GrpoConfig:
    values = {
        "model": "nano", "tasks": [TaskConfig(manifests=[str(manifest)])], "epochs": 0.64,
        "prompts_per_step": 4, "num_generations": 3, "micro_batch": 6, "lr": 1e-4,
        "max_completion_length": 160, "dtype": "float32", "gradient_checkpointing": False,
        "save_every": 2,
    }  # fmt: skip
    return GrpoConfig(**(values | more))


# --- generation -----------------------------------------------------------------------------------


def test_a_text_does_not_depend_on_its_batch(engine, photograph_files):
    sampling = Sampling(max_new_tokens=200)
    asked = [Request((path,), VQ, seed) for path in photograph_files[:3] for seed in range(2)]
    together = engine.generate(asked, sampling)
    alone = [engine.generate([request], sampling)[0] for request in reversed(asked)][::-1]
    assert together == alone
    assert len(set(together)) > 3, "pictures and seeds give different texts"


def test_its_texts_can_be_parsed(engine, degraded):
    rows, _ = degraded
    texts = engine.generate([Request((row.image,), VQ) for row in rows], Sampling())
    answers = [parse(text, VQ) for text in texts]
    assert sum(isinstance(answer, Score) for answer in answers) >= 0.9 * len(rows)
    prompt = find_prompt("ract/description")
    texts_about = engine.generate([Request((rows[0].image,), prompt)], Sampling(0))
    assert isinstance(parse(texts_about[0], prompt), Description)


def test_it_sees_how_strong_a_degradation_is(engine, degraded):
    rows, _ = degraded
    texts = engine.generate(
        [Request((row.image,), VQ, seed) for row in rows for seed in range(3)], Sampling()
    )
    answers = [parse(text, VQ) for text in texts]
    given = np.array([a.value if isinstance(a, Score) else np.nan for a in answers])
    means = np.nanmean(given.reshape(len(rows), 3), 1)
    weak, strong = (np.mean([m for m, r in zip(means, rows, strict=True) if r.severity == s])
                    for s in (2, 5))  # fmt: skip
    assert weak > strong + 0.3


# --- training -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(degraded, photograph_files, tmp_path_factory) -> Path:
    rows, manifest = degraded
    folder, val = tmp_path_factory.mktemp("grpo"), tmp_path_factory.mktemp("val")
    others = degrade_folder(
        photograph_files, val, distortions=("pixelate",), severities=(2, 5), size=256
    )
    write_manifest(others, val / "manifest.csv")
    watch = WatchConfig(
        every=2, manifests=[str(val / "manifest.csv")], pictures=4, samples=2,
        probes=[str(rows[0].image)],
    )  # fmt: skip
    train(config(manifest, watch=watch), folder)
    return folder


def test_a_training_leaves_a_teacher_its_curves_and_its_texts(trained, degraded):
    before, _ = load_teacher("nano")
    after, _ = load_teacher(str(trained / "model"))
    moved = [
        not torch.equal(a, b.to(a.dtype))
        for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    ]
    assert any(moved)
    handed_on = list((trained / "model").iterdir())
    assert not {file.suffix for file in handed_on} & {".bin", ".pt", ".pth", ".pkl"}
    assert len({file.stat().st_mode for file in handed_on}) == 1, "as readable as any new file"
    assert noted(str(trained / "model")) == {"score": "visualquality-r1/score"}
    panels = training_curves(RunFolder(trained).metrics())
    assert {"reward", "KL divergence from the start", "spread of a picture's scores",
            "validation SRCC", "validation spread"} <= set(panels)  # fmt: skip
    assert [step for step, _ in panels["reward"]["mean"]] == [1, 2, 3, 4]
    assert [step for step, _ in panels["validation spread"]["degraded"]] == [0, 2, 4]
    probes = [json.loads(line) for line in (trained / "probes.jsonl").read_text().splitlines()]
    assert [probe["step"] for probe in probes] == [0, 2, 4]
    assert "What it wrote" in write_teacher_report(trained).read_text("utf-8")


def test_a_killed_training_ends_the_same(trained, degraded, tmp_path):
    _, manifest = degraded
    script = tmp_path / "train.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from test_teacher import config, train\n"
        "train(config(Path(sys.argv[1])), sys.argv[2])\n"
    )
    command = [sys.executable, str(script), str(manifest), str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    saved = tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trainer_state.json"
    for _ in range(3000):
        if saved.is_file() or process.poll() is not None:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert saved.is_file() and not (tmp_path / "run" / "model").exists()
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    whole = load_file(trained / "model" / "model.safetensors")
    resumed = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, weights in whole.items():
        torch.testing.assert_close(resumed[name], weights, atol=1e-6, rtol=1e-4)


def replayed(manifest: Path, folder: Path, spread: bool = False) -> dict[str, list[float]]:
    """One step in which every picture's k-th completion is always the same text.

    Args:
        spread: two processes share a picture's completions, and no reward compares pictures.
    """
    from rali.teacher.grpo import build_trainer, ordered_examples

    settings = config(manifest, epochs=0.16, micro_batch=3)
    if spread:
        task = TaskConfig(manifests=[str(manifest)], reward="threshold", threshold=1.0)
        settings = config(
            manifest,
            epochs=0.16,
            micro_batch=3,
            prompts_per_step=3,
            num_generations=4,
            tasks=[task],
        )
    plan = settings.plan(int(os.environ.get("WORLD_SIZE", 1)))
    trainer = build_trainer(settings, plan, ordered_examples(settings, plan), folder, [])
    texts = [
        "<think>x</think><answer>{}</answer>",
        "<answer>{}",
        "<think>y</think><answer>{}</answer>",
    ]

    def generate(input_ids: torch.Tensor, pixel_values: torch.Tensor, **inputs: object):
        patches = pixel_values.split(inputs["image_grid_thw"].prod(1).tolist())
        rows, before = [], int(os.environ.get("RANK", 0)) * len(input_ids)
        for place, (ids, own) in enumerate(zip(input_ids, patches, strict=True)):
            k = (before + place) % settings.num_generations
            value = 1 + (float(f"{own.double().sum():.6f}") * 7 + 1.3 * k) % 4
            text = texts[k % 3].format(f"{value:.2f}")
            words = trainer.processing_class.tokenizer(text + "<|im_end|>")["input_ids"]
            rows.append(torch.cat([ids, torch.tensor(words)]))
        width = max(map(len, rows))
        end = trainer.processing_class.tokenizer.pad_token_id
        return torch.stack(
            [torch.nn.functional.pad(r, (0, width - len(r)), value=end) for r in rows]
        )

    trainer.model.generate = generate
    trainer.train()
    rewards = {name: list(values) for name, values in trainer._logs["rewards"].items()}
    return rewards | {"advantages": list(trainer._logs["advantages"])}


@pytest.mark.parametrize("spread", [False, True])
def test_two_processes_compare_what_one_compares(degraded, tmp_path, spread):
    _, manifest = degraded
    one = replayed(manifest, tmp_path / "one", spread)
    assert len(one["advantages"]) == 12 and np.ptp(one["advantages"]) > 0.5
    script = tmp_path / "two.py"
    script.write_text(
        "import json, sys; from pathlib import Path\n"
        "from accelerate import PartialState\n"
        "from test_teacher import replayed\n"
        f"found = replayed(Path(sys.argv[1]), Path(sys.argv[2]), {spread})\n"
        "if PartialState().is_main_process:\n"
        "    Path(sys.argv[3]).write_text(json.dumps(found))\n"
    )
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
         str(script), str(manifest), str(tmp_path / "two"), str(tmp_path / "two.json")],
        check=True, timeout=600, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "ACCELERATE_USE_CPU": "1"},
    )  # fmt: skip
    two = json.loads((tmp_path / "two.json").read_text())
    for name, values in one.items():
        assert two[name] == pytest.approx(values, abs=1e-6, nan_ok=True), name


def test_an_adapter_and_a_frozen_tower_learn_the_rest_only(degraded, tmp_path):
    _, manifest = degraded
    train(config(manifest, vision=False, epochs=0.16, save_every=100), tmp_path / "frozen")
    before, after = (
        vision_tower(load_teacher(name)[0]).state_dict()
        for name in ("nano", str(tmp_path / "frozen" / "model"))
    )
    assert all(torch.equal(after[name].to(w.dtype), w) for name, w in before.items())

    settings = config(manifest, vision=False, epochs=0.16, lora=LoraConfig(rank=4), lr=1e-2)
    train(settings, tmp_path / "lora")
    assert not list((tmp_path / "lora" / "adapter").glob("*.bin"))
    start, adapted = load_teacher("nano")[0], load_teacher(str(tmp_path / "lora" / "model"))[0]
    moved = {
        name
        for name, weights in start.state_dict().items()
        if not torch.allclose(adapted.state_dict()[name].to(weights.dtype), weights, atol=1e-5)
    }
    whole, _ = load_teacher("nano", dtype="float32")
    whole = PeftModel.from_pretrained(whole, str(tmp_path / "lora" / "adapter")).merge_and_unload()
    for name, weights in whole.state_dict().items():  # merged without rounding
        assert torch.equal(adapted.state_dict()[name].float(), weights), name
    assert moved and all("language_model.layers" in n and "_proj" in n for n in moved), moved


def test_what_trl_has_not_is_refused_before_the_folder_is_claimed(degraded, tmp_path):
    _, manifest = degraded
    with pytest.raises(InputError, match="did you mean max_steps"):
        train(config(manifest, trl={"max_step": 1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_small_steps_are_not_rounded_away(degraded, tmp_path):
    """A step of 1e-6 is below bfloat16's resolution of most weights."""
    _, manifest = degraded
    more = {"dtype": "bfloat16", "epochs": 0.16, "lr": 1e-6, "vision": False, "save_every": 1}
    folder = train(config(manifest, **more), tmp_path)
    assert load_teacher(str(folder))[0].dtype == torch.bfloat16
    # What learned is in the checkpoint, in float32.
    last = max((tmp_path / "checkpoints").glob("checkpoint-*"))
    before, after = (
        load_teacher(name, dtype="float32")[0].state_dict() for name in ("nano", str(last))
    )
    moved = [
        (after[name] - weights.bfloat16().float()).ne(0).float().mean()
        for name, weights in before.items()
        if name.endswith("up_proj.weight") and "language" in name
    ]
    assert min(moved) > 0.5


def test_an_adapter_resumes_with_its_own_weights(degraded, tmp_path):
    _, manifest = degraded
    settings = config(manifest, epochs=0.32, lora=LoraConfig(rank=4), lr=1e-2, save_every=1)
    for name in ("whole", "stopped"):
        train(settings, tmp_path / name)
    stopped = tmp_path / "stopped"
    for done in ("model", "adapter", "checkpoints/checkpoint-2"):
        shutil.rmtree(stopped / done)
    train(settings, stopped)
    whole, resumed = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("whole", "stopped")
    )
    for name, weights in whole.items():
        torch.testing.assert_close(resumed[name], weights, atol=1e-6, rtol=1e-4)


def test_fine_tuning_the_tower_leaves_the_language_model(degraded, tmp_path):
    rows, _ = degraded
    prompt = find_prompt("ract/description")
    examples = [SftExample((row.image,), prompt, "The colours are pale.") for row in rows]
    settings = SftConfig(
        model="nano", batch_size=10, micro_batch=10, lr=1e-3, dtype="float32", parts="vision",
        gradient_checkpointing=False,
    )  # fmt: skip
    folder = train_sft(settings, tmp_path, examples)
    before, after = load_teacher("nano")[0].state_dict(), load_teacher(str(folder))[0].state_dict()
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert moved and all(".visual." in name for name in moved)
    assert "loss" in training_curves(RunFolder(tmp_path).metrics()), "a short training logs too"


def test_fine_tuning_learns_its_texts(degraded, tmp_path):
    rows, _ = degraded
    prompt = find_prompt("ract/description")
    examples = [SftExample((row.image,), prompt, "The colours are pale.") for row in rows]
    settings = SftConfig(
        model="nano", epochs=8, batch_size=10, micro_batch=10, lr=2e-3, dtype="float32",
        gradient_checkpointing=False, parts="language", log_every=1,
    )  # fmt: skip
    folder = train_sft(settings, tmp_path, examples)
    rows_ = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows_ if row["stage"] == "sft"]
    assert losses[-1] < losses[0] / 2
    tuned = load_engine("transformers", str(folder))
    said = tuned.generate([Request((rows[0].image,), prompt)], Sampling(0, max_new_tokens=30))
    assert said == ["The colours are pale."]


# --- harvest --------------------------------------------------------------------------------------


def test_a_killed_harvest_ends_with_the_same_triplets(engine, degraded, tmp_path):
    rows, manifest = degraded
    command = [
        sys.executable, "-m", "rali", "teach", "harvest", "--manifest", str(manifest),
        "--model", "nano", "--seeds", "3", "--batch-size", "4", "--max-tokens", "200", "-o",
    ]  # fmt: skip
    process = subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    for _ in range(3000):
        if list((tmp_path / "killed").glob("*.parquet")) or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(read_triplets(tmp_path / "killed"))
    assert 0 < done < 3 * len(rows)
    subprocess.run([*command, str(tmp_path / "killed")], check=True, stderr=subprocess.DEVNULL)
    harvest(
        engine, rows, VQ, tmp_path / "whole", seeds=3, sampling=Sampling(max_new_tokens=200),
        batch_size=64,
    )  # fmt: skip
    key = lambda t: (t.image.name, t.seed)  # noqa: E731
    killed, whole = (
        sorted(read_triplets(tmp_path / name), key=key) for name in ("killed", "whole")
    )
    assert [key(t) for t in killed] == [key(t) for t in whole]
    assert [t.raw_text for t in killed] == [t.raw_text for t in whole]
    page = write_sheet(tmp_path / "killed", tmp_path / "whole", tmp_path / "sheet.html", count=3)
    assert page.read_text("utf-8").count("<img") == 3


# --- analysis -------------------------------------------------------------------------------------


def test_attention_goes_to_the_right_parts():
    """Two words, two visual tokens, a word; then the five tokens of the text."""
    text = "<think>sharp</think><answer>4</answer>"
    offsets = [(0, 7), (7, 12), (12, 28), (28, 29), (29, 38)]
    heads = torch.zeros(1, 2, 10, 10)
    # The position before "4" is the one that writes it.
    heads[0, :, 7] = torch.tensor([0.05, 0.05, 0.15, 0.05, 0.0, 0.1, 0.4, 0.2, 0, 0])
    model = lambda **_: SimpleNamespace(attentions=[heads, heads])  # noqa: E731
    asked = {"input_ids": torch.tensor([[1, 2, 99, 99, 3]])}
    written = {
        "input_ids": torch.tensor([[4, 5, 6, 7, 8]]), "offset_mapping": torch.tensor([offsets]),
    }  # fmt: skip
    thought, score = analysis._spans(text)
    assert (text[slice(*thought)], text[slice(*score)]) == ("sharp", "4")
    shares = analysis._shares(model, asked, written, thought, score, 99)
    assert shares == pytest.approx([0.4, 0.2, 0.1, 0.3])


def test_shares_of_attention_add_up_to_one(engine, degraded):
    rows, _ = degraded
    share = attention_share(engine, [row.image for row in rows[:3]], VQ, max_new_tokens=200)
    assert share.reasoning + share.visual + share.prompt + share.answer == pytest.approx(
        1, abs=1e-4
    )
    assert min(share.reasoning, share.visual, share.prompt) > 0
    with pytest.raises(InputError, match="does not ask for reasoning"):
        attention_share(engine, [rows[0].image], find_prompt("direct/score"))


def test_maps_tell_groups_apart(engine, degraded):
    rows, _ = degraded
    features = visual_features(engine, [row.image for row in rows])
    assert features.shape == (len(rows), engine.model.config.get_text_config().hidden_size)
    assert map_2d(features).shape == (len(rows), 2)
    apart = np.concatenate([features, features + 30 * features.std()])
    groups = ["a"] * len(rows) + ["b"] * len(rows)
    assert separation(apart, groups) > 0.9 > separation(np.tile(features, (2, 1)), groups)


def test_a_transplant_has_ones_tower_and_the_others_language_model(trained, tmp_path):
    folder = transplant("nano", str(trained / "model"), tmp_path / "mixed")
    mixed, _ = load_teacher(str(folder))
    eyes, _ = load_teacher("nano")
    tongue, _ = load_teacher(str(trained / "model"))
    for name, weights in vision_tower(mixed).state_dict().items():
        assert torch.equal(weights, vision_tower(eyes).state_dict()[name].to(weights.dtype))
    for name, weights in mixed.model.language_model.state_dict().items():
        assert torch.equal(weights, tongue.model.language_model.state_dict()[name])
    assert noted(str(folder)) == noted(str(trained / "model")) != {}
    assert transplant("nano", str(trained / "model"), folder) == folder  # is kept
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that are not a model"):
        transplant("nano", str(trained / "model"), tmp_path / "other")
    with pytest.raises(InputError, match="holds a model already"):
        transplant("nano", "nano", folder)


# --- the command ----------------------------------------------------------------------------------


def test_the_commands_answer_for_one_picture(photograph_files, tmp_path):
    from rali.cli.teach import app

    runner = CliRunner()
    a, b = map(str, photograph_files[:2])
    for arguments, shown in (
        (["score", a, "--samples", "3"], "spread: "),
        (["perceive", a, "--all-classes"], "distortion: "),
        (["describe", a], "description: "),
        (["compare", a, b], "as_a_b: "),
        (["attention", a, b], "goes to the reasoning"),
    ):
        run = runner.invoke(app, [*arguments, "--max-tokens", "250"])
        assert run.exit_code in (0, 1) and shown in run.stdout, (arguments, run.output)
    run = runner.invoke(app, ["score", a, "-o", str(tmp_path / "scores.csv")])
    assert (tmp_path / "scores.csv").read_text("utf-8").startswith("image,score,spread")


def test_a_dry_run_prints_what_would_happen(degraded, tmp_path):
    import yaml

    from rali.cli.teach import app

    _, manifest = degraded
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(dataclasses.asdict(config(manifest))))
    run = CliRunner().invoke(
        app, ["train", "--config", str(file), "-o", str(tmp_path / "run"), "--dry-run"]
    )
    assert run.exit_code == 0, run.output
    assert "4 prompts × 3 completions = 4 pictures compared" in run.stdout
    assert "GPU memory: about" in run.stdout and not (tmp_path / "run").exists()


def test_pixels_are_bounded_as_the_processor_bounds_them(photograph_files):
    """A picture that goes to a server has the size that Qwen2.5-VL's own resize would give it."""
    import base64
    import io

    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    from rali.teacher.data_urls import bounded, data_url

    for width, height in [(640, 480), (427, 640), (4000, 100), (30, 20)]:
        wanted = smart_resize(height, width, 28, 56 * 56, 200 * 200)[::-1]
        inside = 56 * 56 <= width * height <= 200 * 200
        assert inside or bounded(width, height, 56 * 56, 200 * 200) == wanted
    data = data_url(photograph_files[0], max_pixels=100 * 100).partition(",")[2]
    size = Image.open(io.BytesIO(base64.b64decode(data))).size
    assert size[0] * size[1] <= 100 * 100 and not any(side % 28 for side in size)
