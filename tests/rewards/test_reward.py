"""RaliReward: the score of the file, on tensors, with gradients; its guards; the adapters."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.filters import gaussian
from sklearn.datasets import load_sample_images

from rali import Scorer, Student
from rali.errors import InputError, PictureError
from rali.pictures.preprocess import Preprocess
from rali.rewards import RaliReward
from rali.rewards.no_grad import judge, pictures_of, shared_reward
from rali.rewards.resize import resize
from rali.student.encoders import load_encoder
from rali.student.student import StudentConfig

SHAPES = (
    (512, 512),
    (427, 640),
    (640, 400),
    (300, 301),
    (100, 90),
    (80, 700),
    (900, 100),
    (512, 700),
    (96, 9),
    (12, 96),
)


def photograph(height: int, width: int) -> np.ndarray:
    """Of scikit-learn's: uint8 [height, width, 3]."""
    image = Image.fromarray(load_sample_images().images[(height + width) % 2])
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def tensor(*pictures: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(each.copy()).permute(2, 0, 1) for each in pictures]) / 255


@pytest.fixture(scope="module")
def reward() -> RaliReward:
    return RaliReward()


# --- the score of the file ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_tensor_path_resizes_as_pillow_does(mode, interpolation):
    preprocess = Preprocess(size=96, interpolation=interpolation, resize_mode=mode)
    for shape in SHAPES:
        picture = photograph(*shape)
        pixels = preprocess.pixels(picture).astype(float)
        for rounded, most in ((True, 1.0), (False, 1.6)):
            found = resize(tensor(picture), preprocess, rounded=rounded)[0]
            off = np.abs(found.permute(1, 2, 0).numpy() * 255 - pixels)
            assert off.max() < most + 1e-3, (shape, rounded)
            ties = 1e-3 if interpolation == "bicubic" else 0.05
            assert not rounded or (off > 0.5).mean() < ties


def test_a_picture_scores_as_its_file_does_in_every_range_and_type(reward, tmp_path):
    brain, half = RaliReward(dtype=torch.bfloat16), RaliReward(dtype="float16")
    centred = RaliReward(input_range=(-1, 1))
    for shape in SHAPES:
        picture = photograph(*shape)
        Image.fromarray(picture).save(tmp_path / "a.png")
        expected = Scorer()(tmp_path / "a.png")
        pictures = tensor(picture)
        assert reward(pictures).item() == pytest.approx(expected, abs=0.005)
        assert centred(pictures * 2 - 1).item() == pytest.approx(expected, abs=0.005)
        assert brain(pictures).item() == pytest.approx(expected, abs=0.05)
        assert half(pictures).item() == pytest.approx(expected, abs=0.02)
        with torch.autocast("cpu", torch.bfloat16):
            assert reward(pictures).item() == pytest.approx(expected, abs=0.05)


