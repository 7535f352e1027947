"""Stage ``translate``: a collection's passages → the same passages in other languages, as JSON lines.

A line is ``{"docid": "0-0", "translations": {"ar": "…", …}}``, with ``"unfinished": ["ar"]`` where the model did not
end by itself before the maximum length. Titles are not translated.

A passage is translated sentence by sentence, and a sentence that is too long for the model in parts, so nothing is cut;
the translations are joined by spaces. Nothing is drawn at random, so a translation does not depend on batches or
shards — but for rounding, as in ``generate``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import is_in_script
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, build_stage
from xqg_repro.models.generator import Passage
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import TranslatorConfig
from xqg_repro.models.translator import TOKENS_PER_BATCH, PassageTranslations, Translator, check_translator
from xqg_repro.representation.queries import line_shards, parse_line

if TYPE_CHECKING:
    pass

STAGE = "translate"
SHARD_SIZE = 50
"""Passages; each is translated into every language, which takes minutes on a CPU."""


def translate(
    dataset_id: str,
    languages: Sequence[str],
    config: TranslatorConfig,
    output: str | Path,
    *,
    shard_size: int = SHARD_SIZE,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Translate every passage of an ir-datasets collection, or reuse the folder that holds the translations.

    The manifest counts ``passages``, ``translations``, and among these the ``empty`` and the ``unfinished`` ones, and
    those in another script than their language's (``wrong_script``).

    Args:
        dataset_id: ir-datasets id of anything with documents in ``config.source``, such as ``xquad/en``.
        languages: ISO 639-1 codes of the languages to translate into.
        config: the translator.
        output: the stage folder, with shards ``NNNNN.jsonl`` in the collection's order.
        shard_size: passages a shard; a shard is what a killed run loses.
        tokens_per_batch: see :class:`Translator`.
        device: a torch device; ``None`` takes a GPU if there is one.
        force: translate again even if the folder matches.

    Raises:
        InputError: an unknown dataset, one without passages or in another language, whatever :func:`check_translator`
            or :class:`Translator` refuses, a full disk.
    """
    if shard_size < 1:
        raise InputError(f"a shard cannot hold {shard_size} passages")
    check_translator(config, languages)
    dataset = collection.load(dataset_id, needs=["docs"])
    if (found := dataset.docs_lang()) not in (None, config.source):
        hint = f"--source {found}, or another collection"
        raise InputError(f"{dataset_id} is in {found!r}, not in {config.source!r}", hint=hint)
    model = model_fingerprint(config.model)  # before the collection's files: without a model no need to download them
    wanted = Manifest(
        STAGE,
        {
            "collection": dataset_id,
            "languages": [*languages],
            "translator": dataclasses.asdict(config),
            "shard_size": shard_size,
        },
        {"collection": collection.fingerprint(dataset, "docs"), "model": model},
    )

    def build(folder: Path) -> dict[str, int]:
        return _translate_shards(dataset, Translator(config, languages, device, tokens_per_batch), folder, shard_size)

    return build_stage(output, wanted, build, force=force)


def _translate_shards(dataset: Any, translator: Translator, folder: Path, shard_size: int) -> dict[str, int]:
    """Write the shards that are not there yet; return the counts over all of them."""
    counts = Counter(dict.fromkeys(("passages", "translations", "empty", "unfinished", "wrong_script"), 0))
    total = len(translator.languages) * (dataset.docs_count() or 0)
    with progress_bar(total or None, STAGE, "translations") as progress:

        def make(passages: Sequence[Passage]) -> list[PassageTranslations]:
            return translator.translate(passages, progress.update)

        for found, there in line_shards(dataset, folder, shard_size, make, _read_file):
            counts.update(_counts(found))
            if there:
                progress.update(len(translator.languages) * len(found))
    return dict(counts)


def _counts(passages: Iterable[PassageTranslations]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for passage in passages:
        counts["passages"] += 1
        counts["translations"] += len(passage.texts)
        counts["unfinished"] += len(passage.unfinished)
        for language, text in passage.texts.items():
            counts["empty"] += not text
            counts["wrong_script"] += bool(text) and not is_in_script(text, language)
    return counts


def read_translations(folder: str | Path) -> Iterator[PassageTranslations]:
    """The translations in a folder that :func:`translate` wrote, in the collection's order.

    Raises:
        InputError: naming file and line, for a line that was cut off or has another form.
    """
    for path in sorted(Path(folder).glob("*.jsonl")):
        yield from _read_file(path)


def _read_file(path: Path) -> Iterator[PassageTranslations]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                docid, texts, item = parse_line(line, "translations")
                if not all(isinstance(text, str) for text in texts.values()):
                    raise ValueError("one of its translations is no text")
            except ValueError as error:
                hint = "it was changed or damaged; run xqg-repro translate again with --force"
                problem = f"is not a line of translations: {error}"
                raise InputError(problem, path=path, line=number, hint=hint) from None
            yield PassageTranslations(docid, texts, item.get("unfinished", []))
