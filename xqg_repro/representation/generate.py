"""Stage ``generate``: a collection's passages → queries in several languages, as JSON lines (see ``queries.py``).

The paper's generator is an mT5 with the prompt ``Generate a Finnish question for this passage: {title} {text}``. At
each step it samples from the 10 most likely tokens.

In torch, the number that picks a token is a hash of the seed, the docid, the language, the query's rank and the step.
So a query does not depend on the other passages, on batches or on shards, and 3 queries are the first 3 of 5 — except
for rounding. The batch changes the last digits of the model's scores, which can flip a draw that falls very close to
the border between two tokens. In float32 that almost never happens; in bfloat16 it changes up to a quarter of the
queries.

CTranslate2, which an open backend takes on a CPU, is faster and samples by its own random numbers (see
:mod:`xqg_repro.models.ct2_generator`). With either, the same command writes the same bytes on the same machine, even
after an interruption.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_repro import collection
from xqg_repro.collection.documents import check_documents
from xqg_repro.core.languages import is_in_script
from xqg_repro.core.shards import check_shard_size
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage
from xqg_repro.models.backends import open_generator, resolve_generator
from xqg_repro.models.generator import TOKENS_PER_BATCH, Document, PassageQueries, QueryGenerator, check_generator
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import Backend, GeneratorConfig
from xqg_repro.representation.lines import write_lines
from xqg_repro.representation.queries import read_queries

if TYPE_CHECKING:
    from tqdm import tqdm

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
    """Generate queries for every passage of an ir-datasets collection, or reuse an existing folder that matches.

    The manifest counts ``passages`` and ``queries``, and among the queries the ``empty`` ones, those that repeat
    another query of the same passage and language (``duplicate``), and those in a script that their language does not
    use (``wrong_script``).

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        config: the generator; the manifest records the precision that ``None`` resolved to.
        output: the stage folder, with shards ``NNNNN.jsonl`` in the collection's order.
        tokens_per_batch: see :class:`QueryGenerator`, which also lists errors.
        shard_size, device, force: as for :func:`~xqg_repro.representation.encode.encode`.
    """
    check_shard_size(shard_size)
    check_generator(config)
    config = resolve_generator(_keep_backend(config, Path(output)), device)
    dataset = collection.load(dataset_id, needs=["docs"])
    model = model_fingerprint(config.model)  # before the collection, which may be a large download
    wanted = Manifest(
        "generate",
        {"collection": dataset_id, "generator": dataclasses.asdict(config), "shard_size": shard_size},
        {"collection": collection.fingerprint(dataset, "docs"), "model": model},
    )

    def build(folder: Path) -> dict[str, int]:
        check_documents(dataset)
        return write_lines(
            dataset,
            folder,
            shard_size,
            name="generate",
            unit="queries",
            per_passage=len(config.languages) * config.queries,
            write=_load(open_generator(config, device, tokens_per_batch)),
            read=lambda path: read_queries(path, config.languages, config.queries),
            count=_count,
        )

    return build_stage(output, wanted, build, force=force)


def _keep_backend(config: GeneratorConfig, output: Path) -> GeneratorConfig:
    """The settings with the backend and the precision of the existing queries, where they do not name them.

    So queries generated on a GPU, or on hardware with bfloat16, are reused elsewhere, and vice versa.
    """
    if (config.backend and config.precision) or not (output / MANIFEST).exists():
        return config
    generator = Manifest.read(output).parameters.get("generator", {})
    kept = {"backend": generator.get("backend") or Backend.TORCH, "precision": generator.get("precision")}
    return dataclasses.replace(config, **{name: getattr(config, name) or value for name, value in kept.items()})


def _load(generator: QueryGenerator) -> Callable[[Sequence[Document], tqdm], list[PassageQueries]]:
    """A function that generates the queries of some passages and shows the rate in tokens per second."""
    start, tokens = time.monotonic(), 0

    def write(passages: Sequence[Document], progress: tqdm) -> list[PassageQueries]:
        def report(queries: int, new_tokens: int) -> None:
            nonlocal tokens
            tokens += new_tokens
            progress.set_postfix_str(f"{tokens / (time.monotonic() - start):,.0f} tokens/s", refresh=False)
            progress.update(queries)

        return generator.generate(passages, report)

    return write


def _count(passages: Iterable[PassageQueries]) -> Counter[str]:
    counts = Counter(passages=0, queries=0, empty=0, duplicate=0, wrong_script=0)
    for passage in passages:
        counts["passages"] += 1
        for language, queries in passage.queries.items():
            texts = [query for query in queries if query]
            counts["queries"] += len(queries)
            counts["empty"] += len(queries) - len(texts)
            counts["duplicate"] += len(texts) - len(set(texts))
            counts["wrong_script"] += sum(not is_in_script(text, language) for text in texts)
    return counts
