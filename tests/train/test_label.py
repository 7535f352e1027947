"""Labels that judges give to retrieved passages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence, Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from train.samples import tevatron_item, write_lines
from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.answerer import AskedPassages
from xqg_repro.models.answerer_settings import AnswererConfig
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.retrieval.runfile import Hit, write_run
from xqg_repro.train import judges
from xqg_repro.train.answers import contains_answer
from xqg_repro.train.gold import ALL_GOLD, Gold
from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind
from xqg_repro.train.label import Labelled, label
from xqg_repro.train.mine import mine
from xqg_repro.train.tevatron import TevatronLine

STRING, QRELS = JudgeConfig(JudgeKind.STRING), JudgeConfig(JudgeKind.QRELS)

Lines = dict[str, dict[str, Any]]
Label = Callable[..., tuple[Labelled, Lines]]


@pytest.fixture(scope="module")
def ranked(mini_data: Mini) -> dict[str, list[str]]:
    """Qid → all docids of the small collection in a random order."""
    docids = [docid for docid, _, _ in mini_data.passages]
    return {item["id"]: random.Random(item["id"]).sample(docids, len(docids)) for item in mini_data.questions}


@pytest.fixture(scope="module")
def run_file(ranked: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranked") / "run.txt"
    hits = {qid: [Hit(docid, -float(place)) for place, docid in enumerate(own)] for qid, own in ranked.items()}
    write_run(hits, path, "random")
    return path


@pytest.fixture
def labelled(mini_data: Mini, run_file: Path, tmp_path: Path) -> Label:
    """``labelled(judge, …)``: label the small collection's questions; the counts and the lines by qid."""

    def make(judge: JudgeConfig, data: str = mini_data.topics, **settings: Any) -> tuple[Labelled, Lines]:
        path = tmp_path / "label.jsonl"
        result = label(data, judge, path, **{"run": run_file, "depth": 60, "device": "cpu"} | settings)
        items = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return result, {item["query_id"]: item for item in items}

    return make


def ids(item: dict[str, Any], kind: str = "positive") -> list[str]:
    return [passage["docid"] for passage in item[f"{kind}_passages"]]


# judges


@pytest.mark.parametrize("depth", [10, 60])
def test_with_the_judgements_as_judge_precision_is_one_and_recall_is_that_of_the_run(
    mini_data: Mini, ranked: dict[str, list[str]], labelled: Label, depth: int
) -> None:
    result, lines = labelled(QRELS, depth=depth)
    gold = dict(mini_data.qrels)
    found = {qid for qid, docid in gold.items() if docid in ranked[qid][:depth]}
    assert 0 < len(found) <= 14 and (depth < 60 or len(found) == 14)
    assert {qid: ids(item) for qid, item in lines.items()} == {qid: [gold[qid]] for qid in gold if qid in found}
    assert result.precision() == result.first_precision() == 1 and result.recall() == len(found) / 14
    for language in result.languages:
        own = [item["id"] for item in mini_data.questions if item["lang"] == language]
        assert result.recall(language) == sum(qid in found for qid in own) / len(own)
        assert result.precision(language) in (1, None)
    assert result.counts["left_out"] == 14 - len(found)


def test_strings_make_the_first_holder_positive_and_no_holder_negative(
    mini_data: Mini, ranked: dict[str, list[str]], labelled: Label
) -> None:
    result, lines = labelled(STRING, depth=30, negatives=7)
    passages, gold = {row[0]: Passage(*row) for row in mini_data.passages}, dict(mini_data.qrels)
    right = total = 0
    for item in mini_data.questions:
        top = [passages[docid] for docid in ranked[item["id"]][:30]]
        holders = [passage.doc_id for passage in top if contains_answer(passage, item["answers"])]
        others = [passage.doc_id for passage in top if not contains_answer(passage, item["answers"])]
        if holders:
            assert (ids(lines[item["id"]]), ids(lines[item["id"]], "negative")) == (holders, others[:7])
            assert (lines[item["id"]]["answers"], lines[item["id"]]["lang"]) == (item["answers"], item["lang"])
        else:
            assert item["id"] not in lines
        right, total = right + (gold[item["id"]] in holders), total + len(holders)
    assert "q6" not in lines  # answered by yes
    counts = result.counts
    assert counts["questions"] == 14 == len(lines) + counts["left_out"] == counts["labelled"] + counts["left_out"]
    assert (counts["right"], counts["positives"], counts["relevant"]) == (right, total, 14)
    assert result.precision() == right / total < 1 and result.recall() == right / 14
    for name in ("questions", "labelled", "left_out", "positives", "right", "negatives"):
        assert sum(counts[f"{name}.{language}"] for language in result.languages) == counts[name]
    again, first = labelled(STRING, depth=30, negatives=7, positives=1)
    assert again.counts == counts  # the judge found the same
    assert {qid: ids(item) for qid, item in first.items()} == {qid: ids(item)[:1] for qid, item in lines.items()}


