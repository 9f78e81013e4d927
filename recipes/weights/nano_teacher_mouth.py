"""The nano teacher's language model learns its lessons, with eyes that no longer change.

In: a model, its processor, SFT examples and the visual tokens of their pictures. Out: the model,
trained. `rali.teacher.sft` trains any teacher; here the tower's work is done once per picture and
not once per text, and several completions of one prompt stand after it without seeing each other,
which takes a third of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rali.distill.optim import Checkpoint, cosine_schedule, decay_groups
from rali.teacher.sft import SftExample

BATCH = 16  # prompts in a step


@dataclass(frozen=True)
class Encoded:
    """A prompt with its pictures, and its completions, as token ids."""

    asked: list[int]
    answers: list[list[int]]
    images: tuple[Path, ...]

    @property
    def length(self) -> int:
        return len(self.asked) + sum(map(len, self.answers))


def encode(
    processor: Any, examples: Sequence[SftExample], tokens: Mapping[Path, int]
) -> list[Encoded]:
    """Lessons as token ids, with one image token for each visual token of a picture.

    Neighbours with the same prompt and pictures become one.

    Args:
        tokens: visual tokens of each picture.
    """
    tokenizer, spelt = processor.tokenizer, {}
    image, end = processor.image_token, tokenizer.eos_token
    pad = tokenizer.convert_tokens_to_ids(image)
    found = []
    for (prompt, images), own in groupby(
        examples, lambda example: (example.prompt, example.images)
    ):
        if prompt.name not in spelt:
            text = processor.apply_chat_template(
                prompt.messages(), add_generation_prompt=True, tokenize=False
            )
            spelt[prompt.name] = tokenizer(text)["input_ids"]
        counts, asked = iter([tokens[path] for path in images]), []
        for token in spelt[prompt.name]:
            asked += [pad] * next(counts) if token == pad else [token]
        answers = [tokenizer(example.completion + end)["input_ids"] for example in own]
        found.append(Encoded(asked, answers, images))
    return found


def batches(lessons: Sequence[Encoded], seed: int) -> list[list[int]]:
    """Places of lessons, `BATCH` at a time and of like length, in random order."""
    draw, found = np.random.default_rng(seed), []
    order = draw.permutation(len(lessons))
    pool = 16 * BATCH
    for start in range(0, len(order), pool):
        own = sorted(order[start : start + pool], key=lambda place: lessons[place].length)
        found += [own[i : i + BATCH] for i in range(0, len(own), BATCH)]
    return [list(map(int, found[i])) for i in draw.permutation(len(found))]


def loss(model: Any, own: Sequence[Encoded], seen: Mapping[Path, tuple[Tensor, Any]]) -> Tensor:
    """Mean negative log-likelihood of the completions' tokens, in nats.

    Args:
        seen: of each picture its visual tokens [h · w, D] and its grid (1, h, w) of patches.
    """
    body, longest = model.model, max(lesson.length for lesson in own)
    ids = torch.zeros(len(own), longest, dtype=torch.long)
    part = torch.full_like(ids, -1)  # 0 for the prompt, then the completion's number; −1 for none
    before = torch.arange(-1, longest - 1).repeat(len(own), 1)  # the token that each follows
    for place, lesson in enumerate(own):
        end = len(lesson.asked)
        ids[place, :end], part[place, :end] = torch.tensor(lesson.asked), 0
        for number, answer in enumerate(lesson.answers, 1):
            start, end = end, end + len(answer)
            ids[place, start:end], part[place, start:end] = torch.tensor(answer), number
            before[place, start] = len(lesson.asked) - 1
    shown = ids == model.config.image_token_id
    pictures = [seen[path] for lesson in own for path in lesson.images]
    positions, _ = body.get_rope_index(
        ids, shown.int(), image_grid_thw=torch.tensor([grid for _, grid in pictures]),
        attention_mask=(part == 0).long(),
    )  # fmt: skip
    for place, lesson in enumerate(own):
        end = len(lesson.asked)
        first = positions[:, place, :end].max() + 1
        for answer in lesson.answers:
            start, end = end, end + len(answer)
            positions[:, place, start:end] = first + torch.arange(len(answer))
    earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    asked = (part == 0)[:, None]
    visible = (earlier & (asked | (part[:, None] == part[:, :, None])))[:, None]
    embedded = body.language_model.embed_tokens(ids)
    visual = torch.cat([tokens for tokens, _ in pictures]).float()
    hidden = body.language_model(
        inputs_embeds=embedded.masked_scatter(shown[..., None], visual),
        attention_mask={"full_attention": visible}, position_ids=positions, use_cache=False,
    ).last_hidden_state  # fmt: skip
    answered = part > 0
    followed = hidden.gather(1, before.clamp_min(0)[..., None].expand_as(hidden))[answered]
    return F.cross_entropy(model.lm_head(followed).float(), ids[answered])


def learn(
    model: Any, lessons: Sequence[Encoded], seen: Mapping[Path, tuple[Tensor, Any]], folder: Path,
    lr: float, seed: int, on_step: Callable[[int, int, float], None],
) -> None:  # fmt: skip
    """One pass over the lessons; the weights go to `folder/mouth.pt`."""
    done = folder / "mouth.pt"
    if done.is_file():
        model.load_state_dict(torch.load(done, weights_only=True))
        return
    torch.manual_seed(seed)
    language = model.model.language_model
    order = batches(lessons, seed)
    optimizer = torch.optim.AdamW(
        decay_groups(language.named_parameters(), 0.05), betas=(0.9, 0.98)
    )
    checkpoint = Checkpoint(
        folder / "mouth-checkpoint.pt", f"{len(lessons)} {lr} {seed}",
        language=language, optimizer=optimizer,
    )  # fmt: skip
    model.train()
    for step in range(checkpoint.resume(), len(order)):
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine_schedule(step, len(order), 0.03)
        found = loss(model, [lessons[place] for place in order[step]], seen)
        optimizer.zero_grad()
        found.backward()
        nn.utils.clip_grad_norm_(language.parameters(), 1.0)
        optimizer.step()
        on_step(step + 1, len(order), found.item())
        if (step + 1) % 50 == 0 and step + 1 < len(order):
            checkpoint.save(step + 1)
    torch.save(model.state_dict(), done)
    (folder / "mouth-checkpoint.pt").unlink(missing_ok=True)
