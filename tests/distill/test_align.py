"""The contrastive step: the loss by hand, exact gradients in micro-batches, resume."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rali.distill.align import AlignConfig, align, set_checkpointing
from rali.distill.infonce import multi_positive_infonce
from rali.distill.optim import (
    Checkpoint,
    Passes,
    accelerator_of,
    check_cropped,
    cosine_schedule,
    rate_groups,
)
from rali.errors import InputError
from rali.student.encoders import image_tower
from rali.student.trunk import TrunkConfig, TrunkEncoder
from small import Pixels, tower

GPU = torch.cuda.is_available()
HERE = Path(__file__).parent


def texts(count: int = 6, each: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(each, 4, generator=generator) for _ in range(count)]


def test_loss_of_two_orthogonal_pairs_by_hand():
    # cosines are the identity, scale 2: each row is softmax([2, 0])[0] = 1/(1+e^-2).
    eye, own = torch.eye(2), torch.arange(2)
    loss = multi_positive_infonce(eye, eye, own, own, 2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


def test_one_text_each_is_clips_loss():
    images, words = torch.randn(5, 7), torch.randn(5, 7)
    logits = 14 * F.normalize(images, dim=1) @ F.normalize(words, dim=1).T
    target = torch.arange(5)
    clip = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    own = torch.arange(5)
    assert torch.allclose(multi_positive_infonce(images, words, own, own, 14.0), clip, atol=1e-5)


def test_other_texts_of_a_picture_are_positives_by_hand():
    # One picture, two texts at cosine 1 and 0, scale 1: image→text averages both log-probabilities,
    # text→image has a single candidate and costs nothing.
    images = torch.tensor([[1.0, 0.0]])
    words = torch.eye(2)
    loss = multi_positive_infonce(images, words, torch.zeros(1), torch.zeros(2), 1.0)
    log_z = math.log(math.e + 1)
    assert loss.item() == pytest.approx(((log_z - 1) + log_z) / 2 / 2, abs=1e-6)


def test_duplicate_pictures_are_not_negatives():
    # Two pictures told apart perfectly, scale 10. As two pictures that is right; as one picture
    # twice, each has both texts for positives and the cosine of 0 costs: log(e^10 + 1) − 10/2.
    eye = torch.eye(2)
    apart = multi_positive_infonce(eye, eye, torch.arange(2), torch.arange(2), 10.0)
    shared = multi_positive_infonce(eye, eye, torch.zeros(2), torch.zeros(2), 10.0)
    assert apart.item() == pytest.approx(math.log(1 + math.exp(-10)), abs=1e-6)
    assert shared.item() == pytest.approx(math.log(math.exp(10) + 1) - 5, abs=1e-5)


def test_schedule_rises_then_falls_to_zero():
    factors = [cosine_schedule(step, 100, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0
    assert factors[55] == pytest.approx(0.5) and factors[100] == pytest.approx(0.0, abs=1e-9)


def run(config: AlignConfig, **more) -> nn.Module:
    config = dataclasses.replace(config, workers=0)
    return align(tower(), Pixels(), texts(), config, seed=3, **more)


def test_micro_batches_give_the_same_training():
    settings = {"epochs": 4, "batch_size": 6, "lr": 1e-2, "texts_per_picture": 2}
    whole = run(AlignConfig(micro_batch=6, **settings))
    parts = run(AlignConfig(micro_batch=2, **settings))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_batch_that_leaves_one_over_is_split_evenly():
    seen: list[int] = []
    model = nn.Sequential(nn.BatchNorm2d(3), tower())
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    config = AlignConfig(epochs=1, batch_size=5, micro_batch=4)
    align(model, Pixels(), texts(), config)
    assert set(seen) == {3, 2}
    with pytest.raises(InputError, match="a single picture; raise align"):
        align(model, Pixels(), texts(), AlignConfig(batch_size=4, micro_batch=1))


def test_no_epochs_leave_the_encoder_as_it_is():
    before = tower().state_dict()
    for name, value in run(AlignConfig(epochs=0)).state_dict().items():
        assert torch.equal(value, before[name])


def test_alignment_lowers_the_loss():
    losses: list[float] = []
    run(
        AlignConfig(epochs=60, batch_size=6, lr=1e-2),
        progress=lambda stage, done, total, loss: losses.append(loss),
    )
    assert losses[-1] < 0.7 * losses[0]


def test_resume_gives_the_same_weights(tmp_path, saved_every_step):
    config = AlignConfig(epochs=8, batch_size=3, lr=1e-2)
    through = run(config)

    class StopError(Exception):
        pass

    def stop(stage, done, total, loss=None):
        if done == 7:
            raise StopError

    checkpoint = tmp_path / "align.pt"
    with pytest.raises(StopError):
        run(config, checkpoint=checkpoint, progress=stop)
    assert checkpoint.is_file()
    steps: list[int] = []
    resumed = run(
        config, checkpoint=checkpoint,
        progress=lambda stage, done, total, loss: steps.append(done),
    )  # fmt: skip
    assert steps[0] == 7, "it resumes from the last saved step, not from the beginning"
    for a, b in zip(through.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("count, size", [(10, 3), (100, 64), (7, 7), (5, 4), (1000, 64)])
def test_each_pass_sees_every_picture_once_and_a_step_none_twice(count, size):
    passes = Passes(count, size, seed=3)
    steps = [passes.at(step) for step in range(4 * count)]
    assert all(len(set(step.tolist())) == size for step in steps)
    seen = np.concatenate(steps)
    for start in range(0, count * 3 * size, count):
        assert sorted(seen[start : start + count]) == list(range(count))
    assert len({tuple(seen[start : start + count]) for start in range(0, 3 * count, count)}) > 1
    for step in (2 * count, 1, count):  # in any order, as after a resume
        assert np.array_equal(Passes(count, size, seed=3).at(step), steps[step])
        assert np.array_equal(passes.at(step), steps[step])


def test_one_epoch_sees_every_picture():
    class Watched(Pixels):
        def read(self, view):
            seen.extend(view.indices.tolist())
            return super().read(view)

    for batch_size in (2, 3, 4, 5):
        seen: list[int] = []
        config = AlignConfig(epochs=2, batch_size=batch_size, workers=0)
        align(tower(), Watched(30), texts(30), config)
        assert {seen[:30].count(place) for place in range(30)} == {1}


def test_a_checkpoint_holds_the_gradient_scaler_and_the_random_states(tmp_path, saved_every_step):
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    keeper = Checkpoint(tmp_path / "c.pt", "mark", scaler=scaler)
    keeper.save(1)
    drawn, on_gpu = torch.rand(3), torch.rand(3, device="cuda") if GPU else None
    other = torch.amp.GradScaler("cpu")
    assert Checkpoint(tmp_path / "c.pt", "mark", scaler=other).resume() == 1
    assert other.get_scale() == 8.0
    assert torch.equal(torch.rand(3), drawn)
    if on_gpu is not None:
        assert torch.equal(torch.rand(3, device="cuda"), on_gpu)


@pytest.mark.parametrize("damage", ["cut off", "a flipped bit"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path, saved_every_step):
    file, part = tmp_path / "c.pt", nn.Linear(64, 64)
    Checkpoint(file, "mark", part=part).save(1)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # among the weights
    file.write_bytes(data if damage == "a flipped bit" else data[:-99])
    before = part.weight.clone()
    with pytest.raises(InputError, match=r"c\.pt is damaged; delete it to start again"):
        Checkpoint(file, "mark", part=part).resume()
    assert torch.equal(part.weight, before)


@pytest.mark.skipif(not GPU, reason="autocast in half precision is used on a GPU alone")
def test_a_resumed_alignment_in_fp16_keeps_its_scale(tmp_path, saved_every_step):
    config = AlignConfig(epochs=6, batch_size=4, precision="fp16")

    def stop(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, checkpoint=tmp_path / "align.pt", progress=stop)
    state = torch.load(tmp_path / "align.pt", weights_only=True)
    assert state["scaler"]["scale"] > 0 and state["cuda_rng"]
    run(config, checkpoint=tmp_path / "align.pt")


def test_a_picture_without_rationales_is_named():
    some = texts()
    some[4] = torch.zeros(0, 4)
    with pytest.raises(InputError, match="picture 4"):
        align(tower(), Pixels(), some, AlignConfig())


def test_one_picture_cannot_be_compared():
    with pytest.raises(InputError, match="at least 2"):
        align(tower(), Pixels(1), texts(1), AlignConfig())


@pytest.mark.slow
def test_two_processes_train_like_one_with_the_whole_batch(tmp_path):
    """Under `accelerate launch` negatives come from all processes, whose texts may differ in
    number; the result is that of one process with a batch twice as large."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, torch\n"
        "from accelerate import PartialState\n"
        "from test_align import two_process_run\n"
        "encoder = two_process_run(batch_size=3)\n"
        "if PartialState().is_main_process:\n"
        "    torch.save(encoder.state_dict(), sys.argv[1])\n"
    )
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
         str(script), str(tmp_path / "two.pt")],
        check=True, timeout=300, capture_output=True,
        env=os.environ
        | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "ACCELERATE_USE_CPU": "1"},
    )  # fmt: skip
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    one = two_process_run(batch_size=6).state_dict()
    start = tower().state_dict()
    for name, weights in one.items():
        assert torch.allclose(two[name], weights, atol=1e-5)
        assert not torch.allclose(start[name], weights, atol=1e-3)


