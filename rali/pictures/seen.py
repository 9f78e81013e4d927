"""Which texts were there before, in 18 to 48 bytes each: a table of 96-bit hashes."""

from __future__ import annotations

from array import array
from hashlib import blake2b


def digest(text: str) -> bytes:
    """A text as 12 bytes: of ten billion, any two share them with a chance below one in a billion.

    The text may hold lone surrogates, as names of files do that are not UTF-8.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()


class Seen:
    """A set of texts that can only be added to; two are the same where their `digest` is."""

    def __init__(self) -> None:
        self._heads, self._tails = array("Q", bytes(8 * 256)), array("I", [0] * 256)
        self._count = 0

    def add(self, text: str) -> bool:
        """Whether `text` is new."""
        whole = digest(text)
        head = int.from_bytes(whole[:8], "little") or 1  # 0 is a free slot
        tail = int.from_bytes(whole[8:], "little")
        place = self._place(head, tail)
        if self._heads[place]:
            return False
        self._heads[place], self._tails[place] = head, tail
        self._count += 1
        if 3 * self._count > 2 * len(self._heads):
            self._grow()
        return True

    def _grow(self) -> None:
        heads, tails = self._heads, self._tails
        self._heads = array("Q", [0]) * (2 * len(heads))
        self._tails = array("I", [0]) * (2 * len(heads))
        for head, tail in zip(heads, tails, strict=True):
            if head:
                place = self._place(head, tail)
                self._heads[place], self._tails[place] = head, tail

    def _place(self, head: int, tail: int) -> int:
        """Where the pair is, or the free slot that it belongs to."""
        last = len(self._heads) - 1
        place = head & last
        while self._heads[place] and (self._heads[place], self._tails[place]) != (head, tail):
            place = (place + 1) & last
        return place
