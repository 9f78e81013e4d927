"""RaliReward: the score of the file, on tensors, with gradients; its options and guards."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.filters import gaussian

import rali
from rali import Scorer, Student
from rali.errors import InputError, PictureError
from rali.rewards import RaliReward
from rali.student.student import StudentConfig
from small import SHAPES, as_tensor, photograph, small_encoder, tower_student, with_random_bases


def test_it_has_two_addresses():
    assert rali.RaliReward is RaliReward


def score_of_file(picture: np.ndarray, folder: Path) -> float:
    Image.fromarray(picture).save(folder / "a.png")
    return Scorer()(folder / "a.png")


def test_a_picture_scores_as_its_file_does_in_every_range_and_shape(reward, tmp_path):
    centred = RaliReward(input_range=(-1, 1))
    for shape in SHAPES:
        picture = photograph(*shape)
        expected, pictures = score_of_file(picture, tmp_path), as_tensor(picture)
        assert reward(pictures).item() == pytest.approx(expected, abs=0.005)
        assert centred(pictures * 2 - 1).item() == pytest.approx(expected, abs=0.005)


def test_a_picture_scores_as_its_file_does_in_every_type(reward, tmp_path):
    brain, half = RaliReward(dtype=torch.bfloat16), RaliReward(dtype="float16")
    for shape in SHAPES[1:3]:  # the encoder sees 512 × 512 pixels of each
        picture = photograph(*shape)
        expected, pictures = score_of_file(picture, tmp_path), as_tensor(picture)
        assert brain(pictures).item() == pytest.approx(expected, abs=0.05)
        assert half(pictures).item() == pytest.approx(expected, abs=0.02)
        with torch.autocast("cpu", torch.bfloat16):
            assert reward(pictures).item() == pytest.approx(expected, abs=0.05)


def test_what_a_decoder_gives_scores_as_the_picture_that_is_saved_of_it(reward, tmp_path):
    floats = as_tensor(photograph(300, 400)) * 1.1 - 0.05 + 0.003 * torch.randn(1, 3, 300, 400)
    levels = (floats.clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert reward(floats).item() == pytest.approx(Scorer()(tmp_path / "a.png"), abs=0.005)


def test_a_score_does_not_depend_on_its_batch_or_on_other_threads(reward):
    pictures = as_tensor(*(np.roll(photograph(200, 260), 9 * n, 1) for n in range(8)))
    with torch.no_grad():
        together = reward(pictures)
        alone = torch.cat([reward(picture[None]) for picture in pictures])
    assert (together - alone).abs().max() < 1e-5
    assert together.dtype == torch.float32 and len(set(together.tolist())) == 8
    found: dict[int, torch.Tensor] = {}

    def work(n: int) -> None:
        with torch.no_grad():
            found[n] = reward(pictures[n : n + 2])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(0, 8, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.cat([found[n] for n in range(0, 8, 2)]).round(decimals=4),
                       together.round(decimals=4))  # fmt: skip


def test_a_reward_inside_a_module_that_is_trained_gives_the_same(reward):
    pictures = as_tensor(photograph(200, 260))
    expected = reward(pictures)
    torch.nn.ModuleList([reward]).train()
    assert torch.equal(reward(pictures), expected)


@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_of_what_holds_it_changes_no_score(reward, cast):
    pictures = as_tensor(photograph(200, 260))
    holder = torch.nn.ModuleList([RaliReward()]).to("cpu", cast)
    assert torch.equal(holder[0](pictures), reward(pictures))


def test_in_bfloat16_a_clip_takes_half_the_memory():
    """The weights that autocast would cast in each pass are cast once."""
    student = tower_student("open_clip", layers=4)
    pictures = as_tensor(photograph(200, 260), photograph(260, 200).transpose(1, 0, 2))
    half = RaliReward(student, dtype=torch.bfloat16)
    whole = RaliReward(student)
    held, before = (
        sum(p.numel() * p.element_size() for p in each.student.encoder.parameters())
        for each in (half, whole)
    )
    assert held < 0.51 * before
    given = pictures.clone().requires_grad_()
    scores = half(given)
    scores.sum().backward()
    assert given.grad is not None and given.grad.abs().sum() > 0
    with torch.no_grad():
        assert torch.allclose(scores, whole(pictures), atol=0.05)


def test_a_given_student_stays_as_it_was():
    student = Student.from_pretrained("builtin").requires_grad_(True)
    RaliReward(student, dtype=torch.float64)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in student.parameters())


def test_whatever_a_trainer_has_is_read(reward, tmp_path):
    """As `Scorer` reads it; prompts are ignored."""
    wide, tall = photograph(120, 160), photograph(160, 120)
    files = [tmp_path / "wide.png", tmp_path / "tall.png"]
    for rgb, file in zip((wide, tall), files, strict=True):
        Image.fromarray(rgb).save(file)
    expected = pytest.approx(Scorer()(files), abs=0.005)
    for given in (
        files,
        tuple(map(str, files)),
        [wide, tall],
        [Image.fromarray(wide), files[1].read_bytes()],
        [as_tensor(wide)[0], tall.astype(np.float32) / 255],
        iter(files),
    ):
        assert reward(given).tolist() == expected
    for given in (files[0], str(files[0]), Image.fromarray(wide), wide, files[0].read_bytes()):
        assert reward(given, ["a prompt"]).item() == pytest.approx(expected.expected[0], abs=0.005)
    assert reward(np.stack([wide, wide]), prompts=["a", "b"]).shape == (2,)
    assert reward([]).shape == (0,)
    given = [as_tensor(wide)[0].requires_grad_(), as_tensor(tall)[0].requires_grad_()]
    reward(given).sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in given)


@pytest.mark.parametrize("given", [3, None, ["nowhere.png"], [np.zeros((4, 4))], {"a": 1}, "x.png"])
def test_what_is_no_picture_is_one_sentence(reward, given):
    with pytest.raises((InputError, PictureError)):
        reward(given)


def test_an_empty_batch_has_no_scores(reward):
    assert reward(torch.zeros(0, 3, 64, 64)).shape == (0,)


@pytest.mark.slow
def test_it_compiles():
    """With a small student of the built-in model's kind."""
    encoder = small_encoder()
    config = StudentConfig(encoder.spec, encoder.preprocess.to_dict(), encoder.dim, 8, bases=20)
    reward = RaliReward(with_random_bases(Student(config, encoder.image)))
    pictures = as_tensor(photograph(200, 260), photograph(200, 260)[::-1])
    compiled = torch.compile(reward, fullgraph=True)
    assert torch.allclose(compiled(pictures), reward(pictures), atol=1e-4)


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"scaling": "sigmoid", "caution": 1.0, "cutoff": 25.0}])
def test_gradients_match_finite_differences(options):
    exact = RaliReward(dtype=torch.float64, rounded=False, **options)
    generator = torch.Generator().manual_seed(0)
    picture = as_tensor(photograph(200, 150)).double() * 0.8 + 0.1
    # Where a block is constant the absolute value of its spectrum has no gradient: some noise.
    picture += 0.01 * torch.randn(picture.shape, generator=generator, dtype=torch.float64)
    picture.requires_grad_()
    (gradient,) = torch.autograd.grad(exact(picture).sum(), picture)
    for _ in range(3):
        direction = torch.randn(picture.shape, generator=generator, dtype=torch.float64)
        step = 1e-9  # kinks of |spectrum| are nowhere near
        with torch.no_grad():
            rise = exact(picture + step * direction) - exact(picture - step * direction)
        assert (gradient * direction).sum().item() == pytest.approx(
            rise.item() / (2 * step), rel=1e-4
        )


