from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xqg_repro.collection.files import DataFile
from xqg_repro.collection.records import Question, read_questions
from xqg_repro.core.errors import InputError

GOOD = '{"id": "1", "question": "Missä?", "lang": "fi", "answers": ["Turku"]}'


def test_labels_are_stripped_and_answers_may_be_missing(local: Callable[..., DataFile]) -> None:
    questions, _ = read_questions(local(f'{GOOD}\n{{"id": 2, "question": "Where?", "lang": " ar"}}\n'))
    assert questions == [Question("1", "Missä?", "fi", ("Turku",)), Question("2", "Where?", "ar", ())]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "2", "question"', "is not a question"),
        ('{"id": "2", "lang": "fi", "answers": []}', "KeyError 'question'"),
        ('{"id": "2", "question": "Missä?", "answers": []}', "KeyError 'lang'"),
        ('{"id": "2", "question": "Missä?", "lang": null}', "is not a question"),
        ("", "is not a question"),
        ("[]", "is not a question"),
        (GOOD, "repeats the id 1"),
    ],
)
def test_a_bad_question_names_file_and_line(local: Callable[..., DataFile], line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_questions(local(f"{GOOD}\n{line}\n"))
    assert (Path(str(caught.value.path)).name, caught.value.line) == ("file", 2)
