"""Scoring R2kt and R5kt against the official script's way: ``make bench``, or ``python scripts/bench/scoring.py``.

The rankings are made from real text: XQuAD's paragraphs, cut into windows of 99 or 100 words. Each window is used
once, so the cache of passages does not help. For half of the questions, a window with the answer is at a random rank
from 1 to 100, deeper than in a good system's ranking; for the others, the answer is found only by chance.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common import Target, describe_machine, describe_rounds, target_table, write_page

from xqg_repro.collection.squad import parse_squad
from xqg_repro.core.errors import InputError
from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.measures import recall

LIMITS = tuple(recall.TOKEN_LIMITS.values())
WORDS = 100


@dataclass(frozen=True)
class Ranking:
    """A question's answers, and the texts of its passages in rank order."""

    answers: list[str]
    texts: list[str]


def make_rankings(data: Path, questions: int, depth: int) -> list[Ranking]:
    """Rankings of windows that all differ."""
    paths = [path for path in sorted(data.glob("xquad.*.json")) if path.stem != "xquad.th"]  # Thai writes no spaces
    if not paths:
        raise InputError("has no xquad.*.json", path=data, hint="name a folder with XQuAD's files: --data")
    paragraphs = [paragraph for path in paths for article in parse_squad(path) for paragraph in article.paragraphs]
    words = [word for paragraph in paragraphs for word in paragraph.text.split()]
    windows = range(2 * (len(words) - WORDS))  # one of each length at each position
    if len(windows) < questions * depth:
        raise InputError(f"{data} has too little text", hint="use fewer questions: --questions")

    draw = random.Random(42)
    chosen = draw.sample(windows, questions * depth)
    rankings = []
    for number in range(questions):
        paragraph = draw.choice(paragraphs)
        answer = draw.choice([answer.text for question in paragraph.questions for answer in question.answers])
        texts = []
        for window in chosen[number * depth : (number + 1) * depth]:
            start, shorter = divmod(window, 2)
            texts.append(" ".join(words[start : start + WORDS - shorter]))
        if number % 2:
            place, rank = paragraph.text.index(answer), draw.randrange(depth)
            before = paragraph.text[max(place - 300, 0) : place]
            texts[rank] = " ".join([before + answer, *texts[rank].split()[:50]])
        rankings.append(Ranking([answer], texts))
    return rankings


def official(ranking: Ranking) -> list[int]:
    """Score as the official script does: it runs once per cut-off, and tokenises every passage each time."""
    hits = []
    for limit in LIMITS:
        tokens = [token for text in ranking.texts for token in recall.word_tokenize(text)]
        joined = " ".join(tokens[:limit])
        hits.append(int(any(answer in joined for answer in ranking.answers)))
    return hits


def ours(ranking: Ranking) -> list[int]:
    """Score with one pass for all cut-offs."""
    tokens = recall.tokens_until(ranking.texts, ranking.answers)
    return [int(tokens <= limit) for limit in LIMITS]


def measure(rankings: list[Ranking], sample: int, rounds: int) -> tuple[list[Target], Table]:
    """Time both ways in turns; the official way on a sample, as its time per question is always the same."""
    few = rankings[:: len(rankings) // sample][:sample]
    expected = [official(ranking) for ranking in few]
    ways = {
        "as the official script": (official, few),
        "ours": (ours, rankings),
        "ours, same passages again": (ours, rankings),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        recall._joined_tokens.cache_clear()
        recall._skeleton_and_words.cache_clear()
        for name, (way, chosen) in ways.items():
            start = time.perf_counter()
            scores = [way(ranking) for ranking in chosen]
            rates[name].append(len(chosen) / (time.perf_counter() - start))
    if [ours(ranking) for ranking in few] != expected:
        raise InputError("the two ways differ")

    medians = {name: median(values) for name, values in rates.items()}
    slow, fast, cached = medians.values()
    rows = [[name, f"{rate:,.0f}", f"{rate / slow:,.0f}×"] for name, rate in medians.items()]
    shares = [f"{sum(hits) / len(scores):.0%}" for hits in zip(*scores, strict=True)]
    rows.append([f"(answered in {' / '.join(f'{limit:,}' for limit in LIMITS)} tokens)", " / ".join(shares), ""])
    targets = [
        Target("scoring", "at least 10×", f"{fast / slow:,.0f}×", fast >= 10 * slow),
        Target("scoring, the same passages again", "at least 50×", f"{cached / slow:,.0f}×", cached >= 50 * slow),
    ]
    return targets, Table(["way", "questions per second", "ratio"], rows)


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/xquad"), help="folder with xquad.*.json")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--depth", type=int, default=100, help="passages per question")
    parser.add_argument("--sample", type=int, default=40, help="number of questions for the official way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks-scoring.md"))
    args = parser.parse_args()
    rankings = make_rankings(args.data, args.questions, args.depth)
    targets, table = measure(rankings, args.sample, args.rounds)
    about = f"""Written by `make bench`. R2kt and R5kt for {args.questions:,} questions with {args.depth} passages each,
made from XQuAD's text; all passages differ. {describe_rounds(args.rounds).capitalize()}. The official method, which
runs once per cut-off, is timed on {args.sample} of the questions. Both methods give the same scores on those."""
    tables = [describe_machine(), target_table(targets), table]
    write_page(args.output, ["# Benchmark of scoring", about, *(table.markdown() for table in tables)])
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
