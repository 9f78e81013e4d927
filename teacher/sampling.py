"""In which order examples are drawn, so that pictures that are compared meet in one step.

In: each example's data set. Out: one order for the whole training, made of shuffled runs of `group`
examples of one data set each. It depends only on its arguments, so a training that resumes draws
what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rali.errors import InputError

DRAWS = ("size", "uniform", "exhaust")


def sample_order(
    keys: Sequence[str], group: int, epochs: float, *, draw: str = "size", seed: int = 0
) -> list[int]:
    """Indices of examples, `group` of one key at a time.

    Args:
        keys: for each example its task and data set, within which it is compared.
        group: examples of one key that are drawn together.
        epochs: passes over all examples.
        draw: "size" draws every example once an epoch (except a random few that do not fill a
            group); "uniform" draws every key as often as the others; "exhaust" draws
            like "size", but each time picks a key uniformly of those that are not exhausted.
        seed: seed of the shuffling.

    Raises:
        InputError: a key has fewer examples than a group.
    """
    if draw not in DRAWS:
        raise InputError(f"draw is {draw!r}; there are {', '.join(DRAWS)}.")
    members: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    for key, own in members.items():
        if len(own) < group:
            raise InputError(
                f"{key} has {len(own)} examples; {group} are drawn together. Add examples, leave "
                "it out, or set a smaller group."
            )
    runs = {key: len(own) // group for key, own in members.items()}
    if draw == "uniform":
        runs = dict.fromkeys(runs, -(-sum(runs.values()) // len(runs)))
    return [
        index
        for epoch in range(int(np.ceil(epochs)))
        for index in _epoch(members, runs, group, np.random.default_rng((seed, epoch)), draw)
    ][: round(epochs * sum(runs.values())) * group]


def _epoch(
    members: dict[str, list[int]],
    runs: dict[str, int],
    group: int,
    draw: np.random.Generator,
    how: str,
) -> list[int]:
    groups = []
    for key, own in members.items():
        whole = len(own) // group * group
        own_order: list[int] = []
        while len(own_order) < runs[key] * group:
            own_order += draw.permutation(own).tolist()[:whole]
        groups += [own_order[i * group : (i + 1) * group] for i in range(runs[key])]
    order: list[int] = draw.permutation(len(groups)).tolist()
    if how == "exhaust":
        of = np.repeat(list(range(len(runs))), list(runs.values()))
        left = [[place for place in order if of[place] == key] for key in range(len(runs))]
        order = []
        while left := [places for places in left if places]:
            order.append(left[draw.integers(len(left))].pop())
    return [index for place in order for index in groups[place]]
