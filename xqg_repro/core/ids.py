"""Valid ids of questions and passages: those that fit into the columns of a TREC run."""

from __future__ import annotations

from pathlib import Path

from xqg_repro.core.errors import InputError


def check_id(name: str, path: str | Path, line: int | None = None) -> None:
    """Raise :class:`InputError` unless the name can be an id or the tag in a TREC run."""
    if not is_id(name):
        reason = "contains half a character" if name.split() == [name] else "is empty or contains white space"
        raise InputError(f"{name!r} cannot be an id or tag in a TREC run: it {reason}", path=path, line=line)


def is_id(name: str) -> bool:
    """Whether a name fits into a run: not empty, no white space, no lone surrogate (which JSON can contain).

    >>> is_id("q-1"), is_id("q 1"), is_id("")
    (True, False, False)
    """
    return name.split() == [name] and not any("\ud800" <= char <= "\udfff" for char in name)
