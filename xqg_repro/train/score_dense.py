"""Scored lists by a dual encoder: the inner product of the question's vector with the passage's.

With English twins of the questions, these are the scores that the last stage of DR.DECR (Li et al. 2022) distils, with
one vector for each text.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.stages import Manifest, build_file
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.train.data import confirm_training_file, training_file
from xqg_repro.train.score import KINDS, check_paths, write_scores
from xqg_repro.train.tevatron import numbered_lines, parse_line

PassageText = tuple[str, str]
"""Title and text."""


def score_by_encoder(
    data: str,
    config: EncoderConfig,
    output: str | Path,
    *,
    twins: str | None = None,
    device: str | None = None,
    force: bool = False,
) -> Manifest:
    """Score every pair of question and passage of a training file by a dual encoder, as :func:`score` does.

    With ``twins``, the encoder reads each line's question in English, from the same line of that file: the score loss
    of DR.DECR, whose teacher reads English questions only.

    Args:
        data, output, device, force: as in :func:`score`.
        config: the encoder.
        twins: the lines of ``data`` with their questions in English, as ``xqg-repro train twins`` writes them.

    Raises:
        InputError: as :func:`score`; or a line of ``twins`` has other passages than its line of ``data``.
    """
    output, path = Path(output), check_paths(data, output, *filter(None, (twins,)))
    lists = read_lists(path, training_file(twins) if twins else None)
    confirm_training_file(data, len(lists))
    inputs = {"data": file_digest(path), "model": model_fingerprint(config.model)}
    if twins:
        inputs["twins"] = file_digest(training_file(twins))
    wanted = Manifest("score", {"data": data, "twins": twins, "scorer": dataclasses.asdict(config)}, inputs)

    def write(target: Path) -> dict[str, int]:
        encoder = TextEncoder(config, device)
        questions = {question: row for row, question in enumerate(dict.fromkeys(query for query, _ in lists))}
        passages = {text: row for row, text in enumerate(dict.fromkeys(text for _, texts in lists for text in texts))}
        asked, found = encoder.encode_queries(list(questions)), encoder.encode_passages(*zip(*passages, strict=True))
        scores = (
            score
            for query, texts in lists
            for score in (found[[passages[text] for text in texts]] @ asked[questions[query]]).tolist()
        )
        compared = write_scores(path, target, scores)
        counts = {"questions": len(lists), "pairs": sum(len(texts) for _, texts in lists), "passages": len(passages)}
        return {**counts, **compared}

    return build_file(output, wanted, write, force=force)


def read_lists(path: Path, twins: Path | None = None) -> list[tuple[str, list[PassageText]]]:
    """The question of each line of a training file, or of its twin, and the passages, as title and text.

    :class:`InputError` names a line that is malformed, or a line of ``twins`` that has other passages.
    """
    keys = ("query", *KINDS)
    lines = [(number, parse_line(text, path, number, keys)) for number, _, text in numbered_lines(path)]
    lists = [(line.query, [(p.title, p.text) for p in (*line.positives, *line.negatives)]) for _, line in lines]
    if not any(passages for _, passages in lists):
        raise InputError("has no question with a passage to score", path=path)
    if twins is None:
        return lists
    english = [(number, parse_line(text, twins, number, keys)) for number, _, text in numbered_lines(twins)]
    hint = "write the same lines with English questions, as xqg-repro train twins does"
    if len(english) != len(lines):
        raise InputError(f"has {len(english):,} lines, but {path} has {len(lines):,}", path=twins, hint=hint)
    for (number, line), (other_number, other) in zip(lines, english, strict=True):
        if (line.positives, line.negatives) != (other.positives, other.negatives):
            problem = f"has other passages than line {number} of {path}"
            raise InputError(problem, path=twins, line=other_number, hint=hint)
    return [(other.query, passages) for (_, other), (_, passages) in zip(english, lists, strict=True)]
