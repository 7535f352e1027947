from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Mini

from train.samples import GENERATOR, NAMES, SENTENCES, about, tevatron_item, weights, write_lines
from xqg_repro.collection.records import Passage
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.stages import verify
from xqg_repro.models.generator import PassageQueries, QueryGenerator
from xqg_repro.models.settings import GeneratorConfig, Precision
from xqg_repro.train import xqg
from xqg_repro.train.data import Example, load_examples, load_passages, load_split
from xqg_repro.train.mini import scratch
from xqg_repro.train.mini.names import Names, load_names
from xqg_repro.train.pairs import Item, Pair, draw_batches
from xqg_repro.train.recipe import GeneratorRecipe, load_recipe
from xqg_repro.train.trainer import RecipeTrainer
from xqg_repro.train.xqg import PairCollator, measure_queries, question_pair, shorten, train

PROMPT = GeneratorConfig.prompt
TURKU = Passage("1", "Turku", "Turku is a city.")
PORT = Example("Где порт Турку?", Passage("7", "Port of Turku", "Turku has a port, no Turkush one."), lang="ru")
ANSWERED = Example(
    "Where?", Passage("1", "T", "First one. Then two. Now 3.5 of it. And four."), lang="fi", answers=("3.5",)
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return scratch.train_byte_fallback_tokenizer([*SENTENCES.values(), "What is 42?"], 500)


# pairs


def test_a_questions_language_is_named_by_the_data_or_told_by_its_script() -> None:
    pair = question_pair(Example("Wo liegt Turku?", TURKU, lang="de"), PROMPT)
    assert pair == ("Generate a German question for this passage: Turku Turku is a city.", "Wo liegt Turku?", "")
    sources = [
        question_pair(Example(SENTENCES[code], TURKU), "{language}").source for code in XOR_LANGUAGES if code != "fi"
    ]
    assert sources == ["Arabic", "Bengali", "Japanese", "Korean", "Russian", "Telugu"]


@pytest.mark.parametrize(("question", "lang"), [("1812?", ""), ("", ""), ("ที่ไหน", ""), ("Missä?", "xx"), ("Who?", "")])
def test_questions_of_unknown_languages_are_refused(question: str, lang: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"unknown language of the question '{question}'")):
        question_pair(Example(question, TURKU, lang=lang), PROMPT)


def test_a_shortened_passage_keeps_the_sentence_with_the_answer_and_the_order() -> None:
    sentences = ["First one.", "Then two.", "Now 3.5 of it.", "And four."]
    lengths = set()
    for seed in range(60):
        short = shorten(ANSWERED, random.Random(seed))
        kept = [sentence for sentence in sentences if sentence in short.positive.text]
        assert short.positive.text == " ".join(kept) and "Now 3.5 of it." in kept
        assert short._replace(positive=ANSWERED.positive) == ANSWERED
        lengths.add(len(kept))
    assert lengths == {1, 2, 3, 4}
    unanswered = ANSWERED._replace(answers=())
    assert {"", ANSWERED.positive.text} <= {shorten(unanswered, random.Random(i)).positive.text for i in range(40)}


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
@pytest.mark.parametrize("setting", ["exchanged", "shortened"])
def test_a_share_of_the_questions_is_changed_again_in_each_epoch(
    setting: str, share: float, least: int, most: int
) -> None:
    names = Names(NAMES, about("Turku", "Guinea", "Dinar"))
    text = PORT.positive.text + " Old. Cold. Small. Far off. Far north. Far west. Far east."
    example = PORT._replace(positive=PORT.positive._replace(text=text))

    def pairs(epoch: int | None, seed: int = 5) -> list[Pair]:
        recipe = dataclasses.replace(GENERATOR, seed=seed, **{setting: share})
        collator = PairCollator(recipe, None, [example] * 200, names)
        return [collator.pair(Item(position, epoch)) for position in range(200)]

    first = pairs(0)
    assert least <= sum(pair != question_pair(example, PROMPT) for pair in first) <= most
    assert pairs(0) == first
    assert (pairs(1) != first) == (pairs(0, seed=6) != first) == (share > 0)
    assert set(pairs(None)) == {question_pair(example, PROMPT)}  # held-out questions are not changed


