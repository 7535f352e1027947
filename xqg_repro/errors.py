"""The one exception that users meet: what is wrong, where, and how to mend it."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """Something given to the package is not as it must be.

    The command line prints the message without a traceback and exits with status 2.

    >>> print(InputError("five columns, not six", path="run.txt", line=3, mend="write qid Q0 docid rank score tag"))
    run.txt:3: five columns, not six (write qid Q0 docid rank score tag)
    """

    def __init__(
        self, problem: str, *, path: str | Path | None = None, line: int | None = None, mend: str = ""
    ) -> None:
        self.problem, self.path, self.line, self.mend = problem, path, line, mend
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{where}{problem}{f' ({mend})' if mend else ''}")
