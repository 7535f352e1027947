"""xor-mini, the embedded collection in the shape of XOR-TyDi: ``xor-mini``, ``/train``, ``/dev``, and languages.

``xor-mini/train`` holds the seven languages; ``xor-mini/train/en`` the English questions for zero-shot training.
``xor-mini/held-out`` is the part of train that no recipe trains on, to choose settings such as α on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ir_datasets.datasets.base import Dataset

from xqg_repro.artifacts import digest
from xqg_repro.collection._irds import (
    DataFile,
    Judgements,
    PackagedFile,
    Question,
    Questions,
    TsvPassages,
    dataset,
    is_held_out,
    read_questions,
)
from xqg_repro.config import XOR_LANGUAGES
from xqg_repro.errors import InputError

NAME = "xor-mini"
FOLDER = "xor_mini"
HELD_OUT = 0.05
"""Share of the passages whose questions are held out of training, the same in all recipes."""


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    passages = TsvPassages(PackagedFile(FOLDER, "passages.tsv"), NAME)
    found = {NAME: dataset(NAME, passages)}
    for name, split in (("train", "train"), ("dev", "dev"), ("held-out", "train")):
        file = PackagedFile(FOLDER, f"questions.{split}.jsonl")
        judged = PackagedFile(FOLDER, f"qrels.{split}.tsv").path()
        qrels = partial(read_qrels, judged)
        read = partial(_read_held_out, file, judged) if name == "held-out" else partial(read_questions, file)
        everything = Questions(partial(_cross_lingual, read), NAME)
        found[f"{NAME}/{name}"] = dataset(NAME, passages, everything, Judgements(qrels, everything))
        for language in (*XOR_LANGUAGES, *(("en",) if split == "train" else ())):
            questions = Questions(read, NAME, language)
            found[f"{NAME}/{name}/{language}"] = dataset(NAME, passages, questions, Judgements(qrels, questions))
    return found


def _read_held_out(file: DataFile, qrels: Path) -> tuple[list[Question], str]:
    questions, version = read_questions(file)
    first = dict(reversed(read_qrels(qrels)))  # a question's first passage decides, as in training
    return [q for q in questions if is_held_out(first[q.query_id], HELD_OUT)], digest([version, HELD_OUT])


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
