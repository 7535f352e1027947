"""The one exception that users meet: what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


class InputError(Exception):
    """Something given to the package is not as it must be.

    The command line prints the message without a traceback and exits with status 2.

    >>> print(InputError("five columns, not six", path="run.txt", line=3, mend="write qid Q0 docid rank score tag"))
    run.txt:3: five columns, not six (write qid Q0 docid rank score tag)
    """

    def __init__(
        self, problem: str, *, path: str | Path | None = None, line: int | None = None, hint: str = ""
    ) -> None:
        self.problem, self.path, self.line, self.hint = problem, path, line, hint
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{where}{problem}{f' ({hint})' if hint else ''}")


def exit_status(action: Callable[[], int]) -> int:
    """Run a command line's action; turn what went wrong into one line on stderr and an exit status.

    Returns:
        what ``action`` returns; 2 after an input error; 130 after an interrupt.
    """
    try:
        return action()
    except InputError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: {error.strerror}"
    except KeyboardInterrupt:
        print("xqg-repro: interrupted; the same command goes on behind what is finished", file=sys.stderr)
        return 130
    print(f"xqg-repro: error: {message}", file=sys.stderr)
    return 2


def nearest(name: str, known: Iterable[str]) -> str:
    """The mend for an unknown name: the nearest ones that there are, or all."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"choose from: {', '.join(known)}"


def quote(value: object, length: int = 80) -> str:
    """A value from a file as a message shows it: on one line, what cannot be printed escaped, long ones cut.

    >>> print(quote("tab\\t"), quote([1, None]), quote("abcdef", 3))
    'tab\\t' [1, None] 'abc'…
    """
    cut = value[:length] if isinstance(value, str) else value
    text = repr(cut)
    if isinstance(value, str):
        return text + "…" * (len(cut) < len(value))
    return text if len(text) <= length else text[: length - 1] + "…"
