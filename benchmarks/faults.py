"""What became of the kills of `make test-faults`, as a page.

    python benchmarks/faults.py build/faults.jsonl > benchmarks/faults.md

A second argument takes the place of the command that the page names, for a log of several runs.

The suite (tests/faults) has compared every finished result with that of an undisturbed run before
this counts: a difference ends it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from pathlib import Path

SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP")
BAR = 200


def main(log: Path, command_line: str = "`make test-faults`") -> None:
    kills = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    sent = Counter((kill["command"], kill["signal"]) for kill in kills if kill["early"])
    late = Counter(kill["command"] for kill in kills if not kill["early"])
    commands = sorted({kill["command"] for kill in kills})
    print(
        "# Killed commands\n\n"
        f"{command_line}: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}.\n\n"
        f"**{sum(sent.values())} kills, {len(commands)} commands; every finished result was that "
        "of an undisturbed run.**\nEach process was sent a signal at a random moment, or when its "
        "folder held a random number of files,\nup to three times in a row, and then ran to its "
        "end. None lost a row, none had one twice, none left a\nprocess behind. Signals that came "
        "after the end are in the last column and not counted.\n"
        f"Bar: {BAR} kills; {'met' if sum(sent.values()) >= BAR else 'not reached by this run'}.\n"
    )
    print(f"| command | {' | '.join(SIGNALS)} | all | too late |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for command in commands:
        cells = [sent[command, name] for name in SIGNALS]
        print(f"| {command} | {' | '.join(map(str, [*cells, sum(cells), late[command]]))} |")
    cells = [sum(sent[command, name] for command in commands) for name in SIGNALS]
    print(f"| all | {' | '.join(map(str, [*cells, sum(cells), sum(late.values())]))} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
