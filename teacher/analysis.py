"""Why a teacher generalises: RALI's §3 measured on any teacher.

In: a loaded teacher and pictures. Out: the share of attention that score tokens give to the
reasoning (Fig. 3); visual tokens to map beside rationales, and how far apart data sets lie in them
(Figs. 2 and 4); and teachers put together from one's vision tower and another's language model
(Table 1).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.errors import InputError
from rali.files import read_json
from rali.runs.progress import Progress, silent

from .answer_text import NUMBER, blocks
from .answers import Score
from .completions import parse
from .engines import Request, Sampling, TransformersEngine, filled
from .learned import learned_before, note_prompts
from .models import load_teacher, opened, teacher_mark, vision_tower
from .prompts import Prompt
from .tasks import TASKS

NOTE = "transplant.json"


@dataclass(frozen=True)
class AttentionShare:
    """Where score tokens look; the four shares add up to 1.

    Attributes:
        reasoning: share of the tokens between the think tags. visual: of the picture's tokens.
        prompt: of the fixed words around the picture. answer: of the tags and earlier digits.
        pictures: number of pictures, one text each, that the shares are means of.
    """

    reasoning: float
    visual: float
    prompt: float
    answer: float
    pictures: int

    @property
    def reasoning_against_visual(self) -> float:
        """The paper's number: reasoning / (reasoning + visual), without the fixed prompt."""
        return self.reasoning / max(1e-12, self.reasoning + self.visual)


@torch.inference_mode()
def attention_share(
    engine: TransformersEngine,
    pictures: Sequence[Path],
    prompt: Prompt,
    *,
    max_new_tokens: int = 512,
    progress: Progress = silent,
) -> AttentionShare:
    """Mean attention of the positions that write the score, over layers and heads; RALI Fig. 3.

    It is measured on the likeliest text (temperature 0) of each picture. Texts that cannot be
    parsed are skipped.

    Args:
        prompt: one that asks for reasoning and a score.

    Raises:
        InputError: another prompt, or no text with reasoning and a score.
    """
    if TASKS[prompt.task].answer is not Score or not prompt.reasons:
        raise InputError(f"{prompt.name!r} does not ask for reasoning and a score.")
    model, processor = engine.model, engine.processor
    image_token = model.config.image_token_id
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the others do not return attention
    found = []
    try:
        for number, path in enumerate(pictures):
            request = Request((path,), prompt)
            text = engine.generate([request], Sampling(0, max_new_tokens=max_new_tokens))[0]
            answer, text = parse(text, prompt), text.removeprefix(engine.opening)
            spans = _spans(text, "<think>" if engine.opening else "")
            if isinstance(answer, Score) and spans:
                inputs = processor.apply_chat_template(
                    filled(request), add_generation_prompt=True, tokenize=True, return_dict=True,
                    return_tensors="pt",
                ).to(model.device)  # fmt: skip
                written = processor.tokenizer(
                    text, return_offsets_mapping=True, add_special_tokens=False,
                    return_tensors="pt",
                )  # fmt: skip
                found.append(_shares(model, inputs, written, *spans, image_token))
            progress("attention", number + 1, len(pictures))
    finally:
        model.set_attn_implementation(before)
    if not found:
        raise InputError(f"None of {len(pictures)} texts had both reasoning and a score.")
    reasoning, visual, words, answer = np.mean(found, axis=0).tolist()
    return AttentionShare(reasoning, visual, words, answer, pictures=len(found))


