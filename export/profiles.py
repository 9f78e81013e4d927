"""What execution providers want of a file: attention, batch, symmetry and bits, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from rali.errors import InputError


@dataclass(frozen=True)
class Profile:
    """What one provider takes; docs/export.md says which was run and which was read about.

    Attributes:
        precision: what is written where no other is asked for. precisions: what it can run.
        batch: pictures per run, where the number must be fixed; None for any.
        symmetric: 8-bit integers have no zero points, of activations either.
        fused: attention may be ONNX Runtime's own node.
    """

    precision: str = "fp32"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    batch: int | None = None
    symmetric: bool = False
    fused: bool = False


PROFILES = {
    "openvino": Profile(),
    "tensorrt": Profile(symmetric=True),
    "coreml": Profile(precisions=("fp32", "fp16"), batch=1),
    "qnn": Profile(precision="int8", batch=1),
    "nnapi": Profile(precisions=("fp32", "int8"), batch=1),
}


def find_profile(name: str, precision: str | None = None) -> tuple[Profile, str]:
    """The entry of `PROFILES`, and the precision to write.

    Raises:
        InputError: there is no such profile, or its provider does not take the precision.
    """
    if name not in PROFILES:
        raise InputError(f"--for is {name!r}; expected {', '.join(PROFILES)}.")
    profile = PROFILES[name]
    if precision is not None and precision not in profile.precisions:
        raise InputError(
            f"{name} does not take {precision}; it takes {', '.join(profile.precisions)}."
        )
    return profile, precision or profile.precision
