"""A small collection, recipes of rounds over it, and what they write."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from train.rounds.samples import Data, Make
from train.samples import ENCODER, write_lines, write_recipe
from xqg_repro.collection.records import Passage
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.train import curve, rounds_report
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.recipe import AnswererRecipe
from xqg_repro.train.rounds import train
from xqg_repro.train.rounds_recipe import Judging, Part, RoundsRecipe


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package", autouse=True)
def without_curves() -> Iterator[None]:
    """Write what plots show instead of drawing it, which takes longer than a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "plot_curve", lambda points: "")
        patch.setattr(rounds_report, "curves", lambda x, panels, whole: json.dumps(panels))
        yield


@pytest.fixture(scope="package")
def strings(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds with the judge ``string``. Never to be written to."""
    folder = tmp_path_factory.mktemp("rounds") / "strings"
    train(make(), folder, device="cpu")
    return folder


@pytest.fixture(scope="package")
def generated(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds with the judge ``generator``. Never to be written to."""
    folder = tmp_path_factory.mktemp("rounds") / "generated"
    train(make(JudgeKind.GENERATOR), folder, device="cpu")
    return folder