def _spans(text: str, before: str = "") -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Start and end of the reasoning and of the score's number in a text; None without both.

    Args:
        before: a tag that the chat template has written already.
    """
    thoughts, answers = blocks(before + text, "think"), blocks(text, "answer")
    number = NUMBER.search(text, answers[-1].opened, answers[-1].closed) if answers else None
    if not thoughts or not number:
        return None
    start, end = thoughts[-1].opened - len(before), thoughts[-1].closed - len(before)
    return (start, end), number.span("value")


def _shares(
    model: Any,
    inputs: Any,
    written: Any,
    thought: tuple[int, int],
    score: tuple[int, int],
    image_token: int,
) -> list[float]:
    ids = torch.cat([inputs["input_ids"], written["input_ids"].to(inputs["input_ids"].device)], 1)
    start = inputs["input_ids"].shape[1]
    more = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    if "mm_token_type_ids" in more:
        kinds = more["mm_token_type_ids"]
        more["mm_token_type_ids"] = torch.nn.functional.pad(kinds, (0, ids.shape[1] - start))
    output = model(
        input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True, **more
    )
    offsets = written["offset_mapping"][0].tolist()

    def within(span: tuple[int, int]) -> list[int]:
        places = [i for i, (a, b) in enumerate(offsets) if a < span[1] and b > span[0]]
        return [start + place for place in places]

    writers = [place - 1 for place in within(score)]  # a position predicts the token after it
    attention = torch.stack(
        [layer[0, :, writers].float().mean((0, 1)) for layer in output.attentions]
    )
    weights = attention.mean(0).cpu().numpy()
    visual = (ids[0] == image_token).cpu().numpy()
    reasoning = np.zeros(len(weights), bool)
    reasoning[within(thought)] = True
    own = np.arange(len(weights)) >= start
    parts = [reasoning, visual, ~own & ~visual, own & ~reasoning]
    return [float(weights[part].sum()) for part in parts]


@torch.inference_mode()
def visual_features(
    engine: TransformersEngine, pictures: Sequence[Path], *, progress: Progress = silent
) -> np.ndarray:
    """The mean of each picture's visual tokens as the language model receives them, [n, D]."""
    tower = vision_tower(engine.model)
    found = []
    for number, path in enumerate(pictures):
        seen = engine.processor.image_processor(images=[opened(path)], return_tensors="pt")
        pixels = seen["pixel_values"].to(engine.model.device, engine.model.dtype)
        grid = seen["image_grid_thw"].to(engine.model.device)
        found.append(tower(pixels, grid_thw=grid).pooler_output.float().mean(0).cpu().numpy())
        progress("visual tokens", number + 1, len(pictures))
    return np.stack(found)


def separation(features: np.ndarray, groups: Sequence[str]) -> float:
    """How far apart data sets lie: the silhouette of the groups, −1 to 1; 0 is one cloud.

    It measures what Fig. 4 shows: the gap between two data sets in visual tokens, and how much of
    it is left in the rationales.
    """
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(features, list(groups)))


def transplant(vision: str, language: str, output: str | Path) -> Path:
    """Save a teacher with the vision tower of one and the language model of another; Table 1.

    A folder that already holds this teacher is left as it is.

    Args:
        vision, language: "nano", a teacher's folder or a Hub id.

    Raises:
        InputError: the towers have different shapes, or the output holds another model.
    """
    output = Path(output)
    note = {name: [m, teacher_mark(m)] for name, m in (("vision", vision), ("language", language))}
    if (output / "config.json").is_file():
        kept = output / NOTE
        if kept.is_file() and read_json(kept, f"Delete {output}: it is made again.") == note:
            return output
        raise InputError(f"{output} holds a model already; give another folder.")
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output} holds files that are not a model; give another folder.")
    seeing, _ = load_teacher(vision)
    speaking, processor = load_teacher(language)
    own, other = vision_tower(speaking).state_dict(), vision_tower(seeing).state_dict()
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in other.items()}:
        raise InputError(f"The vision towers of {vision} and {language} have different shapes.")
    vision_tower(speaking).load_state_dict(other)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a call that was stopped
    speaking.save_pretrained(partial)
    processor.save_pretrained(partial)
    note_prompts(learned_before(language), partial)
    (partial / NOTE).write_text(json.dumps(note, indent=1) + "\n", "utf-8")
    if output.is_dir():
        output.rmdir()
    partial.rename(output)
    return output
