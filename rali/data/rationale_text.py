"""Reference rationales: what is known or measured of a picture, said in varied, honest English.

In come a score, measures and (for synthetic pictures) the distortion; out come several texts of
the kind the papers' teachers write. It is a bootstrap and a baseline to compare a teacher with,
not a teacher: every clause is backed by a number that came in. Words are graded, so that a text
carries how much and not only what.
"""

from __future__ import annotations

import random
from bisect import bisect_right

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES, canonical
from rali.pictures.measure import Measures

# Where one grade ends and the next begins: percentiles (about 2, 10, 25, 50, 75, 90, 98) of
# the measures over 250 real photographs, rounded.
CUTS: dict[str, tuple[float, ...]] = {
    "luminance": (18, 42, 75, 100, 140, 175, 215),
    "contrast": (10, 22, 36, 49, 61, 72),
    "sharpness": (0.8, 1.3, 1.75, 2.25, 2.7, 3.15),
    "noise": (0.5, 1.0, 2.0, 4.5, 10.0, 22.0),
    "blockiness": (1.25, 1.5, 1.8, 2.4),
    "colourfulness": (4, 11, 20, 33, 50, 70),
    "clipped": (0.002, 0.03, 0.12, 0.35),
}
_GRADES: dict[str, tuple[tuple[str, ...], ...]] = {
    "luminance": (
        ("almost black", "drowned in darkness", "extremely dark"),
        ("very dark", "heavily underexposed", "badly underlit"),
        ("rather dark", "underexposed", "dim"),
        ("slightly dark", "a little dim", "on the dark side"),
        ("evenly lit", "well exposed", "of balanced brightness"),
        ("fairly bright", "brightly lit", "on the bright side"),
        ("very bright", "overexposed", "too bright"),
        ("almost white", "washed out by light", "severely overexposed"),
    ),
    "contrast": (
        ("almost no contrast", "a completely flat tonal range"),
        ("very low contrast", "a flat and hazy look"),
        ("rather low contrast", "a muted tonal range"),
        ("moderate contrast", "an ordinary tonal range"),
        ("good contrast", "a clear separation of tones"),
        ("strong contrast", "a wide tonal range"),
        ("very strong contrast", "a harsh, hard tonal range"),
    ),
    "sharpness": (
        ("extremely blurry", "without any fine detail", "completely unsharp"),
        ("very blurry", "very unsharp", "missing nearly all fine detail"),
        ("blurry", "soft, with little fine detail", "lacking in sharpness"),
        ("slightly soft", "not quite crisp", "of moderate sharpness"),
        ("reasonably sharp", "clear, with visible detail", "fairly crisp"),
        ("sharp", "crisp and detailed", "rich in fine detail"),
        ("extremely sharp", "full of very fine texture", "packed with hard fine edges"),
    ),
    "noise": (
        ("no visible noise", "perfectly smooth surfaces"),
        ("hardly any noise", "clean surfaces"),
        ("a trace of grain", "very light noise"),
        ("some grain", "slight noise"),
        ("noticeable noise", "visible grain"),
        ("strong noise", "coarse grain"),
        ("overwhelming noise", "extremely heavy grain"),
    ),
    "blockiness": (
        ("no blocking", "no compression blocks"),
        ("barely any blocking", "almost no block edges"),
        ("faint block edges", "light compression traces"),
        ("visible block edges", "noticeable compression blocks"),
        ("strong blocking", "obvious compression blocks"),
    ),
    "colourfulness": (
        ("nearly monochrome", "close to grey"),
        ("very pale", "almost drained of colour"),
        ("muted", "subdued"),
        ("restrained", "calm"),
        ("natural", "moderately saturated"),
        ("rich", "lively"),
        ("very vivid", "intensely saturated"),
    ),
    "clipped": (
        (),
        ("a few {tone} are clipped", "small areas of the {tone} lose detail"),
        ("some {tone} are clipped", "parts of the {tone} lose their detail"),
        ("large areas of the {tone} are clipped", "much of the {tone} has lost its detail"),
        (
            "the {tone} of a great part of the picture are clipped",
            "over a third of the frame has lost its {tone}",
        ),
    ),
}
# Thirteen bands of a third of a point each.
QUALITY: tuple[tuple[str, ...], ...] = (
    ("terrible", "unusable", "of the very worst quality"),
    ("very bad", "very poor", "awful"),
    ("bad", "of bad quality", "seriously flawed"),
    ("poor", "of poor quality", "clearly deficient"),
    ("rather poor", "weak", "below par"),
    ("below average", "somewhat weak", "unconvincing"),
    ("mediocre", "so-so", "just about acceptable"),
    ("fair", "acceptable", "average"),
    ("above average", "decent", "fairly good"),
    ("good", "of good quality", "pleasing"),
    ("quite good", "more than good", "of solid high quality"),
    ("very good", "of very high quality", "impressive"),
    ("excellent", "outstanding", "close to perfect"),
)
EFFECTS: dict[str, tuple[str, ...]] = {
    "blur": ("a {how} blur that softens edges", "{how} blurring of the whole frame"),
    "noise": ("{how} random noise over all surfaces", "{how} colour noise"),
    "compression": (
        "{how} JPEG compression with block and ringing artefacts",
        "{how} compression artefacts",
    ),
    "brighten": ("a {how} brightening that lifts all tones", "{how} over-brightening"),
    "darken": ("a {how} darkening that buries tones", "{how} artificial darkening"),
    "contrast strengthen": (
        "a {how} excess of contrast",
        "{how} strengthening of the contrast",
    ),
    "contrast weaken": ("a {how} loss of contrast", "{how} weakening of the contrast"),
    "saturate strengthen": ("a {how} oversaturation", "{how} exaggeration of the colours"),
    "saturate weaken": ("a {how} loss of colour saturation", "{how} desaturation"),
    "oversharpen": ("{how} oversharpening with halos", "a {how} excess of sharpening at edges"),
    "pixelate": ("{how} pixelation into visible squares", "a {how} loss of resolution to pixels"),
    "quantize": (
        "{how} quantization with banding of tones",
        "a {how} posterisation of smooth areas",
    ),
}


