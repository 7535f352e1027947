from __future__ import annotations

import json
from pathlib import Path

import pytest

from xqg_repro.collection.squad import Answer, Article, Paragraph, ParagraphQuestion, parse_squad
from xqg_repro.core.errors import InputError


def test_articles_are_read_with_what_may_be_missing(tmp_path: Path) -> None:
    answers = [{"text": "b", "answer_start": 3}, {"text": "b", "answer_start": 3}, {"text": "c"}]
    questions = [{"id": 7, "question": " B? ", "lang": " fi", "answers": answers}, {"question": "C?"}]
    data = [{"title": " T ", "paragraphs": [{"context": " a b", "qas": questions}]}, {"paragraphs": []}]
    (tmp_path / "file.json").write_text(json.dumps({"data": data}))
    first = ParagraphQuestion("7", "B?", "fi", (Answer("b", 3), Answer("c", -1)))
    second = ParagraphQuestion("", "C?", "", ())
    assert parse_squad(tmp_path / "file.json") == [
        Article("T", [Paragraph(" a b", [first, second])]),
        Article("", []),
    ]


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ('{"data":\n [', "is not JSON.*expected SQuAD's format", 2),
        ("[]", r"the file is \[\], not an object", None),
        ('{"data": [{"title": "T"}]}', r"'data\[0\]\.paragraphs'", None),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": [{}]}]}]}', r"'.*qas\[0\]\.question'", None),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": " "}]}]}]}', "question is blank", None),
        ('{"data": [{"paragraphs": [{"context": ["c"], "qas": []}]}]}', r"context is \['c'\], expected text", None),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": ["c"]}]}]}]}',
            r"answers\[0\] is 'c', not an object",
            None,
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q",'
            ' "answers": [{"text": "c", "answer_start": "0"}]}]}]}]}',
            "answer_start is '0'",
            None,
        ),
    ],
)
def test_a_file_in_another_format_is_named(tmp_path: Path, text: str, problem: str, line: int | None) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        parse_squad(tmp_path / "file.json")
    assert (caught.value.path, caught.value.line) == (tmp_path / "file.json", line)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such training file"):
        parse_squad(tmp_path / "none.json", "training file")