def test_the_generator_is_asked_about_one_passage_at_a_time_and_has_a_fallback(
    mini_data: Mini, ranked: dict[str, list[str]], labelled: Label, tiny_generator: Path, monkeypatch: Any
) -> None:
    asked: list[AskedPassages] = []

    class Spy:
        def __init__(self, config: AnswererConfig, device: str) -> None:
            assert (config.model, device) == (str(tiny_generator), "cpu")

        def answer(self, questions: Sequence[AskedPassages], report: Any) -> list[str]:
            asked.extend(questions)
            return ["yes" if "1" in question.passages[0].doc_id else "" for question in questions]

    monkeypatch.setattr(judges, "Answerer", Spy)
    judge = JudgeConfig(JudgeKind.GENERATOR, answerer=AnswererConfig(str(tiny_generator)))
    result, lines = labelled(judge, depth=20)
    assert [question.passages for question in asked] == [
        (Passage(*mini_data.passages[int(docid) - 1]),) for docids in ranked.values() for docid in docids[:20]
    ]
    passages = {row[0]: row[2] for row in mini_data.passages}
    matched = 0
    for item in mini_data.questions:
        top = ranked[item["id"]][:20]
        holders = [docid for docid in top if item["answers"][0] in passages[docid]]
        if item["answers"] == ["yes"]:
            wanted = [docid for docid in top if "1" in docid]
        else:
            wanted, matched = holders[:1], matched + bool(holders)
        assert ids(lines.get(item["id"], {"positive_passages": []})) == wanted
    assert (result.counts["labelled"], result.counts["fallback"]) == (1, matched)


def test_a_reader_labels(labelled: Label) -> None:
    reader = ReaderConfig("package:reader-mini", max_length=128, stride=32, question_max_length=40)
    result, lines = labelled(JudgeConfig(JudgeKind.READER, reader), depth=5, gold=ALL_GOLD)
    strings, _ = labelled(STRING, depth=5, gold=ALL_GOLD)
    assert len(lines) == result.counts["gold"] == 14 and result.counts["negatives"] <= strings.counts["negatives"]
    assert result.precision() is None and result.counts["checked"] == 0


# gold


def test_a_question_that_keeps_its_gold_has_it_first_and_the_judge_chooses_its_negatives(
    mini_data: Mini, ranked: dict[str, list[str]], labelled: Label
) -> None:
    result, lines = labelled(STRING, gold=ALL_GOLD, positives=1)
    gold = dict(mini_data.qrels)
    passages = {row[0]: Passage(*row) for row in mini_data.passages}
    for item in mini_data.questions:
        assert ids(lines[item["id"]]) == [gold[item["id"]]]
        wanted = [
            docid
            for docid in ranked[item["id"]]
            if docid != gold[item["id"]] and not contains_answer(passages[docid], item["answers"])
        ]
        assert ids(lines[item["id"]], "negative") == wanted[:30]
    assert result.counts["gold"] == 14 and result.counts["positives"] == 0 and result.recall() is None


