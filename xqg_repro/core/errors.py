"""The one exception that users see: what is wrong, where, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """Bad input: an option, file, folder or model that the package cannot use.

    The command line prints the message without a traceback and exits with status 2.

    >>> print(InputError("expected 6 columns, got 5", path="run.txt", line=3, hint="qid Q0 docid rank score tag"))
    run.txt:3: expected 6 columns, got 5 (qid Q0 docid rank score tag)
    """

    def __init__(
        self, problem: str, *, path: str | Path | None = None, line: int | None = None, hint: str = ""
    ) -> None:
        self.problem, self.path, self.line, self.hint = problem, path, line, hint
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{where}{problem}{f' ({hint})' if hint else ''}")


@contextmanager
def in_file(path: str | Path) -> Iterator[None]:
    """A block that works on what a file says: an :class:`InputError` that names no file names this one."""
    try:
        yield
    except InputError as error:
        if error.path is not None:
            raise
        raise InputError(error.problem, path=path, hint=error.hint) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: the most similar known names, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(known)}"


def quote(value: object, length: int = 80) -> str:
    """A value from a file as messages show it: on one line, unprintable characters escaped, long values cut.

    >>> print(quote("tab\\t"), quote([1, None]), quote("abcdef", 3))
    'tab\\t' [1, None] 'abc'…
    """
    if isinstance(value, str):
        return repr(value[:length]) + "…" * (len(value) > length)
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"
