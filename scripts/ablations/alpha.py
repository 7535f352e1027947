"""Rewrite docs/ablations/ from the output of ``make reproduce`` in ``out/``: ``make ablations``."""

from __future__ import annotations

import sys

from xqg_repro import cli
from xqg_repro.core.streams import exit_status
from xqg_repro.reproduction.benchmark import load_benchmark


def main() -> int:
    """Vary α on held-out and dev questions, and the number of queries on dev, for each augmented condition."""
    for condition in load_benchmark("xor-mini").conditions:
        if condition.augmentation is None or condition.augmentation.queries:
            continue  # with fewer queries than the benchmark has, a condition is a point of another's curve
        inputs = (
            *("--embeddings", f"out/embeddings/xor-mini.{condition.encoder}"),
            *("--sums", f"out/sums/xor-mini.{condition.encoder}.{condition.generator}"),
        )
        for vary, topics, options in (
            ("alpha", "held-out", ()),
            ("alpha", "dev", ()),
            ("queries", "dev", ("--alpha", str(condition.augmentation.alpha))),
        ):
            output = f"docs/ablations/{condition.encoder}.{vary}.{topics}"
            status = cli.main(["ablate", vary, *inputs, "--topics", f"xor-mini/{topics}", *options, "--output", output])
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
