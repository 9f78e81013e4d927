"""Completion of words on the command line, as a real bash does it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RALI = Path(sys.executable).parent / "rali"
# What bash does when the tab key is pressed.
TAB = """
words=({words})
COMP_WORDS=("${{words[@]}}") COMP_CWORD=$((${{#words[@]}} - 1))
COMP_LINE="${{words[*]}}" COMP_POINT=${{#COMP_LINE}}
source "$HOME/.bashrc"
$(complete -p rali | sed 's/.*-F \\([^ ]*\\).*/\\1/') rali "${{words[-1]}}" "${{words[-2]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(
    shutil.which("bash") is None or not RALI.is_file(), reason="no bash, or no rali"
)
def test_what_install_completion_writes_completes_in_bash(tmp_path: Path) -> None:
    path = f"{RALI.parent}{os.pathsep}{os.environ['PATH']}"
    home = {**os.environ, "HOME": str(tmp_path), "PATH": path}

    def bash(script: str) -> list[str]:
        command = ["bash", "--norc", "-c", script]
        done = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
        return done.stdout.split()

    bash("rali --install-completion; true")  # not exec: the shell is looked for among the parents
    assert (tmp_path / ".bashrc").is_file()
    assert bash(TAB.format(words="rali sc")) == ["score"]
    assert "int8" in bash(TAB.format(words="rali score --precision i"))
