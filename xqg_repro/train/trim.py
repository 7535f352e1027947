"""Trims the vocabulary of a causal language model: fewer tokens, so that training and writing cost less.

The cost of a step grows with the number of tokens, as every prediction scores all of them. Gemma 3 270M has 262,144:
two thirds of its weights. The trimmed model keeps the tokens of the texts that it is to read and write, and computes
the same with them. A text with other words is encoded without loss, in more tokens.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xqg_repro import __version__
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, input_digest
from xqg_repro.core.languages import check_languages
from xqg_repro.core.stages import Manifest, build_stage, check_output
from xqg_repro.core.templates import template
from xqg_repro.core.text import read_json, read_lines, read_records, read_text
from xqg_repro.models.byte_pairs import BytePairs
from xqg_repro.models.loading import lasting_name, model_fingerprint, resolve_model
from xqg_repro.train import trimmed

logger = logging.getLogger(__name__)

STAGE = "train-trim"

_NAMES = ("id", "_id", "docid", "qid", "query_id", "lang")
"""Fields of JSON whose values are names, not texts."""

_LICENCES = re.compile(r"(licen[cs]e|notice|copying|use_policy|.*terms).*", re.IGNORECASE)
_OTHERS = ("README.md", trimmed.GENERATION_CONFIG, "chat_template.jinja")


def trim(
    model: str,
    texts: Sequence[str | Path],
    output: str | Path,
    *,
    first: int = 0,
    languages: Sequence[str] = (),
    force: bool = False,
) -> Manifest:
    """Write a model folder with fewer tokens: weights, configuration, tokenizer and model card.

    It keeps the tokens of the texts, the special tokens, those of bytes, the ``first`` tokens and characters (see
    :meth:`~xqg_repro.models.byte_pairs.BytePairs.first_tokens`), and all through which the encoder makes these.

    Args:
        model: Hugging Face id or folder of a causal language model with a fast byte-pair tokenizer.
        texts: files. Of JSON (``.json``, ``.jsonl``) all text values count, except for ids and languages; each line of
            any other file is a text. Names may end in ``.gz``.
        languages: ``first`` counts the tokens of each script of these languages; without, those of any script.

    Raises:
        InputError: a file is unavailable or has no text, a language is unknown, the model or its tokenizer is of
            another kind, or the trimmed tokenizer or model differs from the full one on the texts.
    """
    if first < 0:
        raise InputError(f"the number of first tokens is {first}", hint="it must be at least 0")
    check_languages(languages)
    check_output(output, model, *texts, folder=True)
    lines = list(dict.fromkeys(text for path in texts for text in read_texts(Path(path))))
    if not lines:
        raise InputError("the files have no text", path=texts[0] if texts else None, hint="name others with --texts")
    folder = resolve_model(model)
    others = {path.name: input_digest(path) for path in _passed_on(folder)}
    parameters = {"model": lasting_name(model), "first": first, "languages": list(languages)}
    inputs = {"model": model_fingerprint(model), "texts": digest(lines), "others": digest(others)}
    wanted = Manifest(STAGE, parameters, inputs)

    def build(partial: Path) -> dict[str, int]:
        counts = _build(folder, lines, partial, first, languages)
        _describe(folder, partial, wanted, counts)
        return counts

    return build_stage(output, wanted, build, force=force)


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a file that are not empty; :class:`InputError` if it is unavailable or malformed."""
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix == ".json":
        yield from _strings(read_json(path))
    elif suffix == ".jsonl":
        for record in read_records(path):
            yield from _strings(record.value)
    else:
        yield from (line for _, line in read_lines(path) if line.strip())


def _strings(value: Any) -> Iterator[str]:
    """All texts in parsed JSON, in order."""
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, dict):
        yield from _strings([part for name, part in value.items() if name not in _NAMES])
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _build(folder: Path, texts: Sequence[str], output: Path, first: int, languages: Sequence[str]) -> dict[str, int]:
    """Write the trimmed model of a folder and check it; return the manifest's counts."""
    tokenizer, model = trimmed.load(folder)
    pairs = BytePairs(tokenizer.backend_tokenizer, folder)
    used, text_tokens = _used_tokens(pairs, texts)
    kept = used | {*pairs.byte_tokens} | trimmed.special_tokens(pairs, tokenizer, model, folder)
    kept = pairs.close(kept | {*pairs.first_tokens(first, languages)})
    size = model.get_input_embeddings().weight.shape[0]
    content, rows = pairs.restrict(token for token in kept if pairs.ids[token] < size)
    logger.info(f"train: {len(rows):,} of {size:,} tokens stay, {len(used):,} of them in the texts")

    samples = trimmed.sample_logits(pairs.backend, model, texts, rows)
    trimmed.cut(model, rows, folder)
    trimmed.save(tokenizer, model, content, rows, output)
    trimmed.check_tokens(pairs.backend, output, texts, rows)
    trimmed.check_logits(output, samples, rows)
    return {
        "tokens": len(rows),
        "former_tokens": size,
        "used": len(used),
        "texts": len(texts),
        "text_tokens": text_tokens,
        "parameters": model.num_parameters(),
    }


def _used_tokens(pairs: BytePairs, texts: Sequence[str]) -> tuple[set[str], int]:
    """The tokens of the texts, and how many there are in all; each text is also read behind a space, as in prompts."""
    used: set[str] = set()
    total = 0
    for batch in trimmed.batches(texts):
        for encoding in pairs.backend.encode_batch(batch):
            used.update(encoding.tokens)
            total += len(encoding)
    return used, total // 2


def _passed_on(folder: Path) -> list[Path]:
    """Files of a model folder, besides those of its fingerprint, that the trimmed folder depends on."""
    files = (path for path in folder.iterdir() if path.is_file())
    return sorted(path for path in files if path.name in _OTHERS or _LICENCES.fullmatch(path.name))


def _describe(folder: Path, output: Path, wanted: Manifest, counts: dict[str, int]) -> None:
    """Copy the licences of a model and write the card of the trimmed one."""
    licences = [path for path in _passed_on(folder) if _LICENCES.fullmatch(path.name)]
    for path in licences:
        shutil.copyfile(path, output / path.name)
    page = template("trim_card.md").render(
        settings=wanted.parameters,
        inputs=wanted.inputs,
        counts=counts,
        licence=_licence(folder / "README.md"),
        files=[path.name for path in licences],
        version=__version__,
    )
    with atomic_write(output / "README.md") as file:
        file.write(page)


def _licence(card: Path) -> list[str]:
    """The lines of a model card's metadata that name its licence."""
    if not card.is_file():
        return []
    match = re.match(r"---\n(.*?\n)---\n", read_text(card), re.DOTALL)
    return re.findall(r"^license[\w]*:.+$", match[1], re.MULTILINE) if match else []
