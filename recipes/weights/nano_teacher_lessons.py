"""What the nano teacher is taught to say: every prompt, answered with reference rationales.

In: manifest rows, their measures and regions. Out: SFT examples. What a text says of a score is
the answer's score, whole photographs are called undegraded as often as degraded ones are named, and
a comparison names the fault of either picture and its score before it decides.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from rali.data.manifest import Row
from rali.data.rationale_text import write_rationales
from rali.data.rationale_words import grade
from rali.pictures.degrade import DISTORTIONS
from rali.pictures.measure import Measures, Regions
from rali.teacher.completions import compose
from rali.teacher.prompts import PROMPTS, Prompt, degradation_prompt
from rali.teacher.sft import SftExample

SPREAD = 0.15  # of the scores drawn around KADID-10k's mean for one type and level
NULL_SHARE = 4.0  # how much more often than others an undegraded photograph is drawn
PLAIN_SHARE = 0.3  # a photograph of which neither score nor fault is known, likewise
TOLD = 2
SIMILAR = 0.25  # scores nearer than this are "Similar", where the prompt has such an answer
MANY = degradation_prompt(DISTORTIONS)
FEW = PROMPTS["q-insight/degradation"]
SCORES = {  # prompt → how often it is drawn
    "visualquality-r1/score": 6,
    "visualquality-r1/released": 1,
    "visualquality-r1/fast": 0.5,
    "q-insight/score": 3,
    "direct/score": 0.5,
}
COMPARE = {"q-insight/compare": 5, "q-insight/compare-reference": 4}
DARKER = (
    ("luminance", "darker", "brighter"),
    ("noise", "cleaner", "noisier"),
    ("sharpness", "softer", "sharper"),
    ("colourfulness", "paler", "more colourful"),
)


class Lessons:
    """Draws lessons about pictures."""

    def __init__(
        self, rows: Sequence[Row], measures: Sequence[Measures], regions: Sequence[Regions],
        seed: int,
    ) -> None:  # fmt: skip
        self.rows, self.measures, self.regions = rows, measures, regions
        self.at = random.Random(seed)
        self.of_content: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            if row.score is not None:
                self.of_content[row.content].append(index)
        self.weights = [
            NULL_SHARE if row.distortion == "null" else 1.0 if row.distortion else PLAIN_SHARE
            for row in rows
        ]

    def draw(self, count: int) -> list[SftExample]:
        """`count` lessons, `TOLD` after each other of one picture and prompt in other words."""
        chosen = self.at.choices(range(len(self.rows)), self.weights, k=count // TOLD)
        return [lesson for index in chosen for lesson in self.of(index)]

    def of(self, index: int) -> list[SftExample]:
        row = self.rows[index]
        choices: list[tuple[Prompt, float]] = [(PROMPTS["ract/description"], 1.5)]
        if row.distortion:
            choices.append((MANY, 5))
            if row.distortion in (*FEW.classes, "null"):
                choices.append((FEW, 2))
        if row.score is not None:
            choices += [(PROMPTS[name], weight) for name, weight in SCORES.items()]
            choices += [(PROMPTS[name], weight) for name, weight in COMPARE.items()]
        prompt = self.at.choices([p for p, _ in choices], [w for _, w in choices])[0]
        if prompt.choices:
            pair = self.pair(index, ties="similar" in prompt.choices)
            return [self.comparison(pair, prompt) for _ in range(TOLD)]
        return [self.lesson(index, prompt) for _ in range(TOLD)]

    def lesson(self, index: int, prompt: Prompt) -> SftExample:
        row, score = self.rows[index], None
        if row.score is not None and not prompt.classes:
            score = round(min(5.0, max(1.0, self.at.gauss(row.score, SPREAD))), 1)
        reasoning = self.text(
            index, score,
            brief=bool(prompt.classes) and self.at.random() < 0.5,
            says_score=0.9 if prompt.reasons else 0.6,
        )  # fmt: skip
        completion = compose(
            prompt, reasoning=reasoning, score=score,
            distortion=row.distortion, severity=row.severity or 0,
        )  # fmt: skip
        return SftExample((row.image,), prompt, completion)

    def text(
        self, index: int, score: float | None, *, brief: bool = False, says_score: float = 0.6
    ) -> str:
        row = self.rows[index]
        return write_rationales(
            score=score,
            measures=None if brief else self.measures[index],
            regions=None if brief else self.regions[index],
            distortion=row.distortion or None,
            severity=row.severity,
            says_score=says_score,
            count=1,
            seed=self.at.getrandbits(40),
        )[0]

    def pair(self, index: int, *, ties: bool) -> list[int]:
        """Two of one photograph's versions, mostly clearly different, in either order.

        Without `ties`, two drawn at random have scores that differ as texts tell them, if any do.
        """
        versions = self.of_content[self.rows[index].content]
        strong = [i for i in versions if (self.rows[i].severity or 0) >= 3]
        if strong and self.at.random() < 0.6:
            pair = [self.plain(index), index if index in strong else self.at.choice(strong)]
        else:
            apart = [i for i in versions if self.told(i) != self.told(index)]
            pair = [index, self.at.choice(apart if apart and not ties else versions)]
        self.at.shuffle(pair)
        return pair

    def told(self, index: int) -> float:
        """A version's score as texts tell it."""
        return round(self.rows[index].score or 0.0, 1)

    def plain(self, index: int) -> int:
        versions = self.of_content[self.rows[index].content]
        return next(i for i in versions if not self.rows[i].severity)

    def comparison(self, pair: list[int], prompt: Prompt) -> SftExample:
        scores = [self.rows[i].score or 0.0 for i in pair]
        better = "A" if scores[0] >= scores[1] else "B"
        verdict = f"Image {better} is better."
        images = [self.rows[i].image for i in pair]
        if "similar" in prompt.choices:
            images.insert(0, self.rows[self.plain(pair[0])].image)
            if abs(scores[0] - scores[1]) < SIMILAR:
                better, verdict = "similar", "Neither is clearly better."
        told = [
            f"Image {name}: {self.text(i, score, brief=True, says_score=1.0)}"
            for name, i, score in zip("AB", pair, scores, strict=True)
        ]
        reasoning = " ".join([*told, *self.difference(*pair), verdict])
        return SftExample(
            tuple(images), prompt, compose(prompt, reasoning=reasoning, choice=better)
        )

    def difference(self, first: int, second: int) -> list[str]:
        """One sentence about a measure in which two pictures differ by two grades or more."""
        found = []
        for name, less, more in DARKER:
            grades = [grade(name, getattr(self.measures[i], name)) for i in (first, second)]
            if abs(grades[0] - grades[1]) >= 2:
                a = more if grades[0] > grades[1] else less
                found.append(f"Of the two, Image A is {a}.")
        return [self.at.choice(found)] if found and self.at.random() < 0.5 else []
