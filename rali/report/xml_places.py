"""An XML text in, its elements and attributes out, each with the place of its bytes.

expat decides what is well-formed, resolves namespaces and decodes values; no pattern here looks at
a tag that expat has not accepted. What can do harm is refused: a DOCTYPE, with which entities grow,
and more elements than any file of the kind has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from rali.errors import InputError

MAX_ELEMENTS = 100_000
_VALUE = rb"""\s*=\s*(?:"([^"]*)"|'([^']*)')"""
_TAG = re.compile(rb"<([^\s/>]+)((?:\s+[^\s=]+" + _VALUE + rb")*)\s*(/?)>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=]+)" + _VALUE)


@dataclass
class Element:
    """An element of the text.

    Attributes:
        name: its namespace, a blank, and its name. raw: as it is spelt, with its prefix.
        start, inner: where its start tag begins and ends.
        empty: whether it is written as `<a/>`.
        attributes: name, value, name, …, without declarations of namespaces.
        parts: its own text, in pieces.
        close, end: where its end tag begins and ends.
    """

    name: str
    raw: bytes
    start: int
    inner: int
    empty: bool
    attributes: list[str]
    parts: list[str] = field(default_factory=list)
    close: int = 0
    end: int = 0
    children: list[Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)


def find_elements(data: bytes, name: str) -> list[Element]:
    """The elements of a name (namespace, blank, name), with all that is in them.

    Args:
        data: XML in UTF-8, whatever encoding it declares.

    Raises:
        InputError: it is not well-formed, has a DOCTYPE or too many elements.
    """
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.ordered_attributes = True
    open_elements: list[Element] = []
    found: list[Element] = []
    count = 0

    def start(full: str, attributes: list[str]) -> None:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS:
            raise InputError(f"It has more than {MAX_ELEMENTS:,} elements, which no sidecar needs.")
        place = parser.CurrentByteIndex
        tag = _TAG.match(data, place)
        assert tag is not None
        begun = Element(full, tag[1], place, tag.end(), bool(tag[5]), attributes)
        if open_elements:
            open_elements[-1].children.append(begun)
        if full == name:
            found.append(begun)
        open_elements.append(begun)

    def end(full: str) -> None:
        done = open_elements.pop()
        done.close = done.inner if done.empty else parser.CurrentByteIndex
        done.end = done.inner if done.empty else data.index(b">", done.close) + 1

    def text(characters: str) -> None:
        if open_elements:
            open_elements[-1].parts.append(characters)

    def refuse(*declaration: object) -> None:
        raise InputError("It has a DOCTYPE, which can do harm and which XMP does not have.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"It is not well-formed XML ({error}).") from None
    return found


def attributes_of(data: bytes, element: Element) -> Iterator[tuple[str, str, re.Match[bytes]]]:
    """Each attribute's name (namespace, blank, name), its value, and its place with the blanks."""
    tag = _TAG.match(data, element.start)
    assert tag is not None
    places = (
        place
        for place in _ATTRIBUTE.finditer(data, *tag.span(2))
        if place[1] != b"xmlns" and not place[1].startswith(b"xmlns:")
    )
    pairs = zip(element.attributes[::2], element.attributes[1::2], places, strict=True)
    yield from pairs


def between(place: re.Match[bytes]) -> tuple[int, int]:
    """Where an attribute's value lies, between its quotes."""
    return place.span(2) if place[2] is not None else place.span(3)
