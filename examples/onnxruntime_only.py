"""Score pictures with onnxruntime, numpy and Pillow, without rali.

    rali export builtin -o model.onnx --image        # writes model_image.onnx
    python onnxruntime_only.py model_image.onnx photo.jpg

The model itself resizes, crops and normalises: it takes uint8 RGB of any height and width. rali
reads more kinds of files: transparency, 16 bits, colour profiles, HEIC.
"""

import os
import sys

import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # after the import it is too late
import onnxruntime


def main(model: str, pictures: list[str]) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for path in pictures:
        with Image.open(path) as picture:
            rgb = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        score, _embedding = session.run(["score", "embedding"], {"image": rgb})
        print(f"{path}\t{score[0]:.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