def test_the_seed_of_an_item_is_that_of_the_shipped_models() -> None:
    assert Item(3, 2, is_name=True).seed(GENERATOR) == "5|Row(position=3, epoch=2, is_name=True)"


@pytest.mark.integration
@pytest.mark.parametrize("name", ["xqg-mini", "xqg-mini-train-names"])
def test_no_question_that_a_mini_generator_trains_on_is_one_of_dev_or_held_out(name: str) -> None:
    recipe = load_recipe(name, GeneratorRecipe)
    names = Names(load_names(held_out=recipe.unseen_names), load_passages(recipe.data))
    examples = load_split(recipe).kept
    collator = PairCollator(recipe, None, examples, names)
    epochs = ceil(recipe.epochs)
    asked = {collator.pair(Item(position, position % epochs)).target for position in range(len(examples))}
    assert len(asked - {example.query for example in examples}) > len(examples) / 3  # exchanged
    for topics in ("xor-mini/dev", "xor-mini/held-out"):
        assert not asked & {*read_topics(topics)[0].values()}


# batches

RECIPE = dataclasses.replace(GENERATOR, batch_size=4, names_epochs=2)
PER_EPOCH = 3 + 2 * 2  # batches of 10 questions and, twice, of 7 names


def draw_epochs(count: int, recipe: GeneratorRecipe = RECIPE) -> list[list[list[Item]]]:
    """The batches of the first epochs; the length of an item is its position modulo four."""
    batches = draw_batches(10, 7, recipe, lambda item: item.position % 4, recipe.names_epochs)
    drawn = [list(batch) for batch in islice(batches, count * PER_EPOCH)]
    return [drawn[at : at + PER_EPOCH] for at in range(0, len(drawn), PER_EPOCH)]


def test_an_epoch_has_each_question_once_and_each_name_twice_with_similar_lengths_in_a_batch() -> None:
    epochs = draw_epochs(3)
    for number, epoch in enumerate(epochs):
        wanted = [Item(position, number) for position in range(10)]
        wanted += [Item(i, 2 * number + again, is_name=True) for again in range(2) for i in range(7)]
        assert sorted(item for batch in epoch for item in batch) == sorted(wanted)
        assert all(len({item[1:] for item in batch}) == 1 for batch in epoch)
        lengths = Counter(tuple(item.position % 4 for item in batch) for batch in epoch if batch[0].is_name)
        assert lengths == {(0, 0, 1, 1): 2, (2, 2, 3): 2}
    other = draw_epochs(1, dataclasses.replace(RECIPE, seed=6))
    orders = [[[item.position for item in batch] for batch in epoch] for epoch in (*epochs, *other)]
    assert draw_epochs(3) == epochs and all(orders.count(order) == 1 for order in orders)


def test_labels_are_the_target_without_padding(tokenizer: Any) -> None:
    examples = [Example("Mikä on Suomen pääkaupunki?", TURKU, lang="fi"), Example("Где?", TURKU, lang="ru", qid="q2")]
    batch = PairCollator(GENERATOR, tokenizer, examples, start=7)([[Item(1, 0), Item(0, 0)]])
    assert batch["questions"] == ["q2 'Где?'", "'Mikä on Suomen pääkaupunki?'"]
    for i, (source, target, _) in enumerate(question_pair(example, PROMPT) for example in examples[::-1]):
        kept = batch["attention_mask"][i].bool()
        assert batch["input_ids"][i][kept].tolist() == tokenizer(source)["input_ids"]
        expected, labels = tokenizer(target)["input_ids"], batch["labels"][i].tolist()
        assert labels == expected + [-100] * (len(labels) - len(expected))
        assert batch["decoder_input_ids"][i].tolist()[: len(expected)] == [7, *expected[:-1]]
    short = dataclasses.replace(GENERATOR, prompt_max_length=9, query_max_length=5)
    cut = PairCollator(short, tokenizer, examples)([[Item(0, 0)]])
    for kind, length, text in zip(("input_ids", "labels"), (9, 5), question_pair(examples[0], PROMPT)[:2], strict=True):
        whole = tokenizer(text)["input_ids"]
        assert cut[kind][0].tolist() == [*whole[: length - 1], tokenizer.eos_token_id]


