"""Warnings from a scripted log: as in the public reproduction of Q-Insight that went wrong."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest

from rali.runs.folder import RunFolder
from rali.teacher.advice import advice
from rali.teacher.prompts import PROMPTS
from rali.teacher.watch import Watch, WatchConfig


def log(forms, spread=0.1, cut=0.0, name="format"):
    return [
        {
            "stage": "train", "step": step, "reward": 1.0, "loss": 0.1,
            f"rewards/{name}/mean": form, "frac_reward_zero_std": spread,
            "completions/clipped_ratio": cut,
        }
        for step, form in enumerate(forms, 1)
    ]  # fmt: skip


def looks(values, stage="validate/koniq"):
    return [{"stage": stage, "step": 100 * k, "plcc": plcc} for k, plcc in enumerate(values)]


def test_a_format_reward_that_stays_near_a_half():
    (sentence,) = advice(log([0.5, 0.52] * 20)).values()
    assert "stayed at 0.51 for 30 logged steps" in sentence and "loosen" in sentence
    assert "cut off" not in sentence
    (sentence,) = advice(log([0.5] * 30, cut=0.25)).values()
    assert "raise max_completion_length, as 25%" in sentence


def test_trainings_that_go_well_get_no_advice():
    assert not advice(log([0.5] * 29)), "too early to say"
    assert not advice(log([min(1.0, k / 29) for k in range(40)])), "the authors' own: 1 by step 29"
    assert not advice(log([0.3 + k / 100 for k in range(40)])), "it rises"
    assert not advice(looks([0.7, 0.72, 0.75, 0.78]))
    assert not advice(looks([0.7, 0.7, 0.7])), "too early to say"
    assert not advice(looks([None, 0.7, 0.7, 0.7]))


def test_a_flat_correlation_and_groups_without_spread():
    (sentence,) = advice(looks([0.80, 0.79, 0.81, 0.80]) + looks([0.5, 0.6, 0.7, 0.8], "validate/b")
                         ).values()  # fmt: skip
    assert "validate/koniq: the PLCC was 0.80 before" in sentence and "300 steps" in sentence
    (sentence,) = advice(log([1.0] * 30, spread=0.9)).values()
    assert "In 90% of the groups" in sentence and "num_generations" in sentence


def test_a_format_reward_counts_by_its_weight():
    assert not advice(log([0.5] * 40, name="format*0")), "it is logged alone"
    assert advice(log([0.5] * 40, name="format*0.5"))
    assert not advice(log([0.5] * 40, name="formatting:mine")), "a function of one's own"


@pytest.mark.parametrize("values", [(0.9, 0.8, 0.7, 0.6), (0.9, 0.7, 0.7, 0.7)])
def test_a_correlation_that_falls_from_the_start(values):
    (sentence,) = (advice(log([1.0] * 3) + looks(values))).values()
    assert f"the PLCC was 0.90 at step 0 and has fallen to {values[-1]:.2f} at step 300" in sentence
    assert "a smaller lr, a larger beta." in sentence and "higher" not in sentence


def test_a_correlation_that_never_rose_and_ends_lower_is_told_too():
    (sentence,) = advice(log([1.0] * 3) + looks([0.80, 0.78, 0.77, 0.77])).values()
    assert "was 0.80 before the training and is 0.77" in sentence and "another lr" in sentence


def test_a_correlation_that_falls_after_a_rise_names_the_step_to_end_at():
    (sentence,) = advice(looks([0.7, 0.8, 0.85, 0.79, 0.76], "validate/b")).values()
    assert "validate/b: the PLCC was 0.85 at step 200 and has fallen to 0.76" in sentence
    assert (
        "a smaller lr, a training that ends there (trl.max_steps=200, with which the lr falls "
        "faster)." in sentence
    )
    assert "beta" not in sentence, "a fine-tuning has none"
    (sentence,) = advice(log([1.0] * 3) + looks([0.7, 0.8, 0.85, 0.79, 0.76])).values()
    assert "with which the lr falls faster, unless lr_schedule is constant)." in sentence
    assert not advice(looks([0.7, 0.8, 0.85, 0.79, 0.84])), "one look is no fall"
    assert not advice(looks([0.7, 0.8, 0.85, 0.82, 0.81])), "within chance over 200 pictures"


def test_a_flat_fine_tuning_is_told_its_own_settings():
    (sentence,) = advice(looks([0.7, 0.7, 0.7, 0.7])).values()
    assert "a higher lr, more epochs; and check the probes' texts." in sentence
    (sentence,) = advice(log([1.0] * 3) + looks([0.7, 0.7, 0.7, 0.7])).values()
    assert "a higher lr, a smaller beta, vision: true; and check the format" in sentence


def test_a_training_warns_once(tmp_path):
    prompt = PROMPTS["q-insight/score"]
    watch = Watch(WatchConfig(), [], RunFolder(tmp_path), prompt, None, max_new_tokens=9)
    state = SimpleNamespace(is_world_process_zero=True, global_step=0, max_steps=60)
    with pytest.warns(UserWarning, match="format reward has stayed at 0.50") as caught:
        warnings.simplefilter("always")
        for row in log([0.5] * 60):
            state.global_step = row.pop("step")
            watch.on_log(SimpleNamespace(logging_steps=1), state, None, logs=row)
    assert len(caught) == 1
