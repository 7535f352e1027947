"""The study on XQuAD: what is left out, what is chosen where, and what comes of it."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import contents, small_tokenizer

from xqg_repro import cli, collection
from xqg_repro.collection import xquad
from xqg_repro.collection.files import DataFile
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import split_sentences
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.significance import randomisation
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig, TranslatorConfig
from xqg_repro.representation.augment import combine
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.representation.translate import read_translations, translate
from xqg_repro.study import folds as folds_module
from xqg_repro.study import run as run_module
from xqg_repro.study import sources as sources_module
from xqg_repro.study import statistics
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.figures import write_figures
from xqg_repro.study.folds import check_apart, cross_validate, split
from xqg_repro.study.results import Results
from xqg_repro.study.run import costs, remembered, run_study, score
from xqg_repro.study.scoring import MEASURES, Augmented, Scorer, Setting, aggregated, ranks, settings_of
from xqg_repro.study.settings import Method, Source, Study, load_study
from xqg_repro.study.sources import Added, added, check_left_out
from xqg_repro.study.statistics import each_pair, mixed
from xqg_repro.study.summary import read_summary
from xqg_repro.study.tables import part, parts
from xqg_repro.study.translated import read_translated
from xqg_repro.study.vectors import Grouped, Vectors

CODES = ("en", "ar", "th")
FEW = 199
"""Randomisations in these tests."""
ASKED = (3, 1, 4, 2, 5, 2)
"""Questions of each article's paragraphs; the second paragraph has one question alone."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> ParallelData:
    """Six articles of two paragraphs; questions 0 and 2 of the first paragraph have the same words in Arabic."""
    docids = [f"{article}-{p}" for article in range(6) for p in range(2)]
    own = np.array([i for i, number in enumerate(ASKED * 2) for _ in range(number)])
    questions = {code: [f"{code} question {i}" for i in range(len(own))] for code in CODES}
    questions["ar"][2] = "AR  question 0"
    paragraphs = {code: [Passage(d, "title", f"{code} paragraph {d}.") for d in docids] for code in CODES}
    qids = tuple(f"q{i}" for i in range(len(own)))
    answers = {code: [(f"paragraph {docids[d]}",) for d in own] for code in CODES}
    return ParallelData(tuple(docids), qids, own, paragraphs, questions, answers, "version")


@pytest.fixture(scope="module")
def vectors(data: ParallelData) -> Vectors:
    """A topic for each paragraph, and noise; 24 dimensions, norm 1."""
    draw = np.random.default_rng(3)
    topics = draw.normal(size=(len(data.docids), 24))

    def near(rows: np.ndarray, noise: float) -> np.ndarray:
        return unit(topics[rows] + noise * draw.normal(size=(len(rows), 24)))

    every = np.arange(len(data.docids))
    pieces = np.repeat(every, 2)[1:]
    return Vectors(
        {code: near(every, 1.0) for code in CODES},
        {code: near(data.own, 2.0) for code in CODES},
        {"en": Grouped(near(pieces, 1.5), pieces, 100)},
        Grouped(near(every[3:], 1.0), every[3:], 50),
        {code: Grouped(near(every, 1.2), every, 70) for code in CODES[1:]},
    )


