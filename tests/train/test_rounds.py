"""Rounds: what each one learns from, what is reported, and how they resume."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini
from interrupts import interrupted_at

from train.samples import ENCODER, tevatron_item, weights, write_lines, write_recipe
from xqg_repro import cli
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.plots import curves
from xqg_repro.core.stages import Manifest
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.retrieval.runfile import read_run
from xqg_repro.train import curve, rounds, rounds_report
from xqg_repro.train.answers import contains_answer
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.recipe import AnswererRecipe
from xqg_repro.train.rounds import train
from xqg_repro.train.rounds_recipe import Judging, Part, RoundsRecipe, Start

STEPS = ("mine", "join_files", "encode", "build_index", "search", "evaluate", "label")

Make = Callable[..., RoundsRecipe]


@dataclasses.dataclass(frozen=True)
class Data:
    """A collection in BEIR's layout with three splits, and what is in it."""

    folder: Path
    passages: dict[str, Passage]
    questions: dict[str, dict[str, Any]]
    gold: dict[str, str]

    def of(self, split: str) -> dict[str, dict[str, Any]]:
        return {qid: item for qid, item in self.questions.items() if qid.startswith(split)}


@pytest.fixture(scope="module")
def data(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Data:
    """28 training questions, 8 English ones and 7 held-out ones, each about a passage of its own."""
    folder = tmp_path_factory.mktemp("beir") / "mini"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": docid, "title": title, "text": text} for docid, title, text in mini_data.passages]
    write_lines(folder / "corpus.jsonl", *rows)
    splits = {"train": range(0, 56, 2), "gold": range(1, 17, 2), "held-out": range(59, 45, -2)}
    questions, gold = {}, {}
    for split, places in splits.items():
        judged = []
        for number, place in enumerate(places):
            docid, _, text = mini_data.passages[place]
            words, qid = text.split(), f"{split}-{number}"
            lang = "en" if split == "gold" else XOR_LANGUAGES[number % 7]
            answers = ["yes"] if qid == "train-3" else [words[0]]
            questions[qid] = {"_id": qid, "text": " ".join(words[:6]), "lang": lang, "answers": answers}
            gold[qid] = docid
            judged.append(f"{qid}\t{docid}\t1\n")
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    write_lines(folder / "queries.jsonl", *questions.values())
    return Data(
        folder, {docid: Passage(docid, title, text) for docid, title, text in mini_data.passages}, questions, gold
    )


@pytest.fixture(scope="module")
def make(data: Data, tiny_model: Path, tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make(…)``: a recipe of three rounds, whose encoder has three steps, with the judge ``string``."""
    folder = tmp_path_factory.mktemp("recipes")
    encoder = dataclasses.replace(
        ENCODER, model=str(tiny_model), architecture=None, evaluation_steps=3, checkpoint_steps=1
    )
    encoder = dataclasses.replace(encoder, keep_best=False, learning_rate=1e-3)
    answerer = AnswererRecipe(
        name="answers",
        data="test-mini/dev",
        model=str(tiny_generator),
        passages=2,
        holders=1,
        prompt_max_length=60,
        answer_max_length=4,
        steps=2,
        batch_size=4,
        learning_rate=1e-3,
    )
    parts = {
        name: Part(recipe=str(write_recipe(recipe, folder / f"{name}.yaml")))
        for name, recipe in (("encoder", encoder), ("answerer", answerer))
    }

    def make(kind: JudgeKind = JudgeKind.STRING, **changes: Any) -> RoundsRecipe:
        settings: dict[str, Any] = {
            "name": "tiny",
            "questions": f"{data.folder}/train",
            "collection": str(data.folder),
            "gold": (f"{data.folder}/gold",),
            "labelled": 0.5,
            "hidden_languages": ("bn", "te"),
            "held_out_data": f"{data.folder}/held-out",
            "encoder": parts["encoder"],
            "answerer": parts["answerer"] if kind is JudgeKind.GENERATOR else None,
            "judge": Judging(kind=kind, depth=20, positives=1, negatives=5),
            "seed": 5,
        }
        return RoundsRecipe(**settings | changes)

    return make


@pytest.fixture(scope="module", autouse=True)
def without_curves() -> Iterator[None]:
    """Write what plots show instead of drawing it, which takes longer than a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "plot_curve", lambda points: "")
        patch.setattr(rounds_report, "curves", lambda x, panels, whole: json.dumps(panels))
        yield


@pytest.fixture(scope="module")
def strings(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds with the judge ``string``. Never to be written to."""
    folder = tmp_path_factory.mktemp("rounds") / "strings"
    train(make(), folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def generated(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds with the judge ``generator``. Never to be written to."""
    folder = tmp_path_factory.mktemp("rounds") / "generated"
    train(make(JudgeKind.GENERATOR), folder, device="cpu")
    return folder


def lines(path: Path) -> dict[str, dict[str, Any]]:
    items = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {item["query_id"]: item for item in items}


def ids(item: dict[str, Any], kind: str = "positive") -> list[str]:
    return [passage["docid"] for passage in item[f"{kind}_passages"]]


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "rounds.json").read_text(encoding="utf-8"))


def results(folder: Path) -> dict[str, str]:
    """The checksum of each file of rounds, without those that name the folder or the time."""
    suffixes = (".jsonl", ".safetensors", ".csv", ".svg", ".npy")
    kept = [path for path in folder.rglob("*") if path.suffix in suffixes or path.name in ("rounds.json", "index")]
    kept += [path.with_suffix("") for path in folder.rglob("*.txt.json")]
    files = [path for path in kept if path.is_file() and "bm25" not in path.parts]
    assert {"rounds.json", "rounds.svg", "model.safetensors", "data.jsonl"} <= {path.name for path in files}
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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


