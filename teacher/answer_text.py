"""The words of an answer: tags, objects, numbers that stand alone, labels; read in linear time.

In: what a teacher wrote. Out: where its tags stand, and the one number or label that it states.
Only sentences that state an answer are read, such as "The rating is 4 out of 5" or "Image A is
better". Everything else ("I cannot give a 5", "2 flaws found", "−4") is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_ANSWER = 4096  # characters; an answer takes a few dozen


class UnreadableError(Exception):
    """Why there is no answer; becomes the `reason` of a `Failure`."""


TAG = re.compile(r"<\s*+(?P<end>/?)\s*+(?P<name>think|answer)\s*+>", re.IGNORECASE)
OBJECT = re.compile(r"\{([^{}]*)\}")
# A number that stands alone: no part of a word, a version, a percentage or a decimal comma.
NUMBER = re.compile(
    r"(?<![\w.,%-])(?P<value>[+-]?[0-9]+(?:\.[0-9]+)?)(?![\w%])(?![.,][0-9])(?!\s*%)"
    r"(?:\s*(?:/|out\s+of)\s*(?P<most>[0-9]+(?:\.[0-9]+)?)(?![\w%])(?![.,][0-9]))?"
)
LABEL = re.compile(r"\bimage[\s_]*(?P<letter>[ab])\b|\b(?P<similar>similar|comparable)\b", re.I)
# A key stands at the start of a line or after a comma, and has at most 40 letters.
_PAIR = re.compile(
    r"""(?:^|[\n,;])[\s"'*`-]*+(?P<key>[A-Za-z][A-Za-z _-]{0,39}?)["'*`]*+\s*+:\s*+(?P<value>"""
    r""""(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\[[^\[\]]*\]|[^,\n]*(?:,(?=\s*[0-9.])[^,\n]*)*)"""
)
_DOUBT = re.compile(
    r"\b(?:not?|cannot|never|neither|nor|none|without|un(?:able|less)|refuse|or|than|worse"
    r"|inferior|lower|less|wrong|incorrect|instead|rather|except|if|maybe|perhaps)\b|n['’]t",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?;\n]")
_MARKS = re.compile(r"[\s:=*_\"'`“”‘’()\[\]{},.;]+")  # they separate words and mean nothing here
_PICTURE = r"(?:it |this |(?:the |this )(?:image |picture |photo ))"
_VALUE = r"(?:rating |score |quality |answer )"
_A_VALUE = rf"(?:an? (?:{_VALUE}of )?)"
# What may stand before a number that is the answer: small letters, a space after each word.
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|overall) )?(?:"
    rf"(?:(?:the|my|its|this) )?(?:(?:final|overall|total) )?(?:(?:image|picture|photo|visual) )?"
    rf"(?:quality )?{_VALUE}(?:(?:of|for) {_PICTURE})?(?:is |would be )?(?:an? |of )?"
    rf"|i (?:would |will |d )?(?:give|rate|assign|score) {_PICTURE}?(?:as |at |with )?{_A_VALUE}?"
    rf"|{_PICTURE}(?:is|scores|rates) {_A_VALUE}?"
    rf"|{_PICTURE}(?:has|gets|deserves|receives) {_A_VALUE}"
    r")?"
)
_TAIL = re.compile(
    r"[\s*_\"'`“”‘’)\]}.,;!]*(?:overall|for (?:the|this) (?:image|picture|photo))?"
    r"(?:[(,:;–—-]\s*(?:very\s)?(?:bad|poor|fair|good|excellent))?[\s*_\"'`“”‘’)\]}.,;!]*",
    re.I,
)
_BETTER = r"(?:better|best|superior|preferred)"
_CHOICE = re.compile(
    r"(?:(?:so|thus|hence|therefore) )?(?:"
    rf"(?:(?:the|my) )?(?:final )?(?:answer|choice|result|{_BETTER}(?: (?:one|image|picture))?)"
    r"(?: is)? |i (?:would )?(?:choose|pick|prefer|select) )?(?:"
    rf"image ?(?P<letter>[ab])(?: (?:is|looks) (?:clearly |much |slightly )?(?:the )?{_BETTER}"
    r"(?: (?:one|image|picture))?| has (?:the )?(?:better|best|higher|highest)(?: image| visual)?"
    r" quality)?|(?P<alone>[ab])"
    r"|(?:(?:they|both|both images|the (?:two )?images) (?:are|look) )?(?:very )?"
    r"(?P<similar>similar|comparable)(?: in quality)?)"
)