def test_what_a_decoder_gives_scores_as_the_picture_that_is_saved_of_it(reward, tmp_path):
    floats = tensor(photograph(300, 400)) * 1.1 - 0.05 + 0.003 * torch.randn(1, 3, 300, 400)
    levels = (floats.clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert reward(floats).item() == pytest.approx(Scorer()(tmp_path / "a.png"), abs=0.005)


def test_a_score_does_not_depend_on_its_batch_or_on_other_threads(reward):
    pictures = tensor(*(np.roll(photograph(200, 260), 9 * n, 1) for n in range(16)))
    with torch.no_grad():
        together = reward(pictures)
        alone = torch.cat([reward(picture[None]) for picture in pictures])
    assert (together - alone).abs().max() < 1e-5
    assert together.dtype == torch.float32 and len(set(together.tolist())) == 16
    found: dict[int, torch.Tensor] = {}

    def work(n: int) -> None:
        with torch.no_grad():
            found[n] = reward(pictures[n : n + 4])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(0, 16, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.cat([found[n] for n in range(0, 16, 4)]).round(decimals=4),
                       together.round(decimals=4))  # fmt: skip


def test_it_judges_also_inside_what_is_trained(reward):
    pictures = tensor(photograph(200, 260))
    expected = reward(pictures)
    torch.nn.ModuleList([reward]).train()
    assert torch.equal(reward(pictures), expected)


@pytest.fixture
def clip_reward_student() -> Student:
    """Of CLIP's smallest shape, with random weights and bases."""
    torch.manual_seed(0)
    encoder = load_encoder("ViT-B-32", "random", text=False)
    config = StudentConfig(
        encoder=encoder.spec, preprocess=encoder.preprocess.to_dict(), embed_dim=encoder.dim,
        pca_dim=64, bases=20,
    )  # fmt: skip
    made = Student(config, encoder.image)
    torch.nn.init.normal_(made.components, std=0.05)
    torch.nn.init.normal_(made.basis_vectors)
    torch.nn.init.uniform_(made.basis_scores, 1, 5)
    return made


@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_of_what_holds_it_changes_no_score(reward, cast):
    pictures = tensor(photograph(200, 260))
    holder = torch.nn.ModuleList([RaliReward()]).to("cpu", cast)
    assert torch.equal(holder[0](pictures), reward(pictures))


def test_in_bfloat16_a_clip_takes_half_the_memory(clip_reward_student):
    """What autocast would cast in each pass is cast once."""
    pictures = tensor(photograph(200, 260), photograph(260, 200).transpose(1, 0, 2))
    half = RaliReward(clip_reward_student, dtype=torch.bfloat16)
    whole = RaliReward(clip_reward_student)
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


def test_an_empty_batch_has_no_scores(reward):
    assert reward(torch.zeros(0, 3, 64, 64)).shape == (0,)


@pytest.mark.slow
def test_it_compiles(reward):
    pictures = tensor(photograph(200, 260), photograph(200, 260)[::-1])
    compiled = torch.compile(RaliReward(), fullgraph=True)
    assert torch.allclose(compiled(pictures), reward(pictures), atol=1e-4)


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"scaling": "sigmoid", "caution": 1.0, "cutoff": 25.0}])
def test_gradients_match_finite_differences(options):
    exact = RaliReward(dtype=torch.float64, rounded=False, **options)
    generator = torch.Generator().manual_seed(0)
    picture = tensor(photograph(200, 150)).double() * 0.8 + 0.1
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
    picture = tensor(photograph(512, 512)).requires_grad_()
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
    pictures = tensor(photograph(200, 260), photograph(200, 260)[:, ::-1] // 3)
    score = reward(pictures)
    assert torch.allclose(RaliReward(scaling="affine")(pictures), (score - 1) / 4)
    assert torch.allclose(RaliReward(scaling="sigmoid")(pictures), torch.sigmoid(score - 3))


def test_caution_lowers_what_only_one_crop_likes(reward):
    pictures = tensor(photograph(200, 260), photograph(260, 200).transpose(1, 0, 2))
    mean, one, three = (RaliReward(caution=k)(pictures) for k in (1e-9, 1.0, 3.0))
    assert (one < mean).all()
    assert torch.allclose(mean - three, 3 * (mean - one), atol=1e-3)


def test_cutoff_lowers_what_is_far_from_the_bases(reward):
    picture = tensor(photograph(300, 400))
    distance, score = reward.distance(picture).item(), reward(picture).item()
    assert RaliReward(cutoff=distance * 1.01)(picture).item() == pytest.approx(score)
    # A quarter of the range for each quarter of the distance beyond it.
    assert RaliReward(cutoff=distance / 1.25)(picture).item() == pytest.approx(score - 1, abs=1e-3)
    assert (
        RaliReward(cutoff="familiar").cutoff == Student.from_pretrained("builtin").config.familiar
    )
    noise = torch.rand(1, 3, 512, 512)
    assert RaliReward(cutoff="familiar")(noise).item() < reward(noise).item() - 1


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (torch.zeros(3, 64, 64), "batch, 3, H, W"),
        (torch.zeros(2, 4, 64, 64), "batch, 3, H, W"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "divide 0–255 by 255"),
        (torch.full((1, 3, 64, 64), 200.0), "reach 200"),
        (torch.full((1, 3, 64, 64), float("nan")), "no numbers"),
    ],
)
def test_what_is_no_picture_is_refused(reward, pictures, words):
    with pytest.raises(InputError, match=words):
        reward(pictures)


