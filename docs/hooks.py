"""What the documentation site takes from outside docs/, so that nothing is kept twice.

In: the repository. Out: the packages laid out as they are installed (build/docs, for the API
pages), the pages and pictures of benchmarks/, examples/ with their code, the recipes and the
built-in model's card. Links are written as they work in the repository and are followed here.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "build" / "docs"
INSIDE = ("teacher", "export", "recipes")  # installed inside `rali`, as setup.py says
SHOWN = {".md", ".png", ".jpg", ".json", ".csv"}
CARD, CARD_PAGE = "rali/builtin/README.md", "model-card.md"
EXAMPLES, SWEEPS = "examples/README.md", "recipes/sweeps/README.md"
PHONES = ("examples/android.md", "examples/ios.md")


@event_priority(100)  # before mkdocstrings lists what lies in build/docs
def on_config(config: Any) -> Any:
    """Lay the packages out, and put the pages of benchmarks/ into the navigation."""
    shutil.rmtree(SOURCES, ignore_errors=True)
    other = shutil.ignore_patterns("__pycache__", "*.onnx", "*.safetensors", "weights", "builtin")
    shutil.copytree(ROOT / "rali", SOURCES / "rali", ignore=other)
    for folder in INSIDE:
        shutil.copytree(ROOT / folder, SOURCES / "rali" / folder, ignore=other)
    pages = [uri for uri in _benchmarks() if uri.endswith(".md") and "README" not in uri]
    single = [uri for uri in pages if uri.count("/") == 1]
    sweeps = [uri for uri in pages if uri.count("/") > 1]
    config.nav.append(
        {
            "Benchmarks": [
                {"Overview": "benchmarks/README.md"},
                *single,
                {"The papers' tables": sweeps},
            ]
        }
    )
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for uri in (*_benchmarks(), EXAMPLES, *PHONES, SWEEPS):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    files.append(File.generated(config, CARD_PAGE, abs_src_path=str(ROOT / CARD)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Follow links out of docs/, and show recipes and examples with their text."""
    uri = page.file.src_uri
    if uri == EXAMPLES:
        markdown = markdown.replace("](../docs/", "](../")
        return re.sub(r"^\[(\S+)\]\(\1\)$", _code, markdown, flags=re.MULTILINE)
    if uri == SWEEPS:
        return markdown.replace("(../../benchmarks/sweeps/)", "(../../benchmarks/README.md)")
    if "/" in uri:
        return markdown
    markdown = markdown.replace(f"](../{CARD})", f"]({CARD_PAGE})")
    markdown = re.sub(r"\]\(\.\./(benchmarks|examples|recipes)/", r"](\1/", markdown)
    return markdown.replace("<!-- recipes -->", _recipes()) if "<!-- rec" in markdown else markdown


def _benchmarks() -> list[str]:
    found = (path for path in (ROOT / "benchmarks").rglob("*") if path.suffix in SHOWN)
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def _code(link: re.Match[str]) -> str:
    name = link[1]
    text = (ROOT / "examples" / name).read_text("utf-8").rstrip()
    if name.endswith(".ipynb"):
        return _notebook(json.loads(text))
    return f'```{Path(name).suffix[1:]} title="{name}"\n{text}\n```'


def _notebook(book: dict[str, Any]) -> str:
    """A notebook's cells; its headings are one level lower, as it is a part of a page."""
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in book["cells"]]
    return "\n\n".join(
        f"```python\n{text}\n```" if kind == "code" else re.sub("^#", "###", text, flags=re.M)
        for text, kind in cells
    )


def _recipes() -> str:
    """A table of the recipes, and below it what each holds."""
    sys.path.insert(0, str(SOURCES))
    from rali.recipes import recipes, summary

    table = ["| name | what it is |", "| --- | --- |"]
    texts = []
    for name, file in recipes().items():
        table.append(f"| [`{name}`](#{name}) | {summary(file)} |")
        texts.append(f"### {name}\n\n```yaml\n{file.read_text('utf-8').rstrip()}\n```")
    return "\n".join([*table, "\n## What they hold\n", "\n\n".join(texts)])
