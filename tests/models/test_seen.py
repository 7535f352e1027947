"""Texts that a generator was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Mini

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.seen import SEEN_TEXTS, check_unseen, write_seen
from xqg_repro.models.settings import GeneratorConfig, TranslatorConfig
from xqg_repro.representation.generate import generate
from xqg_repro.representation.translate import translate

PASSAGE = Passage("4", "Turku", "Turku is an old city. It has a river and a castle. Yes!")


@pytest.fixture
def model(tiny_generator: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_generator, tmp_path / "generator"))


@pytest.mark.parametrize("text", [PASSAGE.text, PASSAGE.text.replace(" ", "\n "), "It has a river and a castle. Yes!"])
def test_a_passage_or_a_sentence_of_it_was_seen(model: Path, text: str) -> None:
    write_seen(model, ["Something else is here.", text])
    with pytest.raises(
        InputError, match=r"the passage 4 is among the texts that .*generator was trained on .use a model"
    ):
        check_unseen(str(model), [Passage("3", "", "Another one, long enough."), PASSAGE])


def test_other_texts_and_short_sentences_pass(model: Path) -> None:
    check_unseen(str(model), [PASSAGE])  # it lists nothing
    write_seen(model, ["Yes!", "Turku is an old city"])
    check_unseen(str(model), [PASSAGE])


def test_a_list_does_not_change_the_model(model: Path) -> None:
    before = model_fingerprint(str(model))
    write_seen(model, ["one", "two", "two"])
    assert len((model / SEEN_TEXTS).read_text().splitlines()) == 2 and model_fingerprint(str(model)) == before


def test_nothing_is_written_for_a_passage_that_was_seen(model: Path, mini_data: Mini, tmp_path: Path) -> None:
    write_seen(model, [mini_data.passages[7][2]])
    generator = GeneratorConfig(str(model), languages=("ru",), queries=1)
    translator = TranslatorConfig(str(model), prompt="{language}: {text}")
    with pytest.raises(InputError, match="the passage 8 is among the texts"):
        generate(mini_data.docs, generator, tmp_path / "queries", device="cpu")
    with pytest.raises(InputError, match="the passage 8 is among the texts"):
        translate(mini_data.docs, ["ru"], translator, tmp_path / "translations", device="cpu")
    assert not (tmp_path / "queries").exists() and not (tmp_path / "translations").exists()