def test_a_range_that_looks_wrong_is_said(reward):
    with pytest.warns(UserWarning, match="-1, 1"):
        reward(torch.full((1, 3, 64, 64), -0.9))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_range": (1, 0)}, "input_range"),
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
def test_an_option_that_is_none_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        RaliReward(**options)


def test_a_model_without_distances_says_what_to_give():
    student = Student.from_pretrained("builtin")
    student.config.familiar = 0.0
    with pytest.raises(InputError, match=r"0\.99 quantile"):
        RaliReward(student, cutoff="familiar")


# --- adapters -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8 [4, H, W, 3]."""
    return np.stack([np.roll(photograph(120, 160), 11 * n, 1) for n in range(4)])


@pytest.fixture(scope="module")
def expected(pictures) -> np.ndarray:
    return Scorer()(list(pictures))


def test_every_form_of_picture_is_judged_alike(reward, pictures, expected, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / "a.png")
    floats = tensor(*pictures)
    forms: list[Any] = [
        pictures,
        pictures.transpose(0, 3, 1, 2),
        torch.from_numpy(pictures),
        floats,
        floats.half().float(),
        list(floats),
        [Image.fromarray(picture) for picture in pictures],
        [tmp_path / "a.png", *pictures[1:]],
    ]
    for form in forms:
        assert judge(reward, form).numpy() == pytest.approx(expected, abs=0.01)
    assert judge(reward, []).shape == (0,)
    centred = RaliReward(input_range=(-1, 1))
    for form in (floats * 2 - 1, pictures):
        assert judge(centred, form).numpy() == pytest.approx(expected, abs=0.01)
    asked = shared_reward(input_range=[-1, 1])  # as YAML has it
    assert judge(asked, floats * 2 - 1).numpy() == pytest.approx(expected, abs=0.01)
    mixed = [pictures[0], photograph(90, 70), pictures[1]]
    assert judge(reward, mixed).numpy() == pytest.approx(Scorer()(mixed), abs=0.005)
    for wrong in (
        np.zeros((2, 2)),
        np.zeros((1, 5, 5, 4), np.uint8),
        torch.zeros(1, 3, 4, 4).long(),
    ):
        with pytest.raises(InputError):
            pictures_of(wrong)
    with pytest.raises(PictureError, match=r"b\.png: There is no such file"):
        judge(reward, [tmp_path / "a.png", tmp_path / "b.png"])


def test_threads_that_ask_at_once_share_one_reward():
    """verl calls from a pool: a model for each thread would not fit a GPU."""
    together = threading.Barrier(8)

    def ask(_: int) -> RaliReward:
        together.wait()
        return shared_reward(caution=0.125)

    with ThreadPoolExecutor(8) as pool:
        assert len({id(given) for given in pool.map(ask, range(8))}) == 1


def test_flow_grpo(pictures, expected):
    """As its multi_score does: `__code__` says whether a device is wanted; both image forms."""
    from rali.rewards.flow_grpo import rali_score

    assert "device" in rali_score.__code__.co_varnames
    score = rali_score("cpu")
    assert score.__code__.co_argcount == 3
    prompts, metadata = ("a", "b", "c", "d"), ({},) * 4
    for images in (pictures, tensor(*pictures)):
        scores, info = score(images, prompts, metadata)
        assert scores == pytest.approx(expected, abs=0.005) and info == {}
    assert rali_score("cpu", scaling="affine")(pictures, prompts, metadata)[0] == pytest.approx(
        (expected - 1) / 4, abs=0.002
    )


