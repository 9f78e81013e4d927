"""A million broken completions through the parser: no exception, and no score that nobody wrote.

    python benchmarks/parser_fuzz.py [--count 1000000] [--seed 0]

Half of the texts are good completions of a prompt in which pieces are cut, doubled, swapped or
replaced by noise; half are pieces of tags, objects, numbers and labels in any order. A score counts
as invented unless its number stands in the last closed answer (or, without one, in an object), and
either is the only number there (besides the scale's end after a slash or "of") or has its own key,
and no denial, other minus sign or other thing stands beside it. Pieces repeated to 4,000 and 40,000
characters are timed. Writes benchmarks/parser_fuzz.md.
"""

from __future__ import annotations

import argparse
import platform
import random
import re
import time
from collections import Counter
from pathlib import Path

from rali.pictures.degrade import DISTORTIONS
from rali.teacher.answers import Answer, Comparison, Degradation, Failure, Score
from rali.teacher.completions import compose, format_reward, parse
from rali.teacher.prompts import PROMPTS, Prompt, degradation_prompt

WORDS = (
    "sharp", "blurry", "rating", "score", "the answer is", "about", "not", "n't", "or", "null",
    "severity", "Image A", "image b", "similar", "A", "B", "out of", "of", "%", "½", "三", "٣",
    "NaN", "inf", "1e3", "-", "+", "/", "5", "1", "3.5", "4,5", "0.99", "5.01", "10", "2.", ".7",
    "ten", "less than", "cannot", "never", "\u2212", "\u2013", "flaws", "people",
    '"confidence_score": 4', "1-5", "3:4", "\x00", "\u200b", "\ud800", "🙂",
)  # fmt: skip
PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "< answer >", "<ANSWER>", "</ answer>",
    "{", "}", '"', "'", ":", ",", "[", "]", "\n", " ", "```json", "```", '{"rating": ',
    '"rating":', "'score' : ", '{"distortion_class": "', '", "severity": "', *WORDS,
)  # fmt: skip
SECONDS = 0.5  # more than this for a text of 40,000 characters is not linear
GROUP = re.compile(r"[0-9]+(?:[.,][0-9]+)*")


def good(prompt: Prompt, draw: random.Random) -> str:
    """A completion in the form that the prompt asks for."""
    return compose(
        prompt,
        reasoning="A soft picture with 3 faces, I would say 4 of 5.",
        score=draw.uniform(prompt.low, prompt.high),
        distortion=draw.choice(DISTORTIONS),
        severity=draw.randint(0, 5),
        choice=draw.choice(("A", "B")),
    )


def broken(text: str, draw: random.Random) -> str:
    for _ in range(draw.randint(0, 4)):
        a, b = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        kind = draw.randint(0, 4)
        if kind == 0:
            text = text[:a] + text[b:]
        elif kind == 1:
            text = text[:b] + text[a:b] + text[b:]
        elif kind == 2:
            text = text[:a] + draw.choice(PIECES) + text[a:]
        elif kind == 3:
            text = text[:b]
        else:
            text = (
                text[:a] + chr(draw.choice((0, 32, 46, 48, 53, 0xD7FF, 0x660, 0x2160))) + text[a:]
            )
    return text


def number(group: str) -> float | None:
    try:
        return float(group)
    except ValueError:
        return None


OPENED = re.compile(r"(?i)<\s*answer\s*>")


def denied(content: str, found: re.Match[str]) -> bool:
    """Whether a denial or another minus sign stands before a number, or another thing after it."""
    before, after = content[: found.start()], content[found.end() :]
    return bool(
        re.search(r"(?:less than|cannot|never|not|[\u2212\u2013])\s*$", before)
        or re.match(r"\s*(?:flaws|people)", after)
    )


def invented(text: str, answer: Answer, prompt: Prompt) -> bool:
    """Whether a score is not what the text says; written independently of the parser."""
    if not isinstance(answer, Score):
        return False
    if not prompt.low <= answer.value <= prompt.high:
        return True
    blocks = re.findall(r"(?is)<\s*answer\s*>(.*?)<\s*/\s*answer\s*>", text)
    if blocks:  # one that is opened twice may be read from either
        return all(
            unsaid(each, answer, prompt.high) for each in (blocks[-1], OPENED.split(blocks[-1])[-1])
        )
    content = re.sub(r"(?is)<\s*think\s*>.*?<\s*/\s*think\s*>", "", text)
    return "{" not in content or unsaid(content[content.index("{") :], answer, prompt.high)


