"""Generated queries and translations drawn at random, to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xqg_repro.core.tables import Table
from xqg_repro.representation.queries import read_queries
from xqg_repro.representation.translate import read_translations
from xqg_repro.study.made import EVERY_QUERY

QUERIES, TRANSLATIONS, SEED = 10, 2, 42
SHOWN = 160
"""Characters of a translation that are shown."""


def sample_queries(sources: Sequence[str], languages: Sequence[str]) -> Table:
    """Ten queries in each language, of different paragraphs where there are enough."""
    texts: dict[str, list[tuple[str, str]]] = {code: [] for code in languages}
    draw = np.random.default_rng(SEED)
    for source in sources:
        for passage in read_queries(source, languages, EVERY_QUERY, allow_missing=True):
            for code, queries in passage.queries.items():
                if present := [query for query in queries if query.strip()]:
                    texts[code].append((passage.docid, present[int(draw.integers(len(present)))]))
    return _table(texts, "query", QUERIES, draw)


def sample_translations(folders: Sequence[str]) -> Table:
    """The beginnings of two translations into each language."""
    texts: dict[str, list[tuple[str, str]]] = {}
    for folder in folders:
        for passage in read_translations(folder):
            for code, text in passage.texts.items():
                shown = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()} …"
                texts.setdefault(code, []).append((passage.docid, shown))
    return _table(texts, "translation", TRANSLATIONS, np.random.default_rng(SEED))


def _table(texts: Mapping[str, Sequence[tuple[str, str]]], kind: str, count: int, draw: np.random.Generator) -> Table:
    rows = []
    for code, pairs in texts.items():
        for index in sorted(draw.permutation(len(pairs))[:count].tolist()):
            docid, text = pairs[index]
            rows.append([code, docid, " ".join(text.split())])
    return Table(["language", "paragraph", kind], rows, left=3)
