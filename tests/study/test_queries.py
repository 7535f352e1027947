"""Generated and filtered queries as sources of the study, from several folders that share the paragraphs."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
from conftest import described_anew

from xqg_repro.core.errors import InputError
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.made import read_generated, read_made, read_translated
from xqg_repro.study.settings import Study, load_study
from xqg_repro.study.vectors import OwnedVectors, select_queries

from .conftest import CODES
from .made import DOCIDS, query, translation, write_generated, write_translated

FIRST, SECOND = DOCIDS[:6], DOCIDS[6:]


@pytest.fixture(scope="module")
def xquad(shared_xquad: Path) -> ParallelData:
    return load_data(CODES)


@pytest.fixture(scope="module")
def whole() -> Study:
    return load_study(CODES, generated=True, filtered=True, translated=True)


def test_folders_share_the_paragraphs(xquad: ParallelData, whole: Study, tmp_path: Path) -> None:
    # the second folder has the first paragraphs, and is gzipped
    folders = [write_generated(tmp_path / "1", SECOND), write_generated(tmp_path / "0", FIRST)]
    path = folders[1] / "00000.jsonl"
    (folders[1] / "00000.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    queries = read_generated([folders[0], described_anew(folders[1])], whole, xquad)
    assert queries == {
        code: [tuple(query(docid, code, rank) for rank in range(3)) for docid in DOCIDS] for code in CODES
    }

    halves = [write_translated(tmp_path / "t0", FIRST), write_translated(tmp_path / "t1", SECOND)]
    translations = read_translated(halves, whole, xquad)
    assert translations == {code: [translation(docid, code) for docid in DOCIDS] for code in CODES if code != "en"}


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (FIRST, SECOND[1:], r"1: has no queries for 3-0 \(1 of 12 paragraphs are missing\)"),
        (FIRST, DOCIDS[5:], "1: has queries for 2-1, which has some already"),
        ((*FIRST, FIRST[0]), SECOND, "0: has queries for 0-0, which has some already"),
        (("5-7", *FIRST), SECOND, "0: has queries for 5-7, which is not a paragraph of xquad"),
    ],
)
def test_each_paragraph_must_be_there_once(
    xquad: ParallelData, whole: Study, tmp_path: Path, first: tuple[str], second: tuple[str], problem: str
) -> None:
    folders = [write_generated(tmp_path / "0", first), write_generated(tmp_path / "1", second)]
    with pytest.raises(InputError, match=problem):
        read_generated(folders, whole, xquad)
    folders = [write_translated(tmp_path / "t0", first), write_translated(tmp_path / "t1", second)]
    with pytest.raises(InputError, match=problem.replace("queries", "translations")):
        read_translated(folders, whole, xquad)


def test_blank_queries_are_left_out_and_a_language_needs_some(
    xquad: ParallelData, whole: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = write_generated(tmp_path / "queries")
    path = folder / "00000.jsonl"
    lines = path.read_text(encoding="utf-8").replace(query("2-1", "th", 0), " ")
    for rank in range(3):
        lines = lines.replace(query("2-0", "th", rank), "")
    path.write_text(lines, encoding="utf-8")
    queries = read_generated([described_anew(folder)], whole, xquad)
    assert queries["th"][4:6] == [(), tuple(query("2-1", "th", rank) for rank in (1, 2))]
    assert "study: 1 paragraphs have no generated queries in th" in caplog.messages
    path.write_text(lines.replace('"th"', '"fi"'), encoding="utf-8")
    with pytest.raises(InputError, match="has no queries in th"):
        read_generated([described_anew(folder)], whole, xquad)


def test_filtered_queries_are_some_of_the_generated_ones(xquad: ParallelData, whole: Study, tmp_path: Path) -> None:
    generated = [write_generated(tmp_path / "0", FIRST), write_generated(tmp_path / "1", SECOND)]
    best = [write_generated(tmp_path / "best", ranks=(2, 0), stage="filter")]
    made = read_made(generated, best, (), whole, xquad)
    assert made.filtered["ar"][3] == (query("1-1", "ar", 2), query("1-1", "ar", 0))
    others = [write_generated(tmp_path / "others", ranks=(0, 4), stage="filter")]
    with pytest.raises(InputError, match=r"'which enbu0\?' for 0-0 is not among the generated ones in en"):
        read_made(generated, others, (), whole, xquad)


def test_vectors_of_filtered_queries_are_those_of_the_generated_ones() -> None:
    vectors = OwnedVectors(np.arange(5, dtype=np.float32)[:, None], np.array([0, 0, 0, 2, 2]), 9)
    kept = select_queries(vectors, [("a", "b", "a"), (), ("b", "cc")], [("a", "b"), (), ("cc",)])
    assert kept.vectors[:, 0].tolist() == [0, 1, 4]
    assert (kept.owners.tolist(), kept.characters) == ([0, 0, 2], 4)


def test_translations_of_a_file_must_be_of_the_same_texts(xquad: ParallelData, whole: Study, tmp_path: Path) -> None:
    path = tmp_path / "passages.jsonl"
    lines = [f'{{"docid": "{doc.doc_id}", "text": "{doc.text}"}}\n' for doc in xquad.paragraphs["en"]]
    path.write_text("".join(lines), encoding="utf-8")
    folder = write_translated(tmp_path / "translations", name=str(path))
    assert read_translated([folder], whole, xquad)["ar"][0] == translation("0-0", "ar")
    path.write_text("".join(lines).replace("ends", "end"), encoding="utf-8")
    other = write_translated(tmp_path / "other", name=str(path))
    for changed in (folder, other):  # made from other bytes than the file now has, and from other texts
        with pytest.raises(InputError, match="has translations of another version of xquad/en"):
            read_translated([changed], whole, xquad)
    path.unlink()
    assert read_translated([folder], whole, xquad)["th"][11] == translation("5-1", "th")