@pytest.mark.parametrize("work", ["mine", "label"])
def test_nothing_that_is_written_depends_on_hidden_gold(
    mini_data: Mini, run_file: Path, tmp_path: Path, work: str
) -> None:
    """The same file comes from other relevant passages of the hidden questions, which are those of half the data."""
    gold, passages = dict(mini_data.qrels), {row[0]: row for row in mini_data.passages}
    share = Gold(0.5, ("te", "bn"))

    def write(name: str, changed: AbstractSet[str]) -> Path:
        items = []
        for item in mini_data.questions:
            docid = "60" if item["id"] in changed else gold[item["id"]]
            positive = dict(zip(("docid", "title", "text"), passages[docid], strict=True))
            own = {"query_id": item["id"], "answers": item["answers"], "lang": item["lang"]}
            items.append(tevatron_item(item["question"], positive_passages=[positive], **own))
        data = write_lines(tmp_path / f"{name}.data.jsonl", *items)
        settings: dict[str, Any] = {"run": run_file, "passages": mini_data.docs, "depth": 20, "gold": share}
        output = tmp_path / f"{name}.jsonl"
        if work == "mine":
            mine(str(data), output, negatives=5, **settings)
        else:
            label(str(data), STRING, output, negatives=5, **settings)
        return output

    kept = {
        question.qid
        for question in share.hide(
            [TevatronLine(q["id"], "?", q["lang"], (), (Passage(gold[q["id"]], "", ""),)) for q in mini_data.questions]
        )
        if question.positives
    }
    first = write("first", set())
    note = Manifest.read_as(first.with_name("first.jsonl.json"))
    assert (note.parameters["labelled"], note.parameters["hidden_languages"]) == (0.5, ["bn", "te"])
    assert len(kept) == note.counts["questions" if work == "mine" else "gold"] == 5  # one of two in five languages
    lines = [json.loads(line) for line in first.read_text(encoding="utf-8").splitlines()]
    assert all(ids(item) == [gold[item["query_id"]]] for item in lines if item["query_id"] in kept)
    if work == "mine":  # the data of round 0: gold alone
        assert [item["query_id"] for item in lines] == [qid for qid in gold if qid in kept]
        assert not {"te", "bn"} & {item["lang"] for item in lines}
    assert write("second", gold.keys() - kept).read_bytes() == first.read_bytes()
    assert write("third", kept).read_bytes() != first.read_bytes()


# the file


def test_the_same_labels_have_the_same_bytes_and_are_reused(
    labelled: Label, run_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "label.jsonl"
    result, _ = labelled(STRING, depth=30)
    before = path.read_bytes()
    caplog.clear()
    assert labelled(STRING, depth=30)[0] == result and caplog.messages == [f"label: {path} is up to date"]
    labelled(STRING, depth=30, force=True)
    assert path.read_bytes() == before
    assert labelled(STRING, depth=20)[0] != result
    note = Manifest.read_as(tmp_path / "label.jsonl.json")
    assert note.parameters["judge"] == {"kind": "string"} and note.parameters["retriever"] == "run"
    assert note.counts["questions.fi"] == 2 and "model" not in note.inputs


def test_questions_of_unknown_relevance_are_labelled_but_not_checked(
    mini_data: Mini, labelled: Label, tmp_path: Path
) -> None:
    items = [
        tevatron_item(q["question"], query_id=q["id"], answers=q["answers"], lang=q["lang"], positive_passages=[])
        for q in mini_data.questions
    ]
    data = str(write_lines(tmp_path / "unknown.jsonl", *items))
    result, lines = labelled(STRING, data, passages=mini_data.docs)
    assert result.counts["labelled"] == len(lines) == 13 and result.counts["checked"] == 0
    assert result.precision() is result.recall() is None
    with pytest.raises(InputError, match=r"unknown.jsonl has no relevance judgements"):
        labelled(QRELS, data, passages=mini_data.docs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"run": None}, "no retriever"),
        ({"index": "index"}, "two retrievers"),
        ({"run": "nowhere.txt"}, "nowhere.txt: no such run"),
        ({"depth": 0}, "of 0 retrieved"),
        ({"positives": 0}, "keep at least one positive"),
        ({"gold": Gold(0.5, ("xx",))}, "hidden language 'xx'"),
        ({"data": "xor-mini/nothing"}, "no dataset"),
    ],
)
def test_bad_settings_are_refused(labelled: Label, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        labelled(STRING, **settings)


def test_no_label_at_all_is_an_error(mini_data: Mini, labelled: Label, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "yes.jsonl", tevatron_item("?", query_id="q6", answers=["yes"], lang="te"))
    with pytest.raises(InputError, match="no question has a positive"):
        labelled(STRING, str(data), passages=mini_data.docs)
    assert not (tmp_path / "label.jsonl").exists()


def test_the_command_prints_the_quality_by_language(
    mini_data: Mini, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"train label --data {mini_data.topics} --run {run_file} --judge qrels --depth 60 --labelled 0.5"
    output = tmp_path / "out.jsonl"
    assert cli.main([*words.split(), "--hide-languages", "te", "bn", "--output", str(output)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[-1] == ["all", "14", "5", "9", "0", "0", "9", "420", "100.0%", "100.0%", "100.0%"]
    assert next(row for row in rows if row[0] == "te")[:4] == ["te", "2", "0", "2"]
    assert cli.main([*words.split(), "--reader", "reader-mini", "--output", str(output)]) == 2
    assert "--reader has no effect with the judge qrels" in capsys.readouterr().err