def two_process_run(batch_size: int) -> nn.Module:
    config = AlignConfig(
        epochs=6, batch_size=batch_size, micro_batch=2, lr=1e-2, texts_per_picture=9, flip=False
    )
    uneven = [own[: 1 + index % 3] for index, own in enumerate(texts())]
    return align(tower(), Pixels(), uneven, config, seed=3)


def test_checkpointing_gives_the_same_training_and_is_off_afterwards():
    pixels = torch.randn(6, 3, 32, 32)

    class Pictures(Pixels):
        def read(self, view):
            return pixels[view.indices].numpy()

    words = [torch.randn(2, 16, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    trained = []
    for enable in (False, True):
        clip = open_clip_tower()
        used: list[bool] = []
        clip.transformer.resblocks[0].register_forward_hook(
            lambda module, *rest, clip=clip, used=used: used.append(
                clip.transformer.grad_checkpointing
            )
        )
        config = AlignConfig(
            epochs=2, batch_size=6, lr=1e-2, flip=False, grad_checkpointing=enable, workers=0
        )
        align(clip, Pictures(), words, config, seed=3)
        assert set(used) == {enable} and not clip.transformer.grad_checkpointing
        trained.append(clip.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value)
    assert not set_checkpointing(nn.Sequential(nn.BatchNorm2d(3), tower()), True)


def open_clip_tower() -> nn.Module:
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    torch.manual_seed(0)
    return image_tower({"name": "clip", "embed_dim": 16, "vision_cfg": vision, "quick_gelu": False})


def test_only_a_trunk_under_a_new_head_learns_slowly():
    new = TrunkEncoder(TrunkConfig("test_resnet", 8))
    rates: Counter[float] = Counter()
    for group in rate_groups(new, 0.0, 1.0, 0.1):
        rates[group["peak"]] += sum(parameter.numel() for parameter in group["params"])
    trunk = sum(parameter.numel() for parameter in new.trunk.parameters())
    everything = sum(parameter.numel() for parameter in new.parameters())
    assert rates == {1.0: everything - trunk, 0.1: trunk}
    theirs = nn.Module()  # open_clip's towers on timm's models: the head is as trained
    theirs.trunk, theirs.head = nn.Linear(4, 4), nn.Linear(4, 2)
    assert {group["peak"] for group in rate_groups(theirs, 0.0, 1.0, 0.1)} == {1.0}


def test_crops_for_an_encoder_of_one_size_are_refused():
    check_cropped(TrunkEncoder(TrunkConfig("test_resnet", 8)), 0.5, 160, "align")
    with pytest.raises(InputError, match=r"align\.crop is 0\.5: .* 112 × 112, only of 224 × 224"):
        check_cropped(TrunkEncoder(TrunkConfig("vit_tiny_patch16_224", 8)), 0.5, 224, "align")
    for name in ("crop", "warmup"):
        with pytest.raises(InputError, match=f"align.{name} is 3; give at most 1"):
            AlignConfig(**{name: 3})


def test_more_processes_than_pictures_are_refused():
    assert AlignConfig(epochs=1).plan(4, 2) == (2, 1)
    with pytest.raises(InputError, match="8 processes cannot share 4 pictures"):
        AlignConfig().plan(4, 8)


def test_a_teacher_trained_in_another_precision_before_does_not_matter():
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    Accelerator(mixed_precision="bf16")  # as TRL makes it for a teacher in bfloat16
    assert accelerator_of("fp32").mixed_precision == "no"
    assert accelerator_of("bf16").mixed_precision == "bf16"
    AcceleratorState._reset_state()
