from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini, contents

from train.samples import ENCODER, tevatron_item, write_lines
from xqg_repro import collection
from xqg_repro.collection.records import Passage
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.encode import encode
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.runfile import Hit, write_run
from xqg_repro.train import retrieved
from xqg_repro.train.answers import contains_answer
from xqg_repro.train.architecture import Family
from xqg_repro.train.data import load_examples
from xqg_repro.train.encoder_recipe import Distillation
from xqg_repro.train.gold import Gold
from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind
from xqg_repro.train.label import label
from xqg_repro.train.mine import Mined, mine
from xqg_repro.train.mini.scratch import train_tokenizer
from xqg_repro.train.retrieved import bm25_index
from xqg_repro.train.score import score
from xqg_repro.train.xdr import ContrastiveCollator

Mine = Callable[..., tuple[Mined, dict[str, dict[str, Any]]]]


@pytest.fixture
def searched(mini_data: Mini, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces the search of an index, whose searcher takes ten seconds to import; the indexes searched, in order."""
    opened: list[Any] = []

    def search(index: Any, questions: dict[str, str], depth: int, device: str | None) -> dict[str, list[Hit]]:
        opened.append(index)
        run = {}
        for qid in questions:
            docids = random.Random(qid).sample([docid for docid, _, _ in mini_data.passages], depth)
            run[qid] = [Hit(docid, -float(place)) for place, docid in enumerate(docids)]
        return run

    monkeypatch.setattr(retrieved, "_dense_run", search)
    return opened


@pytest.fixture
def mined(mini_data: Mini, dense_index: Path, searched: list[Path], tmp_path: Path) -> Mine:
    """``mined(…)``: mine for the small collection's questions; the counts and the lines by qid."""

    def run(data: str = mini_data.topics, **settings: Any) -> tuple[Mined, dict[str, dict[str, Any]]]:
        settings = {"index": dense_index, "depth": 60, "device": "cpu"} | settings
        settings = {"negatives": settings["depth"]} | settings
        counts = mine(data, tmp_path / "train.jsonl", **settings)
        lines = (tmp_path / "train.jsonl").read_text(encoding="utf-8").splitlines()
        return counts, {item["query_id"]: item for item in map(json.loads, lines)}

    return run


def ids(item: dict[str, Any], kind: str = "negative") -> list[str]:
    return [passage["docid"] for passage in item[f"{kind}_passages"]]


def question(**changes: Any) -> dict[str, Any]:
    """A question in Tevatron's format: its positive is passage 1 of the small collection."""
    return tevatron_item("ban der?", query_id="t1") | changes


# what is dropped


@pytest.mark.parametrize(
    ("answers", "contained"),
    [
        (["TURKU founded"], True),
        (["1230", "in 12"], True),
        (["Aura-joki"], False),
        (["yes", "No", "", " "], False),
        ([], False),
    ],
)
def test_answers_are_found_whatever_the_case_and_the_white_space(answers: list[str], contained: bool) -> None:
    passage = Passage("1", "Turku", "Founded yes and no\n in  1229 by the Aura.")
    assert contains_answer(passage, answers) is contained


def test_neither_positives_nor_passages_with_an_answer_are_negatives(mini_data: Mini, mined: Mine) -> None:
    counts, lines = mined()
    passages = {docid: Passage(docid, title, text) for docid, title, text in mini_data.passages}
    positives, total = dict(mini_data.qrels), 0
    assert list(lines) == [item["id"] for item in mini_data.questions]
    for item in mini_data.questions:
        own = positives[item["id"]]
        wanted = {docid for docid, p in passages.items() if docid != own and not contains_answer(p, item["answers"])}
        assert set(ids(lines[item["id"]])) == wanted
        assert ids(lines[item["id"]], "positive") == [own]
        total += len(wanted)
    # without answers is the one answered by yes
    assert counts == Mined(questions=14, negatives=total, positive=14, answering=14 * 59 - total, without_answers=1)
    assert counts.answering > 0


def test_answers_copies_and_questions_of_a_file(mini_data: Mini, mined: Mine, tmp_path: Path) -> None:
    docid, title, text = mini_data.passages[20]
    copy = {"docid": "copy", "title": title, "text": text}
    data = write_lines(
        tmp_path / "given.jsonl",
        question(answers=[f"{title.upper()}  {text[:9]}"]),
        "",
        question(query_id="t2", positive_passages=[copy]),
        question(query_id="t3", answers=["e"]),  # every title contains it
        question(query_id="t4", positive_passages=[]),
    )
    counts, lines = mined(str(data), passages=mini_data.docs)
    assert counts == Mined(
        questions=3,
        negatives=58 + 59,
        answering=1 + 59,
        positive=3,
        without_negatives=1,
        without_answers=1,
        without_positives=1,
    )
    assert docid not in ids(lines["t1"]) + ids(lines["t2"]) and ids(lines["t3"]) == []


def test_the_candidates_of_a_distillation_are_the_gold_once_and_no_other_answer_holder(
    mini_data: Mini, mined: Mine, tiny_generator: Path, tmp_path: Path
) -> None:
    passages = {docid: {"docid": docid, "title": title, "text": text} for docid, title, text in mini_data.passages}
    gold = dict(mini_data.qrels)
    lines = [
        {
            "query_id": item["id"],
            "query": item["question"],
            "lang": item["lang"],
            "answers": item["answers"],
            # two passages answer every other question
            "positive_passages": [passages[gold[item["id"]]], *([passages["60"]] if number % 2 else [])],
        }
        for number, item in enumerate(mini_data.questions)
    ]
    data, scored = write_lines(tmp_path / "given.jsonl", *lines), tmp_path / "scored.jsonl"
    assert mined(str(data), passages=mini_data.docs)[0].answering > 0
    score(str(tmp_path / "train.jsonl"), ScorerConfig(str(tiny_generator)), scored, device="cpu")
    examples = list(load_examples(str(scored), scored=True)[0])
    recipe = dataclasses.replace(ENCODER, distillation=Distillation(), negatives=8)
    tokenizer = train_tokenizer(["ban der kon"], 60, Family.BERT)
    used = set()
    for epoch in range(4):
        collator = ContrastiveCollator(recipe, tokenizer)
        collator.epoch = lambda epoch=epoch: epoch  # type: ignore[misc]
        batch = collator(examples)
        for example, own, scores in zip(examples, batch["lists"], batch["teacher_scores"], strict=True):
            docids = [batch["docids"][position] for position in own]
            positives = {passage.doc_id for passage in (example.positive, *example.other_positives)}
            assert docids[0] in positives and not positives & {*docids[1:]} and len({*docids}) == len(docids) > 1
            others = [Passage(d, passages[d]["title"], passages[d]["text"]) for d in docids[1:]]
            assert not any(contains_answer(passage, example.answers) for passage in others)
            assert example.scores and scores == [example.scores[docid] for docid in docids]
            used.add((example.qid, docids[0]))
    assert len(used) == 14 + 7  # each positive has its turn


# what is kept


def test_the_first_negatives_are_kept_or_a_sample_in_rank_order(mined: Mine, tmp_path: Path) -> None:
    ranked = {qid: ids(item) for qid, item in mined()[1].items()}
    assert {qid: docids[:5] for qid, docids in ranked.items()} == {
        qid: ids(item) for qid, item in mined(negatives=5)[1].items()
    }
    assert all(ids(item) == ranked[qid][: len(ids(item))] for qid, item in mined(depth=8, negatives=8)[1].items())
    first = mined(negatives=5, sample=1)[1]
    assert first == mined(negatives=5, sample=1, force=True)[1] != mined(negatives=5, sample=2)[1]
    places = {qid: [ranked[qid].index(docid) for docid in ids(item)] for qid, item in first.items()}
    assert all(len(found) == 5 and found == sorted(found) for found in places.values())
    assert any(found != list(range(5)) for found in places.values())
    note = json.loads((tmp_path / "train.jsonl.json").read_text())
    assert (note["parameters"]["sample"], note["parameters"]["negatives"]) == (2, 5)


def test_the_passages_of_a_run_and_questions_without_gold(mini_data: Mini, mined: Mine, tmp_path: Path) -> None:
    docids = [docid for docid, _, _ in mini_data.passages[:20]]
    run = {
        item["id"]: [Hit(docid, -float(place)) for place, docid in enumerate(docids)] for item in mini_data.questions
    }
    write_run(run, tmp_path / "run.txt", "first")
    _, lines = mined(index=None, run=tmp_path / "run.txt", depth=10)
    assert len(lines) == 14 and all({*ids(item)} <= {*docids[:10]} for item in lines.values())
    counts, half = mined(index=None, run=tmp_path / "run.txt", depth=10, gold=Gold(0.5, ("te",)))
    assert (counts.questions, counts.without_positives) == (6, 8)
    assert "te" not in {item["lang"] for item in half.values()} and half.items() <= lines.items()
    note = json.loads((tmp_path / "train.jsonl.json").read_text())
    assert (note["parameters"]["labelled"], note["parameters"]["hidden_languages"]) == (0.5, ["te"])
    mined()
    note = json.loads((tmp_path / "train.jsonl.json").read_text())
    assert not {"labelled", "hidden_languages"} & {*note["parameters"]}  # as older files


def test_a_matching_file_is_reused(
    mined: Mine, searched: list[Path], dense_index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "train.jsonl"
    first, _ = mined()
    before = path.read_bytes()
    caplog.clear()
    assert mined()[0] == first and searched == [dense_index] and caplog.messages == [f"mine: {path} is up to date"]
    mined(force=True)
    assert (len(searched), path.read_bytes()) == (2, before)
    path.write_bytes(before[:-20])
    mined()
    assert (len(searched), path.read_bytes()) == (3, before)


# what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "xor-mini/nothing"}, "no dataset"),
        ({"data": "xor-tydi/dev"}, "no relevance judgements"),
        ({"index": None}, "no retriever"),
        ({"bm25": "folder"}, "two retrievers"),
        ({"data": "xor-mini/train"}, "was built from xor-tydi, not .* xor-mini/train"),
        ({"passages": "xor-mini"}, "has passages of its own"),
        ({"data": "some.jsonl"}, "needs a collection to search"),
        ({"data": "some.jsonl", "passages": "xor-tydi"}, "some.jsonl: no such training file"),
        ({"data": "train.jsonl", "passages": "xor-tydi"}, "would be replaced"),
        ({"depth": 5, "negatives": 6}, "cannot keep 6 negatives of 5"),
        ({"index": "nowhere"}, "nowhere: "),
    ],
)
def test_bad_settings_are_refused(
    mined: Mine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(Path("train.jsonl"), question())
    with pytest.raises(InputError, match=message):
        mined(**settings)
    with pytest.raises(InputError, match=r"must end in \.jsonl"):
        mine("xor-mini/train", "train.json", index="index")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{", "2: is not JSON"),
        ({"query": "?", "positive_passages": []}, "2: lacks the field 'query_id'"),
        (question(query_id="a b"), "2: 'a b' cannot be an id"),
        (question(), "2: repeats the id t1"),
        ("", "no question with a positive"),
    ],
)
def test_bad_files_are_refused(mini_data: Mini, mined: Mine, tmp_path: Path, item: Any, message: str) -> None:
    first = question() if item else question(positive_passages=[])
    data = write_lines(tmp_path / "given.jsonl", first, item)
    with pytest.raises(InputError, match=f"given.jsonl.*{message}"):
        mined(str(data), passages=mini_data.docs)


