r"""EM and F1 of extracted answers: how well does the answer to a question match the best of its gold answers?

Both compare normalised texts. EM is 1 if they are equal, else 0. F1 is that of their tokens, split at white space and
counted as multisets; 0 if they share none. So two texts of nothing but punctuation have an EM of 1 and an F1 of 0. All
gold answers count, including ``yes`` and ``no``. There are two normalisations (:class:`Normalisation`):

- ``squad``, for ``EM`` and ``F1``, is that of SQuAD v1.1 and of XOR-EnglishSpan's official script: lower-case, remove
  ASCII punctuation, replace English articles with a space, collapse white space.
- ``mlqa``, for ``EM_mlqa`` and ``F1_mlqa``, is that of MLQA (arXiv 1910.07475), for answers in any language. It differs
  from ``squad`` in three ways: it removes all Unicode punctuation, it removes the articles of the answer's language,
  and it makes each Chinese character a token. Only U+4E00 to U+9FA5 are Chinese characters. The official script tries
  to remove the Arabic article from the beginning of words with ``\sال^|ال``; the first branch never matches (``^`` is
  the beginning of the text), so it removes every ال, even inside words. Both quirks are reproduced here.

MLQA covers ar, de, en, es, hi, vi and zh. This package extends it to all languages, without articles, and to two more
that are written without spaces. Japanese (Han, Hiragana and Katakana) and Thai are split into extended grapheme
clusters, the user-perceived characters of Unicode's UAX #29: a character and its marks are one token. In Thai, these
are a consonant with its tone mark and the vowel signs above and below it, and sara am (ำ). If the marks were separate
tokens, they would match the same mark on any other consonant, because they are few and frequent. Vowels beside a
consonant are tokens of their own.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING

import regex

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import SCRIPTS

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd


class Normalisation(StrEnum):
    """How answers are normalised before they are compared; see the module's docstring."""

    SQUAD = "squad"
    MLQA = "mlqa"


_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = {
    "ar": re.compile("ال"),
    "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "en": re.compile(r"\b(?:a|an|the)\b"),
    "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
}
_CHARACTERS = {
    # a character with its voicing marks and variation selectors
    "ja": regex.compile(f"[{SCRIPTS['ja']}][\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\U000e0100-\U000e01ef]*"),
    # neither digits, so that numbers stay whole, nor the baht sign
    "th": re.compile("[\u0e01-\u0e3a\u0e40-\u0e4e][\u0e31\u0e33-\u0e3a\u0e47-\u0e4e]*"),
    "zh": re.compile("[\u4e00-\u9fa5]"),
}
"""Language → what is always a token of its own. Other tokens are separated by white space."""


def normalise_squad(text: str) -> str:
    """Tokens of an English answer, joined with single spaces.

    >>> normalise_squad("The U.S.A., and an ally")
    'usa and ally'
    """
    bare = text.lower().translate(_ASCII_PUNCTUATION)
    return " ".join(_ARTICLES["en"].sub(" ", bare).split())


