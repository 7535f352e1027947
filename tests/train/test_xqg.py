from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import regex
import torch
from conftest import Mini, contents, interrupted_at
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_repro.collection.records import Passage
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import SCRIPTS, XOR_LANGUAGES
from xqg_repro.core.settings import resource
from xqg_repro.core.stages import Manifest, verify
from xqg_repro.models.generator import PassageQueries, QueryGenerator
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import GeneratorConfig, Precision
from xqg_repro.train import reader, xdr, xqg
from xqg_repro.train.data import Example, held_out_split, load_examples, load_passages, load_split
from xqg_repro.train.mini import scratch
from xqg_repro.train.mini.names import Names, load_names
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, ReaderRecipe, Seq2SeqArchitecture, load_recipe
from xqg_repro.train.trainer import RecipeTrainer
from xqg_repro.train.xqg import Item, Pair, PairCollator, draw_batches, measure_queries, question_pair, shorten, train

TINY = GeneratorRecipe(
    name="tiny",
    data="test-mini/dev",
    architecture=Seq2SeqArchitecture(
        vocabulary=420, hidden_size=16, layers=1, decoder_layers=1, heads=2, intermediate_size=32, dropout=0.0
    ),
    steps=3,
    batch_size=4,
    learning_rate=1e-2,
    seed=5,
)
PROMPT = GeneratorConfig.prompt
SENTENCES = {
    "ar": "ما هي عاصمة جمهورية فنلندا، ومتى أُسِّست؟",
    "bn": "ফিনল্যান্ডের রাজধানী কোথায়?",
    "fi": "Mikä on Suomen pääkaupunki, ja mistä lähtien?",
    "ja": "フィンランドの首都は、どこですか。",
    "ko": "핀란드의 수도는 어디입니까?",
    "ru": "Как называется столица Финляндии — и её река?",
    "te": "ఫిన్లాండ్ రాజధాని ఏది?",
}
TURKU = Passage("1", "Turku", "Turku is a city.")


# the tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer of the sentences, as the generator loads it: from a T5's folder."""
    import transformers

    folder = tmp_path_factory.mktemp("tokenizer")
    scratch.train_byte_fallback_tokenizer([*SENTENCES.values(), "What is 42?"], 500).save_pretrained(folder)
    transformers.T5Config().save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def through(tokenizer: Any, text: str) -> str:
    """The text as the generator would write it: token ids and back."""
    ids = tokenizer([text])["input_ids"]
    assert ids[0][-1] == tokenizer.eos_token_id and tokenizer.unk_token_id not in ids[0]
    return tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]


def characters(codes: Sequence[int]) -> list[str]:
    """The letters, marks, digits and punctuation among these code points."""
    return [chr(code) for code in codes if unicodedata.category(chr(code))[0] in "LMNP"]


IN_SCRIPTS = regex.compile(f"[{''.join(SCRIPTS[language] for language in XOR_LANGUAGES)}]")
OF_THE_SCRIPTS = characters([code for code in range(0x20000) if IN_SCRIPTS.match(chr(code))])


def nfc(words: list[str]) -> str:
    return unicodedata.normalize("NFC", " ".join(words))


def texts(alphabet: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.text(alphabet, min_size=1, max_size=8), max_size=5).map(nfc)


@settings(deadline=None)
@given(texts(OF_THE_SCRIPTS))
def test_text_in_the_seven_scripts_comes_back_as_it_was(tokenizer: Any, text: str) -> None:
    assert through(tokenizer, text) == text


@settings(deadline=None)
@given(st.lists(st.text(st.characters(categories=["L", "M", "N", "P"]), min_size=1), max_size=3).map(nfc))
def test_characters_never_seen_come_back_as_bytes(tokenizer: Any, text: str) -> None:
    assert through(tokenizer, text) == text


@pytest.mark.parametrize("text", [*SENTENCES.values(), "Ünïcödé 1,234.5 km² – ok!", "ไทย ελληνικά 👍🏽", ""])
def test_sentence_comes_back_as_it_was(tokenizer: Any, text: str) -> None:
    assert through(tokenizer, text) == unicodedata.normalize("NFC", text)


def test_letters_and_marks_that_compose_become_one() -> None:
    tokenizer = scratch.train_byte_fallback_tokenizer(list(SENTENCES.values()), 400)
    assert through(tokenizer, unicodedata.normalize("NFD", "pääkaupunki йод 한국")) == "pääkaupunki йод 한국"


def test_pieces_are_learnt_from_the_texts_beside_the_bytes() -> None:
    texts = ["kissa kissa kissat", "koira koira koirat"]
    tokenizer = scratch.train_byte_fallback_tokenizer(texts, 280)
    assert 256 + 15 < len(tokenizer) <= 280
    assert len(tokenizer("kissa")["input_ids"]) == 2  # one piece and the end
    assert tokenizer.tokenize("2024")[-3:] == [f"<0x{ord(digit):02X}>" for digit in "024"]  # never seen: bytes
    assert scratch.train_byte_fallback_tokenizer(["year 2024 2024 2024"], 280).tokenize("2024")[-3:] == ["0", "2", "4"]


def test_tokenizer_of_the_same_texts_is_the_same() -> None:
    texts = [f"{a}{b}{c} {c}{a}" for a in "bdkst" for b in "aeo" for c in ("n", "lo", "mi")]
    assert len({scratch.train_byte_fallback_tokenizer(texts, 300)._tokenizer.to_str() for _ in range(5)}) == 1


