"""English twins of a training file: the same lines, but each question is replaced by its English translation.

Stage D of DR.DECR reads both files, see :mod:`xqg_repro.train.decr_data`.
"""

from __future__ import annotations

import json
from pathlib import Path

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import Manifest, build_file, check_output
from xqg_repro.core.text import decode
from xqg_repro.train.data import training_file
from xqg_repro.train.parallel_data import load_pairs
from xqg_repro.train.tevatron import numbered_lines, parse_line

ENGLISH = "en"


def write_twins(data: str, parallel: str, output: str | Path, *, force: bool = False) -> Manifest:
    """Write the English twins of a training file, or reuse an existing file that matches.

    A question without a language takes the translation of any language's question with the same text. An English
    question is its own twin.

    Args:
        data: ``.jsonl`` file in Tevatron's format.
        parallel: parallel questions, see :func:`~xqg_repro.train.parallel_data.load_pairs`.
        output: the ``.jsonl`` file to write. Its manifest, ``<output>.json``, is written beside it.
        force: write again even if the file matches.

    Raises:
        InputError: a line is malformed, its question has no translation, or the parallel questions cannot be read.
    """
    output = Path(output)
    for path in (data, *([] if is_stream(output) else [str(output)])):
        if not path.endswith(".jsonl"):
            raise InputError("the name of a training file must end in .jsonl", path=path)
    check_output(output, data, parallel)
    file, pairs = training_file(data), load_pairs(parallel)
    english: dict[tuple[str, str], str] = {}
    for pair in pairs.examples:
        for lang in (pair.lang, ""):
            english.setdefault((lang, pair.query), pair.positive.text)

    def write(target: Path) -> dict[str, int]:
        count = 0
        with atomic_write(target) as lines:
            for number, _, line in numbered_lines(file):
                question = parse_line(line, file, number, ("query", "positive_passages"))
                translation = english.get((question.lang, question.query.strip()))
                if question.lang == ENGLISH:
                    translation = question.query
                if translation is None:
                    problem = f"the question {quote(question.query)} has no English translation in {parallel}"
                    raise InputError(
                        problem, path=file, line=number, hint="leave it out, or name other parallel questions"
                    )
                item = json.loads(decode(line, file, number)) | {"query": translation, "lang": ENGLISH}
                lines.write(json.dumps(item, ensure_ascii=False) + "\n")
                count += 1
        if not count:
            raise InputError("holds no questions", path=file)
        return {"questions": count}

    inputs = {"data": file_digest(file), "parallel": pairs.version}
    return build_file(output, Manifest("twins", {"data": data, "parallel": parallel}, inputs), write, force=force)