def normalise_mlqa(text: str, language: str) -> str:
    """Tokens of an answer in a language (ISO 639 code), joined with single spaces.

    >>> normalise_mlqa("Das »Rote Kreuz«", "de"), normalise_mlqa("2008年5月", "zh"), normalise_mlqa("น้ำดี", "th")
    ('rote kreuz', '2008 年 5 月', 'น้ำ ดี')
    """
    lower = text.lower()
    bare = "".join(c for c in lower if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    if language in _ARTICLES:
        bare = _ARTICLES[language].sub(" ", bare)
    if language in _CHARACTERS:
        bare = _CHARACTERS[language].sub(r" \g<0> ", bare)
    return " ".join(bare.split())


def exact_match(answer: str, gold: Collection[str], normalise: Callable[[str], str]) -> int:
    """EM of one question: 1 if the normalised answer equals a normalised gold answer, else 0.

    >>> exact_match("The Beatles!", ["Wings", "Beatles"], normalise_squad)
    1
    """
    _check_gold(gold)
    normalised = normalise(answer)
    return int(any(normalised == normalise(text) for text in gold))


def f1(answer: str, gold: Collection[str], normalise: Callable[[str], str]) -> float:
    """F1 of one question, in [0, 1]: the highest over the gold answers.

    >>> f1("in May 1968", ["1968", "May 1968"], normalise_squad)
    0.8
    """
    _check_gold(gold)
    tokens = Counter(normalise(answer).split())
    return max(_token_f1(tokens, Counter(normalise(text).split())) for text in gold)


def _token_f1(tokens: Counter[str], gold: Counter[str]) -> float:
    shared = (tokens & gold).total()
    if not shared:
        return 0.0
    precision, recall = shared / tokens.total(), shared / gold.total()
    return 2 * precision * recall / (precision + recall)


def _check_gold(gold: Collection[str]) -> None:
    if isinstance(gold, str) or not isinstance(gold, Collection) or not all(isinstance(text, str) for text in gold):
        raise InputError(f"the gold answers are not a list of texts: {gold!r}")
    if len(gold) == 0:
        raise InputError("there is no gold answer", hint="leave out questions whose answers are not known")


MATCH_MEASURES: dict[str, tuple[Callable[[str, Collection[str], Callable[[str], str]], float], Normalisation]] = {
    "EM": (exact_match, Normalisation.SQUAD),
    "F1": (f1, Normalisation.SQUAD),
    "EM_mlqa": (exact_match, Normalisation.MLQA),
    "F1_mlqa": (f1, Normalisation.MLQA),
}
"""Measure name → how a question is scored, and how answers are normalised for it."""


def match_score(name: str, answer: str, gold: Collection[str], language: str = "") -> float:
    """A question's score by a measure of :data:`MATCH_MEASURES`.

    Args:
        name: the measure.
        answer: the answer to score.
        gold: the correct answers, at least one.
        language: ISO 639 code (two or three lower-case letters) of the answers' language, which may differ from the
            question's; only for ``mlqa``.

    Raises:
        InputError: no gold answer, a text instead of a list of gold answers, no answer, or no language for ``mlqa``.

    >>> match_score("EM_mlqa", "la Tour Eiffel", ["Tour Eiffel"], "es"), match_score("EM", "la Tour", ["Tour"])
    (1.0, 0.0)
    """
    if not isinstance(answer, str):
        raise InputError(f"the answer is not text: {answer!r}")
    score, normalisation = MATCH_MEASURES[name]
    if normalisation is Normalisation.SQUAD:
        return float(score(answer, gold, normalise_squad))
    if not isinstance(language, str) or not re.fullmatch("[a-z]{2,3}", language):
        raise InputError(f"{language!r} is not a language code", hint="mlqa needs an ISO 639 code such as zh")
    return float(score(answer, gold, partial(normalise_mlqa, language=language)))


def _columns(name: str) -> tuple[list[str], list[str]]:
    """The columns that a measure reads in the qrels and in the run."""
    language = ["lang"] if MATCH_MEASURES[name][1] is Normalisation.MLQA else []
    return ["query_id", "answers", *language], ["query_id", "answer"]


def _per_query(name: str, qrels: pd.DataFrame, run: pd.DataFrame) -> Iterator[tuple[str, float]]:
    qrel_columns, run_columns = _columns(name)
    _check_frame(name, qrels, "qrels", qrel_columns)
    _check_frame(name, run, "run", run_columns)
    answers = dict(zip(run["query_id"], run["answer"], strict=True))
    languages = qrels["lang"] if "lang" in qrel_columns else [""] * len(qrels)
    for qid, gold, language in zip(qrels["query_id"], qrels["answers"], languages, strict=True):
        if qid in answers:
            try:
                yield qid, match_score(name, answers[qid], gold, language)
            except InputError as error:
                raise InputError(f"question {qid}: {error.problem}", hint=error.hint) from None


def _check_frame(name: str, frame: pd.DataFrame, what: str, columns: list[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"{name} needs the column {column!r} in the {what}", hint=f"needs {', '.join(columns)}")
    repeated = frame["query_id"].duplicated()
    if repeated.any():
        raise InputError(f"question {frame['query_id'][repeated].iloc[0]} occurs twice in the {what}")


@cache
def register() -> dict[str, ir_measures.Measure]:
    """Define the measures of :data:`MATCH_MEASURES` for ``ir_measures.parse_measure``. Safe to repeat.

    A run has one row per question, with its ``answer``; qrels have its ``answers`` and, for ``mlqa``, their ``lang``. A
    question missing from the run has no score, which ir-measures counts as 0, like the official scripts.
    """
    import ir_measures

    measures = {}
    for name, (score, normalisation) in MATCH_MEASURES.items():
        qrel_inputs, run_inputs = _columns(name)
        label = "Exact match" if score is exact_match else "F1 of tokens"
        measures[name] = ir_measures.define(
            partial(_per_query, name),
            name=name,
            support_cutoff=False,
            run_inputs=run_inputs,
            qrel_inputs=qrel_inputs,
            pretty_name=f"{label} ({normalisation})",
            short_desc=f"{label} of the answer and the best gold answer, normalised as in {normalisation.upper()}.",
        )
        ir_measures.measures.register(measures[name])
    return measures
