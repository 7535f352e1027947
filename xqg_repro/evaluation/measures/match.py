r"""EM and F1 of extracted answers: how well does a question's answer match the best of its gold answers?

Both compare normalised texts. EM is 1 if they are equal, else 0. F1 is of their tokens, split at white space and
counted as multisets; 0 if they share none. So two texts of nothing but punctuation have an EM of 1 and an F1 of 0. All
gold answers count, ``yes`` and ``no`` too. There are two normalisations (:class:`Normalisation`):

- ``squad`` for ``EM`` and ``F1``: that of SQuAD v1.1 and of XOR-EnglishSpan's official script. Lower-case, remove ASCII
  punctuation, put a space for each English article, collapse white space.
- ``mlqa`` for ``EM_mlqa`` and ``F1_mlqa``: that of MLQA (arXiv 1910.07475), for answers in any language. Like
  ``squad``, but it removes all of Unicode's punctuation and the articles of the answers' language, and makes each
  Chinese character a token. Only U+4E00 to U+9FA5 are Chinese characters. The official script means to remove the
  Arabic article from the beginning of words by ``\sال^|ال``; the first branch never matches (``^`` is the beginning of
  the text), so it removes every ال, inside words as well. Both are kept as they are.

MLQA is of ar, de, en, es, hi, vi and zh. This package extends it to all languages, without articles, and to two more
that are written without spaces. Japanese (Han, Hiragana and Katakana) and Thai are split into extended grapheme
clusters, the user-perceived characters of Unicode's UAX #29: a character and the marks on it are one token. In Thai,
these are a consonant with its tone mark and the vowel signs above and below it, and sara am (ำ). As separate tokens,
the marks, few and frequent, would match those on any other consonant. Vowels beside a consonant are tokens of their
own.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regex

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import read_text
from xqg_repro.core.languages import SCRIPTS

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd


class Normalisation(StrEnum):
    """What makes two answers equal; see the module's description."""

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
    # with voicing marks and variation selectors
    "ja": regex.compile(f"[{SCRIPTS['ja']}][\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\U000e0100-\U000e01ef]*"),
    # without digits, whose numbers stay whole, and the baht sign
    "th": re.compile("[\u0e01-\u0e3a\u0e40-\u0e4e][\u0e31\u0e33-\u0e3a\u0e47-\u0e4e]*"),
    "zh": re.compile("[\u4e00-\u9fa5]"),
}
"""Language → what is a token by itself, wherever it stands. Other text between white space is a token."""


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


def normaliser(normalisation: Normalisation, language: str = "") -> Callable[[str], str]:
    """The function that normalises answers in a language; ``squad`` has no need of the language.

    Raises:
        InputError: ``mlqa`` without a language's code of two or three small letters.
    """
    if normalisation is Normalisation.SQUAD:
        return normalise_squad
    if not isinstance(language, str) or not re.fullmatch("[a-z]{2,3}", language):
        raise InputError(f"{language!r} is not a language of answers", hint="mlqa needs an ISO 639 code such as zh")
    return partial(normalise_mlqa, language=language)


def exact_match(answer: str, gold: Collection[str], normalise: Callable[[str], str]) -> int:
    """EM of one question: 1 if the normalised answer equals a normalised gold answer, else 0.

    >>> exact_match("The Beatles!", ["Wings", "Beatles"], normalise_squad)
    1
    """
    found = normalise(answer)
    return int(any(found == normalise(text) for text in _checked(gold)))


def f1(answer: str, gold: Collection[str], normalise: Callable[[str], str]) -> float:
    """F1 of one question, in [0, 1]: with the gold answer that shares most with the answer.

    >>> f1("in May 1968", ["1968", "May 1968"], normalise_squad)
    0.8
    """
    found = Counter(normalise(answer).split())
    return max(_token_f1(found, Counter(normalise(text).split())) for text in _checked(gold))


def _token_f1(found: Counter[str], gold: Counter[str]) -> float:
    shared = (found & gold).total()
    if not shared:
        return 0.0
    precision, recall = shared / found.total(), shared / gold.total()
    return 2 * precision * recall / (precision + recall)


