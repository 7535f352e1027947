"""Stage ``filter``: generated queries → the best of each passage in each language, in the same format.

The best queries are those that lead back to their own passage. They are ordered by the rank of their
:mod:`~xqg_repro.retrieval.round_trip`, those of equal rank by its margin, and then as they were generated. A query that
repeats an earlier one of the same passage and language comes after all others, and an empty one after these.

Each passage keeps the same number of queries, however bad they are. A filter that drops queries below a threshold
leaves some passages without any. Those keep their plain embeddings, all others come closer to the questions, and
retrieval gets worse. Training needs no query for each passage, so for training such a threshold is sound: ``rank``
drops every query whose own passage ranks lower.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xqg_repro.core.embeddings import open_shards
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import check_languages
from xqg_repro.core.shards import check_shard_size, split_shards
from xqg_repro.core.stages import Manifest, build_stage, open_stage
from xqg_repro.core.text import read_json
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.loading import choose_device, model_fingerprint
from xqg_repro.models.seen import copy_seen
from xqg_repro.models.settings import EncoderConfig, encoder_settings
from xqg_repro.representation.lines import write_lines
from xqg_repro.representation.queries import check_passages, queries_fingerprint, read_queries
from xqg_repro.representation.shards import WriteShard, write_shards
from xqg_repro.retrieval.selection import count_queries, score_queries, select_best
from xqg_repro.retrieval.stage import check_dimension, resolve_query_encoder

if TYPE_CHECKING:
    from tqdm import tqdm

SHARD_SIZE = 1_000


def filter_queries(
    queries: str | Path,
    embeddings: str | Path,
    output: str | Path,
    keep: int,
    *,
    of: int | None = None,
    rank: int | None = None,
    languages: Sequence[str] | None = None,
    allow_missing: bool = False,
    encoder: EncoderConfig | None = None,
    shard_size: int = SHARD_SIZE,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Keep the best queries of each passage in each language, best first, or reuse an existing folder that matches.

    Args:
        queries: see :func:`~xqg_repro.representation.queries.query_files`.
        embeddings: output of ``encode``: the plain passages that the queries are to find, and all others.
        output: the stage folder, with shards ``NNNNN.jsonl`` in the order of ``queries``. Beside each is
            ``NNNNN.counts.json``, what the manifest counts in it.
        keep: queries to keep per passage and language. A passage that has no more keeps all of them.
        of: the first queries of each language that are compared; ``None`` for all.
        rank: drop queries whose own passage ranks lower than this, for training; ``None`` drops none.
        languages: whose queries; ``None`` for all that a passage has.
        allow_missing: accept passages with fewer than ``of`` queries in one of the languages.
        encoder: what encodes the queries; ``None`` takes the encoder of the embeddings. Of untied encoders, it is that
            of the questions.
        shard_size, device, force: as for :func:`~xqg_repro.representation.encode.encode`.

    Returns:
        the manifest. It counts the passages, the queries that are empty or repeat another one, and in all and in each
        language (``kept.fi``) what :data:`~xqg_repro.retrieval.selection.COUNTED` lists.

    Raises:
        InputError: the embeddings are not those of plain passages, are damaged, or of another model or pooling than the
            encoder; the embeddings lack a passage of the queries, or the queries have it twice; or a number is below 1.
    """
    check_shard_size(shard_size)
    _check_numbers(keep, of, rank)
    check_languages(languages or ())
    embeddings = Path(embeddings)
    open_stage(embeddings, "encode")
    config, version = resolve_query_encoder(embeddings, encoder)
    wanted = Manifest(
        "filter",
        {
            "encoder": encoder_settings(config),
            "keep": keep,
            "of": of,
            "languages": languages and list(languages),
            "allow_missing": allow_missing,
            "shard_size": shard_size,
            **({} if rank is None else {"rank": rank}),  # older folders have none
        },
        {"queries": queries_fingerprint(queries), "embeddings": version, "model": model_fingerprint(config.model)},
    )

    def build(folder: Path) -> dict[str, int]:
        copy_seen(Path(queries), folder)
        passages = check_passages(read_queries(queries, languages, of, allow_missing=allow_missing), queries)
        work, shards = FilterWork(config, embeddings, keep, rank), split_shards(passages, folder, shard_size, ".jsonl")
        return dict(write_shards(work, shards, "filter", "passages", total=None, device=device, distribute=None))

    return build_stage(output, wanted, build, force=force)


def _check_numbers(keep: int, of: int | None, rank: int | None) -> None:
    """Raise :class:`InputError` unless at least one query is kept, of at least as many, and a rank is from 1."""
    if keep < 1:
        hint = "keep at least one; a passage is never left without queries"
        raise InputError(f"a filter cannot keep {keep} queries per language", hint=hint)
    if of is not None and of < keep:
        raise InputError(f"cannot keep {keep} of {of} queries per language", hint=f"compare at least {keep}")
    if rank is not None and rank < 1:
        raise InputError(f"no passage has the rank {rank}", hint="ranks count from 1")


@dataclass(frozen=True)
class FilterWork:
    """Passages' queries → a shard of their best queries."""

    config: EncoderConfig
    embeddings: Path
    keep: int
    rank: int | None = None
    per_item: ClassVar = 1

    def open(self, device: str | None, progress: tqdm) -> WriteShard[PassageQueries]:
        """Load the encoder and the docids of all passages."""
        shards, encoder = open_shards(self.embeddings), TextEncoder(self.config, device)
        check_dimension(self.embeddings, shards[0].dimension, self.config, encoder.dimension)
        docids = chain.from_iterable(shard.docids() for shard in shards)
        place_of = {docid: place for place, docid in enumerate(docids)}

        def write(path: Path, shard: Sequence[PassageQueries]) -> Counter[str]:
            places = [self._find(place_of, passage.docid) for passage in shard]
            scores = score_queries(shard, places, encoder, shards, choose_device(device))
            kept, counts = [], Counter(passages=len(shard))
            for passage, scored in zip(shard, scores, strict=True):
                best = select_best(passage, scored, self.keep, self.rank)
                counts.update(count_queries(passage, best, scored))
                kept.append(best)
            with atomic_write(_counts_path(path)) as file:
                json.dump(counts, file, indent=1, sort_keys=True)
                file.write("\n")
            write_lines(path, kept)  # last, because its file marks the shard as complete
            progress.update(len(shard))
            return counts

        return write

    def count(self, path: Path, shard: Sequence[PassageQueries]) -> Counter[str]:
        """The counts of a complete shard."""
        return Counter(read_json(_counts_path(path), "counts", hint="rerun the stage with --force"))

    def _find(self, place_of: Mapping[str, int], docid: str) -> int:
        if docid not in place_of:
            hint = "encode the collection that the queries were generated for"
            raise InputError(f"holds no passage {docid}, which has queries", path=self.embeddings, hint=hint)
        return place_of[docid]


def _counts_path(path: Path) -> Path:
    return path.with_suffix(".counts.json")