def unsaid(content: str, answer: Score, most: float) -> bool:
    """Whether an answer's content does not give this score, of a scale up to `most`, or several."""
    content = content.replace('"confidence_score": 4', "")  # the number of something else
    groups = list(GROUP.finditer(content))
    if not any(number(f[0]) == answer.value and not denied(content, f) for f in groups):
        return True
    if re.search(r"(?i)rating|score", content):
        return False  # other numbers may stand under other keys
    others = [
        f for f in groups
        if not (re.search(r"(?:/|of)\s*$", content[: f.start()]) and number(f[0]) == most)
    ]  # fmt: skip
    return len(others) > 1


def slowest(prompts: list[Prompt]) -> tuple[float, str]:
    """Seconds of the slowest answer that repeats one piece, and the piece."""
    found = (0.0, "")
    for piece in (*PIECES, "word ", "<", "\n-", "a:["):
        for length, form in ((4_000, "<think>a</think><answer>{}</answer>"), (40_000, "{}")):
            text = form.replace("{}", piece * (length // len(piece)))
            for prompt in prompts:
                started = time.perf_counter()
                parse(text, prompt)
                format_reward(text, prompt, form="strict")
                found = max(found, (time.perf_counter() - started, repr(piece)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    prompts = [*PROMPTS.values(), degradation_prompt(DISTORTIONS)]
    found: Counter[tuple[str, str]] = Counter()
    wrong: list[tuple[str, str]] = []
    started = time.perf_counter()
    for place in range(arguments.count):
        prompt = prompts[place % len(prompts)]
        if draw.random() < 0.5:
            text = broken(good(prompt, draw), draw)
        else:
            text = "".join(draw.choices(PIECES, k=draw.randint(0, 14)))
        try:
            answer = parse(text, prompt)
            rewards = format_reward(text, prompt), format_reward(text, prompt, form="strict")
        except Exception as error:
            wrong.append((f"{type(error).__name__}: {error}", repr(text)))
            continue
        if rewards[1] > rewards[0]:
            wrong.append(("the strict format is looser", repr(text)))
        if rewards[1] and isinstance(answer, Failure):
            wrong.append(("a strict format that cannot be read", repr(text)))
        if invented(text, answer, prompt):
            wrong.append((f"invented {answer}", repr(text)))
        if isinstance(answer, Degradation) and answer.distortion not in ("null", *DISTORTIONS):
            wrong.append((f"invented {answer}", repr(text)))
        if isinstance(answer, Comparison) and answer.choice not in prompt.choices:
            wrong.append((f"invented {answer}", repr(text)))
        found[prompt.name, type(answer).__name__] += 1
    seconds = time.perf_counter() - started
    longest, piece = slowest(prompts)
    if longest > SECONDS:
        wrong.append((f"{longest:.1f} s for a repeated piece", piece))
    lines = [
        "# The parser on broken texts\n",
        f"`python benchmarks/parser_fuzz.py --count {arguments.count} --seed {arguments.seed}`: "
        f"{platform.machine()}, Python {platform.python_version()}, {seconds:.0f} s.\n",
        f"**{arguments.count:,} texts, {len(wrong)} exceptions or invented answers.** "
        f"The slowest text of one piece repeated to 40,000 characters takes {longest:.2f} s.\n",
        "| prompt | read | not read |\n| --- | ---: | ---: |",
    ]
    for prompt in prompts:
        failed = found[prompt.name, "Failure"]
        read = sum(n for (name, _), n in found.items() if name == prompt.name) - failed
        lines.append(f"| {prompt.name} | {read:,} | {failed:,} |")
    for what, text in wrong[:20]:
        lines.append(f"\n- {what}: `{text}`")
    (Path(__file__).parent / "parser_fuzz.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
