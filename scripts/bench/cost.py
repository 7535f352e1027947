"""Compute what all of Wikipedia costs from measured rates: python scripts/bench/cost.py --help.

Prints a table in Markdown: hours of one device and of several, and gigabytes on disk. A rate is what a stage's progress
line shows on one device.
"""

from __future__ import annotations

import argparse
import sys

from disk import DIMENSION, PASSAGES, RANKS, Formats, mean_id_length

from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table

QUERY_BYTES = 111
"""Of a generated query on disk, with its share of the line: 70 GB as published, divided by 630 million."""


def main() -> int:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generate", type=float, required=True, metavar="RATE", help="queries per second")
    parser.add_argument("--sum", type=float, required=True, metavar="RATE", help="queries per second")
    parser.add_argument("--encode", type=float, required=True, metavar="RATE", help="passages per second")
    parser.add_argument("--devices", type=int, default=8, help="workers that share the work (default: %(default)s)")
    parser.add_argument("--passages", type=int, default=PASSAGES, help="default: %(default)s")
    parser.add_argument("--languages", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--queries", type=int, default=RANKS, help="per language (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=DIMENSION, help="of a vector (default: %(default)s)")
    parser.add_argument("--query-bytes", type=float, default=QUERY_BYTES, help="default: %(default)s")
    print(cost(parser.parse_args()).markdown())
    return 0


def cost(args: argparse.Namespace) -> Table:
    """Hours and gigabytes of each stage."""
    sizes = Formats(args.dimension, mean_id_length(args.passages))
    queries = args.languages * args.queries
    stages = [  # verb, items per passage, rate, and bytes per passage
        ("`generate`", queries, args.generate, queries * args.query_bytes),
        ("`sum`, every rank, int8", queries, args.sum, sizes.sums("int8", args.queries)),
        ("`encode`, float16", 1, args.encode, sizes.embeddings("float16")),
    ]
    rows = []
    for verb, per_passage, rate, size in stages:
        items = args.passages * per_passage
        hours = items / rate / 3600
        what = f"{items:,} {'queries' if per_passage > 1 else 'passages'}"
        rows.append((verb, what, f"{rate:,g}", f"{hours:,.1f}", f"{hours / args.devices:,.1f}", _gigabytes(size, args)))
    rows.append(("`augment`, float16", "", "", "", "", _gigabytes(sizes.embeddings("float16"), args)))
    header = ("stage", "items", "per second", "hours of one device", f"of {args.devices} devices", "GB on disk")
    return Table(header, rows)


def _gigabytes(per_passage: float, args: argparse.Namespace) -> str:
    return f"{per_passage * args.passages / 1e9:,.1f}"


if __name__ == "__main__":
    sys.exit(exit_status(main))
