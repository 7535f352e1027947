"""Stage ``translate``: a collection's passages → the same passages in other languages, as JSON lines.

A line is ``{"docid": "0-0", "translations": {"ar": "…", …}}``, with ``"unfinished": ["ar"]`` if the model reached the
maximum length before it ended the text. Titles are not translated.

A passage is translated sentence by sentence, and a sentence that is too long for the model in parts, so nothing is
truncated; the translations are joined with spaces. Nothing is sampled, so a translation does not depend on batches or
shards — except for rounding, as in ``generate``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.core.text import open_bytes
from xqg_repro.models.backends import open_translator
from xqg_repro.models.loading import resolve_model, writer_fingerprints
from xqg_repro.models.seen import check_unseen, copy_seen
from xqg_repro.models.settings import TranslatorConfig, writer_settings
from xqg_repro.models.translator import TOKENS_PER_BATCH, PassageTranslations, check_translator
from xqg_repro.representation.lines import parse_line, write_lines
from xqg_repro.representation.shards import WriteShard, write_shards

if TYPE_CHECKING:
    from tqdm import tqdm

STAGE = "translate"
SHARD_SIZE = 50
"""Passages per shard; translating one into every language takes minutes on a CPU."""


def translate(
    dataset_id: str,
    languages: Sequence[str],
    config: TranslatorConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    device: str | None = None,
    distribute: Distribution | None = None,
    force: bool = False,
) -> Manifest:
    """Translate every passage of an ir-datasets collection, or reuse an existing folder that matches.

    The manifest counts ``passages`` and ``translations``, and among the translations the ``empty`` and ``unfinished``
    ones and those in a script that their language does not use (``wrong_script``). The folder also lists what the model
    was trained on, if the model's folder does (:data:`~xqg_repro.models.reader.SEEN`).

    Args:
        dataset_id: ir-datasets id of anything with documents in ``config.source``, such as ``xquad/en``.
        languages: ISO 639-1 codes of the target languages.
        config: the translator.
        output: the stage folder, with shards ``NNNNN.jsonl`` in the collection's order.
        tokens_per_batch: see :class:`~xqg_repro.models.translator.Translator`.
        shard_size, device, distribute, force: as for :func:`~xqg_repro.representation.encode.encode`.

    Raises:
        InputError: a dataset in another language; also as :func:`check_translator` and
            :class:`~xqg_repro.models.translator.Translator`.
    """
    check_shard_size(shard_size)
    check_translator(config, languages)
    dataset = collection.load(dataset_id, needs=["docs"])
    language = dataset.docs_lang()
    if language not in (None, config.source):
        hint = f"--source {language}, or another collection"
        raise InputError(f"{dataset_id} is in {language!r}, not in {config.source!r}", hint=hint)
    models = writer_fingerprints(config.model, config.chat)  # before the collection, which may be a large download
    wanted = Manifest(
        STAGE,
        {
            "collection": dataset_id,
            "languages": [*languages],
            "translator": writer_settings(config),
            "shard_size": shard_size,
        },
        {"collection": collection.fingerprint(dataset, "docs"), **models},
    )

    def build(folder: Path) -> dict[str, int]:
        check_documents(dataset)
        check_unseen(config.model, dataset.docs_iter())
        copy_seen(resolve_model(config.model), folder)
        work = TranslateWork(config, tuple(languages), tokens_per_batch)
        shards = passage_shards(dataset, folder, shard_size, ".jsonl")
        return dict(
            write_shards(
                work, shards, STAGE, "translations", total=dataset.docs_count(), device=device, distribute=distribute
            )
        )

    return build_stage(output, wanted, build, force=force)


@dataclass(frozen=True)
class TranslateWork:
    """Documents → a shard of translations."""

    config: TranslatorConfig
    languages: tuple[str, ...]
    tokens_per_batch: int

    @property
    def per_item(self) -> int:
        """Translations per passage."""
        return len(self.languages)

    def open(self, device: str | None, progress: tqdm) -> WriteShard[PlainDocument]:
        """Load the translator."""
        translator = open_translator(self.config, self.languages, device, self.tokens_per_batch)

        def write(path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
            passages = translator.translate(shard, progress.update)
            write_lines(path, passages)
            return _count(passages)

        return write

    def count(self, path: Path, shard: Sequence[PlainDocument]) -> Counter[str]:
        """The counts of a complete shard."""
        return _count(_read_file(path))


def _count(passages: Iterable[PassageTranslations]) -> Counter[str]:
    counts = Counter(passages=0, translations=0, empty=0, unfinished=0, wrong_script=0)
    for passage in passages:
        counts["passages"] += 1
        counts["translations"] += len(passage.texts)
        counts["unfinished"] += len(passage.unfinished)
        for language, text in passage.texts.items():
            counts["empty"] += not text
            counts["wrong_script"] += bool(text) and not is_in_script(text, language)
    return counts


def read_translations(folder: str | Path) -> Iterator[PassageTranslations]:
    """The translations in a folder that :func:`translate` wrote, gzipped or not.

    :class:`InputError` names the line if one is bad.
    """
    for path in sorted([*Path(folder).glob("*.jsonl"), *Path(folder).glob("*.jsonl.gz")]):
        yield from _read_file(path)


def _read_file(path: Path) -> Iterator[PassageTranslations]:
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                docid, texts, item = parse_line(line, "translations")
                unfinished = item.get("unfinished", [])
                if not isinstance(unfinished, list) or not set(map(str, unfinished)) <= texts.keys():
                    raise ValueError("unfinished is not a list of its languages")
                if not all(isinstance(text, str) for text in texts.values()):
                    raise ValueError("a translation is not a string")
            except ValueError as error:
                hint = "the file was changed or damaged; run xqg-repro translate again with --force"
                problem = f"is not a line of translations: {error}"
                raise InputError(problem, path=path, line=number, hint=hint) from None
            yield PassageTranslations(docid, texts, unfinished)
