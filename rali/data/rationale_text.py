"""Reference rationales: what is known or measured of a picture, in varied, honest English.

In: a score, measures and (for synthetic pictures) the distortion. Out: several texts of the kind
that the papers' teachers write. They bootstrap a teacher and are a baseline to compare one with:
every clause follows from a number that was given.
"""

from __future__ import annotations

import random

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES, canonical
from rali.pictures.measure import Measures, Regions

from .rationale_words import (
    CAUSES,
    CONSEQUENCES,
    GRADES,
    REGIONS,
    effects,
    grade,
    quality_phrase,
)

# Degradations that the measure of sharpness takes for detail.
_FALSE_DETAIL = ("noise", "compression", "pixelate", "quantize", "oversharpen")


def write_rationales(
    *,
    score: float | None,
    measures: Measures | None = None,
    distortion: str | None = None,
    severity: int | None = None,
    regions: Regions | None = None,
    says_score: float = 0.6,
    count: int = 4,
    seed: int | str = 0,
) -> list[str]:
    """Write `count` different texts about one picture.

    Args:
        score: 1–5; None leaves out the overall verdict.
        measures: from `rali.pictures.measure.measure`.
        distortion: the known degradation; `null` for a picture that is known to have none.
        severity: 0–5.
        regions: from `rali.pictures.measure.measure_regions`.
        says_score: share of the texts whose verdict says the score, rounded to one decimal.
        seed: decides every choice of words.

    Raises:
        InputError: no score, measures or distortion, a score outside 1–5, a severity outside 0–5,
            or an unknown distortion.
    """
    if score is None and measures is None and not distortion:
        raise InputError("A rationale needs a score, measures or a distortion; none was given.")
    if score is not None and not 1 <= score <= 5:
        raise InputError(f"A rationale's score is in 1–5; got {score}.")
    if severity is not None and severity not in range(6):
        raise InputError(f"severity is {severity!r}; expected 0 (none) to 5 (catastrophic).")
    distortion = canonical(distortion) if distortion else None
    if distortion in (None, "null"):
        severity = 0
    texts: list[str] = []
    attempt = 0
    while len(texts) < count:
        rng = random.Random(f"{seed}/{attempt}")
        text = _write(score, measures, distortion, severity, regions, says_score, rng)
        attempt += 1
        if text not in texts or attempt > 50 * count:
            texts.append(text)
    return texts


def _write(
    score: float | None,
    measures: Measures | None,
    distortion: str | None,
    severity: int | None,
    regions: Regions | None,
    says_score: float,
    rng: random.Random,
) -> str:
    body: list[str] = []
    if measures is not None:
        body += _measure_sentences(measures, distortion, severity, rng)
    if regions is not None:
        body += _region_sentence(regions, rng)
    degradation = _degradation_sentence(measures, distortion, severity, rng)
    if degradation:
        body.append(degradation)
    rng.shuffle(body)
    if degradation and rng.random() < 0.3:  # the finding first, and what it rests on after it
        body.sort(key=lambda sentence: sentence != degradation)
    verdict = _verdict(score, _has_fault(measures, severity), says_score, rng)
    opening = []
    if score is not None and rng.random() < 0.5:
        word = rng.choice(quality_phrase(score))
        opening = [
            rng.choice(
                (
                    f"At first glance the picture is {word}.",
                    f"My first impression is that the image is {word}.",
                    f"Taken as a whole, this photograph is {word}.",
                    f"Here is an image that I would call {word}.",
                )
            )
        ]
    return " ".join([*opening, *body, *verdict])


def _word(attribute: str, value: float, rng: random.Random) -> str:
    return rng.choice(GRADES[attribute][grade(attribute, value)])


def _measure_sentences(
    m: Measures, distortion: str | None, severity: int | None, rng: random.Random
) -> list[str]:
    light, tone = _word("luminance", m.luminance, rng), _word("contrast", m.contrast, rng)
    detail, noise = _word("sharpness", m.sharpness, rng), _word("noise", m.noise, rng)
    blocks = _word("blockiness", m.blockiness, rng)
    # A degradation that the estimators miss must not be denied where it is known.
    artefacts = []
    if not (distortion == "noise" and grade("noise", m.noise) < 3):
        artefacts.append(noise)
    if not (distortion == "compression" and grade("blockiness", m.blockiness) < 2):
        artefacts.append(blocks)
    found = " and ".join(artefacts)
    colour = _word("colourfulness", m.colourfulness, rng)
    sentences = [
        rng.choice(
            (
                f"The scene is {light} and has {tone}.",
                f"Overall the frame is {light}, and there is {tone}.",
                f"In terms of exposure it is {light}, with {tone}.",
                f"Its lighting is such that the frame appears {light}; it shows {tone}.",
            )
        ),
        _detail_sentence(m, detail, distortion, severity, rng),
        rng.choice(
            (
                f"Looking for artefacts, I find {found}.",
                f"Smooth regions show {found}.",
                f"A closer look at flat areas reveals {found}.",
            )
        ),
        rng.choice(
            (
                f"The colours are {colour}.",
                f"Its palette is {colour}.",
                f"Colour rendition is {colour}.",
            )
        ),
    ]
    for name, share in (("highlights", m.clipped_highlights), ("shadows", m.clipped_shadows)):
        level = grade("clipped", share)
        if level:
            clause = rng.choice(GRADES["clipped"][level]).format(tone=name)
            sentences.append(clause[0].upper() + clause[1:] + ".")
    return sentences


