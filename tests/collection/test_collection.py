"""Registration and loading, and the real XOR-TyDi."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import ir_datasets
import pytest
from conftest import Mini

from xqg_repro import collection
from xqg_repro.core.errors import InputError

DEV = {"fi": 360, "ar": 350, "bn": 312, "ko": 299, "ja": 296, "ru": 255, "te": 238}


def test_importing_registers_nothing() -> None:
    code = (
        "import sys, xqg_repro.collection; assert 'ir_datasets' not in sys.modules;"
        "import ir_datasets; assert 'xor-tydi' not in ir_datasets.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registering_twice_is_harmless() -> None:
    collection.register()
    before = list(ir_datasets.registry)
    collection.register()
    assert list(ir_datasets.registry) == before
    assert {"xor-tydi/dev/ar", "xquad/en/th", "xor-mini/dev"} <= set(before)


def test_loading_reads_no_data(own_home: Path) -> None:
    for name in ("xor-tydi", "xor-tydi/test/te", "xquad/zh/zh"):
        assert collection.load(name).documentation()["desc"]
    assert not (own_home / "xqg_repro").exists()


def test_unknown_datasets_and_missing_parts_are_named() -> None:
    with pytest.raises(InputError, match=r"no dataset 'xor-tidy/dev'.*xor-tydi/dev"):
        collection.load("xor-tidy/dev")
    with pytest.raises(InputError, match=r"xquad/en has no questions .*xquad/en/ar"):
        collection.load("xquad/en", needs=["docs", "queries"])
    with pytest.raises(InputError, match=r"xor-tydi/test/ar has no relevance judgements .name another dataset"):
        collection.load("xor-tydi/test/ar", needs=["qrels"])


def test_texts_of_a_run(mini_data: Mini) -> None:
    dataset = collection.load(mini_data.docs)
    assert collection.texts(dataset, ["7", "2"]) == {docid: mini_data.passages[int(docid) - 1][2] for docid in "27"}
    with pytest.raises(InputError, match=r"no passage '61'.*2 in all"):
        collection.texts(dataset, {"2", "61", "x"})


def test_data_files_have_paths_and_checksums(mini_data: Mini) -> None:
    assert collection.file_path("xor-tydi", "nothing") is None
    assert collection.file_path("xor-tydi", mini_data.passages_path.name) == mini_data.passages_path
    assert len(collection.file_checksum("xor-mini", "passages.tsv")) == 32


@pytest.mark.integration
def test_xor_tydi(shared_data: Path) -> None:
    questions = list(collection.load("xor-tydi/dev").queries_iter())
    assert Counter(question.lang for question in questions) == DEV
    assert len(questions) == 2110 and all(question.answers for question in questions)
    for language in DEV:
        subset = list(collection.load(f"xor-tydi/dev/{language}").queries_iter())
        assert subset == [question for question in questions if question.lang == language]
    train = list(collection.load("xor-tydi/train").queries_iter())
    assert len(train) == 15250
    assert {question.lang for question in train} == set(DEV)  # the labels are clean


@pytest.mark.integration
def test_a_damaged_published_file_is_refused(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "xor_dev_retrieve_eng_span_v1_1.jsonl"
    (tmp_path / name).write_bytes((shared / "data" / "xor-tydi" / name).read_bytes()[:-1])
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    with pytest.raises(InputError, match="44ec87b50dd375ce1dca7f963fc5d70b"):
        list(collection.load("xor-tydi/dev").queries_iter())
