"""Which passages hold an answer to a training question, and which are the same passage.

A passage *contains an answer* if one of the question's answers, other than ``yes`` and ``no``, is a substring of
``title text`` after case folding and collapsing white space. The rule is that of R@2kt except for case, title and white
space. It is strict: ``1953`` contains the answer ``5``.
"""

from __future__ import annotations

from collections.abc import Sequence

from xqg_repro.collection.records import Passage
from xqg_repro.evaluation.measures.recall import scorable


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def contains_answer(passage: Passage, answers: Sequence[str]) -> bool:
    """Whether a passage contains one of the answers other than ``yes`` and ``no``, by the rule of the module.

    >>> turku = Passage("1", "Turku", "It was  founded in\\n1229.")
    >>> contains_answer(turku, ["TURKU"]), contains_answer(turku, ["in 1229"]), contains_answer(turku, ["yes", "1230"])
    (True, True, False)
    """
    text = _plain(passage.default_text())
    return any(answer in text for answer in scorable(map(_plain, answers)) if answer)


def has_searchable(answers: Sequence[str]) -> bool:
    """Whether one of the answers can be searched for in a passage, as ``yes`` and ``no`` cannot."""
    return any(scorable(map(_plain, answers)))


def passage_keys(passage: Passage) -> set[tuple[str, str]]:
    """What passages that are the same have in common: the docid, or title and text but for case and white space."""
    return {("docid", passage.doc_id), ("text", _plain(passage.default_text()))}