# examples


def test_the_data_names_the_language_of_a_question() -> None:
    pair = question_pair(Example("Wo liegt Turku?", TURKU, lang="de"), PROMPT)
    assert pair == ("Generate a German question for this passage: Turku Turku is a city.", "Wo liegt Turku?", "")


@pytest.mark.parametrize("language", [code for code in XOR_LANGUAGES if code != "fi"])
def test_the_script_tells_the_language_where_the_data_does_not(language: str) -> None:
    source, target, _ = question_pair(Example(SENTENCES[language], TURKU), "{language}|{title}")
    names = {"ar": "Arabic", "bn": "Bengali", "ja": "Japanese"}
    names |= {"ko": "Korean", "ru": "Russian", "te": "Telugu"}
    assert (source, target) == (f"{names[language]}|Turku", SENTENCES[language])


@pytest.mark.parametrize(("question", "lang"), [("1812?", ""), ("", ""), ("ที่ไหน", ""), ("Missä?", "xx"), ("Who?", "")])
def test_a_question_of_no_known_language_is_refused(question: str, lang: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"unknown language of the question '{question}'")):
        question_pair(Example(question, TURKU, lang=lang), PROMPT)


SQUAD = {
    "data": [
        {
            "title": "Turku",
            "paragraphs": [
                {
                    "context": "Turku is a city.",
                    "qas": [{"id": 1, "question": "Где Турку?"}, {"id": 2, "question": "Mikä?", "lang": " fi"}],
                },
                {"context": "It is old.", "qas": [{"id": 3, "question": "Milloin?", "lang": "fi"}]},
            ],
        },
        {"paragraphs": [{"context": "Untitled.", "qas": []}]},
    ]
}


def write_json(path: Path, *items: Any) -> Path:
    path.write_text("\n".join(json.dumps(item, ensure_ascii=False) for item in items), encoding="utf-8")
    return path


def test_squad_files_are_examples(tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", SQUAD)
    examples, version = load_examples(str(path))
    assert [(e.query, e.lang, e.qid) for e in examples] == [
        ("Где Турку?", "", "1"),
        ("Mikä?", "fi", "2"),
        ("Milloin?", "fi", "3"),
    ]
    first, second, third = (example.positive for example in examples)
    assert [e.negatives for e in examples] == [(third,), (third,), (first,)]  # the article's other paragraphs
    assert first == second and first.doc_id != third.doc_id
    assert (first[1:], third[1:]) == (("Turku", "Turku is a city."), ("Turku", "It is old."))
    assert load_passages(str(path)) == [first, third]
    assert load_examples(str(path))[1] == version != load_examples(str(write_json(path, {"data": []})))[1]


def test_gold_paragraphs_have_their_articles_titles_and_each_question_once(tmp_path: Path) -> None:
    def article(title: str, *questions: tuple[str, str]) -> dict[str, Any]:
        asked = [{"id": qid, "question": text, "lang": "fi"} for qid, text in questions]
        return {"title": title, "paragraphs": [{"context": f"About {title}.", "qas": asked}]}

    data = [
        article("Title_Turku_parentSection_History_of_parentSection", ("1", " Missä?\n")),
        article("Title_Oulu_parentSection", ("1", "Missä?"), ("", "Mikä?"), ("", "Mikä?")),
        article("Title Deeds"),
        article("Titles", ("2", "Kuka?")),
    ]
    examples, _ = load_examples(str(write_json(tmp_path / "train.json", {"data": data})))
    assert [(e.qid, e.query, e.positive.title) for e in examples] == [
        ("1", "Missä?", "Turku"),
        ("", "Mikä?", "Oulu"),
        ("", "Mikä?", "Oulu"),
        ("2", "Kuka?", "Titles"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"data": [', "not in SQuAD's format"),
        ("[]", "not in SQuAD's format: TypeError"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "not in SQuAD's format: KeyError 'context'"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [{}]}]}]}', "KeyError 'question'"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "b", "lang": 1}]}]}]}', "AttributeError"),
    ],
)
def test_bad_squad_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "train.json"
    with pytest.raises(InputError, match="no such training file"):
        load_examples(str(path))
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        load_examples(str(path))
    assert caught.value.path == path


def tevatron(path: Path, *questions: tuple[str, str], title: str = "Turku") -> Path:
    """A training file: (question, language) each about a passage of its own."""
    return write_json(
        path,
        *(
            {
                "query": question,
                **({"lang": language} if language else {}),
                "positive_passages": [{"docid": str(number), "title": title, "text": f"Fact {number}."}],
                "negative_passages": [],
            }
            for number, (question, language) in enumerate(questions)
        ),
    )


def test_tevatron_lines_may_name_the_language(tmp_path: Path) -> None:
    path = tevatron(tmp_path / "train.jsonl", ("Mikä?", "fi"), ("ما؟", " ar"), ("Где?", ""))
    examples, _ = load_examples(str(path))
    assert [example.lang for example in examples] == ["fi", "ar", ""]
    assert [question_pair(e, "{language} {text}").source for e in examples] == [
        "Finnish Fact 0.",
        "Arabic Fact 1.",
        "Russian Fact 2.",
    ]


