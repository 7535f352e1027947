"""Training files in Tevatron's format, joined into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.stages import Manifest, build_file, check_output
from xqg_repro.train.tevatron import numbered_lines, parse_line


def join_files(sources: Sequence[str | Path], output: str | Path, *, force: bool = False) -> Manifest:
    """Write the lines of training files, one file after the other, or reuse an existing file that matches.

    Returns:
        the manifest, which counts the ``questions``, and those in each language as ``questions.fi``.

    Raises:
        InputError: a line is malformed, or two lines have the same ``query_id``.
    """
    paths = [Path(source) for source in sources]
    check_output(output, *paths)
    inputs = {f"{number}": file_digest(path) for number, path in enumerate(paths)}

    def write(path: Path) -> dict[str, int]:
        counts, seen = Counter({"questions": 0}), set()
        with atomic_write(path, "wb") as file:
            for source in paths:
                for number, _, text in numbered_lines(source):
                    line = parse_line(text, source, number, ("query_id", "query", "positive_passages"))
                    if line.qid in seen:
                        raise InputError(f"repeats the question {line.qid}", path=source, line=number)
                    seen.add(line.qid)
                    counts.update(["questions", *([f"questions.{line.lang}"] if line.lang else [])])
                    file.write(text.rstrip(b"\n") + b"\n")
        return dict(counts)

    return build_file(output, Manifest("join", {}, inputs), write, force=force)
