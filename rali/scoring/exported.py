"""What a file for LiteRT, Core ML or OpenVINO says of itself, read without that runtime.

In: a file of `rali export --format`. Out: its metadata, as those of an ONNX file. LiteRT's file is
a FlatBuffer and Core ML's a protocol buffer, whose fields have numbers in the published schemas
(schema.fbs of TensorFlow Lite, Model.proto of coremltools); OpenVINO's is XML.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rali.files import from_json

from .session import decode_metadata

TFLITE_ENTRY = "rali"  # the name of the one entry in LiteRT's metadata


def read_exported(path: Path) -> dict[str, Any]:
    """The metadata, decoded from JSON; empty where rali wrote none, or the file is damaged."""
    try:
        return decode_metadata(_READERS[path.suffix.lower()](path))
    except (OSError, ValueError, LookupError, TypeError, struct.error, ElementTree.ParseError):
        return {}


def _tflite(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    model = _number(data, 0)
    buffers = _tables(data, model, 4)
    for entry in _tables(data, model, 6):
        if _bytes(data, entry, 0) == TFLITE_ENTRY.encode():
            place = _field(data, entry, 1)
            buffer = buffers[_number(data, place) if place else 0]
            return dict(from_json(_bytes(data, buffer, 0)))
    return {}


def _number(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """Where a table's field lies; 0 if the table has none."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, fields)
    at = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", data, fields + at) if at < size else (0,)
    return table + offset if offset else 0


def _vector(data: bytes, table: int, number: int) -> tuple[int, int]:
    """Where the first item of a table's field lies, and how many there are."""
    if not (place := _field(data, table, number)):
        return 0, 0
    start = place + _number(data, place)
    return start + 4, _number(data, start)


def _tables(data: bytes, table: int, number: int) -> list[int]:
    first, count = _vector(data, table, number)
    places = range(first, min(first + 4 * count, len(data)), 4)
    return [place + _number(data, place) for place in places]


def _bytes(data: bytes, table: int, number: int) -> bytes:
    return _whole(data, *_vector(data, table, number))


def _whole(data: bytes, place: int, length: int) -> bytes:
    if place + length > len(data):
        raise ValueError("the file is cut")
    return data[place : place + length]


def _coreml(path: Path) -> dict[str, str]:
    description = dict(_messages(path.read_bytes()))[2]
    metadata = dict(_messages(description))[100]
    entries = [dict(_messages(entry)) for number, entry in _messages(metadata) if number == 100]
    return {entry.get(1, b"").decode(): entry.get(2, b"").decode() for entry in entries}


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that have a length, by their numbers."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        if tag & 7 == 2:
            length, place = _varint(data, place)
            yield tag >> 3, _whole(data, place, length)
            place += length
        elif tag & 7 == 0:
            _, place = _varint(data, place)
        else:
            place += 8 if tag & 7 == 1 else 4


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while data[place] & 128:
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    return value | data[place] << shift, place + 1


def _openvino(path: Path) -> dict[str, str]:
    found = ElementTree.parse(path).getroot().find("rt_info/rali")
    return {each.tag: each.get("value", "") for each in (() if found is None else found)}


_READERS: dict[str, Callable[[Path], dict[str, str]]] = {
    ".tflite": _tflite, ".mlmodel": _coreml, ".xml": _openvino,
}  # fmt: skip
