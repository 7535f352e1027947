"""What a training refuses before its first step, and settings that must not change what is trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ir_datasets
import pytest
import torch
from conftest import Mini, interrupted_at

from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.models.settings import Precision
from xqg_repro.train import checkpoints, trainer, xdr
from xqg_repro.train.data import Example, held_out_split, load_examples, load_split
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, ReaderRecipe, Recipe, load_recipe

MINI = load_recipe("xdr-mini")


# recipes


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        (EncoderRecipe, {"batch_size": 0}, "batch_size is 0 .it must be at least 1"),
        (EncoderRecipe, {"steps": -5}, "steps is -5 .it must be at least 0"),
        (EncoderRecipe, {"negatives": -1}, "negatives is -1"),
        (EncoderRecipe, {"passage_max_length": 2}, "passage_max_length is 2 .it must be at least 3"),
        (EncoderRecipe, {"temperature": 0.0}, "temperature is 0.0 .it must be above 0"),
        (EncoderRecipe, {"learning_rate": float("nan")}, "learning_rate is nan .it must be above 0"),
        (EncoderRecipe, {"held_out": 1.5}, "held_out is 1.5 .it must be a share"),
        (EncoderRecipe, {"precision": Precision.FLOAT16}, "float16 is not supported"),
        (GeneratorRecipe, {"shortened": -0.1}, "shortened is -0.1 .it must be a share"),
        (GeneratorRecipe, {"names_epochs": -1}, "names_epochs is -1"),
        (ReaderRecipe, {"negatives": -1}, "negatives is -1"),
        (ReaderRecipe, {"max_length": 50}, "50 tokens leave no room"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: type[Recipe], settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        kind(name="a", data="b", **{"learning_rate": 0.1, **settings})


def test_options_are_checked_like_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "xqg", "--steps", "-5", "--output", str(tmp_path / "m")]) == 2
    assert "steps is -5" in capsys.readouterr().err


def test_a_recipe_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"xqg-mt5-base.yaml: is a recipe of train xqg, not of train xdr"):
        load_recipe("xqg-mt5-base", EncoderRecipe)
    with pytest.raises(InputError, match=r"xdr-mini.yaml: is a recipe of train xdr, not of train reader"):
        load_recipe("xdr-mini", ReaderRecipe)


# data


@pytest.mark.parametrize("name", ["xor-mini/dev", "xor-mini/dev/fi", "xor-tydi/dev", "xor-tydi/test"])
@pytest.mark.parametrize("setting", ["data", "held_out_data"])
def test_questions_that_systems_are_compared_on_are_refused(setting: str, name: str) -> None:
    with pytest.raises(InputError, match=f"systems are compared on {name}"):
        load_split(dataclasses.replace(MINI, **{setting: name}))


def test_data_are_not_both_trained_and_measured_on() -> None:
    with pytest.raises(InputError, match="xor-mini/train cannot be both training and held-out data"):
        load_split(dataclasses.replace(MINI, held_out_data=MINI.data))


def passage(docid: str) -> Passage:
    return Passage(docid, "T", f"text {docid}")


def test_no_held_out_passage_is_trained_on_as_a_further_positive() -> None:
    examples = [
        Example(f"q{i}", passage(str(i % 200)), other_positives=tuple(passage(str((i + j) % 200)) for j in (1, 2, 3)))
        for i in range(600)
    ]
    kept, held_out = held_out_split(examples, 0.2)
    measured = {example.positive.doc_id for example in held_out}
    trained = {p.doc_id for example in kept for p in (example.positive, *example.other_positives)}
    assert measured and trained and not measured & trained
    assert any(example.other_positives for example in kept)
    assert not any(example.other_positives for example in held_out)


def judged(monkeypatch: pytest.MonkeyPatch, *judgements: tuple[str, str, int]) -> None:
    """An ir-datasets dataset ``judged`` with two questions and three documents without titles."""
    docs = [SimpleNamespace(doc_id=docid, text=f"text {docid}") for docid in "abc"]
    questions = [SimpleNamespace(query_id=qid, default_text=lambda qid=qid: f"question {qid}") for qid in ("1", "2")]
    qrels = [SimpleNamespace(query_id=q, doc_id=d, relevance=r) for q, d, r in judgements]
    dataset = SimpleNamespace(
        dataset_id=lambda: "judged",
        has=lambda part: True,
        docs_iter=lambda: iter(docs),
        queries_iter=lambda: iter(questions),
        qrels_iter=lambda: iter(qrels),
        docs_handler=lambda: SimpleNamespace(fingerprint=lambda: "docs"),
        queries_handler=lambda: SimpleNamespace(fingerprint=lambda: "queries"),
    )
    monkeypatch.setattr(ir_datasets, "load", lambda name: dataset)


def test_only_passages_judged_relevant_are_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, ("1", "a", 0), ("1", "b", 1), ("1", "c", 2), ("2", "a", 1))
    examples, _ = load_examples("judged")
    assert [(e.qid, e.query, e.lang, e.positive) for e in examples] == [
        ("1", "question 1", "", Passage("b", "", "text b")),
        ("2", "question 2", "", Passage("a", "", "text a")),
    ]
    assert [p.doc_id for p in examples[0].negatives] == ["a"]


def test_a_question_judged_irrelevant_only_or_of_an_unknown_passage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, ("1", "a", 0), ("2", "a", 1))
    with pytest.raises(InputError, match="question 1 of judged has no relevant passage"):
        load_examples("judged")
    judged(monkeypatch, ("1", "z", 1), ("2", "a", 1))
    with pytest.raises(InputError, match="judged judges the passage 'z', which is not in its collection"):
        load_examples("judged")


def tevatron(path: Path, mini: Mini, count: int, *bad: str) -> Path:
    rows = [{"docid": docid, "title": title, "text": text} for docid, title, text in mini.passages]
    items = [
        {"query": f"query {i}", "positive_passages": rows[i : i + 1], "negative_passages": rows[i + 1 : i + 3]}
        for i in range(count)
    ]
    path.write_text("".join(f"{line}\n" for line in (*map(json.dumps, items), *bad)), encoding="utf-8")
    return path


@pytest.fixture
def recipe(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> EncoderRecipe:
    data = tevatron(tmp_path / "train.jsonl", mini_data, 8)
    return EncoderRecipe(name="tiny", data=str(data), model=str(tiny_model), batch_size=4, negatives=1, steps=2)


def trained(recipe: EncoderRecipe, tmp_path: Path) -> None:
    xdr.train(recipe, tmp_path / "model")


@pytest.mark.parametrize("evaluation_steps", [0, 1])
def test_held_out_lines_are_looked_through_before_the_first_step(
    recipe: EncoderRecipe,
    mini_data: Mini,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    evaluation_steps: int,
) -> None:
    bad = tevatron(tmp_path / "held-out.jsonl", mini_data, 3, "{")
    with pytest.raises(InputError, match="JSONDecodeError") as caught:
        trained(dataclasses.replace(recipe, held_out_data=str(bad), evaluation_steps=evaluation_steps), tmp_path)
    assert (caught.value.path, caught.value.line) == (bad, 4) and not any("step" in line for line in caplog.messages)


def test_all_bad_lines_are_counted(recipe: EncoderRecipe, mini_data: Mini, tmp_path: Path) -> None:
    bad = tevatron(tmp_path / "bad.jsonl", mini_data, 3, "{", *['{"query": "q"}'] * 600)
    with pytest.raises(InputError, match=r"JSONDecodeError .*; 600 more bad lines \(line 5, 6, 7, 8, 9, …\)") as e:
        trained(dataclasses.replace(recipe, data=str(bad)), tmp_path)
    assert e.value.line == 4


def test_more_tokens_than_the_model_has_positions_are_refused(recipe: EncoderRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads at most 160 tokens, but the maximum length is 200"):
        trained(dataclasses.replace(recipe, passage_max_length=200), tmp_path)


# hardware


def test_a_process_takes_one_of_several_gpus(recipe: EncoderRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    class FourGpus(transformers.TrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 4

    monkeypatch.setattr(transformers, "TrainingArguments", FourGpus)
    sizes = {"per_device_train_batch_size": 32, "per_device_eval_batch_size": 32}
    found = trainer.training_arguments(recipe, Path("folder"), "questions", steps=1, evaluate=False, **sizes)
    assert (found.train_batch_size, found.eval_batch_size) == (32, 32)
    assert FourGpus("folder", use_cpu=True, **sizes).train_batch_size == 128  # what would have been


def test_a_gpu_without_bfloat16_is_refused(recipe: EncoderRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    narrow = dataclasses.replace(recipe, precision=Precision.BFLOAT16)
    with pytest.raises(InputError, match=r"does not support bfloat16 \(set precision: float32"):
        trainer.training_arguments(narrow, Path("folder"), "questions", steps=1, evaluate=False)


def test_a_checkpoint_of_another_number_of_processes_is_refused(recipe: EncoderRecipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, checkpoint_steps=1, steps=3)
    with interrupted_at("step 2 of"):
        trained(recipe, tmp_path)
    (saved,) = (tmp_path / "model.partial").rglob(f"checkpoint-1/{checkpoints.MARK}")
    assert saved.read_text() == "1"
    saved.write_text("2")
    with pytest.raises(InputError, match=r"checkpoint-1: was saved by 2 processes; 1 cannot resume it"):
        trained(recipe, tmp_path)
    assert saved.exists()
