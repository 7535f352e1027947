"""XQuAD's articles as training data in folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xqg_repro import cli
from xqg_repro.collection import local
from xqg_repro.core.errors import InputError
from xqg_repro.study.alignment import numbers
from xqg_repro.study.data import load_data
from xqg_repro.study.folds import split_articles
from xqg_repro.study.training_folds import write_folds


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["data"]


def questions_of(articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [question for article in articles for paragraph in article["paragraphs"] for question in paragraph["qas"]]


def contexts_of(articles: list[dict[str, Any]]) -> set[str]:
    return {paragraph["context"] for article in articles for paragraph in article["paragraphs"]}


def check_folds(folder: Path, folds: int, titles: int, ids: set[str]) -> None:
    """No article on both sides, every question held out once and in training in all other folds, answers in place."""
    all_held_out: list[str] = []
    for number in range(folds):
        train, held_out = (read(folder / f"{name}.{number}.json") for name in ("train", "held-out"))
        train_titles, held_out_titles = ({article["title"] for article in side} for side in (train, held_out))
        assert not train_titles & held_out_titles
        assert len(train_titles) + len(held_out_titles) == titles
        assert not contexts_of(train) & contexts_of(held_out)
        held_out_ids = [question["id"] for question in questions_of(held_out)]
        assert sorted([question["id"] for question in questions_of(train)] + held_out_ids) == sorted(ids)
        all_held_out += held_out_ids
        for article in (*train, *held_out):
            for paragraph in article["paragraphs"]:
                assert paragraph["context"] == paragraph["context"].strip()
                for question in paragraph["qas"]:
                    assert question["id"].endswith(f".{question['lang']}") and question["answers"]
                    for answer in question["answers"]:
                        assert paragraph["context"].startswith(answer["text"], answer["answer_start"])
    assert sorted(all_held_out) == sorted(ids)


def test_folds_are_split_by_article_as_in_the_study(shared_xquad: Path, tmp_path: Path) -> None:
    counts = write_folds(tmp_path / "folds", ["ar", "en"], folds=3, seed=7).counts
    assert counts == {"articles": 6, "questions": 36}
    ids = {f"{a}{p}{i}.{code}" for a in range(6) for p in range(2) for i in range(p + 1) for code in ("ar", "en")}
    check_folds(tmp_path / "folds", 3, 6, ids)
    data = load_data(["en", "ar"])
    fold = split_articles(data.articles, 3, 7)
    for number in range(3):
        held_out = {q["id"].partition(".")[0] for q in questions_of(read(tmp_path / f"folds/held-out.{number}.json"))}
        assert held_out == {data.qids[row] for row in np.flatnonzero(fold == number)}
        paragraphs = list(local.load(str(tmp_path / f"folds/passages.{number}.jsonl"), ["docs"]).docs_iter())
        rows = np.unique(data.gold[fold == number])
        assert [(doc.doc_id, doc.title, doc.text) for doc in paragraphs] == [data.paragraphs["en"][row] for row in rows]


@pytest.mark.integration
def test_folds_of_the_real_data(shared_data: Path, tmp_path: Path) -> None:
    languages = ["en", "th"]
    counts = write_folds(tmp_path / "folds", languages, folds=4).counts
    assert counts == {"articles": 48, "questions": 2 * 1190}
    ids = {question["id"] for question in questions_of(read(shared_data / "xquad" / "xquad.en.json"))}
    check_folds(tmp_path / "folds", 4, 48, {f"{qid}.{code}" for qid in ids for code in languages})


def test_questions_are_in_their_languages_and_paragraphs_in_theirs(shared_xquad: Path, tmp_path: Path) -> None:
    command = ["train", "folds", "--passages", "en", "--languages", "ar", "--folds", "2", "--seed", "3"]
    assert cli.main([*command, "--output", str(tmp_path)]) == 0
    articles = [*read(tmp_path / "train.0.json"), *read(tmp_path / "train.1.json")]
    first, second = next(article for article in articles if article["title"] == "Article 2")["paragraphs"]
    assert first["context"].startswith("enka0 enke0 enki0 enko0 enku0 ends")
    answers = [{"text": "enke0", "answer_start": 6}]
    assert first["qas"] == [{"id": "200.ar", "lang": "ar", "question": "which arka0?", "answers": answers}]
    assert [question["id"] for question in second["qas"]] == ["210.ar", "211.ar"]


def test_folds_are_rebuilt_for_other_data(
    changed_xquad: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed_xquad()
    write_folds(tmp_path / "folds", ["en", "ar"], folds=3)
    write_folds(tmp_path / "folds", ["en", "ar"], folds=2)
    assert caplog.messages[1].endswith("is rebuilt (changed: folds)")
    assert not (tmp_path / "folds" / "train.2.json").exists()
    changed_xquad(lambda parsed: parsed["ar"]["data"][0]["paragraphs"][0]["qas"][0].update(question="another?"))
    write_folds(tmp_path / "folds", ["en", "ar"], folds=2)
    assert caplog.messages[3].endswith("is rebuilt (changed: xquad)")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_sentences_and_passages_of_a_fold_are_those_of_its_files(shared_xquad: Path, tmp_path: Path) -> None:
    command = ["train", "folds", "--languages", "ar", "en", "--folds", "2", "--seed", "3", "--parallel"]
    assert cli.main([*command, "--output", str(tmp_path / "folds")]) == 0
    for number in range(2):
        held_out = lines(tmp_path / "folds" / f"passages.{number}.jsonl")
        assert {doc["text"] for doc in held_out} == contexts_of(read(tmp_path / "folds" / f"held-out.{number}.json"))
        docids = {doc["docid"] for doc in held_out}
        parts = {name: lines(tmp_path / "folds" / f"parallel.{name}.{number}.jsonl") for name in ("train", "held-out")}
        assert {line["docid"] for line in parts["held-out"]} == docids
        assert not {line["docid"] for line in parts["train"]} & docids
        texts = {doc.doc_id: doc.text for doc in load_data(["en"]).paragraphs["en"]}
        for line in (*parts["train"], *parts["held-out"]):
            assert line["text"] in texts[line["docid"]] and line["translations"].keys() == {"ar"}
    plain = write_folds(tmp_path / "plain", ["ar", "en"], folds=2, seed=3)
    assert "parallel" not in plain.parameters and "sentences" not in plain.counts


@pytest.mark.integration
def test_most_sentences_of_the_real_data_are_aligned(shared_data: Path, tmp_path: Path) -> None:
    counts = write_folds(tmp_path / "folds", ["de", "en", "th", "zh"], folds=2, parallel=True).counts
    assert counts["unaligned"] < 0.1 * counts["translations"]
    pairs = [line for name in ("train", "held-out") for line in lines(tmp_path / "folds" / f"parallel.{name}.0.jsonl")]
    for code, least in (("de", 0.9), ("th", 0.85), ("zh", 0.85)):  # separators and calendars differ
        same = [numbers(p["text"]) <= numbers(p["translations"][code]) for p in pairs if code in p["translations"]]
        assert sum(same) / len(same) > least


def test_repeated_languages_and_answers_at_other_positions_are_refused(
    changed_xquad: Callable[..., None], tmp_path: Path
) -> None:
    def move(parsed: dict[str, Any]) -> None:
        parsed["en"]["data"][3]["paragraphs"][1]["qas"][1]["answers"][0]["answer_start"] = 0

    changed_xquad(move)
    with pytest.raises(InputError, match=r"xquad\.en\.json: the answer 'enmi1' to question 311"):
        write_folds(tmp_path / "folds", ["ar"], folds=2)
    with pytest.raises(InputError, match="--languages repeats ar"):
        write_folds(tmp_path / "folds", ["ar", "en", "ar"], folds=2)
    assert not (tmp_path / "folds").exists()
