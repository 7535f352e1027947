"""What each round learns from, and what is reported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from train.rounds.samples import Data, Make, ids, lines, report
from train.samples import tevatron_item, weights, write_lines
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.plots import curves
from xqg_repro.core.stages import Manifest
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.retrieval.runfile import read_run
from xqg_repro.train import rounds, rounds_report
from xqg_repro.train.answers import contains_answer
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.rounds import train
from xqg_repro.train.rounds_recipe import Judging, Part, Start

# what a round learns from


def test_the_first_round_has_nothing_of_a_hidden_question(data: Data, strings: Path) -> None:
    items = lines(strings / "round-0" / "data.jsonl")
    kept = items.keys() & data.of("train").keys()
    hidden = data.of("train").keys() - kept
    assert len(kept) == 10 and items.keys() - kept == data.of("gold").keys()  # two of four in five languages
    assert not {"bn", "te"} & {data.questions[qid]["lang"] for qid in kept}
    assert all(ids(item) == [data.gold[qid]] for qid, item in items.items())
    assert not {data.gold[qid] for qid in hidden} & {docid for item in items.values() for docid in ids(item)}
    assert any(ids(item, "negative") for item in items.values())
    for item in items.values():
        found = [data.passages[docid] for docid in ids(item, "negative")]
        assert not any(contains_answer(passage, item["answers"]) for passage in found)


@pytest.mark.parametrize("number", [1, 2])
def test_the_positive_is_the_first_holder_in_rank_order_and_no_negative_holds_an_answer(
    data: Data, strings: Path, number: int
) -> None:
    before = strings / f"round-{number - 1}"
    items, run = lines(strings / f"round-{number}" / "data.jsonl"), read_run(before / "questions.txt")
    kept = lines(strings / "round-0" / "data.jsonl").keys()
    assert {*data.of("gold")} < items.keys()
    for qid, question in data.of("train").items():
        ranked = [data.passages[hit.docid] for hit in run[qid]]
        assert len(ranked) == 20
        holders = [passage.doc_id for passage in ranked if contains_answer(passage, question["answers"])]
        others = [passage.doc_id for passage in ranked if not contains_answer(passage, question["answers"])]
        if qid in kept:
            assert ids(items[qid]) == [data.gold[qid]]
        elif holders:
            assert ids(items[qid]) == holders[:1]
        else:
            assert qid not in items
            continue
        assert (
            ids(items[qid], "negative") == [docid for docid in others if docid != data.gold[qid] or qid not in kept][:5]
        )
    gold_run = read_run(before / "gold-1.txt")
    for qid in data.of("gold"):
        ranked = [data.passages[hit.docid] for hit in gold_run[qid]]
        others = [p.doc_id for p in ranked if not contains_answer(p, data.questions[qid]["answers"])]
        assert (ids(items[qid]), ids(items[qid], "negative")) == ([data.gold[qid]], others[:5])


def test_a_fresh_start_is_the_pre_trained_model_in_each_round(strings: Path, tiny_model: Path) -> None:
    assert [own["encoder"]["start"] for own in report(strings)["rounds"]] == [model_fingerprint(str(tiny_model))] * 3


def test_a_continued_start_is_the_encoder_of_the_round_before(make: Make, tmp_path: Path, tiny_model: Path) -> None:
    train(make(rounds=2, start=Start.CONTINUED), tmp_path / "out", device="cpu")
    first, second = report(tmp_path / "out")["rounds"]
    assert first["encoder"]["start"] == model_fingerprint(str(tiny_model))
    assert second["encoder"]["start"] == model_fingerprint(str(tmp_path / "out" / "round-0" / "encoder"))


def test_untied_encoders_are_trained_further(data: Data, make: Make, tmp_path: Path) -> None:
    settings = {"tied": False, "query_suffix": " [{lang}]"}
    encoder = Part(recipe=make().encoder.recipe, settings=settings)
    train(make(rounds=2, start=Start.CONTINUED, encoder=encoder), tmp_path / "out", device="cpu")
    folders = [tmp_path / "out" / f"round-{number}" / "encoder" for number in (0, 1)]
    own = [weights(folder / side) for folder in folders for side in ("query", "passage")]
    key = next(name for name in own[0] if name.endswith("query.weight"))
    assert len({weight[key].tobytes() for weight in own}) == 4
    assert report(tmp_path / "out")["rounds"][1]["labels"]["counts"]["labelled"] > 0


def test_the_answer_generator_learns_from_gold_and_then_from_retrieved_passages_with_the_answer(
    data: Data, generated: Path, tiny_generator: Path
) -> None:
    made = [Manifest.read(generated / f"round-{number}" / "answerer") for number in (0, 1)]
    assert [Path(own.parameters["recipe"]["data"]).name for own in made] == ["data.jsonl", "answers.jsonl"]
    starts = [model_fingerprint(str(place)) for place in (tiny_generator, generated / "round-0" / "answerer")]
    assert [own.inputs["model"] for own in made] == starts
    items, run = lines(generated / "round-1" / "answers.jsonl"), read_run(generated / "round-1" / "questions.txt")
    kept = lines(generated / "round-0" / "data.jsonl").keys()
    assert {*data.of("gold")} < items.keys() and len(items.keys() - kept) > 3
    for qid in items.keys() - kept:
        ranked = [data.passages[hit.docid] for hit in run[qid]]
        assert ids(items[qid]) == [p.doc_id for p in ranked if contains_answer(p, data.questions[qid]["answers"])]
    assert not (generated / "round-2" / "answerer").exists()
    judge = Manifest.read_as(generated / "round-1" / "labels.jsonl.json")
    assert judge.inputs["model"] == model_fingerprint(str(generated / "round-1" / "answerer"))
    assert judge.parameters["judge"]["prompt_max_length"] == 60


def test_without_gold_the_first_encoder_is_the_starting_model(
    data: Data, make: Make, tmp_path: Path, tiny_model: Path
) -> None:
    items = [
        tevatron_item(item["text"], query_id=qid, lang=item["lang"], answers=item["answers"], positive_passages=[])
        for qid, item in data.of("train").items()
    ]
    settings: dict[str, Any] = {"gold": (), "hidden_languages": ()}
    for name, own in (("questions", items), ("held_out_data", data.of("held-out").values())):
        settings[name] = str(write_lines(tmp_path / f"{name}.jsonl", *own))
    train(make(rounds=2, **settings), tmp_path / "out", device="cpu")
    first, second = report(tmp_path / "out")["rounds"]
    assert first["data"] is first["labels"] is None and not (tmp_path / "out" / "round-0" / "encoder").exists()
    assert first["encoder"] == {"folder": str(tiny_model), "steps": 0, "start": ""}
    assert second["labels"]["precision"] is None and second["labels"]["counts"]["checked"] == 0
    assert second["data"]["questions"] == second["labels"]["counts"]["labelled"] > 10
    assert second["held_out"]["loss"] is None and second["held_out"]["R2kt"].keys() == {*XOR_LANGUAGES, "average"}


# what is reported


@pytest.mark.parametrize("depth", [20, 60])
def test_labels_by_the_judgements_are_all_right(data: Data, make: Make, tmp_path: Path, depth: int) -> None:
    judge = Judging(kind=JudgeKind.QRELS, depth=depth, negatives=5)
    train(make(JudgeKind.QRELS, judge=judge, rounds=2), tmp_path / "out", device="cpu")
    labels, run = (
        report(tmp_path / "out")["rounds"][1]["labels"],
        read_run(tmp_path / "out" / "round-0" / "questions.txt"),
    )
    hidden = data.of("train").keys() - lines(tmp_path / "out" / "round-0" / "data.jsonl").keys()
    found = {qid for qid in hidden if data.gold[qid] in {hit.docid for hit in run[qid]}}
    assert labels["precision"] == labels["first_precision"] == 1 and found
    assert labels["recall"] == len(found) / len(hidden) and (len(found) == len(hidden)) == (depth == 60)
    assert {own["precision"] for own in labels["by_language"].values()} <= {1, None}
    items = lines(tmp_path / "out" / "round-1" / "data.jsonl")
    assert {qid for qid in items if qid in hidden} == found


@pytest.mark.parametrize("judge", ["strings", "generated"])
def test_the_reported_counts_add_up(data: Data, judge: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(judge)
    content = report(folder)
    assert [own["round"] for own in content["rounds"]] == [0, 1, 2] and content["rounds"][0]["labels"] is None
    assert content["encoder"] == "round-2/encoder" and (folder / "encoder").resolve() == folder / "round-2" / "encoder"
    for own in content["rounds"]:
        path = folder / f"round-{own['round']}" / "data.jsonl"
        assert own["data"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert own["data"]["questions"] == len(lines(path)) == sum(own["data"]["by_language"].values())
        assert own["data"]["by_language"]["en"] == 8 and own["encoder"]["steps"] == 3
        assert own["held_out"]["loss"] > 0
        scores = own["held_out"]["R2kt"]
        assert scores.keys() == {*XOR_LANGUAGES, "average"}
        assert scores["average"] == pytest.approx(sum(scores[language] for language in XOR_LANGUAGES) / 7)
        if labels := own["labels"]:
            counts = labels["counts"]
            assert counts["questions"] == 28 and counts["gold"] == 10
            assert counts["gold"] + counts["labelled"] + counts["fallback"] + counts["left_out"] == 28
            assert own["data"]["questions"] == 28 - counts["left_out"] + 8
            assert labels["precision"] == counts["right"] / counts["checked"] < 1
            assert labels["recall"] == counts["right"] / counts["relevant"] and counts["relevant"] == 18
            for name, number in counts.items():
                assert sum(by["counts"][name] for by in labels["by_language"].values()) == number
            assert {code: by["counts"]["gold"] for code, by in labels["by_language"].items()} == {
                code: 0 if code in ("bn", "te") else 2 for code in XOR_LANGUAGES
            }
    panels = json.loads((folder / "rounds.svg").read_text())
    labels = [own["labels"] for own in content["rounds"][1:]]
    for name in ("precision", "recall"):
        assert panels[f"label {name}"]["all"] == [[number, own[name]] for number, own in enumerate(labels, 1)]
    assert panels["label recall"].keys() == {"all", *XOR_LANGUAGES}
    assert panels["held-out R2kt"].keys() == {"average", *XOR_LANGUAGES}
    assert panels["held-out loss"] == {"loss": [[own["round"], own["held_out"]["loss"]] for own in content["rounds"]]}
    picture = curves("round", panels, whole=True)
    assert picture == curves("round", panels, whole=True) and all(f">{name}<" in picture for name in panels)


def test_rounds_stop_early_at_the_last_one_that_rose(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rounds, rounds_report):
        monkeypatch.setattr(module, "rises", lambda done: len(done) < 2)
    train(make(stop_early=True), tmp_path / "out", device="cpu")
    content = report(tmp_path / "out")
    assert len(content["rounds"]) == 2 and content["encoder"] == "round-0/encoder"
    assert (tmp_path / "out" / "encoder" / "model.safetensors").exists()
