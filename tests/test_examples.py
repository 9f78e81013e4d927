"""The programs in examples/ do what their first lines say."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from rali import Scorer
from rali.export import export_image

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, argument: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), str(argument)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_best_of_each_folder(photograph_files: list[Path], tmp_path: Path) -> None:
    for path in photograph_files:
        place = tmp_path / ("first" if path.stem in {"china", "coffee"} else "second")
        place.mkdir(exist_ok=True)
        shutil.copy(path, place)
    (tmp_path / "first" / "broken.jpg").write_text("no picture")
    done = run("best_of_each_folder.py", tmp_path)
    best = {}
    for line in done.stdout.splitlines():
        place, name = re.fullmatch(r"(.+): (\S+) \(\d\.\d\d, best of \d\)", line).groups()
        best[Path(place).name] = Path(place) / name
    assert set(best) == {"first", "second"}
    scores = Scorer()(tmp_path / "second")
    assert str(best["second"]) == max(scores, key=scores.__getitem__)
    assert "broken.jpg" in done.stderr


# --- without rali ---------------------------------------------------------------------------------


HEADER, C_HEADER = "onnxruntime_cxx_api.h", "onnxruntime_c_api.h"
HEADERS = "com.github.asus4.onnxruntime@0.4.9"  # for Unity; npm's other ones have no headers


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model_image.onnx"
    export_image("builtin", path)
    return path


def printed(text: str) -> list[float]:
    return [float(line.split("\t")[1]) for line in text.splitlines()]


def test_python_with_onnxruntime_only(model, photograph_files):
    pictures = photograph_files[:3]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "onnxruntime_only.py", model, *pictures],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert printed(done.stdout) == pytest.approx([Scorer()(p) for p in pictures], abs=1e-4)


@pytest.fixture(scope="module")
def headers(request) -> Path:
    """ONNX Runtime's C++ headers: ONNXRUNTIME_INCLUDE, the system's, or what npm once fetched."""
    for place in (os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime"):
        if (Path(place) / HEADER).is_file():
            return Path(place)
    kept = request.config.cache.mkdir("onnxruntime-headers")
    if not (kept / HEADER).is_file():
        npm = shutil.which("npm") or pytest.skip(f"no {HEADER} here, and no npm to fetch it")
        fetched = subprocess.run(
            [npm, "pack", HEADERS, "--pack-destination", kept], capture_output=True, cwd=kept
        )
        archives = list(kept.glob("*.tgz"))
        if fetched.returncode or not archives:
            pytest.skip(
                f"npm could not fetch {HEADERS}; set ONNXRUNTIME_INCLUDE to {HEADER}'s folder"
            )
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                if "/ios-arm64/" in member.name and member.name.endswith(".h"):
                    (kept / Path(member.name).name).write_bytes(archive.extractfile(member).read())
        archives[0].unlink()  # 150 MB, of libraries for other systems
    wanted = int(re.search(r"ORT_API_VERSION (\d+)", (kept / C_HEADER).read_text("utf-8"))[1])
    if int(onnxruntime.__version__.split(".")[1]) < wanted:
        pytest.skip(f"onnxruntime {onnxruntime.__version__} is older than the headers, 1.{wanted}")
    return kept


def test_cpp_with_onnxruntime_only(model, headers, photograph_files, tmp_path):
    compiler = shutil.which("c++")
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"), None)
    if not (compiler and library):
        pytest.skip("no compiler, or an onnxruntime without a library to link with")
    (tmp_path / "libonnxruntime.so").symlink_to(library)
    (tmp_path / library.name.rpartition(".so")[0]).with_suffix(".so.1").symlink_to(library)
    subprocess.run(
        [compiler, "-std=c++17", EXAMPLES / "score.cpp", "-I", headers, "-L", tmp_path,
         "-l", "onnxruntime", f"-Wl,-rpath,{tmp_path}", "-o", tmp_path / "score"],
        check=True,
    )  # fmt: skip
    pictures = []
    for path in photograph_files[:3]:
        pictures.append(tmp_path / f"{path.stem}.ppm")
        Image.open(path).convert("RGB").save(pictures[-1])
    score = [str(tmp_path / "score"), str(model)]
    done = subprocess.run([*score, *pictures], capture_output=True, text=True, check=True)
    assert printed(done.stdout) == pytest.approx(
        [Scorer()(p) for p in photograph_files[:3]], abs=1e-4
    )
    broken = tmp_path / "broken.ppm"
    broken.write_bytes(b"P6 100 100 255\nshort")
    failed = subprocess.run([*score, broken, pictures[0]], capture_output=True, text=True)
    assert failed.returncode == 1 and "ends too early" in failed.stderr
    assert len(printed(failed.stdout)) == 1, "the others are scored"


def test_remote_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flow-GRPO's two forms of pictures, in parts, against a server that is full at times."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import remote_reward

    command = [sys.executable, "-m", "rali", "serve", "--port", "0", "--queue", "8"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = server.stderr.readline().split()[-1]
        pictures = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8)
        score = remote_reward.remote_reward("cpu", address)
        expected = Scorer()(list(pictures))
        planar = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        with ThreadPoolExecutor(4) as pool:
            replies = [
                pool.submit(score, images, ["a prompt"] * 10, [{}] * 10)
                for images in (pictures, planar / 255, planar, pictures)
            ]
        for reply in replies:
            scores, info = reply.result()
            assert scores == pytest.approx(expected, abs=1e-4) and info == {}
        monkeypatch.setattr(remote_reward, "as_png", lambda image: b"no picture")
        with pytest.raises(RuntimeError, match="not a picture"):
            score(pictures, None, None)
    finally:
        server.kill()


@pytest.mark.slow
def test_trl_reward(tmp_path: Path) -> None:
    """The policy learns to prefer the words that make better pictures."""
    done = run("trl_reward.py", tmp_path / "out")
    before, after = map(float, re.findall(r"mean score (\d\.\d+)", done.stdout))
    assert 1 <= before < after <= 5


@pytest.fixture
def run_rlhf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs a program of examples/rlhf in this process, which has imported torch."""
    folder = EXAMPLES / "rlhf"
    monkeypatch.syspath_prepend(str(folder))

    def run(name: str, *arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", list(map(str, (folder / name, *arguments))))
        runpy.run_path(str(folder / name), run_name="__main__")

    yield run
    for module in folder.glob("*.py"):
        sys.modules.pop(module.stem, None)


def test_the_divergence_is_that_of_two_normals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "rlhf"))
    found = runpy.run_path(str(EXAMPLES / "rlhf" / "policy_gradient.py"))["divergence"]
    for module in (EXAMPLES / "rlhf").glob("*.py"):
        sys.modules.pop(module.stem, None)
    mean = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    anchor = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert found(mean, anchor, 0.5).tolist() == [5.0, 0.0]  # (1 + 4) / 2 / (2 · 0.25)
    normals = (torch.distributions.Normal(each, 0.5) for each in (mean, anchor))
    by_torch = torch.distributions.kl_divergence(*normals).mean(1)
    assert torch.allclose(found(mean, anchor, 0.5), by_torch)


