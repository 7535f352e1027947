"""Collections in ir-datasets: XOR-TyDi, XQuAD and the embedded xor-mini.

Call :func:`register` once; then ``ir_datasets.load("xor-tydi/dev/ar")`` works like any other dataset.
:func:`load` does both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    import ir_datasets


def register() -> None:
    """Add this package's datasets to ir-datasets' registry. Lazy: nothing is read or downloaded. Safe to repeat."""
    import ir_datasets

    from xqg_repro.collection import xor_mini, xor_tydi, xquad

    registry = ir_datasets.registry
    for module in (xor_tydi, xquad, xor_mini):
        for name, dataset in module.datasets().items():
            if name not in registry._registered:
                registry.register(name, dataset)


def load(dataset_id: str, needs: Sequence[str] = ()) -> ir_datasets.Dataset:
    """The dataset of that id, this package's included.

    Args:
        dataset_id: ir-datasets id.
        needs: what it must have: ``docs``, ``queries``, ``qrels``.

    Raises:
        InputError: ir-datasets knows no such id (the nearest ids are named), or the dataset lacks what is needed.
    """
    import difflib

    import ir_datasets

    register()
    try:
        dataset = ir_datasets.load(dataset_id)
    except KeyError:
        near = difflib.get_close_matches(dataset_id, list(ir_datasets.registry), n=3)
        raise InputError(
            f"ir-datasets has no dataset {dataset_id!r}",
            hint=f"did you mean {' or '.join(near)}?" if near else "see `ir_datasets list`",
        ) from None
    words = {"docs": "passages", "queries": "questions", "qrels": "relevance judgements"}
    if lacking := [words[part] for part in needs if not dataset.has(part)]:
        subsets = [name for name in ir_datasets.registry if name.startswith(f"{dataset_id}/")][:3]
        raise InputError(
            f"{dataset_id} has no {lacking[0]}",
            hint=f"name a subset, such as {', '.join(subsets)}" if subsets else "name another dataset",
        )
    return dataset


def fingerprint(dataset: Any, kind: str) -> str:
    """Fingerprint of a dataset's ``docs`` or ``queries`` as an input of a stage.

    This package's datasets answer with their files' checksums; others with their id and ir-datasets' count.
    """
    handler = getattr(dataset, f"{kind}_handler")()
    if hasattr(handler, "fingerprint"):
        return handler.fingerprint()
    return f"{dataset.dataset_id()} ({getattr(dataset, f'{kind}_count')()} {kind})"


def texts(dataset: Any, docids: Collection[str]) -> dict[str, str]:
    """Texts of passages by docid, without titles.

    Raises:
        InputError: the collection has no such passage.
    """
    found = {docid: doc.text for docid, doc in dataset.docs_store().get_many(sorted(docids)).items()}
    if unknown := set(docids) - found.keys():
        raise InputError(
            f"the collection has no passage {min(unknown)!r} ({len(unknown)} in all), but the run does",
            hint="is this the run of another collection?",
        )
    return found


def file_path(name: str, file: str) -> Path | None:
    """Path of a data file, which is fetched if it is not here; ``None`` if no such file is listed for the collection.

    Raises:
        InputError: it cannot be had, or has another checksum than it should.
    """
    from xqg_repro.collection.files import data_files

    listed = data_files(name).get(file)
    return listed.path() if listed else None


def file_checksum(name: str, file: str) -> str:
    """MD5 of one of the data files of a collection of this package, which is fetched if it is not here.

    Raises:
        InputError: it cannot be had, or is not the published one.
    """
    from xqg_repro.collection.files import PackagedFile, data_files
    from xqg_repro.collection.xor_mini import FOLDER, NAME

    found = PackagedFile(FOLDER, file) if name == NAME else data_files(name)[file]
    return found.fingerprint()