def test_dance_grpo(pictures, expected):
    """As its scripts hold pictures: a list of PIL pictures, or one of them in a loop."""
    from rali.rewards.flow_grpo import rali_score

    score = rali_score("cpu")
    decoded_image = [Image.fromarray(pictures[0])]  # train_grpo_flux.py: the processor's list
    made = torch.tensor(score(decoded_image, None)[0], device="cpu")
    assert made.numpy() == pytest.approx(expected[:1], abs=0.005)
    made = torch.tensor(score(Image.fromarray(pictures[1]), None)[0], device="cpu")
    assert made.numpy() == pytest.approx(expected[1:2], abs=0.005)


def test_ddpo(pictures, expected):
    from rali.rewards.ddpo import rali_reward

    scores, _ = rali_reward()(tensor(*pictures), ["a"] * 4, [{}] * 4)
    assert isinstance(scores, np.ndarray) and scores == pytest.approx(expected, abs=0.005)
    assert torch.as_tensor(scores).shape == (4,)  # what the trainer makes of it


def test_backprop(pictures, expected):
    from rali.rewards.backprop import rali_alignprop, rali_loss

    decoded = (tensor(*pictures) * 2 - 1).requires_grad_()
    losses, rewards = rali_loss(grad_scale=3.0)(decoded, ["a prompt"] * 4)
    loss = losses.sum() / len(decoded)  # AlignProp's next lines
    loss.backward()
    assert rewards.detach().numpy() == pytest.approx(expected, abs=0.005)
    assert loss.item() == pytest.approx(-3 * expected.mean(), abs=0.02)
    assert decoded.grad is not None and decoded.grad.abs().sum() > 0
    unit = tensor(*pictures).requires_grad_()
    rewards, _ = rali_alignprop()(unit, ["a prompt"] * 4, [{}] * 4)
    assert rewards.detach().numpy() == pytest.approx(expected, abs=0.005)
    rewards.sum().backward()
    assert unit.grad is not None


def test_image_reward(pictures, expected, tmp_path):
    from rali.rewards import image_reward

    model = image_reward.load("builtin")
    paths = []
    for n, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(picture).save(paths[-1])
    ranks, rewards = model.inference_rank("a prompt", paths)
    assert rewards == pytest.approx(expected, abs=0.005)
    assert [int(np.argsort(ranks)[k]) for k in range(4)] == np.argsort(-expected).tolist()
    assert model.score("a prompt", paths[1]) == pytest.approx(expected[1], abs=0.005)
    assert model.score("a prompt", paths) == rewards


def test_verl(pictures, expected):
    from rali.rewards.verl import compute_score

    told = {"data_source": "x", "solution_str": "", "ground_truth": ""}
    planar = torch.from_numpy(pictures[2]).permute(2, 0, 1)
    assert compute_score(**told, solution_image=planar) == pytest.approx(expected[2], abs=0.005)
    extra = {"image": Image.fromarray(pictures[1]), "num_turns": 1}
    score = compute_score(**told, extra_info=extra, reward_router_address=None)
    assert score == pytest.approx(expected[1], abs=0.005)
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    assert compute_score(**told, solution_image=frames) == pytest.approx(expected.mean(), abs=0.005)
    with pytest.raises(InputError, match="solution_image"):
        compute_score(**told, extra_info={})
    with pytest.raises(TypeError, match="cuttoff"):  # a guard that is misspelt is not left out
        compute_score(**told, solution_image=planar, cuttoff="familiar")


def test_verl_calls_it_from_its_config(pictures, expected):
    """Through verl's own loader and reward manager, where verl is installed."""
    trainer = pytest.importorskip("verl.trainer.ppo.reward")
    naive = pytest.importorskip("verl.experimental.reward_loop.reward_manager.naive")
    from omegaconf import OmegaConf
    from verl import DataProto

    asked = {"path": "pkg://rali.rewards.verl", "name": "compute_score"}
    asked["reward_kwargs"] = {"scaling": "affine"}
    config = OmegaConf.create({"reward": {"custom_reward_function": asked}})
    tokenizer = types.SimpleNamespace(decode=lambda ids, skip_special_tokens: "a picture")
    picture = {"image": Image.fromarray(pictures[0])}
    data = DataProto.from_dict(
        tensors={
            "responses": torch.ones(1, 3, dtype=torch.long),
            "attention_mask": torch.ones(1, 5, dtype=torch.long),
        },
        non_tensors={
            "data_source": np.array(["generated"], object),
            "reward_model": np.array([{"ground_truth": ""}], object),
            "extra_info": np.array([picture], object),
        },
    )

    async def run() -> dict[str, Any]:
        manager = naive.NaiveRewardManager(config, tokenizer, trainer.get_custom_reward_fn(config))
        return await manager.run_single(data)

    score = asyncio.run(run())["reward_score"]
    assert score == pytest.approx((expected[0] - 1) / 4, abs=0.002)


