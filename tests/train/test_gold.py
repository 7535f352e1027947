from __future__ import annotations

import random

import pytest

from train.samples import passage
from xqg_repro.core.errors import InputError
from xqg_repro.train.gold import Gold
from xqg_repro.train.tevatron import TevatronLine


def questions(counts: dict[str, int]) -> list[TevatronLine]:
    """So many questions of each language, each with a positive."""
    return [
        TevatronLine(f"{lang}{number}", "ban?", lang, ("ban",), (passage(str(number)),))
        for lang, count in counts.items()
        for number in range(count)
    ]


def kept(gold: Gold, asked: list[TevatronLine]) -> set[str]:
    hidden = gold.hide(asked)
    assert [question._replace(positives=()) for question in hidden] == [q._replace(positives=()) for q in asked]
    assert all(new.positives in ((), old.positives) for new, old in zip(hidden, asked, strict=True))
    return {question.qid for question in hidden if question.positives}


def test_a_share_of_each_language_is_kept_by_qid_alone() -> None:
    asked = questions({"fi": 40, "ru": 10, "te": 5, "": 4})
    some = kept(Gold(0.2), asked)
    assert {lang: sum(qid.startswith(lang) for qid in some) for lang in ("fi", "ru", "te")} == {
        "fi": 8,
        "ru": 2,
        "te": 1,
    }
    assert len(some) == 8 + 2 + 1 + 1  # one without a language
    assert kept(Gold(0.2), random.Random(1).sample(asked, len(asked))) == some
    assert some < kept(Gold(0.5), asked) < kept(Gold(1.0), asked) == {question.qid for question in asked}
    assert some != {question.qid for question in asked[:8]}  # not simply the first ones
    assert kept(Gold(0.0), asked) == set()


def test_languages_without_gold_and_questions_without_positives() -> None:
    asked = questions({"fi": 10, "te": 10})
    assert {qid[:2] for qid in kept(Gold(1.0, ("te",)), asked)} == {"fi"}
    assert kept(Gold(1.0, ("te", "fi")), asked) == set()
    unknown = [question._replace(positives=()) if question.lang == "te" else question for question in asked]
    assert len(kept(Gold(0.5), unknown)) == 5
    with pytest.raises(InputError, match=r"hidden language 'bn' .*fi te"):
        Gold(0.5, ("bn",)).hide(asked)
    with pytest.raises(InputError, match=r"is 1\.5"):
        Gold(1.5)
