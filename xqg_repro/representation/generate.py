"""Stage ``generate``: a collection's passages → queries in several languages, as JSON lines (see ``queries.py``).

The paper's generator is an mT5 that reads ``Generate a Finnish question for this passage: {title} {text}``; its
queries are sampled among the 10 likeliest tokens at each step.

The sampling here draws no random numbers while it runs: the number that chooses a token is a hash of the seed, the
docid, the language, the query's rank and the step. So a query does not depend on what else is generated, on batches
or on shards, and 3 queries are the first 3 of 5 — but for rounding: the batch that a prompt is in changes the last
digits of the model's scores, and a draw that falls that near to the border between two tokens takes the other one.
In float32 that hardly ever happens; in bfloat16 it changes up to a quarter of the queries. The same command gives the
same bytes on the same machine, after a kill too.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import is_in_script
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage
from xqg_repro.models.generator import TOKENS_PER_BATCH, Passage, PassageQueries, QueryGenerator, resolved
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import GeneratorConfig
from xqg_repro.representation.queries import line_shards, read_queries

if TYPE_CHECKING:
    pass

SHARD_SIZE = 1_000


def generate(
    dataset_id: str,
    config: GeneratorConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Generate queries for every passage of an ir-datasets collection, or reuse the folder that holds them.

    The manifest counts ``passages``, ``queries``, and among these the ``empty`` ones, those that repeat another of
    their passage and language (``duplicate``), and those in another script than their language's (``wrong_script``).

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        config: the generator; the manifest names the precision that ``None`` came to.
        output: the stage folder, with shards ``NNNNN.jsonl`` in the collection's order.
        shard_size: passages a shard; a shard is what a killed run loses and what must fit into memory.
        tokens_per_batch: see :class:`QueryGenerator`.
        device: a torch device; ``None`` takes a GPU if there is one.
        force: generate again even if the folder matches.

    Raises:
        InputError: an unknown dataset, a collection without passages, a model folder without weights or of another
            kind of model, a prompt that cannot be filled in, a device that cannot be used, a full disk.
    """
    if shard_size < 1:
        raise InputError(f"a shard cannot hold {shard_size} passages")
    config = resolved(_as_before(config, Path(output)), device)
    dataset = collection.load(dataset_id, needs=["docs"])
    model = model_fingerprint(config.model)  # before the collection's files: without a model no need to download them
    wanted = Manifest(
        "generate",
        {"collection": dataset_id, "generator": dataclasses.asdict(config), "shard_size": shard_size},
        {"collection": collection.fingerprint(dataset, "docs"), "model": model},
    )

    def build(folder: Path) -> dict[str, int]:
        return _generate_shards(dataset, QueryGenerator(config, device, tokens_per_batch), folder, shard_size)

    return build_stage(output, wanted, build, force=force)


def _as_before(config: GeneratorConfig, output: Path) -> GeneratorConfig:
    """The settings with the precision of the queries that are there, where they leave it open.

    So what was generated on other hardware, which has or lacks bfloat16, is reused.
    """
    if config.precision is None and (output / MANIFEST).exists():
        made = Manifest.read(output).parameters.get("generator", {})
        return dataclasses.replace(config, precision=made.get("precision"))
    return config


def _generate_shards(dataset: Any, generator: QueryGenerator, folder: Path, shard_size: int) -> dict[str, int]:
    """Write the shards that are not there yet; return the counts over all of them."""
    config = generator.config
    counts = Counter(dict.fromkeys(("passages", "queries", "empty", "duplicate", "wrong_script"), 0))
    each = len(config.languages) * config.queries
    total = each * (dataset.docs_count() or 0)
    with progress_bar(total or None, "generate", "queries") as progress:
        start, tokens = time.monotonic(), 0

        def report(queries: int, new_tokens: int) -> None:
            nonlocal tokens
            tokens += new_tokens
            progress.set_postfix_str(f"{tokens / (time.monotonic() - start):,.0f} tokens/s", refresh=False)
            progress.update(queries)

        def make(passages: Sequence[Passage]) -> list[PassageQueries]:
            return generator.generate(passages, report)

        def read(path: Path) -> Iterable[PassageQueries]:
            return read_queries(path, config.languages, config.queries)

        for found, there in line_shards(dataset, folder, shard_size, make, read):
            counts.update(_counts(found))
            if there:
                progress.update(each * len(found))
    return dict(counts)


def _counts(passages: Iterable[PassageQueries]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for passage in passages:
        counts["passages"] += 1
        for language, queries in passage.queries.items():
            texts = [query for query in queries if query]
            counts["queries"] += len(queries)
            counts["empty"] += len(queries) - len(texts)
            counts["duplicate"] += len(texts) - len(set(texts))
            counts["wrong_script"] += sum(not is_in_script(text, language) for text in texts)
    return counts
