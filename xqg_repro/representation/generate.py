"""Stage ``generate``: a collection's passages → queries in several languages, as JSON lines (see ``queries.py``).

The paper's generator is an mT5 with the prompt ``Generate a Finnish question for this passage: {title} {text}``. At
each step it samples from the 10 most likely tokens.

In torch, the number that picks a token is a hash of the seed, the docid, the language, the query's rank and the step.
So a query does not depend on the other passages, on batches or on shards, and 3 queries are the first 3 of 5 — except
for rounding. The batch changes the last digits of the model's scores, which can flip a draw that falls very close to
the border between two tokens. In float32 that almost never happens; in bfloat16 it changes up to a quarter of the
queries.

CTranslate2, which is the fastest in int8, samples by its own random numbers (see
:mod:`xqg_repro.models.ct2_generator`). With either, the same command writes the same bytes on the same machine, even
after an interruption.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_repro import collection
from xqg_repro.collection.documents import check_documents, passage_shards
from xqg_repro.collection.records import PlainDocument
from xqg_repro.core.cluster import Distribution
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import is_in_script
from xqg_repro.core.shards import check_shard_size
from xqg_repro.core.stages import MANIFEST, Manifest, build_stage
from xqg_repro.models.backends import open_generator
from xqg_repro.models.generator import TOKENS_PER_BATCH, PassageQueries, check_generator, resolve_precision
from xqg_repro.models.loading import resolve_model, writer_fingerprints
from xqg_repro.models.seen import check_unseen, copy_seen
from xqg_repro.models.settings import Backend, GeneratorConfig, writer_settings
from xqg_repro.representation.lines import write_lines
from xqg_repro.representation.queries import read_queries
from xqg_repro.representation.shards import WriteShard, write_shards

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
    distribute: Distribution | None = None,
    force: bool = False,
) -> Manifest:
    """Generate queries for every passage of an ir-datasets collection, or reuse an existing folder that matches.

    The manifest counts ``passages`` and ``queries``, and among the queries the ``empty`` ones, those that repeat
    another query of the same passage and language (``duplicate``), and those in a script that their language does not
    use (``wrong_script``). The folder also lists what the model was trained on, if the model's folder does
    (:data:`~xqg_repro.models.reader.SEEN`).

    Args:
        dataset_id: ir-datasets id of anything with documents, such as ``xor-mini``.
        config: the generator; the manifest records the precision that ``None`` resolved to.
        output: the stage folder, with shards ``NNNNN.jsonl`` in the collection's order.
        tokens_per_batch: see :class:`~xqg_repro.models.generator.QueryGenerator`, which also lists errors.
        shard_size, device, distribute, force: as for :func:`~xqg_repro.representation.encode.encode`.
    """
    check_shard_size(shard_size)
    check_generator(config)
    config = _keep_backend(config, Path(output))
    if distribute:
        device = distribute.device
        _check_precision(config, device)
    config = resolve_precision(config, device)
    dataset = collection.load(dataset_id, needs=["docs"])
    models = writer_fingerprints(config.model, config.chat)  # before the collection, which may be a large download
    wanted = Manifest(
        "generate",
        {"collection": dataset_id, "generator": writer_settings(config), "shard_size": shard_size},
        {"collection": collection.fingerprint(dataset, "docs"), **models},
    )

    def build(folder: Path) -> dict[str, int]:
        check_documents(dataset)
        check_unseen(config.model, dataset.docs_iter())
        copy_seen(resolve_model(config.model), folder)
        work = GenerateWork(config, tokens_per_batch)
        shards = passage_shards(dataset, folder, shard_size, ".jsonl")
        return dict(
            write_shards(
                work, shards, "generate", "queries", total=dataset.docs_count(), device=device, distribute=distribute
            )
        )

    return build_stage(output, wanted, build, force=force)


def _check_precision(config: GeneratorConfig, device: str) -> None:
    """Raise :class:`InputError` if the precision depends on the GPUs of workers, and this machine has none."""
    import torch

    is_open = config.precision is None and config.backend is not Backend.CTRANSLATE2
    if is_open and device == "cuda" and not torch.cuda.is_available():
        hint = "use --precision bfloat16, or float32 for GPUs without it"
        raise InputError("this machine has no GPU, so the precision of the workers is not known", hint=hint)


def _keep_backend(config: GeneratorConfig, output: Path) -> GeneratorConfig:
    """The settings with the backend and the precision of the existing queries, if those that are named agree with them.

    So queries generated on a GPU, or on hardware with bfloat16, are reused elsewhere, and vice versa. Both are kept or
    neither: int8 of existing queries, for instance, does not fit a newly named torch.
    """
    if (config.backend and config.precision) or not (output / MANIFEST).exists():
        return config
    generator = Manifest.read(output).parameters.get("generator", {})
    kept = {"backend": generator.get("backend") or Backend.TORCH, "precision": generator.get("precision")}
    if any(getattr(config, name) not in (None, value) for name, value in kept.items()):
        return config
    return dataclasses.replace(config, **kept)


@dataclass(frozen=True)
class GenerateWork:
    """Documents → a shard of queries."""

    config: GeneratorConfig
    tokens_per_batch: int

    @property
    def per_item(self) -> int:
        """Queries per passage."""
        return len(self.config.languages) * self.config.queries

    def open(self, device: str | None, progress: tqdm) -> WriteShard[PlainDocument]:
        """Load the generator; the bar also shows the rate in tokens per second."""
        generator = open_generator(self.config, device, self.tokens_per_batch)
        start, tokens = time.monotonic(), 0

        def report(queries: int, new_tokens: int) -> None:
            nonlocal tokens
            tokens += new_tokens
            progress.set_postfix_str(f"{tokens / (time.monotonic() - start):,.0f} tokens/s", refresh=False)
            progress.update(queries)

        def write(path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
            passages = generator.generate(shard, report)
            write_lines(path, passages)
            return _count(passages)

        return write

    def count(self, path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
        """The counts of a complete shard."""
        return _count(read_queries(path, self.config.languages, self.config.queries))


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