@pytest.fixture
def study() -> Study:
    return dataclasses.replace(load_study(CODES, ("en",), generated=True, translated=True), folds=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few randomisations, no figures, no garbage collection by statsmodels: they take most of a small study's time."""
    for name in ("p_value", "bootstrap_interval"):
        monkeypatch.setattr(statistics, name, partial(getattr(statistics, name), samples=FEW))
    monkeypatch.setattr(run_module, "write_figures", lambda summary, folder: None)
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


# leaving out


def slowly(
    data: ParallelData,
    vectors: Vectors,
    i: int,
    sources: Sequence[Source],
    setting: Setting,
    asked: str,
    normalize: bool,
) -> int:
    """The rank of a question's paragraph in an index that is built for this question alone, from single vectors."""
    index = []
    for d in range(len(data.docids)):
        means = []
        for source in sources:
            own = source.endswith("-own")
            if source.startswith("questions"):
                codes = [asked] if own else CODES
                left = [j for j in np.flatnonzero(data.own == d) if j not in data.same[i]]
                found = [vectors.questions[code][j] for code in codes for j in left]
            elif source.startswith("paragraphs"):
                found = [vectors.paragraphs[c][d] for c in ([asked] if own else CODES) if c != "en"]
            elif source.translated:
                found = [vectors.translations[c].vectors[d] for c in ([asked] if own else CODES[1:])]
            else:
                held = vectors.sentences["en"] if source is Source.SENTENCES else vectors.generated
                found = list(held.vectors[held.owners == d])
            if found:
                means.append(np.sum(found, axis=0) / (len(found) if setting.aggregate == "mean" else 1))
        p = vectors.paragraphs["en"][d]
        if means and setting.alpha:
            p = (1 - setting.alpha) * p + setting.alpha * np.mean(means, axis=0)
            p = p / np.linalg.norm(p) if normalize else p
        index.append(p)
    scores = np.array(index) @ vectors.questions[asked][i]
    return int((scores >= scores[data.own[i]] - 1e-6).sum())


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "sources",
    [
        ("questions-own",),
        ("questions-all",),
        ("paragraphs-own",),
        ("paragraphs-all",),
        ("sentences",),
        ("generated",),
        ("translations-own",),
        ("translations-all",),
        ("questions-all", "paragraphs-all"),
    ],
)
def test_ranks_are_those_of_an_index_built_for_each_question(
    data: ParallelData, vectors: Vectors, sources: tuple[str, ...], normalize: bool
) -> None:
    sources, asked = [Source(name) for name in sources], "ar"
    settings = [Setting(how, alpha) for how in Aggregate for alpha in (0.0, 0.1, 0.5, 0.9)]
    scorer = Scorer(
        vectors.questions[asked],
        vectors.paragraphs["en"],
        data.own,
        [added(source, "en", asked, data, vectors) for source in sources],
        normalize,
    )
    found = scorer.ranks(settings)
    expected = [
        [slowly(data, vectors, i, sources, setting, asked, normalize) for i in range(len(data.qids))]
        for setting in settings
    ]
    assert found.tolist() == expected
    assert (found > 1).any()


@pytest.mark.parametrize("how", Aggregate)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_corrected_vectors_are_those_that_augment_makes_of_the_rest(
    data: ParallelData, vectors: Vectors, how: Aggregate, normalize: bool, alpha: float
) -> None:
    found = added(Source.QUESTIONS_ALL, "en", "ar", data, vectors)
    p = vectors.paragraphs["en"][data.own]
    corrected = Augmented(p, *aggregated([(found.own_sums, found.own_counts)], how))
    u, v = corrected.weights(alpha, normalize)
    for i, paragraph in enumerate(data.own):
        left = [j for j in np.flatnonzero(data.own == paragraph) if j not in data.same[i]]
        rest = np.array([vectors.questions[code][j] for code in CODES for j in left]).reshape(-1, 24)
        expected = combine(p[[i]], rest.sum(0)[None], np.array([len(rest)]), Augmentation(alpha, how), normalize)
        np.testing.assert_allclose(u[i] * corrected.p[i] + v[i] * corrected.a[i], expected[0], atol=2e-6)


def test_a_question_of_the_same_words_is_left_out_too(data: ParallelData) -> None:
    assert data.same[0] == data.same[2] == (0, 2)
    assert data.same[1] == (1,)


def test_nothing_of_a_question_is_in_what_its_own_paragraph_gets(data: ParallelData, vectors: Vectors) -> None:
    """Whatever its translations' vectors are, they change nothing."""
    for i in (0, 5, len(data.qids) - 1):
        rows = list(data.same[i])
        changed = {code: held.copy() for code, held in vectors.questions.items()}
        for held in changed.values():
            held[rows] = 7.0
        other = dataclasses.replace(vectors, questions=changed)
        for source in (Source.QUESTIONS_OWN, Source.QUESTIONS_ALL):
            one, two = (added(source, "en", "ar", data, held) for held in (vectors, other))
            np.testing.assert_allclose(one.own_sums[i], two.own_sums[i], atol=1e-5)
            assert not np.allclose(one.sums[data.own[i]], two.sums[data.own[i]], atol=1e-3)


