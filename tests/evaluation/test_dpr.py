"""Results of DPR and Pyserini in JSON, as TREC runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.convert import convert
from xqg_repro.retrieval.runfile import Hit, read_run


def ctx(docid: Any, score: Any) -> dict[str, Any]:
    return {"id": docid, "title": "<script>\"'\t\n\u200f", "text": "text " * 20, "score": score}


def converted(content: Any, folder: Path, topics: str = "") -> tuple[str, dict[str, int]]:
    """The run's text, without the tag's column, and the counts."""
    source, output = folder / "dpr.json", folder / "run.txt"
    source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    conversion = convert(source, output, "dpr", "new", topics)
    return output.read_text(encoding="utf-8").replace(" new\n", "\n"), conversion


@pytest.fixture
def topics(tmp_path: Path) -> str:
    (tmp_path / "topics.tsv").write_text("q1\tone ?\nq2\ttwo ?\nq3\tthree ?\n")
    return str(tmp_path / "topics.tsv")


@pytest.mark.parametrize("key", ["id", "qid", "question_id"])
def test_dprs_items_are_identified_by_their_ids(tmp_path: Path, key: str) -> None:
    items = [
        {key: "q2", "question": "?", "answers": [], "ctxs": [ctx("b", "0.5"), ctx(7, 1)]},
        {key: 1, "question": "?", "answers": [], "ctxs": [ctx("wiki:1", 81.5)]},
        {key: "q3", "question": "?", "answers": [], "ctxs": []},
    ]
    text, conversion = converted(items, tmp_path)
    assert text == "q2 Q0 7 1 1.000000\nq2 Q0 b 2 0.500000\n1 Q0 wiki:1 1 81.500000\n"
    assert list(conversion.values()) == [2, 3, 1, 1, 0, 0]


def test_dprs_items_without_ids_are_identified_by_their_texts(tmp_path: Path, topics: str) -> None:
    items = [{"question": " two  ?\n", "ctxs": [ctx("b", 0.5)]}, {"question": "one ?", "ctxs": [ctx("a", 0.5)]}]
    text, conversion = converted(items, tmp_path, topics)
    assert text == "q2 Q0 b 1 0.500000\nq1 Q0 a 1 0.500000\n"
    assert list(conversion.values()) == [2, 2, 0, 0, 0, 0, 1]
    with pytest.raises(InputError, match=r"item \[0\]: has no id .*--topics"):
        converted(items, tmp_path)


def test_questions_with_the_same_text_are_matched_in_order_if_all_are_present(tmp_path: Path) -> None:
    topics = tmp_path / "topics.tsv"
    topics.write_text("q1\tsame\nq2\tother\nq3\tsame\n")
    items = [{"question": "same", "ctxs": [ctx(docid, 1)]} for docid in "ab"]
    text, conversion = converted(items, tmp_path, str(topics))
    assert text == "q1 Q0 a 1 1.000000\nq3 Q0 b 1 1.000000\n"
    assert conversion["questions matched by a text that several share"] == 2
    for count in (1, 3):
        with pytest.raises(InputError, match=f"{count} items have the question 'same', but 2"):
            converted((items * 2)[:count], tmp_path, str(topics))


def test_real_questions_are_identified_by_their_texts(shared_data: Path, tmp_path: Path) -> None:
    questions, _ = read_topics("xor-tydi/dev")
    items = [{"question": text, "ctxs": [{"id": qid, "score": "1.5"}]} for qid, text in questions.items()]
    assert list(converted(items, tmp_path, "xor-tydi/dev")[1].values()) == [2110, 2110, 0, 0, 0, 8, 0]
    assert read_run(tmp_path / "run.txt") == {qid: [Hit(qid, 1.5)] for qid in questions}


def test_pyserinis_mapping_is_read(tmp_path: Path, topics: str) -> None:
    contexts = {
        "q2": [{"docid": "b", "score": "0.5", "has_answer": False}],
        "q1": [{"docid": docid, "score": "2"} for docid in "ba"],
        "q3": [],
    }
    content = {qid: {"question": "?", "answers": ["a"], "contexts": passages} for qid, passages in contexts.items()}
    text, conversion = converted(content, tmp_path, topics)
    assert text == "q2 Q0 b 1 0.500000\nq1 Q0 a 1 2.000000\nq1 Q0 b 2 2.000000\n"
    assert list(conversion.values()) == [2, 3, 1, 1, 0, 0, 1]


PASSAGE = {"id": "a", "score": 1}


def item(*passages: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "q1", **fields, "ctxs": list(passages)}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"id": "q", "ctxs": [', "is not JSON"),
        ('{"q1": {"contexts": []}, "q1": {"contexts": []}}', "repeats the key 'q1'"),
        ('"text"', "contains no questions"),
        ([], "contains no passages"),
        ([["q1"]], "item [0]: is not an object: ['q1']"),
        ([{"id": "q1", "contexts": [PASSAGE]}], "item [0], question 'q1': has no list 'ctxs'"),
        ({"q1": {"ctxs": [PASSAGE]}}, "question 'q1': has no list 'contexts'"),
        ([item("a")], "item [0], question 'q1', ctxs[0]: is not an object: 'a'"),
        ([item({"docid": "a", "score": 1})], "item [0], question 'q1', ctxs[0]: has no 'id'"),
        ([item(PASSAGE, {"id": "b"})], "item [0], question 'q1', ctxs[1]: has no 'score'"),
        ([item({"id": None, "score": 1})], "item [0], question 'q1', ctxs[0]: the id is not text"),
        ([item(PASSAGE, id=True)], "item [0]: the id is not text: True"),
        ([item({"id": "a b", "score": 1})], "item [0], question 'q1', ctxs[0]: 'a b' cannot be"),
        ([item(PASSAGE, id="\ud800")], "half a character"),
        *(
            ([item(PASSAGE, {"id": "b", "score": bad})], f"question 'q1', ctxs[1]: the score {problem}")
            for bad, problem in (
                (True, "True is not a number"),
                (None, "None is not a number"),
                ("high", "'high' is not a number"),
                (10**400, "1000"),
                (float("nan"), "is nan"),
                ("-inf", "is -inf"),
            )
        ),
        ([item(PASSAGE, PASSAGE)], "ctxs[1]: passage 'a' is listed twice for question 'q1', first at item [0]"),
        ([item(PASSAGE)] * 2, "item [1], question 'q1': is the same question as item [0]"),
        ([item(PASSAGE), {"question": "one ?", "ctxs": []}], "item [1], question 'q1': is the same question as item"),
        ([item(PASSAGE, qid="q2")], "item [0]: has several ids: q1, q2"),
        ([item(PASSAGE, id="q9")], "the topics have no question 'q9'"),
        ([{"question": "nine ?", "ctxs": [PASSAGE]}], "item [0]: the topics have no (other) question 'nine ?'"),
        ([{"question": "one ?", "ctxs": [PASSAGE]}] * 2, "item [1]: the topics have no (other) question 'one ?'"),
        ([{"question": None, "ctxs": [PASSAGE]}], "item [0]: has neither an id nor a question"),
    ],
)
def test_a_bad_item_is_named(tmp_path: Path, topics: str, content: Any, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        converted(content, tmp_path, topics)
    assert problem in str(caught.value) and caught.value.path == tmp_path / "dpr.json"
    assert not (tmp_path / "run.txt").exists()
