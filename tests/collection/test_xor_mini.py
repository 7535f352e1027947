"""The embedded collection xor-mini: its datasets and the files that ship."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache

import pytest

from xqg_repro import collection
from xqg_repro.collection.xor_mini import SPLITS, read_qrels
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES, is_in_script
from xqg_repro.core.settings import resource
from xqg_repro.train.data import Example
from xqg_repro.train.parallel_data import load_pairs, question_key

DATA = resource("xor_mini")
RECORD = json.loads((DATA / "build.json").read_text(encoding="utf-8"))


@cache
def questions(split: str) -> list[dict[str, str]]:
    lines = (DATA / f"questions.{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@cache
def relevant(split: str) -> dict[str, list[int]]:
    docids = defaultdict(list)
    for qid, docid in read_qrels(DATA / f"qrels.{split}.tsv"):
        docids[qid].append(int(docid))
    return docids


@pytest.fixture(scope="module")
def passages() -> dict[int, tuple[str, str]]:
    header, *lines = (DATA / "passages.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "id\ttext\ttitle"
    rows = [line.split("\t") for line in lines]
    return {int(docid): (text, title) for docid, text, title in rows}


# datasets


def test_held_out_questions_are_about_passages_of_the_collection() -> None:
    held_out, train = (collection.load(f"xor-mini/{name}") for name in ("held-out", "train"))
    assert Counter(question.lang for question in held_out.queries_iter()) == dict.fromkeys(XOR_LANGUAGES, 100)
    assert held_out.queries_count() == 700
    assert collection.fingerprint(held_out, "docs") == collection.fingerprint(train, "docs")


def test_languages_have_their_own_questions_and_english_is_apart() -> None:
    texts: list[str] = []
    for language in (*XOR_LANGUAGES, "en"):
        dataset = collection.load(f"xor-mini/held-out/{language}")
        own = list(dataset.queries_iter())
        assert {question.lang for question in own} == {language}
        assert dataset.qrels_count() >= dataset.queries_count() == 100
        texts += [question.text for question in own if language != "en"]
    everything = [question.text for question in collection.load("xor-mini/held-out").queries_iter()]
    assert sorted(everything) == sorted(texts)


def test_fingerprints_of_questions_differ() -> None:
    names = ["train", "held-out", "dev", "train/ar", "held-out/ar", "dev/ar", "held-out/en", "train/en"]
    versions = [collection.fingerprint(collection.load(f"xor-mini/{name}"), "queries") for name in names]
    assert len(set(versions)) == len(names)


def test_bad_judgements_name_their_line(tmp_path) -> None:
    (tmp_path / "qrels.tsv").write_text("q1\t1\nq2\n")
    with pytest.raises(InputError, match=r"qrels.tsv:2: expected 2 columns"):
        read_qrels(tmp_path / "qrels.tsv")


# files


def test_files_are_those_that_were_built() -> None:
    for name, expected in RECORD["sha256"].items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == expected, name


def test_passages(passages: dict[int, tuple[str, str]]) -> None:
    texts, titles = zip(*passages.values(), strict=True)
    assert list(passages) == list(range(1, len(passages) + 1))
    assert len(passages) == len(set(texts)) == sum(RECORD["passages"].values()) >= 1_700
    lengths = [len(text.split()) for text in texts]
    mean = sum(lengths) / len(lengths)
    assert min(lengths) >= 40 and max(lengths) <= 100 and 60 <= mean <= 95
    assert not any(re.search(r"[{}\n\t]|  | ,| \.\W|\bNone\b(?! of)|\b[Tt]he the\b|\.\.", text) for text in texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert max(Counter(titles).values()) >= 4  # several passages per entity
    card = (DATA / "README.md").read_text(encoding="utf-8")
    assert f"{len(passages):,} passages of {min(lengths)}–{max(lengths)} words ({mean:.0f} on average)" in card
    assert f"{RECORD['passages']['city']} cities" in card
    assert f"CLDR {RECORD['versions']['cldr']}" in card


def test_counts() -> None:
    train, held_out, dev = (Counter(q["lang"] for q in questions(split)) for split in SPLITS)
    assert dict(train) == RECORD["questions"]["train"]
    assert dict(held_out) == RECORD["questions"]["held-out"] == dict.fromkeys((*XOR_LANGUAGES, "en"), 100)
    assert dict(dev) == RECORD["questions"]["dev"] == dict.fromkeys(XOR_LANGUAGES, 200)
    assert set(train) == {*XOR_LANGUAGES, "en"}
    assert all(900 <= n <= 1_100 for n in train.values())


def test_questions_and_their_judgements(passages: dict[int, tuple[str, str]]) -> None:
    for split in SPLITS:
        docids = relevant(split)
        assert set(docids) == {q["id"] for q in questions(split)}
        for question in questions(split):
            assert list(question) == ["id", "question", "answers", "lang", "split"]
            assert question["split"] == split and question["id"].isdigit()
            (answer,) = question["answers"]
            assert 0 < len(answer.split()) <= 8
            assert all(answer in passages[docid][0] for docid in docids[question["id"]]), question
            assert answer.casefold() not in question["question"].casefold(), question
    everything = [q for split in SPLITS for q in questions(split)]
    assert len({q["id"] for q in everything}) == len({q["question"] for q in everything}) == len(everything)


def test_parallel_questions_have_none_of_held_out_or_dev() -> None:
    pairs = load_pairs("xor-mini/parallel")
    assert Counter(pair.lang for pair in pairs.examples) == RECORD["parallel"] and not pairs.blank
    assert {path.parent.name for path in (DATA / "parallel").glob("*/en.txt")} == {f"{c}-en" for c in XOR_LANGUAGES}
    unseen = {question_key(q["question"]) for split in ("held-out", "dev") for q in questions(split)}
    assert len(unseen) == 2_200 and not any(is_in(pair, unseen) for pair in pairs.examples)
    own = {question_key(q["question"]) for q in questions("train")}
    assert all(is_in(pair, own) for language in XOR_LANGUAGES for pair in of(pairs.examples, language)[:1_000])
    card = (DATA / "README.md").read_text(encoding="utf-8")
    assert f"| {len(pairs.examples):,} questions" in card and f"({RECORD['parallel']['fi']:,} in fi" in card


def is_in(pair: Example, keys: set[str]) -> bool:
    return bool({question_key(pair.query), question_key(pair.positive.text)} & keys)


def of(pairs: Sequence[Example], language: str) -> list[Example]:
    return [pair for pair in pairs if pair.lang == language]


@pytest.mark.parametrize("language", XOR_LANGUAGES)
def test_each_training_question_has_one_translation(language: str) -> None:
    pairs = of(load_pairs("xor-mini/parallel", [language]).examples, language)
    english = {pair.query: pair.positive.text for pair in pairs}
    assert len(english) == len(pairs)
    own = [q["question"] for q in questions("train") if q["lang"] == language]
    assert sorted(list(english)[:1_000]) == sorted(own)
    assert all(re.fullmatch(r"[A-Z].*[^ ]\?", text) for text in english.values())


@pytest.mark.parametrize("language", XOR_LANGUAGES)
def test_questions_are_in_their_script(language: str) -> None:
    for text in (q["question"] for split in SPLITS for q in questions(split) if q["lang"] == language):
        assert text.endswith(("?", "؟", "？")) and not re.search(r"[{}]|  ", text), text
        if language == "fi":
            assert not re.search(r"[^\W\d_a-zA-ZÀ-ɏ’ʻ]", text), text
        else:  # Latin letters occur in what is written so in every language
            assert set(re.findall(r"[A-Za-z]+", text)) <= {"ISO", "alpha", "WWW"}, text
            assert is_in_script(re.sub("[A-Za-z]", "", text), language), text
