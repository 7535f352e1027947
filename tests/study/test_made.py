"""Machine translations as a source of the study."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import described_anew

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig, TranslatorConfig
from xqg_repro.representation.translate import read_translations, translate
from xqg_repro.study import run as run_module
from xqg_repro.study.data import load_data
from xqg_repro.study.made import read_translated
from xqg_repro.study.settings import load_study
from xqg_repro.study.summary import read_summary

from .conftest import CODES

Change = Callable[[Path, list[dict[str, Any]]], object]


@pytest.fixture(scope="module")
def translations(shared_xquad: Path, tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The English paragraphs, translated into Thai and Arabic by a tiny T5. Never to be written to."""
    folder = tmp_path_factory.mktemp("translated") / "translations"
    config = TranslatorConfig(
        str(tiny_generator), "{language} {text}", "en", text_max_length=40, translation_max_length=9
    )
    translate("xquad/en", ("th", "ar"), config, folder, device="cpu")
    return folder


def test_translations_are_a_source(
    translations: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "write_figures", lambda summary, folder: None)
    command = ["study", "--encoder", str(encoder), "--pooling", "cls", "--languages", *CODES, "--device", "cpu"]
    command += ["--methods", "queries-all", "translations-own", "translations-all", "--output", str(tmp_path)]
    assert cli.main([*command, "--translated", str(translations)]) == 0
    summary = read_summary(tmp_path / "results")
    assert ("queries-all", "translations-all") in {(test.method, test.other) for test in summary.tests}
    texts = {passage.docid: passage.texts for passage in read_translations(translations)}
    cost = next(cost for cost in summary.costs if cost.method == "translations-all")
    characters = sum(len(text) for by_language in texts.values() for text in by_language.values())
    assert (cost.vectors, cost.characters) == (2 * 12, characters)
    # there are no translations of English paragraphs into English
    assert summary.means["RR"]["en/en"]["translations-own"] == summary.means["RR"]["en/en"]["none"]

    data = load_data(CODES)
    titles, thai = [doc.title for doc in data.paragraphs["en"]], [texts[docid]["th"] for docid in data.docids]
    expected = TextEncoder(EncoderConfig(str(encoder)), "cpu").encode_passages(titles, thai)
    np.testing.assert_array_equal(np.load(tmp_path / "embeddings" / "translations.en.th" / "vectors.npy"), expected)

    capsys.readouterr()
    assert cli.main([*command[:-4], "none", *command[-2:]]) == 0  # other methods, and no translations
    assert "changed: study, translations" in capsys.readouterr().err


def _replace(**changes: Any) -> Change:
    return lambda folder, items: dataclasses.replace(Manifest.read(folder), **changes).write(folder)


def _replace_parameters(**changes: Any) -> Change:
    return lambda folder, items: _replace(parameters=Manifest.read(folder).parameters | changes)(folder, items)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda folder, items: [items[2]["translations"].pop("ar"), items[2].pop("unfinished", None)],
            "the translation of 1-0 into ar is missing",
        ),
        (lambda folder, items: items.pop(), "has no translations for 5-1 .1 of 12 paragraphs"),
        (lambda folder, items: items[2]["translations"].update(th=" "), "the translation of 1-0 into th is empty"),
        (_replace(inputs={"collection": "other"}), "translations of another version of xquad/en"),
        (_replace(stage="generate"), "is the output of generate, not of translate"),
        (_replace_parameters(languages=["ar"]), "has no translations into th"),
        (_replace_parameters(collection="xquad/ar"), "has translations of xquad/ar, but .* paragraphs are xquad/en"),
    ],
)
def test_damaged_or_other_translations_are_refused(
    translations: Path, tmp_path: Path, change: Change, problem: str
) -> None:
    folder = shutil.copytree(translations, tmp_path / "translations")
    path = folder / "00000.jsonl"
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(folder, items)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        read_translated([described_anew(folder)], load_study(CODES), load_data(CODES))
