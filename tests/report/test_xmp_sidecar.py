"""Whose stars and keywords: rali's follow the score, everybody else's stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rali.report.xmp_packet import Packet
from rali.report.xmp_sidecar import (
    RALI,
    RATING,
    STARS,
    SUBJECT,
    Marks,
    keywords_of,
    marked,
    rating_in,
    stars_of,
)

MARKS = Marks(3.5, 3, "builtin", "abc", (3.0, 4.0, 0.9), ("quality|blur",))


def text(data: bytes, name: tuple[str, str]) -> str | None:
    found = Packet(data).get(name)
    return None if found is None else found.value


def edit(data: bytes, old: str, new: str) -> bytes:
    assert data.count(old.encode()) == 1
    return data.replace(old.encode(), new.encode())


def test_stars_begin_at_their_threshold() -> None:
    assert [stars_of(score, (2, 3, 4, 4.5)) for score in (1, 2, 2.9, 3, 4.2, 4.5)] == [
        1, 2, 2, 3, 4, 5,
    ]  # fmt: skip
    assert [stars_of(score) for score in (1.0, *STARS)] == [1, 2, 3, 4, 5]


def test_phrases_that_are_likely_become_keywords() -> None:
    assert keywords_of([("blur", 0.6), ("noise", 0.25), ("good", 0.24)]) == (
        "quality|blur",
        "quality|noise",
    )


def test_new_sidecar_and_second_run() -> None:
    made = marked(None, MARKS)
    names = ("Score", "Low", "High", "Level", "Model", "Weights", "Stars", "Keywords")
    values = [text(made.data, (RALI, name)) for name in names]
    assert values == ["3.500", "3.000", "4.000", "0.9", "builtin", "abc", "3", "quality|blur"]
    assert text(made.data, RATING) == "3" and Packet(made.data).items(SUBJECT) == ["quality|blur"]
    assert marked(made.data, MARKS) == made and not made.others
    assert marked(made.data, replace(MARKS, score=3.5004)) == made  # another machine's last digit


def test_a_meaning_with_a_semicolon_is_one_keyword() -> None:
    two = replace(MARKS, keywords=("quality|soft; faded", "quality|noise"))
    made = marked(None, two)
    assert marked(made.data, two) == made
    one = marked(made.data, replace(MARKS, keywords=("quality|noise",)))
    assert Packet(one.data).items(SUBJECT) == ["quality|noise"]


def test_another_score_replaces_what_rali_wrote() -> None:
    other = Marks(4.5, 5, "mine", "def", keywords=("quality|noise",))
    again = marked(marked(None, MARKS).data, other)
    assert text(again.data, RATING) == "5"
    assert Packet(again.data).items(SUBJECT) == ["quality|noise"]
    assert set(Packet(again.data).names(RALI)) == {"Score", "Model", "Weights", "Stars", "Keywords"}
    assert marked(again.data, other) == again
    bare = marked(again.data, replace(other, keywords=()))
    assert Packet(bare.data).get(SUBJECT) is None


@pytest.mark.parametrize("theirs", ["5", "-1", "2", "five", "1.5"])
def test_stars_of_somebody_else_are_kept(theirs: str) -> None:
    before = edit(marked(None, MARKS).data, 'xmp:Rating="3"', f'xmp:Rating="{theirs}"')
    same = marked(before, MARKS)
    assert same.others and same.data == before
    other = marked(before, replace(MARKS, score=4.4, stars=5))
    assert other.others and text(other.data, RATING) == theirs
    assert (
        text(other.data, (RALI, "Score")) == "4.400" and text(other.data, (RALI, "Stars")) is None
    )
    assert marked(other.data, replace(MARKS, score=4.4, stars=5)) == other


def test_zero_is_no_rating_and_a_cleared_one_waits_for_another_score() -> None:
    made = marked(None, MARKS).data
    cleared = edit(made, 'xmp:Rating="3"', 'xmp:Rating="0"')
    assert marked(cleared, MARKS).data == cleared
    assert text(marked(cleared, replace(MARKS, stars=4, score=4)).data, RATING) == "4"
    theirs = edit(cleared, 'rali:Stars="3"', "")  # as another program writes an unrated picture
    assert text(marked(theirs, MARKS).data, RATING) == "3"


def test_a_rating_inside_the_picture_is_not_hidden() -> None:
    made = marked(None, MARKS, rated=True)
    assert made.others and text(made.data, RATING) is None
    assert marked(made.data, MARKS, rated=True) == made
    assert rating_in(edit(marked(None, MARKS).data, 'Rating="3"', 'Rating="2"') + b"\0")
    assert not rating_in(made.data) and not rating_in(b"<broken")


def test_keywords_of_somebody_else_are_kept() -> None:
    made = marked(None, replace(MARKS, keywords=())).data
    theirs = edit(made, 'xmp:Rating="3"/>', 'xmp:Rating="3"><dc:subject xmlns:dc="http://purl.org/dc/'
                  'elements/1.1/"><rdf:Bag><rdf:li>quality|blur</rdf:li><rdf:li></rdf:li></rdf:Bag></dc:subject>'
                  "</rdf:Description>")  # fmt: skip
    both = marked(theirs, replace(MARKS, keywords=("quality|blur", "quality|noise")))
    assert Packet(both.data).items(SUBJECT) == ["quality|blur", "", "quality|noise"]
    assert text(both.data, (RALI, "Keywords")) == "quality|noise"
    assert Packet(marked(both.data, replace(MARKS, keywords=())).data).items(SUBJECT) == [
        "quality|blur",
        "",
    ]
