"""An XMP packet's bytes in, its properties with their places out, and edits that keep all else.

A sidecar is other programs' work: darktable keeps a whole edit in it. So nothing is written anew;
a value is replaced between its quotes, and what is new is put before the end. The libraries for XMP
cannot do that. They serialize what they have parsed: python-xmp-toolkit (BSD; needs libexempi from
the system) and pyexiv2 (GPL-3, which this library cannot require) order and indent anew, drop
comments and the XML declaration, and libexempi pads; lxml and ElementTree keep neither quotes nor
line ends (`benchmarks/xmp.py` counts it). What is needed of a parser is where each thing lies, and
Python's own, expat, tells that byte by byte. It also decides what is well-formed, resolves
namespaces and decodes values; no pattern here looks at XML that expat has not accepted.

XMP is ISO 16684-1: RDF with one level of `rdf:Description`, whose attributes or elements are the
properties. A packet is UTF-8, or UTF-16 with or without its mark.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rali.errors import InputError

from .xml_places import Element, attributes_of, between, find_elements

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MAX_BYTES = 16 * 2**20  # a large darktable sidecar has some 100 KiB
_ARRAYS = {f"{RDF} {kind}" for kind in ("Bag", "Seq", "Alt")}
Name = tuple[str, str]  # a namespace and a name in it


@dataclass(frozen=True)
class Property:
    """A property of the packet, an attribute or an element of an `rdf:Description`.

    Attributes:
        value: its text; None where it is no plain text.
        start, end: the bytes of the whole.
        inner: the bytes of the value, between quotes or tags.
        element: None for an attribute.
    """

    value: str | None
    start: int
    end: int
    inner: tuple[int, int]
    element: Element | None = None

    @property
    def array(self) -> Element | None:
        """The `rdf:Bag` or the like that holds its items, if it is a list."""
        children = self.element.children if self.element else []
        return children[0] if len(children) == 1 and children[0].name in _ARRAYS else None


class Packet:
    """A parsed packet and the edits to be made in it.

    Args:
        data: the bytes of a sidecar.

    Raises:
        InputError: it is not XMP, not well-formed, has a DOCTYPE, or is too large; `str(error)` is
            the reason, without the file's name.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_BYTES:
            raise InputError(f"It has more than {MAX_BYTES >> 20} MiB, which no sidecar needs.")
        self._mark, self._coding = _coding_of(data)
        body = data[len(self._mark) :]
        try:
            text = body.decode(self._coding)
            if text.encode(self._coding) != body:
                raise ValueError
        except ValueError:
            raise InputError("It is neither UTF-8 nor UTF-16, as XMP must be.") from None
        self._data = text.encode()
        self._edits: list[tuple[int, int, bytes]] = []
        _check_declared(self._data)
        rdf = find_elements(self._data, f"{RDF} RDF")
        if len(rdf) != 1:
            raise InputError(f"It is not XMP: it has {len(rdf) or 'no'} rdf:RDF; expected one.")
        self._rdf = rdf[0]
        described = [one for one in self._rdf.children if one.name == f"{RDF} Description"]
        self._described = described[0] if described else None
        self._found: dict[Name, list[Property]] = {}
        for one in described:
            for name, found in self._properties(one):
                self._found.setdefault(name, []).append(found)
        self._newline = b"\r\n" if b"\r\n" in self._data else b"\n"

    def get(self, name: Name) -> Property | None:
        """A property, or None where the packet does not have it.

        Raises:
            InputError: it is there more than once.
        """
        found = self._found.get(name, [])
        if len(found) > 1:
            raise InputError(f"It has {name[1]} {len(found)} times; expected once.")
        return found[0] if found else None

    def names(self, space: str) -> list[str]:
        """The names of the properties in a namespace."""
        return [name for held, name in self._found if held == space]

    def items(self, name: Name) -> list[str]:
        """The texts of a list property; none where the packet does not have it.

        Raises:
            InputError: it is there and is no list.
        """
        found = self.get(name)
        if found is None:
            return []
        if found.array is None:
            raise InputError(f"Its {name[1]} is no list (rdf:Bag), as it must be.")
        return [item.text for item in found.array.children]

    def replace(self, name: Name, value: str) -> None:
        """Replace the value of a property that is there."""
        found = self._found[name][0]
        element = found.element
        if element is None or not element.empty:
            self._edit(*found.inner, escaped(value))
        else:
            self._edit(*self._opened(element), b">" + escaped(value) + _closing(element.raw))

    def remove(self, name: Name) -> None:
        """Take a property away, with the blanks before it."""
        found = self._found[name][0]
        self._edit(self._blanks_before(found.start), found.end, b"")

    def change_items(self, name: Name, drop: set[str], add: list[str]) -> None:
        """Drop items from a list property that is there, and add others at its end.

        A list of which nothing is left is removed.
        """
        found = self._found[name][0]
        array = found.array
        assert array is not None
        kept = [item for item in array.children if item.text not in drop]
        if not kept and not add:
            self.remove(name)
            return
        for item in array.children:
            if item.text in drop:
                self._edit(self._blanks_before(item.start), item.end, b"")
        prefix = array.raw[: array.raw.rfind(b":") + 1]
        sample = array.children[-1].start if array.children else 0
        blanks = self._data[self._blanks_before(sample) : sample] if sample else b""
        made = b"".join(
            blanks + b"<" + prefix + b"li>" + escaped(item) + _closing(prefix + b"li")
            for item in add
        )
        if array.empty:
            self._edit(*self._opened(array), b">" + made + _closing(array.raw))
        else:
            at = array.children[-1].end if array.children else array.inner
            self._edit(at, at, made)

    def add(
        self, prefixes: dict[str, str], values: dict[Name, str], lists: dict[Name, list[str]]
    ) -> None:
        """Add properties that are not there, as an `rdf:Description` of their own, the last one.

        Args:
            prefixes: of each namespace. values: the plain ones. lists: the items of each list.
        """
        newline, indent = self._newline, self._indent()
        spaces = {space: prefixes[space] for space, _ in [*values, *lists]}
        if self._rdf.raw != b"rdf:RDF":
            spaces[RDF] = "rdf"
        lines = [b"<rdf:Description rdf:about=" + self._about()]
        lines += [b'  xmlns:%s="%s"' % (p.encode(), s.encode()) for s, p in spaces.items()]
        for (space, name), value in values.items():
            full = f"{prefixes[space]}:{name}".encode()
            lines.append(b' %s="%s"' % (full, escaped(value)))
        if lists:
            lines[-1] += b">"
            for (space, name), items in lists.items():
                full = f"{prefixes[space]}:{name}".encode()
                lines += [b" <" + full + b">", b"  <rdf:Bag>"]
                lines += [b"   <rdf:li>" + escaped(item) + b"</rdf:li>" for item in items]
                lines += [b"  </rdf:Bag>", b" " + _closing(full)]
            lines.append(b"</rdf:Description>")
        else:
            lines[-1] += b"/>"
        block = b"".join(newline + indent + line for line in lines)
        rdf = self._rdf
        if rdf.empty:
            self._edit(*self._opened(rdf), b">" + block + newline + _closing(rdf.raw))
        else:
            at = rdf.children[-1].end if rdf.children else rdf.inner
            self._edit(at, at, block)

    def edited(self) -> bytes:
        """The packet with all edits, in the encoding in which it came."""
        parts, done = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            parts += [self._data[done:start], new]
            done = end
        whole = b"".join([*parts, self._data[done:]])
        return self._mark + whole.decode().encode(self._coding)

    def _edit(self, start: int, end: int, new: bytes) -> None:
        self._edits.append((start, end, new))

    def _properties(self, described: Element) -> Iterator[tuple[Name, Property]]:
        """Those of one `rdf:Description`."""
        for full, value, place in attributes_of(self._data, described):
            space, _, name = full.rpartition(" ")
            if space not in ("", RDF):
                yield (space, name), Property(value, place.start(), place.end(), between(place))
        for element in described.children:
            space, _, name = element.name.rpartition(" ")
            plain = not element.children and not element.attributes
            inner = (element.inner, element.close)
            text = element.text if plain else None
            yield (space, name), Property(text, element.start, element.end, inner, element)

    def _about(self) -> bytes:
        """What the packet describes, as its first description says it: all must say the same."""
        if self._described is not None:
            for name, _, place in attributes_of(self._data, self._described):
                if name in ("about", f"{RDF} about"):  # before RDF had a namespace for it, too
                    start, end = between(place)
                    return self._data[start - 1 : end + 1]
        return b'""'

    def _indent(self) -> bytes:
        first = self._described or self._rdf
        start = self._blanks_before(first.start)
        blanks = self._data[start : first.start].rpartition(b"\n")[2]
        return blanks if first is self._described else blanks + b" "

    def _blanks_before(self, place: int) -> int:
        while place and self._data[place - 1] in b" \t\r\n":
            place -= 1
        return place

    def _opened(self, element: Element) -> tuple[int, int]:
        """Where the `/>` of an empty element lies."""
        return element.inner - 2, element.inner


def escaped(text: str) -> bytes:
    """A text as the value of an attribute or an element; what XML cannot hold becomes U+FFFD."""
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    for sign, entity in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "apos")):
        text = text.replace(sign, f"&{entity};")
    return re.sub("[\t\n\r]", lambda found: f"&#{ord(found[0])};", text).encode()


def _closing(raw: bytes) -> bytes:
    return b"</" + raw + b">"


def _coding_of(data: bytes) -> tuple[bytes, str]:
    """The mark at the beginning, and the encoding."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return b"", "utf-8"  # which it is not
    marks = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"))
    for mark, coding in (*marks, (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            return mark, coding
    unmarked = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
    return b"", unmarked.get(data[:2], "utf-8")


def _check_declared(data: bytes) -> None:
    declared = re.match(rb"""<\?xml[^>]*?encoding\s*=\s*["']([^"']*)""", data)
    if declared and declared[1].upper() not in (b"UTF-8", b"UTF-16", b"US-ASCII", b"ASCII"):
        coding = declared[1].decode(errors="replace")
        raise InputError(f"It says that it is {coding}; XMP is UTF-8 or UTF-16.")
