"""An encoder before and after training on some of XQuAD's articles, measured on questions about the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xquad_encoder

import docs
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.study.training_folds import write_folds
from xqg_repro.study.transfer import measure_transfer, transfer_table
from xqg_repro.train.data import load_examples
from xqg_repro.train.recipe import EncoderRecipe, load_recipe
from xqg_repro.train.xdr import train

from .conftest import use_xquad, write_xquad

CODES = ("en", "ar")
CONFIG = EncoderConfig(
    "", Pooling.MEAN, True, "query: ", "passage: ", title_separator=None, query_max_length=64, passage_max_length=128
)


class Trained(NamedTuple):
    """An encoder, the folds of XQuAD, the encoder trained on fold 0, and what was measured of both."""

    start: Path
    folds: Path
    model: Path
    measured: dict[str, Any]


def measure(before: Path, after: Path, folds: Path, fold: int = 0) -> dict[str, Any]:
    configs = [dataclasses.replace(CONFIG, model=str(model)) for model in (before, after)]
    return measure_transfer(*configs, folds, fold, device="cpu")


@pytest.fixture(scope="module")
def trained(shared_xquad: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("transfer")
    folds, model = folder / "folds", folder / "model"
    write_folds(folds, CODES, folds=3)
    data = {"data": str(folds / "train.0.json"), "held_out_data": str(folds / "held-out.0.json")}
    recipe = load_recipe("xdr-e5-xquad", EncoderRecipe, model=str(encoder), steps=4, **data)
    small = {"batch_size": 8, "evaluation_steps": 2, "warmup_steps": 0, "learning_rate": 1e-2}
    train(dataclasses.replace(recipe, passage_max_length=128, **small), model)
    return Trained(encoder, folds, model, measure(encoder, model, folds))


def test_the_recipe_for_e5_trains_on_a_fold(trained: Trained) -> None:
    rows = [line.split(",") for line in (trained.model / "loss.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows if row[3]] == ["2", "4"] and all(float(row[3]) > 0.05 for row in rows if row[3])
    before, after = (
        TextEncoder(dataclasses.replace(CONFIG, model=str(model)), "cpu").encode_queries(["which?"])
        for model in (trained.start, trained.model)
    )
    assert np.abs(before - after).max() > 1e-4


def test_ranks_before_and_after_are_those_of_the_held_out_questions(trained: Trained) -> None:
    measured, folds = trained.measured, trained.folds
    assert (measured["articles"], measured["questions"], measured["paragraphs"]) == (2, 6, {"all": 12, "held-out": 4})
    assert measured["recipe"]["name"] == "xdr-e5-xquad" and measured["folds"]["folds"] == 3
    rows = {(row["measure"], row["candidates"], row["language"]): row for row in measured["rows"]}
    assert len(rows) == len(measured["rows"]) == 2 * 2 * 3
    held_out = load_examples(str(folds / "held-out.0.json"))[0]
    everything = [*load_examples(str(folds / "train.0.json"))[0], *held_out]
    for when, model in (("before", trained.start), ("after", trained.model)):
        encoder = TextEncoder(dataclasses.replace(CONFIG, model=str(model)), "cpu")
        for candidates, examples in (("all", everything), ("held-out", held_out)):
            texts = list(dict.fromkeys(example.positive.text for example in examples))
            vectors = encoder.encode_passages([None] * len(texts), texts)
            means = []
            for code in CODES:
                asked = [example for example in held_out if example.lang == code]
                order = (-encoder.encode_queries([e.query for e in asked]) @ vectors.T).argsort(axis=1).tolist()
                ranks = [1 + row.index(texts.index(e.positive.text)) for row, e in zip(order, asked, strict=True)]
                means.append(np.mean([1 / rank for rank in ranks]))
                assert rows["RR", candidates, code][when] == pytest.approx(means[-1])
                assert rows["R@1", candidates, code][when] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
            assert rows["RR", candidates, AVERAGE][when] == pytest.approx(np.mean(means))
    for (_, _, code), row in rows.items():
        assert 0 < row["p"] <= 1
        assert row["p_corrected"] is None if code == AVERAGE else row["p"] <= row["p_corrected"] <= 1


def test_other_encoders_folds_and_data_are_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, folds, model, _ = trained
    with pytest.raises(InputError, match=r"model: was not trained on .*train\.1\.json"):
        measure(start, model, folds, 1)
    with pytest.raises(InputError, match="is not the output of a stage"):
        measure(start, start, folds)
    with pytest.raises(InputError, match=r"there is no fold 3 \(choose from 0 to 2\)"):
        measure(start, model, folds, 3)
    with pytest.raises(InputError, match="is the output of train-xdr, not of train-folds"):
        measure(start, model, model)
    use_xquad(tmp_path, monkeypatch)
    write_xquad(tmp_path, lambda parsed: parsed["ar"]["data"][0].update(title="Another"))
    with pytest.raises(InputError, match="was made from another version of XQuAD"):
        measure(start, model, folds)


def test_the_script_writes_the_figures_and_the_page_shows_them(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(xquad_encoder, "load_preset", lambda name: CONFIG)
    output = tmp_path / "docs" / "fine-tuning" / "tiny.json"

    def run(after: Path) -> int:
        models = ["--before", str(trained.start), "--after", str(after), "--folds", str(trained.folds)]
        return xquad_encoder.main([*models, "--device", "cpu", "--output", str(output)])

    assert run(tmp_path / "none") == 2
    assert "xquad_encoder: error: " in capsys.readouterr().err and not output.exists()
    assert run(trained.model) == 0
    table = capsys.readouterr().out.strip()
    assert table == transfer_table(trained.measured).markdown()
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == ["| all 12"] * 3 + ["| held-out 4"] * 3
    monkeypatch.chdir(tmp_path)
    page = docs.fill("<!-- generated: fine-tuning -->\n<!-- end -->")
    assert "[tiny](fine-tuning/tiny.json), 6 questions in each language" in page and f"\n\n{table}\n" in page