@pytest.mark.parametrize("leak", ["own translation", "all", "same words"])
def test_a_planted_leak_is_caught(data: ParallelData, vectors: Vectors, leak: str) -> None:
    found = added(Source.QUESTIONS_ALL, "en", "ar", data, vectors)
    sums, counts = found.own_sums.copy(), found.own_counts.copy()
    if leak == "own translation":  # only the language that is asked in was left out
        sums += vectors.questions["th"]
        counts += 1
    elif leak == "all":
        sums, counts = found.sums[data.own], found.counts[data.own]
    else:  # left out by id alone
        sums[0] += sum(vectors.questions[code][2] for code in CODES)
        counts[0] += len(CODES)
    leaking = dataclasses.replace(found, own_sums=sums, own_counts=counts)
    with pytest.raises(InputError, match="left out"):
        check_left_out(leaking, data, vectors, CODES)


def test_the_study_refuses_a_leak(
    study: Study, data: ParallelData, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sources_module._questions

    def leaking(*given: Any) -> Added:
        found = honest(*given)
        return dataclasses.replace(found, own_sums=found.sums[data.own], own_counts=found.counts[data.own])

    monkeypatch.setattr(sources_module, "_questions", leaking)
    with pytest.raises(InputError, match=r"question q0 is asked.*left out"):
        score(study, data, vectors, True, remembered(data, vectors))


def test_a_leak_would_raise_the_scores(data: ParallelData, vectors: Vectors) -> None:
    """What the check is for: with the question left in, its paragraph looks better than it is."""
    honest = added(Source.QUESTIONS_ALL, "en", "ar", data, vectors)
    leaking = dataclasses.replace(honest, own_sums=honest.sums[data.own], own_counts=honest.counts[data.own])
    setting = [Setting(Aggregate.MEAN, 0.5)]
    means = [
        MEASURES["RR"](
            Scorer(vectors.questions["ar"], vectors.paragraphs["en"], data.own, [held], True).ranks(setting)
        ).mean()
        for held in (honest, leaking)
    ]
    assert means[0] + 0.05 < means[1]


def test_a_paragraph_without_another_question_stays_as_it_is(data: ParallelData, vectors: Vectors) -> None:
    found = added(Source.QUESTIONS_ALL, "en", "th", data, vectors)
    alone = int(np.flatnonzero(data.own == 1)[0])
    assert found.own_counts[alone] == 0
    assert not found.own_sums[alone].any()
    p = vectors.paragraphs["en"][data.own]
    u, v = Augmented(p, *aggregated([(found.own_sums, found.own_counts)], Aggregate.SUM)).weights(0.5, True)
    assert (u[alone], v[alone]) == (1, 0)


def test_a_paragraph_is_not_augmented_with_itself(data: ParallelData, vectors: Vectors) -> None:
    assert added(Source.PARAGRAPHS_OWN, "en", "en", data, vectors).counts.tolist() == [0] * 12
    assert added(Source.PARAGRAPHS_ALL, "en", "en", data, vectors).counts.tolist() == [2] * 12


def test_translations_are_added_as_they_are(data: ParallelData, vectors: Vectors) -> None:
    arabic, thai = (vectors.translations[code].vectors.astype(np.float64) for code in ("ar", "th"))
    for source, asked, expected, number in (
        (Source.TRANSLATIONS_OWN, "ar", arabic, 1),
        (Source.TRANSLATIONS_OWN, "en", np.zeros_like(arabic), 0),  # a paragraph is not translated into its language
        (Source.TRANSLATIONS_ALL, "ar", arabic + thai, 2),
    ):
        found = added(source, "en", asked, data, vectors)
        np.testing.assert_array_equal(found.sums, expected)
        np.testing.assert_array_equal(found.own_sums, expected[data.own])
        assert found.counts.tolist() == [number] * 12
        assert found.own_counts.tolist() == [number] * len(data.qids)
        assert (found.encoded, found.characters) == (number * 12, number * 70)


def test_translations_of_no_weight_change_nothing(data: ParallelData, vectors: Vectors) -> None:
    settings = [Setting(how, 0.0) for how in Aggregate]
    given = vectors.questions["th"], vectors.paragraphs["en"], data.own
    for source in (Source.TRANSLATIONS_OWN, Source.TRANSLATIONS_ALL):
        found = Scorer(*given, [added(source, "en", "th", data, vectors)], True).ranks(settings)
        assert found.tolist() == Scorer(*given, [], True).ranks(settings).tolist()


@pytest.mark.parametrize("source", [Source.TRANSLATIONS_OWN, Source.TRANSLATIONS_ALL, Source.GENERATED])
def test_a_source_without_vectors_is_refused(data: ParallelData, vectors: Vectors, source: Source) -> None:
    few = dataclasses.replace(vectors, generated=None, translations={"ar": vectors.translations["ar"]})
    with pytest.raises(InputError, match=f"no vectors of {source} for paragraphs in en"):
        added(source, "en", "th", data, few)


# ranks


def test_a_tie_counts_against_the_question() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.2, 0.1, 0.2000021]])
    assert ranks(scores, np.array([0, 0])).tolist() == [2, 2]
    scores[1, 0] = 0.2000041
    assert ranks(scores, np.array([0, 0])).tolist() == [2, 1]


