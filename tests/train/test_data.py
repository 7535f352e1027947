from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ir_datasets
import pytest
from conftest import Mini

from train.samples import example, passage, squad, write_lines
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.train.data import (
    Example,
    Selection,
    TevatronFile,
    held_out_split,
    load_examples,
    load_passages,
    load_split,
)
from xqg_repro.train.recipe import EncoderRecipe, load_recipe

MINI = load_recipe("xdr-mini", EncoderRecipe)

# ir-datasets


def test_negatives_are_the_other_passages_of_the_positives_title(mini_data: Mini) -> None:
    examples, _ = load_examples(mini_data.topics)
    titles = {docid: title for docid, title, _ in mini_data.passages}
    for found, (_, docid) in zip(examples, mini_data.qrels, strict=True):
        assert found.positive.doc_id == docid
        same_title = {other for other, title in titles.items() if title == titles[docid]}
        assert {negative.doc_id for negative in found.negatives} == same_title - {docid}


def test_positives_are_the_passages_judged_relevant(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*judgements: tuple[str, str, int]) -> Any:
        """Examples of a dataset with two questions and three passages without titles."""
        parts = {
            "docs": [SimpleNamespace(doc_id=docid, text=f"text {docid}") for docid in "abc"],
            "queries": [SimpleNamespace(query_id=qid, default_text=lambda: "question") for qid in ("1", "2")],
            "qrels": [SimpleNamespace(query_id=q, doc_id=d, relevance=r) for q, d, r in judgements],
        }
        iterators = {f"{part}_iter": lambda rows=rows: iter(rows) for part, rows in parts.items()}
        handlers = {f"{part}_handler": lambda: SimpleNamespace(fingerprint=lambda: "version") for part in parts}
        dataset = SimpleNamespace(has=lambda part: True, dataset_id=lambda: "judged", **iterators, **handlers)
        monkeypatch.setattr(ir_datasets, "load", lambda name: dataset)
        return load_examples("judged")[0]

    a, b = Passage("a", "", "text a"), Passage("b", "", "text b")
    assert load(("1", "a", 0), ("1", "b", 1), ("1", "c", 2), ("2", "a", 1)) == [
        Example("question", b, (a,), qid="1"),
        Example("question", a, (b, Passage("c", "", "text c")), qid="2"),
    ]
    with pytest.raises(InputError, match="question 1 of judged has no relevant passage"):
        load(("1", "a", 0), ("2", "a", 1))
    with pytest.raises(InputError, match="judged judges the passage 'z'"):
        load(("1", "z", 1), ("2", "a", 1))


@pytest.mark.parametrize("name", ["xor-tydi", "xor-tydi/test"])
def test_datasets_without_judgements_are_refused(mini_data: Mini, name: str) -> None:
    with pytest.raises(InputError, match=r"has no (questions|relevance judgements)"):
        load_examples(name)


# Tevatron's format

TURKU, OULU, VAASA = ({"docid": str(i), "title": title, "text": "x"} for i, title in enumerate(("T", "O", "V")))
LINE = {"query": "missä?", "positive_passages": [TURKU], "negative_passages": [OULU]}


def test_examples_are_read_when_they_are_accessed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", LINE, "", {**LINE, "query": "miksi?", "answers": ["a"]})
    examples = TevatronFile(path)
    turku, oulu = Passage(doc_id="0", title="T", text="x"), Passage("1", "O", "x")
    first, second = Example("missä?", turku, (oulu,)), Example("miksi?", turku, (oulu,), "", ("a",), (-1,))
    assert list(examples) == [first, second] and examples[-1] == examples[1:][0] == second
    both = Selection([(examples, 1), (examples, 0), *((examples, i) for i in range(2))])
    assert len(both) == 4 and list(both[:2]) == [second, first] and both[-1] == second
    path.write_text("changed\n" * 99)
    with pytest.raises(InputError, match="is not JSON"):
        both[0]


def test_repeated_negatives_and_positives_among_them_are_dropped(tmp_path: Path) -> None:
    copy = {**OULU, "docid": "9"}  # under another docid
    item = {**LINE, "positive_passages": [TURKU, VAASA], "negative_passages": [OULU, VAASA, copy, OULU, TURKU]}
    line = TevatronFile(write_lines(tmp_path / "train.jsonl", item)).read(0)
    assert (line.number, line.repeated, line.positive) == (1, 2, 2)
    assert [p.doc_id for p in line.example.negatives] == ["1"]
    assert [p.doc_id for p in line.example.other_positives] == ["2"]


