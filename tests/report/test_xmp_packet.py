"""XMP packets of every form: a value is found and replaced, all else stays byte for byte."""

from __future__ import annotations

import codecs

import pytest

from rali.errors import InputError
from rali.report.xmp_packet import RDF, Packet
from rali.report.xmp_sidecar import DC, PREFIXES, RATING, SUBJECT, XMP

HEAD = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
TAIL = "</rdf:RDF></x:xmpmeta>"


def packet(inner: str, attributes: str = "") -> bytes:
    spaces = f'rdf:about="" xmlns:xmp="{XMP}" xmlns:dc="{DC}" {attributes}'
    return f"{HEAD}<rdf:Description {spaces}>{inner}</rdf:Description>{TAIL}".encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (packet("", 'xmp:Rating="3"'), packet("", 'xmp:Rating="4"')),
        (packet("", "xmp:Rating = '3'"), packet("", "xmp:Rating = '4'")),
        (packet("<xmp:Rating>3</xmp:Rating>"), packet("<xmp:Rating>4</xmp:Rating>")),
        (packet("<xmp:Rating\n/>"), packet("<xmp:Rating\n>4</xmp:Rating>")),
        (
            packet("<r:Rating xmlns:r='http://ns.adobe.com/xap/1.0/'>3</r:Rating>"),
            packet("<r:Rating xmlns:r='http://ns.adobe.com/xap/1.0/'>4</r:Rating>"),
        ),
        # What looks like a rating and is none: in a comment, in a structure, in another namespace.
        (
            packet("<!-- xmp:Rating='1' --><dc:a xmp:Rating='2' rdf:parseType='Resource'/>"
                   "<dc:Rating>5</dc:Rating><xmp:Rating>3</xmp:Rating>", "dc:a2='&lt;x> y=&quot;'"),
            packet("<!-- xmp:Rating='1' --><dc:a xmp:Rating='2' rdf:parseType='Resource'/>"
                   "<dc:Rating>5</dc:Rating><xmp:Rating>4</xmp:Rating>", "dc:a2='&lt;x> y=&quot;'"),
        ),
    ],
)  # fmt: skip
def test_value_is_replaced_where_it_stands(before: bytes, after: bytes) -> None:
    edited = Packet(before)
    assert edited.get(RATING) is not None
    edited.replace(RATING, "4")
    assert edited.edited() == after


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_and_line_ends_stay(coding: str) -> None:
    declared = "UTF-16" if "16" in coding else "UTF-8"
    text = (
        f"<?xml version='1.0' encoding='{declared}'?>\r\n"
        "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\r\n"
        + packet("\r\n   <dc:title>Ä 写真 \U0001f600</dc:title>\r\n  ", "xmp:Rating='3'").decode()
        + " " * 40 + "\r\n<?xpacket end='w'?>\r\n"
    )  # fmt: skip
    edited = Packet(text.encode(coding))
    edited.replace(RATING, "5")
    edited.add(PREFIXES, {(DC, "format"): 'a "b" & <c>'}, {})
    expected = text.replace("Rating='3'", "Rating='5'")
    whole = edited.edited().decode(coding)
    start = whole.index("\r\n<rdf:Description", whole.index("</rdf:Description>"))
    added = whole[start : whole.index("/>", start) + 2]
    assert whole.replace(added, "") == expected
    assert added.endswith('dc:format="a &quot;b&quot; &amp; &lt;c&gt;"/>')
    assert "\n" not in added.replace("\r\n", "")
    assert edited.edited()[:2] == text.encode(coding)[:2]
    again = Packet(edited.edited()).get((DC, "format"))
    assert again is not None and again.value == 'a "b" & <c>'


@pytest.mark.parametrize(
    "rdf",
    [
        f"<rdf:RDF xmlns:rdf='{RDF}'/>",
        f"<RDF xmlns='{RDF}'></RDF>",
        f"<w:RDF xmlns:w='{RDF}'>\n <w:Description w:about='uuid:1'/>\n</w:RDF>",
    ],
)
def test_additions_fit_into_any_spelling(rdf: str) -> None:
    edited = Packet(rdf.encode())
    edited.add(PREFIXES, {RATING: "2"}, {SUBJECT: ["a", "b"]})
    again = Packet(edited.edited())
    found = again.get(RATING)
    assert found is not None and found.value == "2"
    assert again.items(SUBJECT) == ["a", "b"]
    assert ("about='uuid:1'" in rdf) == (b"rdf:about='uuid:1'" in edited.edited())


def test_items_of_lists() -> None:
    items = "\n  <rdf:li>a</rdf:li>\n  <rdf:li>b</rdf:li>"
    bag = f"<dc:subject>\n <rdf:Bag>{items}\n </rdf:Bag>\n</dc:subject>"
    edited = Packet(packet(bag))
    edited.change_items(SUBJECT, {"b"}, ["c"])
    assert edited.edited() == packet(bag.replace("<rdf:li>b<", "<rdf:li>c<"))
    edited = Packet(packet(bag))
    edited.change_items(SUBJECT, {"a", "b"}, [])
    assert edited.edited() == packet("")
    edited = Packet(packet("<dc:subject><rdf:Bag/></dc:subject>"))
    edited.change_items(SUBJECT, set(), ["c"])
    bag = "<dc:subject><rdf:Bag><rdf:li>c</rdf:li></rdf:Bag></dc:subject>"
    assert edited.edited() == packet(bag)


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LAUGHS.encode() + packet("&b;"), "DOCTYPE"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + packet(""), "DOCTYPE"),
        (packet("")[:-9], "not well-formed"),
        (packet("") + b"\0\0", "not well-formed"),
        (packet("&nbsp;"), "not well-formed"),
        (packet("<dc:title>\x01</dc:title>"), "not well-formed"),
        (b"", "not well-formed"),
        (b"dear diary", "not well-formed"),
        (b"<html/>", "no rdf:RDF"),
        (f"<a>{HEAD}{TAIL}{HEAD}{TAIL}</a>".encode(), "2 rdf:RDF"),
        (packet("\xe9").decode().encode("latin-1"), "neither UTF-8 nor UTF-16"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>" + packet(""), "ISO-8859-1"),
        (packet("").decode().encode("utf-32"), "neither UTF-8 nor UTF-16"),
        (codecs.BOM_UTF16_LE + b"<\0r\0d", "neither UTF-8 nor UTF-16"),
        (packet("<dc:a/>" * 100_000), "100,000 elements"),
        (packet(" " * 2**24), "16 MiB"),
        (packet("<dc:a>" * 10_000), "not well-formed"),
    ],
)
def test_hostile_files_are_refused_in_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Packet(data)


def test_what_is_there_twice_is_not_guessed() -> None:
    twice = Packet(packet("<xmp:Rating>3</xmp:Rating>", 'xmp:Rating="4"'))
    with pytest.raises(InputError, match="Rating 2 times"):
        twice.get(RATING)
    with pytest.raises(InputError, match="no list"):
        Packet(packet("", 'dc:subject="cat"')).items(SUBJECT)
