"""XQuAD's articles as training data in folds, and what training on them is measured to do for the others."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, contents, small_tokenizer

import docs
from xqg_repro import cli, collection
from xqg_repro.collection import xquad
from xqg_repro.collection.files import DataFile
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.settings import resource
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.study.data import load_data
from xqg_repro.study.folds import split
from xqg_repro.study.training_folds import write_folds
from xqg_repro.study.transfer import ALL, HELD_OUT, measure_transfer, transfer_table
from xqg_repro.train.data import load_examples, load_split
from xqg_repro.train.recipe import EncoderRecipe, load_recipe
from xqg_repro.train.xdr import train

CODES = ("en", "ar")
CONFIG = EncoderConfig(
    "", Pooling.MEAN, True, "query: ", "passage: ", title_separator=None, query_max_length=64, passage_max_length=128
)


def article(code: str, number: int) -> dict[str, Any]:
    """Two paragraphs, the first with white space around it, with one and two questions."""
    paragraphs = []
    for p in range(2):
        words = [f"{code}{'bdkmnr'[number]}{vowel}{p}" for vowel in "aeiou"]
        context = f"{' ' * (2 - p)}{' '.join(words)} ends.\n"
        asked = [
            {
                "id": f"{number}{p}{i}",
                "question": f"which {words[i]}?",
                "answers": [{"text": words[i + 1], "answer_start": context.index(words[i + 1])}],
            }
            for i in range(p + 1)
        ]
        paragraphs.append({"context": context, "qas": asked})
    return {"title": f"Article_{number}", "paragraphs": paragraphs}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``files(change)``: XQuAD of six made-up articles in two languages, after ``change`` of its parsed content."""
    folder = tmp_path / "data"
    monkeypatch.setenv("XQG_REPRO_DATA", str(folder))
    monkeypatch.setattr(DataFile, "_check", lambda self, path: None)
    # datasets that are read anew in each test
    monkeypatch.setattr(collection, "load", lambda name, needs=(): xquad.datasets()[name])

    def write(change: Callable[[dict[str, Any]], None] = lambda parsed: None) -> None:
        parsed = {code: {"data": [article(code, number) for number in range(6)]} for code in CODES}
        change(parsed)
        folder.mkdir(exist_ok=True)
        for code, content in parsed.items():
            (folder / f"xquad.{code}.json").write_text(json.dumps(content), encoding="utf-8")

    return write


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["data"]


