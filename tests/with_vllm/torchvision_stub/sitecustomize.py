"""On PYTHONPATH this lets a torchvision built for CUDA be imported beside a torch without it.

Its compiled operators cannot be loaded there, and `import torchvision` stops at the first that is
missing. The transforms that an image processor needs are Python, and work once the two operators'
names are known. Not needed where the package index offers a torchvision built for the CPU; the
Makefile puts it on the path only where `import torchvision` fails.
"""

import importlib.abc
import sys


class _Names(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{operator}",
                    "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                )
        return None


sys.meta_path.insert(0, _Names())
