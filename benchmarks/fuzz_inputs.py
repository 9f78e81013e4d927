"""Nonsense for benchmarks/fuzz.py: real bytes, values and cells that are changed here and there.

Each function takes a `random.Random`, so a number names an input for good.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 5, 7, 10**6, 10**12, 10**400, 0.5, -0.0, 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), "", " ", "a", "builtin", "5", "1,5", "NaN", "1e999",
    "\x00", "\ud800", "\u202e", "٣", "½", "🙂" * 3, "../" * 40, "file:%FF%00", "https://a/b.jpg",
    "x" * 70_000, "a\nb", "\r", '"', "=1+1", [], {}, [1], [1, 2], [1, 2, 3], [5, 1], ["a", "b"],
    [[1, 2], [3]], {"": None}, {"name": "nano"}, {"bytes": "AAAA"}, {"path": "/etc/passwd"},
)  # fmt: skip
DEEP = ("[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, "1" * 5000)


def changed(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to eight changes, mostly one; a piece of another file may be one of them."""
    held = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        a = draw.randint(0, len(held))
        b = min(len(held), a + draw.choice((1, 2, 4, 8, 40, 400)))
        kind = draw.randint(0, 7)
        if kind == 0 and held:
            held[draw.randrange(len(held))] ^= 1 << draw.randrange(8)
        elif kind == 1 and held:
            held[draw.randrange(len(held))] = draw.randrange(256)
        elif kind == 2:
            size = draw.choice((1, 2, 4, 8))
            order = draw.choice(("little", "big"))
            number = draw.choice(NUMBERS) & (256**size - 1)
            held[a : a + size] = number.to_bytes(size, order)
        elif kind == 3:
            del held[a:b]
        elif kind == 4:
            held[a:a] = held[a:b]
        elif kind == 5:
            held[a:a] = draw.randbytes(draw.randint(1, 16))
        elif kind == 6 and draw.random() < 0.3:
            del held[a:]
        elif others:
            other = draw.choice(others)
            c = draw.randint(0, len(other))
            held[a:b] = other[c : c + (b - a)]
    return bytes(held)


def changed_png(data: bytes, draw: random.Random) -> bytes:
    """A PNG with changes inside a chunk, whose checksum is right again; or chunks moved about."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = draw.randrange(len(chunks))
    name, held = chunks[place]
    kind = draw.randint(0, 4)
    if kind <= 2:
        if name == b"IDAT" and draw.random() < 0.5:
            held = zlib.compress(changed(zlib.decompress(held), draw))
        else:
            held = changed(held, draw)
        chunks[place] = (name, held)
    elif kind == 3:
        chunks.insert(draw.randrange(len(chunks) + 1), chunks[place])
    else:
        del chunks[place]
    return data[:8] + b"".join(
        struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held))
        for name, held in chunks
    )


def any_value(draw: random.Random, depth: int = 3) -> Any:
    """A value that JSON knows, seldom a deep one."""
    kind = draw.random()
    if depth and kind < 0.1:
        return [any_value(draw, depth - 1) for _ in range(draw.randint(0, 4))]
    if depth and kind < 0.2:
        return {
            str(draw.choice(VALUES))[:20]: any_value(draw, depth - 1)
            for _ in range(draw.randint(0, 3))
        }
    if kind < 0.3:
        return draw.uniform(-10, 10)
    return draw.choice(VALUES)


def changed_values(value: Any, draw: random.Random) -> Any:
    """A copy of JSON's values, of which one is another, missing, renamed or new."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.1:
            return {name: held for name, held in value.items() if name != key}
        if kind < 0.15:
            return {f"{name}_" if name == key else name: held for name, held in value.items()}
        if kind < 0.2:
            return {**value, str(draw.choice(VALUES))[:20]: any_value(draw)}
        return {**value, key: changed_values(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        return [*value[:place], changed_values(value[place], draw), *value[place + 1 :]]
    return any_value(draw)


def changed_json(value: Any, draw: random.Random) -> bytes:
    """JSON's text, of other values or damaged, seldom deeper than a reader goes."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        value = changed_values(value, draw)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.01:
        text = text.replace(":", f":{draw.choice(DEEP)}", 1)
    data = text.encode("utf-8", "surrogatepass")
    return changed(data, draw) if draw.random() < 0.3 else data
