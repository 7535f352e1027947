"""What a model was trained on: a list of ids in its folder, and in the folders of what it wrote.

``train`` lists the ids of questions or passages in :data:`~xqg_repro.models.reader.SEEN` in the model's folder.
``generate`` and ``translate`` copy the list beside the texts that the model wrote, so that these can be checked without
the model.
"""

from __future__ import annotations

from pathlib import Path

from xqg_repro.core.files import atomic_write
from xqg_repro.core.text import read_text
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.reader import SEEN

WRITER_SEEN = "seen.txt"
"""File in a folder of texts that a model wrote: the ids that the model was trained on, one per line."""


def read_seen(model: str) -> list[str]:
    """The ids that a model was trained on; empty if its folder does not list them.

    :class:`InputError` as :func:`~xqg_repro.models.loading.resolve_model`.
    """
    path = resolve_model(model) / SEEN
    return read_text(path).splitlines() if path.exists() else []


def copy_seen(model: str, folder: Path) -> None:
    """Write what the model was trained on into the folder of its texts; nothing if its folder does not list it."""
    if lines := read_seen(model):
        with atomic_write(folder / WRITER_SEEN) as file:
            file.writelines(f"{line}\n" for line in lines)
