"""Collections in ir-datasets: XOR-TyDi, XQuAD and the embedded xor-mini.

Call :func:`register` once; then ``ir_datasets.load("xor-tydi/dev/ar")`` works like any other dataset.
:func:`load` does both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xqg_repro.errors import InputError

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


def load(dataset_id: str) -> ir_datasets.Dataset:
    """The dataset of that id, this package's included.

    Raises:
        InputError: ir-datasets knows no such id; the nearest ids are named.
    """
    import difflib

    import ir_datasets

    register()
    try:
        return ir_datasets.load(dataset_id)
    except KeyError:
        near = difflib.get_close_matches(dataset_id, list(ir_datasets.registry), n=3)
        raise InputError(
            f"ir-datasets has no dataset {dataset_id!r}",
            mend=f"did you mean {' or '.join(near)}?" if near else "see `ir_datasets list`",
        ) from None


def fingerprint(dataset: Any, kind: str) -> str:
    """Fingerprint of a dataset's ``docs`` or ``queries`` as an input of a stage.

    This package's datasets answer with their files' checksums; others with their id and ir-datasets' count.
    """
    handler = getattr(dataset, f"{kind}_handler")()
    if hasattr(handler, "fingerprint"):
        return handler.fingerprint()
    return f"{dataset.dataset_id()} ({getattr(dataset, f'{kind}_count')()} {kind})"
