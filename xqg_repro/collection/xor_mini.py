"""xor-mini, the embedded collection in the shape of XOR-TyDi: ``xor-mini``, three sets of questions, and languages.

``xor-mini/train`` holds the seven languages; ``xor-mini/train/en`` the English questions for zero-shot training.
``xor-mini/held-out`` asks about entities of which train does not speak, to choose settings such as α on, and
``xor-mini/dev`` about others again, to report scores on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection.files import PackagedFile
from xqg_repro.collection.handlers import Judgements, Questions, TsvPassages, dataset
from xqg_repro.collection.records import Question, read_questions
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES

NAME = "xor-mini"
FOLDER = "xor_mini"
SPLITS = ("train", "held-out", "dev")


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    passages = TsvPassages(PackagedFile(FOLDER, "passages.tsv"), NAME)
    found = {NAME: dataset(NAME, passages)}
    for split in SPLITS:
        read = partial(read_questions, PackagedFile(FOLDER, f"questions.{split}.jsonl"))
        qrels = partial(read_qrels, PackagedFile(FOLDER, f"qrels.{split}.tsv").path())
        everything = Questions(partial(_cross_lingual, read), NAME)
        found[f"{NAME}/{split}"] = dataset(NAME, passages, everything, Judgements(qrels, everything))
        for language in (*XOR_LANGUAGES, *(("en",) if split != "dev" else ())):
            questions = Questions(read, NAME, language)
            found[f"{NAME}/{split}/{language}"] = dataset(NAME, passages, questions, Judgements(qrels, questions))
    return found


def _cross_lingual(read: Callable[[], tuple[list[Question], str]]) -> tuple[list[Question], str]:
    questions, version = read()
    return [question for question in questions if question.lang != "en"], version


def read_qrels(path: Path) -> list[tuple[str, str]]:
    """(qid, docid) pairs of a two-column tab-separated file; :class:`InputError` naming a line of another shape."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise InputError(f"has {len(columns)} columns where qid and docid are due", path=path, line=number)
        pairs.append((columns[0], columns[1]))
    return pairs