def test_small_changes_come_first(study: Study) -> None:
    settings = settings_of(study, study.methods["queries-all"])
    assert settings[:3] == [("mean", 0.0), ("sum", 0.0), ("mean", 0.005)]
    assert settings_of(study, study.methods["none"]) == [("mean", 0.0)]
    plain = dataclasses.replace(study.methods["queries-all"], aggregates=(Aggregate.SUM,))
    assert {how for how, _ in settings_of(study, plain)} == {"sum"}


# folds


def test_folds_hold_whole_articles_and_are_of_even_size() -> None:
    articles = np.repeat(np.arange(48), np.arange(48) % 7 + 1)
    fold = split(articles, 5, seed=42)
    assert all(len(set(fold[articles == article])) == 1 for article in range(48))
    sizes = [len(set(articles[fold == number])) for number in range(5)]
    assert sorted(sizes) == [9, 9, 10, 10, 10]
    assert fold.tolist() == split(articles, 5, seed=42).tolist() != split(articles, 5, seed=43).tolist()


def test_an_article_on_both_sides_is_refused() -> None:
    articles, reported = np.array([1, 1, 2]), np.array([True, False, False])
    with pytest.raises(InputError, match="article 1 has questions among those that α is chosen on"):
        check_apart(articles, ~reported, reported)
    check_apart(articles, np.array([True, True, False]), np.array([False, False, True]))


def test_folds_by_question_are_refused(
    study: Study, data: ParallelData, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "split", lambda articles, folds, seed: np.arange(len(articles)) % folds)
    with pytest.raises(InputError, match="folds must be split by article"):
        score(study, data, vectors, True, remembered(data, vectors))


def test_too_few_articles_are_refused() -> None:
    with pytest.raises(InputError, match="2 articles cannot be split into 3 folds"):
        split(np.array([1, 2]), 3, seed=1)


