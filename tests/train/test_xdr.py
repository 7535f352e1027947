from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Mini

from train.samples import ENCODER, example, passage, tevatron_items, weights, write_lines
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.train.architecture import Family
from xqg_repro.train.mini.scratch import train_tokenizer
from xqg_repro.train.xdr import ContrastiveCollator, shuffle, train

PREFIXED = dataclasses.replace(ENCODER, query_prefix="ban: ", passage_prefix="kon: ", title_separator=None)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([f"title ban der kon {i} query" for i in range(40)], 100, Family.BERT)


def unpadded(texts: dict[str, Any]) -> list[list[int]]:
    rows = zip(texts["input_ids"].tolist(), texts["attention_mask"].tolist(), strict=True)
    return [[token for token, kept in zip(*row, strict=True) if kept] for row in rows]


def collate(tokenizer: Any, *examples: Any, epoch: int = 0, recipe: Any = ENCODER, **changes: Any) -> dict[str, Any]:
    collator = ContrastiveCollator(dataclasses.replace(recipe, **changes), tokenizer)
    collator.epoch = lambda: epoch
    return collator(examples)


def test_positives_come_first_then_the_negatives(tokenizer: Any) -> None:
    batch = collate(tokenizer, example("query 1", "1", "2"), example("query 3", "3", "4"))
    texts = [f"{p.title} {p.text}" for p in map(passage, "1324")]
    assert unpadded(batch["passage"]) == tokenizer(texts)["input_ids"]
    assert unpadded(batch["query"]) == tokenizer(["query 1", "query 3"])["input_ids"]
    assert (batch["docids"], batch["questions"]) == (["1", "3", "2", "4"], ["'query 1'", "'query 3'"])


def test_negatives_are_drawn_by_seed_and_epoch_without_repetition(tokenizer: Any) -> None:
    examples = [example(f"query {i}", "1", *map(str, range(2, 22))) for i in range(3)]

    def draw(epoch: int, seed: int = 5) -> list[str]:
        return collate(tokenizer, *examples, epoch=epoch, negatives=3, seed=seed)["docids"][3:]

    assert draw(1) == draw(1) != draw(2) and draw(1) != draw(1, seed=6)
    assert [len({*draw(1)[at : at + 3]}) for at in (0, 3, 6)] == [3, 3, 3]
    few = collate(tokenizer, example("query 1", "1", "2"), example("query 2", "3"), negatives=7)
    assert few["docids"] == ["1", "3", "2"]


def test_positives_take_turns_from_one_that_the_seed_decides(tokenizer: Any) -> None:
    several = example("query", "1", other_positives=(passage("2"), passage("3")))
    firsts = set()
    for seed in range(20):
        batches = [collate(tokenizer, example("other", "4"), several, epoch=epoch, seed=seed) for epoch in range(6)]
        others, positives = zip(*(batch["docids"] for batch in batches), strict=True)
        assert {*others} == {"4"} and positives[:3] == positives[3:] and sorted(positives[:3]) == ["1", "2", "3"]
        firsts.add(positives[0])
    assert firsts == {"1", "2", "3"}


def test_texts_have_their_prefixes_and_are_cut(tokenizer: Any) -> None:
    batch = collate(tokenizer, example("query 1", "1", "2"), recipe=PREFIXED, query_max_length=5)
    whole = tokenizer("ban: query 1")["input_ids"]
    assert unpadded(batch["query"]) == [[*whole[:4], whole[-1]]] and len(whole) > 5
    assert unpadded(batch["passage"]) == [tokenizer(f"kon: {passage(d).text}")["input_ids"] for d in "12"]
    assert collate(tokenizer, example("q", "1"), passage_max_length=6)["passage"]["input_ids"].shape == (1, 6)


def test_held_out_questions_are_shuffled() -> None:
    examples = [example(f"q {i}", str(i // 8)) for i in range(64)]
    order = shuffle(examples, 1)
    assert list(order) == list(shuffle(examples, 1)) != list(shuffle(examples, 2))
    assert sorted(order) == sorted(examples)
    assert len({found.positive for found in order[:8]}) > 3  # a file has eight in a row about one passage


# training


def test_an_encoder_is_measured_on_held_out_questions_and_may_be_saved_in_half_precision(
    mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(PREFIXED, held_out=0.4, half_precision_weights=True, steps=1)
    counts = train(recipe, tmp_path / "model").counts
    assert counts["questions"] + counts["held_out"] == 14 and counts["held_out"] > 0
    assert caplog.messages[-2].startswith("train: held-out questions: rank their own passage first: ")
    assert {weight.dtype for weight in weights(tmp_path / "model").values()} == {np.dtype(np.float16)}
    vectors = TextEncoder(recipe.encoder(str(tmp_path / "model")), "cpu").encode_queries(["ban", "der kon"])
    assert vectors.shape == (2, 16) and np.isfinite(vectors).all()
    card = " ".join((tmp_path / "model" / "README.md").read_text().split())
    assert f"{float(caplog.messages[-2].rpartition(' ')[2]):.1%} of {counts['held_out']} held-out questions" in card
    assert "passage is its text without its title, cut after 128 tokens; a question is cut after 32 tokens." in card
    assert "Questions start with `'ban: '` and passages with `'kon: '`, which count as tokens." in card


def test_training_starts_from_a_given_model_and_counts_the_faults_of_its_data(
    mini_data: Mini, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = tevatron_items(mini_data)
    items[2]["negative_passages"] += items[2]["negative_passages"][:3] + items[2]["positive_passages"]
    items[4]["query"] *= 20
    data = str(write_lines(tmp_path / "train.jsonl", *items))
    recipe = dataclasses.replace(
        ENCODER, data=data, model=str(tiny_model), architecture=None, steps=1, learning_rate=1e-3
    )
    manifest = train(recipe, tmp_path / "model")
    vectors = [
        TextEncoder(recipe.encoder(str(m)), "cpu").encode_queries(["tea"]) for m in (tiny_model, tmp_path / "model")
    ]
    assert 0 < np.abs(vectors[0] - vectors[1]).max() < 0.5
    faults = ("repeated_negatives", "positives_among_negatives", "cut_questions", "cut_passages")
    assert [manifest.counts[fault] for fault in faults] == [3, 1, 1, 0]
    assert any(f"{data}: 3 repeated negatives (line 3)" in message for message in caplog.messages)
    card = " ".join((tmp_path / "model" / "README.md").read_text().split())
    assert "3 repeated negatives and 1 positives among the negatives were dropped" in card
    for name, key in ((recipe.model, "model"), (data, "data")):
        assert f"`{name}`, fingerprint `{Manifest.read(tmp_path / 'model').inputs[key][:16]}`" in card


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"passage_max_length": 200}, "at most 160 tokens"), ({"data": "bad.jsonl"}, "bad.jsonl:13: is not JSON")],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(
    tiny_model: Path, mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(Path("bad.jsonl"), *tevatron_items(mini_data), "{")
    recipe = dataclasses.replace(ENCODER, model=str(tiny_model), architecture=None, **changes)
    with pytest.raises(InputError, match=problem):
        train(recipe, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
