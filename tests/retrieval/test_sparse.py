"""BM25: the options and errors without Java, and in one process with Java what Lucene indexes and finds."""

from __future__ import annotations

import logging
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Mini, made_up, write_queries

from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.collection.topics import topic_languages
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.stages import MANIFEST, Manifest
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.models.generator import PassageQueries
from xqg_repro.reproduction.ablate import read_ablation
from xqg_repro.retrieval import jvm
from xqg_repro.retrieval.bm25 import _search_index, is_sparse, search_sparse
from xqg_repro.retrieval.metadata import metadata_path
from xqg_repro.retrieval.runfile import read_run
from xqg_repro.retrieval.sparse import _append_queries, _write_indexes, build_sparse_index

PASSAGES = [Passage(docid, "", "text") for docid in "123"]


def append(docids: str, allow_missing: bool = False) -> list[tuple[str, list[str]]]:
    """The passages 1 to 3 with the languages of their queries, of which a file has those of some docids."""
    appended = _append_queries(PASSAGES, iter(made_up(docids, ["fi"])), "file", allow_missing)
    return [(passage.doc_id, list(queries)) for passage, queries in appended]


def test_queries_are_appended_to_their_passages() -> None:
    assert append("123") == [("1", ["fi"]), ("2", ["fi"]), ("3", ["fi"])]
    assert append("13", allow_missing=True) == [("1", ["fi"]), ("2", []), ("3", ["fi"])]
    assert append("", allow_missing=True) == [("1", []), ("2", []), ("3", [])]


@pytest.mark.parametrize(
    ("docids", "allow_missing", "problem"),
    [
        ("13", False, "expected queries for the passage 2, got 3"),
        ("12", False, "expected queries for the passage 3, got none"),
        ("1234", False, "has queries for 4"),
        ("21", True, "has queries for 1"),
        ("1123", True, "has queries for 1"),
    ],
)
def test_queries_must_have_the_order_of_the_passages(docids: str, allow_missing: bool, problem: str) -> None:
    with pytest.raises(InputError, match=rf"^file: {problem}"):
        append(docids, allow_missing)


