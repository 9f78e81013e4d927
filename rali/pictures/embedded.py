"""What a picture's file says of its rating: its XMP packet and Exif's tag."""

from __future__ import annotations

from pathlib import Path

from rali.errors import PictureError

from .read import undecoded
from .tiff import read_tags

_EXIF_RATING = 0x4746  # Microsoft's, in the first image directory
_TIFF_XMP = 700
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def embedded_rating(path: str | Path) -> tuple[bytes, bool]:
    """The XMP packet in a file (b"" without one), and whether Exif gives a rating (0 is none).

    What cannot be read gives neither: whether the file is a picture is not asked here.
    """
    try:
        with undecoded(path) as image:
            if image.format == "PNG":
                image.load()  # exiftool writes behind the pixels
            found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
            if not found:  # Pillow before 11
                blocks = (data for _, data in getattr(image, "applist", ()))
                jpeg = (data for data in blocks if data.startswith(_JPEG_XMP))
                tiff = getattr(image, "tag_v2", {}).get(_TIFF_XMP)
                found = tiff or next(jpeg, b"").removeprefix(_JPEG_XMP)
            stars = image.getexif().get(_EXIF_RATING)
    except PictureError:  # a TIFF that only tifffile opens has its tags all the same
        found, stars = read_tags(path, _TIFF_XMP, _EXIF_RATING)
    except Exception:  # decoders raise nearly anything on malformed bytes
        return b"", False
    xmp = found.encode() if isinstance(found, str) else bytes(found or b"")
    return xmp, bool(stars)
