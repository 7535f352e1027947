from __future__ import annotations

import random
from collections import Counter

import pytest

from train.samples import NAMES, about, name
from xqg_repro.collection.records import Passage
from xqg_repro.train.data import Example
from xqg_repro.train.mini.names import Names, load_names


def test_packaged_names_are_pairs_with_the_english_name() -> None:
    names, train = load_names(held_out=True), load_names()
    assert set(train) < set(names) and len({name.lang for name in train}) == 7
    assert all(name.query and name.query != name.positive.title for name in names)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Climate of Turku", "Turku"),
        ("Guinea", "Guinea"),
        ("Coast of New Guinea", "New Guinea"),
        ("Papua New Guinea and Guinea", "Papua New Guinea"),
        ("Guineas", ""),
        ("turku", ""),
        ("", ""),
    ],
)
def test_an_entity_is_the_longest_name_in_a_title_as_whole_words(title: str, expected: str) -> None:
    for order in (1, -1):
        assert Names(NAMES[::order], []).find(title) == expected


def test_names_are_those_of_the_entities_in_titles() -> None:
    names = Names(NAMES, about("Port of Turku", "Turku", "New Guinea", "Nowhere"))
    assert Counter(names.pairs) == Counter(
        [("ru", "Turku", "Турку"), ("ja", "Turku", "トゥルク"), ("ru", "New Guinea", "Новая Гвинея")]
    )
    assert names.called("Turku", "ru") == {"Турку"}
    assert names.called("Turku", "fi") == names.called("Dinar", "ru") == set()


def test_a_lesson_is_a_name_and_a_passage_with_its_entity_put_in() -> None:
    names = Names(NAMES, about("Port of Turku", "Guinea", "Nowhere"))
    position = names.pairs.index(("ja", "Turku", "トゥルク"))
    lessons = [names.lesson(position, random.Random(seed)) for seed in range(30)]
    assert {(lesson.query, lesson.lang) for lesson in lessons} == {("トゥルク", "ja")}
    assert {lesson.positive[1:] for lesson in lessons} == {
        ("Port of Turku", "Port of Turku is a place."),
        ("Turku", "Turku is a place."),
    }


PORT = Example("Где порт Турку?", Passage("7", "Port of Turku", "Turku has a port, no Turkush one."), lang="ru")


def exchange(names: Names, example: Example, count: int = 50) -> set[tuple[Example, str]]:
    return {names.exchange(example, random.Random(seed)) for seed in range(count)}


def test_entities_are_exchanged_for_those_of_another_kind_in_question_and_passage() -> None:
    names = Names(NAMES, about("Turku", "Vaasa", "Guinea", "Dinar"))
    assert {(e.query, *e.positive[1:], e.lang, name) for e, name in exchange(names, PORT)} == {
        ("Где порт Гвинея?", "Port of Guinea", "Guinea has a port, no Turkush one.", "ru", "Гвинея"),
        ("Где порт динар?", "Port of Dinar", "Dinar has a port, no Turkush one.", "ru", "динар"),
    }
    names = Names(NAMES, about("New Guinea", "Guinea", "Dinar"))
    passage = Passage("9", "New Guinea", "New Guinea lies far off.")
    ((longest, _),) = exchange(names, Example("Где Новая Гвинея?", passage, lang="ru"))
    assert (longest.query, *longest.positive) == ("Где динар?", "9", "Dinar", "Dinar lies far off.")


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
def test_questions_without_an_entity_or_another_one_stay_as_they_are(example: Example) -> None:
    names = Names(NAMES, about("Turku", "Guinea", "Dinar"))
    assert exchange(names, example) == {(example, "")}


@pytest.mark.parametrize("city", ["Luxemburg", "Luxemburgin kaupunki"])  # the second is shared in English only
def test_names_that_two_kinds_share_are_neither_exchanged_nor_put_in(city: str) -> None:
    shared = [name("Luxembourg", "fi", city), name("Luxembourg", "fi", "Luxemburg", "territory")]
    names = Names([*shared, name("Dinar", "fi", "dinaari", "currency")], about("Luxembourg", "Dinar"))
    for called, title in (("Luxemburg", "Luxembourg"), ("dinaari", "Dinar")):
        example = Example(f"Missä on {called}?", Passage("1", title, f"All about {title}."), lang="fi")
        assert exchange(names, example) == {(example, "")}
