"""The authors' code where it differs from the papers: prompts, formats, order, comparison group."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from rali.errors import InputError
from rali.recipes import find_recipe
from rali.runs.config import from_dict, read_yaml
from rali.teacher.completions import format_reward, parse
from rali.teacher.grpo import GrpoConfig, build_trainer, ordered_examples, prompt_dataset
from rali.teacher.memory import describe_memory
from rali.teacher.models import load_processor
from rali.teacher.plan import plan_batch
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import find_prompt
from rali.teacher.requests import Request, prompt_text
from rali.teacher.reward_functions import Prediction, ranked_rewards
from rali.teacher.sampling import sample_order
from rali.teacher.tasks import Example, TaskConfig

AUTHORS = (
    "visualquality-r1-kadid", "visualquality-r1-kadid-spaq", "q-insight", "q-insight-compare"
)  # fmt: skip


@pytest.mark.parametrize("name", AUTHORS)
def test_a_recipe_of_the_authors_names_the_source_of_each_line_that_differs(name):
    paper = find_recipe(name).read_text("utf-8").splitlines()
    file = find_recipe(f"{name}-authors")
    for line in file.read_text("utf-8").splitlines():
        assert line in paper or line.startswith("#") or re.search("# (code|README|ours)", line)
    settings = from_dict(GrpoConfig, read_yaml(file))
    for processes in (1, 8):
        plan = settings.plan(processes)
        assert not plan.ranked or plan.compared == 8
        assert "completions per step" in plan.words()
    assert describe_memory(settings, plan).startswith("GPU memory: about")
    assert settings.seed == 42


def test_visualquality_r1_as_released():
    settings = from_dict(GrpoConfig, read_yaml(find_recipe("visualquality-r1-kadid-authors")))
    assert (settings.max_completion_length, settings.top_k) == (256, 50)
    assert "rounded to two decimal places" in settings.tasks[0].resolve().text
    fast = PROMPTS["visualquality-r1/fast"]
    assert parse("<answer>3.25</answer>", fast).value == 3.25


# As Qwen2.5-VL's template writes pictures and texts, and before each picture its number if asked.
NUMBERED = (
    "{% set seen = namespace(pictures=0) %}{% for part in messages[0]['content'] %}"
    "{% if part['type'] == 'image' %}{% set seen.pictures = seen.pictures + 1 %}"
    "{% if add_vision_id %}Picture {{ seen.pictures }}: {% endif %}<|image_pad|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("name", ["visualquality-r1/released", "visualquality-r1/fast"])
def test_visualquality_r1_is_asked_as_with_its_readmes_add_vision_id(name, tmp_path):
    """`Picture 1: ` is in the question, so that every engine asks it, and a training."""
    processor, prompt = load_processor("nano"), PROMPTS[name]
    processor.chat_template = NUMBERED
    plain = replace(prompt, text=prompt.text.removeprefix("Picture 1: "))
    wanted = processor.apply_chat_template(plain.messages(), add_vision_id=True, tokenize=False)
    assert wanted.startswith("Picture 1: <|image_pad|>You are doing the image quality assessment")
    assert prompt_text(processor, Request((tmp_path / "a.png",), prompt)) == wanted
    trained = prompt_dataset([Example(0, (), "a")], [prompt])[0]["prompt"]
    assert processor.apply_chat_template(trained, tokenize=False) == wanted
    first, picture = prompt.messages()[0]["content"][:2]
    assert (first["text"], picture["type"]) == ("Picture 1: ", "image"), "a server's, too"


def test_q_insights_two_tasks_as_released():
    """As its training code has them, of which a public copy is known."""
    paper, code = (
        from_dict(GrpoConfig, read_yaml(find_recipe(f"q-insight{end}"))) for end in ("", "-authors")
    )
    assert (code.max_completion_length, code.top_k, code.max_pixels) == (256, 50, 12845056)
    assert (code.lr, code.lr_schedule, code.lr_end) == (1e-6, "linear", 0)
    for ours, theirs in zip(paper.tasks, code.tasks, strict=True):
        asked, released = ours.resolve(), theirs.resolve()
        assert asked.system == released.system + "." and asked.text == released.text
    assert released.classes == ("noise", "compression", "blur", "darken")


def test_the_comparison_starts_from_the_trained_q_insight():
    paper, code = (
        from_dict(GrpoConfig, read_yaml(find_recipe(f"q-insight-compare{end}")))
        for end in ("", "-authors")
    )
    assert (paper.model, paper.epochs) == ("Qwen/Qwen2.5-VL-7B-Instruct", 8)
    assert (code.model, code.epochs) == ("ByteDance/Q-Insight/score_degradation", 10)
    assert [paper.plan(gpus).accumulation for gpus in (4, 8)] == [2, 1]
    assert code.plan(8).words() == (
        "4 prompts × 8 completions over 8 GPUs, 4 on each, = 4 pictures; 32 completions per step, "
        "2 passes of 2 on a GPU."
    )
    assert (code.top_k, code.max_completion_length, code.lr_end) == (50, 256, 0)
    prompt = code.tasks[0].resolve()
    kinds = [part["type"] for part in prompt.messages()[1]["content"]]
    assert kinds == ["text", "image", "text", "image", "text", "image", "text"]
    assert prompt.images == ("reference", "image_a", "image_b")
    assert prompt.text.endswith("Return **exactly one** of: Image A, Image B, or Similar.")


@pytest.mark.slow
def test_the_kl_term_has_no_importance_ratio(two, tmp_path):
    """Eq. 6 is k3 alone; TRL's default multiplies it by the ratio, another gradient."""
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=two[:1])], prompts_per_step=2, num_generations=2,
        micro_batch=2, top_k=50, dtype="float32", gradient_checkpointing=False,
    )  # fmt: skip
    plan = config.plan()
    trainer = build_trainer(config, plan, ordered_examples(config, plan), tmp_path, [])
    assert trainer.args.use_bias_correction_kl is False and trainer.args.top_k == 50
    assert trainer.args.beta == 0.04 and trainer.args.scale_rewards == "group"


