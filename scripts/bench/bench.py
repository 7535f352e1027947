"""Measure speed, quality, memory and disk space against other ways: python scripts/bench/bench.py [--quick].

Prints the page and writes it to docs/benchmarks.md. This takes twenty minutes, 4 GB of temporary space (in ``TMPDIR``)
and 4 GB of memory, on a machine with nothing else to do. Real texts and their encoder need the folder ``shared`` beside
the checkout. int8's quality is measured on the queries of ``make reproduce`` if ``out`` has them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import augmenting
import encoding
import generation
import quality
import real_texts
from common import Section, describe_machine, target_table, write_page

from xqg_repro.core.streams import exit_status
from xqg_repro.core.tables import Table
from xqg_repro.models.settings import load_preset

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: how often each way is timed.
        encoded: number of passages whose queries are encoded.
        questions, paragraphs: number of real texts that are encoded.
        shard: number of passages in the augmented shard.
        dimension: dimension of the shard's vectors.
        generated, generated_more, generated_reference: number of passages to generate queries for; see
            :func:`generation.measure`.
        generated_rounds: how often each way to generate is timed; these rates vary more than the others.
        query_length: maximum length of a generated query, in tokens; ``None`` for the generator's own.
        conditions: how many conditions are scored in float32 and int8; ``None`` for all.
    """

    rounds: int = 3
    encoded: int = 8
    questions: int = 200
    paragraphs: int = 100
    shard: int = 20_000
    dimension: int = 768
    generated: int = 120
    generated_more: int = 256
    generated_reference: int = 8
    generated_rounds: int = 7
    query_length: int | None = None
    conditions: int | None = None


QUICK = Sizes(
    rounds=1,
    encoded=2,
    questions=7,
    paragraphs=3,
    shard=500,
    dimension=64,
    generated=2,
    generated_more=3,
    generated_reference=1,
    generated_rounds=1,
    query_length=8,
    conditions=1,
)


def main() -> int:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: docs/benchmarks.md)")
    parser.add_argument("--encoder", help="a real encoder's folder or id (default: random weights of mBERT's size)")
    parser.add_argument("--preset", default="mbert", help="settings of --encoder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test the script in seconds")
    args = parser.parse_args()
    write_page(args.output, measure(QUICK if args.quick else Sizes(), args.encoder, args.preset, args.quick))
    return 0


def measure(sizes: Sizes, encoder: str | None, preset: str, quick: bool) -> list[str]:
    """Measure everything and return the parts of the page."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    machine = describe_machine()  # first, as it has the load of the minute before
    with tempfile.TemporaryDirectory(prefix="xqg-bench-") as name:
        folder = Path(name)
        generator = generation.settings(sizes.query_length)
        _log("queries")
        passages = generation.queries(sizes.encoded, generator)
        if encoder:
            config, title = dataclasses.replace(load_preset(preset), model=encoder), f"a trained one, `{preset}`"
        else:
            config = encoding.random_encoder(folder / "encoder", **encoding.TINY if quick else {})
            size = "a tiny BERT" if quick else "a BERT of mBERT's size (12 layers of 768 dimensions, CLS)"
            title = f"{size} with random weights and the tokenizer of `package:xdr-mini`"
        _log("encoding")
        sections = [encoding.measure(config, title, passages, sizes.rounds)]
        _log("real texts")
        sections.append(real_texts.section(sizes.questions, sizes.paragraphs, sizes.rounds, quick))
        _log("quality")
        if not quick:
            passages = quality.reproduced_queries() or generation.queries(sys.maxsize, generator)
        sections.append(quality.measure(passages, sizes.conditions))
        _log("augmenting")
        (folder / "shard").mkdir()
        sections += augmenting.measure(folder / "shard", sizes.shard, sizes.dimension, sizes.rounds)
        _log("generation")
        generated = (sizes.generated, sizes.generated_more, sizes.generated_reference)
        sections.append(generation.measure(generator, *generated, sizes.generated_rounds))
    return _page(machine, sections, quick)


def _page(machine: Table, sections: list[Section], quick: bool) -> list[str]:
    warning = "**Made with `--quick`, to test the script: these numbers mean nothing.**\n\n" if quick else ""
    parts = [
        "# Benchmarks",
        "Written by `make bench`. All ratios come from one run on one machine, in which the methods took turns. Other "
        "machines give other\nratios.",
        f"{warning}{machine.markdown()}",
        "## Targets",
        target_table([target for section in sections for target in section.targets]).markdown(),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.text]
    return parts


def _log(stage: str) -> None:
    print(f"bench: {stage}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))
