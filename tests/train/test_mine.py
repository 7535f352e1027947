from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Mini, contents

from xqg_repro import cli, collection
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.runfile import Hit
from xqg_repro.train.data import Example, load_examples
from xqg_repro.train.mine import Mined, bm25_index, contains_answer, mine

ANSWERED = "q0"  # its answer is the first word of its positive


@pytest.fixture(scope="module")
def index(embeddings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "index"
    build_index(embeddings, folder)
    return folder


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces Pyserini's searcher, which takes ten seconds to import, by numpy; the indexes searched, in order."""
    opened: list[Path] = []

    def open_brute(index: Path, encoder: Any) -> Any:
        import faiss

        opened.append(Path(index))
        docids = (Path(index) / "docid").read_text().splitlines()
        stored = faiss.read_index(str(Path(index) / "index"))
        vectors = stored.reconstruct_n(0, stored.ntotal)

        def batch_search(queries: list[str], qids: list[str], k: int, threads: int) -> dict[str, list[Hit]]:
            scores = encoder.encode_batch(queries) @ vectors.T
            best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return {
                qid: [Hit(docids[i], float(row[i])) for i in top]
                for qid, row, top in zip(qids, scores, best, strict=True)
            }

        return SimpleNamespace(batch_search=batch_search)

    monkeypatch.setattr(importlib.import_module("xqg_repro.retrieval.search"), "open_searcher", open_brute)
    return opened


@pytest.fixture
def mined(mini_data: Mini, index: Path, searched: list[Path], tmp_path: Path) -> Callable[..., tuple[Mined, Path]]:
    """``mined(name=…, …)``: mine for the small collection's questions with its index; the counts and the file."""

    def once(name: str = "train", **settings: Any) -> tuple[Mined, Path]:
        output = tmp_path / f"{name}.jsonl"
        settings = {
            "index": index,
            "depth": 60,
            "negatives": 60,
            "device": "cpu",
        } | settings
        return mine(settings.pop("data", mini_data.topics), output, **settings), output

    return once


def lines(path: Path) -> dict[str, dict[str, Any]]:
    """qid → the line of a training file."""
    return {item["query_id"]: item for item in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def ids(item: dict[str, Any], kind: str = "negative") -> list[str]:
    return [passage["docid"] for passage in item[f"{kind}_passages"]]


def tevatron(path: Path, **changes: Any) -> Path:
    """A training file with one question: its positive is passage 1 of the small collection."""
    item = {
        "query_id": "t1",
        "query": "ban der?",
        "positive_passages": [{"docid": "1", "title": "Place 0", "text": "any"}],
        "negative_passages": [{"docid": "old", "title": "", "text": "is replaced"}],
    }
    path.write_text(json.dumps(item | changes, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


# the rule


@pytest.mark.parametrize(
    ("answers", "held"),
    [
        (["1229"], True),
        (["turku"], True),
        (["TURKU founded"], True),
        (["in 1229"], True),
        (["22"], True),
        (["1230", "AURA"], True),
        (["Aura-joki"], False),
        (["yes", "No"], False),
        (["", " "], False),
        ([], False),
    ],
)
def test_answers_are_found_whatever_the_case_and_the_white_space(answers: list[str], held: bool) -> None:
    passage = Passage("1", "Turku", "Founded yes and no\n in  1229 by the Aura.")
    assert contains_answer(passage, answers) is held


# what is left out


def test_neither_positives_nor_answers_are_among_the_negatives(
    mini_data: Mini, mined: Callable[..., tuple[Mined, Path]]
) -> None:
    counts, path = mined()
    passages = {docid: Passage(docid, title, text) for docid, title, text in mini_data.passages}
    positives, found = dict(mini_data.qrels), lines(path)
    assert list(found) == [question["id"] for question in mini_data.questions]
    left = {}
    for question in mini_data.questions:
        own = positives[question["id"]]
        answering = {d for d, p in passages.items() if d != own and contains_answer(p, question["answers"])}
        left[question["id"]] = set(passages) - {own} - answering
        assert set(ids(found[question["id"]])) == left[question["id"]]
        assert ids(found[question["id"]], "positive") == [own]
    assert counts == Mined(
        questions=14,
        negatives=sum(map(len, left.values())),
        positive=14,
        answering=14 * 59 - sum(map(len, left.values())),
        without_answers=1,  # the one answered by yes
    )
    assert counts.answering > 0


def test_a_planted_passage_with_the_answer_is_dropped(
    mini_data: Mini, mined: Callable[..., tuple[Mined, Path]], tmp_path: Path
) -> None:
    _, title, text = mini_data.passages[20]
    data = tevatron(tmp_path / "given.jsonl", answers=[f"{title.upper()}  {text[:9]}"])
    counts, path = mined(data=str(data), passages=mini_data.docs)
    assert (counts.answering, counts.positive, counts.negatives) == (1, 1, 58)
    assert "21" not in ids(lines(path)["t1"])


def test_a_copy_of_the_positive_under_another_id_is_dropped(
    mini_data: Mini, mined: Callable[..., tuple[Mined, Path]], tmp_path: Path
) -> None:
    docid, title, text = mini_data.passages[20]
    data = tevatron(tmp_path / "given.jsonl", positive_passages=[{"docid": "copy", "title": title, "text": text}])
    counts, path = mined(data=str(data), passages=mini_data.docs)
    assert counts == Mined(questions=1, negatives=59, positive=1, without_answers=1)
    assert docid not in ids(lines(path)["t1"])


def test_questions_without_negatives_or_positives_are_counted(
    mini_data: Mini, mined: Callable[..., tuple[Mined, Path]], tmp_path: Path
) -> None:
    data = tevatron(tmp_path / "given.jsonl", answers=["e"])  # every title holds it
    more = tevatron(tmp_path / "more.jsonl", query_id="t2", positive_passages=[])
    data.write_text(data.read_text() + "\n" + more.read_text())
    counts, path = mined(data=str(data), passages=mini_data.docs)
    assert counts == Mined(questions=1, positive=1, answering=59, without_negatives=1, without_positives=1)
    assert ids(lines(path)["t1"]) == []


# which are kept


def test_the_first_are_kept_in_rank_order(mined: Callable[..., tuple[Mined, Path]]) -> None:
    everything, first = lines(mined("all")[1]), lines(mined("first", negatives=5)[1])
    assert {qid: ids(item)[:5] for qid, item in everything.items()} == {qid: ids(i) for qid, i in first.items()}


def test_the_depth_is_what_is_read(mined: Callable[..., tuple[Mined, Path]]) -> None:
    everything, some = lines(mined("all")[1]), lines(mined("some", depth=8, negatives=8)[1])
    for qid, item in some.items():
        assert len(ids(item)) <= 8
        assert ids(item) == ids(everything[qid])[: len(ids(item))]


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(mined: Callable[..., tuple[Mined, Path]]) -> None:
    everything = lines(mined("all")[1])
    first, again, other = (mined(name, negatives=5, sample=seed)[1] for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    for qid, item in lines(first).items():
        ranked = ids(everything[qid])
        places = [ranked.index(docid) for docid in ids(item)]
        assert len(places) == 5
        assert places == sorted(places)
    assert any(ids(item) != ids(everything[qid])[:5] for qid, item in lines(first).items())


# the file


def test_training_reads_the_file(mini_data: Mini, mined: Callable[..., tuple[Mined, Path]]) -> None:
    _, path = mined(negatives=3)
    examples = list(load_examples(str(path))[0])
    passages = {docid: Passage(docid, title, text) for docid, title, text in mini_data.passages}
    question, found = mini_data.questions[0], lines(path)[ANSWERED]
    negatives = tuple(passages[docid] for docid in ids(found))
    answers = tuple(question["answers"])
    assert examples[0] == Example(question["question"], passages["1"], negatives, "ar", answers, (-1,), ANSWERED)
    assert found["answers"] == question["answers"]
    assert len(examples) == 14


def test_the_same_is_not_mined_twice(
    mined: Callable[..., tuple[Mined, Path]], searched: list[Path], index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, path = mined()
    before = path.read_bytes()
    caplog.clear()
    again, _ = mined()
    assert (again, caplog.messages, searched) == (first, [f"mine: {path} is up to date"], [index])
    mined(force=True)
    assert (len(searched), path.read_bytes()) == (2, before)
    mined(depth=30, negatives=30)
    assert len(searched) == 3
    changed = path.read_bytes()
    path.write_bytes(changed[:-20])
    mined(depth=30, negatives=30)
    assert (len(searched), path.read_bytes()) == (4, changed)


def test_the_note_says_what_the_file_was_made_from(mined: Callable[..., tuple[Mined, Path]], tiny_model: Path) -> None:
    counts, path = mined(sample=3)
    note = json.loads(path.with_name("train.jsonl.json").read_text())
    assert note["parameters"]["retriever"]["encoder"]["model"] == str(tiny_model)
    assert (note["parameters"]["sample"], note["counts"]["negatives"]) == (3, counts.negatives)


def test_the_command_prints_the_counts(
    mini_data: Mini, index: Path, searched: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "train.jsonl"
    arguments = ["--data", mini_data.topics, "--index", str(index), "--output", str(output), "--sample", "1"]
    assert cli.main(["train", "mine", *arguments, "--depth", "9", "--negatives", "2", "--device", "cpu"]) == 0
    assert "dropped, contain an answer" in capsys.readouterr().out
    assert all(len(ids(item)) == 2 for item in lines(output).values())


# what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "xor-mini/nothing"}, "ir-datasets has no dataset"),
        ({"data": "xor-mini"}, "xor-mini has no questions"),
        ({"data": "xor-tydi/dev"}, "xor-tydi/dev has no relevance judgements"),
        ({"index": None}, "no retriever"),
        ({"bm25": "folder"}, "two retrievers"),
        ({"data": "xor-mini/train"}, "was built from xor-tydi, not from the passages of xor-mini/train"),
        ({"passages": "xor-mini"}, "has passages of its own .leave out --collection"),
        ({"data": "some.jsonl"}, "needs a collection to search"),
        ({"data": "some.jsonl", "passages": "xor-tydi"}, "some.jsonl: no such training file"),
        ({"depth": 5, "negatives": 6}, "cannot keep 6 negatives of 5"),
        ({"negatives": 0}, "cannot keep 0 negatives"),
        ({"index": "nowhere"}, "nowhere: is not the output of a stage"),
    ],
)
def test_bad_settings_are_refused(
    mined: Callable[..., tuple[Mined, Path]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        mined(**settings)


def test_embeddings_are_no_index(embeddings: Path, mined: Callable[..., tuple[Mined, Path]]) -> None:
    with pytest.raises(InputError, match="is not an index"):
        mined(index=embeddings)


def test_other_names_than_jsonl_are_refused(mini_data: Mini, index: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.jsonl"):
        mine(mini_data.topics, tmp_path / "train.json", index=index)


def test_the_file_mined_from_is_not_overwritten(mini_data: Mini, index: Path, tmp_path: Path) -> None:
    data = tevatron(tmp_path / "train.jsonl")
    with pytest.raises(InputError, match="would be replaced"):
        mine(str(data), data, index=index, passages=mini_data.docs)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "2: not a training example: JSONDecodeError"),
        ('{"query": "?", "positive_passages": []}', "2: not a training example: KeyError 'query_id'"),
        ('{"query_id": "a b", "query": "?", "positive_passages": []}', "2: 'a b' cannot be an id"),
        ('{"query_id": "t1", "query": "?", "positive_passages": []}', "2: repeats the id t1"),
    ],
)
def test_bad_lines_are_named(
    mini_data: Mini, mined: Callable[..., tuple[Mined, Path]], tmp_path: Path, line: str, message: str
) -> None:
    data = tevatron(tmp_path / "given.jsonl")
    data.write_text(data.read_text() + line + "\n")
    with pytest.raises(InputError, match=f"given.jsonl:{message}"):
        mined(data=str(data), passages=mini_data.docs)


def test_a_file_without_positives_is_refused(
    mini_data: Mini, mined: Callable[..., tuple[Mined, Path]], tmp_path: Path
) -> None:
    data = tevatron(tmp_path / "given.jsonl", positive_passages=[])
    with pytest.raises(InputError, match="no question with a positive"):
        mined(data=str(data), passages=mini_data.docs)


# BM25, with Pyserini


@pytest.mark.integration
def test_bm25_ranks_by_words_and_is_the_same_twice(mini_data: Mini, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "depth": 20,
        "negatives": 6,
    }
    first = mine(mini_data.topics, tmp_path / "a.jsonl", bm25=tmp_path / "lucene", **settings)
    found = lines(tmp_path / "a.jsonl")
    answers = {question["id"]: question["answers"] for question in mini_data.questions}
    asked = {question["id"]: set(question["question"].casefold().split()) for question in mini_data.questions}
    for qid, item in found.items():
        assert not set(ids(item)) & set(ids(item, "positive"))
        for passage in item["negative_passages"]:
            assert not contains_answer(Passage(*passage.values()), answers[qid])
            words = f"{passage['title']} {passage['text']}".casefold().replace(".", " ").split()
            assert asked[qid] & set(words)
    assert first.positive == 14  # a question is made of its passage's first words
    assert first.negatives > 14
    (tmp_path / "a.jsonl.json").unlink()
    second = mine(mini_data.topics, tmp_path / "b.jsonl", bm25=tmp_path / "lucene 2", **settings)
    assert second == first
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


@pytest.mark.integration
def test_bm25_index_is_reused_and_what_a_killed_run_left_is_not(
    mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docs, folder = collection.load(mini_data.docs), tmp_path / "lucene"
    bm25_index(docs, folder)
    partial = shutil.copytree(folder, tmp_path / "other.partial")
    (partial / "manifest.json").unlink()
    (partial / ".identity").write_text(Manifest.read(folder).identity)
    (partial / "_7.fdt").write_text("half a segment")
    bm25_index(docs, tmp_path / "other")
    assert set(contents(tmp_path / "other")) == set(contents(folder))
    bm25_index(docs, folder)
    assert [line.split(": ", 1)[1] for line in caplog.messages] == [
        f"wrote {folder} (passages 60)",
        f"wrote {tmp_path / 'other'} (passages 60)",
        f"{folder} is up to date",
    ]
