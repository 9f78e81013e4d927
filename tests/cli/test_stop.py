"""Signals that end a command: real processes, real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rali.pictures.samples import sample_files


def degrade(folder: Path, before: str = "") -> subprocess.Popen[str]:
    """A command that takes long, once it has written its first picture."""
    # Whatever the tests themselves were started under.
    default = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    default += "; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"import signal; {default}; {before}\nfrom rali.cli import main; main()"
    words = ["data", "degrade", *map(str, sample_files()), "-o", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not list(folder.rglob("*.png")) and time.monotonic() < end:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_a_command_with_its_number_and_one_sentence(name, code, tmp_path):
    process = degrade(tmp_path)
    process.send_signal(getattr(signal, name))
    told = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert told.splitlines()[-1] == "rali: stopped; the same command resumes it."
    assert told.count("stopped") == 1 and "Traceback" not in told


def test_a_command_under_nohup_outlives_its_terminal(tmp_path):
    process = degrade(tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    done = len(list(tmp_path.rglob("*.png")))
    end = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.png"))) < done + 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert process.poll() is None
    process.kill()
    process.communicate()
