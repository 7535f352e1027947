from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.samples import write_lines
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.train.tevatron import TevatronLine, numbered_lines, parse_line

TURKU = {"docid": "1", "title": "Turku", "text": "On täällä."}
LINE = {"query": "missä?", "positive_passages": [TURKU], "negative_passages": [{**TURKU, "docid": 2}]}
KEYS = ("query", "positive_passages", "negative_passages")


def parse(item: Any, required: tuple[str, ...] = KEYS) -> TevatronLine:
    line = item if isinstance(item, str) else json.dumps(item)
    return parse_line(line.encode(), Path("train.jsonl"), 7, required)


def test_lines_are_parsed_and_written() -> None:
    turku = Passage("1", "Turku", "On täällä.")
    line = TevatronLine("", "missä?", "", (), (turku,), (turku._replace(doc_id="2"),))
    assert parse(LINE) == line
    full = line._replace(qid="q1", lang="fi", answers=("1229",))
    written = full.to_json()
    assert written.endswith("\n") and "missä" in written and parse(written) == full
    assert json.loads(written).keys() == {"query_id", "lang", "answers", *KEYS}
    assert "answers" not in line.to_json()
    assert parse({**LINE, "query_id": 5, "lang": " ar", "answers": [1229]})[:4] == ("5", "missä?", "ar", ("1229",))


def test_negatives_that_are_not_required_are_not_read() -> None:
    item = {**LINE, "negative_passages": "anything"}
    assert parse(item, ("query", "positive_passages")).negatives == ()


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ('{"query": ', "is not JSON"),
        ("[]", "not an object"),
        *(({k: v for k, v in LINE.items() if k != key}, f"'{key}'") for key in KEYS),
        ({**LINE, "positive_passages": [{"docid": "1", "text": "no title"}]}, r"'positive_passages\[0\]\.title'"),
        *(({**LINE, "query": query}, "query is .*, expected text") for query in (5, None, ["missä?"])),
        *(({**LINE, "query": query}, "query is blank") for query in ("", " \u3000")),
        ({**LINE, "query": "miss\ud83d"}, "half a character"),
        ({**LINE, "negative_passages": [{**TURKU, "text": None}]}, r"passages\[0\]\.text is None, expected text"),
        ({**LINE, "positive_passages": {}}, "expected a list"),
        ({**LINE, "positive_passages": [{**TURKU, "docid": True}]}, "docid is True"),
        *(
            ({**LINE, "answers": answers}, "answers is")
            for answers in ("Finland", None, [["a"]], [1.5], [""], {"a": 1})
        ),
        *(({**LINE, "query_id": qid}, "query_id is") for qid in (None, ["q"], False)),
        *(({**LINE, "lang": lang}, "lang is .*, expected text") for lang in (None, 5, ["fi"])),
    ],
)
def test_bad_lines_are_named(item: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parse(item)
    assert (caught.value.path, caught.value.line) == (Path("train.jsonl"), 7)


def test_blank_lines_are_skipped_and_offsets_counted_in_bytes(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", "ä", "", " ", "b")
    assert list(numbered_lines(path)) == [(1, 0, "ä\n".encode()), (4, 6, b"b\n")]
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    assert list(numbered_lines(path)) == [(1, 3, b"a\r\n"), (2, 6, b"b\n")]
    with pytest.raises(InputError, match="no such training file"):
        list(numbered_lines(tmp_path / "none.jsonl"))


# scores

SCORED = {
    "query": "missä?",
    "positive_passages": [{**TURKU, "score": 2}],
    "negative_passages": [{**TURKU, "docid": "2", "score": -0.5}, {**TURKU, "docid": "2", "score": -0.5}],
}


def test_scores_are_read_by_docid_where_they_are_needed_and_written() -> None:
    line = parse_line(json.dumps(SCORED).encode(), Path("train.jsonl"), 7, KEYS, scored=True)
    assert line.scores == {"1": 2.0, "2": -0.5}
    written = json.loads(line.to_json())
    assert [passage["score"] for passage in written["positive_passages"] + written["negative_passages"]] == [
        2.0,
        -0.5,
        -0.5,
    ]
    assert parse_line(line.to_json().encode(), Path("train.jsonl"), 7, KEYS, scored=True) == line
    assert parse(SCORED).scores == {} and "score" not in parse(SCORED).to_json()
    half = line._replace(scores={"2": 1.5})
    assert [passage.get("score") for passage in json.loads(half.to_json())["positive_passages"]] == [None]


@pytest.mark.parametrize(
    ("passage", "problem"),
    [
        (TURKU, r"lacks the field 'negative_passages\[0\].score'"),
        *(({**TURKU, "score": score}, "expected a finite number") for score in (None, "1", True, float("inf"))),
        ({**TURKU, "score": float("nan")}, r"negative_passages\[0\].score is nan"),
        ({**TURKU, "score": 1.0}, "scores the passage 1 twice, 2.0 and 1.0"),
    ],
)
def test_missing_and_contradictory_scores_are_named(passage: dict[str, Any], problem: str) -> None:
    item = {**SCORED, "negative_passages": [passage]}
    with pytest.raises(InputError, match=problem) as caught:
        parse_line(json.dumps(item).encode(), Path("train.jsonl"), 7, KEYS, scored=True)
    assert (caught.value.path, caught.value.line) == (Path("train.jsonl"), 7)
