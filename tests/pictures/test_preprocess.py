"""Torch and ONNX Runtime must see the same pixels, so Preprocess equals torchvision's PIL path."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from rali.errors import InputError
from rali.pictures.preprocess import Preprocess

todays_pillow = pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13, reason="it orders its passes otherwise"
)
SIZES = [
    (224, 224), (301, 97), (640, 479), (225, 224), (1, 1), (5, 3),
    pytest.param((97, 301), marks=todays_pillow),
    pytest.param((64, 500), marks=todays_pillow),
]  # fmt: skip


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * 7 + height).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("size", SIZES)
def test_equals_torchvision(size: tuple[int, int], mode: str, interpolation: str) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    preprocess = Preprocess(size=96, resize_mode=mode, interpolation=interpolation)  # type: ignore[arg-type]
    how = transforms.InterpolationMode(interpolation)
    resize = transforms.Resize(96 if mode == "shortest" else (96, 96), interpolation=how)
    reference = transforms.Compose(
        [
            resize,
            transforms.CenterCrop(96),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )
    rgb = picture(*size)
    np.testing.assert_array_equal(preprocess(rgb), reference(Image.fromarray(rgb)).numpy())


def test_equals_open_clip() -> None:
    transform = pytest.importorskip("open_clip.transform")
    reference = transform.image_transform(112, is_train=False, resize_mode="shortest")
    rgb = picture(333, 222)
    ours = Preprocess(
        size=112, mean=transform.OPENAI_DATASET_MEAN, std=transform.OPENAI_DATASET_STD
    )
    np.testing.assert_array_equal(ours(rgb), reference(Image.fromarray(rgb)).numpy())


@pytest.mark.parametrize("size", [(40, 1200), (1200, 40), (900, 7)])
def test_long_pictures_give_the_same_crop(size: tuple[int, int]) -> None:
    """Beyond the aspect ratio limit only the kept region is resized; it must be the same one."""
    transforms = pytest.importorskip("torchvision.transforms")
    wave = np.sin(np.arange(size[0]) / 5) * 50 + np.cos(np.arange(size[1]) / 7)[:, None] * 60
    rgb = np.repeat((wave + 120).astype(np.uint8)[..., None], 3, axis=2)
    reference = transforms.CenterCrop(64)(
        transforms.Resize(64, interpolation=transforms.InterpolationMode.BICUBIC)(
            Image.fromarray(rgb)
        )
    )
    difference = np.abs(Preprocess(size=64).pixels(rgb).astype(int) - np.asarray(reference))
    assert difference.max() <= 1


@pytest.mark.parametrize("size", [(3, 10000), (10000, 3), (1, 60000)])
def test_extreme_aspect_ratios_need_little_memory(size: tuple[int, int]) -> None:
    """3×10000 resized whole to 336×1120000 would be more than a gigabyte."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = Preprocess().pixels(picture(*size))
    assert out.shape == (336, 336, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_identity_when_the_size_is_right() -> None:
    rgb = picture(48, 48)
    for mode in ("shortest", "squash"):
        preprocess = Preprocess(size=48, resize_mode=mode)
        np.testing.assert_array_equal(preprocess.pixels(rgb), rgb)


def test_normalisation_by_hand() -> None:
    preprocess = Preprocess(size=2, mean=(0.5, 0.5, 0.0), std=(0.5, 0.25, 1.0))
    rgb = np.full((2, 2, 3), 255, np.uint8)
    out = preprocess(rgb)
    assert out.dtype == np.float32 and out.shape == (3, 2, 2)
    assert out[:, 0, 0].tolist() == [1.0, 2.0, 1.0]


def test_dict_round_trip() -> None:
    preprocess = Preprocess(size=64, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash")
    fields = preprocess.to_dict()
    assert fields["mean"] == [0.0, 0.0, 0.0]
    assert Preprocess.from_dict(fields) == preprocess


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size": 0}, "size"),
        ({"size": 2.5}, "size"),
        ({"size": True}, "size"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": "123"}, "mean"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean"),
        ({"std": [1, 1, 0]}, "std"),
        ({"std": None}, "std"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"resize_mode": "longest"}, "resize_mode"),
        ({"fill": 0}, "fill"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Preprocess.from_dict({**Preprocess().to_dict(), **change})


def test_missing_field_and_no_dict() -> None:
    fields = Preprocess().to_dict()
    del fields["std"]
    with pytest.raises(InputError, match="lacks std"):
        Preprocess.from_dict(fields)
    with pytest.raises(InputError, match="expected a dict"):
        Preprocess.from_dict([1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_only_rgb_uint8(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="open_picture"):
        Preprocess().pixels(wrong)


@todays_pillow
@pytest.mark.parametrize(
    "size", [(300, 200), (200, 300), (97, 640), (640, 97), (50, 900), (20, 30)]
)
def test_passes_come_in_the_order_of_todays_pillow(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    direct = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    squashed = Preprocess(size=64, resize_mode="squash").pixels(noise)
    np.testing.assert_array_equal(squashed, np.asarray(direct))


@pytest.mark.parametrize("shape", [(40, 64), (64, 20), (7, 90), (64, 64), (3, 3)])
def test_mirror_keeps_the_whole_picture_and_its_shape(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    size = 64
    pixels = Preprocess(size=size, resize_mode="mirror").pixels(rgb)
    height, width = (max(1, round(size * edge / max(shape))) for edge in shape)
    resized = Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)
    rest = ((0, size - height), (0, size - width), (0, 0))
    expected = np.pad(np.asarray(resized), rest, "symmetric")
    np.testing.assert_array_equal(pixels, expected)