def test_lines_without_a_positive_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", LINE, {**LINE, "positive_passages": []})
    with pytest.raises(InputError, match="no positive passage") as caught:
        list(TevatronFile(path))
    assert (caught.value.path, caught.value.line) == (path, 2)


def test_files_are_found_by_path_then_among_the_published_ones(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published = own_home / "xqg_repro" / "training" / "nq-train.jsonl"
    published.parent.mkdir(parents=True)
    write_lines(published, LINE, LINE)
    data = load_recipe("zs-mbert", EncoderRecipe).data
    examples, version = load_examples(data)
    assert len(examples) == 2
    write_lines(Path(data), LINE)
    assert len(load_examples(data)[0]) == 1 and load_examples(data)[1] != version
    with pytest.raises(InputError, match=r"none\.jsonl: no such training file"):
        load_examples("none.jsonl")
    with pytest.raises(InputError, match=r"train\.jsonl\.gz: is compressed"):
        load_examples("train.jsonl.gz")


# SQuAD's format


def test_squad_files_are_examples_with_each_id_once_and_the_articles_own_titles(tmp_path: Path) -> None:
    answers = [{"text": "city", "answer_start": 11}] * 2
    turku = [
        ("Turku is a city.", [{"id": 1, "question": " Mikä?\n", "lang": " fi", "answers": answers}]),
        ("It is old.", [{"id": 2, "question": "Milloin?"}]),
    ]
    oulu = [("Text.", [{"id": 1, "question": "Mikä?"}, *[{"question": "Missä?"}] * 2])]
    gold = {"Title_Turku_parentSection_History_of_parentSection": turku, "Title Deeds": oulu}
    path = tmp_path / "train.json"
    path.write_text(json.dumps(squad(gold)), encoding="utf-8")
    examples, version = load_examples(str(path))
    first, second, third = load_passages(str(path))
    assert [first[1:], second[1:], third[1:]] == [
        ("Turku", "Turku is a city."),
        ("Turku", "It is old."),
        ("Title Deeds", "Text."),
    ]
    assert examples == [
        Example("Mikä?", first, (second,), "fi", ("city",), (11,), "1"),
        Example("Milloin?", second, (first,), qid="2"),
        *[Example("Missä?", third)] * 2,
    ]
    path.write_text('{"data": []}')
    assert load_examples(str(path))[1] != version


# what is trained and measured on


def test_passages_are_either_trained_or_measured_on() -> None:
    examples = [
        example(f"q{i}", str(i % 200), other_positives=tuple(passage(str((i + j) % 200)) for j in (1, 2, 3)))
        for i in range(600)
    ]
    kept, held_out = held_out_split(examples, 0.2)
    assert len(kept) + len(held_out) == 600
    measured = {found.positive.doc_id for found in held_out}
    trained = {p.doc_id for found in kept for p in (found.positive, *found.other_positives)}
    assert 20 <= len(measured) <= 60 and trained and not measured & trained
    assert any(found.other_positives for found in kept)
    assert not any(found.other_positives for found in held_out)
    assert held_out_split(examples, 0.0) == (examples, [])


def test_held_out_data_takes_the_place_of_a_share() -> None:
    split = load_split(MINI)
    assert (split.kept, split.held_out) == (load_examples(MINI.data)[0], load_examples("xor-mini/held-out")[0])
    assert split.version != load_split(dataclasses.replace(MINI, held_out_data="")).version
    with pytest.raises(InputError, match="both training and held-out data"):
        load_split(dataclasses.replace(MINI, held_out_data=MINI.data))


@pytest.mark.parametrize("name", ["xor-mini/dev", "xor-mini/dev/fi", "xor-tydi/dev", "xor-tydi/test"])
@pytest.mark.parametrize("setting", ["data", "held_out_data"])
def test_questions_that_systems_are_compared_on_are_refused(setting: str, name: str) -> None:
    with pytest.raises(InputError, match=f"systems are compared on {name}"):
        load_split(dataclasses.replace(MINI, **{setting: name}))


@pytest.mark.parametrize("held_out", [0.0, 1.0])
def test_data_that_leave_nothing_to_train_on_are_refused(mini_data: Mini, tmp_path: Path, held_out: float) -> None:
    data = mini_data.topics if held_out else str(write_lines(tmp_path / "none.jsonl", ""))
    with pytest.raises(InputError, match="no question to train on"):
        load_split(dataclasses.replace(MINI, data=data, held_out_data="", held_out=held_out))
