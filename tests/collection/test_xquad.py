"""The real XQuAD, and what a damaged file does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xqg_repro import collection
from xqg_repro.collection import files
from xqg_repro.collection.xquad import LANGUAGES, Answer, located_answers
from xqg_repro.core.errors import InputError


@pytest.mark.integration
@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_lead_to_their_paragraph_and_it_has_their_answers(shared_data: Path, language: str) -> None:
    articles = json.loads((shared_data / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    own = {qa["id"]: paragraph["context"].strip() for paragraph in paragraphs for qa in paragraph["qas"]}
    dataset = collection.load(f"xquad/{language}/en")
    assert (dataset.docs_count(), dataset.queries_count(), dataset.qrels_count()) == (240, 1190, 1190)
    assert (dataset.docs_lang(), dataset.queries_lang()) == (language, "en")
    texts = {doc.doc_id: doc.text for doc in dataset.docs_iter()}
    assert {judgement.query_id: texts[judgement.doc_id] for judgement in dataset.qrels_iter()} == own
    for question in dataset.queries_iter():
        assert question.answers and all(answer in own[question.query_id] for answer in question.answers)
    assert located_answers(language).keys() == own.keys()


@pytest.fixture
def english(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small English file whose checksum is not known."""
    answers = [{"text": "city", "answer_start": 3}] * 2
    qas = [{"id": "q1", "question": "What?", "answers": answers}]
    article = {"title": "A_title", "paragraphs": [{"context": " A city. ", "qas": qas}]}
    (tmp_path / "xquad.en.json").write_text(json.dumps({"data": [article]}))
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    listed = files.read_yaml(files.resource("collections", "files.yaml"))
    listed["xquad"]["xquad.en.json"].pop("md5")
    monkeypatch.setattr(files, "read_yaml", lambda path: listed)
    return tmp_path / "xquad.en.json"


def test_texts_and_positions_are_without_outer_white_space(english: Path) -> None:
    from xqg_repro.collection import xquad

    assert [tuple(doc) for doc in xquad.datasets()["xquad/en"].docs_iter()] == [("0-0", "A title", "A city.")]
    assert located_answers("en") == {"q1": (Answer("city", 2),)}


def test_an_answer_at_another_position_is_named(english: Path) -> None:
    english.write_text(english.read_text().replace('_start": 3', '_start": 4'))
    with pytest.raises(InputError, match=r"xquad\.en\.json: the answer 'city' to question q1"):
        located_answers("en")
