from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import contents

from train.samples import squad, tevatron_item, write_lines
from xqg_repro import cli, collection
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.models.reader import FIRST, SEEN, SpanReader
from xqg_repro.train.architecture import EncoderArchitecture
from xqg_repro.train.data import Example, load_examples
from xqg_repro.train.mini.scratch import encoder
from xqg_repro.train.reader import Batch, SpanCollator, draw_batches, locate_answer, train
from xqg_repro.train.recipe import ReaderRecipe

RIVERS = {"Ob": "Kara", "Lena": "Azov", "Amur": "Okhotsk", "Ural": "Baltic", "Don": "Kara", "Oka": "Azov"}


def rivers(*names: str) -> dict[str, Any]:
    """One article per river, with a paragraph and a question on where it ends, and on how long it is."""
    articles = {}
    for river in names:
        ends = f"The {river} is a river. It ends in the {RIVERS[river]} Sea."
        length = f"As for its length, it is {1000 + 37 * len(articles)} km long."
        paragraphs = []
        for question, text, answer in (
            ("Where does it end?", ends, RIVERS[river]),
            ("How long is it?", length, length.split()[-3] + " km"),
        ):
            answers = [{"text": answer, "answer_start": text.index(answer)}] * 2
            question_id = f"{river}-{answer}.en"
            paragraphs.append((text, [{"id": question_id, "question": question, "lang": "en", "answers": answers}]))
        articles[river] = paragraphs
    return squad(articles)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> ReaderRecipe:
    """Five rivers to train on and one to measure on, from a tiny random BERT."""
    folder = tmp_path_factory.mktemp("rivers")
    (folder / "train.json").write_text(json.dumps(rivers(*list(RIVERS)[:5])))
    (folder / "held-out.json").write_text(json.dumps(rivers("Oka")))
    shape = EncoderArchitecture(vocabulary=400, hidden_size=32, layers=2, heads=2, intermediate_size=64, dropout=0.0)
    texts = [p["context"] for article in rivers(*RIVERS)["data"] for p in article["paragraphs"]]
    torch.manual_seed(2)
    tokenizer, model = encoder(shape, [*texts, "Where does it end?", "How long is it?"], 64)
    model.save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    return ReaderRecipe(
        name="test",
        data=str(folder / "train.json"),
        held_out_data=str(folder / "held-out.json"),
        model=str(folder / "encoder"),
        max_length=32,
        stride=8,
        question_max_length=10,
        answer_max_length=6,
        batch_size=5,
        steps=60,
        learning_rate=3e-3,
        evaluation_steps=30,
        keep_best=False,
        seed=3,
    )


def ninety(answers: tuple[str, ...], starts: tuple[int, ...]) -> Example:
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
def test_answers_are_located(answers: tuple[str, ...], starts: tuple[int, ...], expected: Any) -> None:
    assert locate_answer(ninety(answers, starts)) == expected
    with pytest.raises(InputError, match="the answer '90' to question 7 is not at character 14"):
        locate_answer(ninety(("90",), (14,)))


def test_each_epoch_has_every_question_once_with_similar_lengths_in_a_batch(recipe: ReaderRecipe) -> None:
    examples = [ninety((), ())._replace(positive=Passage("", "", "x" * (i * 7 % 50))) for i in range(50)]
    batches = list(islice(draw_batches(examples, recipe), 20))
    for epoch in (0, 1):
        of_epoch = [batch.positions for batch in batches if batch.epoch == epoch]
        assert Counter(i for positions in of_epoch for i in positions) == Counter(range(50))
        lengths = [[i * 7 % 50 for i in positions] for positions in of_epoch]
        assert sum(max(part) - min(part) for part in lengths) / len(lengths) < 10
    assert batches[:10] != [batch._replace(epoch=0) for batch in batches[10:]]
    assert batches == list(islice(draw_batches(examples, recipe), 20))


