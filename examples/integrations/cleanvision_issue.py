"""An issue type for CleanVision: pictures that people would call bad.

    pip install rali cleanvision
    import cleanvision_issue  # registers it
    lab = Imagelab(data_path="photos/")
    lab.find_issues({"low_quality": {"at_least": 2.5}})

Copy this file into your project. As CleanVision wants it, `low_quality_score` lies between 0 and 1,
and the lower, the worse: it is rali's score (1–5), moved to that range. A picture that cannot be
scored has none and is no issue of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from cleanvision.issue_managers import register_issue_manager
from cleanvision.utils.base_issue_manager import IssueManager
from cleanvision.utils.utils import get_is_issue_colname, get_score_colname

from rali import Scorer

NAME = "low_quality"


@register_issue_manager(NAME)
class LowQualityIssueManager(IssueManager):
    """Params: `at_least`, the lowest score that is no issue (1–5), and `model`, as for `Scorer`."""

    issue_name = NAME
    visualization = "individual_images"

    def __init__(self) -> None:
        super().__init__()
        self.params = self.get_default_params()

    def get_default_params(self) -> dict[str, Any]:
        return {"at_least": 2.5, "model": "builtin"}

    def update_params(self, params: dict[str, Any]) -> None:
        if unknown := set(params) - set(self.params):
            raise ValueError(f"{NAME} takes {', '.join(self.params)}, not {', '.join(unknown)}.")
        self.params |= {name: value for name, value in params.items() if value is not None}

    def find_issues(self, *, params: dict[str, Any], dataset: Any, n_jobs: int, **_: Any) -> None:
        """Fill `issues`, `summary` and `info`, which `Imagelab` takes from here."""
        self.update_params(params)
        scorer, readable = Scorer(self.params["model"], threads=n_jobs), list[Any]()

        def pictures() -> Iterator[Any]:
            for index in dataset.index:
                if (picture := dataset[index]) is not None:
                    readable.append(index)
                    yield picture

        found = [result.score for result in scorer.score_many(pictures())]
        scores = pd.Series(found, readable, float, "rali_score").reindex(dataset.index)
        low, high = scorer.score_range
        is_issue = scores < self.params["at_least"]
        self.issues = pd.DataFrame(
            {
                get_score_colname(NAME): (scores - low) / (high - low),
                get_is_issue_colname(NAME): is_issue,
            }
        )
        self.summary = pd.DataFrame({"issue_type": [NAME], "num_images": [int(is_issue.sum())]})
        self.info = {"statistics": {NAME: scores.describe()}, NAME: {"params": self.params}}