@pytest.mark.parametrize("lang", [None, 5, ["fi"]])
def test_tevatron_line_with_another_kind_of_language_names_file_and_line(tmp_path: Path, lang: Any) -> None:
    path = tevatron(tmp_path / "train.jsonl", ("Mikä?", "fi"))
    path.write_text(f"{path.read_text()}\n{json.dumps({**json.loads(path.read_text()), 'lang': lang})}\n")
    with pytest.raises(InputError, match="not a training example") as caught:
        list(load_examples(str(path))[0])
    assert (caught.value.path, caught.value.line) == (path, 2)


# names


def name(english: str, language: str, text: str, kind: str = "city") -> Example:
    return Example(text, Passage(f"{kind} {english}", english, ""), lang=language)


NAMES = [
    name("Turku", "ru", "Турку"),
    name("Turku", "ja", "トゥルク"),
    name("Vaasa", "ru", "Вааса"),
    name("Guinea", "ru", "Гвинея", "territory"),
    name("Guinea", "fi", "Guinea", "territory"),
    name("New Guinea", "ru", "Новая Гвинея", "territory"),
    name("Papua New Guinea", "fi", "Papua-Uusi-Guinea", "territory"),
    name("Dinar", "ru", "динар", "currency"),
    name("Dinar", "ja", "ディナール", "currency"),
]


def about(*titles: str) -> list[Passage]:
    return [Passage(str(number), title, f"{title} is a place.") for number, title in enumerate(titles)]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Turku", "Turku"),
        ("Climate of Turku", "Turku"),
        ("Guinea", "Guinea"),
        ("Coast of New Guinea", "New Guinea"),
        ("Papua New Guinea and Guinea", "Papua New Guinea"),
        ("Guineas", ""),
        ("turku", ""),
        ("", ""),
    ],
)
def test_an_entity_is_the_longest_name_that_a_title_holds_as_whole_words(title: str, expected: str) -> None:
    for order in (1, -1):
        assert Names(NAMES[::order], []).find(title) == expected


def test_names_are_those_of_the_entities_that_titles_speak_of() -> None:
    names = Names(NAMES, about("Port of Turku", "Turku", "New Guinea", "Nowhere"))
    assert Counter(names.pairs) == Counter(
        [("ru", "Turku", "Турку"), ("ja", "Turku", "トゥルク"), ("ru", "New Guinea", "Новая Гвинея")]
    )
    assert names.called("Turku", "ru") == {"Турку"}
    assert names.called("Turku", "fi") == names.called("Dinar", "ru") == set()


def test_a_lesson_is_a_name_under_a_passage_that_speaks_of_its_entity_in_place_of_its_own() -> None:
    names = Names(NAMES, about("Port of Turku", "Guinea", "Nowhere"))
    position = names.pairs.index(("ja", "Turku", "トゥルク"))
    lessons = [names.lesson(position, random.Random(seed)) for seed in range(30)]
    assert {(lesson.query, lesson.lang) for lesson in lessons} == {("トゥルク", "ja")}
    assert {lesson.positive[1:] for lesson in lessons} == {
        ("Port of Turku", "Port of Turku is a place."),
        ("Turku", "Turku is a place."),
    }


PORT = Example("Где порт Турку?", Passage("7", "Port of Turku", "Turku has a port, no Turkush one."), lang="ru")


def exchanged(names: Names, example: Example = PORT, count: int = 50) -> set[tuple[Example, str]]:
    return {names.exchange(example, random.Random(seed)) for seed in range(count)}


def test_entities_are_exchanged_in_question_and_passage_for_those_of_another_kind() -> None:
    names = Names(NAMES, about("Turku", "Vaasa", "Guinea", "Dinar"))
    assert {(e.query, *e.positive[1:], e.lang, name) for e, name in exchanged(names)} == {
        ("Где порт Гвинея?", "Port of Guinea", "Guinea has a port, no Turkush one.", "ru", "Гвинея"),
        ("Где порт динар?", "Port of Dinar", "Dinar has a port, no Turkush one.", "ru", "динар"),
    }


@pytest.mark.parametrize(
    "example",
    [
        PORT._replace(query="Где порт?"),  # the question does not name the entity
        PORT._replace(query="ポートはどこ? トゥルク"),  # nor in this language
        PORT._replace(positive=Passage("7", "A port", "The Turkush port.")),
        Example("Гвинея?", Passage("8", "Guinea", "A country."), lang="fi"),
        Example("Guinea?", Passage("8", "Guinea", "A country."), lang="fi"),  # no other kind in Finnish
    ],
)
def test_questions_without_an_entity_or_another_stay_as_they_are(example: Example) -> None:
    names = Names(NAMES, about("Turku", "Guinea", "Dinar"))
    assert exchanged(names, example) == {(example, "")}


def test_the_longest_name_of_a_question_is_exchanged() -> None:
    names = Names(NAMES, about("New Guinea", "Guinea", "Dinar"))
    passage = Passage("9", "New Guinea", "New Guinea lies far off.")
    ((found, _),) = exchanged(names, Example("Где Новая Гвинея?", passage, lang="ru"))
    assert (found.query, *found.positive) == ("Где динар?", "9", "Dinar", "Dinar lies far off.")


CITY_STATE = [
    Example("Luxemburg", Passage(f"{kind} Luxembourg", "Luxembourg", ""), lang="fi") for kind in ("territory", "city")
]
DINAR = Example("dinaari", Passage("currency Dinar", "Dinar", ""), lang="fi")


