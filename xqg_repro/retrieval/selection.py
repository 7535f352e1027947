"""Which queries of a passage are the best, and how many of them find it.

Queries are ordered by the rank of their :mod:`~xqg_repro.retrieval.round_trip`, those of equal rank by its margin, and
then as they were generated. A query that repeats an earlier one of the same passage and language comes after all
others, and an empty one after these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from xqg_repro.core.embeddings import Shard
from xqg_repro.core.stages import Manifest
from xqg_repro.core.tables import Table
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.retrieval.round_trip import RoundTrip, round_trips

NEAR = 10
"""Queries that find their own passage among so many are counted."""

Trips = Mapping[str, Mapping[str, RoundTrip]]
"""Language → text → round trip of each query of a passage that is not empty."""

COUNTED = ("queries", "kept", "first", f"first_{NEAR}", "kept_first", f"kept_first_{NEAR}")
"""What is counted, in all and by language: all queries and the kept ones, and how many find their own passage."""


def score_queries(
    passages: Sequence[PassageQueries],
    places: Sequence[int],
    encoder: TextEncoder,
    shards: Sequence[Shard],
    device: str = "cpu",
) -> list[Trips]:
    """The round trip of each query that is not empty, by language and text, for each passage.

    Args:
        passages: their queries; each distinct text is embedded once, or once per language if that changes its vector.
        places: the position of each passage in the folder of embeddings.
        encoder, shards, device: of the queries, the passages, and the scores.
    """
    names_language = encoder.config.needs_language
    texts: dict[tuple[str, str], int] = {}  # text, and language if that matters → its number
    pairs: dict[tuple[int, str, str], int] = {}  # passage and such a text → number of the text
    for number, language, text in _filled(passages):
        key = (text, language if names_language else "")
        pairs[number, *key] = texts.setdefault(key, len(texts))
    vectors = encoder.encode_queries([text for text, _ in texts], [language for _, language in texts])
    own = np.array([places[number] for number, *_ in pairs], dtype=np.int64)
    trips = dict(zip(pairs, round_trips(shards, vectors[[*pairs.values()]], own, device), strict=True))
    scores: list[dict[str, dict[str, RoundTrip]]] = [{code: {} for code in passage.queries} for passage in passages]
    for number, language, text in _filled(passages):
        scores[number][language][text] = trips[number, text, language if names_language else ""]
    return list(scores)


def _filled(passages: Sequence[PassageQueries]) -> Iterator[tuple[int, str, str]]:
    """The number of the passage, the language and the text of each query that is not empty."""
    for number, passage in enumerate(passages):
        for language, queries in passage.queries.items():
            yield from ((number, language, text) for text in queries if text.strip())


def select_best(passage: PassageQueries, scores: Trips, keep: int, rank: int | None = None) -> PassageQueries:
    """The passage with its best queries in each language, best first; ``scores`` are those of the others than empty.

    With ``rank``, only queries whose rank is at most this.

    >>> scores = {"fi": {"a": RoundTrip(2, -0.5), "b": RoundTrip(1, 0.5), "c": RoundTrip(1, 2.0)}}
    >>> select_best(PassageQueries("1", {"fi": ("", "a", "b", "b", "c")}), scores, 4).queries
    {'fi': ('c', 'b', 'a', 'b')}
    >>> select_best(PassageQueries("1", {"fi": ("", "a", "b", "b", "c")}), scores, 4, rank=1).queries
    {'fi': ('c', 'b', 'b')}
    """
    best = {}
    for language, queries in passage.queries.items():
        if rank is not None:
            ranks = {text: trip.rank for text, trip in scores[language].items()}
            queries = tuple(text for text in queries if text in ranks and ranks[text] <= rank)
        keys, seen = [], set()
        for position, text in enumerate(queries):
            trip = scores[language].get(text)
            score = (trip.rank, -trip.margin) if trip else (0, 0.0)
            keys.append((trip is None, text in seen, *score, position))
            seen.add(text)
        best[language] = tuple(queries[position] for *_, position in sorted(keys)[:keep])
    return PassageQueries(passage.docid, best)


def count_queries(passage: PassageQueries, best: PassageQueries, scores: Trips) -> Counter[str]:
    """What the manifest counts of a passage: see :func:`~xqg_repro.retrieval.filter.filter_queries`."""
    counts = Counter({name: 0 for name in (*COUNTED, "empty", "duplicate")})
    for language, queries in passage.queries.items():
        kept = best.queries[language]
        numbers = {"queries": len(queries), "kept": len(kept)}
        for prefix, texts in (("", queries), ("kept_", kept)):
            ranks = [scores[language][text].rank for text in texts if text in scores[language]]
            numbers[f"{prefix}first"] = sum(rank == 1 for rank in ranks)
            numbers[f"{prefix}first_{NEAR}"] = sum(rank <= NEAR for rank in ranks)
        for name, number in numbers.items():
            counts[name] += number
            counts[f"{name}.{language}"] += number
        filled = [text for text in queries if text.strip()]
        counts["empty"] += len(queries) - len(filled)
        counts["duplicate"] += len(filled) - len(set(filled))
    return counts


def language_table(manifest: Manifest) -> Table:
    """How many queries of each language, and of those that the filter keeps, find their own passage."""
    counts = manifest.counts
    languages = [name.partition(".")[2] for name in counts if name.startswith("queries.")]
    rows = []
    for label, suffix in [*((code, f".{code}") for code in sorted(languages)), ("all", "")]:
        queries, kept = counts[f"queries{suffix}"], counts[f"kept{suffix}"]
        row = [label, f"{queries:,}", f"{kept:,}"]
        for name, number in (("first", queries), ("kept_first", kept)):
            for near in ("", f"_{NEAR}"):
                row.append(f"{100 * counts[f'{name}{near}{suffix}'] / max(1, number):.1f}")
        rows.append(row)
    columns = ["first (%)", f"in the first {NEAR} (%)", "kept: first (%)", f"kept: in the first {NEAR} (%)"]
    return Table(["own passage found", "queries", "kept", *columns], rows)
