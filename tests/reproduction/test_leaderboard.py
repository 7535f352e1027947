"""Published systems as rows of a two-click page, and conditions compared with them."""

from __future__ import annotations

import dataclasses

import pytest

from xqg_repro.core.languages import AVERAGE
from xqg_repro.evaluation.baselines import load_baselines
from xqg_repro.evaluation.compare import System
from xqg_repro.evaluation.significance import Correction
from xqg_repro.evaluation.unpaired import compare_published
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.claims import Evidence
from xqg_repro.reproduction.leaderboard import PublishedScore, compare_with_published, published_rows

BENCHMARK = dataclasses.replace(load_benchmark("xor-tydi"), name="no-claims")  # claims would need the questions
BASELINES = load_baselines()
COLUMNS = (*BENCHMARK.languages, AVERAGE)


def evidence(system: str = "CLASS") -> Evidence:
    """The condition mbert with the scores of a published system, the others not measured."""
    scores = {}
    for measure in BENCHMARK.measures:
        counts = BASELINES.counts(BASELINES.find(system, measure))
        scores[measure] = {code: {f"{code}{i}": float(i < k) for i in range(n)} for code, (k, n) in counts.items()}
    systems = {c.name: System(c.name, c.title, {}) for c in BENCHMARK.conditions}
    return Evidence(BENCHMARK, {**systems, "mbert": System("mbert", systems["mbert"].title, scores)})


def test_every_published_figure_is_in_its_row() -> None:
    shown = {
        (row.system, row.split, measure, column): score
        for row in published_rows(BENCHMARK)
        for column, scores in zip(COLUMNS, row.scores, strict=True)
        for measure, score in zip(BENCHMARK.measures, scores, strict=True)
        if score.text
    }
    expected = {
        (row.system, row.split, row.measure, column): PublishedScore(
            f"{percent:.1f}", repr(percent / 100) if row.split == "dev" else ""
        )
        for row in BASELINES.rows
        for column, percent in {**row.per_language, AVERAGE: row.average}.items()
    }
    assert shown == expected


def test_rows_on_the_same_questions_come_first_and_the_best_of_them_at_the_top() -> None:
    rows = published_rows(BENCHMARK)
    assert [row.comparable for row in rows] == sorted((row.comparable for row in rows), reverse=True)
    assert {row.split for row in rows if row.comparable} == {"dev"}
    averages = [float(row.scores[-1][0].text) for row in rows if row.comparable and row.scores[-1][0].text]
    assert averages == sorted(averages, reverse=True)
    assert next(row for row in rows if row.system == "Gemini Embedding").inferred


@pytest.mark.parametrize("other", [{"collection": "leads"}, {"topics": "xor-tydi/train"}], ids=str)
def test_other_passages_or_questions_have_no_published_rows(other: dict[str, str]) -> None:
    benchmark = dataclasses.replace(BENCHMARK, **other)
    assert published_rows(benchmark) == []
    assert compare_with_published(Evidence(benchmark, evidence().systems)) == {}


def test_a_measured_condition_is_compared_as_the_command_compares_it() -> None:
    (table,) = compare_with_published(evidence()).values()
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    assert rows["CLASS", "R2kt"] == ["68.1", "68.1", "+0.0", "1.000", "1.000"]
    assert rows["xDR mBERT", "R2kt"] == ["44.2", "68.1", "+23.9", "<0.001", "<0.001"]
    scores = evidence().systems["mbert"].scores
    (command,) = compare_published("ours", {"R5kt": scores["R5kt"]}, "CLASS-ZS", Correction.HOLM)
    assert rows["CLASS-ZS", "R5kt"][3] == command.rows[-1][3]
    assert {("Gemini Embedding", "R5kt")} == {key for key in rows if key[0] == "Gemini Embedding"}
    assert not any(system == "BM25 + human translation" for system, _ in rows)  # on test
