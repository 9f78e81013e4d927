"""A set of keys that takes 12 bytes a key, so that a run knows what an earlier one has done.

In: the keys of finished rows. Out: whether a key is among them, by its `digest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from rali.pictures.seen import digest

_DTYPE = np.dtype([("head", ">u8"), ("tail", ">u4")])


class Keys:
    """The keys that were given, which does not grow."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        hashes = bytearray()
        for key in keys:
            hashes += digest(key)
        pairs = np.frombuffer(hashes, _DTYPE)
        order = np.lexsort((pairs["tail"], pairs["head"]))
        self._heads = pairs["head"].astype(np.uint64)[order]
        self._tails = pairs["tail"].astype(np.uint32)[order]

    def __len__(self) -> int:
        return len(self._heads)

    @property
    def repeated(self) -> bool:
        """Whether a key was given twice."""
        same = self._heads[1:] == self._heads[:-1]
        return bool((same & (self._tails[1:] == self._tails[:-1])).any())

    def without(self, others: Keys) -> Keys:
        """Those that are not among `others`."""
        left = Keys()
        kept = ~np.isin(self._heads, others._heads)
        left._heads, left._tails = self._heads[kept], self._tails[kept]
        return left

    def __contains__(self, key: str) -> bool:
        if not len(self._heads):
            return False
        pair = digest(key)
        head, tail = np.uint64(int.from_bytes(pair[:8], "big")), int.from_bytes(pair[8:], "big")
        place = int(self._heads.searchsorted(head))
        while place < len(self._heads) and self._heads[place] == head:
            if self._tails[place] == tail:
                return True
            place += 1
        return False


class Keyed(Protocol):
    """What has a key: an `Entry` of `rali.pictures.sources`."""

    @property
    def key(self) -> str: ...


E = TypeVar("E", bound=Keyed)


@dataclass(frozen=True)
class New(Generic[E]):
    """Those of `entries` whose key is not among `done`; can be iterated as often as they can."""

    entries: Iterable[E]
    done: Keys

    def __iter__(self) -> Iterator[E]:
        return (entry for entry in self.entries if entry.key not in self.done)