def _checked(gold: Collection[str]) -> Collection[str]:
    if isinstance(gold, str) or not isinstance(gold, Collection) or not all(isinstance(text, str) for text in gold):
        raise InputError(f"the gold answers are no list of texts but {gold!r}")
    if len(gold) == 0:
        raise InputError("there is no gold answer", hint="leave out questions whose answers are not known")
    return gold


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
        answer: the answer found.
        gold: the answers that are right, one or more.
        language: ISO 639 code of the answers' language, which can be another than the question's; for ``mlqa`` only.

    Raises:
        InputError: no gold answer, one text in place of a list, no answer, or no language for ``mlqa``.

    >>> match_score("EM_mlqa", "la Tour Eiffel", ["Tour Eiffel"], "es"), match_score("EM", "la Tour", ["Tour"])
    (1.0, 0.0)
    """
    if not isinstance(answer, str):
        raise InputError(f"the answer is no text but {answer!r}")
    score, normalisation = MATCH_MEASURES[name]
    return float(score(answer, gold, normaliser(normalisation, language)))


def _columns(name: str) -> tuple[list[str], list[str]]:
    """The columns that a measure reads in the qrels and in the run."""
    language = ["lang"] if MATCH_MEASURES[name][1] is Normalisation.MLQA else []
    return ["query_id", "answers", *language], ["query_id", "answer"]


def _per_query(name: str, qrels: pd.DataFrame, run: pd.DataFrame) -> Iterator[tuple[str, float]]:
    for frame, what, columns in zip((qrels, run), ("qrels", "run"), _columns(name), strict=True):
        for column in columns:
            if column not in frame.columns:
                raise InputError(f"{name} needs the column {column!r} in the {what}", hint=f"give {', '.join(columns)}")
        if (repeated := frame["query_id"].duplicated()).any():
            raise InputError(f"the {what} repeat{'s' * (what == 'run')} question {frame['query_id'][repeated].iloc[0]}")
    answers = dict(zip(run["query_id"], run["answer"], strict=True))
    languages = qrels["lang"] if "lang" in _columns(name)[0] else [""] * len(qrels)
    for qid, gold, language in zip(qrels["query_id"], qrels["answers"], languages, strict=True):
        if qid in answers:
            try:
                yield qid, match_score(name, answers[qid], gold, language)
            except InputError as error:
                raise InputError(f"question {qid}: {error.problem}", hint=error.hint) from None


@cache
def register() -> dict[str, ir_measures.Measure]:
    """Define the measures of :data:`MATCH_MEASURES` and make ``ir_measures.parse_measure`` know them. Safe to repeat.

    A run has a row a question, with its ``answer``; qrels have its ``answers`` and, for ``mlqa``, their ``lang``. A
    question that the run does not hold has no score, which ir-measures counts as 0, as the official scripts do.
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
            short_desc=f"{label} of the answer and the best gold answer, normalised as by {normalisation.upper()}.",
        )
        ir_measures.measures.register(measures[name])
    return measures


def read_answers(path: str | Path) -> dict[str, str]:
    """Answers by qid from a JSON file ``{qid: answer}`` or, as the official script has it, ``{qid: {"answer": …}}``.

    Raises:
        InputError: the file cannot be read or is not JSON of this form, or repeats a qid.
    """
    path = Path(path)
    hint = 'write {"qid": "answer", …}'

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if repeated := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
            raise InputError(f"repeats {repeated[0]!r}", path=path, hint="keep one answer a question")
        return dict(pairs)

    try:
        found = json.loads(read_text(path, "file of answers"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        problem, line = getattr(error, "msg", error), getattr(error, "lineno", None)
        raise InputError(f"is not JSON: {problem}", path=path, line=line, hint=hint) from None
    if not isinstance(found, dict):
        raise InputError("holds no mapping of questions to answers", path=path, hint=hint)
    answers = {qid: value.get("answer") if isinstance(value, dict) else value for qid, value in found.items()}
    for qid, answer in answers.items():
        if not isinstance(answer, str):
            raise InputError(f"the answer to question {qid!r} is no text but {answer!r}", path=path, hint=hint)
    return answers
