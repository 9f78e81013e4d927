"""A teacher's votes on pairs of photographs that nobody has scored: EvoQuality's pseudo-ranks.

In: the pairs that will meet in a training, and the teacher before it. Out: for each pair which
picture its votes prefer, the target of the reward "voted". EvoQuality (arXiv:2509.25787) asks for
each pair several times, takes the majority, and trains by GRPO on the fidelity to it; for its next
round, start a training from the teacher that this one leaves. Its paper was not at hand: the number
of votes, the order of the two pictures and the choice of pairs are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.runs.config import check_numbers
from rali.runs.folder import add_row, read_rows
from rali.runs.progress import Progress, silent

from .answers import Comparison, Score
from .ask import Reply, ask
from .prompts import Prompt
from .questions import find_prompt, spelt_out
from .requests import Engine, Request, Sampling
from .tasks import Example, TaskConfig

Subject = tuple[str, ...]  # a pair of pictures, or one; what a teacher is asked about


@dataclass
class VoteConfig:
    """How a teacher votes on pairs, for the reward "voted".

    Attributes:
        count: votes on each pair; every second one shows the two pictures in the other order.
        prompt: a prompt for a comparison; or one for a score, with which each picture gets `count`
            scores, and the k-th votes for the picture with the higher k-th score.
        temperature: sampling temperature of the votes.
        max_completion_length: a vote's text is cut off after this many tokens.
        batch_size: texts generated side by side.
    """

    count: int = 6
    prompt: str | dict[str, Any] = "q-insight/compare"
    temperature: float = 1.0
    max_completion_length: int = 512
    batch_size: int = 16

    def __post_init__(self) -> None:
        check_numbers("votes.", self, count=1, max_completion_length=1, batch_size=1)
        check_numbers("votes.", self, positive=["temperature"])
        self.prompt = spelt_out(self.prompt)
        if self.resolve().images not in (("image",), ("image_a", "image_b")):
            raise InputError("votes.prompt: give a prompt for a score, or for two pictures.")

    def resolve(self) -> Prompt:
        """The prompt that these settings ask for."""
        return find_prompt(self.prompt)


def majority(votes: Sequence[float]) -> float:
    """The pseudo-preference of a pair: 1 where most votes are for the first picture, 0 where most
    are for the second, 0.5 in a tie.

    Args:
        votes: 1 for the first picture, 0 for the second, 0.5 for neither; at least one.
    """
    mean = sum(votes) / len(votes)
    return 1.0 if mean > 0.5 else 0.0 if mean < 0.5 else 0.5


def pairs_that_meet(
    drawn: Sequence[Example], tasks: Sequence[TaskConfig], compared: int
) -> list[tuple[str, str]]:
    """The pairs of pictures that a training with the reward "voted" compares, each once.

    Args:
        drawn: the training's examples in their order; `compared` of them are compared at a time.
    """
    voting = {place for place, task in enumerate(tasks) if is_voted(task)}
    found: dict[tuple[str, str], None] = {}
    for start in range(0, len(drawn), compared):
        own = [each for each in drawn[start : start + compared] if each.task in voting]
        for one, other in combinations(own, 2):
            pair = str(one.images[0]), str(other.images[0])
            if (one.task, one.dataset) == (other.task, other.dataset) and pair[0] != pair[1]:
                found[min(pair), max(pair)] = None
    return list(found)


def is_voted(task: TaskConfig) -> bool:
    """Whether the task's reward needs votes."""
    return any(part.name == "voted" for part in task.parts)


def subjects_of(pairs: Sequence[tuple[str, str]], config: VoteConfig) -> list[Subject]:
    """What the teacher is asked about, `config.count` times each: the pairs, or each picture."""
    if len(config.resolve().images) == 2:
        return [*pairs]
    return [(image,) for image in dict.fromkeys(image for pair in pairs for image in pair)]


def vote(
    load: Callable[[], Engine],
    pairs: Sequence[tuple[str, str]],
    config: VoteConfig,
    folder: Path,
    *,
    rank: int = 0,
    world: int = 1,
    progress: Progress = silent,
) -> dict[tuple[str, str], float]:
    """{(picture, other): 1, 0.5 or 0} for each pair in both orders; nothing where no vote is read.

    Votes are noted in `folder/votes-RANK.jsonl`; a stopped call asks only for what is missing.

    Args:
        load: loads the teacher; called only where votes are missing.
        rank, world: the process and their number; each asks for its share, and all get the whole.

    Raises:
        InputError: of none of the pairs a vote could be read.
    """
    from accelerate.utils import gather_object

    prompt, subjects = config.resolve(), subjects_of(pairs, config)
    single = prompt.images == ("image",)
    noted: dict[Subject, list[float | None]] = {
        tuple(row["images"]): row["votes"]
        for file in sorted(folder.glob("votes-*.jsonl"))
        for row in read_rows(file, "images", "votes")
    }
    missing = [subject for subject in subjects[rank::world] if subject not in noted]
    if missing:
        engine = load()
        step = max(1, engine.chunk // config.count)
        for start in range(0, len(missing), step):
            chunk = missing[start : start + step]
            for subject, cast in zip(chunk, _cast(engine, chunk, prompt, config), strict=True):
                noted[subject] = cast
                add_row({"images": subject, "votes": cast}, folder / f"votes-{rank}.jsonl")
            progress("vote", start + len(chunk), len(missing))
    everyone: dict[Subject, list[float | None]] = dict(gather_object(list(noted.items())))
    found: dict[tuple[str, str], float] = {}
    for a, b in pairs:
        cast = everyone.get((a, b), [])
        if single:
            both = zip(everyone[a,], everyone[b,], strict=True)
            cast = [None if x is None or y is None else _higher(x, y) for x, y in both]
        if votes := [value for value in cast if value is not None]:
            found[a, b] = majority(votes)
            found[b, a] = 1 - found[a, b]
    if pairs and not found:
        raise InputError(
            f"The model voted on {len(pairs):,} pairs and none of its answers can be read, so "
            f"nothing could be learned. The prompt is {prompt.name}; look at what the model writes "
            "with `rali teach compare` or `score`, or give another votes.prompt."
        )
    return found


def _higher(score: float, other: float) -> float:
    return 0.5 + 0.5 * ((score > other) - (score < other))


def _cast(
    engine: Engine, subjects: Sequence[Subject], prompt: Prompt, config: VoteConfig
) -> list[list[float | None]]:
    requests = [
        # Each order of a pair has the seeds 0, 1, …
        Request(tuple(map(Path, subject[:: -1 if k % len(subject) else 1])), prompt,
                k // len(subject))
        for subject in subjects
        for k in range(config.count)
    ]  # fmt: skip
    sampling = Sampling(config.temperature, max_new_tokens=config.max_completion_length)
    replies = ask(engine, requests, sampling)
    votes = [_read(reply, k % config.count) for k, reply in enumerate(replies)]
    return [votes[i : i + config.count] for i in range(0, len(votes), config.count)]


def _read(reply: Reply, k: int) -> float | None:
    """A score; or a vote for the pair's first picture, which an odd k-th vote showed second."""
    if isinstance(reply.answer, Score):
        return reply.answer.value
    if not isinstance(reply.answer, Comparison):
        return None
    first = {"A": 1.0, "B": 0.0}.get(reply.answer.choice, 0.5)
    return 1 - first if k % 2 else first
