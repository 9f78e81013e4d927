"""Reference rationales: varied, and nothing in them that was not known or measured."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from rali.data.degraded import degraded_score
from rali.data.rationale_text import write_rationales
from rali.data.rationale_words import CUTS, GRADES, QUALITY, effects, quality_phrase
from rali.errors import InputError
from rali.pictures.degrade import DISTORTIONS, SEVERITY_NAMES, degrade
from rali.pictures.measure import Measures, Regions, measure, measure_regions

ORDINARY = Measures(
    luminance=120,
    contrast=55,
    clipped_highlights=0.0,
    clipped_shadows=0.0,
    sharpness=2.5,
    noise=1.5,
    blockiness=1.0,
    colourfulness=40,
)
BRIGHT = [word for level in (5, 6, 7) for word in GRADES["luminance"][level]]
DARK = [word for level in (0, 1, 2, 3) for word in GRADES["luminance"][level]]


def has_word(text: str, words: list[str] | tuple[str, ...]) -> bool:
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


@pytest.mark.parametrize("attribute", ["luminance", "contrast", "colourfulness", "sharpness"])
def test_every_grade_is_said_in_its_own_words(attribute: str) -> None:
    """The word is the measured grade's; no two grades of one attribute share a word."""
    cuts = CUTS[attribute]
    values = [cuts[0] - 0.1, *cuts]  # a cut belongs to the grade above it
    assert len(values) == len(GRADES[attribute]) >= 5
    for level, value in enumerate(values):
        for text in write_rationales(
            score=3, measures=replace(ORDINARY, **{attribute: value}), count=6, seed=level
        ):
            assert has_word(text, GRADES[attribute][level]), text
    words = [word for grade in GRADES[attribute] for word in grade]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(("luminance", "wrong"), [(15, BRIGHT), (70, BRIGHT), (230, DARK)])
def test_dark_is_never_called_bright(luminance: float, wrong: list[str]) -> None:
    for text in write_rationales(
        score=2.5, measures=replace(ORDINARY, luminance=luminance), count=40
    ):
        assert not has_word(text, wrong), text


def test_clipping_is_named_where_it_is() -> None:
    for text in write_rationales(score=3, measures=ORDINARY, count=20):
        assert "clipped" not in text and "highlights" not in text and "shadows" not in text
    for text in write_rationales(
        score=3, measures=replace(ORDINARY, clipped_shadows=0.2), count=20
    ):
        assert "shadows" in text and "highlights" not in text


@pytest.mark.parametrize("name", DISTORTIONS)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_the_distortion_is_named_with_its_severity(name: str, severity: int) -> None:
    how = SEVERITY_NAMES[severity]
    others = [word for word in SEVERITY_NAMES[3:] if word != how]
    for text in write_rationales(score=None, distortion=name, severity=severity, count=6):
        assert any(effect in text for effect in effects(name, how)), text
        assert not has_word(text.replace("moderate ", "", how == "moderate"), others[1:]), text


def test_the_article_fits_the_word_after_it() -> None:
    """Over every template and severity: "an obvious blur", "a slight blur"."""
    for name in DISTORTIONS:
        for severity in (None, 1, 2, 3, 4, 5):
            for text in write_rationales(
                score=2.5, measures=ORDINARY, distortion=name, severity=severity, count=40
            ):
                assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert not re.search("[{}]", "".join(effects(name, "obvious")))
    assert "an obvious blur that softens edges" in effects("blur", "obvious")


def test_a_degradation_is_a_cause_only_where_the_measure_agrees() -> None:
    dark = replace(ORDINARY, luminance=30)
    for measures, follows in ((dark, True), (ORDINARY, False)):
        texts = write_rationales(
            score=2, measures=measures, distortion="darken", severity=4, count=40
        )
        clauses = [text for text in texts if re.search("so that the scene|which leaves", text)]
        assert bool(clauses) == follows
        for text in clauses:
            assert has_word(text.split("darken")[-1], GRADES["luminance"][1]), text


def test_regions_are_told_apart_only_where_they_differ() -> None:
    rgb = np.full((60, 80, 3), 40, np.uint8)
    rgb[:30] = 200  # the upper half
    found = measure_regions(rgb)
    assert found.light_upper_lower == pytest.approx(160, abs=0.01)
    texts = write_rationales(score=3, measures=ORDINARY, regions=found, count=20)
    assert all(re.search("upper half is brighter|top of the picture", t) for t in texts)
    for text in write_rationales(
        score=3, measures=ORDINARY, regions=Regions(10.0, -5.0, 0.1), count=20
    ):
        assert not re.search("half|middle|top", text), text
    assert measure_regions(np.zeros((1, 1, 3), np.uint8)) == Regions(0.0, 0.0, 0.0)