def run_cli(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that is refused."""
    assert cli.main(line.split()) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--sparse", "--sparse needs passages"),
        ("--sparse --collection xor-mini --queries 0", "--queries has no effect without --generated"),
        ("--sparse --collection xor-mini --factory Flat", "--factory has no effect with --sparse"),
        ("--embeddings e --analyzer fi", "--analyzer has no effect without --sparse"),
        ("--sparse --collection xor-mini --generated g --queries 0", "cannot append 0 queries"),
        ("--sparse --collection xor-mini --generated g --languages xx", "unknown language 'xx'"),
        ("--sparse --collection xor-mini --generated ./g", "no such file or folder of generated queries"),
    ],
)
def test_options_of_index_that_do_not_go_together_are_refused(
    options: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem in run_cli(f"index --output {tmp_path}/index {options}", capsys)
    assert not (tmp_path / "index").exists()


@pytest.fixture
def index_of(tmp_path: Path) -> Callable[..., Path]:
    """``index_of(queries=5, fi="fi")``: a folder with the manifest of a sparse index and no index."""

    def make(queries: int = 0, **analyzers: str) -> Path:
        (tmp_path / "index").mkdir()
        parameters = {"analyzers": analyzers, **({"queries": queries} if queries else {})}
        Manifest("index", parameters, counts={"passages": 3}).write(tmp_path / "index")
        return tmp_path / "index"

    return make


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--preset xdr-mini", "an index for BM25 needs no encoder"),
        ("--no-normalize", "an index for BM25 needs no encoder"),
        ("--nprobe 3", "--nprobe has no effect on an index for BM25"),
        ("--language fi", "--language has no effect on a plain index"),
        ("--k1 -1", "BM25 cannot have k1 = -1.0"),
        ("--b 1.5", "BM25 cannot have k1 = 0.9 and b = 1.5"),
        ("--k1 nan", "BM25 cannot have k1 = nan"),
    ],
)
def test_options_that_bm25_does_not_have_are_refused(
    options: str, problem: str, index_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"search --index {index_of(en='en')} --topics xor-mini/dev --output {tmp_path}/run.txt {options}"
    assert problem in run_cli(line, capsys)


@pytest.mark.parametrize("option", ["--k1 1", "--b 0", "--language fi"])
def test_a_dense_search_has_no_options_of_bm25(
    option: str, embeddings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"search --embeddings {embeddings} --topics xor-mini/dev --output {tmp_path}/run.txt {option}"
    assert f"{option.split()[0]} has no effect without an index for BM25" in run_cli(line, capsys)
    assert not is_sparse(embeddings)
    with pytest.raises(InputError, match="is the output of encode"):
        search_sparse(embeddings, "xor-mini/dev", tmp_path / "run.txt")


def test_each_question_needs_a_language_that_the_index_has(
    index_of: Callable[..., Path], mini_data: Mini, tmp_path: Path
) -> None:
    index = index_of(queries=2, fi="fi", ru="ru")
    (tmp_path / "topics.tsv").write_text("q\tMissä Turku on?\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"topics.tsv: .*in which language question q is \(--language fi or ru"):
        search_sparse(index, str(tmp_path / "topics.tsv"), tmp_path / "run.txt")
    with pytest.raises(InputError, match=r"index: has no index for questions in Telugu, such as q \(it has: fi ru"):
        search_sparse(index, str(tmp_path / "topics.tsv"), tmp_path / "run.txt", language="te")
    with pytest.raises(InputError, match=r"index: has no index for questions in Arabic, such as q0"):
        search_sparse(index, mini_data.topics, tmp_path / "run.txt")
    assert topic_languages(mini_data.topics) == {f"q{n}": language for n, language in enumerate(XOR_LANGUAGES * 2)}


# with Lucene


def bm25(query: Sequence[str], documents: Sequence[Sequence[str]], k1: float, b: float) -> list[float]:
    """The score of each document: ``Σ idf(t) · tf / (tf + k1·(1 - b + b·|d| / mean |d|))``.

    Lucene has ``idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))``, leaves out the constant factor ``k1 + 1`` of Robertson et
    al. (1994), and stores short lengths exactly.
    """
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        tf, norm = Counter(document), k1 * (1 - b + b * len(document) / mean)
        score = 0.0
        for term in set(query) & set(document):
            n = sum(term in other for other in documents)
            score += math.log(1 + (len(documents) - n + 0.5) / (n + 0.5)) * tf[term] / (tf[term] + norm)
        scores.append(score)
    return scores


DOCUMENTS = ["turtle turtle pond", "turtle river", "river pond fish stone"]


@pytest.mark.integration
@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.0), (0.0, 1.0)])
def test_scores_are_those_of_bm25s_formula(k1: float, b: float, tmp_path: Path) -> None:
    passages = [(Passage(str(number), "", text), {}) for number, text in enumerate(DOCUMENTS)]
    assert _write_indexes(tmp_path, passages, {"en": "en"}) == {"passages": 3, "missing": 3}
    run = _search_index(tmp_path / "en", "en", {"q": "turtle fish"}, 10, k1, b, 1)
    stems = [document.replace("turtle", "turtl").split() for document in DOCUMENTS]
    expected = dict(zip("012", bm25(["turtl", "fish"], stems, k1, b), strict=True))
    assert {hit.docid: hit.score for hit in run["q"]} == pytest.approx(expected, abs=1e-4)


@pytest.mark.integration
def test_an_interrupted_build_starts_again_and_empty_passages_are_left_out(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[Passage, dict[str, list[str]]]]:
        yield Passage("old", "", "turtle"), {}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write_indexes(tmp_path, interrupted(), {"en": "en"})
    texts = {"new": "turtle", "blank": " \u00a0", "control": "\x01"}
    passages = [(Passage(docid, "", text), {}) for docid, text in texts.items()]
    assert _write_indexes(tmp_path, passages, {"en": "en"})["passages"] == 3
    assert [hit.docid for hit in _search_index(tmp_path / "en", "en", {"q": "turtle"}, 10, 1, 1, 1)["q"]] == ["new"]


@pytest.mark.integration
def test_relative_paths_are_those_of_the_present_directory(
    mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jvm.ready()  # Java remembers where it started
    monkeypatch.chdir(tmp_path)
    build_sparse_index(mini_data.docs, "index")
    assert (tmp_path / "index" / "en").is_dir()
    assert read_run(search_sparse("index", mini_data.topics, "run.txt", depth=20))


@pytest.mark.integration
def test_a_disk_that_fills_up_is_an_error(tmp_path: Path, disk_of: Callable[[int], Any]) -> None:
    passages = [(Passage(str(number), "", f"turtle {number}"), {}) for number in range(1000)]
    with disk_of(2000), pytest.raises(InputError, match=r"(Lucene failed|has \d+ passages instead of 1,000)"):
        _write_indexes(tmp_path, passages, {"en": "en"})


@pytest.fixture(scope="module")
def plain(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small collection, indexed without queries. Never to be written to."""
    folder = tmp_path_factory.mktemp("plain") / "index"
    assert build_sparse_index(mini_data.docs, folder).counts == {"passages": 60}
    return folder


