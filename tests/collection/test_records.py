from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xqg_repro.collection.files import DataFile
from xqg_repro.collection.records import Question, read_questions
from xqg_repro.core.errors import InputError

GOOD = '{"id": "1", "question": "Missä?", "lang": "fi", "answers": ["Turku"]}'


def test_labels_are_stripped_and_answers_may_be_missing(local: Callable[..., DataFile]) -> None:
    second = (
        '{"id": 2, "question": "Where?", "lang": " ar"}\n\n{"id": 3, "question": "?", "lang": "", "answers": [1229]}'
    )
    questions, _ = read_questions(local(f"\ufeff{GOOD}\r\n{second}\n\n"))
    first = Question("1", "Missä?", "fi", ("Turku",))
    assert questions == [first, Question("2", "Where?", "ar", ()), Question("3", "?", "", ("1229",))]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "2", "question"', "is not JSON"),
        ('{"id": "2", "lang": "fi", "answers": []}', "lacks the field 'question'"),
        ('{"id": "2", "question": "Missä?", "answers": []}', "lacks the field 'lang'"),
        ('{"id": "2", "question": "Missä?", "lang": null}', "lang is None, expected text"),
        ('{"id": "2", "question": null, "lang": "fi"}', "question is None, expected text"),
        ('{"id": "2", "question": ["Missä?"], "lang": "fi"}', "expected text"),
        ('{"id": "2", "question": " ", "lang": "fi"}', "question is blank"),
        ('{"id": "2", "question": "Miss\\ud83d?", "lang": "fi"}', "half a character"),
        ('{"id": true, "question": "Missä?", "lang": "fi"}', "id is True"),
        ('{"id": "q 2", "question": "Missä?", "lang": "fi"}', "white space"),
        ('{"id": "2", "question": "Missä?", "lang": "fi", "answers": "Turku"}', "answers is 'Turku', expected a list"),
        ('{"id": "2", "question": "Missä?", "lang": "fi", "answers": null}', "answers is None, expected a list"),
        ('{"id": "2", "question": "Missä?", "lang": "fi", "answers": [["Turku"]]}', "expected a list of texts"),
        ('{"id": "2", "question": "Missä?", "lang": "fi", "answers": ["Turku", ""]}', "a blank answer"),
        ("[]", r"the line is \[\], not an object"),
        (GOOD, "repeats the id 1"),
    ],
)
def test_a_bad_question_names_file_and_line(local: Callable[..., DataFile], line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_questions(local(f"{GOOD}\n{line}\n"))
    assert (Path(str(caught.value.path)).name, caught.value.line) == ("file", 2)
