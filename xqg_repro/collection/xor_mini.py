"""xor-mini, the embedded collection in the form of XOR-TyDi: ``xor-mini`` (passages) and three sets of questions.

``xor-mini/train`` has questions in the seven languages, ``xor-mini/train/en`` English ones for zero-shot training.
``xor-mini/held-out`` asks about entities that do not occur in the other sets; settings such as α are chosen on it.
Scores are reported on ``xor-mini/dev``. ``xor-mini/dev/ar`` and so on are the questions in one language.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection.files import PackagedFile
from xqg_repro.collection.handlers import Judgements, Questions, dataset
from xqg_repro.collection.passages import TsvPassages
from xqg_repro.collection.records import Question, read_questions
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.text import read_lines

NAME = "xor-mini"
FOLDER = "xor_mini"
SPLITS = ("train", "held-out", "dev")


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    passages = TsvPassages(PackagedFile(FOLDER, "passages.tsv"), NAME)
    by_id = {NAME: dataset(NAME, passages)}
    for split in SPLITS:
        read = partial(read_questions, PackagedFile(FOLDER, f"questions.{split}.jsonl"))
        qrels = partial(read_qrels, PackagedFile(FOLDER, f"qrels.{split}.tsv").path())
        cross_lingual = Questions(partial(_without_english, read), NAME)
        by_id[f"{NAME}/{split}"] = dataset(NAME, passages, cross_lingual, Judgements(qrels, cross_lingual))
        for language in XOR_LANGUAGES if split == "dev" else (*XOR_LANGUAGES, "en"):
            questions = Questions(read, NAME, language)
            by_id[f"{NAME}/{split}/{language}"] = dataset(NAME, passages, questions, Judgements(qrels, questions))
    return by_id


def _without_english(read: Callable[[], tuple[list[Question], str]]) -> tuple[list[Question], str]:
    questions, version = read()
    return [question for question in questions if question.lang != "en"], version


def read_qrels(path: Path) -> list[tuple[str, str]]:
    """The (qid, docid) pairs of a tab-separated file; :class:`InputError` for a line without two columns."""
    pairs = []
    for number, line in read_lines(path):
        columns = line.split("\t")
        if not line.strip():
            continue
        if len(columns) != 2:
            raise InputError(f"expected 2 columns (qid, docid), got {len(columns)}", path=path, line=number)
        pairs.append((columns[0], columns[1]))
    return pairs
