"""Parallel questions: how pairs are read, left out and held out."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Mini

from train.samples import write_pairs
from xqg_repro.collection.xor_tydi import SPLITS
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.train.encoder_recipe import ParallelRecipe
from xqg_repro.train.loop import take_batches
from xqg_repro.train.parallel import draw_batches, plan
from xqg_repro.train.parallel_data import load_pairs, question_key, question_keys, split_pairs
from xqg_repro.train.recipe import load_recipe


def test_pairs_are_read_line_by_line(tmp_path: Path) -> None:
    folder = write_pairs(
        tmp_path / "pairs", ru=[(" где? ", "where?"), ("кто?", "who?")], fi=[("missä?", "Where ?"), ("?", "what?")]
    )
    pairs = load_pairs(str(folder))
    assert [(pair.lang, pair.query, pair.positive.text) for pair in pairs.examples] == [
        ("fi", "missä?", "Where ?"),
        ("ru", "где?", "where?"),
        ("ru", "кто?", "who?"),
    ]
    docids = [pair.positive.doc_id for pair in pairs.examples]
    assert docids[0] == docids[1] != docids[2]  # the same English question
    assert (pairs.blank, pairs.left_out) == (1, {})
    assert [pair.lang for pair in load_pairs(str(folder), ("ru",)).examples] == ["ru", "ru"]
    assert load_pairs(str(folder), ("ru",)).version != pairs.version


def test_pairs_are_found_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(tmp_path / "some" / "pairs", fi=[("missä?", "where?")])
    with pytest.raises(InputError, match=r"some/pairs: no such folder of parallel questions .*XQG_REPRO_DATA"):
        load_pairs("some/pairs")
    monkeypatch.setenv("XQG_REPRO_DATA", str(tmp_path))
    assert len(load_pairs("some/pairs").examples) == 1


def test_files_that_are_not_aligned_are_refused(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, fi=[("missä?", "where?"), ("kuka?", "who?")])
    (folder / "fi-en" / "en.txt").write_text("where?\n")
    with pytest.raises(InputError, match=r"fi.txt: has 2 lines, but en.txt has 1"):
        load_pairs(str(folder))
    with pytest.raises(InputError, match=r"ru-en/ru.txt: no such file"):
        load_pairs(str(folder), ("ru",))
    with pytest.raises(InputError, match="unknown language 'xx'"):
        load_pairs(str(folder), ("xx",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no parallel questions"):
        load_pairs(str(tmp_path / "empty"))


def test_pairs_of_unseen_questions_and_of_their_translations_are_left_out(tmp_path: Path) -> None:
    folder = write_pairs(
        tmp_path,
        fi=[("Missä Turku on?", "Where is Turku?"), ("Kuka?", "Who?"), ("Milloin", "WHEN was it?")],
        ru=[("Где Турку?", "where is Turku"), ("Что?", "What?")],
    )
    unseen = frozenset({question_key("missä  turku on ?"), question_key("When was it")})
    pairs = load_pairs(str(folder), unseen=unseen)
    assert [pair.query for pair in pairs.examples] == ["Kuka?", "Что?"]
    assert pairs.left_out == {"fi": 2, "ru": 1}
    with pytest.raises(InputError, match="leaves no parallel question"):
        load_pairs(str(folder), ("ru",), frozenset({question_key("что"), question_key("Где Турку")}))


def test_the_questions_of_data_sets_are_unseen(mini_data: Mini) -> None:
    keys, version = question_keys(["test-mini/dev"])
    assert keys == {question_key(question["question"]) for question in mini_data.questions}
    both, other = question_keys(["test-mini/dev", "xor-mini/dev"])
    assert both > keys and other != version
    with pytest.raises(InputError, match="has no dataset 'nothing/here'"):
        question_keys(["nothing/here"])


def test_a_question_is_on_one_side_of_the_split(tmp_path: Path) -> None:
    questions = [f"what is number {i}" for i in range(60)]
    folder = write_pairs(
        tmp_path,
        fi=[(f"mikä {i}", text) for i, text in enumerate(questions)],
        ru=[*((f"что {i}", f"{text.title()} ?") for i, text in enumerate(questions)), ("что 1", "another"), ("a", "b")],
    )
    examples = load_pairs(str(folder)).examples
    kept, held_out = split_pairs(examples, 0.3)
    assert 20 < len(held_out) < 60 and held_out + kept != examples
    assert not {pair.positive.doc_id for pair in kept} & {pair.positive.doc_id for pair in held_out}
    for share in (0.3, 0.9):  # что 1 has two translations
        kept, held_out = split_pairs(examples, share)
        assert not {pair.query for pair in kept} & {pair.query for pair in held_out}
    assert split_pairs(examples, 0.0) == (examples, [])


def test_no_real_question_of_dev_is_trained_on(shared_data: Path) -> None:
    recipe = load_recipe("xdr-e5-parallel", ParallelRecipe, model="package:xdr-mini")
    folder = shared_data / "xor-tydi" / "translations"
    if not folder.is_dir():
        pytest.skip(f"needs the translations in {folder}")
    lines = sum(len((folder / f"{code}-en" / "en.txt").read_text("utf-8").splitlines()) for code in XOR_LANGUAGES)
    pairs = load_pairs(recipe.data, recipe.languages, question_keys(recipe.unseen)[0])
    assert lines == 32877 == len(pairs.examples) + pairs.left_out.total() + pairs.blank
    assert (pairs.left_out, pairs.blank) == ({"bn": 28, "ja": 1, "ko": 22}, 2)

    split, _ = plan(recipe)
    dev = (shared_data / "xor-tydi" / SPLITS["dev"]).read_text("utf-8")
    for examples in (split.kept, split.held_out):
        assert not [pair for pair in examples if f'"question": "{pair.query}"' in dev]
    assert "xor-tydi/dev" in recipe.unseen and 0.08 < len(split.held_out) / len(pairs.examples) < 0.12
    trained = [pair for batch in take_batches(recipe, draw_batches(split.kept, recipe), 1) for pair in batch]
    assert not {question_key(pair.query) for pair in trained} & question_keys(recipe.unseen)[0]


def test_the_embedded_pairs_are_not_taken_from_a_folder_of_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = load_pairs("xor-mini/parallel").version
    write_pairs(tmp_path / "xor-mini" / "parallel", fi=[("missä?", "where?")])
    monkeypatch.chdir(tmp_path)
    assert load_pairs("xor-mini/parallel").version == packaged != load_pairs("./xor-mini/parallel").version
