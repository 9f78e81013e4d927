"""JPEG 2000 of more than 8 bits: what Pillow rounds to 256, and so to 0, gets its 255 back.

In: the picture as Pillow decodes it and its codestream (ISO 15444-1, annex A). Out: each channel
scaled from the depth that the codestream gives.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from rali.errors import PictureError

from .opened import first_bytes


def read_codestream(image: Image.Image) -> bytes:
    """The codestream of an opened JPEG 2000 file with a channel of more than 8 bits, else b""."""
    if image.format != "JPEG2000" or image.mode not in _MODES:
        return b""
    data = first_bytes(image)
    data = data[max(data.find(b"\xff\x4f\xff\x51"), 0) :]
    return data if max(_depths(data), default=0) > 8 else b""


def restore_depth(image: Image.Image, codestream: bytes) -> Image.Image:
    """The decoded picture with every channel scaled to 0–255.

    Pillow halves up, so a full 16-bit value becomes 256 and is stored as 0. To know these from
    black, the codestream is decoded once more with its header altered to say one bit more: then
    the same picture lies in the middle half of the range.

    Raises:
        PictureError: the two do not agree, as in a codestream whose tiles have their own tables.
    """
    depths = _depths(codestream)
    pixels = np.atleast_3d(np.asarray(image))
    if pixels.shape[2] != len(depths) or max(depths) > 16:
        raise _unreadable(max(depths))
    full = pixels.astype(np.int32)
    if (pixels == 0).any():
        with Image.open(io.BytesIO(_one_bit_more(codestream)), formats=("JPEG2000",)) as again:
            half = np.atleast_3d(np.asarray(again)).astype(np.int32)
        if half.shape != full.shape:
            raise _unreadable(max(depths))
        full[(full == 0) & (half >= 128)] = 256
        wide = np.array(depths) > 8
        if (np.abs(half - (full + 128) / 2)[..., wide] > 1.5).any():
            raise _unreadable(max(depths))
    made = np.empty_like(pixels)
    for i, bits in enumerate(depths):
        scale = 255 * 2 ** (bits - 8) / (2**bits - 1) if bits > 8 else 1
        made[..., i] = np.rint(np.arange(257) * scale)[full[..., i]]
    restored = Image.fromarray(made.squeeze(axis=2) if made.shape[2] == 1 else made, image.mode)
    restored.info.update(image.info)
    return restored


_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")


def _unreadable(bits: int) -> PictureError:
    return PictureError(
        f"This JPEG 2000 picture has {bits} bits a channel in a form that cannot be read exactly. "
        "Convert it to a 16-bit PNG or TIFF."
    )


def _depths(codestream: bytes) -> list[int]:
    """Bits of each component, from the SIZ marker."""
    count = int.from_bytes(codestream[40:42], "big")
    return [(b & 0x7F) + 1 for b in codestream[42 : 42 + 3 * count : 3]]


def _one_bit_more(codestream: bytes) -> bytes:
    """The same coefficients under a header that says one bit more for each component."""
    data = bytearray(codestream)
    count = int.from_bytes(data[40:42], "big")
    for place in range(42, 42 + 3 * count, 3):
        data[place] += 1
    place = 2
    while place + 4 <= len(data) and data[place : place + 2] != b"\xff\x90":  # up to the first tile
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] in (0x5C, 0x5D):  # QCD, QCC
            style = place + 4 + (0 if data[place + 1] == 0x5C else 1 if count < 257 else 2)
            if data[style] & 31:  # not reversible: steps grow with the depth, and are halved here
                if data[style] < 32:
                    raise _unreadable(max(_depths(codestream)))
                data[style] -= 32  # one guard bit less keeps the number of bit planes
                for step in range(style + 1, place + 2 + size, 2):
                    data[step] += 8
        place += 2 + size
    return bytes(data)