# BM25, with Pyserini


@pytest.mark.integration
def test_bm25_ranks_by_words_and_reuses_its_index(
    mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "lucene"
    counts = mine(mini_data.topics, tmp_path / "a.jsonl", bm25=folder, depth=20, negatives=6)
    assert counts.positive == 14  # a question is made of its passage's first words
    assert counts.negatives > 14
    for example in load_examples(str(tmp_path / "a.jsonl"))[0]:
        for passage in example.negatives:
            assert not contains_answer(passage, example.answers) and passage != example.positive
            words = passage.default_text().casefold().replace(".", " ").split()
            assert {*example.query.casefold().split()} & {*words}

    other = shutil.copytree(folder, tmp_path / "other.partial")  # as a killed run leaves it
    (other / "manifest.json").unlink()
    (other / ".identity").write_text(Manifest.read(folder).identity)
    (other / "_7.fdt").write_text("half a segment")
    caplog.clear()
    again = mine(mini_data.topics, tmp_path / "b.jsonl", bm25=tmp_path / "other", depth=20, negatives=6)
    assert again == counts and (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert set(contents(tmp_path / "other")) == set(contents(folder))
    bm25_index(collection.load(mini_data.docs), folder)
    assert caplog.messages[-1] == f"bm25: {folder} is up to date"


@pytest.fixture
def suffixed(mini_data: Mini, tiny_untied: Path, tmp_path: Path) -> Path:
    """An index by two encoders, whose questions end with their language."""
    config = EncoderConfig(str(tiny_untied), query_suffix=" [{lang}]")
    encode(mini_data.docs, config, tmp_path / "embeddings", device="cpu")
    build_index(tmp_path / "embeddings", tmp_path / "index")
    return tmp_path / "index"


def test_questions_are_searched_with_the_suffix_of_the_indexs_encoder(
    mini_data: Mini, tiny_untied: Path, suffixed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[Any] = []

    def search(index: Path, topics: str, run: Path, *, encoder: EncoderConfig, **_: Any) -> Path:
        found.append((read_topics(topics)[0], encoder))
        write_run({qid: [Hit("60", 1.0)] for qid in found[-1][0]}, run, "tag")
        return run

    monkeypatch.setattr(retrieved, "search", search)
    how: dict[str, Any] = {"index": suffixed, "depth": 1, "device": "cpu"}
    mine(mini_data.topics, tmp_path / "mined.jsonl", negatives=1, **how)
    label(mini_data.topics, JudgeConfig(JudgeKind.QRELS), tmp_path / "labelled.jsonl", gold=Gold(0.5), **how)
    expected = {q["id"]: f"{' '.join(q['question'].split())} [{q['lang']}]" for q in mini_data.questions}
    assert [texts for texts, _ in found] == [expected, expected]
    # the texts have the suffix already
    assert {encoder for _, encoder in found} == {EncoderConfig(str(tiny_untied))}


def test_questions_whose_language_the_suffix_needs_are_refused_without(
    mini_data: Mini, suffixed: Path, searched: list[Any], tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "given.jsonl", question(lang="fi"), question(query_id="t2"))
    how: dict[str, Any] = {"index": suffixed, "passages": mini_data.docs, "depth": 1, "device": "cpu"}
    with pytest.raises(InputError, match=r"the language of the question 'ban der\?' is unknown, but query_suffix"):
        mine(str(data), tmp_path / "mined.jsonl", negatives=1, **how)
    with pytest.raises(InputError, match=r"the language of the question 'ban der\?' is unknown, but query_suffix"):
        label(str(data), JudgeConfig(JudgeKind.STRING), tmp_path / "labelled.jsonl", **how)
    assert searched == []
