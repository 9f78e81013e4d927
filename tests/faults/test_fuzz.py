"""A sample of benchmarks/fuzz.py: nonsense is read or refused, by a process that lives on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def test_nonsense_is_read_or_refused(tmp_path):
    state = tmp_path / "state.json"
    command = [sys.executable, FUZZ, "--seed", "1", "--minutes", "0.3", "--state", state]
    done = subprocess.run(
        [*map(str, command), "--page", str(tmp_path / "page.md")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name, found in json.loads(state.read_text("utf-8")).items():
        assert found["counts"].get("read") and found["counts"].get("refused"), name