def test_gradients_reach_the_picture_and_not_the_weights(reward):
    picture = as_tensor(photograph(512, 512)).requires_grad_()
    reward(picture).sum().backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in reward.parameters())
    assert not any(parameter.requires_grad for parameter in reward.parameters())


def test_ascent_on_a_blurred_photograph_raises_score_and_sharpness(reward):
    sharp = photograph(256, 256) / 255
    blurred = torch.from_numpy(gaussian(sharp, 1.5, channel_axis=2)).permute(2, 0, 1)[None].float()

    def sharpness(picture: torch.Tensor) -> float:  # variance of the Laplacian, of the luminance
        grey = picture.detach().mean(1, keepdim=True)
        kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
        return torch.nn.functional.conv2d(grey, kernel).var().item()

    picture = blurred.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=0.004)
    for _ in range(12):
        optimizer.zero_grad()
        (-reward(picture).sum()).backward()
        optimizer.step()
    assert reward(picture).item() > reward(blurred).item() + 0.1
    assert sharpness(picture) > 1.2 * sharpness(blurred)


# --- options --------------------------------------------------------------------------------------


def test_scaling(reward):
    pictures = as_tensor(photograph(200, 260), photograph(200, 260)[:, ::-1] // 3)
    score = reward(pictures)
    assert torch.allclose(RaliReward(scaling="affine")(pictures), (score - 1) / 4)
    assert torch.allclose(RaliReward(scaling="sigmoid")(pictures), torch.sigmoid(score - 3))


def test_caution_lowers_what_only_one_crop_likes(reward):
    pictures = as_tensor(photograph(200, 260), photograph(260, 200).transpose(1, 0, 2))
    mean, one, three = (RaliReward(caution=k)(pictures) for k in (1e-9, 1.0, 3.0))
    assert (one < mean).all()
    assert torch.allclose(mean - three, 3 * (mean - one), atol=1e-3)


def test_cutoff_lowers_what_is_far_from_the_bases(reward):
    picture = as_tensor(photograph(300, 400))
    distance, score = reward.distance(picture).item(), reward(picture).item()
    assert RaliReward(cutoff=distance * 1.01)(picture).item() == pytest.approx(score)
    # A quarter of the range for each quarter of the distance beyond it.
    assert RaliReward(cutoff=distance / 1.25)(picture).item() == pytest.approx(score - 1, abs=1e-3)
    assert (
        RaliReward(cutoff="familiar").cutoff == Student.from_pretrained("builtin").config.familiar
    )
    assert reward(torch.rand(1, 3, 512, 512)).item() < 1.5, "noise needs no guard"


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (torch.zeros(3, 64, 64), "batch, 3, H, W"),
        (torch.zeros(2, 4, 64, 64), "batch, 3, H, W"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "divide 0–255 by 255"),
        (torch.full((1, 3, 64, 64), 200.0), "reach 200"),
        (torch.full((1, 3, 64, 64), float("nan")), "NaN"),
    ],
)
def test_what_is_no_picture_is_refused(reward, pictures, words):
    with pytest.raises(InputError, match=words):
        reward(pictures)


def test_a_range_that_looks_wrong_gets_a_warning(reward):
    with pytest.warns(UserWarning, match="-1, 1"):
        reward(torch.full((1, 3, 64, 64), -0.9))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_range": (1, 0)}, "input_range"),
        ({"input_range": "01"}, "input_range is black and white"),
        ({"input_range": {0: 1, 1: 2}}, "input_range is black and white"),
        ({"caution": True}, "caution is True"),
        ({"cutoff": np.True_}, "cutoff is"),
        ({"cutoff": torch.ones(2)}, "cutoff is"),
        ({"scaling": "log"}, "none, affine, sigmoid"),
        ({"dtype": torch.int8}, "dtype"),
        ({"dtype": "bf17"}, "dtype"),
        ({"caution": -1}, "caution"),
        ({"caution": float("nan")}, "caution"),
        ({"cutoff": 0}, "cutoff"),
        ({"cutoff": "familiarr"}, "cutoff"),
        ({"model": "nothing/"}, "nothing"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        RaliReward(**options)


def test_a_model_without_distances_says_what_to_give():
    student = Student.from_pretrained("builtin")
    student.config.familiar = 0.0
    with pytest.raises(InputError, match=r"0\.99 quantile"):
        RaliReward(student, cutoff="familiar")