def _detail_sentence(
    m: Measures, detail: str, distortion: str | None, severity: int | None, rng: random.Random
) -> str:
    """The sentence on sharpness; the Laplacian takes grain, block borders and halos for detail."""
    level = grade("sharpness", m.sharpness)
    hidden = grade("noise", m.noise) >= 5 or grade("blockiness", m.blockiness) >= 4
    hidden |= distortion in _FALSE_DETAIL and (severity is None or severity >= 3)
    hidden |= distortion == "blur"
    if hidden and level >= 4:
        return rng.choice(
            (
                "How much true fine detail there is can hardly be told.",
                "True fine detail is hard to tell apart from what lies over it.",
                "It is difficult to judge the clarity of the subject itself.",
            )
        )
    return rng.choice(
        (
            f"In detail the image is {detail}.",
            f"Looking at edges and textures, it is {detail}.",
            f"As for clarity, the picture is {detail}.",
        )
    )


def _region_sentence(regions: Regions, rng: random.Random) -> list[str]:
    """One sentence about the regions that differ most, if any differ so that it is seen."""
    found = []
    for value, least, first, second in (
        (regions.light_upper_lower, 30.0, "upper light", "lower light"),
        (regions.light_centre_border, 25.0, "centre light", "border light"),
        (regions.detail_centre_border, 0.3, "centre detail", "border detail"),
    ):
        if abs(value) >= least:
            found.append((abs(value) / least, first if value > 0 else second))
    return [rng.choice(REGIONS[max(found)[1]])] if found else []


def _consequence(m: Measures | None, distortion: str, rng: random.Random) -> str:
    """What a measure shows of a degradation, as a clause, where both agree."""
    if m is None or distortion not in CAUSES or rng.random() < 0.5:
        return ""
    attribute, side, bound = CAUSES[distortion]
    found = grade(attribute, getattr(m, attribute))
    if found < bound if side == "at least" else found > bound:
        return ""
    word = rng.choice(GRADES[attribute][found])
    return f", {rng.choice(CONSEQUENCES[attribute]).format(word=word)}"


def _degradation_sentence(
    m: Measures | None, distortion: str | None, severity: int | None, rng: random.Random
) -> str:
    if not distortion:
        return ""
    if severity == 0:
        return rng.choice(
            (
                "No distortion has been added.",
                "It is free of any added degradation.",
                "I find no artificial distortion.",
            )
        )
    how = SEVERITY_NAMES[severity] if severity else "visible"
    effect = rng.choice(effects(distortion, how)) + _consequence(m, distortion, rng)
    return rng.choice(
        (
            f"The main problem is {effect}.",
            f"What stands out is {effect}.",
            f"It suffers from {effect}.",
        )
    )


def _has_fault(m: Measures | None, severity: int | None) -> bool:
    if severity:
        return True
    if m is None:
        return False
    return (
        grade("luminance", m.luminance) not in (3, 4, 5)
        or grade("sharpness", m.sharpness) < 3
        or grade("noise", m.noise) > 3
        or grade("blockiness", m.blockiness) > 2
        or max(grade("clipped", m.clipped_highlights), grade("clipped", m.clipped_shadows)) > 2
    )


def _verdict(score: float | None, fault: bool, says_score: float, rng: random.Random) -> list[str]:
    if score is None:
        return []
    word = rng.choice(quality_phrase(score))
    concede = fault and score >= 3.5
    links = (
        ("Despite its faults,", "Even so,", "All the same,")
        if concede
        else ("Overall,", "All in all,")
    )
    link = rng.choice(links)
    sentences = [
        rng.choice(
            (
                f"{link} the photograph is {word}.",
                f"{link} I find the picture {word}.",
                f"{link} this is an image that is {word}.",
            )
        )
    ]
    if rng.random() < says_score:
        sentences.append(
            rng.choice(
                (
                    f"I would rate it around {score:.1f} out of 5.",
                    f"A score of about {score:.1f} seems right.",
                    f"That is roughly {score:.1f} on a scale from 1 to 5.",
                )
            )
        )
    return sentences
