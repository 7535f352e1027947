"""Ids of questions and passages, as TREC's columns allow them."""

from __future__ import annotations

from pathlib import Path

from xqg_repro.core.errors import InputError


def check_id(name: str, path: str | Path, line: int | None = None) -> None:
    """Raise :class:`InputError` for a name that cannot be an id or the tag in a TREC run."""
    if not is_id(name):
        why = "holds half a character" if name.split() == [name] else "is empty or holds white space"
        raise InputError(f"{name!r} cannot be an id or tag in a TREC run: it {why}", path=path, line=line)


def is_id(name: str) -> bool:
    """Whether a name can stand in a run: not empty, no white space, no half of a surrogate pair (as JSON can have).

    >>> is_id("q-1"), is_id("q 1"), is_id("")
    (True, False, False)
    """
    return name.split() == [name] and not any("\ud800" <= char <= "\udfff" for char in name)
