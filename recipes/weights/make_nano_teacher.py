"""Make the nano teacher: Qwen2.5-VL at toy width, taught to see and then to speak.

    python recipes/weights/make_nano_teacher.py --data DIR -o runs/nano-teacher

DIR is as for `pretrain_nano.py`: degraded pristine photographs (without Kodak's) with KADID-10k's
scores, and photographs of BIQ2021's `train` split without their human scores. First the vision
tower learns to name degradations and measures from its tokens' mean, as Qwen's tower was trained
before its language model. Then the language model learns reference rationales under all prompts.
The result, `OUTPUT/weights`, is what `teacher/nano_weights` holds. The same command resumes a
stopped run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pretrain_nano import sources, unscored
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row
from rali.data.rationale_text import write_rationales
from rali.data.rationale_words import CUTS, grade
from rali.distill.optim import Checkpoint, cosine_schedule, decay_groups
from rali.pictures.degrade import DISTORTIONS
from rali.pictures.measure import Measures, measure
from rali.pictures.read import open_picture
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, StageProgress, renamed
from rali.teacher.completions import compose
from rali.teacher.models import flatten_patches, load_teacher
from rali.teacher.prompts import PROMPTS, Prompt, degradation_prompt
from rali.teacher.sft import SftConfig, SftExample, train_sft

SIZE = 512  # longer edge of the pictures
PIXELS = 448 * 448  # 64 visual tokens at most, of 56 × 56 pixels each
SPREAD = 0.4  # about the standard deviation of KADID-10k's scores for one type and level
WIDTH, DEPTH, LLM_WIDTH, LLM_DEPTH, VOCABULARY = 96, 4, 128, 4, 1536
PATCH = 28
SHARPNESS = 0.75
CLASSES = ("null", *DISTORTIONS)
SPECIAL = (
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pictures(data: Path, work: Path, seed: int, progress: Progress) -> list[Row]:
    pristine, authentic = sources(data)
    rows = degrade_folder(pristine, work / "pristine", size=SIZE, seed=seed, progress=progress)
    return rows + [
        unscored(row)
        for row in degrade_folder(
            authentic, work / "biq2021", per_photograph=2, seed=seed,
            progress=renamed(progress, "degrade authentic"),
        )
    ]  # fmt: skip


def measured(rows: list[Row], file: Path, progress: Progress) -> list[Measures]:
    """The measures of every picture, kept in `file`."""
    if file.is_file():
        return [Measures(*values) for values in json.loads(file.read_text())]
    with ThreadPoolExecutor() as pool:
        found = []
        for values in pool.map(lambda row: measure(open_picture(row.image)), rows):
            found.append(values)
            progress("measure", len(found), len(rows))
    file.write_text(json.dumps([dataclasses.astuple(values) for values in found]))
    return found


def cosines() -> Tensor:
    """The patch embedding's first weights: one cosine of a patch per channel, [WIDTH, 3, 1, P, P].

    64 are of luma, from flat to the finest, and 16 of each chroma.
    """
    places = (np.arange(PATCH) + 0.5) * np.pi / PATCH
    filters = []
    colours = {
        "luma": ((0.299, 0.587, 0.114), (0, 1, 2, 4, 7, 12, 19, 27)),
        "blue": ((-0.17, -0.33, 0.5), (0, 1, 3, 8)),
        "red": ((0.5, -0.42, -0.08), (0, 1, 3, 8)),
    }
    for weights, frequencies in colours.values():
        for u in frequencies:
            for v in frequencies:
                wave = np.outer(np.cos(u * places), np.cos(v * places))
                filters.append(np.stack([weight * wave for weight in weights])[:, None])
    return torch.tensor(np.stack(filters), dtype=torch.float32)


def tokenizer(texts: list[str]) -> Any:
    """Qwen's tokenizer with a vocabulary learned from the lessons and prompts."""
    return Qwen2Tokenizer(
        eos_token="<|im_end|>", pad_token="<|endoftext|>"
    ).train_new_from_iterator(
        texts,
        VOCABULARY,
        new_special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def assemble(texts: list[str]) -> tuple[Any, Any]:
    """The untrained model and its processor."""
    tokens = tokenizer(texts)
    of = tokens.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": LLM_WIDTH,
            "intermediate_size": 3 * LLM_WIDTH,
            "num_hidden_layers": LLM_DEPTH,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6],
            },
            "bos_token_id": None,
            "eos_token_id": of("<|im_end|>"),
            "pad_token_id": of("<|endoftext|>"),
            "tie_word_embeddings": True,
            "initializer_range": 0.05,  # 0.02 is for greater widths
        },
        vision_config={
            "depth": DEPTH,
            "hidden_size": WIDTH,
            "intermediate_size": 256,
            "num_heads": 3,
            "patch_size": PATCH,
            "temporal_patch_size": 1,
            "window_size": 4 * 2 * PATCH,
            "fullatt_block_indexes": [1, DEPTH - 1],
            "out_hidden_size": LLM_WIDTH,
        },
        tie_word_embeddings=True,
        **{
            f"{name}_token_id": of(f"<|{token}|>")
            for name, token in (
                ("image", "image_pad"), ("video", "video_pad"),
                ("vision_start", "vision_start"), ("vision_end", "vision_end"),
            )
        },
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        model.model.visual.patch_embed.proj.weight.copy_(cosines())
    flatten_patches(model)
    model.generation_config.eos_token_id = of("<|im_end|>")
    model.generation_config.pad_token_id = of("<|endoftext|>")
    look = {
        "patch_size": PATCH,
        "temporal_patch_size": 1,
        "merge_size": 2,
        "size": {"shortest_edge": 4 * PATCH**2, "longest_edge": PIXELS},
    }
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**look),
        tokenizer=tokens,
        video_processor=Qwen2VLVideoProcessor(**look),
        chat_template=TEMPLATE,
    )
    return model, processor


