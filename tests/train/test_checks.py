from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from train.samples import ENCODER, tevatron_item, write_lines
from xqg_repro.core.errors import InputError
from xqg_repro.train.checks import count_faults, examine
from xqg_repro.train.data import Example, Split, TevatronFile, load_split


def passage(docid: str, text: str = "") -> dict[str, str]:
    return {"docid": docid, "title": "T", "text": text or f"text {docid}"}


def line(*negatives: dict[str, str], query: str = "q") -> dict[str, Any]:
    return tevatron_item(query, positive_passages=[passage("1")], negative_passages=list(negatives))


class Words:
    """A tokenizer with one token per word and two more."""

    def __call__(self, texts: list[str], **settings: Any) -> dict[str, list[list[int]]]:
        assert settings == {"truncation": False, "padding": False}
        return {"input_ids": [[0] * (len(text.split()) + 2) for text in texts]}


def texts(example: Example) -> tuple[str, str]:
    return example.query, example.positive.text


def test_faults_are_counted_with_their_lines(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "train.jsonl",
        line(passage("2"), passage("3")),
        "",
        line(passage("2"), passage("3"), passage("2"), passage("9", "text 3"), passage("4")),
        line(passage("1"), passage("2"), passage("8", "text 1"), query="one two three four"),
        line(passage("2", "a b c d e f g h"), query="one two three"),
        {**line(), "positive_passages": [passage("1", "a b c d e"), passage("5", "other words")]},
    )
    faults = examine(TevatronFile(path), Words(), texts, (5, 6))
    assert list(faults.counts.values()) == [2, 2, 1, 1]
    parts = "2 repeated negatives (line 3); 2 positives among negatives (line 4)"
    assert str(faults) == f"{parts}; 1 cut questions (line 4); 1 cut passages (line 6)"


def test_only_the_first_lines_of_many_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", *[line(passage("1"), query=f"q {i}") for i in range(1200)])
    faults = examine(TevatronFile(path), Words(), texts, (32, 128))
    assert str(faults) == "1,200 positives among negatives (line 1, 2, 3, 4, 5, …)"


@pytest.mark.parametrize("setting", ["data", "held_out_data"])
def test_all_bad_lines_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture, setting: str) -> None:
    good = write_lines(tmp_path / "good.jsonl", line())
    bad = write_lines(tmp_path / "bad.jsonl", line(), "{", *['{"query": "q"}'] * 600)
    recipe = dataclasses.replace(ENCODER, **{"data": str(good), setting: str(bad)})
    with pytest.raises(InputError, match=r"is not JSON.*; 600 more bad lines \(line 3, 4, 5, 6, 7, …\)") as e:
        count_faults(recipe, load_split(recipe), Words(), texts, (32, 128))
    assert (e.value.path, e.value.line) == (bad, 2)


def test_other_data_have_no_counts(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    split = Split([], [], "", [])
    assert count_faults(ENCODER, split, Words(), texts, (32, 128)) == {}
    data = dataclasses.replace(ENCODER, data=str(write_lines(tmp_path / "train.jsonl", line())))
    assert not any(count_faults(data, load_split(data), Words(), texts, (32, 128)).values())
    assert caplog.record_tuples == [("xqg_repro.train.checks", logging.INFO, f"train: {data.data}: no faults")]
