"""xor-mini, the embedded collection in the shape of XOR-TyDi: ``xor-mini``, ``/train``, ``/dev``, and languages.

``xor-mini/train`` holds the seven languages; ``xor-mini/train/en`` the English questions for zero-shot training.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection._irds import (
    DataFile,
    Judgements,
    PackagedFile,
    Question,
    Questions,
    TsvPassages,
    dataset,
    read_questions,
)
from xqg_repro.config import XOR_LANGUAGES
from xqg_repro.errors import InputError

NAME = "xor-mini"
FOLDER = "xor_mini"


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    passages = TsvPassages(PackagedFile(FOLDER, "passages.tsv"), NAME)
    found = {NAME: dataset(NAME, passages)}
    for split in ("train", "dev"):
        file = PackagedFile(FOLDER, f"questions.{split}.jsonl")
        qrels = partial(read_qrels, PackagedFile(FOLDER, f"qrels.{split}.tsv").path())
        everything = Questions(partial(_read_cross_lingual, file), NAME)
        found[f"{NAME}/{split}"] = dataset(NAME, passages, everything, Judgements(qrels, everything))
        for language in (*XOR_LANGUAGES, *(("en",) if split == "train" else ())):
            questions = Questions(partial(read_questions, file), NAME, language)
            found[f"{NAME}/{split}/{language}"] = dataset(NAME, passages, questions, Judgements(qrels, questions))
    return found


def _read_cross_lingual(file: DataFile) -> tuple[list[Question], str]:
    questions, version = read_questions(file)
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