@pytest.mark.integration
def test_a_run_is_stock_pyserinis(plain: Path, mini_data: Mini, tmp_path: Path) -> None:
    path = search_sparse(plain, mini_data.topics, tmp_path / "run.txt", depth=20, tag="mine")
    ours, searcher = read_run(path), jvm.load("pyserini.search.lucene", "LuceneSearcher")(str(plain / "en"))
    for question in mini_data.questions:
        hits = searcher.search(question["question"], k=20)
        assert [hit.docid for hit in ours[question["id"]]] == [hit.docid for hit in hits]
        assert [hit.score for hit in ours[question["id"]]] == pytest.approx([hit.score for hit in hits], abs=1e-6)
    assert sum(map(len, ours.values())) > 100
    described = yaml.safe_load(metadata_path(path).read_text())["method"]
    assert described["retrieval"] == [{"name": "bm25", "depth": 20, "k1": 0.9, "b": 0.4}]
    assert described["indexing"]["analyzers"] == {"en": "en"}


@pytest.mark.integration
def test_a_build_and_threads_change_no_byte_of_a_run(
    plain: Path, mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="xqg_repro")
    run = search_sparse(plain, mini_data.topics, tmp_path / "run.txt", depth=5)
    first = run.read_bytes()
    build_sparse_index(mini_data.docs, tmp_path / "again")
    assert (tmp_path / "again" / MANIFEST).read_bytes() != (plain / MANIFEST).read_bytes()  # Lucene draws random ids
    search_sparse(tmp_path / "again", mini_data.topics, run, depth=5, threads=3)
    assert "run.txt is up to date" in caplog.text
    search_sparse(tmp_path / "again", mini_data.topics, run, depth=5, threads=3, force=True)
    assert run.read_bytes() == first
    search_sparse(plain, mini_data.topics, run, depth=5, k1=2.0)
    assert run.read_bytes() != first


