"""Archives as manifests, as webdataset packs them: pictures, each beside what is known of it.

In: a .tar or .zip. Out: a record per picture. `a.json` is an object with a manifest's columns for
`a.jpg`; without one, `a.cls` or `a.txt` holds the score alone. A sample's name ends at the first
dot of the member's, as in webdataset; what has all of a picture's name but for the last suffix, as
`a.b.json` of `a.b.jpg`, is that picture's, but for a text without a number (a caption) where the
sample has something else. Nothing is extracted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rali.errors import InputError, PictureError, shortened
from rali.files import from_json
from rali.pictures.entry import Entry, Unreadable
from rali.pictures.folders import is_picture_name
from rali.pictures.inside import ARCHIVES
from rali.pictures.paths import path_in, path_text
from rali.pictures.tars import Tar
from rali.pictures.zips import Zip

from .tables import Records

_SCORES = (".cls", ".txt")
_MOST = 2**20  # bytes of what is beside a picture


def is_archive(path: Path) -> bool:
    """Whether a file of this name is an archive."""
    return path.name.lower().endswith(ARCHIVES)


def read_archive(path: Path) -> tuple[Records, list[str]]:
    """The records of an archive's pictures, in its order, and the name of each.

    Raises:
        InputError: no such archive, damage, or what is beside a picture cannot be read.
    """
    if not path.is_file():
        raise InputError(f"There is no manifest at {path}.")
    pictures: list[str] = []
    beside: dict[str, dict[str, Any]] = {}
    for entry in _entries(path):
        name = path_in(entry.key)
        if isinstance(entry.picture, Unreadable):
            raise InputError(f"{path}: {path_text(name)} cannot be used: {entry.picture.reason}")
        if getattr(entry.picture, "packed", False):
            raise InputError(
                f"{path} is packed as a whole, and a training reads its pictures in any order: "
                "unpack it to a plain .tar, with `gunzip`, `bunzip2` or `unxz`."
            )
        if is_picture_name(name):
            pictures.append(name)
        else:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 (of a member, which is no path)
            beside.setdefault(stem, {})[suffix.lower()] = entry
    owned = {name: stem for name in pictures if (stem := _owned(path, name, beside)) in beside}
    _refuse_shared(path, pictures, owned)
    known = {stem: _cells(path, beside[stem]) for stem in owned.values()}
    records: Records = [
        (number, {**known.get(owned.get(name, ""), {}), "image": path_text(name)})
        for number, name in enumerate(pictures, 2)
    ]
    return records, pictures


def _entries(path: Path) -> Iterator[Entry]:
    place, kind = os.path.abspath(path), Zip if path.suffix.lower() == ".zip" else Tar  # noqa: PTH100
    for entry in kind(place, path.name, wanted=_is_wanted):
        if Path(os.path.normpath(path_in(entry.key))).parts[:1] != (path.name,):
            raise InputError(f"{path}: the name of {entry.key} leads out of the archive.")
        yield entry


def _is_wanted(name: str) -> bool:
    return is_picture_name(name) or name.lower().endswith((".json", *_SCORES))


def _stems(picture: str) -> tuple[str, str]:
    """What files beside a picture may be called: as its sample, and, if there is one, as itself."""
    folder, slash, file = picture.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}", picture.rpartition(".")[0]


def _owned(path: Path, picture: str, beside: Mapping[str, Mapping[str, Entry]]) -> str:
    """Which of its stems the picture is described under."""
    sample, own = _stems(picture)
    if sample in beside and own in beside and ".json" not in beside[own]:
        try:
            float(_cells(path, beside[own])["score"])
        except ValueError:
            return sample
    return own if own in beside else sample


def _cells(path: Path, entries: Mapping[str, Entry]) -> Mapping[str, Any]:
    """What the files beside a picture say."""
    if ".json" in entries:
        entry = entries[".json"]
        try:
            found = from_json(_text(path, entry))
        except ValueError as error:
            raise InputError(f"{path}: {entry.key} is not JSON ({shortened(error)}).") from error
        if not isinstance(found, Mapping):
            raise InputError(f"{path}: {entry.key} holds no object of names and values.")
        return found
    return {"score": next(_text(path, entries[name]) for name in _SCORES if name in entries)}


def _text(path: Path, entry: Entry) -> str:
    try:
        data = entry.picture.read()
        if len(data) <= _MOST:
            return str(data.decode("utf-8-sig"))
        fault = f"has {len(data):,} bytes; expected at most {_MOST:,}."
    except PictureError as error:
        fault = f"cannot be read: {error}"
    except UnicodeDecodeError:
        fault = "is not text in UTF-8."
    raise InputError(f"{path}: {entry.key} {fault}")


def _refuse_shared(path: Path, pictures: Sequence[str], owned: Mapping[str, str]) -> None:
    """Refuse two pictures of one sample: what is beside them could be of either."""
    samples: dict[str, list[str]] = {}
    for name in pictures:
        samples.setdefault(_stems(name)[0], []).append(name)
    first: dict[str, str] = {}
    for name, stem in owned.items():
        other = first.setdefault(stem, name)
        if other == name and stem != _stems(name)[1]:  # by its sample's name, which others share
            other = next((each for each in samples[stem] if each != name), name)
        if other != name:
            raise InputError(
                f"{path}: {other} and {name} are one sample, and what is beside them could be of "
                "either. A sample is one picture; its name ends at the first dot."
            )