def test_a_setting_is_chosen_on_the_other_folds_alone() -> None:
    articles = np.array([0, 0, 1, 1])
    values = np.array([[1.0, 1.0, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    chosen = cross_validate(values, articles, articles)
    assert chosen.settings == (1, 0)  # what is best on the own fold is what is not chosen; the first of equals is
    assert chosen.by_question.tolist() == [1, 1, 0, 0]


def test_reported_questions_have_no_say(study: Study, data: ParallelData, vectors: Vectors) -> None:
    """Other vectors for a fold's questions, as asked, leave the settings chosen for that fold."""
    fold = folds_module.split(data.articles, study.folds, study.seed)
    changed = vectors.questions["ar"].copy()
    changed[fold == 0] *= -1
    methods = {"passages-all": study.methods["passages-all"]}  # adds no questions
    alone = dataclasses.replace(study, methods=methods, languages=("ar",))
    chosen = [
        score(alone, data, held, True, remembered(data, held)).chosen["en", "ar"]
        for held in (vectors, dataclasses.replace(vectors, questions={"ar": changed}))
    ]
    assert chosen[0]["passages-all"][0] == chosen[1]["passages-all"][0]
    assert chosen[0]["passages-all"] != chosen[1]["passages-all"]


# results


@pytest.fixture
def results(study: Study, data: ParallelData, vectors: Vectors) -> Results:
    return score(study, data, vectors, True, remembered(data, vectors))


def test_other_measures_can_stand_beside_those_of_retrieval(study: Study, results: Results) -> None:
    for pair in results.pairs:
        for method in results.methods:
            results.add("EM", pair, method, np.arange(len(results.qids)) % 2)
    assert {t.measure for t in each_pair(results, study.comparisons[:1])} == {"R@1", "RR", "EM"}
    assert mixed(results, "EM", "queries-all", "none", "en", list(results.pairs)).p == 1


def test_the_mixed_test_flips_a_question_in_all_its_pairs(results: Results) -> None:
    pairs = [("en", "ar"), ("en", "th")]
    found = mixed(results, "RR", "queries-all", "none", "en", pairs)
    rows = [results.scores["RR"][pair]["queries-all"] - results.scores["RR"][pair]["none"] for pair in pairs]
    assert found.difference == pytest.approx(np.mean(rows))
    assert found.low <= found.difference <= found.high
    assert found.p == randomisation({"": np.mean(rows, axis=0)}, samples=FEW)
    # pairs that say the same are no more evidence than one of them
    for pair in pairs:
        results.scores["RR"][pair] = results.scores["RR"]["en", "ar"]
    twice, once = (mixed(results, "RR", "queries-all", "none", "en", some) for some in (pairs, pairs[:1]))
    assert (twice.p, twice.low, twice.high) == (once.p, once.low, once.high)


def test_holm_counts_the_pairs_of_a_comparison(study: Study, results: Results) -> None:
    found = [t for t in each_pair(results, [("sentences", "none")]) if t.measure == "RR"]
    assert len(found) == 3
    assert min(t.corrected for t in found) == pytest.approx(min(1, 3 * min(t.p for t in found)))


def test_costs_count_what_is_encoded_and_stored(study: Study, data: ParallelData, vectors: Vectors) -> None:
    found = {c.method: c for c in costs(study, data, vectors, remembered(data, vectors))}
    questions, size = len(data.qids), 12 * 24 * 4
    assert (found["none"].vectors, found["none"].indexes, found["none"].bytes) == (0, 1, size)
    assert (found["queries-all"].vectors, found["queries-all"].indexes) == (3 * questions, 1)
    assert (found["queries-own"].vectors, found["queries-own"].bytes) == (3 * questions, 3 * size)
    assert (found["passages-all"].vectors, found["sentences"].vectors) == (2 * 12, 23)
    assert found["both-all"].vectors == 3 * questions + 2 * 12
    assert (found["translations-own"].vectors, found["translations-own"].indexes) == (2 * 12, 3)
    assert (found["translations-all"].vectors, found["translations-all"].characters) == (2 * 12, 2 * 70)


# settings


@pytest.mark.parametrize(
    ("languages", "passages", "problem"),
    [
        (("en", "xx"), (), "'xx' is no language of XQuAD"),
        (("en", "ar"), ("th",), "'th' is no language of this study"),
        (("ar",), (), "'en' is no language of this study"),
        (("en", "en"), (), "repeats en"),
    ],
)
def test_unknown_languages_are_refused(languages: tuple[str, ...], passages: tuple[str, ...], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        load_study(languages, passages)


def test_some_methods_can_be_chosen() -> None:
    study = load_study(methods=["queries-all", "passages-all"])
    assert list(study.methods) == ["none", "queries-all", "passages-all"]
    assert ("queries-all", "passages-all") in study.comparisons
    with pytest.raises(InputError, match=r"no method 'querys-all' \(did you mean queries-all"):
        load_study(methods=["querys-all"])
    for missing in ("generated", "translations-all"):
        with pytest.raises(InputError, match=f"no method '{missing}'"):
            load_study(methods=[missing])


def test_every_language_of_xquad_is_in_every_group() -> None:
    study = load_study()
    assert set(study.languages) == set(xquad.LANGUAGES)
    assert all(set(group.languages) == set(xquad.LANGUAGES) and group.source for group in study.groups.values())


def test_settings_name_methods_and_measures_that_there_are() -> None:
    study = load_study(generated=True, translated=True)
    assert {name for names in study.comparisons for name in names} <= study.methods.keys()
    assert {*study.measures, study.chosen_by} <= MEASURES.keys()
    assert "generated" not in load_study(translated=True).methods
    assert "translations-own" not in load_study(generated=True).methods
    assert {("queries-all", "translations-all"), ("generated", "translations-all")} <= {*study.comparisons}
    assert Method("t").bound == "fair"


# sentences


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "One sentence stands here. And another one stands there?  Yes, and a third one!", 3),
        ("en", "It costs 3.5 dollars in the U.S. today", 1),
        ("zh", "这是第一个句子它足够长可以算作一个句子。这是第二个句子它足够长可以算作一个句子。", 2),
        ("hi", "यह पहला वाक्य है जो काफी लंबा है। यह दूसरा वाक्य है जो काफी लंबा है।", 2),
        ("ar", "ما هي عاصمة البلاد التي نتحدث عنها؟ إنها مدينة كبيرة جدا.", 2),
        ("th", "ประโยคแรกของย่อหน้านี้ยาวพอ ประโยคที่สองของย่อหน้านี้ยาวพอ", 2),
    ],
)
def test_sentences_end_as_the_language_ends_them(language: str, text: str, expected: int) -> None:
    found = split_sentences(text, language)
    assert len(found) == expected
    assert "".join("".join(found).split()) == "".join(text.split())


# with files and a model


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``files(change)``: XQuAD of made-up words in three languages, after ``change`` of its parsed content."""
    folder = tmp_path / "data"
    monkeypatch.setenv("XQG_REPRO_DATA", str(folder))
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")
    monkeypatch.setattr(DataFile, "_check", lambda self, path: None)
    # datasets that are read anew in each test
    monkeypatch.setattr(collection, "load", lambda name, needs=(): xquad.datasets()[name])

    def write(change: Callable[[dict[str, Any]], None] = lambda parsed: None) -> Path:
        parsed = {code: {"data": [_article(code, number) for number in range(5)]} for code in CODES}
        change(parsed)
        folder.mkdir()
        for code, content in parsed.items():
            (folder / f"xquad.{code}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return folder

    return write


def _article(code: str, number: int) -> dict[str, Any]:
    words = [f"{code[0]}{'bdkmnr'[number]}{vowel}" for vowel in "aeiou"]
    paragraphs = []
    for p in range(2):
        context = " ".join([*words[p:], *words, f"w{p}"]) + ". " + " ".join(reversed(words)) + f" z{p} ends."
        asked = [
            {"id": f"{number}{p}{i}", "question": f"{words[i]} {words[-i]} w{p}", "answers": [{"text": words[0]}]}
            for i in range(1 + (number + p) % 4)
        ]
        paragraphs.append({"context": context, "qas": asked})
    return {"title": f"t{number}", "paragraphs": paragraphs}


@pytest.fixture(scope="module")
def encoder(model_folder: Callable[..., Path]) -> Path:
    words = " ".join(a + b + c for a in "eat" for b in "bdkmnr" for c in "aeiou")
    return model_folder(
        "bert", seed=4, name="tiny", tokenizer=small_tokenizer([f"{words} w0 w1 z0 z1 ends. t0123456789"])
    )


def test_data_are_aligned_by_id(files: Callable[..., Path]) -> None:
    def shuffled(parsed: dict[str, Any]) -> None:
        for paragraph in parsed["th"]["data"][2]["paragraphs"]:
            paragraph["qas"].reverse()

    files(shuffled)
    data = load_data(CODES)
    assert len(data.docids) == 10
    assert data.own.tolist() == sorted(data.own.tolist())
    assert [text.split()[0][1:] for text in data.questions["th"]] == [t.split()[0][1:] for t in data.questions["en"]]
    assert data.articles.tolist() == [int(qid[0]) for qid in data.qids]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: p["th"]["data"][1]["paragraphs"][0].update(context=" \n"), "the paragraph 1-0 of xquad/th is empty"),
        (lambda p: p["ar"]["data"][0]["paragraphs"][0]["qas"][0].update(question=""), "the question 000 .* is empty"),
        (lambda p: p["ar"]["data"].pop(), "the ids of xquad/ar are not those of xquad/en"),
        (lambda p: p["th"]["data"][0]["paragraphs"][0]["qas"][0].update(id="x"), "the ids of xquad/th are not"),
    ],
)
def test_damaged_data_are_refused(files: Callable[..., Path], change: Any, problem: str) -> None:
    files(change)
    with pytest.raises(InputError, match=problem):
        load_data(CODES)


def test_a_missing_file_is_named_before_anything_is_encoded(
    files: Callable[..., Path], own_home: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: DataFile, target: Path) -> None:
        raise InputError(f"{self.name} could not be downloaded")

    monkeypatch.setattr(DataFile, "_download", unreachable)
    files(lambda parsed: parsed.pop("th"))
    with pytest.raises(InputError, match=r"xquad\.th\.json is not here"):
        run_study(load_study(CODES), EncoderConfig(str(encoder)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def run(folder: Path, encoder: Path, *more: str) -> int:
    languages = ["--languages", *CODES, "--passages", "en", "ar"]
    return cli.main(
        [
            "study",
            "--encoder",
            str(encoder),
            "--pooling",
            "cls",
            *languages,
            "--output",
            str(folder),
            "--device",
            "cpu",
            *more,
        ]
    )


def test_the_command_writes_a_study_and_reuses_it(
    files: Callable[..., Path], encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    files()
    generated = tmp_path / "queries.jsonl"
    line = {"docid": "1-0", "generated_queries": {"en": ["ebe"], "th": ["tba tbe", "tbi"], "fi": ["no"]}}
    generated.write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert run(tmp_path / "one", encoder, "--generated", str(generated)) == 0
    printed = capsys.readouterr().out
    assert "R@1, en paragraphs" in printed
    found = read_summary(tmp_path / "one" / "results")
    assert found.encoder == "tiny"
    assert (found.counts["articles"], found.counts["paragraphs"], found.counts["alone"]) == (5, 10, 3)
    assert {c.method: c.vectors for c in found.costs}["generated"] == 3
    assert set(found.means["RR"]) == {f"{p}/{q}" for p in ("en", "ar") for q in CODES}
    assert all(0 < mean <= 1 for held in found.means["RR"].values() for mean in held.values())
    written = contents(tmp_path / "one" / "results")
    assert {"study.json", "report.md", "scores.csv", "ranks.npy"} <= written.keys()
    for name in parts(found):
        assert f"## {name}\n" in written["report.md"].decode()

    assert run(tmp_path / "one", encoder, "--generated", str(generated)) == 0
    assert "is up to date" in capsys.readouterr().err
    assert run(tmp_path / "two", encoder, "--generated", str(generated)) == 0
    assert contents(tmp_path / "two" / "results") == written


def test_embeddings_are_encoded_once(
    files: Callable[..., Path], encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files()
    for passages in (("en",), ("en", "ar")):
        caplog.clear()
        run_study(load_study(CODES, passages), EncoderConfig(str(encoder)), tmp_path, device="cpu")
    made = [line.split()[2] for line in caplog.messages if "wrote" in line]
    assert made == [str(tmp_path / place) for place in ("embeddings/sentences.ar", "results")]


def test_queries_about_other_paragraphs_are_refused(
    files: Callable[..., Path], encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    files()
    generated = tmp_path / "queries.jsonl"
    generated.write_text('{"docid": "77", "generated_queries": {"en": ["ebe"]}}\n', encoding="utf-8")
    assert run(tmp_path / "one", encoder, "--generated", str(generated)) == 2
    assert "has queries for 77, which is no paragraph of xquad" in capsys.readouterr().err


# machine translations


@pytest.fixture
def translated(files: Callable[..., Path], tiny_generator: Path, tmp_path: Path) -> Callable[..., Path]:
    """``translated("en", "ar", "th")``: the folder of a tiny T5's translations from one language into others."""
    files()

    def make(source: str, *languages: str) -> Path:
        config = TranslatorConfig(
            str(tiny_generator), "{language} {text}", source, text_max_length=40, translation_max_length=9
        )
        translate(f"xquad/{source}", languages, config, tmp_path / "translations", device="cpu")
        return tmp_path / "translations"

    return make


def test_machine_translations_are_a_source(
    translated: Callable[..., Path], encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = translated("en", "th", "ar")
    arguments = ["study", "--encoder", str(encoder), "--pooling", "cls", "--languages", *CODES, "--device", "cpu"]
    arguments += ["--output", str(tmp_path / "one"), "--translated", str(folder)]
    assert cli.main(arguments) == 0
    found = read_summary(tmp_path / "one" / "results")
    assert {"translations-own", "translations-all"} <= found.titles.keys()
    assert "generated" not in found.titles
    assert ("queries-all", "translations-all") in {(t.method, t.other) for t in found.tests}
    written = {passage.docid: passage.texts for passage in read_translations(folder)}
    cost = next(c for c in found.costs if c.method == "translations-all")
    characters = sum(len(text) for texts in written.values() for text in texts.values())
    assert (cost.vectors, cost.characters) == (20, characters)
    # English questions get nothing from translations of English paragraphs into English
    assert found.means["RR"]["en/en"]["translations-own"] == found.means["RR"]["en/en"]["none"]

    data = load_data(CODES)
    texts = [written[docid]["th"] for docid in data.docids]
    expected = TextEncoder(EncoderConfig(str(encoder)), "cpu").encode_passages(
        [doc.title for doc in data.paragraphs["en"]], texts
    )
    held = np.load(tmp_path / "one" / "embeddings" / "translations.en.th" / "vectors.npy")
    np.testing.assert_array_equal(held, expected)
    capsys.readouterr()
    assert cli.main(arguments) == 0
    assert "study: " in (said := capsys.readouterr().err) and "wrote" not in said
    assert cli.main(arguments[:-2]) == 0
    assert "changed: study, translations" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "into", "passages", "problem"),
    [
        ("en", ("ar",), ("en",), "holds no translations into th"),
        ("ar", ("en", "th"), ("en",), "holds translations of xquad/ar, but the study's paragraphs are xquad/en"),
        ("en", ("ar", "th"), ("en", "ar"), "the study's paragraphs are xquad/en ar"),
    ],
)
def test_translations_of_other_languages_are_refused(
    translated: Callable[..., Path],
    encoder: Path,
    tmp_path: Path,
    source: str,
    into: tuple[str, ...],
    passages: tuple[str, ...],
    problem: str,
) -> None:
    folder, study = translated(source, *into), load_study(CODES, passages, translated=True)
    with pytest.raises(InputError, match=problem) as caught:
        run_study(study, EncoderConfig(str(encoder)), tmp_path / "out", translated=folder)
    assert caught.value.path == folder
    assert not (tmp_path / "out").exists()


