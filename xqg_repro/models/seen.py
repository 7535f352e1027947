"""What a model was trained on, as its folder lists it, so that a model never writes for what it has seen.

Questions generated for a passage whose questions were trained on would be remembered ones. A generator's folder lists
the texts, by a checksum of their words, as the same passage has other ids in other files; ``generate`` and
``translate`` refuse them. A generator's or a reader's folder also lists the ids of the questions
(:data:`~xqg_repro.models.reader.SEEN`). ``generate``, ``translate`` and ``filter`` copy that list beside the texts that
the model wrote, so that the study can check them without the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xqg_repro.collection.records import Passage, PlainDocument
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest
from xqg_repro.core.languages import SHORTEST_SENTENCE, split_sentences
from xqg_repro.core.text import read_text
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.reader import SEEN

SEEN_TEXTS = "seen.txt"
"""File in a generator's folder: :func:`text_key` of each passage and sentence that it was trained on, one per line."""


def text_key(text: str) -> str:
    """Checksum of a text's words, whatever the white space between them.

    >>> text_key("Turku is  a city.\\n") == text_key("Turku is a city.")
    True
    """
    return digest(" ".join(text.split()))


def text_keys(text: str) -> set[str]:
    """Checksums of a passage and of its sentences, except the shortest, which any two passages may share."""
    sentences = [sentence for sentence in split_sentences(text, "en") if len(sentence) >= SHORTEST_SENTENCE]
    return {text_key(part) for part in (text, *sentences)}


def write_seen(folder: Path, texts: Iterable[str]) -> None:
    """List the texts that the model of a folder was trained on."""
    with atomic_write(folder / SEEN_TEXTS) as file:
        file.writelines(f"{key}\n" for key in sorted({text_key(text) for text in texts}))


def check_unseen(model: str, passages: Iterable[Passage | PlainDocument]) -> None:
    """Raise :class:`InputError` for the first passage that a model was trained on, or whose sentence it was trained on.

    The passages are English. A model whose folder lists nothing was trained elsewhere; it passes.
    """
    path = resolve_model(model) / SEEN_TEXTS
    if not path.exists():
        return
    seen = set(read_text(path).split())
    for passage in passages:
        if seen & text_keys(passage.text):
            problem = f"the passage {passage.doc_id} is among the texts that {model} was trained on"
            raise InputError(problem, hint="use a model of the other articles; see xqg-repro train folds --parallel")


def read_seen(model: str) -> list[str]:
    """The ids that a model was trained on; empty if its folder does not list them.

    :class:`InputError` as :func:`~xqg_repro.models.loading.resolve_model`.
    """
    path = resolve_model(model) / SEEN
    return read_text(path).splitlines() if path.exists() else []


def copy_seen(source: Path, folder: Path) -> None:
    """Copy the list of what a model was trained on from its folder, or from that of its texts, if there is one."""
    if (source / SEEN).exists():
        with atomic_write(folder / SEEN) as file:
            file.write(read_text(source / SEEN))