def test_of_an_exchanged_question_the_name_and_the_token_after_it_count(tokenizer: Any) -> None:
    names = Names(NAMES, about("Turku", "Guinea"))
    recipe = dataclasses.replace(GENERATOR, exchanged=1.0)
    batch = PairCollator(recipe, tokenizer, [PORT], names)([[Item(0, 0)]])
    ids, labels = batch["decoder_input_ids"][0].tolist(), batch["labels"][0].tolist()
    counted = [label for label in labels if label >= 0]
    assert tokenizer.decode(ids[1:]) == "Где порт Гвинея?"
    assert tokenizer.decode(counted).strip() in ("Гвинея", "Гвинея?")
    at = next(i for i, label in enumerate(labels) if label >= 0)
    assert at > 0 and ids[at + 1 : at + len(counted)] == counted[:-1]


def test_an_item_of_a_name_is_a_lesson() -> None:
    collator = PairCollator(GENERATOR, None, [], Names(NAMES, about("Turku")))
    prompt = "Generate a Russian name for this passage: Turku"
    pairs = {collator.pair(Item(0, number, is_name=True)) for number in range(20)}
    assert pairs == {Pair(prompt, "Турку"), Pair(f"{prompt} Turku is a place.", "Турку")}


# training


@pytest.fixture(scope="module")
def trained(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(dataclasses.replace(GENERATOR, held_out=0.4, query_max_length=9), folder)
    return folder


def test_a_trained_folder_is_a_generator_measured_on_held_out_questions(trained: Path) -> None:
    counts = verify(trained, checksums=True).counts
    parameters = sum(array.size for array in weights(trained).values())
    assert counts == {"parameters": parameters, "questions": 7, "held_out": 7, "steps": 3}
    config = GeneratorConfig(str(trained), ("fi", "ru"), 2, query_max_length=6, precision=Precision.FLOAT32)
    (generated,) = QueryGenerator(config, "cpu").generate([SimpleNamespace(doc_id="1", title="Place", text="ban der")])
    assert {language: len(queries) for language, queries in generated.queries.items()} == {"fi": 2, "ru": 2}
    card = " ".join((trained / "README.md").read_text(encoding="utf-8").split())
    assert re.search(r"\| in the requested language \| \d+\.\d% \|", card)
    assert "7 held-out questions (all questions about 40% of the passages)" in card


def loss(folder: Path, examples: Sequence[Example]) -> float:
    """The loss of a trained model on questions, all of them in one batch."""
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = PairCollator(GENERATOR, tokenizer, examples)([[Item(i, None) for i in range(len(examples))]])
    del batch["questions"]
    with torch.no_grad():
        return model(**batch).loss.item()


def test_training_brings_the_loss_down(trained: Path, quick: None, tmp_path: Path) -> None:
    train(dataclasses.replace(GENERATOR, steps=25), tmp_path / "model")
    examples = load_examples(GENERATOR.data)[0]
    assert loss(tmp_path / "model", examples) < 0.85 * loss(trained, examples)


def test_a_step_of_adafactor_is_relative_to_the_weights_of_the_given_model(
    mini_data: Mini, quick: None, tiny_generator: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(GENERATOR, model=str(tiny_generator), architecture=None, adafactor=True, steps=1)
    train(recipe, tmp_path / "model")
    before, after = weights(tiny_generator), weights(tmp_path / "model")
    for key in (f"encoder.block.0.layer.0.SelfAttention.{name}.weight" for name in "qkvo"):
        size, moved = (np.sqrt(np.square(a).mean()) for a in (before[key], after[key] - before[key]))
        assert 0.5 < moved / (recipe.learning_rate * size) < 1.1
        assert not 0.8 < size < 1.2  # with AdamW, it moves by the learning rate


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"data": "train.jsonl"}, r"'1812\?'"), ({"architecture": None}, "as a sequence-to-sequence model")],
)
def test_what_cannot_be_trained_is_refused(
    mini_data: Mini, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(Path("train.jsonl"), tevatron_item("Где?"), tevatron_item("1812?"))
    model = {"model": str(tiny_model)} if "architecture" in changes else {}
    with pytest.raises(InputError, match=problem):
        train(dataclasses.replace(GENERATOR, **changes, **model), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_names_are_mixed_with_the_questions_and_part_of_the_identity(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES if held_out else NAMES[:2])
    seen: list[tuple[list[Any], float]] = []
    original = RecipeTrainer.train_or_resume

    def recording(self: Any) -> Any:
        batches, collate = [], self.data_collator
        self.data_collator = lambda rows: batches.extend(rows) or collate(rows)
        result = original(self)
        seen.append((batches, self.lr_scheduler.get_last_lr()[0]))
        return result

    monkeypatch.setattr(RecipeTrainer, "train_or_resume", recording)
    turku = {"positive_passages": [{"docid": "1", "title": "Turku", "text": "Fact."}]}
    items = [tevatron_item(f"Турку {number}?", **turku) for number in range(6)]
    plain = dataclasses.replace(GENERATOR, data=str(write_lines(tmp_path / "turku.jsonl", *items)), adafactor=True)
    named = dataclasses.replace(plain, names_epochs=2, steps=0, epochs=3, batch_size=5)
    counts = train(named, tmp_path / "model").counts
    ((batches, rate),) = seen
    # an epoch is 2 batches of questions and twice one of the 2 names of Turku
    assert (counts["steps"], len(batches), rate, counts["questions"]) == (12, 12, 0.0, 6)
    assert [batch[0].is_name for batch in batches].count(True) == 6
    assert "(from CLDR): 2 names" in " ".join((tmp_path / "model" / "README.md").read_text().split())

    inputs = [xqg.plan(recipe)[1].inputs for recipe in (plain, named)]
    assert inputs[0]["names"] == "" != inputs[1]["names"]
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES[:1])
    assert xqg.plan(plain)[1].inputs == inputs[0] and xqg.plan(named)[1].inputs != inputs[1]


def test_a_recipe_may_leave_out_the_names_that_no_training_question_is_about(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES if held_out else NAMES[:1])
    turku = {"positive_passages": [{"docid": "1", "title": "Turku", "text": "Fact."}]}
    data = write_lines(tmp_path / "turku.jsonl", *[tevatron_item(f"Турку {number}?", **turku) for number in range(6)])
    every = dataclasses.replace(GENERATOR, data=str(data), names_epochs=1, steps=1)
    assert (
        xqg.plan(every)[1].inputs["names"]
        != xqg.plan(dataclasses.replace(every, unseen_names=False))[1].inputs["names"]
    )
    for recipe, names, which in (
        (every, 2, "including"),
        (dataclasses.replace(every, unseen_names=False), 1, "without"),
    ):
        train(recipe, tmp_path / "model")
        card = " ".join((tmp_path / "model" / "README.md").read_text().split())
        assert f"(from CLDR): {names} names" in card and f"{which} those that no training question is about" in card


# quality


def test_quality_is_the_share_of_correct_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        ("Turku", "ru"): ("Где Турку?", "Где Оулу?"),
        ("Port of Turku", "ru"): ("Turku?", "Как назван Турку?"),
        ("Guinea", "ru"): ("Гвинея?", "Оулу где?"),
        ("Guinea", "fi"): ("Гвинея?", "Missä Guinea?"),
    }

    def generate(passages: Sequence[Passage]) -> list[PassageQueries]:
        finnish = ("Mikä?", "Kuka?")
        return [
            PassageQueries(p.doc_id, {code: written.get((p.title, code), finnish) for code in ("ru", "fi")})
            for p in passages
        ]

    monkeypatch.setattr(xqg, "QueryGenerator", lambda config: SimpleNamespace(generate=generate))
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES if held_out else [])
    passages = [Passage(title, title, "") for title in ("Turku", "Port of Turku", "Guinea", "Nowhere")]
    held_out = [Example(question, passage) for passage in passages for question in ("a", "b")]
    assert measure_queries(GENERATOR, Path("model"), held_out) == {
        # Turku 2 + 2 of 4, the port 1 + 2, Guinea 2 + 1, nowhere 0 + 2
        "in the requested language": 12 / 16,
        # Turku in Russian 1 of 2, the port 1, Guinea 1 and in Finnish 1; the list has no Finnish name of Turku
        "naming the passage's entity": 4 / 8,
    }
    assert measure_queries(GENERATOR, Path("model"), held_out[-2:]) == {"in the requested language": 1 / 2}