def test_a_name_that_two_kinds_share_is_neither_exchanged_nor_put_in() -> None:
    names = Names([*CITY_STATE, DINAR], about("Luxembourg", "Dinar"))
    for name, title in (("Luxemburg", "Luxembourg"), ("dinaari", "Dinar")):
        example = Example(f"Missä on {name}?", Passage("1", title, f"All about {title}."), lang="fi")
        assert exchanged(names, example) == {(example, "")}


def test_a_name_shared_in_english_only_is_not_exchanged_either() -> None:
    city, state = CITY_STATE[0]._replace(query="Luxemburgin kaupunki"), CITY_STATE[1]
    names = Names([city, state, DINAR], about("Luxembourg", "Dinar"))
    example = Example("Missä on Luxemburg?", Passage("1", "Luxembourg", "About Luxembourg."), lang="fi")
    assert exchanged(names, example) == {(example, "")}


@pytest.mark.integration
def test_no_question_that_xqg_mini_trains_on_is_one_of_dev_or_held_out() -> None:
    recipe = load_recipe("xqg-mini", GeneratorRecipe)
    names = Names(load_names(held_out=True), load_passages(recipe.data))
    examples = load_split(recipe).kept
    collator = PairCollator(recipe, None, examples, names, 0)
    epochs = range(ceil(recipe.epochs))
    asked = {collator.pair(Item(position, epoch)).target for position in range(len(examples)) for epoch in epochs}
    assert len(asked) > 5 * len(examples)  # most of them exchanged
    for topics in ("xor-mini/dev", "xor-mini/held-out"):
        assert not asked & {*read_topics(topics)[0].values()}


ANSWERED = Example(
    "Where?", Passage("1", "T", "First one. Then two. Now 3.5 of it. And four."), lang="fi", answers=("3.5",)
)


def test_a_shortened_passage_keeps_the_sentence_with_the_answer_and_the_order() -> None:
    sentences = ["First one.", "Then two.", "Now 3.5 of it.", "And four."]
    seen = set()
    for seed in range(60):
        found = shorten(ANSWERED, random.Random(seed))
        kept = [sentence for sentence in sentences if sentence in found.positive.text]
        assert found.positive.text == " ".join(kept) and "Now 3.5 of it." in kept
        assert found._replace(positive=ANSWERED.positive) == ANSWERED
        seen.add(len(kept))
    assert seen == {1, 2, 3, 4}


def test_a_lesson_may_lose_its_whole_text() -> None:
    texts = {shorten(ANSWERED._replace(answers=()), random.Random(seed)).positive.text for seed in range(40)}
    assert {"", "Then two.", ANSWERED.positive.text} <= texts


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
@pytest.mark.parametrize("setting", ["exchanged", "shortened"])
def test_a_share_of_the_questions_is_changed_anew_each_epoch(
    tokenizer: Any, setting: str, share: float, least: int, most: int
) -> None:
    names = Names(NAMES, about("Turku", "Guinea", "Dinar"))
    text = PORT.positive.text + " Old. Cold. Small. Far off. Far north. Far west. Far east."
    example = PORT._replace(positive=PORT.positive._replace(text=text))

    def written(epoch: int | None, seed: int = 5) -> list[Pair]:
        recipe = dataclasses.replace(TINY, seed=seed, **{setting: share})
        collator = PairCollator(recipe, tokenizer, [example] * 200, names)
        return [collator.pair(Item(position, epoch)) for position in range(200)]

    first = written(0)
    assert least <= sum(pair != question_pair(example, PROMPT) for pair in first) <= most
    assert written(0) == first
    assert (written(1) != first) == (written(0, seed=6) != first) == (share > 0)
    assert set(written(None)) == {question_pair(example, PROMPT)}


RECIPE = dataclasses.replace(TINY, batch_size=4, names_epochs=2)
PER_EPOCH = 3 + 2 * 2  # batches of 10 questions and, twice, of 7 names


def epochs(count: int, recipe: GeneratorRecipe = RECIPE) -> list[list[list[Item]]]:
    """The batches of the first epochs; the length of a row is its position modulo four."""
    found = [list(b) for b in islice(draw_batches(10, 7, recipe, lambda row: row.position % 4), count * PER_EPOCH)]
    return [found[at : at + PER_EPOCH] for at in range(0, len(found), PER_EPOCH)]


def test_an_epoch_holds_each_question_once_and_each_name_as_often_as_asked() -> None:
    for number, epoch in enumerate(epochs(3)):
        rows = [row for batch in epoch for row in batch]
        wanted = [Item(position, number) for position in range(10)]
        wanted += [Item(i, 2 * number + again, is_name=True) for again in range(2) for i in range(7)]
        assert sorted(rows) == sorted(wanted)  # type: ignore[type-var]
        assert sorted(len(batch) for batch in epoch if not batch[0].is_name) == [2, 4, 4]
        assert sorted(len(batch) for batch in epoch if batch[0].is_name) == [3, 3, 4, 4]
        assert all(len({row[1:] for row in batch}) == 1 for batch in epoch)


