"""Training data from retrieved passages: train mine and label."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from xqg_repro.cli.arguments import InputFile, InputPath, OutputFolder, summary_stream
from xqg_repro.cli.options import add_stage_options, add_verb, stage_settings

if TYPE_CHECKING:
    from xqg_repro.train.judge_settings import JudgeConfig

_OUTPUT = "training file (.jsonl) to write; - for standard output"


def add_mine(kinds: Any) -> None:
    """Declare ``train mine``."""
    text = (
        "mine hard negatives for training questions, with an encoder or BM25. BM25 only matches words: across "
        "languages it finds passages with the same names and numbers, which is often none"
    )
    verb = kinds.add_parser("mine", help="mine hard negatives for training questions", description=text)
    verb.set_defaults(run=_mine)
    _add_questions(verb, "with a .jsonl file: the passages, by ir-datasets id or path", depth=100)
    verb.add_argument("--negatives", type=int, default=30, help="negatives to keep per question (default: %(default)s)")
    verb.add_argument(
        "--sample", type=int, metavar="SEED", help="sample them at random with this seed (default: take the first)"
    )
    _add_gold(verb, 1.0, "the others are left out")
    add_stage_options(verb, _OUTPUT, file=True)


def _mine(args: argparse.Namespace) -> None:
    from xqg_repro.train.mine import mine

    mined = mine(
        args.data,
        args.output,
        negatives=args.negatives,
        sample=args.sample,
        **_question_settings(args),
        **stage_settings(args),
    )
    print(mined.table().text(), file=summary_stream(args.output))


def add_label(kinds: Any) -> None:
    """Declare ``train label``."""
    from xqg_repro.train.judge_settings import JudgeKind

    text = "let a judge decide which retrieved passages are positives and negatives of training questions"
    verb = add_verb(kinds, "label", _label, text)
    text = "the passages, by ir-datasets id or path, with a .jsonl file or questions that are not of these passages"
    _add_questions(verb, text, depth=20)
    text = (
        "what makes a passage positive: an answer in it, the reader's or the generator's answer from it, or the "
        "relevance judgements"
    )
    verb.add_argument("--judge", choices=[kind.value for kind in JudgeKind], required=True, help=text)
    text = "of the judge reader: a preset of resources/readers.yaml, or a folder that train reader wrote"
    verb.add_argument("--reader", type=InputPath, metavar="MODEL", help=text)
    text = "of the judge generator: a folder that train answerer wrote"
    verb.add_argument("--answerer", type=InputPath, metavar="MODEL", help=text)
    text = "positives to keep per question, the highest-ranked; gold ones are all kept (default: all)"
    verb.add_argument("--positives", type=int, metavar="N", help=text)
    verb.add_argument("--negatives", type=int, default=30, help="negatives to keep per question (default: %(default)s)")
    _add_gold(verb, 0.0, "the judge labels the others")
    add_stage_options(verb, _OUTPUT, file=True)


def _label(args: argparse.Namespace) -> None:
    from xqg_repro.train.label import label

    labelled = label(
        args.data,
        _judge(args),
        args.output,
        positives=args.positives,
        negatives=args.negatives,
        **_question_settings(args),
        **stage_settings(args),
    )
    print(labelled.table().text(), file=summary_stream(args.output))


def _judge(args: argparse.Namespace) -> JudgeConfig:
    """The judge that the options describe; a model's settings are those that it was trained with."""
    from xqg_repro.core.settings import read_yaml, resource
    from xqg_repro.models.settings import load_reader
    from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind
    from xqg_repro.train.recipe import AnswererRecipe, ReaderRecipe, trained_recipe

    kind, reader, answerer = JudgeKind(args.judge), None, None
    if args.reader and args.reader in read_yaml(resource("readers.yaml")):
        reader = load_reader(args.reader)
    elif args.reader:
        reader = trained_recipe(args.reader, ReaderRecipe).reader(args.reader)
    if args.answerer:
        answerer = trained_recipe(args.answerer, AnswererRecipe).answerer(args.answerer)
    return JudgeConfig(kind, reader, answerer)


def _add_questions(verb: argparse.ArgumentParser, passages: str, depth: int) -> None:
    """Add the options of questions and of a retriever; :func:`_question_settings` reads them."""
    data = "ir-datasets id with judgements, such as xor-mini/train, or a .jsonl file in Tevatron's format"
    verb.add_argument("--data", type=InputFile, required=True, help=data)
    verb.add_argument("--collection", type=InputFile, metavar="ID", default="", help=passages)
    source = verb.add_mutually_exclusive_group(required=True)
    text = "retrieve with the encoder of this index folder"
    source.add_argument("--index", type=InputPath, metavar="FOLDER", help=text)
    source.add_argument("--bm25", type=OutputFolder, metavar="FOLDER", help="with this BM25 index, built if missing")
    source.add_argument("--run", type=InputPath, metavar="FILE", dest="run_file", help="take this run's passages")
    text = "passages to retrieve per question (default: %(default)s)"
    verb.add_argument("--depth", type=int, default=depth, help=text)


def _add_gold(verb: argparse.ArgumentParser, share: float, others: str) -> None:
    """Add the options that say which questions keep their relevant passages."""
    text = f"share of each language's questions that keep their relevant passages; {others} (default: %(default)s)"
    verb.add_argument("--labelled", type=float, metavar="SHARE", default=share, help=text)
    text = "languages in which no question keeps them"
    verb.add_argument("--hide-languages", nargs="+", metavar="LANG", default=[], help=text)


def _question_settings(args: argparse.Namespace) -> dict[str, Any]:
    from xqg_repro.train.gold import Gold

    return {
        "index": args.index,
        "bm25": args.bm25,
        "run": args.run_file,
        "passages": args.collection,
        "depth": args.depth,
        "gold": Gold(args.labelled, tuple(args.hide_languages)),
    }
