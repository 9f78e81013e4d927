"""How teachers are asked: prompt, sampling, number of texts, for each task.

In: a teacher's name and a task. Out: what its authors' code does; for a teacher that rali trained,
the question that it learned (`learned`); or rali's default. `rali evaluate` and `rali teach score |
perceive | compare | harvest` take it where nothing else was given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .authors import AUTHORS, Decoding, published
from .learned import AS, noted
from .prompts import TaskName
from .requests import Sampling

_LIKELIEST = Sampling(temperature=0)
# Of several for a task the first is taken that shows the pictures that there are.
DEFAULTS: dict[TaskName, tuple[Decoding, ...]] = {
    "score": (Decoding("visualquality-r1/score", Sampling(), samples=5),),
    "degradation": (Decoding("q-insight/degradation", _LIKELIEST),),
    "comparison": (
        Decoding("q-insight/compare", _LIKELIEST),
        Decoding("q-insight/compare-reference", _LIKELIEST),
    ),
    "description": (Decoding("ract/description", _LIKELIEST),),
}
DEFAULT = DEFAULTS["score"][0]


def decoding_of(
    model: str,
    task: TaskName = "score",
    *,
    reference: bool = False,
    served: bool = False,
    **given: Any,
) -> Decoding:
    """How a teacher is asked: as it was trained, or as its authors do, but for what is given.

    A teacher that rali trained names its prompts in its folder or Hub repository, and for what the
    training left alone the published teacher that it started from. A published one is known by its
    Hub id, or by the end of its folder's path (`…/VisualQuality-R1-7B`,
    `…/Q-Insight/score_degradation`, or a folder of the Hub's cache).

    Args:
        task: what it is asked for.
        reference: whether a comparison shows a third picture, which both should look like.
        served: the name is a server's, so that the Hub is not asked about it.
        given: `prompt`, `samples`, or a field of `Sampling`; None leaves it to the authors. Another
            prompt than theirs is asked with the default sampling.

    Raises:
        InputError: the folder's note of its prompts is damaged.
    """
    usual = DEFAULTS[task]
    trained, authors = list[Decoding](), published(model)
    stated = given.get("prompt") is not None  # then the Hub need not be asked
    learned = noted(model, served=served or stated).get(task)
    if isinstance(learned, dict) and AS in learned:  # untouched by a training of rali's
        authors = learned[AS]
    elif learned:
        source = "the question that it was trained on"
        trained = [replace(usual[-1], prompt=learned, source=source)]
    theirs = [how for own, how in AUTHORS.get(authors, {}).items() if own == task]
    fitting = [how for how in (*trained, *theirs, *usual) if _shows_reference(how) == reference]
    known, default = fitting[0], fitting[-1]
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("prompt", known.prompt) != known.prompt:
        known = default
    own = {name: given.pop(name) for name in ("prompt", "samples") if name in given}
    changed = replace(known, **own, sampling=replace(known.sampling, **given))
    return changed if changed == known or known in trained else replace(changed, source="")


def _shows_reference(how: Decoding) -> bool:
    return "reference" in how.find_prompt().images
