"""Measures that ir-measures parses and cannot compute, and trec_eval's names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ir_datasets
import pytest
from conftest import Mini
from ir_datasets.formats import TrecQrel

from faults.conftest import Verb
from xqg_repro.collection.handlers import Judgements, ListedDocs, Questions, dataset
from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.retrieval.runfile import Hit


@pytest.fixture
def run(mini_data: Mini, tmp_path: Path) -> Path:
    """A run in which half of the questions find their passage, at rank 2."""
    lines = []
    for number, (qid, docid) in enumerate(mini_data.qrels):
        lines += [f"{qid} Q0 2 1 2.0 t\n", f"{qid} Q0 {docid if number % 2 else 3} 2 1.0 t\n"]
    (tmp_path / "run.txt").write_text("".join(lines))
    return tmp_path / "run.txt"


@pytest.mark.parametrize(
    ("measure", "problem"),
    [
        ("R@0", "cutoff is 0"),
        ("Success@0", "cutoff is 0"),
        ("recall_0", "cutoff is 0"),
        ("AP@99999999999999999999", "cutoff is 9+ "),
        ("R@2.5", r"cutoff is 2\.5"),
        ("P@True", "cutoff is True"),
        ("P", "without cutoff"),
        ("INST", "without max_rel"),
        ("RR(foo=1)", "RR has no parameter 'foo'"),
        ("R2kt@5", "R2kt has no parameter 'cutoff'"),
        ("RR(rel=0)@10", "rel is 0"),
        ("R(rel=2)@10", "no judgement of test-mini/dev has a relevance of 2"),
        ("nDCG(dcg='other')@10", "invalid param dcg='other'"),
        ("nDCG(gains={1:'much'})@10", "gains is "),
        ("nDCG(gains={1:99999999999})@10", "gains is "),
        ("IPrec@0.105", r"recall is 0\.105"),
        ("IPrec@1.5", r"recall is 1\.5"),
        ("SetF(beta=2)", "beta is 2"),
        ("Compat(p=2.0)", r"p is 2\.0"),
        ("P(judged_only=1)@5", "judged_only is 1"),
        ("alpha_nDCG@10", "pyndeval"),
        ("INSQ(max_rel=1)", "cwl_eval"),
        ("ERR", "no implementation"),
        ("ERR@10", "only numbers as qids"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(
    verb: Verb, mini_data: Mini, tmp_path: Path, measure: str, problem: str
) -> None:
    # before the run is read, which does not exist
    outcome = verb("evaluate", "--run", tmp_path / "x", "--topics", mini_data.topics, "--measures", "R@1", measure)
    outcome.refused(f"error: {measure.partition('(')[0]}.* cannot be computed", problem)


@pytest.mark.parametrize(
    ("measure", "hint"),
    [
        ("R@2kt", "did you mean R2kt"),
        ("ndcg@10", "did you mean nDCG@10"),
        ("recall", "recall_10"),
        ("R@1,R@5", "by spaces"),
        ("P@-1", "nDCG@10"),
        ("gm_map", "trec_eval's"),
        ("recall_10abc", "trec_eval's"),
        ("P@5\n", "trec_eval's"),
        ("all_trec", "trec_eval's"),
    ],
)
def test_an_unknown_name_gets_a_hint(verb: Verb, mini_data: Mini, run: Path, measure: str, hint: str) -> None:
    outcome = verb("evaluate", "--run", run, "--topics", mini_data.topics, "--measures", measure)
    outcome.refused("does not know the measure", hint)
    assert not outcome.stdout


def test_a_cutoff_of_zero_does_not_abort_the_process(mini_data: Mini, run: Path) -> None:
    line = ["evaluate", "--run", str(run), "--topics", "xor-mini/dev", "--measures", "R@0"]
    done = subprocess.run([sys.executable, "-m", "xqg_repro", *line], capture_output=True, text=True)
    assert done.returncode == 2 and "R@0 cannot be computed" in done.stderr


def test_compare_refuses_them_too(verb: Verb, mini_data: Mini, run: Path) -> None:
    for measure in ("R@0", "R(rel=3)@5"):
        verb("compare", run, "--topics", mini_data.topics, "--measures", measure).refused(r"R.* cannot be computed")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("map", "AP"),
        ("map_cut_5", "AP@5"),
        ("ndcg", "nDCG"),
        ("ndcg_cut_10", "nDCG@10"),
        ("ndcg_cut.10", "nDCG@10"),
        ("recall_2", "R@2"),
        ("recall.2", "R@2"),
        ("P_2", "P@2"),
        ("success_1", "Success@1"),
        ("recip_rank", "RR"),
        ("bpref", "Bpref"),
        ("iprec_at_recall_0.10", "IPrec@0.1"),
        ("iprec_at_recall_1", "IPrec@1.0"),
        ("set_F.0.5", "SetF(beta=0.5)"),
        ("num_rel_ret", "NumRelRet"),
    ],
)
def test_trec_evals_names_are_understood(
    verb: Verb, mini_data: Mini, run: Path, tmp_path: Path, theirs: str, ours: str
) -> None:
    output = tmp_path / "scores.json"
    line = ["evaluate", "--run", run, "--topics", mini_data.topics, "--output", output, "--measures", theirs, ours]
    outcome = verb(*line)
    assert outcome.status == 0, outcome
    scores = json.loads(output.read_text())["per_query"]
    assert scores[theirs] == scores[ours] and len(scores[theirs]) == 14
    assert f"\n{theirs} " in outcome.stdout  # printed under the name that was given


class Graded(Judgements):
    """Judgements of any relevance."""

    def __init__(self, judgements: list[tuple[str, str, int]]) -> None:
        self._judgements = judgements

    def qrels_iter(self) -> Iterator[TrecQrel]:
        return (TrecQrel(qid, docid, relevance, "0") for qid, docid, relevance in self._judgements)


def graded(name: str, judgements: list[tuple[str, str, int]]) -> str:
    """A collection with these judgements."""
    docs = [Passage(str(number), "", f"text {number}") for number in range(5)]
    questions = [Question(qid, "who?", "fi", ("text",)) for qid in dict.fromkeys(qid for qid, *_ in judgements)]
    parts = ListedDocs(lambda: (docs, name), name, "en"), Questions(lambda: (questions, name), name), Graded(judgements)
    ir_datasets.registry._registered.pop(name, None)
    ir_datasets.registry.register(name, dataset("xor-tydi", *parts))
    return name


def test_graded_and_negative_judgements_are_scored() -> None:
    topics = graded("test-graded", [("a", "0", 3), ("a", "1", 1), ("a", "2", -2), ("b", "3", 2), ("b", "4", 0)])
    run = {"a": [Hit("2", 3.0), Hit("1", 2.0), Hit("0", 1.0)], "b": [Hit("3", 1.0)]}
    names = ["R(rel=3)@2", "R(rel=3)@3", "R@3", "nDCG(gains={3:1,2:1})@3", "nDCG@3", "ERR@3"]
    with pytest.raises(InputError, match="ERR@3 cannot be computed: gdeval accepts only numbers"):
        evaluate(run, topics, names)
    scores = evaluate(run, topics, names[:-1])
    assert scores.flatten("R(rel=3)@2") == {"a": 0.0, "b": 0.0}
    assert scores.flatten("R(rel=3)@3") == {"a": 1.0, "b": 0.0}
    assert scores.flatten("nDCG(gains={3:1,2:1})@3")["a"] > scores.flatten("nDCG@3")["a"]  # gains apply to their own
    assert scores.flatten("nDCG@3") == evaluate(run, topics, ["nDCG@3"]).flatten("nDCG@3")


def test_a_measure_that_fails_on_a_run_is_named(verb: Verb, mini_data: Mini, tmp_path: Path) -> None:
    qid, docid = mini_data.qrels[0]
    (tmp_path / "run.txt").write_text(f"{qid} Q0 {docid} 1 1.0 t\n")  # nothing but the relevant passage
    line = ["evaluate", "--run", tmp_path / "run.txt", "--topics", mini_data.topics, "--measures", "Accuracy"]
    verb(*line).refused("Accuracy cannot be computed: .*division by zero")
