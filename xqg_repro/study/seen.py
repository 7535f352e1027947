"""Which articles a model was trained on, so that it is never measured on these, nor writes for them.

A model's folder may list the ids of what it was trained on (see :mod:`xqg_repro.models.seen`): XQuAD's question ids, or
the paragraphs' ids. The part of an id from the first full stop on, such as a language, is ignored. One question or
paragraph is enough to have seen its whole article.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import MANIFEST, Manifest
from xqg_repro.core.text import read_text
from xqg_repro.models.reader import SEEN
from xqg_repro.models.seen import read_seen
from xqg_repro.study.data import ParallelData, article_of


def seen_articles(ids: Iterable[str], data: ParallelData) -> set[int]:
    """The articles of these questions and paragraphs; ids of other data are ignored."""
    by_id = {docid: article_of(docid) for docid in data.docids}
    by_id |= dict(zip(data.qids, data.articles.tolist(), strict=True))
    names = {line.strip().split(".")[0] for line in ids}
    return {by_id[name] for name in names if name in by_id}


def check_writer(source: str | Path, docids: Iterable[str], data: ParallelData) -> None:
    """Raise :class:`InputError` if a model wrote texts for a paragraph of an article that it was trained on.

    What the model was trained on is listed beside its texts, or in its own folder if that is still there. Texts without
    either list, such as those of a published generator, pass.

    Args:
        source: a stage folder of ``generate``, ``translate`` or ``filter``, or any other source of queries.
        docids: the paragraphs that it has texts for.
    """
    folder = Path(source)
    if not folder.is_dir():
        return
    ids = read_text(folder / SEEN).splitlines() if (folder / SEEN).exists() else []
    writer = _writer(folder)
    if not ids and writer and Path(writer).expanduser().is_dir():
        ids = read_seen(writer)
    seen = seen_articles(ids, data)
    for docid in docids:
        if article_of(docid) in seen:
            problem = f"has texts for paragraph {docid}, but their writer was trained on article {article_of(docid)}"
            hint = "use the texts of a model that has not seen this article (see xqg-repro train folds)"
            raise InputError(problem, path=source, hint=hint)


def _writer(folder: Path) -> str:
    """The model that a stage folder's manifest names; empty if there is none."""
    if not (folder / MANIFEST).exists():
        return ""
    parameters: dict[str, Any] = Manifest.read(folder).parameters
    for name in ("generator", "translator"):
        if isinstance(parameters.get(name), dict):
            return str(parameters[name].get("model", ""))
    return ""