def asked_in(articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [qa for found in articles for paragraph in found["paragraphs"] for qa in paragraph["qas"]]


def check_folds(folder: Path, folds: int, titles: int, ids: set[str]) -> None:
    """No article on both sides, every question held out once and trained on in all other folds, answers in place."""
    held_out: list[str] = []
    for number in range(folds):
        sides = {name: read(folder / f"{name}.{number}.json") for name in ("train", "held-out")}
        articles = {name: {found["title"] for found in side} for name, side in sides.items()}
        assert not articles["train"] & articles["held-out"]
        assert len(articles["train"]) + len(articles["held-out"]) == titles
        contexts = {name: {p["context"] for found in side for p in found["paragraphs"]} for name, side in sides.items()}
        assert not contexts["train"] & contexts["held-out"]
        asked = {name: [qa["id"] for qa in asked_in(side)] for name, side in sides.items()}
        assert sorted(asked["train"] + asked["held-out"]) == sorted(ids)
        held_out += asked["held-out"]
        for found in (*sides["train"], *sides["held-out"]):
            for paragraph in found["paragraphs"]:
                assert paragraph["context"] == paragraph["context"].strip()
                for qa in paragraph["qas"]:
                    assert qa["id"].endswith(f".{qa['lang']}") and qa["answers"]
                    assert all(
                        paragraph["context"][a["answer_start"] :].startswith(a["text"]) and a["answer_start"] >= 0
                        for a in qa["answers"]
                    )
    assert sorted(held_out) == sorted(ids)


# the folds


def test_folds_are_split_by_article(files: Callable[..., None], tmp_path: Path) -> None:
    files()
    counts = write_folds(tmp_path / "folds", ["ar", "en"], folds=3, seed=1).counts
    assert counts == {"articles": 6, "questions": 36}
    ids = {f"{a}{p}{i}.{code}" for a in range(6) for p in range(2) for i in range(p + 1) for code in CODES}
    check_folds(tmp_path / "folds", 3, 6, ids)


def test_folds_hold_the_questions_in_their_languages_and_the_paragraphs_in_theirs(
    files: Callable[..., None], tmp_path: Path
) -> None:
    files()
    write_folds(tmp_path / "folds", ["ar"], folds=2)
    (found, *_) = [each for each in read(tmp_path / "folds" / "train.0.json") if each["title"] == "Article 2"] or [
        each for each in read(tmp_path / "folds" / "train.1.json") if each["title"] == "Article 2"
    ]
    first, second = found["paragraphs"]
    assert first["context"] == "enka0 enke0 enki0 enko0 enku0 ends."
    assert first["qas"] == [
        {
            "id": "200.ar",
            "lang": "ar",
            "question": "which arka0?",
            "answers": [{"text": "enke0", "answer_start": 6}],
        }
    ]
    assert [qa["id"] for qa in second["qas"]] == ["210.ar", "211.ar"]


def test_folds_are_the_studys(files: Callable[..., None], tmp_path: Path) -> None:
    files()
    write_folds(tmp_path / "folds", CODES, folds=3, seed=7)
    data = load_data(CODES)
    fold = split(data.articles, 3, 7)
    for number in range(3):
        held_out = {qa["id"].partition(".")[0] for qa in asked_in(read(tmp_path / "folds" / f"held-out.{number}.json"))}
        assert held_out == {data.qids[i] for i in np.flatnonzero(fold == number)}


def test_folds_are_reused_and_rebuilt_for_other_data(
    files: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files()
    write_folds(tmp_path / "folds", CODES, folds=3)
    before = contents(tmp_path / "folds")
    write_folds(tmp_path / "folds", CODES, folds=3)
    assert caplog.messages[1:] == [f"train-folds: {tmp_path / 'folds'} is up to date"]
    assert contents(tmp_path / "folds") == before
    write_folds(tmp_path / "folds", CODES, folds=2)
    assert caplog.messages[2].endswith("is rebuilt (changed: folds)")
    assert "train.2.json" not in contents(tmp_path / "folds")
    files(lambda parsed: parsed["ar"]["data"][0]["paragraphs"][0]["qas"][0].update(question="another?"))
    write_folds(tmp_path / "folds", CODES, folds=2)
    assert caplog.messages[4].endswith("is rebuilt (changed: xquad)")


@pytest.mark.parametrize("start", [0, 3, -1, None, 10_000])
def test_an_answer_that_is_not_at_its_place_is_named(
    files: Callable[..., None], tmp_path: Path, start: int | None
) -> None:
    def moved(parsed: dict[str, Any]) -> None:
        (answer,) = parsed["en"]["data"][3]["paragraphs"][1]["qas"][1]["answers"]
        answer.pop("answer_start")
        if start is not None:
            answer["answer_start"] = start

    files(moved)
    problem = r"xquad\.en\.json: the answer 'enmi1' to question 311 is not at its answer_start"
    with pytest.raises(InputError, match=problem):
        write_folds(tmp_path / "folds", ["ar"], folds=2)
    assert not (tmp_path / "folds").exists()
    dataset = xquad.datasets()["xquad/en/ar"]
    assert {q.query_id: q.answers for q in dataset.queries_iter()}["311"] == ("enmi1",)  # others are not concerned


def test_a_place_that_is_no_number_is_not_squads_format(files: Callable[..., None], tmp_path: Path) -> None:
    files(lambda p: p["en"]["data"][0]["paragraphs"][0]["qas"][0]["answers"][0].update(answer_start="3"))
    with pytest.raises(InputError, match=r"xquad\.en\.json: is not in SQuAD's format: TypeError"):
        write_folds(tmp_path / "folds", ["ar"], folds=2)


@pytest.mark.parametrize(
    ("languages", "folds", "problem"),
    [
        (["ar", "en", "ar"], 2, "--languages repeats ar"),
        (["ar"], 7, "6 articles cannot be split into 7 folds"),
        (["ar"], 1, "6 articles cannot be split into 1 folds"),
    ],
)
def test_folds_that_cannot_be_are_refused(
    files: Callable[..., None], tmp_path: Path, languages: list[str], folds: int, problem: str
) -> None:
    files()
    with pytest.raises(InputError, match=problem):
        write_folds(tmp_path / "folds", languages, folds=folds)
    assert not (tmp_path / "folds").exists()


def test_an_unknown_language_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "folds", "--languages", "xx", "--output", str(tmp_path / "folds")]
    assert cli.main([*arguments, "--passages", "xx"]) == 2
    assert "ir-datasets has no dataset 'xquad/xx/xx'" in capsys.readouterr().err


def test_the_command_writes_what_the_function_does(
    files: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files()
    options = ["--passages", "ar", "--languages", "en", "ar", "--folds", "2", "--seed", "3"]
    assert cli.main(["train", "folds", *options, "--output", str(tmp_path / "one")]) == 0
    assert "train-folds: wrote" in capsys.readouterr().err
    write_folds(tmp_path / "other", ["en", "ar"], passages="ar", folds=2, seed=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.integration
def test_folds_of_the_real_data(shared_data: Path, tmp_path: Path) -> None:
    languages = ["en", "ar", "ru", "th"]
    counts = write_folds(tmp_path / "folds", languages, folds=4).counts
    assert counts == {"articles": 48, "questions": 4 * 1190}
    articles = json.loads((shared_data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    check_folds(tmp_path / "folds", 4, 48, {f"{qa['id']}.{code}" for qa in asked_in(articles) for code in languages})


@pytest.mark.integration
@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "ru", "th", "vi"])
def test_answers_of_the_real_data_are_at_their_places(shared_data: Path, language: str) -> None:
    found = xquad.located_answers(language)  # which checks them
    assert len(found) == 1190 and all(found.values())
    dataset = collection.load(f"xquad/{language}/en")
    assert {q.query_id: q.answers for q in dataset.queries_iter()} == {
        qid: tuple(answer.text for answer in answers) for qid, answers in found.items()
    }


# training on them, and what it does


@pytest.fixture
def folds(files: Callable[..., None], tmp_path: Path) -> Path:
    files()
    write_folds(tmp_path / "folds", CODES, folds=3)
    return tmp_path / "folds"


@pytest.fixture(scope="module")
def start(model_folder: Callable[..., Path]) -> Path:
    return model_folder("bert", seed=4, tokenizer=small_tokenizer(["query: passage: which abdeikmnoru01 ends?."]))


def recipe_for(folds: Path, start: Path, fold: int = 0, **changes: Any) -> EncoderRecipe:
    """The recipe for e5, but for its sizes, with a small model."""
    own = {"data": str(folds / f"train.{fold}.json"), "held_out_data": str(folds / f"held-out.{fold}.json")}
    recipe = load_recipe("xdr-e5-xquad", model=str(start), steps=4, **own)
    small = {"batch_size": 8, "evaluation_steps": 2, "warmup_steps": 0, "learning_rate": 1e-2}
    return dataclasses.replace(recipe, **(small | {"passage_max_length": 128} | changes))


def test_the_recipe_for_e5_trains_on_a_fold(folds: Path, start: Path, tmp_path: Path) -> None:
    recipe = recipe_for(folds, start)
    split = load_split(recipe)
    assert {example.lang for example in (*split.kept, *split.held_out)} == set(CODES)
    made = train(recipe, tmp_path / "model")
    assert (made.counts["questions"], made.counts["held_out"]) == (24, 12)
    rows = [line.split(",") for line in (tmp_path / "model" / "loss.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows if row[3]] == ["2", "4"] and all(float(row[3]) > 0.05 for row in rows if row[3])
    assert "Before each question stands `'query: '`" in (tmp_path / "model" / "README.md").read_text()
    before, after = (
        TextEncoder(recipe.encoder(str(model))).encode_queries(["which?"]) for model in (start, tmp_path / "model")
    )
    assert np.abs(before - after).max() > 1e-4


def test_model_and_data_are_named_on_the_command_line(folds: Path, start: Path, tmp_path: Path) -> None:
    text = resource("recipes", "xdr-e5-xquad.yaml").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(text.replace("passage_max_length: 256", "passage_max_length: 128"))
    named = ["--model", str(start), "--data", str(folds / "train.1.json"), "--held-out-data"]
    named += [str(folds / "held-out.1.json"), "--steps", "1", "--output", str(tmp_path / "model")]
    assert cli.main(["train", "xdr", "--recipe", str(tmp_path / "recipe.yaml"), *named]) == 0
    recipe = Manifest.read(tmp_path / "model").parameters["recipe"]
    assert [recipe["model"], recipe["data"], recipe["held_out_data"]] == [named[1], named[3], named[5]]
    assert recipe["temperature"] == 0.02


@pytest.fixture
def measured(folds: Path, start: Path, tmp_path: Path) -> dict[str, Any]:
    train(recipe_for(folds, start), tmp_path / "model")
    return measure(start, tmp_path / "model", folds)


def measure(before: Path, after: Path, folds: Path, fold: int = 0) -> dict[str, Any]:
    configs = [dataclasses.replace(CONFIG, model=str(model)) for model in (before, after)]
    return measure_transfer(*configs, folds, fold, device="cpu")


def test_ranks_before_and_after_are_those_of_the_held_out_questions(
    measured: dict[str, Any], folds: Path, start: Path, tmp_path: Path
) -> None:
    assert (measured["articles"], measured["questions"], measured["paragraphs"]) == (2, 6, {ALL: 12, HELD_OUT: 4})
    assert measured["recipe"]["name"] == "xdr-e5-xquad" and measured["folds"]["folds"] == 3
    found = {(r["measure"], r["candidates"], r["language"]): r for r in measured["rows"]}
    assert len(found) == len(measured["rows"]) == 2 * 2 * 3
    held_out = load_examples(str(folds / "held-out.0.json"))[0]
    everywhere = [*load_examples(str(folds / "train.0.json"))[0], *held_out]
    for when, model in (("before", start), ("after", tmp_path / "model")):
        encoder = TextEncoder(dataclasses.replace(CONFIG, model=str(model)), "cpu")
        for kind, examples in ((ALL, everywhere), (HELD_OUT, held_out)):
            texts = list(dict.fromkeys(example.positive.text for example in examples))
            vectors = encoder.encode_passages([None] * len(texts), texts)
            means = []
            for code in CODES:
                asked = [example for example in held_out if example.lang == code]
                order = (-encoder.encode_queries([e.query for e in asked]) @ vectors.T).argsort(axis=1).tolist()
                ranks = [1 + row.index(texts.index(e.positive.text)) for row, e in zip(order, asked, strict=True)]
                means.append(np.mean([1 / rank for rank in ranks]))
                assert found["RR", kind, code][when] == pytest.approx(means[-1])
                assert found["R@1", kind, code][when] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
            assert found["RR", kind, AVERAGE][when] == pytest.approx(np.mean(means))


def test_p_values_are_corrected_over_the_languages(measured: dict[str, Any]) -> None:
    for row in measured["rows"]:
        assert 0 < row["p"] <= 1
        assert row["p_corrected"] is None if row["language"] == AVERAGE else row["p"] <= row["p_corrected"] <= 1


def test_an_encoder_against_itself_differs_in_nothing(folds: Path, start: Path, tmp_path: Path) -> None:
    train(recipe_for(folds, start), tmp_path / "model")
    rows = measure(tmp_path / "model", tmp_path / "model", folds)["rows"]
    assert {(row["before"] - row["after"], row["p"]) for row in rows} == {(0.0, 1.0)}


def test_an_encoder_that_saw_the_held_out_articles_is_refused(folds: Path, start: Path, tmp_path: Path) -> None:
    train(recipe_for(folds, start, steps=1), tmp_path / "model")
    with pytest.raises(InputError, match=r"model: was not trained on .*train\.1\.json"):
        measure(start, tmp_path / "model", folds, 1)
    with pytest.raises(InputError, match=r"is not the output of a stage"):
        measure(start, start, folds)
    unmeasured = recipe_for(folds, start, steps=1, held_out_data="", evaluation_steps=0)
    train(unmeasured, tmp_path / "unmeasured")
    assert measure(start, tmp_path / "unmeasured", folds)["fold"] == 0


def test_folds_of_other_data_or_none_are_refused(
    folds: Path, start: Path, tmp_path: Path, files: Callable[..., None]
) -> None:
    with pytest.raises(InputError, match=r"there is no fold 3 \(choose from 0 to 2\)"):
        measure(start, start, folds, 3)
    train(recipe_for(folds, start, steps=1), tmp_path / "model")
    with pytest.raises(InputError, match="is the output of train-xdr, not of train-folds"):
        measure(start, tmp_path / "model", tmp_path / "model")
    files(lambda parsed: parsed["ar"]["data"][0]["paragraphs"][0]["qas"][0].update(question="another?"))
    with pytest.raises(InputError, match="was made from another version of XQuAD"):
        measure(start, tmp_path / "model", folds)


def test_the_table_has_a_line_for_each_language(measured: dict[str, Any]) -> None:
    lines = transfer_table(measured).markdown().splitlines()
    assert lines[0] == "| paragraphs | questions | RR before | after | p | Holm | R@1 before | after | p | Holm |"
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        [f"| {kind}", code] for kind in ("all 12", "held-out 4") for code in (*CODES, AVERAGE)
    ]


def test_the_script_writes_the_figures_and_the_page_shows_them(
    folds: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    specification = importlib.util.spec_from_file_location("xquad_encoder", REPOSITORY / "scripts" / "xquad_encoder.py")
    assert specification and specification.loader
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    monkeypatch.setattr(script, "load_preset", lambda name: CONFIG)
    named = ["--before", str(start), "--after", str(tmp_path / "model"), "--folds", str(folds), "--device", "cpu"]
    output = tmp_path / "docs" / "fine-tuning" / "tiny.json"
    assert script.main([*named, "--output", str(output)]) == 2
    assert "xquad_encoder: error: " in capsys.readouterr().err and not output.exists()
    train(recipe_for(folds, start), tmp_path / "model")
    assert script.main([*named, "--output", str(output)]) == 0
    table = capsys.readouterr().out.strip()
    monkeypatch.chdir(tmp_path)
    assert docs.fill("<!-- generated: fine-tuning -->\n<!-- end -->") == (
        "<!-- generated: fine-tuning -->\n[tiny](fine-tuning/tiny.json), 6 questions in each language, about 2 "
        f"articles that the training did not see:\n\n{table}\n<!-- end -->"
    )
