"""What an explanation may say: phrases with a meaning and a severity, and the teacher's own words.

In: the degradations and the teacher's rationales. Out: the phrases that
`rali.distill.learn_phrases` aligns with pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from rali.data.rationale_words import effects
from rali.pictures.degrade import DISTORTIONS, SEVERITY_NAMES
from rali.student.towers import TextTower

NONE, GOOD = "null", "good"  # the name of no distortion, and its meaning
# Meaning → a sentence with a gap, and the phrases that fill it.
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "blur": ("In detail the image is {}.", ("very blurry", "soft, with little fine detail")),
    "noise": ("Smooth regions show {}.", ("visible grain", "coarse grain")),
    "compression": ("Smooth regions show {}.", ("obvious compression blocks",)),
    "brighten": ("The scene is {}.", ("overexposed", "too bright")),
    "darken": ("The scene is {}.", ("underexposed", "badly underlit")),
    "contrast strengthen": ("The scene has {}.", ("a harsh, hard tonal range",)),
    "contrast weaken": ("The scene has {}.", ("very low contrast", "a flat and hazy look")),
    "saturate strengthen": ("The scene has {}.", ("intensely saturated colours",)),
    "saturate weaken": ("The scene has {}.", ("colours close to grey", "very pale colours")),
}
PRAISE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("The photograph is {}.", ("excellent", "of very high quality")),
    ("In detail the image is {}.", ("sharp", "crisp and detailed")),
    ("Smooth regions show {}.", ("no visible noise", "no compression blocks")),
    ("The scene is {}.", ("well exposed", "evenly lit")),
    ("The scene has {}.", ("natural colours", "rich colours")),
)
SERIOUS = 4  # the severity of `FAULTS`
# No degradation shows these: they are in the table only if the teacher uses the meaning's name.
NAMED: dict[str, tuple[str, tuple[str, ...]]] = {
    "composition": ("The picture has {}.", ("a balanced composition", "an awkward composition")),
}
# What can be said of the subject: pictures in these states are made (`rali.pictures.focus`).
FOCUS = {
    "depth of field": "the subject is sharp, the background out of focus",
    "missed focus": "the subject is out of focus, the background sharp",
}
# What is shown of the effects where the phrase would blame people's choice.
SHOWN = {("saturate weaken", 5): ("black and white", "black and white, without colour")}
NEAR = 0.9  # cosine from which a sentence of the teacher's says what a phrase says
LONGEST = 80  # characters of such a sentence
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[a-z]+")
_LONG_WORD = re.compile(r"[a-z]{4,}")
_MORE = re.compile(r"\d|,|;|\band\b")  # a score, or a second claim


@dataclass(frozen=True)
class Phrase:
    """A phrase of the table.

    Attributes:
        text: what is shown.
        meaning: a distortion, "good", a name of `FOCUS` or a name of `NAMED`.
        sentence: what is embedded.
        severity: 1–5, or 0 where the phrase names none.
    """

    text: str
    meaning: str
    sentence: str
    severity: int = 0

    def is_true(self, distortion: str, severity: int) -> bool:
        """Whether it is true of a picture degraded so; its severity may be off by one."""
        if self.severity and abs(self.severity - severity) > 1:
            return False
        return self.meaning == (GOOD if distortion == NONE else distortion)


def own_phrases(rationales: Sequence[str] = ()) -> list[Phrase]:
    """Phrases for each distortion at each severity, and what else can be said of a photograph."""
    found = []
    for meaning in DISTORTIONS:
        for severity, how in enumerate(SEVERITY_NAMES):
            for number, text in enumerate(effects(meaning, how) if severity else ()):
                sentence = f"The main problem is {text}."
                chosen = SHOWN.get((meaning, severity))
                shown = chosen[number] if chosen else text.removeprefix("a ").removeprefix("an ")
                found.append(Phrase(shown, meaning, sentence, severity))
    for state, text in FOCUS.items():
        found.append(Phrase(text, state, f"{text[:1].upper()}{text[1:]}."))
    words = set(_WORD.findall(" ".join(rationales).lower()))
    named = {meaning: phrases for meaning, phrases in NAMED.items() if meaning in words}
    others = [
        *((meaning, SERIOUS, *phrases) for meaning, phrases in FAULTS.items()),
        *((GOOD, 0, *phrases) for phrases in PRAISE),
        *((meaning, 0, *phrases) for meaning, phrases in named.items()),
    ]
    for meaning, severity, sentence, texts in others:
        found += [Phrase(text, meaning, sentence.format(text), severity) for text in texts]
    return found


def teachers_phrases(
    rationales: Sequence[str], phrases: Sequence[Phrase], text: TextTower
) -> list[Phrase]:
    """For each meaning the teacher's sentence that is nearest to one of `phrases`.

    Its cosine must be at least `NEAR`, and it must share a word with the phrase: embeddings alone
    take "fair" for "excellent".
    """
    sentences = dict.fromkeys(
        sentence
        for rationale in rationales
        for sentence in _SENTENCE_END.split(rationale.strip())
        if len(sentence) <= LONGEST and not _MORE.search(sentence)
    )
    new = [sentence for sentence in sentences if sentence not in {p.sentence for p in phrases}]
    if not new:
        return []
    ours = text.encode([phrase.sentence for phrase in phrases]).double()
    theirs = nn.functional.normalize(text.encode(new).double() - ours.mean(0), dim=1)
    cosines, closest = (theirs @ nn.functional.normalize(ours - ours.mean(0), dim=1).T).max(1)
    best: dict[str, Phrase] = {}
    for place in cosines.argsort(descending=True, stable=True).tolist():
        sentence, like = new[place], phrases[int(closest[place])]
        shared = {*_LONG_WORD.findall(sentence.lower())} & {*_LONG_WORD.findall(like.text)}
        if cosines[place] >= NEAR and shared:
            phrase = Phrase(sentence.rstrip(".!"), like.meaning, sentence, like.severity)
            best.setdefault(like.meaning, phrase)
    return list(best.values())
