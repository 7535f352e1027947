"""English twins of a training file, and the embedded recipes that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.samples import tevatron_item, write_lines
from xqg_repro import cli, collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.models.late_settings import load_late
from xqg_repro.train.data import TevatronFile
from xqg_repro.train.decr_data import Twins, load_stage
from xqg_repro.train.decr_recipe import DecrRecipe, Stage
from xqg_repro.train.parallel_data import load_pairs, question_key, question_keys
from xqg_repro.train.recipe import load_recipe
from xqg_repro.train.twins import write_twins


@pytest.fixture
def parallel(tmp_path: Path) -> str:
    for language, question, english in (("fi", "missä?", "where?"), ("ru", "где?", "where now?")):
        folder = tmp_path / "pairs" / f"{language}-en"
        folder.mkdir(parents=True)
        write_lines(folder / f"{language}.txt", question)
        write_lines(folder / "en.txt", english)
    return str(tmp_path / "pairs")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_twins_have_the_same_passages_and_english_questions(parallel: str, tmp_path: Path) -> None:
    questions = [("missä?", "fi"), (" где? ", ""), ("who?", "en")]
    items = [tevatron_item(text, lang=lang, answers=["a"]) for text, lang in questions]
    data, output = write_lines(tmp_path / "train.jsonl", *items), tmp_path / "twins.jsonl"
    options = ["--data", str(data), "--parallel", parallel, "--output", str(output)]
    assert cli.main(["train", "twins", *options]) == 0
    expected = [
        item | {"query": english, "lang": "en"}
        for item, english in zip(items, ("where?", "where now?", "who?"), strict=True)
    ]
    assert read(output) == expected
    assert [twin.english for twin in Twins(TevatronFile(data), TevatronFile(output))] == [i["query"] for i in expected]
    before = output.stat().st_mtime_ns
    assert write_twins(str(data), parallel, output).counts == {"questions": 3}
    assert output.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (tevatron_item("missä?", lang="ru"), "train.jsonl:2: the question 'missä\\?' has no English translation"),
        (tevatron_item("kuka?"), "train.jsonl:2: the question 'kuka\\?' has no English translation"),
        ({"query": "missä?"}, "train.jsonl:2: .*positive_passages"),
    ],
)
def test_a_line_without_a_twin_is_named(parallel: str, tmp_path: Path, item: dict[str, Any], problem: str) -> None:
    data = write_lines(tmp_path / "train.jsonl", tevatron_item("missä?", lang="fi"), item)
    with pytest.raises(InputError, match=problem):
        write_twins(str(data), parallel, tmp_path / "twins.jsonl")
    assert not (tmp_path / "twins.jsonl").exists()


def test_only_training_files_have_twins(parallel: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"xor-mini/train: .*must end in .jsonl"):
        write_twins("xor-mini/train", parallel, tmp_path / "twins.jsonl")
    empty = write_lines(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="holds no questions"):
        write_twins(str(empty), parallel, tmp_path / "twins.jsonl")


def test_every_training_question_of_xor_mini_has_a_twin(tmp_path: Path) -> None:
    questions = list(collection.load("xor-mini/train").queries_iter())
    data = write_lines(tmp_path / "train.jsonl", *(tevatron_item(q.text, lang=q.lang) for q in questions))
    assert write_twins(str(data), "xor-mini/parallel", tmp_path / "t.jsonl").counts == {"questions": 7_000}
    keys = {question_key(item["query"]) for item in read(tmp_path / "t.jsonl")}
    assert not keys & question_keys(["xor-mini/held-out/en", "xor-mini/held-out", "xor-mini/dev"])[0]


def test_the_embedded_recipes_are_one_chain() -> None:
    recipes = {stage: load_recipe(f"decr-mini-{stage.lower()}", DecrRecipe) for stage in Stage}
    models = ["package:zs-mini", *(f"./out/models/decr-mini-{name}" for name in "abc")]
    assert [recipe.model for recipe in recipes.values()] == models
    assert {recipes[stage].teacher for stage in (Stage.C, Stage.D)} == {models[1]}
    used = {repr(recipe.late("./out/models/decr-mini-d")) for recipe in recipes.values()}
    assert used == {repr(load_late("decr-mini"))}
    assert {(r.steps, r.batch_size * r.accumulation, r.projection) for r in recipes.values()} == {(300, 64, 64)}


def test_stage_c_reads_the_embedded_parallel_questions() -> None:
    split = load_stage(load_recipe("decr-mini-c", DecrRecipe))
    assert {pair.lang for pair in split.kept} == {*XOR_LANGUAGES} and not split.held_out
    expected = [(e.lang, e.query, e.positive.text) for e in load_pairs("xor-mini/parallel").examples]
    assert [pair[:3] for pair in split.kept] == expected
