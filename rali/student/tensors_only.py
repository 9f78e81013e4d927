"""A checkpoint of torch's in, its `state_dict` out, read by a process with a memory limit.

`torch.load(weights_only=True)` runs no code, but it is a machine for pickles written in Python and
C++. What a file can lead it to, a crash or all of the memory, ends a process of its own, which
hands the tensors over as `.safetensors`.

    python -m rali.student.tensors_only CHECKPOINT OUTPUT
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from rali.errors import InputError

SECONDS = 900
SPARE = 2**30  # bytes beside four times the file: itself, the tensors, their copy, the output's


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The `state_dict` of a checkpoint, or the checkpoint itself where it is one.

    Raises:
        InputError: it holds more than tensors, is damaged, or does not fit into four times its
            size of memory (Linux and other systems with `RLIMIT_AS`).
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory(prefix="rali-") as folder:
        target = Path(folder) / "state.safetensors"
        command = [sys.executable, "-m", "rali.student.tensors_only", str(path), str(target)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{path} is refused: it is not read in {SECONDS} seconds.") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            reason = lines[-1][:300]
            if done.returncode < 0:
                reason = f"reading it ends the reading process by signal {-done.returncode}"
            raise InputError(f"{path} is refused: {reason}.")
        return load_file(target)


def _limit_memory(size: int) -> None:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 4 * size + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):  # no such limit here
        return


def main(source: Path, target: Path) -> str:
    """Write the tensors; returns why not, or nothing."""
    from safetensors.torch import save_file

    _limit_memory(source.stat().st_size)
    warnings.simplefilter("ignore")  # of the versions that a file names
    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
        state = found.get("state_dict", found) if isinstance(found, dict) else None
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
        ):
            return "it holds no state_dict of tensors"
        own = {name: value.detach().clone().contiguous() for name, value in state.items()}
        save_file(own, target)
    except pickle.UnpicklingError as error:
        return f"it holds more than tensors, or is not a checkpoint ({_first_line(error)})"
    except MemoryError:
        return "reading it takes more than four times its size of memory"
    except Exception as error:  # torch raises many types for a damaged file
        if "memory" in str(error):
            return "reading it takes more than four times its size of memory"
        return f"it is not a checkpoint, or damaged ({_first_line(error)})"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])) or None)
