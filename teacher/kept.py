"""What a teacher wrote is asked for once: an engine beside a file that keeps its texts.

In: an engine and a file. Out: the engine's texts, those from the file where they are the same
request's. So a scoring that was stopped, or in which one answer could not be used, loses nothing,
and a harvest through an engine that is given thousands of requests at a time loses no more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Self

from rali.errors import InputError
from rali.files import write_text
from rali.pictures.inside import picture_sha256
from rali.runs.folder import add_row, alone_in, fingerprint, read_rows

from .requests import Engine, NoText, Request, Sampling, finished


class KeptTexts:
    """An engine that notes its texts in a file, and takes from there what was drawn before.

    A text is taken for the same teacher, prompt, sampling, seed and pixels, and for pictures of the
    same names and bytes; anything else is drawn. What failed is not kept, and is asked for again.

    Args:
        engine: what draws the texts.
        file: rows of JSON, each with `key`, `images`, `seed` and `text`. It may hold the texts of
            several teachers. Its folder is kept from other processes, which would pay for the same
            texts.

    Raises:
        InputError: another process is at work in the folder.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        self.engine, self.file = engine, file
        self.name, self.mark, self.chunk = engine.name, engine.mark, engine.chunk
        self._alone = ExitStack()  # until its block, this object or the process ends
        self._alone.enter_context(alone_in(file.parent))
        self._texts = {str(row["key"]): str(row["text"]) for row in read_rows(file, "key", "text")}
        self._handed_out: set[str] = set()
        self._digests: dict[Path, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let other processes into the folder."""
        self._alone.close()

    @property
    def pixels(self) -> tuple[int, int]:
        return self.engine.pixels

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str | NoText]:
        keys = [self._key(request, sampling) for request in requests]
        missing = [place for place, key in enumerate(keys) if key not in self._texts]
        found: list[str | NoText] = [self._texts.get(key, "") for key in keys]
        asked = [requests[place] for place in missing]
        for number, text in finished(self.engine, asked, sampling) if asked else ():
            place = missing[number]
            found[place], request, key = text, requests[place], keys[place]
            if isinstance(text, str) and key:
                self._texts[key] = text
                images = [str(path.absolute()) for path in request.images]
                add_row(
                    {"key": key, "images": images, "seed": request.seed, "text": text}, self.file
                )
        self._handed_out.update(keys)
        return found

    def forget(self) -> int:
        """Drop the texts that were handed out and are written elsewhere now; how many are left."""
        for key in self._handed_out:
            self._texts.pop(key, None)
        self._handed_out.clear()
        if not self._texts:
            self.file.unlink(missing_ok=True)
            return 0
        rows = [row for row in read_rows(self.file, "key", "text") if row["key"] in self._texts]
        write_text(self.file, "".join(f"{json.dumps(row)}\n" for row in rows), durable=True)
        return len(self._texts)

    def drop(self, written: Collection[tuple[Path, int]]) -> None:
        """Drop texts about one picture that were written elsewhere before a kill.

        Args:
            written: pictures, resolved, each with its text's seed.
        """
        for row in read_rows(self.file, "key", "images", "seed"):
            paths = [Path(path).resolve() for path in row["images"]]
            if len(paths) == 1 and (paths[0], row["seed"]) in written:
                self._handed_out.add(str(row["key"]))
        if self._handed_out:
            self.forget()

    def _key(self, request: Request, sampling: Sampling) -> str:
        """What the text depends on; empty where a picture cannot be read, which the engine says."""
        try:
            digests = [self._digest(path) for path in request.images]
        except InputError:
            return ""
        prompt = request.prompt
        return fingerprint(
            self.mark, self.pixels, prompt.name, prompt.messages(), prompt.stem, prompt.levels,
            [path.name for path in request.images], digests, request.seed, asdict(sampling),
        )  # fmt: skip

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = picture_sha256(path)
        return self._digests[path]
