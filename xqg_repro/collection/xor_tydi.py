"""XOR-TyDi QA: ``xor-tydi`` (passages), ``xor-tydi/train``, ``/dev``, ``/test`` and their languages (``/dev/ar``)."""

from __future__ import annotations

from functools import partial

from ir_datasets.datasets.base import Dataset

from xqg_repro.collection.files import data_files
from xqg_repro.collection.handlers import Questions, dataset
from xqg_repro.collection.passages import TsvPassages
from xqg_repro.collection.records import read_questions
from xqg_repro.core.languages import XOR_LANGUAGES

NAME = "xor-tydi"
SPLITS = {
    "train": "xor_train_retrieve_eng_span.jsonl",
    "dev": "xor_dev_retrieve_eng_span_v1_1.jsonl",
    "test": "xor_test_retrieve_eng_span_q_only_v1_1.jsonl",
}


def datasets() -> dict[str, Dataset]:
    """All datasets of the collection by id."""
    files = data_files(NAME)
    passages = TsvPassages(files["enwiki_20190201_w100.tsv"], NAME)
    by_id = {NAME: dataset(NAME, passages)}
    for split, file_name in SPLITS.items():
        read = partial(read_questions, files[file_name])
        by_id[f"{NAME}/{split}"] = dataset(NAME, passages, Questions(read, NAME))
        for language in XOR_LANGUAGES:
            by_id[f"{NAME}/{split}/{language}"] = dataset(NAME, passages, Questions(read, NAME, language))
    return by_id
