"""Comparisons of runs with each other and with published systems, and the paper's claims."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.cli.arguments import InputFile, InputPath, OutputFile
from xqg_repro.cli.options import add_collection_option, add_verb
from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    from xqg_repro.evaluation.compare import Comparison, System

logger = logging.getLogger(__name__)

FORMATS = ("text", "markdown", "latex", "csv", "json")


def add_compare(verbs: Any, name: str) -> None:
    """Declare the verb ``compare``."""
    verb = add_verb(verbs, name, _compare, "compare TREC runs, or answers, with tests of significance")
    verb.add_argument(
        "runs", type=InputPath, nargs="+", metavar="RUN", help="TREC runs; with --answers, files of answers"
    )
    verb.add_argument("--answers", action="store_true", help="the files hold answers, as xqg-repro read writes them")
    verb.add_argument("--baseline", type=InputPath, help="the run to compare the others with (default: the first)")
    verb.add_argument("--published", metavar="SYSTEM", help="compare with a published system instead, unpaired")
    verb.add_argument(
        "--topics",
        type=InputFile,
        help="ir-datasets id or path (default: from the runs' names, run.xor-mini.NAME.dev.txt)",
    )
    add_collection_option(verb)
    verb.add_argument(
        "--measures",
        nargs="+",
        help="of runs: R2kt, R5kt (the default), ir-measures or trec_eval names; "
        "of answers: EM, F1 (the default), EM_mlqa, F1_mlqa",
    )
    verb.add_argument(
        "--missing",
        choices=["zero", "skip"],
        default="zero",
        help="questions missing from a run score zero (default), or are skipped, if missing from every run",
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
        help="for multiple tests (default: %(default)s)",
    )
    verb.add_argument("--format", choices=FORMATS, default="text", help="output format (default: %(default)s)")
    verb.add_argument("--output", type=OutputFile, metavar="FILE", help="write to this file instead of printing")


def _compare(args: argparse.Namespace) -> None:
    from xqg_repro.evaluation.baselines import load_baselines
    from xqg_repro.evaluation.compare import System, compare
    from xqg_repro.evaluation.evaluate import evaluate, evaluate_answers
    from xqg_repro.evaluation.measures.parse import parse_measures
    from xqg_repro.evaluation.printing import measure_config
    from xqg_repro.evaluation.scores import Missing
    from xqg_repro.evaluation.significance import Correction, Test

    if args.published and (args.baseline or args.answers or len(args.runs) > 1):
        raise InputError("--published compares one run with a published system", hint="leave out the other runs")
    if args.published and args.format in ("csv", "json"):
        raise InputError(f"--published has no {args.format}", hint="choose from: text, markdown, latex")
    topics = args.topics or _topics_of(args.runs)
    if args.published and topics != (published_on := load_baselines().topics):
        raise InputError(
            f"published results are on {published_on}, not on {topics}", hint="use a run of these questions"
        )
    score = evaluate_answers if args.answers else evaluate
    args.measures = args.measures or (["EM", "F1"] if args.answers else ["R2kt", "R5kt"])
    parse_measures(args.measures)
    names = _names(args.runs)
    baseline = ""
    if not args.published:
        baseline = _named(args.baseline, names) if args.baseline else names[0]
    systems = []
    languages: tuple[str, ...] = ()
    for name, run in zip(names, args.runs, strict=True):
        scores = score(run, topics, args.measures, missing=Missing(args.missing), passages=args.collection)
        if scores.absent:
            logger.info(f"compare: {len(scores.absent)} questions are missing from {run} (--missing {scores.missing})")
        languages = languages or tuple(dict.fromkeys(scores.languages.values()))
        systems.append(System(name, name, scores.per_query, baseline if name != baseline else ""))
    if args.published:
        _write(_published(systems[0], args), args)
        return
    measures = {measure: measure_config(measure) for measure in args.measures}
    test, correction = Test(args.test), Correction(args.correction)
    comparison = compare(systems, languages, measures, test=test, correction=correction)
    _write(_formatted(comparison, args), args)


def _write(text: str, args: argparse.Namespace) -> None:
    if not args.output:
        print(text)
        return
    from xqg_repro.core.files import atomic_write

    with atomic_write(args.output) as file:
        file.write(f"{text}\n")
    logger.info(f"compare: wrote {args.output}")


def _formatted(comparison: Comparison, args: argparse.Namespace) -> str:
    if args.format == "text":
        return comparison.text(bold=not args.output and sys.stdout.isatty())
    return getattr(comparison, args.format)()


def _published(system: System, args: argparse.Namespace) -> str:
    from xqg_repro.evaluation.significance import Correction
    from xqg_repro.evaluation.unpaired import UNPAIRED, compare_published

    tables = compare_published(system.title, system.scores, args.published, Correction(args.correction))
    return "\n\n".join([*(getattr(table, args.format)() for table in tables), UNPAIRED])


def _topics_of(runs: list[str]) -> str:
    """The topics in the runs' names, which must be the same."""
    from xqg_repro.reproduction.paths import parse_run_name

    topics = {parse_run_name(run)[1] for run in runs}
    if len(topics) > 1 or "" in topics:
        raise InputError("cannot tell the topics from the runs' names", hint="use --topics, such as xor-mini/dev")
    return topics.pop()


def _names(runs: list[str]) -> list[str]:
    """Names for tables: the condition in the file's name, or else that name; the path where two are equal."""
    from xqg_repro.reproduction.paths import parse_run_name

    short = [parse_run_name(run)[0] or Path(run).name for run in runs]
    return [name if short.count(name) == 1 else run for name, run in zip(short, runs, strict=True)]


def _named(baseline: str, names: list[str]) -> str:
    """The name of the run that ``--baseline`` gives by name or by path."""
    return baseline if baseline in names else _names([baseline])[0]


def add_claims(verbs: Any, name: str) -> None:
    """Declare the verb ``claims``."""
    verb = add_verb(verbs, name, _claims, "check the paper's claims on a reproduction's runs")
    verb.add_argument(
        "--benchmark", type=InputFile, required=True, help="xor-mini, xor-tydi, or a YAML file of your own"
    )
    text = "folder of its TREC runs (default: %(default)s)"
    verb.add_argument("--runs", type=InputPath, default="out/runs", help=text)


def _claims(args: argparse.Namespace) -> None:
    from xqg_repro.reproduction.benchmark import load_benchmark
    from xqg_repro.reproduction.claims import claims_text, has_claims
    from xqg_repro.reproduction.report import report_of_runs

    benchmark = load_benchmark(args.benchmark)
    if not has_claims(benchmark):
        raise InputError(f"{benchmark.name} has no claims", hint="choose from: xor-mini, xor-tydi")
    if not Path(args.runs).is_dir():
        raise InputError(
            "no such folder of runs", path=args.runs, hint="run the two-click command first, or use --runs"
        )
    print(claims_text(report_of_runs(benchmark, args.runs).evidence))