def test_flow_factory(pictures, expected, monkeypatch):
    """Against the base class as its repository documents it; it is on no package index."""

    @dataclass
    class RewardModelOutput:
        rewards: Any
        extra_info: Any = None

    class PointwiseRewardModel:
        required_fields: tuple[str, ...] = ("image", "prompt")
        use_tensor_inputs = False

        def __init__(self, config: Any, accelerator: Any) -> None:
            self.accelerator, self.config = accelerator, config
            self.device = config.device
            self.dtype = config.dtype
            self.model = None

    package = types.ModuleType("flow_factory")
    rewards = types.ModuleType("flow_factory.rewards")
    rewards.PointwiseRewardModel = PointwiseRewardModel  # type: ignore[attr-defined]
    rewards.RewardModelOutput = RewardModelOutput  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flow_factory", package)
    monkeypatch.setitem(sys.modules, "flow_factory.rewards", rewards)
    module = importlib.import_module("rali.rewards.flow_factory")
    config = types.SimpleNamespace(
        device=torch.device("cpu"), dtype=torch.bfloat16, extra_kwargs={"scaling": "affine"}
    )
    model = module.QualityRewardModel(config, accelerator=None)
    assert model.use_tensor_inputs and model.required_fields == ("image",)
    for image in (list(tensor(*pictures)), tensor(*pictures)):
        output = model(prompt=["a"] * 4, image=image)
        assert output.rewards.numpy() == pytest.approx((expected - 1) / 4, abs=0.02)
    sys.modules.pop("rali.rewards.flow_factory")


@pytest.mark.slow
def test_trl(pictures, expected, tmp_path: Path):
    """In TRL's own trainer: its call of the function, with the pictures that a rollout made."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    from rali.rewards.trl import rali_reward

    words = {word: n for n, word in enumerate(["<pad>", "<eos>", "<unk>", "a", "picture"])}
    raw = Tokenizer(WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    shape = LlamaConfig(
        vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    paths = []
    for n, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(picture).save(paths[-1])
    rows = Dataset.from_dict({"prompt": ["a picture"] * 4})
    seen: list[tuple[list[str], list[float]]] = []
    function = rali_reward("made")

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """A policy that chooses among the pictures; each of a group chooses another."""
        made = [paths[n % 4] for n in range(len(prompts))]
        ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
        answers = [[3, 4, 1] for _ in prompts]
        logprobs = [[-1.0] * 3 for _ in prompts]
        return {"prompt_ids": ids, "completion_ids": answers, "logprobs": logprobs, "made": made}

    def watched(**columns: Any) -> list[float]:
        scores = function(**columns)
        seen.append((columns["made"], scores))
        return scores

    trainer = GRPOTrainer(
        model=LlamaForCausalLM(shape),
        reward_funcs=watched,
        rollout_func=rollout,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"), per_device_train_batch_size=4, num_generations=2,
            max_completion_length=3, max_steps=1, use_cpu=True, report_to="none",
            save_strategy="no", bf16=False,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    assert seen
    by_path = dict(zip(paths, expected, strict=True))
    for columns, scores in seen:
        assert scores == pytest.approx([by_path[path] for path in columns], abs=0.005)
        assert scores[0] != scores[1]  # of one group
    with pytest.raises(InputError, match="column"):
        rali_reward("image")(prompts=["a"], completions=["b"], path=paths)
