"""A batch that does not fit into the memory is halved until it does; later ones are smaller too."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
# onnxruntime, and torch without a GPU, have no exceptions of their own for this.
_SAID = re.compile(
    r"bad_alloc|failed to allocate|out of memory|alloc_failed|can't allocate memory", re.I
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch or onnxruntime says that there is not enough memory."""
    return isinstance(error, MemoryError) or _SAID.search(str(error)) is not None


class Halving:
    """Does some work in batches that fit into the memory; each halving is a warning.

    Args:
        what: the work, as in "There is not enough memory to embed pictures".

    Attributes:
        at_most: the size of a batch that is not known to be too large.
    """

    def __init__(self, what: str) -> None:
        self.what, self.at_most = what, sys.maxsize

    def run(self, work: Callable[[Any], T], batch: Any) -> Iterator[T]:
        """What `work` returns for the parts of a batch, in order; mostly it is one part.

        Args:
            work: may be called again with a part of what it failed on.
            batch: has a length and can be sliced; an empty one is one part.

        Raises:
            MemoryError: not even one item fits.
        """
        done = 0
        while True:
            part = batch[done : done + self.at_most]
            try:
                result = work(part)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) < 2:
                    raise MemoryError(f"There is not enough memory to {self.what}.") from error
            else:
                yield result
                done += len(part)
                if done >= len(batch):
                    return
                continue
            # Here the error, and what it kept in memory, is gone.
            self.at_most = min(self.at_most, len(part) // 2)
            warnings.warn(
                f"There is not enough memory to {self.what} {len(part)} at a time; from here on "
                f"it is {self.at_most}.",
                stacklevel=1,
            )
