"""Valid ids of questions and passages: those that fit into the columns of a TREC run."""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from xqg_repro.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_IDS_PER_CHECK = 1 << 18


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


def check_unique(
    items: Iterable[T],
    name: Callable[[T], str],
    read_again: Callable[[], Iterable[T]],
    error: Callable[[str, int], InputError],
) -> Iterator[T]:
    """Pass items on; raise an error if two have the same id, at the latest 262,144 items after the second.

    Memory holds eight bytes per id, a hash: 144 MB for 18 million, where a set of the ids takes 2 GB. If two hashes are
    equal, the items are read again to compare the ids themselves.

    Args:
        items: what has the ids.
        name: the id of an item.
        read_again: the same items, from the first.
        error: the error for an id and the number of its items.
    """
    import numpy as np

    checked, hashes = np.empty(0, np.int64), array("q")
    for item in items:
        hashes.append(hash(name(item)))
        yield item
        if len(hashes) == _IDS_PER_CHECK:
            checked, hashes = _merge(checked, hashes, name, read_again, error), array("q")
    _merge(checked, hashes, name, read_again, error)


def _merge(
    checked: np.ndarray,
    hashes: array[int],
    name: Callable[[T], str],
    read_again: Callable[[], Iterable[T]],
    error: Callable[[str, int], InputError],
) -> np.ndarray:
    """All hashes in order; see :func:`check_unique`."""
    import numpy as np

    merged = np.concatenate([checked, np.frombuffer(hashes, dtype=np.int64)])
    merged.sort(kind="stable")  # quick, as most are sorted
    repeated = set(merged[1:][merged[1:] == merged[:-1]].tolist())
    if repeated:
        counts = Counter(docid for docid in map(name, read_again()) if hash(docid) in repeated)
        docid, count = counts.most_common(1)[0]
        if count > 1:  # and not two ids with one hash
            raise error(docid, count)
    return merged


def lookalike_hint(name: str, known: Iterable[str]) -> str:
    """How an unknown id differs from a known one that looks the same; empty if none does.

    Such ids differ in their Unicode normalisation, as NFC and NFD do, or in invisible characters.

    >>> print(lookalike_hint("Mala\u0301", ["Turku", "Mal\u00e1"]))
    it has U+0061 U+0301 (NFD) where 'Malá', which looks the same, has U+00E1 (NFC)
    """
    appearance = _appearance(name)
    for other in known:
        if other != name and not (name.isascii() and other.isascii()) and _appearance(other) == appearance:
            start = next(i for i in range(len(name) + 1) if name[: i + 1] != other[: i + 1])
            limit = min(len(name), len(other)) - start
            end = next((i for i in range(limit) if name[-1 - i] != other[-1 - i]), limit)
            mine, theirs = (_code_points(text, text[start : len(text) - end]) for text in (name, other))
            return f"it has {mine} where {other!r}, which looks the same, has {theirs}"
    return ""


def _appearance(name: str) -> str:
    """A name in one normal form, without invisible characters."""
    return "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")


def _code_points(name: str, part: str) -> str:
    """The code points of a part of a name, and the normal form if the name has only one."""
    forms = [form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, name)]
    points = " ".join(f"U+{ord(char):04X}" for char in part) or "nothing"
    return f"{points} ({forms[0]})" if len(forms) == 1 else points