def test_an_estimator_that_misses_does_not_contradict_what_is_known() -> None:
    silent = replace(ORDINARY, noise=0.0, blockiness=1.0, sharpness=3.5)
    for name, wrong in (
        ("noise", ("no visible noise", "hardly any noise", "clean surfaces")),
        ("compression", ("no blocking", "no compression blocks")),
        ("blur", GRADES["sharpness"][4] + GRADES["sharpness"][5] + GRADES["sharpness"][6]),
        ("pixelate", GRADES["sharpness"][6]),
    ):
        for text in write_rationales(
            score=2, measures=silent, distortion=name, severity=4, count=20
        ):
            assert not has_word(text, wrong), text


def test_grain_is_not_called_detail(photographs: dict[str, np.ndarray]) -> None:
    for rgb in photographs.values():
        found = measure(degrade(rgb, "noise", 5))
        for text in write_rationales(score=None, measures=found, count=6):
            assert not has_word(text, GRADES["sharpness"][5] + GRADES["sharpness"][6]), text


def test_verdict_follows_the_score() -> None:
    assert len(QUALITY) >= 9 and all(len(band) >= 3 for band in QUALITY)
    words = [word for band in QUALITY for word in band]
    assert len(words) == len(set(words))
    scores = np.linspace(1, 5, 81)
    bands = [QUALITY.index(quality_phrase(score)) for score in scores]
    assert bands[0] == 0 and bands[-1] == len(QUALITY) - 1
    assert np.all(np.diff(bands) >= 0) and set(bands) == set(range(len(QUALITY)))
    for score in scores[::5]:
        for text in write_rationales(score=score, count=3):
            assert has_word(text, quality_phrase(score)), (score, text)


def test_the_number_is_the_rounded_score_in_most_texts() -> None:
    numbers = 0
    texts = write_rationales(score=3.449, measures=ORDINARY, count=200)
    for text in texts:
        found = re.findall(r"\d\.\d+", text)
        assert found in ([], ["3.4"]), text
        numbers += bool(found)
    assert 0.45 < numbers / len(texts) < 0.75


def test_without_a_score_there_is_no_verdict() -> None:
    words = [word for band in QUALITY for word in band if " " in word or len(word) > 5]
    for text in write_rationales(score=None, measures=ORDINARY, count=40):
        assert not re.search(r"\d", text)
        assert not re.search("quality|Despite|rate it", text)
        assert not has_word(text, [word for word in words if word not in ("natural",)]), text


def test_a_fault_in_a_good_picture_is_conceded() -> None:
    concession = re.compile("Despite its faults,|Even so,|All the same,")
    for text in write_rationales(
        score=4.4, measures=ORDINARY, distortion="jpeg", severity=1, count=20
    ):
        assert concession.search(text), text
    for score, severity in ((1.5, 5), (4.8, 0)):
        for text in write_rationales(
            score=score, measures=ORDINARY, distortion="jpeg", severity=severity, count=20
        ):
            assert not concession.search(text), text


def test_texts_differ_and_repeat_with_the_seed() -> None:
    first = write_rationales(score=3.2, measures=ORDINARY, count=8, seed=1)
    assert len(set(first)) == 8
    assert write_rationales(score=3.2, measures=ORDINARY, count=8, seed=1) == first
    assert not set(write_rationales(score=3.2, measures=ORDINARY, count=8, seed=2)) & set(first)
    # Fewer texts are the first of more.
    assert write_rationales(score=3.2, measures=ORDINARY, count=3, seed=1) == first[:3]


def test_order_and_length_on_real_photographs(photographs: dict[str, np.ndarray]) -> None:
    openings, lengths = set(), []
    for rgb in photographs.values():
        for name in DISTORTIONS:
            texts = write_rationales(
                score=degraded_score(name, 3),
                measures=measure(degrade(rgb[::2, ::2], name, 3)),
                distortion=name,
                severity=3,
                count=2,
                seed=name,
            )
            openings |= {" ".join(text.split()[:2]) for text in texts}
            lengths += [len(text.split()) for text in texts]
    assert len(openings) > 12
    assert min(lengths) >= 35 and max(lengths) <= 110 and np.median(lengths) >= 50


def test_errors() -> None:
    with pytest.raises(InputError, match="none was given"):
        write_rationales(score=None)
    for score in (0.9, 5.1, float("nan")):
        with pytest.raises(InputError, match="1–5"):
            write_rationales(score=score)
    with pytest.raises(InputError, match="severity"):
        write_rationales(score=3, distortion="blur", severity=6)
    with pytest.raises(InputError, match="fog"):
        write_rationales(score=3, distortion="fog", severity=1)
