"""Collections in ir-datasets: XOR-TyDi, XQuAD and the embedded xor-mini; and collections in files.

After one call of :func:`register`, ``ir_datasets.load("xor-tydi/dev/ar")`` works as for any other dataset;
:func:`load` does both, and also loads what is in files (see :mod:`xqg_repro.collection.local`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.collection.home import prepare_home
from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    import ir_datasets

prepare_home()  # before any module imports ir-datasets

_PARTS = {"docs": "passages", "queries": "questions", "qrels": "relevance judgements"}


def register() -> None:
    """Add this package's datasets to ir-datasets' registry, without reading or downloading. Repeated calls are safe."""
    import ir_datasets

    from xqg_repro.collection import xor_mini, xor_tydi, xquad

    registry = ir_datasets.registry
    for module in (xor_tydi, xquad, xor_mini):
        for name, dataset in module.datasets().items():
            if name not in registry._registered:
                registry.register(name, dataset)


def load(dataset_id: str, needs: Sequence[str] = (), passages: str = "") -> ir_datasets.Dataset:
    """The dataset with that id, from this package, ir-datasets or files.

    Args:
        dataset_id: ir-datasets id, which comes first, or a path.
        needs: the parts that it must have: ``docs``, ``queries``, ``qrels``.
        passages: the id of a dataset whose passages take the place of its own, as topics in a file have none.

    :class:`InputError` if an id is unknown, or the dataset lacks a part that it needs.
    """
    own = [part for part in needs if part != "docs"] if passages else needs
    dataset = _load(dataset_id, own)
    check_parts(dataset, own)
    if not passages:
        return dataset
    from ir_datasets.datasets.base import Dataset

    from xqg_repro.collection.handlers import Name

    docs = load(passages, needs=["docs"]).docs_handler()
    kept = [getattr(dataset, f"{part}_handler")() for part in ("queries", "qrels") if dataset.has(part)]
    return Dataset(Name(dataset_id), docs, *kept)


def _load(dataset_id: str, needs: Sequence[str]) -> ir_datasets.Dataset:
    import ir_datasets

    register()
    try:
        return ir_datasets.load(dataset_id)
    except KeyError:
        from xqg_repro.collection import local

        if dataset := local.load(dataset_id, needs):
            return dataset
        similar = difflib.get_close_matches(dataset_id, list(ir_datasets.registry), n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else "see `ir_datasets list`, or name a path"
        raise InputError(f"ir-datasets has no dataset {dataset_id!r}", hint=hint) from None


def check_parts(dataset: Any, needs: Sequence[str]) -> None:
    """Raise :class:`InputError` if the dataset lacks one of these parts: ``docs``, ``queries``, ``qrels``."""
    for part in needs:
        if not dataset.has(part):
            dataset_id = dataset.dataset_id()
            parts = [f"{dataset_id}/{name}" for name in subsets(dataset_id)[:3]]
            hint = f"name a subset, such as {', '.join(parts)}" if parts else "name another dataset"
            if part == "docs" and dataset.has_queries():
                hint = "name their collection with --collection"
            elif os.path.exists(dataset_id):
                hint = f"write ./{dataset_id} for the file or folder of this name"
            raise InputError(f"{dataset_id} has no {_PARTS[part]}", hint=hint)


def subsets(dataset_id: str) -> list[str]:
    """What may follow the id and a slash in another id, such as ``fi`` after ``xor-mini/dev``."""
    import ir_datasets

    from xqg_repro.collection import local

    start = f"{dataset_id}/"
    registered = [name.removeprefix(start) for name in ir_datasets.registry if name.startswith(start)]
    return registered or ([] if dataset_id in ir_datasets.registry else local.subsets(dataset_id))


def fingerprint(dataset: Any, kind: str) -> str:
    """Fingerprint of a dataset's ``docs`` or ``queries`` as an input of a stage.

    It is made of the files' checksums for this package's datasets, of id and count for others.
    """
    handler = getattr(dataset, f"{kind}_handler")()
    if hasattr(handler, "fingerprint"):
        return handler.fingerprint()
    return f"{dataset.dataset_id()} ({getattr(dataset, f'{kind}_count')()} {kind})"


def texts(dataset: Any, docids: Collection[str], run: str | Path | None = None) -> dict[str, str]:
    """Docid → text, without the title, of a run's passages; :class:`InputError` if the collection lacks one.

    ``run`` is the run's file, for messages.
    """
    from xqg_repro.collection.documents import to_passage

    return {docid: to_passage(doc).text for docid, doc in run_documents(dataset, docids, run).items()}


def run_documents(dataset: Any, docids: Collection[str], run: str | Path | None = None) -> dict[str, Any]:
    """Docid → document of a run's passages; :class:`InputError` if the collection lacks one."""
    from xqg_repro.collection.documents import lookalike_docid

    check_parts(dataset, ["docs"])
    store = dataset.docs_store()
    docs = store.get_many(sorted(docids))
    if unknown := set(docids) - docs.keys():
        name = min(unknown)
        raise InputError(
            f"the collection has no passage {name!r}, which the run contains ({len(unknown)} in all)",
            path=run,
            hint=lookalike_docid(store, name) or "is this the run of another collection?",
        )
    return docs


def file_path(name: str, file: str) -> Path | None:
    """:meth:`~xqg_repro.collection.files.DataFile.path` of a collection's data file; ``None`` for an unknown file."""
    from xqg_repro.collection.files import data_files

    data_file = data_files(name).get(file)
    return data_file.path() if data_file else None


def confirm_file(name: str, file: str, rows: int) -> None:
    """:meth:`~xqg_repro.collection.files.DataFile.confirm` of a collection's data file."""
    from xqg_repro.collection.files import data_files

    data_files(name)[file].confirm(rows)


def file_checksum(dataset_id: str, file: str) -> str:
    """MD5 of a data file of a collection of this package, downloaded if necessary; of a path, that of its passages."""
    from xqg_repro.collection.files import PackagedFile, data_files
    from xqg_repro.collection.xor_mini import FOLDER, NAME

    name = dataset_id.partition("/")[0]
    if name == NAME:
        return PackagedFile(FOLDER, file).fingerprint()
    if name.startswith(("$", "~", ".")) or not name:
        return fingerprint(load(dataset_id, needs=["docs"]), "docs")
    return data_files(name)[file].fingerprint()