@pytest.mark.slow
def test_rlhf(photograph_files: list[Path], tmp_path: Path, run_rlhf, capsys) -> None:
    """Pretraining, which the same command resumes, and both trainings, a few steps each."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in photograph_files:
        shutil.copy(path, photographs)
    generator = tmp_path / "generator"
    common = ("--real", photographs, "--steps", "4", "--updates", "2", "--seeds", "4")
    few = ("--groups", "1", "--batch", "3")
    trained = tmp_path / "backprop" / "generator"  # which is a generator again
    programs = (
        ("pretrain.py", photographs, "-o", generator, "--minutes", "0.02"),
        ("pretrain.py", photographs, "-o", generator, "--minutes", "0.04"),
        ("backprop.py", generator, "-o", tmp_path / "backprop", "--batch", "2", *common),
        ("policy_gradient.py", generator, "-o", tmp_path / "policy", "--kl", "1", *few, *common),
        ("backprop.py", trained, "-o", tmp_path / "free", "--no-guards", *common),
        # The first of the runs that are repeated is there already.
        ("policy_gradient.py", generator, "-o", tmp_path / "seed-0", "--seed", "0", *few, *common),
        (
            "repeat.py",
            "policy_gradient.py",
            generator,
            "-o",
            tmp_path,
            "--runs",
            "2",
            *few,
            *common,
        ),
    )
    for program in programs:
        run_rlhf(*program)
    for run_ in ("backprop", "policy", "free"):
        result = json.loads((tmp_path / run_ / "result.json").read_text())
        assert result["before"].keys() == result["after"].keys() >= {"score", "Fréchet distance"}
        assert 1 <= result["after"]["score"] <= 5
        with Image.open(tmp_path / run_ / "samples.png") as sheet:
            assert sheet.size == (12 * 128, 2 * (2 * 128 + 20))
    assert "| reward |" in (tmp_path / "repeat.md").read_text()
    assert (tmp_path / "seed-1" / "result.json").is_file()
    free, after = (
        json.loads((tmp_path / name / "result.json").read_text())[when]
        for name, when in (("free", "before"), ("backprop", "after"))
    )
    assert free["score"] == pytest.approx(free["reward"])  # no guards
    assert free["score"] == pytest.approx(after["score"], abs=1e-4)
    with pytest.raises(SystemExit) as stop:
        run_rlhf(*programs[-1], "--rate", "1")
    assert stop.value.code == 2 and "take another --output" in capsys.readouterr().err


@pytest.mark.slow
def test_rlhf_of_a_stable_diffusion(photograph_files: list[Path], tmp_path: Path, run_rlhf) -> None:
    """A pipeline of Stable Diffusion's class: its LoRA weights are trained, by both programs."""
    pipeline = tmp_path / "pipeline"
    _save_stable_diffusion(pipeline)
    real = photograph_files[0].parent
    common = ("--real", real, "--steps", "3", "--updates", "1", "--seeds", "2", "--prompt", "a b")
    for name, *few in (("backprop.py", "--batch", "1"), ("policy_gradient.py", "--groups", "1")):
        run_rlhf(name, pipeline, "-o", tmp_path / name, *few, *common)
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert result["before"]["score"] != result["after"]["score"]  # LoRA was trained
        assert result["before"]["Fréchet distance"] < 1e4  # of few photographs, too
        assert (tmp_path / name / "generator" / "pytorch_lora_weights.safetensors").is_file()


def _save_stable_diffusion(folder: Path) -> None:
    """Its parts with small random weights; the tokenizer knows letters."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: n for n, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokens = folder / "tokens"
    tokens.mkdir(parents=True)
    (tokens / "vocab.json").write_text(json.dumps(vocabulary))
    (tokens / "merges.txt").write_text("#version: 0.2\n")
    text = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, bos_token_id=52, eos_token_id=53,
    )  # fmt: skip
    blocks = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, sample_size=32,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(
            str(tokens / "vocab.json"), str(tokens / "merges.txt"), model_max_length=77
        ),
        unet=UNet2DConditionModel(
            sample_size=64, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
            cross_attention_dim=16, attention_head_dim=4,
            down_block_types=blocks[0], up_block_types=blocks[1],
        ),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
