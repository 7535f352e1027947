"""Scores of runs and answers, ablations, and topics for other tools."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from xqg_repro.cli.arguments import InputFile, InputPath, OutputFile, summary_stream
from xqg_repro.cli.fusion import add_ablate_fusion
from xqg_repro.cli.options import (
    COLLECTION,
    GENERATED,
    TOPICS,
    add_augmentation_options,
    add_collection_option,
    add_stage_options,
    add_verb,
    stage_settings,
)

if TYPE_CHECKING:
    from xqg_repro.evaluation.scores import Scores

logger = logging.getLogger(__name__)


def add_evaluate(verbs: Any, name: str) -> None:
    """Declare the verb ``evaluate``."""
    verb = add_verb(verbs, name, _evaluate, "score a TREC run, or answers, by language and on average")
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=InputPath, dest="run_file", help="TREC run")
    text = 'answers as JSON: {"qid": "answer", …}'
    what.add_argument("--answers", type=InputPath, metavar="FILE", help=text)
    verb.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
    add_collection_option(verb)
    verb.add_argument(
        "--measures",
        nargs="+",
        help="of a run: R2kt, R5kt (the default), ir-measures or trec_eval names; "
        "of answers: EM, F1 (the default), EM_mlqa, F1_mlqa",
    )
    verb.add_argument(
        "--missing",
        choices=["zero", "skip"],
        default="zero",
        help="missing questions score zero (default), or are skipped as the official script does",
    )
    text = "also write all scores, per question too, to this JSON file; - for standard output"
    verb.add_argument("--output", type=OutputFile, help=text)


def _evaluate(args: argparse.Namespace) -> None:
    from xqg_repro.evaluation.evaluate import evaluate, evaluate_answers
    from xqg_repro.evaluation.scores import Missing

    how = {"missing": Missing(args.missing), "passages": args.collection}
    if args.answers:
        scores = evaluate_answers(args.answers, args.topics, args.measures or ["EM", "F1"], **how)
    else:
        scores = evaluate(args.run_file, args.topics, args.measures or ["R2kt", "R5kt"], **how)
    if scores.absent:
        what = "score zero" if scores.missing is Missing.ZERO else "are skipped, as in the official script"
        logger.info(f"evaluate: {len(scores.absent)} missing questions {what} (--missing {scores.missing})")
    _output_scores(scores, args.output)


def _output_scores(scores: Scores, output: str | None) -> None:
    """Write scores to a file, if there is one, and print the means."""
    from xqg_repro.core.tables import Table
    from xqg_repro.evaluation.printing import MeasureConfig, format_score

    if output:
        scores.write(output)
    means = {measure: scores.table(measure) for measure in scores.per_query}
    columns = list(next(iter(means.values())))
    four_digits = MeasureConfig(digits=4)
    rows = []
    for measure, by_column in means.items():
        rows.append([measure, *(format_score(by_column[c], four_digits) for c in columns), str(scores.count(measure))])
    print(Table(["measure", *columns, "questions"], rows).text(), file=summary_stream(output))


def add_chance(verbs: Any, name: str) -> None:
    """Declare the verb ``chance``."""
    verb = add_verb(verbs, name, _chance, "score random rankings: the level that a run has to beat")
    verb.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
    add_collection_option(verb)
    verb.add_argument("--measures", nargs="+", default=["R2kt", "R5kt"], help="R2kt, R5kt or ir-measures names")
    text = "how many rankings to average (default: %(default)s)"
    verb.add_argument("--rankings", type=int, default=20, metavar="N", help=text)
    verb.add_argument("--depth", "--hits", type=int, default=100, help="passages per question (default: %(default)s)")
    verb.add_argument("--seed", type=int, default=0, help="seed of the rankings (default: %(default)s)")
    text = "also write all scores, per question too, to this JSON file; - for standard output"
    verb.add_argument("--output", type=OutputFile, help=text)


def _chance(args: argparse.Namespace) -> None:
    from xqg_repro.evaluation.chance import score_chance

    how = {"passages": args.collection, "rankings": args.rankings, "depth": args.depth, "seed": args.seed}
    _output_scores(score_chance(args.topics, args.measures, **how), args.output)


def add_ablate(verbs: Any, name: str) -> None:
    """Declare the verb ``ablate``."""
    text = "score several values of α, numbers of queries in vectors or in words, or weights of fused runs"
    verb = verbs.add_parser(name, help=text, description=text)
    kinds = verb.add_subparsers(metavar="WHAT", required=True)
    for kind, text in (("alpha", "vary α"), ("queries", "vary the number of queries per language")):
        what = add_verb(kinds, kind, _ablate, text)
        what.set_defaults(vary=kind)
        what.add_argument("--embeddings", type=InputPath, required=True, help="folder that encode wrote")
        what.add_argument("--sums", type=InputPath, required=True, help="folder that sum wrote")
        what.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
        add_collection_option(what)
        if kind == "alpha":
            what.add_argument("--alpha", type=float, nargs="+", default=[], help="values of α (default: a grid)")
            what.add_argument("--queries", type=int, default=0, help="the first N queries per language (default: all)")
        else:
            text = "numbers of queries per language (default: 0 and every stored number)"
            what.add_argument("--queries", type=int, nargs="+", default=[], help=text)
            what.add_argument("--alpha", type=float, default=0.01, help="α (default: %(default)s, the paper's)")
        what.add_argument("--measures", nargs="+", default=["R2kt", "R5kt"], help="R2kt, R5kt or ir-measures names")
        text = "passages per question (default: %(default)s)"
        what.add_argument("--depth", "--hits", type=int, default=100, help=text)
        add_augmentation_options(what)
        add_stage_options(what, "stage folder to write: scores.json, table.md, plot.svg")
    _add_ablate_expansion(kinds, "expansion")
    add_ablate_fusion(kinds, "fusion")


def _ablate(args: argparse.Namespace) -> None:
    from xqg_repro.representation.settings import Aggregate, Augmentation
    from xqg_repro.reproduction.ablate import Vary, ablate

    vary = Vary(args.vary)
    how = Augmentation(
        alpha=Augmentation.alpha if vary is Vary.ALPHA else args.alpha,
        aggregate=Aggregate(args.aggregate),
        languages=tuple(args.languages),
        queries=args.queries if vary is Vary.ALPHA else 0,
        normalize=args.normalize,
    )
    ablation = ablate(
        vary,
        args.embeddings,
        args.sums,
        args.topics,
        args.output,
        values=getattr(args, vary),
        how=how,
        measures=args.measures,
        depth=args.depth,
        allow_missing=args.allow_missing,
        passages=args.collection,
        **stage_settings(args),
    )
    print(ablation.text())


def _add_ablate_expansion(kinds: Any, name: str) -> None:
    what = add_verb(kinds, name, _ablate_expansion, "vary the number of queries that are appended to passages for BM25")
    what.add_argument("--collection", required=True, help=COLLECTION)
    what.add_argument("--generated", type=InputPath, required=True, help=GENERATED)
    what.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
    text = "numbers of queries per language (default: 0 1 2 3 4 5)"
    what.add_argument("--queries", type=int, nargs="+", default=[], metavar="N", help=text)
    what.add_argument("--measures", nargs="+", default=["R2kt", "R5kt"], help="R2kt, R5kt or ir-measures names")
    what.add_argument("--depth", "--hits", type=int, default=100, help="passages per question (default: %(default)s)")
    add_stage_options(what, "stage folder to write: scores.json, table.md, plot.svg", device=False)


def _ablate_expansion(args: argparse.Namespace) -> None:
    from xqg_repro.reproduction.ablate_expansion import ablate_expansion

    settings = {"values": args.queries, "measures": args.measures, "depth": args.depth, **stage_settings(args)}
    print(ablate_expansion(args.collection, args.generated, args.topics, args.output, **settings).text())


def add_topics(verbs: Any, name: str) -> None:
    """Declare the verb ``topics``."""
    verb = add_verb(verbs, name, _topics, "write a topic set as a TSV file, for stock Pyserini and others")
    verb.add_argument("--topics", type=InputFile, required=True, help=TOPICS)
    text = "TSV file to write: qid and text; - for standard output"
    verb.add_argument("--output", type=OutputFile, required=True, help=text)


def _topics(args: argparse.Namespace) -> None:
    from xqg_repro.collection.topics import read_topics, write_topics

    questions, _ = read_topics(args.topics)
    count = write_topics(questions, args.output)
    logger.info(f"topics: wrote {args.output} (questions {count:,})")