_FALSE_DETAIL = ("noise", "compression", "pixelate", "quantize", "oversharpen")


def quality_phrase(score: float) -> tuple[str, ...]:
    """The synonyms for a score, 1–5."""
    band = min(len(QUALITY) - 1, int((score - 1) / 4 * len(QUALITY)))
    return QUALITY[band]


def grade(attribute: str, value: float) -> int:
    """Index of the grade that `value` falls in."""
    return bisect_right(CUTS[attribute], value)


def write_rationales(
    *,
    score: float | None,
    measures: Measures | None = None,
    distortion: str | None = None,
    severity: int | None = None,
    count: int = 4,
    seed: int | str = 0,
) -> list[str]:
    """Write `count` different texts about one picture.

    Args:
        score: 1–5; None leaves the overall verdict out.
        measures: from `rali.pictures.measure.measure`.
        distortion: the known degradation, `null` for a picture known to have none.
        severity: 0–5.
        seed: of all choices.

    Raises:
        InputError: nothing is known at all, a score outside 1–5, a severity outside 0–5 or an
            unknown distortion.
    """
    if score is None and measures is None and not distortion:
        raise InputError("a rationale needs a score, measures or a distortion; none was given.")
    if score is not None and not 1 <= score <= 5:
        raise InputError(f"a rationale's score must be in 1–5, got {score}.")
    if severity is not None and severity not in range(6):
        raise InputError(f"severity is {severity!r}; expected 0 (none) to 5 (catastrophic).")
    distortion = canonical(distortion) if distortion else None
    if distortion in (None, "null"):
        severity = 0
    texts: list[str] = []
    attempt = 0
    while len(texts) < count:
        text = _write(score, measures, distortion, severity, random.Random(f"{seed}/{attempt}"))
        attempt += 1
        if text not in texts or attempt > 50 * count:
            texts.append(text)
    return texts


def _write(
    score: float | None,
    measures: Measures | None,
    distortion: str | None,
    severity: int | None,
    rng: random.Random,
) -> str:
    body: list[str] = []
    if measures is not None:
        body += _measured(measures, distortion, severity, rng)
    known = _known(distortion, severity, rng)
    if known:
        body.append(known)
    rng.shuffle(body)
    verdict = _verdict(score, _has_fault(measures, severity), rng)
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
    return rng.choice(_GRADES[attribute][grade(attribute, value)])


def _measured(
    m: Measures, distortion: str | None, severity: int | None, rng: random.Random
) -> list[str]:
    light, tone = _word("luminance", m.luminance, rng), _word("contrast", m.contrast, rng)
    detail, noise = _word("sharpness", m.sharpness, rng), _word("noise", m.noise, rng)
    blocks = _word("blockiness", m.blockiness, rng)
    # What the estimators miss must not contradict what is known.
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
        _detail(m, detail, distortion, severity, rng),
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
            clause = rng.choice(_GRADES["clipped"][level]).format(tone=name)
            sentences.append(clause[0].upper() + clause[1:] + ".")
    return sentences


def _detail(
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


def _known(distortion: str | None, severity: int | None, rng: random.Random) -> str:
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
    effect = rng.choice(EFFECTS[distortion]).format(how=how)
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


def _verdict(score: float | None, fault: bool, rng: random.Random) -> list[str]:
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
    if rng.random() < 0.6:
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
