"""The leaderboard's prediction file, read and validated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.predictions import read_submission

GOOD = {"id": "q1", "lang": "ar", "ctxs": ["e", "e"]}


def write_json(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_a_submission_is_read(tmp_path: Path) -> None:
    path = write_json(tmp_path / "s.json", [GOOD, {"id": "q2", "lang": "fi", "ctxs": [], "question": "two?"}])
    predictions = read_submission(path)
    assert [(p.qid, p.lang, p.ctxs) for p in predictions] == [("q1", "ar", ("e", "e")), ("q2", "fi", ())]
    path.with_suffix(".json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_submission(path.with_suffix(".json.gz")) == predictions


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": 2}, "id 2: id is not text: 2"),
        ({"id": ""}, "id '': the id is empty"),
        ({"id": "q 2"}, "id 'q 2': the id is empty, or contains white space"),
        ({"id": "\0 "}, r"id '\x00 ': the id is"),
        ({"lang": None}, "id 'q2': lang is not text: None"),
        ({"lang": "Arabic"}, "id 'q2': the language is 'Arabic'"),
        ({"lang": " ar"}, "id 'q2': the language is ' ar', but 'ar' before"),
        ({"ctxs": "text"}, "id 'q2': ctxs is not a list: 'text'"),
        ({"ctxs": ["e", 5]}, "id 'q2': ctxs[1] is not text: 5"),
        ({"ctxs": [{"text": "e"}]}, "id 'q2': ctxs[0] is not text: {'te"),
        ({"ctxs": ["e", " \n"]}, "id 'q2': ctxs[1] is blank"),
        ({"id": "q1"}, "id 'q1': has the same id as item [0]"),
    ],
)
def test_a_bad_item_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = write_json(tmp_path / "s.json", [GOOD, {**GOOD, "id": "q2", **change}])
    with pytest.raises(InputError) as caught:
        read_submission(path)
    assert f"item [1], {problem}" in str(caught.value)
    assert caught.value.path == path and caught.value.hint and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem", "line"),
    [
        ({"q1": GOOD}, "not a JSON list", None),
        ([], "not a JSON list", None),
        ([GOOD, ["q2"]], r"item \[1\]: is not an object", None),
        ([{"lang": "ar", "ctxs": []}], r"item \[0\]: has no 'id'", None),
        ([{"id": "q2", "lang": "ar", "ctx": []}], r"item \[0\], id 'q2': has no 'ctxs'", None),
        ('[{"id": "q1",\n"lang": "ar"\n"ctxs": []}]', "is not JSON", 3),
        ('{"id": "q1", "lang": "ar", "ctxs": []}\n{"id": "q2", "lang": "ar", "ctxs": []}\n', "is not JSON", 2),
        ('[{"id": "q1", "id": "q2", "lang": "ar", "ctxs": []}]', "repeats the key 'id'", None),
        ("[" * 100_000, "is not JSON", None),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: Any, problem: str, line: int | None) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_submission(write_json(tmp_path / "s.json", content))
    assert caught.value.line == line
    with pytest.raises(InputError, match="no such submission"):
        read_submission(tmp_path / "missing.json")


def test_a_submission_is_compared_with_its_topics(shared_data: Path, tmp_path: Path) -> None:
    text = (shared_data / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl").read_text(encoding="utf-8")
    items = [{"id": q["id"], "lang": q["lang"], "ctxs": ["tea"]} for q in map(json.loads, text.splitlines())]
    path = write_json(tmp_path / "s.json", items)
    assert len(read_submission(path, "xor-tydi/dev")) == 2110
    with pytest.raises(InputError, match="no such question"):
        read_submission(path, "xor-tydi/train")
    write_json(path, [{**item, "lang": "fi"} for item in items])
    with pytest.raises(InputError, match=r"the language is 'fi' \(write '"):
        read_submission(path, "xor-tydi/dev")
    write_json(path, items[1:])
    with pytest.raises(InputError, match="lacks 1 of the 2,110"):
        read_submission(path, "xor-tydi/dev")
    assert len(read_submission(path, "xor-tydi/dev", complete=False)) == 2109