def in_helsinki(docids: Sequence[str]) -> list[PassageQueries]:
    """Queries of these passages; passage 9 is about Helsinki."""
    return [
        PassageQueries(
            docid,
            {
                "fi": ("Mikä joki virtaa?", "Mitä Helsingissä on?" if docid == "9" else "Kuka?"),
                "ja": ("川はどこですか？", "東京都の人口は？" if docid == "9" else "だれ？"),
            },
        )
        for docid in docids
    ]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("queries", "analyzer", "language", "question", "expected"),
    [
        (2, "", "fi", "Helsingin historia", ["9"]),  # the stem is the same
        (1, "", "fi", "Helsingin historia", []),  # the second query is not indexed
        (2, "en", "fi", "Helsingin historia", []),  # English stems are not
        (2, "", "ja", "東京はどこ？", ["9"]),  # Japanese words are found without spaces
        (2, "", "ja", "Helsingissä", []),  # other languages are in indexes of their own
    ],
)
def test_expansion_finds_a_passage_by_its_queries(
    queries: int,
    analyzer: str,
    language: str,
    question: str,
    expected: list[str],
    plain: Path,
    mini_data: Mini,
    tmp_path: Path,
) -> None:
    docids = [docid for docid, _, _ in mini_data.passages]
    generated = write_queries(in_helsinki(docids), tmp_path / "queries.jsonl")
    line = f"index --sparse --collection {mini_data.docs} --generated {generated} --output {tmp_path}/index"
    options = ["--queries", str(queries), *(["--analyzer", analyzer] if analyzer else [])]
    assert cli.main([*line.split(), "--languages", "fi", "ja", *options]) == 0
    (tmp_path / "topics.tsv").write_text(f"q\t{question}\n", encoding="utf-8")

    def search(index: Path, *options: str) -> list[str]:
        line = f"search --index {index} --topics {tmp_path}/topics.tsv --output {tmp_path}/run.txt --depth 1"
        assert cli.main([*line.split(), *options]) == 0
        return [hit.docid for hit in read_run(tmp_path / "run.txt").get("q", [])]

    assert search(tmp_path / "index", "--language", language) == expected
    assert search(plain) == []


@pytest.mark.integration
def test_numbers_of_queries_are_scored_as_by_the_stages(plain: Path, mini_data: Mini, tmp_path: Path) -> None:
    *docids, last = [docid for docid, _, _ in mini_data.passages]
    languages = sorted({question["lang"] for question in mini_data.questions})
    asked = {code: [q["question"] for q in mini_data.questions if q["lang"] == code] for code in languages}
    beside = PassageQueries(last, {code: tuple(asked[code] * 2)[:3] for code in languages})  # found by many questions
    generated = write_queries([*made_up(docids, languages, 3), beside], tmp_path / "queries.jsonl")
    output, measures = tmp_path / "ablation", ["R2kt", "RR@10"]
    line = f"ablate expansion --collection {mini_data.docs} --generated {generated} --topics {mini_data.topics}"
    assert cli.main([*line.split(), "--queries", "0", "2", "--measures", *measures, "--output", str(output)]) == 0
    found = read_ablation(output)
    index = tmp_path / "index"
    build_sparse_index(mini_data.docs, index, generated=generated, languages=languages, queries=2)
    for number, folder in ((0, plain), (2, index)):
        run = search_sparse(folder, mini_data.topics, tmp_path / "run.txt")
        scores = evaluate(run, mini_data.topics, measures, passages=mini_data.docs)
        for measure in measures:
            assert found.scores[measure][number] == pytest.approx(scores.table(measure), abs=1e-12)
    assert found.scores["RR@10"][0] != found.scores["RR@10"][2]


@pytest.mark.integration
def test_an_index_that_is_missing_or_damaged_is_an_error(plain: Path, mini_data: Mini, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Lucene has no analyzer for Vietnamese \(--analyzer .* bn .* en "):
        build_sparse_index(mini_data.docs, tmp_path / "index", analyzer="vi")
    own = shutil.copytree(plain, tmp_path / "own")
    segments = next(own.glob("en/segments_*"))
    segments.write_bytes(b"x" * segments.stat().st_size)
    with pytest.raises(InputError, match=r"own/en: Lucene failed: .* \(build it again with xqg-repro index --force\)"):
        search_sparse(own, mini_data.topics, tmp_path / "run.txt")
    segments.unlink()
    with pytest.raises(InputError, match="is missing from its stage folder"):
        search_sparse(own, mini_data.topics, tmp_path / "run.txt")
