"""How published teachers are asked by their authors' code.

In: a teacher's name as typed. Out: prompt, sampling, number of texts, for each task that its
authors' code has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def published(model: str) -> str:
    """The name in `AUTHORS` of a model as typed, a Hub id or a folder; empty for any other."""
    return next((name for name in AUTHORS if _is(model, name)), "")


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
