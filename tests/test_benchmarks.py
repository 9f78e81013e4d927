"""A benchmark that wants a GPU runs anywhere in small, so that it works once there is one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_reward_costs() -> None:
    command = [sys.executable, str(BENCHMARKS / "reward_cost.py"), "--tiny"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|")[1:-1] for line in report.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 4
    assert "teacher" in rows[-1][0]
    for _, batch, rate, seconds, memory in rows:
        assert int(batch) / float(seconds) == pytest.approx(float(rate), rel=0.02)
        assert float(memory) > 0
    time, share = re.search(
        r"takes ([\d.]+) % of the teacher's time and ([\d.]+) %", report
    ).groups()
    ours = next(row for row in rows if "without" in row[0] and int(row[1]) == int(rows[-1][1]))
    assert float(time) == pytest.approx(100 * float(ours[3]) / float(rows[-1][3]), rel=0.05)
    assert float(share) == pytest.approx(100 * float(ours[4]) / float(rows[-1][4]), rel=0.1)