@dataclass(frozen=True)
class Block:
    """A closed pair of tags: from `start` to `end` with its tags, `opened` to `closed` without."""

    start: int
    opened: int
    closed: int
    end: int

    def content(self, text: str) -> str:
        """What stands between the tags, without white space around it."""
        return text[self.opened : self.closed].strip()


def blocks(text: str, name: str) -> list[Block]:
    """The closed blocks of one tag, `think` or `answer`; what is opened twice begins at the first.

    The tags are found in one pass, however many of them stay open.
    """
    found: list[Block] = []
    first: re.Match[str] | None = None
    for tag in TAG.finditer(text):
        if tag["name"].lower() != name:
            continue
        if not tag["end"]:
            first = first or tag
        elif first:
            found.append(Block(first.start(), first.end(), tag.start(), tag.end()))
            first = None
    return found


def without(text: str, found: list[Block]) -> str:
    """The text without the blocks."""
    starts = [0, *(block.end for block in found)]
    ends = [*(block.start for block in found), len(text)]
    return "".join(text[a:b] for a, b in zip(starts, ends, strict=True))


def pairs(content: str) -> Iterator[tuple[str, str]]:
    """(key, value) of the objects in `content`, or of its lines where there is no object.

    Raises:
        UnreadableError: an object is not closed, or the sentence around it doubts it.
    """
    objects = list(OBJECT.finditer(content))
    rest = OBJECT.sub("", content)
    if len(objects) > 10:
        raise UnreadableError(f"The answer holds {len(objects)} objects.")
    if "{" in rest or "}" in rest:
        raise UnreadableError("The object in the answer is not closed, or holds another.")
    for found in objects:
        before = re.sub(r"```\w*", "", content[max(0, found.start() - 200) : found.start()])
        before = _SENTENCE_END.split(before.rstrip())[-1]
        after = _SENTENCE_END.split(content[found.end() : found.end() + 200].lstrip("`"))[0]
        if _DOUBT.search(OBJECT.sub("", before)) or _DOUBT.search(OBJECT.sub("", after)):
            raise UnreadableError("The words around the object do not plainly state it.")
    for part in [found[1] for found in objects] or content.splitlines():
        end = 0
        for pair in _PAIR.finditer(part):
            if pair.start() > end and not objects:
                break  # within a sentence
            end = pair.end()
            key = pair["key"].lower().replace("_", " ").replace("-", " ")
            value = pair["value"].strip().strip("\"'").strip()
            yield re.sub(r"^(?:the|my) | is$", "", key), value


def stated_number(text: str) -> re.Match[str]:
    """The match of `NUMBER` that the text states as its answer; raises `UnreadableError`."""
    numbers = list(NUMBER.finditer(text))
    if len(numbers) == 1:
        found = numbers[0]
        before = "".join(word + " " for word in _words(text[: found.start()]).split())
        if _LEAD.fullmatch(before) and _TAIL.fullmatch(text[found.end() :]):
            return found
    raise UnreadableError("The answer does not state one number that stands alone.")


def stated_choice(text: str) -> str:
    """`A`, `B` or `similar`, which the text states as its answer; raises `UnreadableError`."""
    found = _CHOICE.fullmatch(_words(text.rstrip("!")))
    if found is None:
        raise UnreadableError("The answer is not a plain label.")
    letter = found["letter"] or found["alone"]
    return letter.upper() if letter else "similar"


def _words(text: str) -> str:
    """The text in small letters, with one space for the marks between its words."""
    return _MARKS.sub(" ", text).strip().lower()
