"""The words of reference rationales: synonyms for a measure's grade, a score, a degradation.

Words are graded, so that a text says how much and not only what.
"""

from __future__ import annotations

from bisect import bisect_right

# Per measure, where one grade ends and the next begins: its rounded percentiles (about 2, 10, 25,
# 50, 75, 90, 98) over 250 real photographs.
CUTS: dict[str, tuple[float, ...]] = {
    "luminance": (18, 42, 75, 100, 140, 175, 215),
    "contrast": (10, 22, 36, 49, 61, 72),
    "sharpness": (0.8, 1.3, 1.75, 2.25, 2.7, 3.15),
    "noise": (0.5, 1.0, 2.0, 4.5, 10.0, 22.0),
    "blockiness": (1.25, 1.5, 1.8, 2.4),
    "colourfulness": (4, 11, 20, 33, 50, 70),
    "clipped": (0.002, 0.03, 0.12, 0.35),
}
GRADES: dict[str, tuple[tuple[str, ...], ...]] = {
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
    "blur": ("{a_how} blur that softens edges", "{how} blurring of the whole frame"),
    "noise": ("{how} random noise over all surfaces", "{how} colour noise"),
    "compression": (
        "{how} JPEG compression with block and ringing artefacts",
        "{how} compression artefacts",
    ),
    "brighten": ("{a_how} brightening that lifts all tones", "{how} over-brightening"),
    "darken": ("{a_how} darkening that buries tones", "{how} artificial darkening"),
    "contrast strengthen": (
        "{a_how} excess of contrast",
        "{how} strengthening of the contrast",
    ),
    "contrast weaken": ("{a_how} loss of contrast", "{how} weakening of the contrast"),
    "saturate strengthen": ("{a_how} oversaturation", "{how} exaggeration of the colours"),
    "saturate weaken": ("{a_how} loss of colour saturation", "{how} desaturation"),
    "oversharpen": ("{how} oversharpening with halos", "{a_how} excess of sharpening at edges"),
    "pixelate": ("{how} pixelation into visible squares", "{a_how} loss of resolution to pixels"),
    "quantize": (
        "{how} quantization with banding of tones",
        "{a_how} posterisation of smooth areas",
    ),
}


# Where a degradation and a measure agree, one is the other's cause: the measure, and its least or
# greatest grade for which that holds.
CAUSES: dict[str, tuple[str, str, int]] = {
    "blur": ("sharpness", "at most", 2),
    "noise": ("noise", "at least", 4),
    "compression": ("blockiness", "at least", 3),
    "brighten": ("luminance", "at least", 5),
    "darken": ("luminance", "at most", 2),
    "contrast strengthen": ("contrast", "at least", 5),
    "contrast weaken": ("contrast", "at most", 2),
    "saturate strengthen": ("colourfulness", "at least", 5),
    "saturate weaken": ("colourfulness", "at most", 2),
}
CONSEQUENCES: dict[str, tuple[str, ...]] = {
    "sharpness": ("which leaves it {word}", "so that in detail it is {word}"),
    "noise": ("seen as {word} in smooth regions", "which explains {word} in flat areas"),
    "blockiness": ("seen as {word}", "which explains {word} on a grid"),
    "luminance": ("so that the scene looks {word}", "which leaves the frame {word}"),
    "contrast": ("and there is {word}", "so that what remains is {word}"),
    "colourfulness": ("so that the colours are {word}", "which leaves a palette that is {word}"),
}
# What two regions differ in, by the measure: where it has more, and where less.
REGIONS: dict[str, tuple[str, ...]] = {
    "upper light": (
        "The upper half is brighter than the lower.",
        "The top of the picture is its brighter half.",
    ),
    "lower light": ("The lower half is brighter than the upper.",),
    "centre light": ("The middle of the frame is brighter than its edges.",),
    "border light": ("The middle of the frame is darker than its edges.",),
    "centre detail": (
        "Most detail lies in the middle of the frame.",
        "The edges of the frame hold less detail than its middle.",
    ),
    "border detail": ("The middle of the frame holds less detail than its edges.",),
}


def effects(distortion: str, how: str) -> tuple[str, ...]:
    """The phrases for a degradation, such as "an obvious blur that softens edges".

    Args:
        how: its severity, in one word.
    """
    a_how = f"{'an' if how[:1] in 'aeiou' else 'a'} {how}"
    return tuple(effect.format(how=how, a_how=a_how) for effect in EFFECTS[distortion])


def quality_phrase(score: float) -> tuple[str, ...]:
    """The synonyms for a score, 1–5."""
    band = min(len(QUALITY) - 1, int((score - 1) / 4 * len(QUALITY)))
    return QUALITY[band]


def grade(attribute: str, value: float) -> int:
    """Index of the grade that a measure's value belongs to."""
    return bisect_right(CUTS[attribute], value)
