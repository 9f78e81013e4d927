"""How teachers are asked: prompt, sampling, number of texts, for each task.

In: a teacher's name and a task. Out: what its authors' code does; for a teacher that rali trained,
the question that it learned (`learned`); or rali's default. `rali evaluate` and `rali teach score |
perceive | compare | harvest` take it where nothing else was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .learned import noted
from .prompts import Prompt, TaskName
from .questions import find_prompt
from .requests import Sampling, different


@dataclass(frozen=True)
class Decoding:
    """How a teacher is asked for one thing.

    Attributes:
        prompt: the name of a prompt, a YAML file with a question, or its settings.
        sampling: how a text is drawn.
        samples: texts per picture, whose mean is the score; without chance one is asked for.
        source: where this is from; empty for rali's default.
    """

    prompt: str | dict[str, Any]
    sampling: Sampling
    samples: int = 1
    source: str = ""

    def find_prompt(self) -> Prompt:
        """The prompt that is named.

        Raises:
            InputError: there is none.
        """
        return find_prompt(self.prompt)

    def words(self) -> str:
        """One line for a summary."""
        prompt, drawn = self.find_prompt(), self.sampling
        source = f" ({self.source})" if self.source else ""
        if prompt.levels:
            return f"{prompt.name}: probabilities of {', '.join(prompt.levels)}{source}."
        how = f"temperature {drawn.temperature:g}"
        if drawn.temperature > 0:
            how += f", top_p {drawn.top_p:g}, top_k {drawn.top_k or 'off'}"
        count = different(prompt, drawn, self.samples)
        of = "for each order of a pair" if prompt.task == "comparison" else "a picture"
        texts = f"{count} text{'s' * (count != 1)} {of}"
        return f"{prompt.name}: {texts}, {how}, at most {drawn.max_new_tokens} tokens{source}."


_LIKELIEST = Sampling(temperature=0)
# Of several for a task the first is taken that shows the pictures that there are.
DEFAULTS: dict[TaskName, tuple[Decoding, ...]] = {
    "score": (Decoding("visualquality-r1/score", Sampling(), samples=5),),
    "degradation": (Decoding("q-insight/degradation", _LIKELIEST),),
    "comparison": (
        Decoding("q-insight/compare", _LIKELIEST),
        Decoding("q-insight/compare-reference", _LIKELIEST),
    ),
    "description": (Decoding("ract/description", _LIKELIEST),),
}
DEFAULT = DEFAULTS["score"][0]

_VISUALQUALITY_R1 = Decoding(
    # The README names no temperature; top_p 1 and 512 tokens are those of its batch example.
    "visualquality-r1/released", Sampling(top_k=50), source="as in VisualQuality-R1's README",
)  # fmt: skip
_Q_REALIGN = Decoding("q-realign/score", Sampling(), source="as in Q-ReAlign's README")


def _q_insight(prompt: str, script: str) -> Decoding:
    drawn = Sampling(top_p=0.95, max_new_tokens=1024, top_k=50)
    return Decoding(f"q-insight/{prompt}", drawn, source=f"as in Q-Insight's {script}")


AUTHORS: dict[str, Mapping[TaskName, Decoding]] = {
    "TianheWu/VisualQuality-R1-7B": {"score": _VISUALQUALITY_R1},
    "TianheWu/VisualQuality-R1-7B-preview": {"score": _VISUALQUALITY_R1},
    "ByteDance/Q-Insight/score_degradation": {
        "score": _q_insight("released", "demo_score.py"),
        "degradation": _q_insight("degradation-released", "demo_dist.py"),
    },
    "ByteDance/Q-Insight/comparison": {
        "comparison": _q_insight("compare-released", "demo_comparison.py"),
    },
    "q-future/Q-ReAlign-Mini-0.8B": {"score": _Q_REALIGN},
    "q-future/Q-ReAlign-Lite-4B": {"score": _Q_REALIGN},
    "q-future/Q-ReAlign-Pro-9B": {"score": _Q_REALIGN},
}


def decoding_of(
    model: str, task: TaskName = "score", *, reference: bool = False, **given: Any
) -> Decoding:
    """How a teacher is asked: as it was trained, or as its authors do, but for what is given.

    A teacher that rali trained names its prompts in its folder. A published one is known by its Hub
    id, or by the end of its folder's path (`…/VisualQuality-R1-7B`,
    `…/Q-Insight/score_degradation`, or a folder of the Hub's cache).

    Args:
        task: what it is asked for.
        reference: whether a comparison shows a third picture, which both should look like.
        given: `prompt`, `samples`, or a field of `Sampling`; None leaves it to the authors. Another
            prompt than theirs is asked with the default sampling.

    Raises:
        InputError: the folder's note of its prompts is damaged.
    """
    usual = DEFAULTS[task]
    trained = [
        replace(usual[-1], prompt=prompt, source="the question that it was trained on")
        for own, prompt in noted(model).items()
        if own == task
    ]
    authors = [own[task] for name, own in AUTHORS.items() if task in own and _is(model, name)]
    fitting = [how for how in (*trained, *authors, *usual) if _shows_reference(how) == reference]
    known, default = fitting[0], fitting[-1]
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("prompt", known.prompt) != known.prompt:
        known = default
    own = {name: given.pop(name) for name in ("prompt", "samples") if name in given}
    changed = replace(known, **own, sampling=replace(known.sampling, **given))
    return changed if changed == known or known in trained else replace(changed, source="")


def _shows_reference(how: Decoding) -> bool:
    return "reference" in how.find_prompt().images


def _is(model: str, name: str) -> bool:
    """Whether a model as typed, a Hub id or a folder, is the published one of this name."""
    typed = [part for part in Path(model).as_posix().lower().split("/") if part]
    wanted = name.lower().split("/")
    if typed == wanted:
        return True
    cached = f"models--{wanted[0]}--{wanted[1]}"
    if cached in typed:
        return wanted[2:] == typed[typed.index(cached) + 3 :]
    return Path(model).is_dir() and typed[-len(wanted) + 1 :] == wanted[1:]
