"""A run that an older version began is found again, or refused for what has changed."""

from __future__ import annotations

from pathlib import Path

from rali.runs.folder import write_json
from rali.teacher.claims import EXAMPLES, claim_run
from rali.teacher.prompts import PROMPTS
from rali.teacher.sft import SftConfig, SftExample


def test_examples_have_the_fingerprint_of_a_version_whose_prompts_had_no_reading(tmp_path):
    example = SftExample((Path("/data/a.png"),), PROMPTS["ract/description"], "Soft.")
    noted = {"count": 1, "fingerprint": "43988e708a7e15eb"}  # by the parent of a3165c4
    write_json(noted, tmp_path / EXAMPLES)
    claim_run(SftConfig(), [example], tmp_path)
