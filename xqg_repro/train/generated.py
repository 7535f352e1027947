"""Generated queries for the alignment of languages in the training of an encoder.

They are those of the training questions' positives, in the format of :mod:`xqg_repro.representation.queries`: what
``generate`` wrote, or ``filter``. Left out are queries without a letter or digit, those in a script that their language
does not use, and those that repeat a question which must not be trained on: a generator may well ask a passage of the
training set what a dev question asks. They are compared as in :mod:`xqg_repro.train.parallel_data`.

A generator that names the wrong entity writes a query for another passage. ``filter --rank 1`` drops a query unless its
own passage is the first of the whole collection. This judges a query by another model than the one that wrote it, and
against more passages than the few candidates of a question.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xqg_repro.core.errors import InputError, in_file
from xqg_repro.core.files import digest
from xqg_repro.core.languages import check_languages, is_in_script, question_language
from xqg_repro.representation.queries import check_passages, queries_fingerprint, read_queries
from xqg_repro.train.data import Example, Split
from xqg_repro.train.encoder_recipe import Alignment
from xqg_repro.train.parallel_data import question_key, question_keys

KEPT, EMPTY, WRONG_SCRIPT, UNSEEN = (f"generated_{name}" for name in ("queries", "empty", "wrong_script", "unseen"))
"""What is counted: the queries that are used, and why others are not."""

WITHOUT = "without_generated"
"""Counts the training questions none of whose positives has a query in another language."""


def alignment_fingerprint(alignment: Alignment) -> str:
    """Fingerprint of the generated queries, and of the questions that they must not repeat."""
    return digest([queries_fingerprint(alignment.queries), question_keys(alignment.unseen)[1]])


class QueryPool(NamedTuple):
    """Generated queries to draw from, with what was counted.

    Attributes:
        queries: docid → language → distinct queries.
        counts: by the names above.
    """

    queries: Mapping[str, Mapping[str, Sequence[str]]]
    counts: Mapping[str, int]

    def draw(self, docid: str, language: str, draw: random.Random) -> tuple[str, str] | None:
        """A query of a passage in any language but this one, each being equally likely, and its language.

        >>> pool = QueryPool({"1": {"fi": ["Missä?"], "ru": ["Где?"]}}, {})
        >>> pool.draw("1", "fi", random.Random(1)), pool.draw("2", "fi", random.Random(1))
        (('Где?', 'ru'), None)
        """
        by_language = self.queries.get(docid, {})
        others = sorted(by_language.keys() - {language})
        if not others:
            return None
        other = draw.choice(others)
        return draw.choice(by_language[other]), other


def load_pool(alignment: Alignment, split: Split) -> QueryPool:
    """The generated queries for the positives of the questions to train on.

    Raises:
        InputError: a line of the queries is malformed, or a passage has two; a training question's language is unknown;
            or no question has a query in another language.
    """
    asked = [(question_language(example.query, example.lang), _positives(example)) for example in split.kept]
    unseen = question_keys(alignment.unseen)[0] | {question_key(example.query) for example in split.held_out}
    wanted = {docid for _, docids in asked for docid in docids}
    counts = Counter({name: 0 for name in (KEPT, EMPTY, WRONG_SCRIPT, UNSEEN, WITHOUT)})
    queries: dict[str, dict[str, list[str]]] = {}
    lines = read_queries(alignment.queries, None, None, allow_missing=True)
    for passage in check_passages(lines, alignment.queries):
        if passage.docid not in wanted:
            continue
        with in_file(alignment.queries):
            check_languages(passage.queries)
        for language, texts in passage.queries.items():
            kept = []
            for text in dict.fromkeys(texts):
                fault = _fault(text, language, unseen)
                counts[fault or KEPT] += 1
                if not fault:
                    kept.append(text)
            if kept:
                queries.setdefault(passage.docid, {})[language] = kept

    for language, docids in asked:
        counts[WITHOUT] += not any(queries.get(docid, {}).keys() - {language} for docid in docids)
    if counts[WITHOUT] == len(asked):
        hint = "generate queries for the passages of the training questions, in other languages than theirs"
        raise InputError(
            "holds no query that a training question can be aligned with", path=alignment.queries, hint=hint
        )
    return QueryPool(queries, counts)


def _positives(example: Example) -> list[str]:
    return [passage.doc_id for passage in (example.positive, *example.other_positives)]


def _fault(text: str, language: str, unseen: frozenset[str]) -> str:
    """Why a query is not used, as it is counted; "" if it is."""
    key = question_key(text)
    if not key:
        return EMPTY
    if not is_in_script(text, language):
        return WRONG_SCRIPT
    return UNSEEN if key in unseen else ""
