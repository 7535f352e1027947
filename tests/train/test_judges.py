"""What judges decide about a passage."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.models.answerer import AskedPassages
from xqg_repro.models.answerer_settings import AnswererConfig
from xqg_repro.models.reader import Span
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind
from xqg_repro.train.judges import (
    GeneratorJudge,
    QrelsJudge,
    ReaderJudge,
    Retrieved,
    Verdict,
    judge_output,
    judge_span,
    judge_strings,
)
from xqg_repro.train.label import choose_labels
from xqg_repro.train.tevatron import TevatronLine

POSITIVE, MATCHED, NEGATIVE = Verdict.POSITIVE, Verdict.MATCHED, Verdict.NEGATIVE
TURKU = Passage("1", "Turku", "Turku was founded in 1229; no, yes, the Åbo of the north.")


@pytest.mark.parametrize(
    ("output", "answers", "verdict"),
    [
        ("1229", ["1229"], POSITIVE),
        ("the 1220s", ["1229", "the  1220s"], POSITIVE),  # any answer, whether or not the passage holds it
        ("1230", ["1229"], MATCHED),
        ("", ["1229"], MATCHED),
        ("1230", ["1812", "1229"], NEGATIVE),  # only the first answer is searched for
        ("turku", ["Turku"], MATCHED),  # exact strings
        ("turku", ["turku?"], NEGATIVE),
        ("1229.", ["1229"], MATCHED),
        ("Turku", ["TURKU"], NEGATIVE),
        ("yes", ["yes"], POSITIVE),
        ("no", ["yes"], NEGATIVE),  # although the passage has the word
        ("yes", ["no"], NEGATIVE),
        ("1229", [], NEGATIVE),
    ],
)
def test_the_generators_rule(output: str, answers: list[str], verdict: Verdict) -> None:
    assert judge_output(output, answers, TURKU) is verdict


@pytest.mark.parametrize(
    ("span", "answers", "verdict"),
    [
        ("The 1229!", ["1812", "1229"], POSITIVE),
        ("turku", ["Turku"], POSITIVE),
        ("1229", ["In  1229"], MATCHED),
        ("", ["turku"], MATCHED),
        ("", ["the"], MATCHED),  # an answer that normalises to nothing is not the empty span
        ("1229", ["1812"], NEGATIVE),
        ("yes", ["yes"], POSITIVE),
        ("1229", ["yes", "no"], NEGATIVE),
        ("1229", [], NEGATIVE),
    ],
)
def test_the_readers_rule(span: str, answers: list[str], verdict: Verdict) -> None:
    assert judge_span(span, answers, TURKU) is verdict


def pairs(*answers: str) -> list[Retrieved]:
    """Two questions, each with two passages of other texts."""
    texts = ("In 1229.", "In 1812.")
    return [
        Retrieved(TevatronLine(qid, f"{qid}?", "fi", answers, ()), Passage(str(number), "T", text))
        for qid in ("a", "b")
        for number, text in enumerate(texts)
    ]


def test_the_string_and_the_qrels_judge() -> None:
    reports: list[int] = []
    assert judge_strings(pairs("1812", "x"), reports.append) == [NEGATIVE, POSITIVE] * 2
    assert judge_strings(pairs("yes", "In"), reports.append) == [POSITIVE] * 4
    assert judge_strings(pairs("yes"), reports.append) == [NEGATIVE] * 4
    assert QrelsJudge({"a": {"1"}})(pairs("1229"), reports.append) == [NEGATIVE, POSITIVE, NEGATIVE, NEGATIVE]
    assert reports == [4] * 4


def test_the_generator_and_the_reader_see_one_passage_at_a_time() -> None:
    seen: list[Any] = []

    def answer(asked: Sequence[AskedPassages], report: Any) -> list[str]:
        seen.extend(asked)
        return ["1229", "1229", "x", "1812"]

    verdicts = GeneratorJudge(SimpleNamespace(answer=answer))(pairs("1229"), len)  # type: ignore[arg-type]
    assert verdicts == [POSITIVE, POSITIVE, MATCHED, NEGATIVE]
    assert seen == [AskedPassages(pair.question.query, "fi", (pair.passage,)) for pair in pairs("1229")]

    def read(questions: Sequence[str], texts: Sequence[str], report: Any) -> list[Span | None]:
        assert (list(questions), list(texts)) == (["a?", "a?", "b?", "b?"], ["In 1229.", "In 1812."] * 2)
        return [Span(3, 8, 1.0), Span(0, 2, 1.0), None, None]

    verdicts = ReaderJudge(SimpleNamespace(read=read))(pairs("1229"), len)  # type: ignore[arg-type]
    assert verdicts == [POSITIVE, NEGATIVE, MATCHED, NEGATIVE]


GOLD = Passage("9", "T", "In  1229.")


@pytest.mark.parametrize(
    ("verdicts", "gold", "falls_back", "source", "positives", "negatives"),
    [
        ((NEGATIVE, POSITIVE, MATCHED, POSITIVE), (), True, "labelled", "24", "1"),
        ((NEGATIVE, MATCHED, MATCHED, NEGATIVE), (), True, "fallback", "2", "14"),
        ((NEGATIVE, MATCHED, MATCHED, NEGATIVE), (), False, "left_out", "", "14"),
        ((NEGATIVE,) * 4, (), True, "left_out", "", "1234"),
        ((NEGATIVE, POSITIVE, MATCHED, NEGATIVE), (GOLD,), True, "gold", "9", "4"),  # the first is a copy of the gold
        ((POSITIVE, NEGATIVE, NEGATIVE, NEGATIVE), (), True, "labelled", "1", "234"),
    ],
)
def test_a_questions_labels(
    verdicts: Sequence[Verdict],
    gold: tuple[Passage, ...],
    falls_back: bool,
    source: str,
    positives: str,
    negatives: str,
) -> None:
    passages = [Passage(str(n), "t", f"in {text}.") for n, text in enumerate(("1229", "1230", "1231", "1232"), 1)]
    question = TevatronLine("q", "?", "fi", ("1229",), gold)
    labels = choose_labels(question, list(zip(passages, verdicts, strict=True)), falls_back=falls_back)
    assert labels.source == source
    assert "".join(passage.doc_id for passage in labels.positives) == positives
    assert "".join(passage.doc_id for passage in labels.negatives) == negatives


def test_a_judge_has_the_model_that_it_needs_and_no_other() -> None:
    reader, answerer = ReaderConfig("some/reader"), AnswererConfig("some/answerer")
    assert JudgeConfig("reader", reader).kind is JudgeKind.READER  # type: ignore[arg-type]
    assert JudgeConfig(JudgeKind.GENERATOR, answerer=answerer).falls_back
    assert not JudgeConfig(JudgeKind.STRING).falls_back
    for kind, models, problem in (
        (JudgeKind.READER, {}, "needs a model .*--reader"),
        (JudgeKind.GENERATOR, {}, "needs a model .*--answerer"),
        (JudgeKind.STRING, {"reader": reader}, "--reader has no effect with the judge string"),
        (JudgeKind.READER, {"reader": reader, "answerer": answerer}, "--answerer has no effect"),
        ("person", {}, "'person'"),
    ):
        with pytest.raises(InputError, match=problem):
            JudgeConfig(kind, **models)  # type: ignore[arg-type]
