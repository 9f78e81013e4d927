"""A node for ComfyUI: a batch of pictures parted into keep, maybe and drop, and its scores.

    pip install rali    # into ComfyUI's environment; copy this file into custom_nodes/

`at_least` is the score that you want, from 1 (bad) to 5 (excellent). With the probability
`certainty` people's score lies in an interval around rali's: a picture is kept if all of it lies at
or above `at_least`, dropped if all of it lies below, and else is a maybe. Nodes behind an output
without pictures do not run.
"""

from __future__ import annotations

import numpy as np
import torch
from comfy_execution.graph import ExecutionBlocker

from rali import InputError, Scorer


class RaliSort:
    """IMAGE is float32 [n, h, w, 3 or 4] from 0 to 1."""

    CATEGORY = "image/quality"
    FUNCTION = "sort"
    RETURN_TYPES = ("IMAGE", "IMAGE", "IMAGE", "FLOAT")
    RETURN_NAMES = ("keep", "maybe", "drop", "scores")
    OUTPUT_IS_LIST = (False, False, False, True)
    DESCRIPTION = "Parts pictures by the quality that people would see in them."

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802 (ComfyUI's name)
        number = {"step": 0.1, "min": 1.0, "max": 5.0}
        share = {"default": 0.5, "step": 0.05, "min": 0.05, "max": 0.95}
        return {
            "required": {
                "images": ("IMAGE",),
                "at_least": ("FLOAT", {"default": 3.0, **number}),
                "certainty": ("FLOAT", share),
                "model": ("STRING", {"default": "builtin"}),
            }
        }

    def sort(self, images: torch.Tensor, at_least: float, certainty: float, model: str):
        if not torch.isfinite(images).all():
            raise InputError("A picture holds values that are no numbers.")
        pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        results = list(Scorer(model).score_many(list(pixels), interval=certainty))
        if failed := next((result.error for result in results if result.score is None), None):
            raise InputError(failed)
        keep = np.array([result.low >= at_least for result in results])
        drop = np.array([result.high < at_least for result in results])
        parts = [self.part(images, chosen) for chosen in (keep, ~(keep | drop), drop)]
        return (*parts, [result.score for result in results])

    @staticmethod
    def part(images: torch.Tensor, chosen: np.ndarray):
        """The chosen pictures, or what stops ComfyUI from running the nodes behind an empty one."""
        return images[torch.from_numpy(chosen)] if chosen.any() else ExecutionBlocker(None)


NODE_CLASS_MAPPINGS = {"RaliSort": RaliSort}
NODE_DISPLAY_NAME_MAPPINGS = {"RaliSort": "Sort by quality (rali)"}