def test_rows_of_similar_length_go_together() -> None:
    batched = [batch for batch in epochs(1)[0] if batch[0].is_name]
    lengths = Counter(tuple(row.position % 4 for row in batch) for batch in batched)
    assert lengths == {(0, 0, 1, 1): 2, (2, 2, 3): 2}


def test_batches_are_drawn_anew_each_epoch_and_for_each_seed_and_no_other_time() -> None:
    first, second = epochs(2)
    assert epochs(2) == [first, second]
    other = epochs(1, dataclasses.replace(RECIPE, seed=6))[0]
    for changed in (second, other):
        for is_name in (False, True):
            of_kind = [
                [[row.position for row in batch] for batch in epoch if batch[0].is_name == is_name]
                for epoch in (first, changed)
            ]
            assert of_kind[0] != of_kind[1]
    mixed = [[batch[0].is_name for batch in epoch] for epoch in epochs(5)]
    assert len({tuple(kinds) for kinds in mixed}) > 1  # names stand between the questions, at other places each time


def test_without_names_there_are_questions_alone() -> None:
    found = [row for batch in islice(draw_batches(5, 0, RECIPE, lambda _: 0), 2) for row in batch]
    assert sorted(found) == [Item(position, 0) for position in range(5)]  # type: ignore[type-var]


# a batch


def test_padding_of_the_labels_does_not_count(tokenizer: Any) -> None:
    examples = [Example("Mikä on Suomen pääkaupunki?", TURKU, lang="fi"), Example("Где?", TURKU, lang="ru", qid="q2")]
    found = PairCollator(TINY, tokenizer, examples, start=7)([[Item(1, 0), Item(0, 0)]])
    assert set(found) == {"input_ids", "attention_mask", "decoder_input_ids", "labels", "questions"}
    assert found["questions"] == ["q2 'Где?'", "'Mikä on Suomen pääkaupunki?'"]
    for i, (source, target, _) in enumerate(question_pair(example, PROMPT) for example in examples[::-1]):
        kept = found["attention_mask"][i].bool()
        assert found["input_ids"][i][kept].tolist() == tokenizer(source)["input_ids"]
        expected = tokenizer(target)["input_ids"]
        labels = found["labels"][i].tolist()
        assert labels == expected + [-100] * (len(labels) - len(expected))
        assert found["decoder_input_ids"][i].tolist()[: len(expected)] == [7, *expected[:-1]]
    assert -100 in found["labels"]


def test_of_an_exchanged_question_its_name_and_the_token_after_it_count(tokenizer: Any) -> None:
    names = Names(NAMES, about("Turku", "Guinea"))
    recipe = dataclasses.replace(TINY, exchanged=1.0)
    ids, labels = (
        PairCollator(recipe, tokenizer, [PORT], names)([[Item(0, 0)]])[kind][0].tolist()
        for kind in ("decoder_input_ids", "labels")
    )
    counted = [label for label in labels if label >= 0]
    assert tokenizer.decode(ids[1:]) == "Где порт Гвинея?"
    assert tokenizer.decode(counted).strip() in ("Гвинея", "Гвинея?")
    at = next(i for i, label in enumerate(labels) if label >= 0)
    assert at > 0 and ids[at + 1 : at + len(counted)] == counted[:-1]


def test_a_row_of_a_name_is_a_lesson(tokenizer: Any) -> None:
    collator = PairCollator(TINY, tokenizer, [], Names(NAMES, about("Turku")))
    sources = {collator.pair(Item(0, number, is_name=True)) for number in range(20)}
    prompt = "Generate a Russian name for this passage: Turku"
    assert sources == {Pair(prompt, "Турку"), Pair(f"{prompt} Turku is a place.", "Турку")}


def test_long_texts_are_cut_at_their_end(tokenizer: Any) -> None:
    recipe = dataclasses.replace(TINY, prompt_max_length=9, query_max_length=5)
    example = Example("Mikä on Suomen pääkaupunki?", TURKU, lang="fi")
    found = PairCollator(recipe, tokenizer, [example])([[Item(0, 0)]])
    for kind, length, text in zip(("input_ids", "labels"), (9, 5), question_pair(example, PROMPT)[:2], strict=True):
        whole = tokenizer(text)["input_ids"]
        assert len(whole) > length
        assert found[kind][0].tolist() == [*whole[: length - 1], tokenizer.eos_token_id]


# training


