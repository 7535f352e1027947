"""What comes after scores: compare runs with each other and with published systems."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.cli.options import Log, add_verb
from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    from xqg_repro.evaluation.compare import Comparison, System

FORMATS = ("text", "markdown", "latex", "csv", "json")


def add_compare(verbs: Any, name: str) -> None:
    """Declare the verb ``compare``."""
    verb = add_verb(verbs, name, _compare, "compare TREC runs, or answers, with tests of significance")
    verb.add_argument("runs", nargs="+", metavar="RUN", help="TREC runs; with --answers, files of answers")
    verb.add_argument("--answers", action="store_true", help="the files hold answers, as xqg-repro read writes them")
    verb.add_argument("--baseline", help="the run that the others are compared with (default: the first)")
    verb.add_argument("--published", metavar="SYSTEM", help="compare with a published system instead, unpaired")
    verb.add_argument("--topics", help="ir-datasets id (default: as the runs' names tell, run.xor-mini.NAME.dev.txt)")
    verb.add_argument(
        "--measures",
        nargs="+",
        help="of runs: R2kt, R5kt (the default) or ir-measures names; of answers: EM, F1 (default), EM_mlqa, F1_mlqa",
    )
    verb.add_argument(
        "--missing",
        choices=["zero", "skip"],
        default="zero",
        help="questions that a run does not hold score zero (default), or are skipped, which all runs must agree on",
    )
    verb.add_argument(
        "--test",
        choices=["randomisation", "t", "mcnemar"],
        default="randomisation",
        help="paired test (default: %(default)s)",
    )
    verb.add_argument(
        "--correction",
        choices=["holm", "bonferroni", "none"],
        default="holm",
        help="for the number of tests (default: %(default)s)",
    )
    verb.add_argument("--format", choices=FORMATS, default="text", help="of the output (default: %(default)s)")
    verb.add_argument("--output", metavar="FILE", help="write there instead of printing")


def _compare(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.evaluation.baselines import PUBLISHED_ON
    from xqg_repro.evaluation.compare import compare
    from xqg_repro.evaluation.evaluate import Missing, evaluate, evaluate_answers, parse_measures
    from xqg_repro.evaluation.printing import printing
    from xqg_repro.evaluation.significance import Correction, Test

    if asked.published and (asked.baseline or asked.answers or len(asked.runs) > 1):
        raise InputError("--published compares one run with a published system", mend="leave out the other runs")
    if asked.published and asked.format in ("csv", "json"):
        raise InputError(f"--published has no {asked.format}", mend="choose from: text, markdown, latex")
    topics = asked.topics or _topics_of(asked.runs)
    if asked.published and topics != PUBLISHED_ON:
        raise InputError(
            f"published results are on {PUBLISHED_ON}, not on {topics}", mend="take a run of these questions"
        )
    score = evaluate_answers if asked.answers else evaluate
    asked.measures = asked.measures or (["EM", "F1"] if asked.answers else ["R2kt", "R5kt"])
    parse_measures(asked.measures)
    names = _names(asked.runs)
    baseline = "" if asked.published else _named(asked.baseline, names) if asked.baseline else names[0]
    systems, languages = [], ()
    for name, run in zip(names, asked.runs, strict=True):
        scores = score(run, topics, asked.measures, missing=Missing(asked.missing))
        if scores.absent:
            log(f"compare: {len(scores.absent)} questions are not in {run} (--missing {scores.missing})")
        languages = languages or tuple(dict.fromkeys(scores.languages.values()))
        systems.append(_system(name, scores, baseline))
    if asked.published:
        _write(_published(systems[0], asked), asked, log)
        return
    compared = compare(
        systems,
        languages,
        {measure: printing(measure) for measure in asked.measures},
        test=Test(asked.test),
        correction=Correction(asked.correction),
    )
    _write(_formatted(compared, asked), asked, log)


def _write(text: str, asked: argparse.Namespace, log: Log) -> None:
    if not asked.output:
        print(text)
        return
    from xqg_repro.core.files import atomic_write

    with atomic_write(asked.output) as file:
        file.write(f"{text}\n")
    log(f"compare: wrote {asked.output}")


def _formatted(compared: Comparison, asked: argparse.Namespace) -> str:
    if asked.format == "text":
        return compared.text(bold=not asked.output and sys.stdout.isatty())
    return getattr(compared, asked.format)()


def _published(system: System, asked: argparse.Namespace) -> str:
    from xqg_repro.evaluation.compare import UNPAIRED, against_published
    from xqg_repro.evaluation.significance import Correction

    tables = against_published(system, asked.published, asked.measures, Correction(asked.correction))
    return "\n\n".join([*(getattr(table, asked.format)() for table in tables), UNPAIRED])


def _system(name: str, scores: Any, baseline: str) -> System:
    from xqg_repro.evaluation.compare import System

    per_query = {measure: scores.by_language(measure) for measure in scores.per_query}
    return System(name, name, per_query, baseline if name != baseline else "")


def _topics_of(runs: list[str]) -> str:
    """The topics that the runs' names tell, which must be the same."""
    from xqg_repro.reproduction.tasks import named_in

    told = {named_in(run)[1] for run in runs}
    if len(told) > 1 or "" in told:
        raise InputError("the runs' names do not tell one topic set", mend="name it: --topics xor-mini/dev")
    return told.pop()


def _names(runs: list[str]) -> list[str]:
    """What tables call the runs: the condition in the file's name, else that name; the path where two are alike."""
    from xqg_repro.reproduction.tasks import named_in

    short = [named_in(run)[0] or Path(run).name for run in runs]
    return [name if short.count(name) == 1 else run for name, run in zip(short, runs, strict=True)]


def _named(baseline: str, names: list[str]) -> str:
    """The name of the run that ``--baseline`` means: the name itself, or that of its path."""
    return baseline if baseline in names else _names([baseline])[0]


def add_claims(verbs: Any, name: str) -> None:
    """Declare the verb ``claims``."""
    verb = add_verb(verbs, name, _claims, "check the paper's claims on a reproduction's runs")
    verb.add_argument("--benchmark", required=True, help="xor-mini, xor-tydi, or a YAML file of your own")
    verb.add_argument("--runs", default="out/runs", help="folder of its TREC runs (default: %(default)s)")


def _claims(asked: argparse.Namespace, log: Log) -> None:
    from xqg_repro.reproduction.benchmark import load_benchmark
    from xqg_repro.reproduction.claims import are_about, claims_text
    from xqg_repro.reproduction.report import report_of_runs

    benchmark = load_benchmark(asked.benchmark)
    if not are_about(benchmark):
        raise InputError(f"no claim is about {benchmark.name}", mend="choose from: xor-mini, xor-tydi")
    if not Path(asked.runs).is_dir():
        raise InputError("there is no such folder of runs", path=asked.runs, mend="reproduce first, or name another")
    print(claims_text(report_of_runs(benchmark, asked.runs).evidence))
