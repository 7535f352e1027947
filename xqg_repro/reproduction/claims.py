"""The paper's claims, each decided by a check: reproduced, not reproduced, or not run.

``resources/claims.yaml`` lists them with the paper's figures. A check reads what a reproduction left: the conditions'
scores, their settings, a model's manifest. On a benchmark other than XOR-TyDi, "reproduced" means that the claim holds
for that collection and its own small models, no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE, XOR_LANGUAGES
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.compare import LEVEL, Comparison, Result, System, compare
from xqg_repro.evaluation.printing import format_p, format_score
from xqg_repro.models.settings import load_preset
from xqg_repro.reproduction.benchmark import Benchmark
from xqg_repro.study.answer import queries_win
from xqg_repro.study.packed import MACHINE
from xqg_repro.study.summary import FILE, read_summary

MEASURES = ("R2kt", "R5kt")
"""The measures of the paper's claims."""


class Status(StrEnum):
    """What came of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: unique.
        text: the claim in one sentence.
        paper: the paper's figures.
        check: name of the function in :data:`CHECKS` that decides it.
        conditions: benchmark → the conditions that the claim is about, baselines first.
        exceptions: measure and language of the cells of the first condition that the paper itself excepts.
    """

    name: str
    text: str
    check: str
    paper: str = ""
    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exceptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise InputError(f"unknown check {self.check!r}", hint=f"choose from: {', '.join(CHECKS)}")


class Finding(NamedTuple):
    """What a check found, in words and figures."""

    status: Status
    measured: str


@dataclass(frozen=True)
class Evidence:
    """What a reproduction left: a benchmark and the scores of its conditions.

    Attributes:
        benchmark: the benchmark.
        systems: condition → scores; a condition that was not run may be absent or without scores.
        languages: the question languages that were run; empty for all.
    """

    benchmark: Benchmark
    systems: Mapping[str, System]
    languages: tuple[str, ...] = ()

    @cached_property
    def comparison(self) -> Comparison:
        """The conditions compared with their baselines, as far as these were run."""
        systems = [
            System(s.name, s.title, s.scores, s.baseline if self.has_scores(s.baseline) else "")
            for s in self.systems.values()
        ]
        return compare(systems, self.languages or self.benchmark.languages, self.benchmark.measures)

    @cached_property
    def findings(self) -> tuple[tuple[Claim, Finding], ...]:
        """Every claim with what came of it."""
        return tuple((claim, decide(claim, self)) for claim in load_claims())

    def has_scores(self, name: str) -> bool:
        """Whether a condition was run."""
        return name in self.systems and any(self.systems[name].scores.values())

    def pairs(self, claim: Claim) -> list[tuple[System, System]]:
        """(baseline, augmented) of the claim's conditions; :class:`_Missing` names what was not run."""
        names = claim.conditions.get(self.benchmark.name, ())
        if not names:
            raise _Missing(f"conditions for it on {self.benchmark.name}")
        if missing := [name for name in names if not self.has_scores(name)]:
            raise _Missing(f"the run of {', '.join(missing)}")
        systems = [self.systems[name] for name in names]
        return list(zip(systems[::2], systems[1::2], strict=True))

    def results(self, baseline: System, augmented: System) -> list[Result]:
        """How the second differs from the first in R2kt and R5kt, in every language and on average."""
        comparison = self.comparison
        if augmented.baseline != baseline.name:
            pair = [baseline, System(augmented.name, augmented.title, augmented.scores, baseline.name)]
            measures = {name: self.benchmark.measures[name] for name in MEASURES}
            comparison = compare(pair, self.benchmark.languages, measures)
        results = [r for r in comparison.results if r.system == augmented.name and r.measure in MEASURES]
        if any(result.difference is None for result in results):
            raise _Missing("scores in every language")
        return results


class _Missing(Exception):
    """A check lacks what it needs."""


@cache
def load_claims() -> tuple[Claim, ...]:
    """All claims, in the order of the file."""
    path = resource("claims.yaml")
    return tuple(parse(Claim, entry, path) for entry in read_yaml(path))


def has_claims(benchmark: Benchmark) -> bool:
    """Whether a claim can be checked on the conditions of a benchmark."""
    return any(benchmark.name in claim.conditions for claim in load_claims())


def decide(claim: Claim, evidence: Evidence) -> Finding:
    """Check one claim."""
    try:
        holds, measured = CHECKS[claim.check](claim, evidence)
    except _Missing as error:
        return Finding(Status.NOT_RUN, f"needs {error}")
    return Finding(Status.REPRODUCED if holds else Status.NOT_REPRODUCED, measured)


def claims_table(evidence: Evidence) -> Table:
    """Every claim with what came of it, and the measured figures beside the paper's."""
    rows = [
        [claim.text, finding.status.value, finding.measured, claim.paper or "–"] for claim, finding in evidence.findings
    ]
    return Table(["claim", "status", "measured", "paper"], rows, left=4)


def claims_text(evidence: Evidence) -> str:
    """The claims for a terminal, one per line; details are in :func:`claims_table`."""
    width = max(len(status) for status in Status)
    lines = [f"The paper's claims on {evidence.benchmark.name}"]
    for claim, (status, measured) in evidence.findings:
        lines.append(f"  {status:{width}}  {claim.text} [{measured.partition(';')[0]}]")
    return "\n".join(lines)


def _datasets(evidence: Evidence, *needs: str) -> list[Any]:
    try:
        return [collection.load(topics, needs=list(needs)) for topics in evidence.benchmark.topic_sets()]
    except InputError as error:
        raise _Missing(f"the data of {evidence.benchmark.name}") from error