class Pictures(torch.utils.data.Dataset):
    """Pictures as the tower takes them, in the order of all epochs."""

    def __init__(self, rows: list[Row], processor: Any, order: np.ndarray) -> None:
        self.rows, self.look, self.order = rows, processor.image_processor, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> tuple[int, Tensor, Tensor]:
        index = int(self.order[place])
        rgb = open_picture(self.rows[index].image)
        if random.Random(place).random() < 0.5:
            rgb = rgb[:, ::-1].copy()
        seen = self.look(images=[rgb], input_data_format="channels_last", return_tensors="pt")
        return index, seen["pixel_values"].half(), seen["image_grid_thw"]


def collate(batch: list[tuple[int, Tensor, Tensor]]) -> tuple[list[int], Tensor, Tensor]:
    index, pixels, grids = zip(*batch, strict=True)
    return list(index), torch.cat(pixels), torch.cat(grids)


def start_as_spectrum(tower: Any, batch: tuple[list[int], Tensor, Tensor]) -> None:
    """Set the tower's first weights to measure spectra: a linear probe then finds most classes.

    Each cosine is scaled to a standard deviation of 1 over pictures, because photographs have less
    of higher frequencies, and these tell most about quality. The first block's network starts as
    their magnitudes, |z| = relu(z) + relu(−z), which tell blur, noise and compression apart.
    """
    network = tower.blocks[0].mlp
    mixed = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    steep = 2.0
    with torch.no_grad():
        spread = tower.patch_embed(batch[1].float()).std(0)
        tower.patch_embed.proj.weight /= spread[:, None, None, None, None]
        tower.blocks[0].attn.proj.weight.zero_()
        for channel in range(WIDTH):
            for sign, unit in ((1, 2 * channel), (-1, 2 * channel + 1)):
                network.gate_proj.weight[unit].zero_()
                network.gate_proj.weight[unit, channel] = sign * steep
                network.up_proj.weight[unit].zero_()
                network.up_proj.bias[unit] = 1 / steep
                network.down_proj.weight[:, unit] = 3 * mixed[:, channel]


def targets(rows: list[Row], measures: list[Measures]) -> Tensor:
    """[N, 3 + measures]: class (−1 if unknown), severity and score (NaN if unknown), grades."""
    found = []
    for row, values in zip(rows, measures, strict=True):
        known = bool(row.distortion)
        grades = [
            grade(name, getattr(values, name)) / len(cuts)
            for name, cuts in CUTS.items()
            if name != "clipped"
        ]
        grades += [
            grade("clipped", share) / len(CUTS["clipped"])
            for share in (values.clipped_highlights, values.clipped_shadows)
        ]
        found.append(
            [
                CLASSES.index(row.distortion) if known else -1,
                (row.severity or 0) if known else np.nan,
                np.nan if row.score is None else row.score,
                *grades,
            ]
        )
    return torch.tensor(found, dtype=torch.float32)


