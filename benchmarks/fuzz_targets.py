"""The seven readers that benchmarks/fuzz.py feeds, each with inputs made from real ones.

A target makes an input from a `random.Random`, and reads it: True is a result, False a refusal by
an error of rali's own. Any other exception is a finding.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_inputs import VALUES, any_value, changed, changed_json, changed_png, changed_values
from PIL import Image

from rali.errors import RaliError
from rali.pictures.samples import sample_photographs

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # its smallest models


@dataclass(frozen=True)
class Target:
    """A reader: `make` an input, `read` it (raises `RaliError` for a refusal)."""

    make: Callable[[random.Random], Any]
    read: Callable[[Any], object]

    def try_out(self, given: Any) -> bool:
        try:
            self.read(given)
        except RaliError as error:
            assert str(error).strip(), "an error without a sentence"
            return False
        return True


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture_files() -> list[bytes]:
    """A piece of a photograph in every format and kind of pixel that rali reads."""
    import pillow_heif
    from damaged import KINDS  # registers JPEG XL

    pillow_heif.register_heif_opener()

    rgb = Image.fromarray(sample_photographs(("coffee",))[0][80:104, 140:172])
    grey, palette, clear = rgb.convert("L"), rgb.quantize(16), rgb.convert("RGBA")
    clear.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = _profile()
    wide = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    found = [
        _saved(rgb, form, **options)
        for _, (_, form, options) in KINDS.items()
        if form not in ("TGA", "ICO")  # a TGA is known by its name alone
    ]
    found += [_saved(each, "PNG") for each in (grey, palette, clear, wide, rgb.convert("1"))]
    found += [_saved(each, "TIFF") for each in (grey, palette, clear, wide, rgb.convert("CMYK"))]
    found += [_saved(each, "WEBP") for each in (clear,)]
    found += [_saved(rgb, form, icc_profile=profile) for form in ("PNG", "JPEG", "TIFF", "WEBP")]
    found += [_saved(each, "JPEG", exif=exif) for each in (rgb, grey, rgb.convert("CMYK"))]
    found += [_saved(rgb, "ICO", sizes=[(24, 24)])]
    for form in ("GIF", "WEBP", "PNG"):
        found.append(_saved(palette, form, save_all=True, append_images=[grey, rgb], duration=40))
    return found


def _parquet(table: Any) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    try:
        parquet.write_table(table, buffer)
    except pa.ArrowNotImplementedError:  # an empty object has no form in Parquet
        buffer = io.BytesIO()
        parquet.write_table(pa.table({"image": ["a.jpg"]}), buffer)
    return buffer.getvalue()


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pictures(folder: Path) -> Target:
    from rali.pictures.read import open_picture

    files = picture_files()

    def make(draw: random.Random) -> bytes:
        data = draw.choice(files)
        if data.startswith(b"\x89PNG") and draw.random() < 0.5:
            return changed_png(data, draw)
        return changed(data, draw, files)

    def read(data: bytes) -> None:
        rgb = open_picture(data, max_pixels=1_000_000)
        assert rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size, rgb.shape

    return Target(make, read)


def manifests(folder: Path) -> Target:
    import pyarrow as pa
    from pyarrow import parquet

    from rali.data.manifest import COLUMNS, PAIR_COLUMNS, read_manifest, read_pairs

    rows = [
        {"image": f"{n}.jpg", "score": 1 + n / 2, "raw_score": n, "dataset": "a", "content": str(n),
         "split": ("train", "val", "test", "")[n % 4], "std": 0.5, "reference": "r.png",
         "distortion": "blur", "severity": n % 6,
         "image_a": f"{n}.jpg", "image_b": f"{n}b.jpg", "result": ("A", "B", "similar")[n % 3]}
        for n in range(5)
    ]  # fmt: skip
    whole = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), whole)

    def make(draw: random.Random) -> tuple[str, bytes]:
        table: list[dict[str, Any]] = changed_values(rows, draw)
        kind = draw.random()
        if kind < 0.1:
            return ".parquet", changed(whole.getvalue(), draw)
        columns = list(draw.choice((COLUMNS, PAIR_COLUMNS)))
        if kind < 0.2:
            name = draw.choice(columns)
            values = [any_value(draw)] * 5 if draw.random() < 0.5 else draw.choices(VALUES, k=5)
            try:
                made = {each: pa.array([row[each] for row in rows]) for each in columns}
                made[name] = pa.array(values)
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):
                made[name] = pa.nulls(5, draw.choice((pa.binary(), pa.date32(), pa.bool_())))
            return ".parquet", _parquet(pa.table(list(made.values()), list(made)))
        lines = [columns]
        for row in table if isinstance(table, list) else rows:
            row = row if isinstance(row, dict) else rows[0]
            lines.append([str(row.get(name, "")) for name in columns])
        if draw.random() < 0.3:
            draw.choice(lines)[draw.randrange(len(columns))] = str(any_value(draw))
        text = "\n".join(",".join(cells) for cells in lines)
        data = text.encode("utf-8", "surrogatepass")
        return ".csv", changed(data, draw) if draw.random() < 0.5 else data

    def read(given: tuple[str, bytes]) -> None:
        suffix, data = given
        path = folder / f"m{suffix}"
        path.write_bytes(data)
        try:
            read_manifest(path)
        except RaliError:
            read_pairs(path)

    return Target(make, read)


def model_folders(folder: Path) -> Target:
    import torch

    from rali import Scorer, Student
    from rali.scoring.intervals import Interval, read_interval, write_interval
    from rali.scoring.phrases import Phrases, read_phrases, write_phrases
    from rali.student.student import StudentConfig
    from small import SMALL
    from tiny_onnx import write_model

    torch.manual_seed(0)
    spec = {"name": "nano", "config": SMALL.image.to_dict()}
    config = StudentConfig(spec, SMALL.preprocess.to_dict(), SMALL.image.embed_dim, 3, 4)
    Student(config).save_pretrained(folder)
    write_model(folder / "onnx" / "model.onnx")
    write_interval(Interval(tuple(n / 30 for n in range(30)), (1.0, 5.0), "a", ""), folder)
    write_phrases(Phrases(("a", "b"), ("good", "blur"), np.eye(2, 3), np.zeros(2)), folder)
    names = ("interval.json", "phrases.npz", "config.json", "model.safetensors")
    whole = {name: (folder / name).read_bytes() for name in names}

    def make(draw: random.Random) -> tuple[str, bytes]:
        name = draw.choices(names, (10, 10, 2, 1))[0]
        if name.endswith(".json"):
            return name, changed_json(json.loads(whole[name]), draw)
        if name == "phrases.npz" and draw.random() < 0.5:
            file = io.BytesIO()
            held = dict(np.load(io.BytesIO(whole[name])))
            shapes = ((), (0,), (2,), (3,), (2, 3), (3, 2), (2, 3, 1))
            kinds = (np.float32, np.int8, np.bool_, np.complex64, "U3", "S3", "M8[s]")
            held[draw.choice(list(held))] = np.zeros(draw.choice(shapes), draw.choice(kinds))
            np.savez(file, **held)
            return name, file.getvalue()
        return name, changed(whole[name], draw)

    def read(given: tuple[str, bytes]) -> None:
        name, data = given
        (folder / name).write_bytes(data)
        try:
            if name == "interval.json":
                interval = read_interval(folder)
                low, high = interval.around(3.0, 0.9)
                assert low <= high, (low, high)
            elif name == "phrases.npz":
                read_phrases(folder).rank(np.zeros(3, np.float32))
            else:
                if name == "config.json":
                    Scorer(folder, threads=1)
                Student.from_pretrained(folder)
        finally:
            (folder / name).write_bytes(whole[name])

    return Target(make, read)


def onnx_metadata(folder: Path) -> Target:
    import onnx

    from rali import Scorer
    from tiny_onnx import write_model

    path = write_model(folder / "a.onnx")
    model = onnx.load(path)
    metadata = {each.key: json.loads(each.value) for each in model.metadata_props}
    picture = sample_photographs(("coffee",))[0][:20, :30]

    def make(draw: random.Random) -> bytes:
        del model.metadata_props[:]
        changes: Any = metadata
        for _ in range(draw.choice((1, 1, 2, 3))):
            changes = changed_values(changes, draw)
        for key, value in (changes if isinstance(changes, dict) else metadata).items():
            text = json.dumps(value).encode()
            if draw.random() < 0.05:
                text = changed(text, draw)
            key = key.encode("utf-8", "replace").decode()
            model.metadata_props.add(key=key, value=text.decode("utf-8", "replace"))
        return model.SerializeToString()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        score = Scorer(path, threads=1)(picture)
        assert np.isfinite(score), score

    return Target(make, read)


def answers(folder: Path) -> Target:
    from parser_fuzz import PIECES, broken, good, invented

    from rali.pictures.degrade import DISTORTIONS
    from rali.teacher.answers import Failure
    from rali.teacher.completions import format_reward, parse
    from rali.teacher.prompts import PROMPTS, degradation_prompt

    prompts = [*PROMPTS.values(), degradation_prompt(DISTORTIONS)]

    class UnreadError(RaliError):
        """A `Failure`."""

    def make(draw: random.Random) -> tuple[int, str]:
        number = draw.randrange(len(prompts))
        if draw.random() < 0.6:
            return number, broken(good(prompts[number], draw), draw)
        return number, "".join(draw.choices(PIECES, k=draw.randint(0, 14)))

    def read(given: tuple[int, str]) -> None:
        prompt, text = prompts[given[0]], given[1]
        answer = parse(text, prompt)
        rewards = format_reward(text, prompt), format_reward(text, prompt, form="strict")
        assert rewards[1] <= rewards[0], "the strict format is looser"
        assert not invented(text, answer, prompt), f"invented {answer}"
        if isinstance(answer, Failure):
            assert not rewards[1], "a strict format that cannot be read"
            raise UnreadError(answer.reason)

    return Target(make, read)


def triplets(folder: Path) -> Target:
    import pyarrow as pa
    from pyarrow import parquet

    from rali.data.triplets import FIELDS, Triplet, TripletWriter, read_triplets, write_triplets

    write_triplets(
        folder,
        [
            Triplet(Path(f"{n}.jpg"), "0" * 64, 3.0, "a", "b", 3.5, "t", "p", n, True)
            for n in range(5)
        ],
    )
    shard = next(folder.glob("*.parquet"))
    whole = shard.read_bytes()
    records = parquet.read_table(shard).to_pylist()

    def make(draw: random.Random) -> bytes:
        if draw.random() < 0.5:
            return changed(whole, draw)
        name = draw.choice(FIELDS)
        columns = {each: [record[each] for record in records] for each in FIELDS}
        kind = draw.random()
        if kind < 0.1:
            del columns[name]
        elif kind < 0.6:
            columns[name][draw.randrange(5)] = any_value(draw)
        else:
            columns[name] = [any_value(draw)] * 5
        try:
            return _parquet(pa.table(columns))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            columns[name] = [None] * 5
            return _parquet(pa.table(columns))

    def read(data: bytes) -> None:
        shard.write_bytes(data)
        found = read_triplets(folder)
        for each in found:
            assert isinstance(each.image, Path) and isinstance(each.reasoning, str), each
            assert isinstance(each.seed, int), each
            assert each.score is None or isinstance(each.score, float), each
        TripletWriter(folder)

    return Target(make, read)


def bodies(folder: Path, samples: bool = False) -> Target:
    """Bodies of `/score`, or with `samples` those of a trainer to `/compute`."""
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request

    from rali.serve.bodies import read_pictures, read_samples
    from rali.serve.limits import FullError, Limits

    class RefusedError(RaliError):
        """A reply of 4xx."""

    limits, loop = Limits(body=2**20, queue=16), asyncio.new_event_loop()
    png = picture_files()[2]
    text = base64.b64encode(png).decode()
    form = (
        b'--xyz\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + png + b"\r\n--xyz\r\n\r\nA\r\n--xyz--\r\n"
    )
    values = {"images": [text, f"data:image/png;base64,{text}", {"bytes": text}]}
    asked = [
        {"prompt": ["a", "b"], "image": [text, f"data:image/png;base64,{text}"], "kwargs": {}},
        {"prompt": ["a", "b"], "video": [[text], [text, text]], "image": None},
    ]
    kinds = ("application/json", "multipart/form-data; boundary=xyz", "image/png")

    def make(draw: random.Random) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        kind = draw.choices(kinds, (20, 1, 1) if samples else (5, 5, 1))[0]
        sent = draw.choice(asked) if samples else values
        body = {
            kinds[0]: lambda: changed_json(sent, draw),
            kinds[1]: lambda: changed(form, draw, [form]),
            kinds[2]: lambda: changed(png, draw),
        }[kind]()
        headers = [(b"content-type", kind.encode())]
        if draw.random() < 0.2:
            headers[0] = (b"content-type", changed(kind.encode(), draw))
        if draw.random() < 0.1:
            name = draw.choice((b"content-length", b"content-encoding", b"transfer-encoding"))
            headers.append((name, draw.choice((b"0", b"-1", b"x", b"9" * 30, b"gzip", b"\xff"))))
        cuts = sorted(draw.randint(0, len(body)) for _ in range(draw.randint(0, 3)))
        return headers, [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    def read(given: tuple[list[tuple[bytes, bytes]], list[bytes]]) -> None:
        headers, parts = given
        waiting = [
            {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
            for n, part in enumerate(parts)
        ]

        async def receive() -> Any:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        scope = {"type": "http", "method": "POST", "path": "/score", "headers": headers}
        request = Request(scope, receive)
        try:
            if samples:
                reading = read_samples(request, limits, lambda size: None)
                found, counts = loop.run_until_complete(reading)
                assert sum(counts) == len(found) and min(counts) > 0, counts
            else:
                found = loop.run_until_complete(read_pictures(request, limits, lambda size: None))
        except HTTPException as error:
            assert 400 <= error.status_code < 500 and len(error.detail) < 400, error
            raise RefusedError(error.detail) from error
        except (FullError, ClientDisconnect) as error:
            raise RefusedError("full, or gone") from error
        assert found and all(isinstance(each, bytes | str) for each in found)

    return Target(make, read)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "pictures": pictures,
    "manifests": manifests,
    "model folders": model_folders,
    "ONNX metadata": onnx_metadata,
    "answers": answers,
    "triplets": triplets,
    "server bodies": bodies,
    "trainer bodies": partial(bodies, samples=True),
}