def _questions(evidence: Evidence) -> list[Any]:
    try:
        return [question for dataset in _datasets(evidence, "queries") for question in dataset.queries_iter()]
    except InputError as error:
        raise _Missing(f"the questions of {evidence.benchmark.name}") from error


def _languages(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    question_languages = {question.lang for question in _questions(evidence)}
    passage_language = _datasets(evidence, "docs")[0].docs_lang()
    holds = question_languages == set(XOR_LANGUAGES) and passage_language == "en"
    return holds, f"{' '.join(sorted(question_languages))}; passages {passage_language}"


def _size(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    from xqg_repro.evaluation.measures.recall import scorable

    answered = sum(bool(scorable(question.answers)) for question in _questions(evidence))
    try:
        passages = _datasets(evidence, "docs")[0].docs_count()
    except InputError as error:
        raise _Missing(f"the passages of {evidence.benchmark.name}") from error
    measured = f"{passages:,} passages; {answered:,} questions"
    if evidence.benchmark.name != "xor-tydi":
        raise _Missing(f"XOR-TyDi; {evidence.benchmark.name} has {measured}")
    return 17e6 < passages < 19e6 and 1_900 <= answered <= 2_200, measured


def _trained_on_english(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    names = claim.conditions.get(evidence.benchmark.name, ())
    if not names:
        raise _Missing(f"a zero-shot condition on {evidence.benchmark.name}")
    model = load_preset(evidence.benchmark.condition(names[0]).encoder).model.removeprefix("package:")
    manifest = json.loads(resource("models", model, "manifest.json").read_text(encoding="utf-8"))
    recipe, count = manifest["parameters"]["recipe"], manifest["counts"]["questions"]
    languages = {q.lang or "?" for q in collection.load(recipe["data"], needs=["queries"]).queries_iter()}
    measured = f"{count:,} questions of {recipe['data']} ({' '.join(sorted(languages))})"
    if recipe.get("names_steps"):
        measured += "; before that, in place of pre-training, names in seven languages with their English forms"
    return languages == {"en"}, measured


def _alpha(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    alphas = {
        condition.name: condition.augmentation.alpha
        for condition in evidence.benchmark.conditions
        if condition.augmentation and evidence.has_scores(condition.name)
    }
    if not alphas:
        raise _Missing("the run of an augmented condition")
    return set(alphas.values()) == {0.01}, ", ".join(f"{alpha:g} ({name})" for name, alpha in alphas.items())


def _improves(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    baseline, augmented = evidence.pairs(claim)[0]
    results = evidence.results(baseline, augmented)
    result = next(r for r in results if (r.measure, r.column) == ("R2kt", AVERAGE))
    assert result.score is not None and result.difference is not None and result.p is not None
    measure = evidence.benchmark.measures["R2kt"]
    before, after = format_score(result.score - result.difference, measure), format_score(result.score, measure)
    return result.difference > 0 and result.p < LEVEL, f"{before} → {after}, p {format_p(result.p)}"


def _improves_everywhere(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    pairs = evidence.pairs(claim)
    cells = [r for pair in pairs for r in evidence.results(*pair) if r.column != AVERAGE]
    worse = [r for r in cells if (r.difference or 0) <= 0]
    first = pairs[0][1].name
    unexpected = [r for r in worse if r.system != first or f"{r.measure} {r.column}" not in claim.exceptions]
    measured = f"{len(cells) - len(worse)} of {len(cells)}"
    if worse:
        measured += f"; not {', '.join(f'{r.measure} {r.column} of {r.system}' for r in worse)}"
    # "almost all" means nine in ten, not counting the paper's own exceptions
    return len(unexpected) <= len(cells) / 10, measured


def _better(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    better, worse = evidence.pairs(claim)[0]
    averages = [r for r in evidence.results(worse, better) if r.column == AVERAGE]
    measured = ", ".join(f"{r.measure} {100 * (r.difference or 0):+.1f}" for r in averages)
    return all((r.difference or 0) > 0 for r in averages), measured


def _four_queries(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    benchmark = evidence.benchmark
    augmented = claim.conditions.get(benchmark.name, ())[1::2]
    conditions = [benchmark.condition(name) for name in augmented]
    numbers = {c.augmentation.queries or benchmark.added_queries(c) for c in conditions if c.augmentation}
    if not {4, 5} <= numbers:
        present = f"; they have {' '.join(map(str, sorted(numbers)))}" if numbers else ""
        raise _Missing(f"conditions with four and with five queries per language{present}")
    averages = [r for pair in evidence.pairs(claim) for r in evidence.results(*pair) if r.column == AVERAGE]
    holds = all((r.difference or 0) > 0 and (r.p or 0) < LEVEL for r in averages)
    return holds, ", ".join(f"{r.measure} {100 * (r.difference or 0):+.1f}, p {format_p(r.p)}" for r in averages)


def _research_question(claim: Claim, evidence: Evidence) -> tuple[bool, str]:
    if not (MACHINE / FILE).exists():
        raise _Missing(f"the study in {MACHINE}, in a checkout's root")
    return queries_win(read_summary(MACHINE))


CHECKS: Mapping[str, Callable[[Claim, Evidence], tuple[bool, str]]] = {
    "languages": _languages,
    "size": _size,
    "trained_on_english": _trained_on_english,
    "alpha": _alpha,
    "improves": _improves,
    "improves_everywhere": _improves_everywhere,
    "better": _better,
    "four_queries": _four_queries,
    "research_question": _research_question,
}
"""Name → function that says whether a claim holds, and what was measured."""