def train_eyes(
    tower: nn.Module, processor: Any, rows: list[Row], truth: Tensor, folder: Path,
    epochs: float, batch_size: int, lr: float, seed: int,
    on_step: Callable[[int, int, dict[str, float]], None],
) -> None:  # fmt: skip
    """Train the vision tower; its weights go to `folder/eyes.pt`.

    Args:
        on_step: called with (steps done, steps, the parts of the loss and the share of right
            classes).
    """
    done = folder / "eyes.pt"
    if done.is_file():
        tower.load_state_dict(torch.load(done, weights_only=True))
        return
    torch.manual_seed(seed)
    # Normalised over the batch, as pictures differ little beside what they share.
    head = nn.Sequential(
        nn.BatchNorm1d(LLM_WIDTH), nn.Linear(LLM_WIDTH, len(CLASSES) + truth.shape[1] - 1)
    )
    named = [*tower.named_parameters(), *head.named_parameters("head")]
    peaks = [lr, lr, 10 * lr]  # the head starts from random weights
    groups = decay_groups(tower.named_parameters(), 0.05)
    optimizer = torch.optim.AdamW([*groups, {"params": list(head.parameters())}], betas=(0.9, 0.98))
    checkpoint = Checkpoint(
        folder / "eyes-checkpoint.pt", f"{epochs} {batch_size} {lr} {seed}",
        tower=tower, head=head, optimizer=optimizer,
    )  # fmt: skip
    order = np.concatenate(
        [np.random.default_rng((seed, e)).permutation(len(rows)) for e in range(int(epochs) + 1)]
    )[: round(epochs * len(rows)) // batch_size * batch_size]
    steps = len(order) // batch_size
    sample = Pictures(rows, processor, order)
    start_as_spectrum(tower, collate([sample[place] for place in range(256)]))
    step = checkpoint.resume()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(
            Pictures(rows, processor, order), range(step * batch_size, len(order))
        ),
        batch_size=batch_size, collate_fn=collate, num_workers=1, prefetch_factor=3,
    )  # fmt: skip
    tower.train()
    for index, pixels, grids in loader:
        merged = tower(pixels.float(), grid_thw=grids).pooler_output
        counts = (grids.prod(1) // 4).tolist()
        pooled = torch.stack([part.mean(0) for part in merged.split(counts)])
        guess, wanted = head(pooled), truth[index]
        names, numbers = guess[:, : len(CLASSES)], guess[:, len(CLASSES) :]
        numbers_wanted = wanted[:, 1:] / torch.tensor([5.0, 4.0] + [1.0] * (wanted.shape[1] - 3))
        known = ~numbers_wanted.isnan()
        parts = {
            "class": F.cross_entropy(names, wanted[:, 0].long(), ignore_index=-1),
            "numbers": 10 * F.mse_loss(numbers[known], numbers_wanted[known]),
        }
        loss = sum(parts.values())
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * cosine_schedule(step, steps, 0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimizer.step()
        step += 1
        right = wanted[:, 0] >= 0
        hits = (names.argmax(1) == wanted[:, 0])[right].float().mean().item()
        on_step(step, steps, {name: part.item() for name, part in parts.items()} | {"right": hits})
        if step < steps:
            checkpoint.save(step)
    torch.save(tower.state_dict(), done)
    (folder / "eyes-checkpoint.pt").unlink(missing_ok=True)


def lessons(rows: list[Row], measures: list[Measures], passes: int, seed: int) -> list[SftExample]:
    """Every picture `passes` times, each time under a prompt and with a text of its own."""
    at = random.Random(seed)
    of_content: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row.score is not None:
            of_content.setdefault(row.content, []).append(index)
    found = []
    for _ in range(passes):
        for index in at.sample(range(len(rows)), len(rows)):
            found.append(_lesson(rows, measures, index, of_content, at))
    return found


def _lesson(
    rows: list[Row], measures: list[Measures], index: int,
    of_content: dict[str, list[int]], at: random.Random,
) -> SftExample:  # fmt: skip
    row = rows[index]
    many, few = degradation_prompt(DISTORTIONS), PROMPTS["q-insight/degradation"]
    choices: list[tuple[Prompt, int]] = [(PROMPTS["ract/description"], 2)]
    if row.distortion:
        choices.append((many, 2))
        if row.distortion in (*few.classes, "null"):
            choices.append((few, 4))
    if row.score is not None:
        choices += [
            (PROMPTS["visualquality-r1/score"], 8),
            (PROMPTS["q-insight/score"], 4),
            (PROMPTS["direct/score"], 2),
            (PROMPTS["q-insight/compare"], 1),
            (PROMPTS["q-insight/compare-reference"], 1),
        ]
    prompt = at.choices([p for p, _ in choices], [w for _, w in choices])[0]

    def text(place: int, score: float | None, brief: bool = False) -> str:
        own = rows[place]
        return write_rationales(
            score=score,
            measures=None if brief else measures[place],
            distortion=own.distortion or None,
            severity=own.severity,
            count=1,
            seed=at.getrandbits(40),
        )[0]

    if prompt.choices:
        other = at.choice(of_content[row.content])
        images = [row.image, rows[other].image]
        first, second = row.score or 0.0, rows[other].score or 0.0
        better = "A" if first >= second else "B"
        if "similar" in prompt.choices:
            images.insert(0, next(
                rows[i].image for i in of_content[row.content] if not rows[i].severity
            ))  # fmt: skip
            better = "similar" if abs(first - second) < 0.25 else better
        reasoning = f"Image A: {text(index, first, True)} Image B: {text(other, second, True)}"
        return SftExample(
            tuple(images), prompt, compose(prompt, reasoning=reasoning, choice=better)
        )
    score = None
    if row.score is not None and not prompt.classes:
        score = min(5.0, max(1.0, at.gauss(row.score, SPREAD)))
    reasoning = text(index, score)
    completion = compose(
        prompt, reasoning=reasoning, score=score,
        distortion=row.distortion, severity=row.severity or 0,
    )  # fmt: skip
    return SftExample((row.image,), prompt, completion)


def sharpen(model: Any) -> None:
    """Make sampling at temperature 1 draw what it drew at temperature `SHARPNESS`.

    A model this narrow gives its unlikely tokens too much probability in sum, so that texts end in
    the middle of a sentence.
    """
    with torch.no_grad():
        model.model.language_model.norm.weight /= SHARPNESS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--eyes-epochs", type=float, default=3)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    output, seed = arguments.output, arguments.seed
    run = RunFolder(output)
    with StageProgress() as progress:
        rows = pictures(arguments.data, output / "pictures", seed, progress)
        measures = measured(rows, output / "measures.json", progress)
        examples = lessons(rows, measures, arguments.passes, seed)
        asked = [message["text"] for prompt in PROMPTS.values() for turn in prompt.messages()
                for message in turn["content"] if "text" in message]  # fmt: skip
        torch.manual_seed(seed)
        model, processor = assemble(asked * 50 + [e.completion for e in examples[:20_000]])
        count = sum(p.numel() for p in model.parameters())
        print(f"{count:,} parameters, {len(rows):,} pictures, {len(examples):,} lessons")

        def on_step(step: int, steps: int, parts: dict[str, float]) -> None:
            run.log(stage="eyes", step=step, **parts)
            progress("eyes", step, steps, sum(v for k, v in parts.items() if k != "right"))

        train_eyes(
            model.model.visual, processor, rows, targets(rows, measures), output,
            arguments.eyes_epochs, 64, 1e-3, seed, on_step,
        )  # fmt: skip
        taught = train_sft(
            SftConfig(
                parts="language", batch_size=32, micro_batch=32, lr=2e-3, warmup=0.02,
                weight_decay=0.05, seed=seed, epochs=1, dtype="float32",
                gradient_checkpointing=False, save_every=100,
                trl={"dataloader_num_workers": 1},
            ),
            output / "sft", examples, model=(model, processor), progress=progress,
        )  # fmt: skip
    model, processor = load_teacher(str(taught), dtype="float32")
    sharpen(model)
    weights = output / "weights"
    model.half().save_pretrained(weights)
    processor.save_pretrained(weights)
    print(f"weights: {weights}")


if __name__ == "__main__":
    main()
