"""Two hundred sidecars of four writers, before and after `rali score --xmp`, and after `--undo`.

Fifty each: written by darktable; by exiv2 with digiKam's fields (digiKam has no command line, and
writes with exiv2); by exiftool; and in the forms of Lightroom, made here. The judges are not ours:
exiftool reads every tag before and after, and difflib compares the lines.

    python benchmarks/xmp.py --data DIR > benchmarks/xmp.md

Needs darktable-cli, exiftool and exiv2. The libraries it compares with are measured where they are
installed: pip install python-xmp-toolkit pyexiv2 lxml.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import hashlib
import importlib
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import typer
from typer.testing import CliRunner

from rali.cli._xmp import Sidecars, Xmp
from rali.cli.score import score
from rali.report.xmp_sidecar import STARS, stars_of
from rali.scoring.rows import columns_of, score_rows
from rali.scoring.scorer import Scorer
from rali.version import __version__

WRITERS = ("darktable", "digiKam's, by exiv2", "exiftool", "Lightroom's form")
EACH = 50
OTHER = "1.1,1.2,1.3,1.4"  # stars
WORDS = ("Rome", "Ärger & Co", "写真", "a|b|c", "<tag>", 'say "hi"', "it's")
OURS = re.compile(
    r"""\s*(<rdf:Description\ rdf:about=.*|xmlns:(rali|xmp|dc)="[^"]*"|rali:\w+="[^"]*"/?>?
    |xmp:Rating="\d"/?>?|</?dc:subject>|</?rdf:Bag>|<rdf:li>quality\|[\w\ ]+</rdf:li>
    |</rdf:Description>)\s*""",
    re.X,
)
RATING = re.compile(r"""(Rating\s*=\s*["']|Rating>)\d(?=["'<])""")

LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="{about}"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:CreatorTool="Adobe Photoshop Lightroom Classic 13.0 (Windows)"
   xmp:MetadataDate="2026-01-0{day}T10:00:00+01:00"{attribute}
   xmpMM:DocumentID="xmp.did:{number:032x}"
   crs:Version="16.0"
   crs:Exposure2012="+0.{day}0"
   crs:ToneCurveName2012="Linear">{element}
   <xmpMM:History>
    <rdf:Seq>
     <rdf:li
      stEvt:action="saved"
      stEvt:when="2026-01-0{day}T10:00:00+01:00"
      stEvt:changed="/metadata"/>
    </rdf:Seq>
   </xmpMM:History>
   <dc:title>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">Title {number} &amp; more</rdf:li>
    </rdf:Alt>
   </dc:title>{subject}
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
  </rdf:Description>{second}
 </rdf:RDF>
</x:xmpmeta>{padding}
<?xpacket end="w"?>"""  # noqa: E501


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def rali(folder: Path, *options: str) -> list[str]:
    """The last lines of `rali score FOLDER --xmp` on standard error."""
    app = typer.Typer()
    app.command()(score)
    return CliRunner().invoke(app, [str(folder), "--xmp", *options]).stderr.splitlines()


def exiftool(commands: list[list[str | Path]], work: Path) -> None:
    """Several commands in one process."""
    lines = (line for one in commands for line in (*map(str, one), "-execute"))
    (work / "arguments").write_text("\n".join(lines))
    run("exiftool", "-q", "-@", work / "arguments")


def keywords(draw: random.Random) -> list[str]:
    return draw.sample(WORDS, draw.randint(0, 3))


def write_exiftool(pictures: list[Path], draw: random.Random, work: Path) -> None:
    """In exiftool's forms: elements or attributes, one description or one per namespace."""
    commands = []
    for picture in pictures:
        stars = draw.choice((None, -1, 0, 0, 1, 3, 5))
        form = draw.choice(("", "Shorthand", "OneDesc", "Shorthand,OneDesc", "NoPadding"))
        command: list[str | Path] = ["-XMP-dc:Title=A title"]
        command += [f"-XMP-dc:Subject={word}" for word in keywords(draw)]
        command += [f"-XMP-xmp:Rating={stars}"] if stars is not None else []
        command += ["-api", f"Compact={form}"]
        commands.append([*command, "-o", f"{picture}.xmp", picture])
    exiftool(commands, work)


def write_exiv2(pictures: list[Path], draw: random.Random, work: Path) -> None:
    """With the fields that digiKam writes; five sidecars of each of ten kinds."""
    for start in range(0, len(pictures), 5):
        stars = draw.choice((None, -1, 0, 0, 2, 4))
        sets = ["set Xmp.tiff.Software digiKam-7.9.0", "set Xmp.digiKam.PickLabel XmpText 0"]
        sets += ["set Xmp.digiKam.ColorLabel XmpText 0", "set Xmp.acdsee.notes A note"]
        for word in keywords(draw):
            sets += [f"add Xmp.digiKam.TagsList XmpSeq People/{word}"]
            sets += [f"add Xmp.dc.subject XmpBag {word}"]
        if stars is not None:
            sets += [f"set Xmp.xmp.Rating {stars}"]
            sets += [f"set Xmp.MicrosoftPhoto.Rating {max(stars, 0) * 25}"]
        sidecars = [Path(f"{picture}.xmp") for picture in pictures[start : start + 5]]
        for sidecar in sidecars:
            sidecar.write_text(NOTHING)
        run("exiv2", *(part for one in sets for part in ("-M", one)), *sidecars)


NOTHING = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"></rdf:RDF></x:xmpmeta>'
)


def write_lightroom(pictures: list[Path], draw: random.Random, work: Path) -> None:
    for picture in pictures:
        write_form(picture, draw)


def write_form(picture: Path, draw: random.Random) -> None:
    """Padding or none, one or two descriptions, LF or CRLF, UTF-8 or UTF-16, either rating form."""
    stars = draw.choice((None, "-1", "0", "0", "2", "5"))
    attribute = draw.random() < 0.6
    words = "".join(f"\n     <rdf:li>{escape(word)}</rdf:li>" for word in keywords(draw))
    bag = f"\n   <dc:subject>\n    <rdf:Bag>{words}\n    </rdf:Bag>\n   </dc:subject>"
    second = (
        "\n  <rdf:Description rdf:about='{about}' xmlns:aux='http://ns.adobe.com/exif/1.0/aux/'>"
        "\n   <!-- a comment --><aux:Lens>50mm f/1.8</aux:Lens>\n  </rdf:Description>"
    )
    about = draw.choice(("", "uuid:faf5bdd5-ba3d-11da-ad31-d33d75182f1b"))
    text = LIGHTROOM.format(
        about=about,
        number=draw.getrandbits(64),
        day=draw.randint(1, 9),
        attribute=f'\n   xmp:Rating="{stars}"' if stars and attribute else "",
        element=f"\n   <xmp:Rating>{stars}</xmp:Rating>" if stars and not attribute else "",
        subject=bag if words else "",
        second=second.format(about=about) if draw.random() < 0.5 else "",
        padding=("\n" + " " * 100) * draw.choice((0, 20)),
    )
    text = text.replace("\n", draw.choice(("\n", "\r\n")))
    coding = draw.choice(("utf-8", "utf-8", "utf-8", "utf-16"))
    Path(f"{picture}.xmp").write_bytes(text.encode(coding))


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def write_darktable(pictures: list[Path], draw: random.Random, work: Path) -> None:
    """Half as darktable imports a picture, half with stars and tags that it has read before."""
    roll, copies = work / "roll", work / "copies"
    roll.mkdir()
    copies.mkdir()
    commands: list[list[str | Path]] = []
    for picture in pictures:
        shutil.copy(picture, roll)
        if draw.random() < 0.5:
            tags = [f"-XMP-dc:Subject={word}" for word in keywords(draw)]
            stars = f"-XMP:Rating={draw.choice((0, 0, 0, 2, 4))}"
            commands.append([stars, *tags, "-o", roll / f"{picture.name}.xmp", picture])
    exiftool(commands, work)
    run("darktable-cli", roll, copies, "--out-ext", "copy", *core(work))
    for picture in pictures:
        shutil.move(copies / f"{picture.name}.xmp", f"{picture}.xmp")


def core(work: Path) -> tuple[str | Path, ...]:
    return "--core", "--library", ":memory:", "--configdir", work / "darktable"


def make(folder: Path, work: Path, photographs: list[Path]) -> dict[str, str]:
    """The pictures and sidecars; returns each sidecar's writer by name."""
    draw, writers = random.Random(0), {}
    ways = (write_darktable, write_exiv2, write_exiftool, write_lightroom)
    for place, (writer, way) in enumerate(zip(WRITERS, ways, strict=True)):
        pictures = []
        for number in range(EACH * place, EACH * (place + 1)):
            pictures.append(folder / f"{number:03d}.jpg")
            shutil.copyfile(photographs[number], pictures[-1])
        way(pictures, draw, work)
        writers |= {f"{picture.name}.xmp": writer for picture in pictures}
        print(f"{writer}: {time.process_time():.0f} s", file=sys.stderr)
    return writers


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.xmp"))}


def tags(folder: Path) -> dict[str, dict[str, Any]]:
    """Every tag of every sidecar, as exiftool reads it."""
    shown = run("exiftool", "-j", "-G1", "-struct", "-a", "-n", "-XMP:all", "-ext", "xmp", folder)
    rows = json.loads(shown[shown.index("[") : shown.rindex("]") + 1])
    return {Path(row.pop("SourceFile")).name: row for row in rows}


def same_tags(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether all tags but ours are the same, and no keyword is lost."""
    ours = ("XMP-rali:", "XMP-xmp:Rating", "XMP-dc:Subject")
    rest = [
        {name: value for name, value in each.items() if not name.startswith(ours)}
        for each in (before, after)
    ]
    words = [as_list(each.get("XMP-dc:Subject")) for each in (before, after)]
    added = words[1][len(words[0]) :]
    return (
        rest[0] == rest[1]
        and words[1][: len(words[0])] == words[0]
        and all(str(word).startswith("quality|") for word in added)
    )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def coding(sidecar: bytes) -> str:
    return "utf-16" if sidecar[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"


def same_lines(before: bytes, after: bytes) -> bool:
    """Whether lines were only added, all of them ours, but for the digit of a rating."""
    old, new = (each.decode(coding(before)).splitlines(keepends=True) for each in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        for left, right in zip(old[a:b], new[c:], strict=False):
            if RATING.sub(r"\1", left) != RATING.sub(r"\1", right):
                return False
        if b - a > d - c or not all(OURS.fullmatch(line) for line in new[c + b - a : d]):
            return False
    return True


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def by_library() -> dict[str, Callable[[Path], None]]:
    """Each library's way to set a rating of 3 in a sidecar."""
    space = "http://ns.adobe.com/xap/1.0/"
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

    def toolkit(path: Path) -> None:
        from libxmp import XMPMeta  # type: ignore[import-not-found]

        packet = XMPMeta()
        packet.parse_from_str(path.read_bytes().decode())
        packet.set_property(space, "Rating", "3")
        path.write_bytes(packet.serialize_to_str(use_compact_format=True).encode())

    def exiv2(path: Path) -> None:
        import pyexiv2  # type: ignore[import-not-found]

        pyexiv2.set_log_level(4)
        with pyexiv2.Image(str(path)) as image:
            image.modify_xmp({"Xmp.xmp.Rating": "3"})

    def tree(module: Any) -> Callable[[Path], None]:
        def edit(path: Path) -> None:
            whole = module.parse(str(path))
            for node in whole.getroot().iter(f"{{{rdf}}}Description"):
                if f"{{{space}}}Rating" in node.attrib:
                    node.set(f"{{{space}}}Rating", "3")
                for child in node.findall(f"{{{space}}}Rating"):
                    child.text = "3"
            whole.write(str(path), encoding=whole.docinfo.encoding if lxml(module) else "utf-8")

        return edit

    def lxml(module: Any) -> bool:
        return module.__name__.startswith("lxml")

    ways: dict[str, Callable[[Path], None]] = {}
    for package, name in (("libxmp", "python-xmp-toolkit"), ("pyexiv2", "pyexiv2")):
        try:
            importlib.import_module(package)
            ways[name] = toolkit if package == "libxmp" else exiv2
        except Exception as error:  # exempi or glibc may be missing
            print(f"{name}: {error}", file=sys.stderr)
    for package in ("lxml.etree", "xml.etree.ElementTree"):
        try:
            ways[package] = tree(importlib.import_module(package))
        except ImportError as error:
            print(f"{package}: {error}", file=sys.stderr)
    return ways


def compare(files: dict[str, bytes], work: Path) -> list[str]:
    """Of the sidecars with a rating of one digit: in how many nothing else was changed."""
    rated = {
        name: data
        for name, data in files.items()
        if data[:2] not in (b"\xff\xfe", b"\xfe\xff") and RATING.search(data.decode())
    }
    lines = []
    for name, edit in by_library().items():
        count: Counter[str] = Counter()
        for data in rated.values():
            path = work / "library.xmp"
            path.write_bytes(data)
            try:
                edit(path)
            except Exception:  # each has exceptions of its own
                count["refused"] += 1
                continue
            wanted = RATING.sub(r"\g<1>3", data.decode()).encode()
            count["kept"] += path.read_bytes() == wanted
        lines.append(f"| {name} | {count['kept']} of {len(rated)} | {count['refused']} |")
    return lines


def stars_page(data: Path) -> str:
    """The fifths of people's scores, and how the built-in's scores of others fall into them."""
    rows = list(csv.DictReader((data / "biq2021" / "index.csv").open()))
    train = np.array([1 + 4 * float(row["mos"]) for row in rows if row["split"] == "train"])
    val = [row for row in rows if row["split"] == "val"]
    images = [data / "biq2021" / "images" / row["image"] for row in val]
    scores = Scorer()(images)
    ours = Counter(stars_of(float(score)) for score in scores)
    people = Counter(stars_of(1 + 4 * float(row["mos"])) for row in val)
    fifths = ", ".join(f"{value:.3f}" for value in np.quantile(train, (0.2, 0.4, 0.6, 0.8)))
    near = np.mean([
        abs(stars_of(float(score)) - stars_of(1 + 4 * float(row["mos"]))) <= 1
        for score, row in zip(scores, val, strict=True)
    ])  # fmt: skip
    return f"""## Stars

Quintiles of the {len(train):,} human scores of BIQ2021's train split on 1–5: {fifths}. The default
of `--stars` is {", ".join(map(str, STARS))}. On the {len(val)} photographs of its val split:

| stars | 1 | 2 | 3 | 4 | 5 |
| --- | --- | --- | --- | --- | --- |
| by people's scores | {" | ".join(str(people[n]) for n in range(1, 6))} |
| by the built-in's | {" | ".join(str(ours[n]) for n in range(1, 6))} |

The built-in's stars are people's or next to them in {near:.0%}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    warnings.simplefilter("ignore")
    rows = list(csv.DictReader((data / "biq2021" / "index.csv").open()))
    names = sorted(row["image"] for row in rows if row["split"] == "train")
    names = random.Random(1).sample(names, EACH * len(WRITERS))
    photographs = [data / "biq2021" / "images" / name for name in names]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work / "photos"
        folder.mkdir()
        writers = make(folder, work, photographs)
        print(page(folder, work, writers))
    print(stars_page(data), end="")


def page(folder: Path, work: Path, writers: dict[str, str]) -> str:
    asked = ("--interval", "0.9", "--explain")
    pictures = {path: digest(path) for path in folder.glob("*.jpg")}
    before, read_before = held(folder), tags(folder)
    first = rali(folder, *asked)
    after, read = held(folder), tags(folder)
    rali(folder, *asked)
    second = held(folder)
    count: dict[str, Counter[str]] = {writer: Counter() for writer in WRITERS}
    legible = [folder / name for name, data in after.items() if coding(data) == "utf-8"]
    shown = run("exiv2", "-q", "-Pv", "-g", "Xmp.xmp.Rating", *legible)
    lines = (line.split() for line in shown.splitlines())
    exiv2 = {Path(name).name: stars for name, stars in lines}
    for name, writer in writers.items():
        tally, was, now = count[writer], read_before[name], read[name]
        tally["tags"] += same_tags(was, now)
        tally["lines"] += same_lines(before[name], after[name])
        tally["second"] += second[name] == after[name]
        theirs = was.get("XMP-xmp:Rating") or 0
        tally["theirs"] += theirs != 0
        tally["kept"] += theirs != 0 and now["XMP-xmp:Rating"] == theirs
        expected = theirs or stars_of(now["XMP-rali:Score"])
        tally["exiftool"] += now["XMP-xmp:Rating"] == expected
        tally["exiv2"] += exiv2.get(name) == str(expected)
    shown_by_darktable = read_by_darktable(folder, work, list(writers)[:EACH:5])
    dark = sum(stars == read[name]["XMP-xmp:Rating"] for name, stars in shown_by_darktable.items())
    rali(folder, "--undo")
    undone = held(folder)
    for name, writer in writers.items():
        count[writer]["undone"] += undone.get(name) == before[name]
    untouched = sum(digest(path) == was for path, was in pictures.items())
    left = (folder / ".rali-xmp").exists() or len(undone) != len(before)

    others = rewritten(folder, work, writers)
    speed = per_sidecar(folder)
    table = "\n".join(
        f"| {writer} | {EACH} | {c['lines']} | {c['tags']} | {c['kept']} of {c['theirs']} | "
        f"{c['second']} | {c['undone']} | {c['exiftool']} | {c['exiv2']} |"
        for writer, c in count.items()
    )
    versions = ", ".join((
        run("darktable-cli", "--version").splitlines()[0].removeprefix("this is "),
        f"exiftool {run('exiftool', '-ver').strip()}",
        run("exiv2", "--version").splitlines()[0],
    ))  # fmt: skip
    libraries = "\n".join(compare(before, work))
    return f"""# XMP sidecars

`python benchmarks/xmp.py --data DIR`: {platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}, rali {__version__}, {versions}, seed 0. Bar: in 200 sidecars nothing but
rali's fields changes, a second run changes nothing, and `--undo` restores byte for byte.

`rali score photos/ --xmp --interval 0.9 --explain` on 200 photographs of BIQ2021, fifty with a sidecar
of each writer: {first[-2].removeprefix("rali: ")}

| written by | sidecars | lines: only ours added | tags: all others as before | stars of others kept | as before after a second run | as before after `--undo` | exiftool reads the stars | exiv2 reads the stars |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{table}

Lines are compared by difflib, tags by exiftool. exiv2 is the reader of darktable and digiKam; it does not
read the {len(after) - len(legible)} in UTF-16. darktable itself read the stars back in {dark} of {len(shown_by_darktable)} tried. Unchanged pictures:
{untouched} of {len(pictures)}; files left by `--undo`: {"some" if left else "none"}. Writing takes
{speed:.1f} ms a picture, the record for `--undo` with its flush to the disk included.

## Written into by others afterwards

{others}

## Why no XMP library

A rating set to 3 in those of the 200 that have one of 0–5 and are in UTF-8: in how many nothing else was
changed, byte for byte. rali's own edits are the column of lines above.

| library | only the rating changed | refused |
| --- | --- | --- |
{libraries}
"""  # noqa: E501


def rewritten(folder: Path, work: Path, writers: dict[str, str]) -> str:
    """What is left of rali's fields, and of the others' stars, once others have written."""
    rali(folder)
    before = tags(folder)
    ours = [name for name in writers if "XMP-rali:Stars" in before[name]]
    by_exiv2, by_exiftool, untouched = ours[:20], ours[20:40], ours[40:]
    theirs = {name: before[name]["XMP-xmp:Rating"] % 5 + 1 for name in by_exiv2 + by_exiftool}
    for stars in set(theirs.values()):
        some = [folder / name for name in by_exiv2 if theirs[name] == stars]
        if some:
            run("exiv2", "-M", f"set Xmp.xmp.Rating {stars}", *some)
    change = "-overwrite_original"
    commands = [[change, f"-XMP:Rating={theirs[name]}", folder / name] for name in by_exiftool]
    exiftool(commands, work)
    rali(folder, "--stars", OTHER)
    after = tags(folder)
    kept = sum(after[name]["XMP-xmp:Rating"] == stars for name, stars in theirs.items())
    fields = sum(
        after[name].get("XMP-rali:Score") == before[name]["XMP-rali:Score"] for name in theirs
    )
    follow = sum(
        after[name]["XMP-xmp:Rating"]
        == stars_of(after[name]["XMP-rali:Score"], tuple(map(float, OTHER.split(","))))
        for name in untouched
    )
    closing = rali(folder, "--undo")[-1].removeprefix("rali: ")
    return f"""exiv2 gave other stars to 20 sidecars with rali's, exiftool to 20 more; both write
the file anew. rali's score was still there in {fields} of {len(theirs)}. A run with other
`--stars` kept the others' in {kept} of {len(theirs)} and changed rali's own in {follow} of
{len(untouched)}. Then `--undo`: {closing}"""


def read_by_darktable(folder: Path, work: Path, names: list[str]) -> dict[str, int]:
    """The stars in what darktable exports."""
    roll, made = work / "shown", work / "exported"
    roll.mkdir()
    made.mkdir()
    for name in names:
        shutil.copy(folder / name, roll)
        shutil.copy(folder / name.removesuffix(".xmp"), roll)
    run("darktable-cli", roll, made, "--out-ext", "jpg", *core(work))
    found = json.loads(run("exiftool", "-j", "-n", "-XMP:Rating", made, "-q"))
    return {f"{Path(row['SourceFile']).name}.xmp": row["Rating"] for row in found}


def per_sidecar(folder: Path) -> float:
    """Milliseconds to write a sidecar."""
    scorer = Scorer()
    pictures = sorted(folder.glob("*.jpg"))[:40]
    from rali.pictures.sources import find_entries

    columns = columns_of(interval=True, why=True)
    entries = find_entries([str(path) for path in pictures])
    rows = list(score_rows(scorer, entries, columns, 0.9))
    with Sidecars(Xmp(), scorer, 0.9) as sidecars:
        started = time.perf_counter()
        for row in rows:
            sidecars.write(row)
        return 1000 * (time.perf_counter() - started) / len(rows)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
