"""Methods through TRL's own options, as docs/teach.md spells them, and the KL term by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from scripted import manifest

from rali.runs.config import from_dict
from rali.runs.folder import RunFolder
from rali.teacher.grpo import GrpoConfig, build_trainer, ordered_examples, train
from rali.teacher.models import NANO

DOCS = (Path(__file__).parents[2] / "docs" / "teach.md").read_text("utf-8")
# | method | `settings` | …
METHODS = dict(re.findall(r"^\| ([^|]+?) \| `([^`]*trl: \{[^`]*)` \|", DOCS, re.MULTILINE))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (NANO / "model.safetensors").is_file(), reason="this copy has no nano teacher"
    ),
]


def config(folder: Path, *, count: int = 6, **more) -> GrpoConfig:
    task = {
        "prompt": "direct/score", "manifests": [manifest(folder, "one", count)],
        "rewards": [{"name": "gaussian", "options": {"sigma": 1}}, {"name": "format"}],
    }  # fmt: skip
    values = {
        "model": "nano", "tasks": [task], "epochs": 1, "prompts_per_step": 2,
        "num_generations": 3, "micro_batch": 6, "lr": 1e-3, "max_completion_length": 24,
        "dtype": "float32", "gradient_checkpointing": False, "save_every": 100,
    }  # fmt: skip
    return from_dict(GrpoConfig, values | more)


def test_the_page_names_the_methods():
    assert set(METHODS) == {"DAPO", "Dr. GRPO", "GSPO", "clip-higher", "GDPO"}


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_lines_reach_trl_and_train(name, tmp_path):
    lines = yaml.safe_load(f"{{{METHODS[name]}}}")
    settings = config(tmp_path, **lines | {"trl": lines["trl"] | {"max_steps": 3}})
    plan = settings.plan()
    drawn = ordered_examples(settings, plan)
    trainer = build_trainer(settings, plan, drawn, tmp_path / "run", [])
    for option, value in settings.trl.items():
        assert getattr(trainer.args, option) == value, option
        own = getattr(trainer, option, value)  # what TRL's loss reads
        assert own == value or option == "epsilon", option
    assert trainer.epsilon_low == settings.trl.get("epsilon", 0.2)
    trainer.train()
    rows = RunFolder(tmp_path / "run").metrics()
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["grad_norm"] == row["grad_norm"] for row in rows)
    assert {"rewards/gaussian/mean", "rewards/format/mean"} <= rows[0].keys()
    if settings.trl.get("num_iterations", 1) > 1:  # the second pass is off the policy
        key = "sequence" if name == "GSPO" else "token"
        assert settings.trl.get("importance_sampling_level", "token") == key
        assert settings.steps(3) == 3 and config(tmp_path, **lines).steps(3) == 6


@pytest.mark.parametrize(
    ("more", "corrected"),
    [
        ({}, True),
        ({"top_k": 50}, False),
        ({"top_p": 0.95}, False),
        ({"trl": {"min_p": 0.1}}, False),
        ({"trl": {"repetition_penalty": 1.1}}, False),
        ({"top_k": 50, "trl": {"vllm_importance_sampling_correction": True}}, True),
        ({"trl": {"vllm_importance_sampling_correction": False}}, False),
    ],
)
def test_what_trl_is_told_of_vllms_probabilities(tmp_path, more, corrected):
    """Texts drawn from some tokens alone are less likely among all, by no error of vLLM's."""
    settings = config(tmp_path, **more)
    plan = settings.plan()
    trainer = build_trainer(settings, plan, ordered_examples(settings, plan), tmp_path / "run", [])
    assert trainer.vllm_importance_sampling_correction is corrected
    assert trainer.vllm_importance_sampling_mode == "sequence_mask"
    assert trainer.vllm_importance_sampling_clip_max == 3.0


def test_the_kl_term_is_equation_6(tmp_path):
    """k3 of the reference and the policy, without an importance ratio: loss and gradient."""
    settings = config(tmp_path, beta=0.5)
    plan = settings.plan()
    trainer = build_trainer(settings, plan, ordered_examples(settings, plan), tmp_path / "run", [])
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._generate_and_score_completions(batch)
    model = trainer.model.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # away from the reference
        for weights in model.parameters():
            weights += (
                0.2 * weights.std(correction=0) * torch.randn(weights.shape, generator=generator)
            )
    completion, mask = inputs["completion_ids"], inputs["completion_mask"]
    count = completion.shape[1]
    inputs["advantages"] = torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.0])

    def log_probabilities() -> torch.Tensor:
        logits = model(
            input_ids=torch.cat([inputs["prompt_ids"], completion], 1),
            attention_mask=torch.cat([inputs["prompt_mask"], mask], 1),
            **{key: inputs[key] for key in ("pixel_values", "image_grid_thw",
                                            "mm_token_type_ids") if key in inputs},
        ).logits[:, -count - 1 : -1]  # fmt: skip
        return logits.log_softmax(-1).gather(-1, completion[..., None])[..., 0]

    # The ratio of the importance weights is inside the clip range, and not 1.
    inputs["old_per_token_logps"] = log_probabilities().detach() - 0.1

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([w.grad.ravel() for w in model.parameters() if w.grad is not None])

    logp, reference = log_probabilities(), inputs["ref_per_token_logps"]
    kl = torch.exp(reference - logp) - (reference - logp) - 1
    assert float(((kl * mask).sum() / mask.sum()).detach()) > 0.01
    ratio = torch.exp(logp - inputs["old_per_token_logps"])
    each = -ratio * inputs["advantages"][:, None] + 0.5 * kl
    by_hand = ((each * mask).sum(1) / mask.sum(1)).mean()
    wanted = gradient(by_hand)

    loss = trainer._compute_loss(model, inputs)
    assert float(loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
    torch.testing.assert_close(gradient(loss), wanted, rtol=1e-3, atol=1e-5)

    trainer.args.use_bias_correction_kl = True  # TRL's default is another gradient
    other = gradient(trainer._compute_loss(model, inputs))
    assert float((other - wanted).norm() / wanted.norm()) > 0.01


def test_a_training_on_votes_needs_no_scores(tmp_path):
    task = {
        "prompt": "direct/score", "manifests": [manifest(tmp_path, "bare", 6, score=None)],
        "rewards": [{"name": "voted"}, {"name": "format", "weight": 0.5}],
    }  # fmt: skip
    settings = config(
        tmp_path, tasks=[task],
        votes={"prompt": "direct/score", "count": 3, "max_completion_length": 24},
    )  # fmt: skip
    train(settings, tmp_path / "run")
    noted = (tmp_path / "run" / "votes-0.jsonl").read_text().splitlines()
    assert len(noted) == 6
    rows = [row for row in RunFolder(tmp_path / "run").metrics() if row["stage"] == "train"]
    assert len(rows) == 3 and "rewards/voted/mean" in rows[0]
