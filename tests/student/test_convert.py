"""The authors' release of RALI at small size against a forward pass of its own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_release import BASES, DIM, SIZE, WIDTH, small_clip, write_release
from typer.testing import CliRunner

from rali.cli import app
from rali.errors import InputError
from rali.student.clip_names import to_hugging_face, to_open_clip
from rali.student.convert import convert_official_rali
from rali.student.student import Student


@pytest.fixture(scope="module")
def clip() -> Any:
    return small_clip()


@pytest.fixture
def release(clip, tmp_path) -> Path:
    return write_release(clip, tmp_path)


def independent(clip: Any, release: Path, pixels: torch.Tensor) -> torch.Tensor:
    """Scores by Hugging Face's CLIP and the paper's equations, from the files themselves."""
    state = torch.load(release / "ckpt.pt", weights_only=True)["state_dict"]
    with (release / "pca.pkl").open("rb") as file:
        mean = torch.from_numpy(pickle.load(file).mean_).float()
    with torch.no_grad():
        pooled = clip.vision_model(pixel_values=pixels).pooler_output
        features = clip.visual_projection(pooled)
    centred = (features - mean) / state["scorer.pca_scale"].abs()
    projected = centred @ state["scorer.pca_components"].T
    projected = projected / projected.norm(dim=1, keepdim=True)
    bases = state["scorer.prototypes"]
    bases = bases / bases.norm(dim=1, keepdim=True)
    weights = torch.softmax(state["scorer.logit_scale"] * projected @ bases.T, dim=1)
    return weights @ state["scorer.proto_scores"]


def test_scores_equal_an_independent_forward_pass(clip, release, tmp_path):
    torch.manual_seed(1)
    pixels = torch.randn(5, 3, SIZE, SIZE)
    student = convert_official_rali(release, tmp_path / "model")
    wanted = independent(clip, release, pixels)
    with torch.no_grad():
        assert (student(pixels)[0] - wanted).abs().max() <= 1e-5
        again = Student.from_pretrained(tmp_path / "model")
        assert (again(pixels)[0] - wanted).abs().max() <= 1e-5
    assert float(wanted.std()) > 1e-3  # pictures differ, or the test could not fail
    assert student.preprocess.size == SIZE
    assert student.config.temperature == pytest.approx(0.07)


@pytest.mark.parametrize("kind", ["PCA", "IncrementalPCA"])
@pytest.mark.parametrize("library", ["pickle", "joblib"])
def test_either_pca_by_either_library_gives_the_same_scores(kind, library, clip, release, tmp_path):
    import joblib
    from sklearn import decomposition

    points = np.random.default_rng(1).normal(size=(60, WIDTH)) * np.linspace(1, 3, WIDTH)
    pca = getattr(decomposition, kind)(DIM).fit(points)
    state = torch.load(release / "ckpt.pt", weights_only=True)
    del state["state_dict"]["scorer.pca_scale"]  # an IncrementalPCA has the variances itself
    torch.save(state, release / "ckpt.pt")
    with (release / "pca.pkl").open("wb") as file:
        (joblib if library == "joblib" else pickle).dump(pca, file)
    student = convert_official_rali(release, tmp_path / "model")
    assert torch.equal(student.mean, torch.from_numpy(pca.mean_).float())
    wanted = points.std(0) if kind == "IncrementalPCA" else np.ones(WIDTH)
    assert student.scale.numpy() == pytest.approx(wanted, rel=1e-5)


def test_a_converted_model_is_exported_and_scores_files(release, tmp_path, photograph_files):
    model = tmp_path / "model"
    runner = CliRunner()
    done = runner.invoke(app, ["convert", "official-rali", str(release), "-o", str(model)])
    assert done.exit_code == 0, done.output
    assert f"{BASES} bases of {DIM} dimensions" in done.output
    from rali import Scorer

    done = runner.invoke(app, ["export", str(model)])
    assert done.exit_code == 0, done.output
    picture = photograph_files[0]
    by_file = Scorer(model)(picture)
    assert by_file == pytest.approx(Student.from_pretrained(model).score([picture])[0], abs=1e-4)


class Harm:
    """A pickle that would make a file, were it loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("place", ["ckpt.pt", "pca.pkl", "basis.npz"])
