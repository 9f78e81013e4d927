"""Degradations: what they do to fidelity and to odd inputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from rali.errors import InputError
from rali.pictures.degrade import DISTORTIONS, KINDS, canonical, degrade, degraded_versions


@pytest.mark.parametrize("name", DISTORTIONS)
def test_each_severity_costs_fidelity(name: str, photographs: dict[str, np.ndarray]) -> None:
    for content, rgb in photographs.items():
        degraded = [degrade(rgb, name, severity, seed=1) for severity in range(1, 6)]
        ssim = [structural_similarity(rgb, other, channel_axis=2) for other in degraded]
        psnr = [peak_signal_noise_ratio(rgb, other) for other in degraded]
        assert ssim[0] < 1 and np.all(np.diff(ssim) < 0), (content, ssim)
        assert np.all(np.diff(psnr) < 0), (content, psnr)


@pytest.mark.parametrize("name", DISTORTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 3), (64, 48)])
@pytest.mark.parametrize("value", [0, 255, None], ids=["black", "white", "random"])
def test_the_size_stays_and_the_input_is_left_alone(
    name: str, shape: tuple, value: int | None
) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if value is not None:
        rgb[:] = value
    before = rgb.copy()
    for severity in (0, 1, 5):
        degraded = degrade(rgb, name, severity)
        assert degraded.dtype == np.uint8 and degraded.shape == rgb.shape
        assert degraded.flags.writeable and not np.shares_memory(degraded, rgb)
    np.testing.assert_array_equal(rgb, before)


def test_what_a_class_is_named_after(photographs: dict[str, np.ndarray]) -> None:
    """Directions that a fidelity measure cannot see."""
    rgb = photographs["coffee"]

    def spread(picture: np.ndarray) -> float:
        return float(np.ptp(picture.astype(int), axis=2).mean())

    for severity in range(1, 6):
        assert degrade(rgb, "brighten", severity).mean() > rgb.mean()
        assert degrade(rgb, "darken", severity).mean() < rgb.mean()
        assert degrade(rgb, "contrast strengthen", severity).std() > rgb.std()
        assert degrade(rgb, "contrast weaken", severity).std() < rgb.std()
        assert spread(degrade(rgb, "saturate strengthen", severity)) > spread(rgb)
        assert spread(degrade(rgb, "saturate weaken", severity)) < spread(rgb)
    assert spread(degrade(rgb, "saturate weaken", 5)) == 0
    assert len(np.unique(degrade(rgb, "quantize", 5))) == 7


def test_only_noise_depends_on_the_seed(photographs: dict[str, np.ndarray]) -> None:
    rgb = photographs["rocket"]
    for name in DISTORTIONS:
        first, again, other = (degrade(rgb, name, 3, seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert np.array_equal(first, other) == (name != "noise")


def test_null_and_severity_0_are_unchanged_copies(photographs: dict[str, np.ndarray]) -> None:
    rgb = photographs["flower"]
    for degraded in (degrade(rgb, "null", 3), degrade(rgb, "none", 0), degrade(rgb, "blur", 0)):
        np.testing.assert_array_equal(degraded, rgb)
        assert not np.shares_memory(degraded, rgb)


@pytest.mark.parametrize(
    ("name", "distortion"),
    [
        ("JPEG", "compression"),
        (" Jpeg compression ", "compression"),
        ("Gaussian blur", "blur"),
        ("contrast_weaken", "contrast weaken"),
        ("contrast-weaken", "contrast weaken"),  # as in the names of written files
        ("over-sharpening", "oversharpen"),
        ("pixelation", "pixelate"),
        ("quantization", "quantize"),
        ("none", "null"),
    ],
)
def test_synonyms(name: str, distortion: str) -> None:
    assert canonical(name) == distortion


def test_errors_say_what_there_is() -> None:
    rgb = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match=r"'fog'.*oversharpen"):
        degrade(rgb, "fog", 1)
    for severity in (-1, 6, 2.0):
        with pytest.raises(InputError, match=r"0 \(none\) to 5"):
            degrade(rgb, "blur", severity)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="float64"):
        degrade(rgb.astype(float), "blur", 1)
    with pytest.raises(InputError, match=r"\[4, 4\]"):
        degrade(rgb[..., 0], "blur", 1)


def test_versions_leave_out_what_changes_no_pixel(photographs: dict[str, np.ndarray]) -> None:
    grey = photographs["coffee"].mean(2, keepdims=True).astype(np.uint8).repeat(3, 2)
    versions = list(degraded_versions(grey, [("null", 0), *KINDS]))
    kept = [(distortion, severity) for distortion, severity, _ in versions]
    assert kept == [("null", 0), *(kind for kind in KINDS if "saturate" not in kind[0])]
    for distortion, severity, picture in versions:
        np.testing.assert_array_equal(picture, degrade(grey, distortion, severity))


def test_versions_have_seeds_and_photographs_of_their_own(
    photographs: dict[str, np.ndarray],
) -> None:
    """What is drawn, is drawn in the order of the versions: first the photograph, then the seed."""
    rgb, drawn = photographs["coffee"], itertools.count()
    first, second = degraded_versions(
        rgb,
        [("noise", 1), ("noise", 5)],
        seed=lambda distortion, severity: 10 * severity + next(drawn),
        prepare=lambda rgb: rgb[next(drawn) :],
    )
    np.testing.assert_array_equal(first[2], degrade(rgb, "noise", 1, seed=11))
    np.testing.assert_array_equal(second[2], degrade(rgb[2:], "noise", 5, seed=53))
