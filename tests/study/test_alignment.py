"""Sentences are aligned with their translations by length and by numbers."""

from __future__ import annotations

import pytest

from xqg_repro.collection.records import Passage
from xqg_repro.study.alignment import Sentence, align, align_paragraphs

SENTENCES = ["The bridge is short.", "It was opened in 1895 by the king of the whole country.", "Ships pass below it."]


def test_each_sentence_gets_the_pieces_that_translate_it_alone() -> None:
    german = [
        "Die Brücke ist kurz.",
        "Sie wurde 1895",
        "vom König des ganzen Landes eröffnet.",
        "Schiffe fahren darunter.",
    ]
    assert align(SENTENCES, german, "de") == {0: german[0], 1: f"{german[1]} {german[2]}", 2: german[3]}
    assert align(SENTENCES, SENTENCES, "de") == dict(enumerate(SENTENCES))


def test_sentences_that_are_translated_together_are_left_out() -> None:
    merged = [
        "Die Brücke ist kurz, und sie wurde 1895 vom König des ganzen Landes eröffnet.",
        "Schiffe fahren darunter.",
    ]
    assert align(SENTENCES, merged, "de") == {2: merged[1]}
    assert align(SENTENCES, [], "de") == {}


def test_numbers_decide_where_lengths_do_not() -> None:
    pieces = ["aaaa aaaa aaaa", "bbbb bbbb 1234", "cccc cccc cccc", "dddd dddd dddd"]
    first, second = ["In the year of 1234 it was so quiet there.", "Then there was so little that was left."]
    assert align([first, second], pieces, "th")[0].endswith("1234")
    assert align([second, first], pieces[::-1], "th")[1].startswith("bbbb bbbb 1234")


@pytest.mark.parametrize(("language", "expected"), [("zh", "一二三四五六七八九十"), ("de", "一二三四五 六七八九十")])
def test_pieces_are_joined_as_the_language_does(language: str, expected: str) -> None:
    assert align(["One sentence of some words."], ["一二三四五", "六七八九十"], language) == {0: expected}


def test_counts_of_paragraphs() -> None:
    paragraphs = {
        "en": [Passage("0-0", "T", " ".join(SENTENCES)), Passage("0-1", "T", "One sentence of some length.")],
        "de": [
            Passage(
                "0-0",
                "T",
                "Die Brücke ist recht kurz. Sie wurde 1895 vom König des ganzen Landes eröffnet. "
                "Schiffe fahren darunter.",
            ),
            Passage("0-1", "T", "Ein Satz von etwas Länge."),
        ],
        "tr": [Passage("0-0", "T", " ".join(SENTENCES)), Passage("0-1", "T", "Biraz uzun bir cümledir bu.")],
    }
    aligned = align_paragraphs(paragraphs, "en", ["en", "de", "tr"])
    assert aligned.counts == {"sentences": 4, "translations": 8, "unaligned": 0}
    assert aligned.paragraphs[1] == [
        Sentence(
            "0-1",
            "One sentence of some length.",
            {"de": "Ein Satz von etwas Länge.", "tr": "Biraz uzun bir cümledir bu."},
        )
    ]