@pytest.mark.parametrize(
    ("text", "form", "reward"),
    [
        ("<think>a</think> <answer>rather good</answer>", "visualquality-r1", 1),
        ("<think>a</think> <answer>rather good</answer>", "paper", 0),
        ("<answer>3</answer>", "visualquality-r1", 0),
        ("<think>a</think><answer>3</answer>\n", "visualquality-r1", 0),
        ("<think>\na\n</think>\n<answer>\n3\n</answer>", "q-insight", 0),
        ("<think>\na\n</think>\n<answer>\n3\n</answer>", "q-insight-compare", 1),
        ('<think>\na\n</think>\n\n<answer>\n{"rating": 3}\n</answer>\n', "q-insight", 1),
        ("<think>a</think><answer>3</answer>", "q-insight-compare", 0),
        ("<score>3</score>", "<score>[0-9]</score>", 1),
        ("<score>30</score>", "<score>[0-9]</score>", 0),
        (" <score>3</score>\n", "<score>[0-9]</score>", 1),
    ],
)
def test_format_rewards_by_name_and_spelt_out(text, form, reward):
    assert format_reward(text, PROMPTS["visualquality-r1/score"], form=form) == reward


@pytest.mark.parametrize(
    ("form", "pattern"),
    [  # as `qinsight_multi_task.py` and `qinsight_comparison.py` spell them
        ("q-insight",
         r"^<think>\s*\n.*?\n\s*</think>\s*\n<answer>\s*\n\{[^\{\}]*\}\s*\n\s*</answer>\s*$"),
        ("q-insight-compare",
         r"^<think>\s*\n[\s\S]*?\n\s*</think>\s*\n<answer>\s*\n[\s\S]*?\n\s*</answer>\s*$"),
    ],
)  # fmt: skip
def test_q_insights_formats_are_its_codes(form, pattern):
    prompt, random = PROMPTS["q-insight/score"], Random(0)
    whole = re.findall("<[^>]+>|[^<]", "<think>\na\n</think>\n<answer>\n3\n</answer>")
    whole[8] = "{3}"
    more = ["", " ", "\n", "\t\n ", "b", "{", "}", "<think>", "</think>\n<answer>", "</answer>"]
    right = 0
    for _ in range(3000):
        text = "".join(
            piece + "".join(random.choices(more, [9, 2, 2, *[0.2] * 7], k=2))
            for piece in ["", *whole]
            if random.random() > 0.03
        )
        wanted = re.fullmatch(pattern, text, re.DOTALL | re.MULTILINE)
        assert format_reward(text, prompt, form=form) == bool(wanted), repr(text)
        right += bool(wanted)
    assert right > 50
    endless = "<think>" + "\n" * 30_000
    assert format_reward(endless, prompt, form=form) == 0, "and at once"


@pytest.mark.parametrize("form", ["loose", "<a>("])
def test_a_format_that_is_none_is_refused(form):
    with pytest.raises(InputError, match="regular expression"):
        GrpoConfig(tasks=[TaskConfig(format=form)])


def test_a_prompt_of_your_own_word_for_word(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("text: 'Rate it. <image> One number.'\nsystem: Be brief.\nreasons: false\n")
    prompt = find_prompt(str(file))
    assert (prompt.text, prompt.system) == ("Rate it. <image> One number.", "Be brief.")
    assert parse("<answer>2</answer>", prompt).value == 2
    file.write_text("text: Rate it.\n")
    with pytest.raises(InputError, match="write <image> once"):
        find_prompt(str(file))
    file.write_text("text: <image> Rate it.\nquestion: Rate it.\n")
    with pytest.raises(InputError, match="a text or a question"):
        find_prompt(str(file))


def test_a_data_set_is_drawn_uniformly_until_exhausted():
    keys = ["small"] * 40 + ["large"] * 400
    order = sample_order(keys, 4, 1, draw="exhaust", seed=0)
    assert sorted(order) == list(range(440)), "each picture once"
    drawn = [keys[index] for index in order]
    assert all(len(set(drawn[i : i + 4])) == 1 for i in range(0, 440, 4))
    first = Counter(
        keys[index]
        for seed in range(50)
        for index in sample_order(keys, 4, 1, draw="exhaust", seed=seed)[:40]
    )
    assert 0.4 < first["small"] / 2000 < 0.6, "as often as the large one, while there are any"
    assert set(drawn[-200:]) == {"large"}


def test_pictures_are_compared_in_groups_that_do_not_depend_on_the_processes():
    values = {"prompts_per_step": 32, "num_generations": 2, "micro_batch": 2}
    for processes in (1, 2, 4):
        plan = plan_batch(**values, pair_scope="process", processes=processes, compare=8)
        assert plan.compared == 8 and "8 at a time" in plan.words()
    with pytest.raises(InputError, match="compare is 8, which does not divide the 4"):
        plan_batch(**values, pair_scope="process", processes=8, compare=8)
    rows = [
        Prediction(0, "a", str(place), mos, score, block)
        for place, (mos, score, block) in enumerate([(1, 1, 0), (2, 2, 0), (1, 5, 1), (2, 1, 1)])
        for _ in range(2)
    ]
    config = [TaskConfig()]
    both = ranked_rewards(rows, config)
    apart = ranked_rewards(rows[:4], config) + ranked_rewards(rows[4:], config)
    assert both == apart
