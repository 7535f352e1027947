"""Training questions that keep their relevant passages, and those whose passages are hidden.

Systems that label their own training data are compared where few questions have a label. So the relevant passages of
the other questions are hidden: nothing that is written for such a question depends on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.train.tevatron import TevatronLine


@dataclass(frozen=True)
class Gold:
    """Which questions keep their relevant passages.

    In each language, questions are ordered by the SHA-256 of their qids, and the first ones are kept. So a larger share
    keeps the questions of a smaller one, whatever the order of the data.

    Attributes:
        share: share of each language's questions that keep them; halves are rounded to an even number of questions.
        hidden_languages: languages in which none does.
    """

    share: float = 1.0
    hidden_languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_languages", tuple(self.hidden_languages))
        if not 0 <= self.share <= 1:
            raise InputError(f"the share of labelled questions is {self.share}", hint="it must be from 0 to 1")

    @property
    def is_all(self) -> bool:
        """Whether every question keeps its relevant passages."""
        return self.share == 1 and not self.hidden_languages

    def settings(self) -> dict[str, Any]:
        """The settings as manifests record them."""
        return {"labelled": self.share, "hidden_languages": sorted({*self.hidden_languages})}

    def hide(self, questions: Sequence[TevatronLine]) -> list[TevatronLine]:
        """The questions, without the positives of those whose relevant passages are hidden.

        :class:`InputError` if no question is in a hidden language.
        """
        by_language: dict[str, list[str]] = {}
        for question in questions:
            own = by_language.setdefault(question.lang, [])
            if question.positives:
                own.append(question.qid)
        for language in self.hidden_languages:
            if language not in by_language:
                hint = f"the languages are: {' '.join(sorted(filter(None, by_language)))}"
                raise InputError(f"no question is in the hidden language {language!r}", hint=hint)
        kept: set[str] = set()
        for language, qids in by_language.items():
            share = 0 if language in self.hidden_languages else self.share
            kept.update(sorted(qids, key=_order)[: round(share * len(qids))])
        return [q if q.qid in kept else q._replace(positives=()) for q in questions]


ALL_GOLD = Gold()


def _order(qid: str) -> tuple[str, str]:
    return hashlib.sha256(qid.encode()).hexdigest(), qid
