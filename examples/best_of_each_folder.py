"""Name the best picture of each folder, such as a burst, a product or a day.

    python examples/best_of_each_folder.py PHOTOS

Needs `pip install rali` alone. Pictures that cannot be read are named and skipped.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from rali import Scorer
from rali.pictures.read import find_pictures


def main(folder: str) -> None:
    series: dict[Path, list[tuple[float, Path]]] = defaultdict(list)
    for result in Scorer().score_many(find_pictures([folder], recursive=True)):
        if result.score is None:
            print(f"{result.source}: {result.error}", file=sys.stderr)
        else:
            series[result.source.parent].append((result.score, result.source))
    if not series:
        sys.exit(f"There is no picture that can be scored in {folder}.")
    for place, scored in series.items():
        score, best = max(scored)
        print(f"{place}: {best.name} ({score:.2f}, best of {len(scored)})")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