@pytest.fixture(scope="module")
def trained(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(TINY, folder)
    return folder


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_trained_folder_is_a_generator(trained: Path) -> None:
    config = GeneratorConfig(str(trained), queries=2, query_max_length=6, precision=Precision.FLOAT32)
    (found,) = QueryGenerator(config, "cpu").generate([SimpleNamespace(doc_id="1", title="Place", text="ban der")])
    assert list(found.queries) == list(XOR_LANGUAGES)
    assert all(len(queries) == 2 for queries in found.queries.values())
    assert any(text for queries in found.queries.values() for text in queries)


def test_trained_folder_holds_no_pickle_and_no_leftover(trained: Path) -> None:
    files = {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    files |= {"README.md", "manifest.json", "loss.csv", "loss.svg"}
    assert {path.name for path in trained.iterdir()} == files
    assert [path.name for path in trained.parent.iterdir()] == ["model"]


def test_manifest_counts_what_was_trained(trained: Path) -> None:
    manifest = verify(trained, checksums=True)
    parameters = sum(array.size for array in weights(trained).values())
    assert manifest.stage == "train-xqg"
    assert manifest.counts == {"parameters": parameters, "questions": 14, "held_out": 0, "steps": 3}
    assert manifest.parameters["recipe"]["architecture"]["decoder_layers"] == 1


def test_same_recipe_gives_the_same_bytes_and_another_seed_others(trained: Path, tmp_path: Path) -> None:
    train(TINY, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(trained)
    train(dataclasses.replace(TINY, seed=6), tmp_path / "other")
    assert contents(tmp_path / "other")["model.safetensors"] != contents(trained)["model.safetensors"]
    assert contents(tmp_path / "other")["tokenizer.json"] == contents(trained)["tokenizer.json"]


def test_trained_folder_is_reused_until_the_recipe_changes(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(TINY, trained)
    assert caplog.messages == [f"train-xqg: {trained} is up to date"]
    split, wanted = xqg.plan(dataclasses.replace(TINY, steps=4))
    assert Manifest.read(trained).differences(wanted) == ["recipe"]
    assert len(split.kept) == 14


def loss(folder: Path, recipe: GeneratorRecipe, examples: Sequence[Example]) -> float:
    """The loss of a trained model on questions, all of them in one batch."""
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        batch = PairCollator(recipe, tokenizer, examples)([[Item(i, None) for i in range(len(examples))]])
        del batch["questions"]
        return model(**batch).loss.item()


def test_training_brings_the_loss_down(trained: Path, tmp_path: Path) -> None:
    train(dataclasses.replace(TINY, steps=30), tmp_path / "model")
    examples = load_examples(TINY.data)[0]
    assert loss(tmp_path / "model", TINY, examples) < 0.8 * loss(trained, TINY, examples)


@pytest.mark.parametrize("adafactor", [False, True])
def test_a_step_of_adafactor_is_relative_to_a_weights_size(
    mini_data: Mini, tiny_generator: Path, tmp_path: Path, adafactor: bool
) -> None:
    recipe = dataclasses.replace(TINY, model=str(tiny_generator), architecture=None, adafactor=adafactor, steps=1)
    train(recipe, tmp_path / "model")
    before, after = weights(tiny_generator), weights(tmp_path / "model")
    for key in (f"encoder.block.0.layer.0.SelfAttention.{name}.weight" for name in "qkvo"):
        size, moved = (np.sqrt(np.square(a).mean()) for a in (before[key], after[key] - before[key]))
        step = recipe.learning_rate * (size if adafactor else 1)
        assert 0.5 * step < moved < 1.1 * step


def test_weights_decay_where_the_recipe_says_so(trained: Path, tmp_path: Path) -> None:
    train(dataclasses.replace(TINY, weight_decay=10.0), tmp_path / "model")
    sizes = [np.linalg.norm(weights(folder)["shared.weight"]) for folder in (trained, tmp_path / "model")]
    assert sizes[1] < 0.95 * sizes[0]


HELD_OUT = dataclasses.replace(TINY, held_out=0.4, batch_size=8, evaluation_steps=1, learning_rate=1.0, steps=4)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the measurement of quality, which takes longer than such a training."""
    monkeypatch.setattr(xqg, "measure_queries", lambda *_: {})


def held_out_losses(lines: list[str]) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in lines if "held-out loss" in line]


def test_the_best_checkpoint_on_the_held_out_questions_is_kept(
    mini_data: Mini, unmeasured: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, held_out = held_out_split(load_examples(HELD_OUT.data)[0], HELD_OUT.held_out)
    assert 0 < len(held_out) <= HELD_OUT.batch_size
    train(HELD_OUT, tmp_path / "best")
    losses = held_out_losses(caplog.messages)
    assert len(losses) == 4 and min(losses) < losses[-1] - 0.1  # the learning rate is far too high
    assert loss(tmp_path / "best", HELD_OUT, held_out) == pytest.approx(min(losses), abs=2e-3)
    assert not [path for path in (tmp_path / "best").iterdir() if path.is_dir() or path.name.startswith(".")]
    train(dataclasses.replace(HELD_OUT, evaluation_steps=0), tmp_path / "last")
    assert loss(tmp_path / "last", HELD_OUT, held_out) == pytest.approx(losses[-1], abs=2e-3)


def test_interrupted_training_goes_on_from_its_last_checkpoint(
    mini_data: Mini, unmeasured: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with interrupted_at("step 3 of 4"):
        train(HELD_OUT, tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    assert next((tmp_path / "killed.partial").rglob("checkpoint-2"))
    lines: dict[str, list[str]] = {}
    for output in ("killed", "whole"):
        caplog.clear()
        train(HELD_OUT, tmp_path / output)
        lines[output] = caplog.messages
    assert "train: resumes from step 2 of 4" in lines["killed"]
    assert not any("resumes" in line for line in lines["whole"])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"killed", "whole"}


class Stage(NamedTuple):
    """A stage of training: the steps of the optimiser, the batches that were read, and the learning rate at the end."""

    steps: int
    batches: list[Any]
    rate: float


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """The stages of training, as they end."""
    seen: list[Stage] = []
    original = RecipeTrainer.train_or_resume

    def recording(trainer: Any) -> Any:
        batches, collate = [], trainer.data_collator
        trainer.data_collator = lambda rows: batches.extend(rows) or collate(rows)
        steps, curve = original(trainer)
        seen.append(Stage(steps, batches, trainer.lr_scheduler.get_last_lr()[0]))
        return steps, curve

    monkeypatch.setattr(RecipeTrainer, "train_or_resume", recording)
    return seen


@pytest.mark.parametrize("adafactor", [False, True])
def test_epochs_are_counted_in_steps_of_accumulated_batches(
    mini_data: Mini, fitted: list[Stage], tmp_path: Path, adafactor: bool
) -> None:
    recipe = dataclasses.replace(TINY, steps=0, epochs=2.0, accumulation=3, adafactor=adafactor)
    assert train(recipe, tmp_path / "model").counts["steps"] == 3  # 2 epochs of 4 batches
    ((steps, batches, rate),) = fitted
    assert (steps, len(batches), rate) == (3, 9, 0.0)


def test_accumulated_batches_are_as_one_large_batch(tiny_generator: Path, tmp_path: Path) -> None:
    # as many tokens in each question, so that the mean over batches is the mean over all
    path = tevatron(tmp_path / "four.jsonl", ("ban der", "fi"), ("kon ban", "fi"), ("der kon", "ru"), ("ban ban", "ru"))
    start = shutil.copytree(tiny_generator, tmp_path / "start")
    settings = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps({**settings, "dropout_rate": 0.0}))
    recipe = dataclasses.replace(TINY, data=str(path), model=str(start), architecture=None, steps=1)
    before = weights(start)
    moved = []
    for size, accumulation in ((4, 1), (2, 2), (2, 1)):
        changed = dataclasses.replace(recipe, batch_size=size, accumulation=accumulation)
        train(changed, tmp_path / "model")
        after = weights(tmp_path / "model")
        moved.append(np.concatenate([(after[key] - before[key]).ravel() for key in sorted(before)]))
    one, accumulated, half = moved
    assert cosine(one, accumulated) > 0.99 > 0.95 > cosine(one, half) > 0


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_training_starts_from_a_given_model(mini_data: Mini, tiny_generator: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, model=str(tiny_generator), architecture=None, learning_rate=1e-3)
    made_from = train(recipe, tmp_path / "model").inputs["model"]
    assert made_from == model_fingerprint(str(tiny_generator)) != xqg.plan(TINY)[1].inputs["model"] == ""
    before, after = weights(tiny_generator), weights(tmp_path / "model")
    assert {key: array.shape for key, array in before.items()} == {key: array.shape for key, array in after.items()}
    largest = max(np.abs(after[key] - before[key]).max() for key in before)
    assert 1e-3 < largest < 1e-2  # three steps of Adam
    tokenizers = [
        json.loads((folder / "tokenizer.json").read_text()) for folder in (tmp_path / "model", tiny_generator)
    ]
    assert tokenizers[0]["model"] == tokenizers[1]["model"]
    config = GeneratorConfig(str(tmp_path / "model"), ("fi",), 1, query_max_length=4, precision=Precision.FLOAT32)
    assert len(QueryGenerator(config, "cpu").generate([SimpleNamespace(doc_id="1", text="ban")])) == 1


def test_a_given_model_of_another_kind_is_refused(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, model=str(tiny_model), architecture=None)
    with pytest.raises(InputError, match="cannot be loaded as a sequence-to-sequence model"):
        train(recipe, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_languages_are_known_before_anything_is_trained(tmp_path: Path) -> None:
    path = tevatron(tmp_path / "train.jsonl", ("Где?", ""), ("1812?", ""))
    with pytest.raises(InputError, match=r"unknown language .*'1812\?'"):
        train(dataclasses.replace(TINY, data=str(path)), tmp_path / "model")
    assert list(tmp_path.iterdir()) == [path]


def test_mixed_precision_and_half_weights_change_the_numbers_but_little(
    mini_data: Mini, trained: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(TINY, precision=Precision.BFLOAT16, half_precision_weights=True)
    train(recipe, tmp_path / "model")
    whole, half = weights(trained), weights(tmp_path / "model")
    assert {array.dtype for array in whole.values()} == {np.dtype(np.float32)}
    assert {array.dtype for array in half.values()} == {np.dtype(np.float16)}
    rounded = np.concatenate([np.float32(np.float16(whole[key])).ravel() for key in sorted(whole)])
    found = np.concatenate([np.float32(half[key]).ravel() for key in sorted(whole)])
    assert 0 < np.abs(found - rounded).max() < 0.1
    assert cosine(found, rounded) > 0.999


@pytest.fixture
def few_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the list of names, these few."""
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES if held_out else NAMES[:2])


@pytest.fixture
def turku(tmp_path: Path) -> Path:
    """Six questions about passages on Turku."""
    questions = [(f"Турку {number}?", "ru") for number in range(6)]
    return tevatron(tmp_path / "turku.jsonl", *questions, title="Turku")


def test_names_stand_between_the_questions(few_names: None, turku: Path, fitted: list[Stage], tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, data=str(turku), names_epochs=2, steps=0, epochs=3, batch_size=5)
    counts = train(recipe, tmp_path / "model").counts
    ((steps, batches, rate),) = fitted
    # an epoch is 2 batches of questions and twice one of the 2 names of Turku
    assert (steps, len(batches), rate) == (12, 12, 0.0)
    assert [batch[0].is_name for batch in batches].count(True) == 6
    assert counts["steps"] == 12 and counts["questions"] == 6
    assert "(from CLDR): 2 names" in " ".join((tmp_path / "model" / "README.md").read_text().split())


@pytest.mark.parametrize("setting", ["names_epochs", "exchanged"])
def test_identity_depends_on_the_names_where_they_are_used(
    monkeypatch: pytest.MonkeyPatch, few_names: None, turku: Path, setting: str
) -> None:
    plain = dataclasses.replace(TINY, data=str(turku))
    named = dataclasses.replace(plain, **{setting: 1})
    before = [xqg.plan(recipe)[1].inputs for recipe in (plain, named)]
    assert before[0]["names"] == "" != before[1]["names"]
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES[:1])
    assert [xqg.plan(recipe)[1].inputs == inputs for recipe, inputs in zip((plain, named), before, strict=True)] == [
        True,
        False,
    ]


def test_held_out_questions_are_not_exchanged(
    few_names: None, unmeasured: None, turku: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(HELD_OUT, data=str(turku), exchanged=1.0, steps=1)
    kept, held_out = held_out_split(load_examples(str(turku))[0], recipe.held_out)
    assert kept and held_out
    taught: list[Example] = []
    monkeypatch.setattr(xqg, "question_pair", lambda e, *more: taught.append(e) or question_pair(e, *more))
    train(recipe, tmp_path / "model")
    assert set(held_out) <= set(taught)
    places = {example.positive.doc_id for example in held_out}
    assert {example for example in taught if example.positive.doc_id in places} == set(held_out)


@pytest.mark.parametrize("held_out", [0.0, 1.0])
def test_data_without_questions_to_train_on_is_refused(
    mini_data: Mini, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held_out: float
) -> None:
    monkeypatch.setattr(xqg, "count", lambda: range(9))  # an epoch without a batch must not follow the other for ever
    (tmp_path / "none.jsonl").write_text("\n")
    data = TINY.data if held_out else str(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="question"):
        train(dataclasses.replace(TINY, data=data, held_out=held_out), tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"none.jsonl"}


# how good a generator is


class MadeUp:
    """Stands in for the generator: writes what it is told to for a title and language, else Finnish."""

    texts: ClassVar = {
        ("Turku", "ru"): ("Где Турку?", "Где Оулу?"),
        ("Port of Turku", "ru"): ("Turku?", "Как назван Турку?"),
        ("Guinea", "ru"): ("Гвинея?", "Оулу где?"),
        ("Guinea", "fi"): ("Гвинея?", "Missä Guinea?"),
    }

    def __init__(self, config: GeneratorConfig) -> None:
        self.config = config
        assert (config.queries, config.prompt, config.model) == (2, TINY.prompt, "model")

    def generate(self, passages: Sequence[Passage]) -> list[PassageQueries]:
        return [
            PassageQueries(
                p.doc_id, {code: self.texts.get((p.title, code), ("Mikä?", "Kuka?")) for code in ("ru", "fi")}
            )
            for p in passages
        ]


def test_quality_is_the_share_of_queries_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xqg, "QueryGenerator", MadeUp)
    monkeypatch.setattr(xqg, "load_names", lambda held_out=False: NAMES if held_out else [])
    passages = [Passage(title, title, "") for title in ("Turku", "Port of Turku", "Guinea", "Nowhere")]
    held_out = [Example(question, passage) for passage in passages for question in ("a", "b")]
    assert measure_queries(TINY, Path("model"), held_out) == {
        # Turku 2 + 2 of 4, the port 1 + 2, Guinea 2 + 1, nowhere 0 + 2
        "in the requested language": 12 / 16,
        # Turku in Russian 1 of 2, the port 1, Guinea 1 and in Finnish 1; the list has no Finnish name of Turku
        "naming the passage's entity": 4 / 8,
    }
    nowhere = measure_queries(TINY, Path("model"), held_out[-2:])
    assert nowhere == {"in the requested language": 1 / 2}


def test_quality_is_measured_on_what_is_held_out_and_told(
    mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = dataclasses.replace(TINY, held_out=0.4, steps=1)
    counts = train(recipe, tmp_path / "model").counts
    assert counts["held_out"] > 0 and counts["questions"] + counts["held_out"] == 14
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in caplog.messages if "in the requested language" in line]
    share = float(line.rpartition(" ")[2])
    assert f"| in the requested language | {share:.1%} |" in card
    assert (
        f"the passages of {counts['held_out']} held-out questions (all questions about 40% of the passages)"
        in " ".join(card.split())
    )


# the models of the package


KINDS = {
    "train-xdr": (EncoderRecipe, xdr.plan),
    "train-xqg": (GeneratorRecipe, xqg.plan),
    "train-reader": (ReaderRecipe, reader.plan),
}


MODELS = sorted(path.parent.name for path in resource("models").glob("*/manifest.json"))


@pytest.mark.parametrize("model", MODELS)
def test_a_shipped_model_is_what_its_recipe_makes_of_todays_data(model: str) -> None:
    shipped = verify(resource("models", model), checksums=True)
    kind, plan = KINDS[shipped.stage]
    split, wanted = plan(load_recipe(model, kind))
    assert shipped.identity == wanted.identity, f"changed: {shipped.differences(wanted)}; run make models"
    assert (shipped.counts["questions"], shipped.counts["held_out"]) == (len(split.kept), len(split.held_out))
