"""``xqg-repro``: one verb a stage, each a thin shell over a typed function.

Nothing heavy is imported before a verb is chosen, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xqg_repro import __version__
from xqg_repro.cli import comparison, files, filtering, fusion, reproduction, reranking, scoring, stages, training
from xqg_repro.cli.arguments import check_arguments
from xqg_repro.cli.options import messages_on_stderr
from xqg_repro.core.streams import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 after a check that failed, or 2 after an input error."""

    def action() -> int | None:
        args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        check_arguments(args)
        with messages_on_stderr():
            return args.run(args)

    return exit_status(action)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="xqg-repro",
        description="Cross-lingual dense retrieval with query-augmented passages, stage by stage.",
        epilog="In order: generate, encode, filter, sum, augment, index, search, read, evaluate. "
        "All in one go: python -m xqg_repro.2cr.xor_mini --all",
    )
    top.add_argument("--version", action="version", version=f"xqg_repro {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    for name, add in (
        ("generate", stages.add_generate),
        ("translate", stages.add_translate),
        ("encode", stages.add_encode),
        ("filter", filtering.add_filter),
        ("sum", stages.add_sum),
        ("augment", stages.add_augment),
        ("index", stages.add_index),
        ("search", stages.add_search),
        ("fuse", fusion.add_fuse),
        ("rerank", reranking.add_rerank),
        ("read", stages.add_read),
        ("evaluate", scoring.add_evaluate),
        ("chance", scoring.add_chance),
        ("compare", comparison.add_compare),
        ("claims", comparison.add_claims),
        ("ablate", scoring.add_ablate),
        ("topics", scoring.add_topics),
        ("submit", files.add_submit),
        ("runfile", files.add_runfile),
        ("regress", reproduction.add_regress),
        ("study", reproduction.add_study),
        ("train", training.add_train),
        ("doctor", reproduction.add_doctor),
    ):
        add(verbs, name)
    return top
