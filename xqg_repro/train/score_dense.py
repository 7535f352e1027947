"""Scored lists by a dual encoder: the inner product of the question's vector with the passage's.

With English twins of the questions, these are the scores that the last stage of DR.DECR (Li et al. 2022) distils, with
one vector for each text.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.stages import Manifest, build_file
from xqg_repro.models.encoder import open_encoders
from xqg_repro.models.questions import add_suffix
from xqg_repro.models.settings import EncoderConfig, encoder_settings
from xqg_repro.models.untied import pair_fingerprints, untied_pair
from xqg_repro.train.data import confirm_training_file, training_file
from xqg_repro.train.score import KINDS, check_paths, write_scores
from xqg_repro.train.tevatron import numbered_lines, parse_line

PassageText = tuple[str, str]
"""Title and text."""


class AskedList(NamedTuple):
    """The question of a line, or of its twin, its language (empty if unknown), and the line's passages."""

    query: str
    lang: str
    passages: list[PassageText]


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
        config: the encoder; of untied encoders, both are used.
        twins: the lines of ``data`` with their questions in English, as ``xqg-repro train twins`` writes them.

    Raises:
        InputError: as :func:`score`; or a line of ``twins`` has other passages than its line of ``data``; or the
            encoder's suffix names the language of a question, which is unknown.
    """
    output, path = Path(output), check_paths(data, output, *filter(None, (twins,)))
    lists = read_lists(path, training_file(twins) if twins else None)
    if config.needs_language:
        for line in lists:
            add_suffix(line.query, line.lang, config)  # raises if the language is unknown
    else:
        lists = [line._replace(lang="") for line in lists]  # so that each distinct question is embedded once
    confirm_training_file(data, len(lists))
    config = dataclasses.replace(config, model=untied_pair(config.model) or config.model)
    inputs = {"data": file_digest(path), **pair_fingerprints(config.model)}
    if twins:
        inputs["twins"] = file_digest(training_file(twins))
    wanted = Manifest("score", {"data": data, "twins": twins, "scorer": encoder_settings(config)}, inputs)

    def write(target: Path) -> dict[str, int]:
        of_questions, of_passages = open_encoders(config, device)
        keys = dict.fromkeys((line.query, line.lang) for line in lists)
        questions = {key: row for row, key in enumerate(keys)}
        asked = of_questions.encode_queries(*zip(*questions, strict=True))
        texts = dict.fromkeys(text for line in lists for text in line.passages)
        passages = {text: row for row, text in enumerate(texts)}
        found = of_passages.encode_passages(*zip(*passages, strict=True))

        def score(line: AskedList) -> list[float]:
            own = found[[passages[text] for text in line.passages]]
            return (own @ asked[questions[line.query, line.lang]]).tolist()

        compared = write_scores(path, target, (number for line in lists for number in score(line)))
        pairs = sum(len(line.passages) for line in lists)
        return {"questions": len(lists), "pairs": pairs, "passages": len(passages), **compared}

    return build_file(output, wanted, write, force=force)


def read_lists(path: Path, twins: Path | None = None) -> list[AskedList]:
    """The question of each line of a training file, or of its twin, with the line's passages.

    :class:`InputError` names a line that is malformed, or a line of ``twins`` that has other passages.
    """
    keys = ("query", *KINDS)
    lines = [(number, parse_line(text, path, number, keys)) for number, _, text in numbered_lines(path)]
    lists = [
        AskedList(line.query, line.lang, [(p.title, p.text) for p in (*line.positives, *line.negatives)])
        for _, line in lines
    ]
    if not any(line.passages for line in lists):
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
    return [AskedList(other.query, other.lang, line.passages) for (_, other), line in zip(english, lists, strict=True)]