def _without(docid: str, language: str) -> Callable[[Path, list[dict[str, Any]]], None]:
    def change(folder: Path, items: list[dict[str, Any]]) -> None:
        texts = next(item for item in items if item["docid"] == docid)["translations"]
        texts.pop(language)

    return change


def _emptied(folder: Path, items: list[dict[str, Any]]) -> None:
    items[2]["translations"]["th"] = " "


def _cut(folder: Path, items: list[dict[str, Any]]) -> None:
    items.pop()


def _of_another_version(folder: Path, items: list[dict[str, Any]]) -> None:
    manifest = Manifest.read(folder)
    dataclasses.replace(manifest, inputs=manifest.inputs | {"collection": "other"}).write(folder)


def _of_another_stage(folder: Path, items: list[dict[str, Any]]) -> None:
    dataclasses.replace(Manifest.read(folder), stage="generate").write(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_without("1-0", "ar"), "the translation of 1-0 into ar is missing"),
        (_cut, "the translation of 4-1 into ar is missing"),
        (_emptied, "the translation of 1-0 into th is empty"),
        (_of_another_version, "translations of another version of xquad/en"),
        (_of_another_stage, "is the output of generate, not translations"),
    ],
)
def test_damaged_translations_are_refused(
    translated: Callable[..., Path], change: Callable[[Path, list[dict[str, Any]]], None], problem: str
) -> None:
    folder = translated("en", "ar", "th")
    path = folder / "00000.jsonl"
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(folder, items)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    manifest = Manifest.read(folder)
    manifest.files[path.name]["bytes"] = path.stat().st_size
    manifest.write(folder)
    with pytest.raises(InputError, match=problem):
        read_translated(folder, load_study(CODES), load_data(CODES))


def test_figures_are_drawn_and_an_unknown_part_is_refused(
    files: Callable[..., Path], encoder: Path, tmp_path: Path
) -> None:
    files()
    kept = ("none", "queries-all", "passages-all")
    study = dataclasses.replace(
        load_study(CODES, ("en", "ar"), kept), measures=("R@1",), comparisons=(("queries-all", "none"),)
    )
    found = run_study(study, EncoderConfig(str(encoder)), tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"no part 'nope'.*scores-R@1"):
        part(found, "nope")
    write_figures(found, tmp_path / "figures")
    drawn = contents(tmp_path / "figures")
    assert {name.removesuffix(".svg") for name in drawn} == {
        "methods.R1",
        "alpha.R1",
        "alpha-languages.R1",
        *(f"pairs.R1.{name}" for name in (*kept, "queries-all.none")),
    }
    assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in drawn.values())