def test_a_malicious_pickle_is_refused_and_named_and_nothing_runs(place, release, tmp_path):
    trace = tmp_path / "trace"
    harm = Harm(trace)
    if place == "ckpt.pt":
        state = torch.load(release / place, weights_only=True)
        torch.save(state | {"callback": harm}, release / place)
    elif place == "pca.pkl":
        with (release / place).open("wb") as file:
            pickle.dump({"mean_": np.zeros(WIDTH), "more": harm}, file)
    else:
        vectors = np.array([harm], dtype=object)
        np.savez(release / place, vectors=vectors, scores=np.zeros(1))
    with pytest.raises(InputError, match=rf"{place} is refused"):
        convert_official_rali(release, tmp_path / "model")
    assert not trace.exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("call", ["os.system", "builtins.eval", "numpy.load", "torch.load"])
def test_the_unpickler_admits_arrays_and_nothing_else(call, release):
    module, name = call.split(".")
    text = f"c{module}\n{name}\n(S'true'\ntR."
    (release / "pca.pkl").write_bytes(text.encode())
    with pytest.raises(InputError, match=rf"asks for {module}\.{name}"):
        convert_official_rali(release, release / "model")


@pytest.mark.parametrize("place", ["ckpt.pt", "pca.pkl", "basis.npz"])
def test_a_missing_or_broken_file_is_named(place, release):
    (release / place).write_bytes(b"no such thing")
    with pytest.raises(InputError, match=place):
        convert_official_rali(release, release / "model")
    (release / place).unlink()
    with pytest.raises(InputError, match=place):
        convert_official_rali(release, release / "model")


def test_numbers_that_no_score_can_come_from_are_refused(release):
    intact = torch.load(release / "ckpt.pt", weights_only=True)
    for name, value in (
        ("pca_components", torch.full((DIM, WIDTH), torch.nan)),
        ("logit_scale", torch.tensor(0.0)),
        ("logit_scale", torch.ones(3)),
    ):
        broken = {"state_dict": intact["state_dict"] | {f"scorer.{name}": value}}
        torch.save(broken, release / "ckpt.pt")
        with pytest.raises(InputError, match=name.removeprefix("pca_")):
            convert_official_rali(release, release / "model")


def test_parts_of_different_trainings_are_refused(release):
    np.savez(release / "basis.npz", vectors=np.zeros((3, DIM)), scores=np.zeros(3))
    with pytest.raises(InputError, match="different trainings"):
        convert_official_rali(release, release / "model")


def test_clip_names_go_both_ways(clip, tmp_path):
    import open_clip
    from safetensors.torch import load_file, save_file

    state = {k: v for k, v in clip.state_dict().items() if "position_ids" not in k}
    named = to_open_clip(state)
    back = to_hugging_face(named)
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) for key in state)
    model = open_clip.CLIP(
        WIDTH,
        {"image_size": SIZE, "patch_size": 8, "width": 48, "layers": 3, "head_width": 12,
         "mlp_ratio": 2.5},
        {"context_length": 20, "vocab_size": 99, "width": 32, "heads": 2, "layers": 2,
         "mlp_ratio": 2},
        quick_gelu=True,
    )  # fmt: skip
    model.load_state_dict(named)  # nothing missing, nothing left over
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "hf.safetensors")
    arguments = ["convert", "clip", str(tmp_path / "hf.safetensors"), "-o"]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "oc.safetensors")])
    assert done.exit_code == 0, done.output
    assert set(load_file(tmp_path / "oc.safetensors")) == set(named)
