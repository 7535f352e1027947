"""Training readers: where answers are, what batches hold, and that a reader learns."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from conftest import contents

from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.models.reader import FIRST, SEEN, SpanReader
from xqg_repro.train import reader as stage
from xqg_repro.train.data import Example, load_examples
from xqg_repro.train.mini.scratch import encoder
from xqg_repro.train.reader import SpanCollator, draw_batches, locate_answer
from xqg_repro.train.recipe import EncoderArchitecture, ReaderRecipe, load_recipe

RIVERS = ["Ob", "Lena", "Amur", "Ural", "Don", "Oka", "Kama", "Neva"]
SEAS = ["Kara", "Azov", "Okhotsk", "Baltic"]


def squad(rivers: list[str]) -> dict[str, Any]:
    """An article a river: where it ends and how long it is, in a paragraph each."""
    articles = []
    for i, river in enumerate(rivers):
        sea, length = SEAS[i % 4], 1000 + 37 * i
        told = f"The {river} is a river. It ends in the {sea} Sea."
        long = f"As for its length, it is {length} km long."
        asked = [("Where does it end?", told, sea), ("How long is it?", long, f"{length} km")]
        paragraphs = [
            {
                "context": text,
                "qas": [
                    {
                        "id": f"{river}-{answer}.en",
                        "question": question,
                        "lang": "en",
                        "answers": [{"text": answer, "answer_start": text.index(answer)}] * 2,
                    }
                ],
            }
            for question, text, answer in asked
        ]
        articles.append({"title": river, "paragraphs": paragraphs})
    return {"data": articles}


@pytest.fixture
def recipe(tmp_path: Path) -> ReaderRecipe:
    """Four rivers to train on, the others to measure on; from a tiny random BERT."""
    for name, rivers in (("train", RIVERS[:6]), ("held-out", RIVERS[6:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(squad(rivers)), encoding="utf-8")
    start(tmp_path / "encoder")
    return ReaderRecipe(
        name="test",
        data=str(tmp_path / "train.json"),
        held_out_data=str(tmp_path / "held-out.json"),
        model=str(tmp_path / "encoder"),
        max_length=32,
        stride=8,
        question_max_length=10,
        answer_max_length=6,
        batch_size=4,
        steps=90,
        learning_rate=3e-3,
        evaluation_steps=30,
        keep_best=False,
        seed=3,
    )


def start(folder: Path) -> None:
    import torch

    shape = EncoderArchitecture(vocabulary=400, hidden_size=32, layers=2, heads=2, intermediate_size=64, dropout=0.0)
    texts = [p["context"] for a in squad(RIVERS)["data"] for p in a["paragraphs"]]
    texts += ["Where does it end?", "How long is it?"]
    torch.manual_seed(2)
    tokenizer, model = encoder(shape, texts, 64)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# answers and their places


def an_example(answers: tuple[str, ...], starts: tuple[int, ...]) -> Example:
    passage = Passage("1", "", "In 1990 it had 90 people, 90 in all.")
    return Example("q?", passage, answers=answers, starts=starts, qid="7")


@pytest.mark.parametrize(
    ("answers", "starts", "expected"),
    [
        (("90",), (26,), (26, 28)),
        (("90",), (-1,), (15, 17)),  # a whole word
        (("none", "people"), (-1, -1), (18, 24)),
        (("none",), (-1,), None),
        (("",), (-1,), None),
        ((), (), None),
    ],
)
def test_answers_are_locate_answer(answers: tuple[str, ...], starts: tuple[int, ...], expected: Any) -> None:
    assert locate_answer(an_example(answers, starts)) == expected


def test_an_answer_that_is_elsewhere_is_named() -> None:
    with pytest.raises(InputError, match="the answer '90' to question 7 is not at character 14 of its passage"):
        locate_answer(an_example(("90",), (14,)))


def test_squad_files_hold_answers_ids_and_the_articles_other_paragraphs(recipe: ReaderRecipe) -> None:
    examples, _ = load_examples(recipe.data)
    first = examples[0]
    assert (first.qid, first.answers, first.starts) == ("Ob-Kara.en", ("Kara",), (first.positive.text.index("Kara"),))
    assert [p.text for p in first.negatives] == [examples[1].positive.text]


# batches


def test_each_epoch_holds_every_question_once_those_of_similar_length_together(recipe: ReaderRecipe) -> None:
    examples = [an_example((), ())._replace(positive=Passage("", "", "x" * (i * 7 % 50))) for i in range(50)]
    found = list(islice(draw_batches(examples, recipe), 26))
    for epoch in (0, 1):
        mine = [batch for batch in found if batch.epoch == epoch]
        assert Counter(i for batch in mine for i in batch.positions) == Counter(range(50))
        spread = [max(lengths) - min(lengths) for b in mine for lengths in [[i * 7 % 50 for i in b.positions]]]
        assert sum(spread) / len(spread) < 10
    assert found[:13] != [batch._replace(epoch=0) for batch in found[13:]]
    assert found == list(islice(draw_batches(examples, recipe), 26))


def test_a_batch_marks_answers_and_teaches_none_where_there_is_none(recipe: ReaderRecipe) -> None:
    from transformers import AutoTokenizer

    examples, _ = load_examples(recipe.data)
    tokenizer = AutoTokenizer.from_pretrained(recipe.model)
    few = dataclasses.replace(recipe, negatives=1)
    batch = SpanCollator(few, tokenizer, examples)([stage.Batch((0, 1), 0)])
    assert batch["input_ids"].shape[0] == 4 and batch["questions"] == [examples[0].label, examples[1].label]
    spans = list(zip(batch["start_positions"].tolist(), batch["end_positions"].tolist(), strict=True))
    assert spans[1] == spans[3] == (FIRST, FIRST)
    for row, answer in ((0, "kara"), (2, "1000 km")):
        first, last = spans[row]
        assert tokenizer.decode(batch["input_ids"][row][first : last + 1]) == answer


def test_negatives_that_hold_the_answer_are_not_drawn(recipe: ReaderRecipe) -> None:
    example = an_example(("90",), (-1,))._replace(
        negatives=(Passage("2", "", "There are 90."), Passage("3", "", "Nothing."))
    )
    collator = SpanCollator(dataclasses.replace(recipe, negatives=2), None, [example])
    assert collator._negatives(example, 0) == ["Nothing."]


# training


def test_a_reader_learns_and_the_same_recipe_gives_the_same_bytes(
    recipe: ReaderRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = stage.train(recipe, tmp_path / "reader")
    assert made.counts["questions"] == 12 and made.counts["held_out"] == 4 and made.counts["left_out"] == 0
    reader = SpanReader(recipe.reader(str(tmp_path / "reader")), "cpu")
    examples, _ = load_examples(recipe.data)
    spans = reader.read([e.query for e in examples], [e.positive.text for e in examples])
    right = sum(e.positive.text[s.start : s.end] == e.answers[0] for e, s in zip(examples, spans, strict=True))
    assert right >= 11
    assert (tmp_path / "reader" / SEEN).read_text().split("\n")[:-1] == sorted(e.qid for e in examples)
    card = (tmp_path / "reader" / "README.md").read_text()
    assert "% EM and" in card and "12 questions" in card
    assert any(line.startswith("train: held-out questions: EM") for line in caplog.messages)
    again = dataclasses.replace(recipe, steps=4, evaluation_steps=0)
    stage.train(again, tmp_path / "one")
    stage.train(again, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_frozen_embeddings_stay_and_the_rest_learns(recipe: ReaderRecipe, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    frozen = dataclasses.replace(recipe, steps=3, frozen_embeddings=True)
    stage.train(frozen, tmp_path / "reader")
    before = load_file(tmp_path / "encoder" / "model.safetensors")
    after = {name.removeprefix("bert."): w for name, w in load_file(tmp_path / "reader" / "model.safetensors").items()}
    same = {name for name, weight in before.items() if (after[name] == weight).all()}
    assert "embeddings.word_embeddings.weight" in same and "encoder.layer.0.output.dense.weight" not in same


def test_questions_without_an_answer_are_left_out_and_counted(recipe: ReaderRecipe, tmp_path: Path) -> None:
    data = squad(RIVERS[:2])
    data["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    Path(recipe.data).write_text(json.dumps(data), encoding="utf-8")
    made = stage.train(dataclasses.replace(recipe, steps=1), tmp_path / "reader")
    assert (made.counts["questions"], made.counts["left_out"]) == (3, 1)
    assert "1 more were left out because" in (tmp_path / "reader" / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ""}, "names no encoder to start from"),
        ({"max_length": 65}, "reads at most 64 tokens, but the maximum length is 65"),
        ({"data": "lines.jsonl"}, "has no positions of answers"),
        ({"data": "none.json"}, "no question of .*none.json has an answer in its passage"),
        ({"data": "xor-tydi/train/zz"}, "ir-datasets has no dataset"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    recipe: ReaderRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    passage = {"docid": "1", "title": "t", "text": "x"}
    line = {"query": "q", "positive_passages": [passage], "negative_passages": []}
    Path("lines.jsonl").write_text(json.dumps(line) + "\n")
    data = squad(RIVERS[:1])
    for paragraph in data["data"][0]["paragraphs"]:
        paragraph["qas"][0]["answers"] = []
    Path("none.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        stage.train(dataclasses.replace(recipe, **change), tmp_path / "reader")
    assert not (tmp_path / "reader").exists()


def test_recipes_that_ship_are_readers() -> None:
    mini, xquad = (load_recipe(name, ReaderRecipe) for name in ("reader-mini", "reader-xquad"))
    assert mini.model == "package:xdr-mini" and mini.data == "xor-mini/train"
    assert xquad.frozen_embeddings and xquad.max_length == 384


def test_embedded_reader_is_small_and_was_trained_on_train_alone() -> None:
    from xqg_repro import collection

    folder = resource("models", "reader-mini")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8 * 2**20
    seen = set((folder / SEEN).read_text().split())
    asked = {
        split: {q.query_id for q in collection.load(f"xor-mini/{split}").queries_iter()} for split in ("train", "dev")
    }
    assert seen <= asked["train"] and not seen & asked["dev"]


def test_command_trains(recipe: ReaderRecipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    names = ("max_length", "stride", "question_max_length", "answer_max_length", "batch_size")
    path.write_text("\n".join(["name: mine", "data: x.json", *(f"{n}: {getattr(recipe, n)}" for n in names)]))
    start = ["train", "reader", "--recipe", str(path), "--output", str(tmp_path / "reader")]
    assert cli.main(start) == 2
    assert cli.main([*start, "--model", recipe.model, "--data", recipe.data, "--steps", "1"]) == 0
