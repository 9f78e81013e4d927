"""What is watched during a training: settings, and the pictures that they choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rali.data.datasets import dataset_names
from rali.data.manifest import Row, read_manifest
from rali.errors import InputError
from rali.pictures.inside import is_there
from rali.runs.config import check_numbers

from .answers import Score
from .examples import of_split
from .prompts import PROMPTS, Prompt
from .questions import find_prompt
from .tasks import TASKS


@dataclass
class WatchConfig:
    """Validation and probe pictures during a training.

    Attributes:
        every: steps between two looks; there is also one before the first step and one after the
            last, and with 0 only these.
        manifests: manifests of pictures to validate on.
        split: the split of these manifests.
        pictures: at most this many pictures of each manifest, drawn once.
        samples: texts per picture; the mean of their scores counts.
        temperature: sampling temperature of these texts.
        probes: pictures whose rationale is saved at each look (VisualQuality-R1, Fig. 4).
        prompt: the prompt for a score; empty takes the training's own, or VisualQuality-R1's.
        batch_size: texts generated side by side.
    """

    every: int = 50
    manifests: list[str] = field(default_factory=list)
    split: str = "val"
    pictures: int = 200
    samples: int = 5
    temperature: float = 1.0
    probes: list[str] = field(default_factory=list)
    prompt: str = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_numbers("watch.", self, every=0, pictures=2, samples=1, temperature=0, batch_size=1)
        try:
            asked = self.scoring(())
        except InputError as error:
            raise InputError(f"watch.prompt: {error}") from None
        if TASKS[asked.task].answer is not Score:
            raise InputError(f"watch.prompt: {asked.name} asks for no score; give one that does.")

    def scoring(self, prompts: Iterable[Prompt]) -> Prompt:
        """The prompt to score with, given the training's prompts.

        Texts to a prompt of rali's are read by its own rules, as `rali evaluate` reads them,
        whatever `reading` the rewards took: one may take any number in a text for a score.
        """
        if self.prompt:
            return find_prompt(self.prompt)
        own = (prompt for prompt in prompts if TASKS[prompt.task].answer is Score)
        prompt = next(own, PROMPTS["visualquality-r1/score"])
        return replace(prompt, reading="") if prompt.name in PROMPTS else prompt

    def rows(self, trained: Iterable[Path] = ()) -> list[Row]:
        """The pictures to validate on, the same at every look.

        Args:
            trained: pictures that are trained on.

        Raises:
            InputError: a manifest has no labelled picture in the split, or one that is trained on;
                or a probe is missing.
        """
        training = set(trained)
        for probe in self.probes:
            if not is_there(Path(probe)):
                raise InputError(f"watch.probes: there is no picture {probe}.")
        read = {path: read_manifest(path) for path in self.manifests}
        names = dataset_names(read)
        found = []
        for path in self.manifests:
            own = [row for row in of_split(read[path], self.split) if row.score]
            if not own:
                raise InputError(f"watch: {path} has no scored picture in split {self.split!r}.")
            both = [row.image for row in own if row.image in training]
            if both:
                raise InputError(
                    f"watch: {len(both)} pictures of {path} are trained on, such as {both[0]}; "
                    "separate them with `rali data split`."
                )
            chosen = np.random.default_rng(0).permutation(len(own))[: self.pictures]
            drawn = (own[place] for place in sorted(chosen))
            found += [replace(row, dataset=row.dataset or names[path]) for row in drawn]
        return found
