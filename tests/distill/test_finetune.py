"""Fine-tuning: it fits better, keeps the epoch that validates best, and resumes after a stop."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from rali.distill.finetune import FinetuneConfig, _order, finetune
from rali.errors import InputError
from rali.student.student import Student, StudentConfig
from small import Pixels, tower

SCORES = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 2.5])
CONFIG = FinetuneConfig(epochs=6, batch_size=3, lr=3e-3)


def student() -> Student:
    config = StudentConfig(encoder={}, preprocess={}, embed_dim=4, pca_dim=4, bases=5)
    made = Student(config, tower())
    made.components.copy_(torch.eye(4))
    made.basis_vectors.copy_(torch.randn(5, 4, generator=torch.Generator().manual_seed(3)))
    made.basis_scores.copy_(torch.arange(1.0, 6.0))
    return made.requires_grad_(False)


def error(model: Student, pictures: Pixels, scores: np.ndarray) -> float:
    with torch.inference_mode():
        predicted = model(pictures.pixels(range(len(pictures))))[0].numpy()
    return float(np.mean((predicted - scores) ** 2))


def test_it_fits_the_training_pictures_within_the_score_range():
    before = error(student(), Pixels(), SCORES)
    tuned = finetune(student(), Pixels(), SCORES, FinetuneConfig(epochs=60, batch_size=6, lr=1e-2))
    assert error(tuned, Pixels(), SCORES) < before / 4
    assert tuned.basis_scores.min() >= 1 and tuned.basis_scores.max() <= 5
    assert not any(tensor.requires_grad for tensor in tuned.state_dict(keep_vars=True).values())


def test_the_weights_with_the_least_validation_error_are_kept():
    # Validated against the opposite scores, training only makes it worse: an early state stays.
    opposite = Pixels(), 6 - SCORES
    model = student()
    errors = [error(copy.deepcopy(model).eval(), *opposite)]

    def watch(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done % 2 == 0:  # two steps an epoch
            errors.append(error(copy.deepcopy(model).eval(), *opposite))

    tuned = finetune(model, Pixels(), SCORES, CONFIG, validation=opposite, progress=watch)
    assert error(tuned, *opposite) == pytest.approx(min(errors), abs=1e-5)
    assert error(tuned, *opposite) < errors[-1]


@pytest.mark.parametrize("batch_size", [2, 3, 4, 5, 6])
def test_one_epoch_sees_every_picture(batch_size):
    class Watched(Pixels):
        def read(self, view):
            seen.extend(view.indices.tolist())
            return super().read(view)

    seen: list[int] = []
    config = FinetuneConfig(epochs=2, batch_size=batch_size, climbed=0.5)
    finetune(student(), Watched(7), np.linspace(1, 5, 7), config)
    assert sorted(seen[:7]) == sorted(seen[7:]) == list(range(7))


def test_resume_gives_the_same_weights(tmp_path, saved_every_step):
    held_out = Pixels(), SCORES
    through = finetune(student(), Pixels(), SCORES, CONFIG, validation=held_out)

    class StopError(Exception):
        pass

    def stop(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done == 8:
            raise StopError

    checkpoint = tmp_path / "finetune.pt"
    arguments = (Pixels(), SCORES, CONFIG)
    with pytest.raises(StopError):
        finetune(student(), *arguments, validation=held_out, checkpoint=checkpoint, progress=stop)
    steps: list[int] = []
    resumed = finetune(
        student(), *arguments, validation=held_out, checkpoint=checkpoint,
        progress=lambda stage, done, total, loss: steps.append(done),
    )  # fmt: skip
    assert steps[0] == 8, "it resumes from the last saved step, not from the beginning"
    for name, value in through.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, saved_every_step):
    checkpoint = tmp_path / "finetune.pt"

    def stop(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(student(), Pixels(), SCORES, CONFIG, checkpoint=checkpoint, progress=stop)
    with pytest.raises(InputError, match=r"finetune\.pt belongs to a run with other settings"):
        finetune(student(), Pixels(), SCORES, CONFIG, checkpoint=checkpoint, seed=1)
    torch.save({"step": 3}, checkpoint)  # as an older version might have left it
    with pytest.raises(InputError, match="other settings"):
        finetune(student(), Pixels(), SCORES, CONFIG, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(InputError, match=r"finetune\.pt is damaged"):
        finetune(student(), Pixels(), SCORES, CONFIG, checkpoint=checkpoint)


def test_a_pass_sees_the_share_of_each_data_set_that_was_asked_for():
    config = FinetuneConfig(epochs=1, share={"made": 0.5})
    of = np.array(["people"] * 3 + ["made"] * 8)
    per_pass = config.per_pass(of.tolist())
    assert per_pass == {"people": 3, "made": 4}
    draw = np.random.default_rng(0)
    passes = [_order(of, per_pass, draw) for _ in range(20)]
    assert all(sorted(of[order]) == ["made"] * 4 + ["people"] * 3 for order in passes)
    assert set(np.concatenate(passes)) == set(range(11)), "another half in each pass"
    with pytest.raises(InputError, match="names the data set 'mode'; the labelled pictures are of"):
        FinetuneConfig(share={"mode": 0.5}).per_pass(of.tolist())
    with pytest.raises(InputError, match=r"finetune.share.made is 1.5"):
        FinetuneConfig(share={"made": 1.5})


def test_climbed_and_averaged_weights_resume_as_they_were(tmp_path, saved_every_step):
    config = dataclasses.replace(
        CONFIG, loss="absolute", average=0.9, climbed=0.5, climb_radius=2.0
    )
    through = finetune(student(), Pixels(), SCORES, config)

    def stop(stage: str, done: int, total: int, loss: float | None = None) -> None:
        if done == 7:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "finetune.pt"
    with pytest.raises(KeyboardInterrupt):
        finetune(student(), Pixels(), SCORES, config, checkpoint=checkpoint, progress=stop)
    torch.manual_seed(99)  # what else was drawn in between does not matter
    resumed = finetune(student(), Pixels(), SCORES, config, checkpoint=checkpoint)
    for name, value in through.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
