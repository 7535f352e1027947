"""Measure speed, memory and disk against the reference's ways: python scripts/bench/bench.py [--quick].

Prints the page and writes it to docs/benchmarks.md. It takes some minutes, 4 GB of temporary space (in ``TMPDIR``)
and 4 GB of memory, and wants a machine with nothing else to do.
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
from common import Section, machine
from xqg_repro.reproduction.estimates import random_encoder

from xqg_repro.core.errors import exit_status
from xqg_repro.core.files import atomic_write
from xqg_repro.core.tables import Table
from xqg_repro.models.settings import load_preset

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: how often each way is timed.
        encoded: passages whose queries are encoded.
        shard: passages of the augmented shard.
        dimension: of its vectors.
        generated, generated_reference: passages that queries are generated for, in our way and in the reference's.
        query_length: tokens of a generated query at most.
    """

    rounds: int = 3
    encoded: int = 16
    shard: int = 20_000
    dimension: int = 768
    generated: int = 96
    generated_reference: int = 8
    query_length: int = 64


QUICK = Sizes(rounds=1, encoded=2, shard=500, dimension=64, generated=2, generated_reference=1, query_length=8)


def main() -> int:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (docs/benchmarks.md)")
    parser.add_argument("--encoder", help="a real encoder's folder or id, in place of random weights of mBERT's size")
    parser.add_argument("--preset", default="mbert", help="its settings: pooling, prefixes, … (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, in seconds, to try the script out")
    arguments = parser.parse_args()
    page = measure(QUICK if arguments.quick else Sizes(), arguments.encoder, arguments.preset, arguments.quick)
    print(page)
    with atomic_write(arguments.output) as file:
        file.write(page)
    return 0


def measure(sizes: Sizes, encoder: str | None, preset: str, tiny: bool) -> str:
    """Measure everything and return the page."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    here = machine()
    with tempfile.TemporaryDirectory(prefix="xqg-bench-") as name:
        folder = Path(name)
        generator = generation.settings(sizes.query_length)
        _log("queries")
        passages = generation.queries(sizes.encoded, generator)
        if encoder:
            config, title = dataclasses.replace(load_preset(preset), model=encoder), f"a trained one, `{preset}`"
        else:
            config = random_encoder(folder / "encoder", **encoding.TINY if tiny else {})
            title = "a tiny BERT" if tiny else "a BERT of mBERT's size (12 layers of 768 dimensions, CLS)"
            title += " with random weights and the tokenizer of `package:xdr-mini`"
        _log("encoding")
        encoded = encoding.measure(config, title, passages, sizes.rounds)
        _log("generation")
        generated = generation.measure(generator, sizes.generated, sizes.generated_reference, sizes.rounds)
        _log("augmenting")
        (folder / "shard").mkdir()
        augmented = augmenting.measure(folder / "shard", sizes.shard, sizes.dimension, sizes.rounds)
    return _page(here, [encoded, *augmented, generated], tiny)


def _page(here: Table, sections: list[Section], quick: bool) -> str:
    targets = [
        (target.what, target.wanted, target.measured, "met" if target.met else "**not met**")
        for section in sections
        for target in section.targets
    ]
    warning = "**Made by `--quick`, to try the script out: these numbers mean nothing.**\n\n" if quick else ""
    parts = [
        "# Benchmarks",
        "Written by `make bench`. Ratios are of ways that took turns in one run on one machine; others give others.",
        f"{warning}{here.markdown()}",
        "## Targets",
        Table(("what", "wanted", "measured", "verdict"), targets).markdown(),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.text.rstrip()]
    return "\n\n".join(parts) + "\n"


def _log(stage: str) -> None:
    print(f"bench: {stage}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))