# resuming


class Stop:
    """Lets the rounds stop before a step: the first one is 0."""

    def __init__(self, at: int | None) -> None:
        self.at, self.names = at, list[str]()

    def train(self, recipe: RoundsRecipe, folder: Path) -> bool:
        """Train; whether all steps were done."""
        with pytest.MonkeyPatch.context() as patch:
            for name in STEPS:
                patch.setattr(rounds, name, self._counted(name, getattr(rounds, name)))
            for module in (rounds.xdr, rounds.answerer):
                patch.setattr(module, "train", self._counted(module.__name__.rpartition(".")[2], module.train))
            try:
                train(recipe, folder, device="cpu")
            except KeyboardInterrupt:
                return False
        return True

    def _counted(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **settings: Any) -> Any:
            if len(self.names) == self.at:
                raise KeyboardInterrupt
            self.names.append(name)
            return step(*args, **settings)

        return run


STOPS = (*range(13), *range(19, 26))
"""The steps before and in the first round, and those of labelling in the second; the others are alike."""


def test_rounds_that_stop_at_every_step_end_with_the_bytes_of_those_that_do_not(
    make: Make, generated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each run stops before another step: those before are done, and only looked at."""
    recipe, folder, before = make(JudgeKind.GENERATOR), tmp_path / "out", 0
    for at in STOPS:
        assert not Stop(at).train(recipe, folder)
        written = [message for message in caplog.messages if ": wrote " in message]
        assert len(written) <= at - before + (at == 1), written  # the first step also builds the BM25 index
        caplog.clear()
        before = at
    last = Stop(None)
    assert last.train(recipe, folder) and len(last.names) == 32
    counts = {"mine": 2, "join_files": 4, "xdr": 3, "encode": 3, "build_index": 3, "search": 7, "evaluate": 3}
    assert {name: last.names.count(name) for name in last.names} == {**counts, "label": 5, "answerer": 2}
    stopped_at = {last.names[at] for at in STOPS}
    assert stopped_at == {*last.names} and results(folder) == results(generated)


def test_rounds_resume_inside_a_training(
    make: Make, strings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with interrupted_at("train: step 3 of 3"):
        train(make(), tmp_path / "out", device="cpu")
    train(make(), tmp_path / "out", device="cpu")
    assert "train: resumes from step 2 of 3" in caplog.messages
    assert results(tmp_path / "out") == results(strings)


# recipes and options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"labelled": 1.5}, "share of labelled questions is 1.5"),
        ({"hidden_languages": ("xx",)}, "hidden language 'xx'"),
        ({"held_out_data": "xor-mini/dev"}, "systems are compared on xor-mini/dev"),
        ({"questions": "xor-mini/dev/fi"}, "systems are compared on xor-mini/dev/fi"),
        ({"held_out_data": "nothing.jsonl"}, "nothing.jsonl: no such file"),
        ({"held_out_data": "{folder}/train"}, "train-0 of .*/train is held out"),
        ({"gold": ("{folder}/train",)}, "named twice"),
        ({"held_out_data": "", "stop_early": True}, "stop_early needs"),
        ({"kind": JudgeKind.READER}, "the judge reader needs a reader"),
        ({"answerer": Part(recipe="answerer-mini")}, "the judge string has no answerer"),
        ({"kind": JudgeKind.GENERATOR, "answerer": None}, "the judge generator needs an answerer"),
        ({"encoder": Part(recipe="quick-mini")}, "quick-mini learns a teacher's scores"),
        ({"encoder": Part(recipe="xdr-mini", settings={"step": 3})}, "no key 'step'"),
        ({"encoder": Part(recipe="xdr-mini"), "labelled": 0.0, "gold": ()}, "trained from scratch"),
    ],
)
def test_bad_settings_are_refused_before_the_first_round(
    data: Data, make: Make, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    def fill(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(fill, value))
        return value.replace("{folder}", str(data.folder)) if isinstance(value, str) else value

    with pytest.raises(InputError, match=message):
        train(make(**{name: fill(value) for name, value in changes.items()}), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_other_output_is_not_replaced(make: Make, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    with pytest.raises(InputError, match="other output than rounds"):
        train(make(), tmp_path)


def test_forced_rounds_do_every_step_again(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = make(rounds=1)
    train(recipe, tmp_path / "out", device="cpu")
    before, messages = results(tmp_path / "out"), []
    for force in (False, True):
        caplog.clear()
        train(recipe, tmp_path / "out", device="cpu", force=force)
        messages.append([m.partition(":")[0] for m in caplog.messages if ": wrote " in m])
    assert messages == [[], ["mine", "mine", "join", "train-xdr", "encode", "index", "search"]]
    assert results(tmp_path / "out") == before


def test_rounds_need_one_process(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds.distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="rounds train in one process"):
        train(make(), tmp_path / "out")


def test_the_command_replaces_settings_and_prints_a_row_per_round(
    data: Data, make: Make, strings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"train": "rounds", **make().settings()}
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps({key: value for key, value in recipe.items() if value is not None}))
    words = f"train rounds --recipe {path} --rounds 2 --judge qrels --seed 6 --steps 2 --labelled 0.25 --hide-languages"
    assert cli.main([*words.split(), "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows[2:]] == [["0", "15"], ["1", rows[3][1]]] and "100.0%" in rows[3]
    content = report(tmp_path / "out")
    changed = {"judge": {**recipe["judge"], "kind": "qrels"}, "hidden_languages": [], "labelled": 0.25, "seed": 6}
    assert {name: content["recipe"][name] for name in changed} == changed
    assert [own["encoder"]["steps"] for own in content["rounds"]] == [2, 2]
