"""Which texts were there before, in 12 to 32 bytes each: a table of 64-bit hashes."""

from __future__ import annotations

from array import array
from hashlib import blake2b


class Seen:
    """A set of texts that can only be added to.

    Two texts that are taken for one are as likely as two equal 64-bit numbers: 3e-8 among a
    million texts.
    """

    def __init__(self) -> None:
        self._slots, self._count = array("Q", bytes(8 * 256)), 0

    def add(self, text: str) -> bool:
        """Whether `text` is new."""
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(digest, "little") or 1
        place = self._place(value)
        if self._slots[place]:
            return False
        self._slots[place] = value
        self._count += 1
        if 3 * self._count > 2 * len(self._slots):
            held, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
            for each in filter(None, held):
                self._slots[self._place(each)] = each
        return True

    def _place(self, value: int) -> int:
        """Where the value is, or the free slot that it belongs to."""
        slots, last = self._slots, len(self._slots) - 1
        place = value & last
        while slots[place] and slots[place] != value:
            place = (place + 1) & last
        return place
