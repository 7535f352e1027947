"""Scoring R2kt and R5kt against the official script's way: ``make bench``, or ``python scripts/bench/scoring.py``.

Rankings are made of real text: XQuAD's paragraphs, cut into windows of 99 or 100 words, each used once, so that the
cache of passages that come up again does not help. Half of the questions find a window with their answer at a rank
drawn evenly from 1 to 100, deeper than a good system's; the others find it only by chance.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common import Target, machine

from xqg_repro.core.errors import InputError, exit_status
from xqg_repro.core.files import atomic_write
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures import recall

LIMITS = tuple(recall.TOKEN_LIMITS.values())
WORDS = 100


@dataclass(frozen=True)
class Ranked:
    """A question's answers, and the texts of its passages in rank order."""

    answers: list[str]
    texts: list[str]


def rankings(data: Path, questions: int, depth: int) -> list[Ranked]:
    """Rankings of windows that all differ."""
    paths = [path for path in sorted(data.glob("xquad.*.json")) if path.stem != "xquad.th"]  # Thai writes no spaces
    if not paths:
        raise InputError("holds no xquad.*.json", path=data, hint="name a folder with XQuAD's files: --data")
    paragraphs = [
        (paragraph["context"], [answer["text"] for qa in paragraph["qas"] for answer in qa["answers"]])
        for path in paths
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    draw = random.Random(42)
    words = [word for text, _ in paragraphs for word in text.split()]
    starts = range(len(words) - WORDS)
    windows = [" ".join(words[start : start + length]) for start in starts for length in (WORDS, WORDS - 1)]
    if len(windows) < questions * depth:
        raise InputError(f"{data} has too little text", hint="take fewer questions: --questions")
    windows = draw.sample(windows, questions * depth)
    found = []
    for number in range(questions):
        text, answers = draw.choice(paragraphs)
        answer = draw.choice(answers)
        texts = windows[number * depth : (number + 1) * depth]
        if number % 2:
            place = text.index(answer)
            rank = draw.randrange(depth)
            texts[rank] = " ".join([text[max(place - 300, 0) : place + len(answer)], *texts[rank].split()[:50]])
        found.append(Ranked([answer], texts))
    return found


def official(ranked: Ranked) -> list[int]:
    """As the official script scores: it runs once a cut-off, and tokenises every passage each time."""
    hits = []
    for limit in LIMITS:
        tokens = [token for text in ranked.texts for token in recall.word_tokenize(text)]
        joined = " ".join(tokens[:limit])
        hits.append(int(any(answer in joined for answer in ranked.answers)))
    return hits


def ours(ranked: Ranked) -> list[int]:
    """One pass for all cut-offs."""
    tokens = recall.tokens_until(ranked.texts, ranked.answers)
    return [int(tokens <= limit) for limit in LIMITS]


def measure(ranked: list[Ranked], sample: int, rounds: int) -> tuple[list[Target], Table]:
    """Time both by turns; the official way on a sample, as its time a question does not depend on their number."""
    rates: dict[str, list[float]] = {"as the official script": [], "ours": [], "ours, same passages again": []}
    few = ranked[:: len(ranked) // sample][:sample]
    expected = [official(question) for question in few]
    for _ in range(rounds):
        recall._tokenised.cache_clear()
        recall._skeleton_and_words.cache_clear()
        for name, way, questions in zip(rates, (official, ours, ours), (few, ranked, ranked), strict=True):
            start = time.perf_counter()
            scores = [way(question) for question in questions]
            rates[name].append(len(questions) / (time.perf_counter() - start))
    if [ours(question) for question in few] != expected:
        raise InputError("the two ways differ")
    first, second, third = (median(values) for values in rates.values())
    shares = [f"{sum(hit) / len(scores):.0%}" for hit in zip(*scores, strict=True)]
    rows = [[name, f"{median(values):,.0f}", f"{median(values) / first:,.0f}×"] for name, values in rates.items()]
    rows.append([f"(answered in {' / '.join(f'{limit:,}' for limit in LIMITS)} tokens)", " / ".join(shares), ""])
    targets = [
        Target("scoring", "at least 10×", f"{second / first:,.0f}×", second >= 10 * first),
        Target("scoring, the same passages again", "at least 50×", f"{third / first:,.0f}×", third >= 50 * first),
    ]
    return targets, Table(["way", "questions a second", "ratio"], rows)


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/xquad"), help="folder with xquad.*.json")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--sample", type=int, default=40, help="questions for the official way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks-scoring.md"))
    asked = parser.parse_args()
    ranked = rankings(asked.data, asked.questions, asked.depth)
    targets, table = measure(ranked, asked.sample, asked.rounds)
    verdicts = Table(
        ["what", "wanted", "measured", "verdict"],
        [[t.what, t.wanted, t.measured, "met" if t.met else "**not met**"] for t in targets],
    )
    page = (
        "# Benchmark of scoring\n\nWritten by `make bench`. R2kt and R5kt of "
        f"{asked.questions:,} questions with {asked.depth} passages each, of XQuAD's text; every passage differs. "
        f"Medians of {asked.rounds} rounds; the official way, which runs once a cut-off, is timed on {asked.sample} of "
        "the questions. The two agree on those.\n\n"
        f"{machine().markdown()}\n\n{verdicts.markdown()}\n\n{table.markdown()}\n"
    )
    print(page)
    with atomic_write(asked.output) as file:
        file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
