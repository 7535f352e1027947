"""Search parameters of approximate FAISS indexes: how much of an index is searched for each question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError


class _Parameter(NamedTuple):
    option: str
    faiss_name: str
    needs: str


_PARAMETERS = {
    "nprobe": _Parameter("--nprobe", "nprobe", "inverted lists (IVF)"),
    "ef_search": _Parameter("--ef-search", "efSearch", "HNSW graph"),
}


def set_parameters(index: Any, given: Mapping[str, int], path: str | Path) -> None:
    """Set the given search parameters of an index.

    ``nprobe`` is the number of inverted lists to search, ``ef_search`` the breadth of the search in an HNSW graph.

    Args:
        index: a FAISS index; wrappers (transformations, refinement, ids) are looked through.
        path: its folder, for messages.

    Raises:
        InputError: the index lacks what a parameter sets, or has fewer lists; or a value is below 1.
    """
    import faiss

    for name, value in given.items():
        option, faiss_name, needs = _PARAMETERS[name]
        if not 1 <= value < 2**31:
            raise InputError(f"{option} cannot be {value}", hint="use a number from 1 to 2147483647")
        try:
            faiss.ParameterSpace().set_index_parameter(index, faiss_name, value)
        except RuntimeError:
            problem = f"has no {needs}, so {option} has no effect"
            raise InputError(problem, path=path, hint=f"leave out {option}") from None
        lists = faiss.try_extract_index_ivf(index)
        if lists and name == "nprobe" and value > lists.nlist:
            problem = f"has {lists.nlist} inverted lists, so --nprobe cannot be {value}"
            raise InputError(problem, path=path, hint=f"use at most {lists.nlist}")


def widening(index: Any) -> str:
    """The option that makes a search of this index find more passages; empty if there is none."""
    import faiss

    lists = faiss.try_extract_index_ivf(index)
    if lists:
        return "--nprobe" if lists.nprobe < lists.nlist else ""
    try:
        faiss.ParameterSpace().set_index_parameter(index, "efSearch", 16)
    except RuntimeError:
        return ""
    return "--ef-search"