def test_a_batch_marks_answers_and_teaches_none_where_there_is_none(recipe: ReaderRecipe) -> None:
    from transformers import AutoTokenizer

    examples, _ = load_examples(recipe.data)
    tokenizer = AutoTokenizer.from_pretrained(recipe.model)
    collator = SpanCollator(dataclasses.replace(recipe, negatives=1), tokenizer, examples)
    batch = collator([Batch((0, 1), 0)])
    assert batch["input_ids"].shape[0] == 4 and batch["questions"] == [examples[0].label, examples[1].label]
    spans = list(zip(batch["start_positions"].tolist(), batch["end_positions"].tolist(), strict=True))
    assert spans[1] == spans[3] == (FIRST, FIRST)
    for row, answer in ((0, "kara"), (2, "1000 km")):
        first, last = spans[row]
        assert tokenizer.decode(batch["input_ids"][row][first : last + 1]) == answer
    answering = ninety(("90",), (-1,))._replace(negatives=(Passage("2", "", "There are 90."), Passage("3", "", "x")))
    assert collator._negatives(answering, 0) == ["x"]


def test_a_reader_learns(recipe: ReaderRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = train(recipe, tmp_path / "reader").counts
    assert (counts["questions"], counts["held_out"], counts["left_out"]) == (10, 2, 0)
    reader = SpanReader(recipe.reader(str(tmp_path / "reader")), "cpu")
    examples, _ = load_examples(recipe.data)
    spans = reader.read([e.query for e in examples], [e.positive.text for e in examples])
    correct = [e.positive.text[s.start : s.end] == e.answers[0] for e, s in zip(examples, spans, strict=True) if s]
    assert sum(correct) >= 9
    assert (tmp_path / "reader" / SEEN).read_text().split("\n")[:-1] == sorted(e.qid for e in examples)
    card = (tmp_path / "reader" / "README.md").read_text()
    assert "% EM and" in card and "on 10 questions" in card
    assert any(line.startswith("train: held-out questions: EM") for line in caplog.messages)


def test_the_command_trains_the_same_bytes_and_leaves_out_questions_without_an_answer(
    recipe: ReaderRecipe, tmp_path: Path
) -> None:
    data = rivers("Ob", "Lena")
    data["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    (tmp_path / "train.json").write_text(json.dumps(data))
    names = ("max_length", "stride", "question_max_length", "answer_max_length", "batch_size")
    lines = ["name: own", "data: x.json", *(f"{name}: {getattr(recipe, name)}" for name in names)]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    command = ["train", "reader", "--recipe", str(tmp_path / "recipe.yaml"), "--data", str(tmp_path / "train.json")]
    assert cli.main([*command, "--output", str(tmp_path / "one")]) == 2  # names no model
    for output in ("one", "two"):
        options = ["--model", recipe.model, "--steps", "1", "--output", str(tmp_path / output)]
        assert cli.main([*command, *options]) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len((tmp_path / "one" / SEEN).read_text().splitlines()) == 3
    assert "1 more were left out" in (tmp_path / "one" / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_length": 65}, "reads at most 64 tokens"),
        ({"data": "lines.jsonl"}, "no positions of answers"),
        ({"data": "none.json"}, "no question of .*none.json has an answer in its passage"),
        ({"data": "xor-tydi/train/zz"}, "no dataset"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    recipe: ReaderRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(Path("lines.jsonl"), tevatron_item("q"))
    Path("none.json").write_text(json.dumps(squad({"t": [("x", [{"question": "q", "answers": []}])]})))
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(recipe, **change), tmp_path / "reader")
    assert not (tmp_path / "reader").exists()


def test_the_shipped_reader_was_trained_on_train_alone() -> None:
    folder = resource("models", "reader-mini")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8 * 2**20
    seen = set((folder / SEEN).read_text().split())
    splits = ("train", "dev")
    train_ids, dev_ids = ({q.query_id for q in collection.load(f"xor-mini/{s}").queries_iter()} for s in splits)
    assert seen <= train_ids and not seen & dev_ids
