"""Stage ``read``: a TREC run → an answer a question, taken from the passages found by an extractive reader.

A span from token i to token j of a passage scores ``start_i + end_j - (start_0 + end_0)``: the reader's logits, less
those of the first token, which stands for *no answer here* (as in SQuAD 2.0). Of the first ``depth`` passages, the
answer is the span with the highest ``span score + weight · retrieval score``, after BERTserini (Yang et al. 2019).
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, check_output, manifest_path, matching_manifest, write_manifest
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.retrieval.runfile import read_run

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)


def read(
    run: str | Path,
    topics: str,
    config: ReaderConfig,
    output: str | Path,
    *,
    depth: int = 1,
    weight: float = 0.0,
    device: str | None = None,
    force: bool = False,
) -> Path:
    """Answer the questions of a run from its passages, or reuse the answers that are there.

    A question that is not in the run, or whose passages have no text, has the answer "", which scores 0.

    Args:
        run: a TREC run file.
        topics: ir-datasets id of its questions.
        config: the reader.
        output: JSON file of answers by qid, as ``evaluate --answers`` reads it. A note beside it, ``<output>.json``,
            says what it was made from.
        depth: passages to read a question.
        weight: of the retrieval score; 0 lets the reader alone decide between passages.
        device: torch device; ``None`` takes a GPU if there is one.
        force: read again even if the file matches.

    Raises:
        InputError: a depth below 1, a run that is malformed or of other questions or passages, unknown topics, or a
            model that is no reader.
    """
    run, output = Path(run), Path(output)
    check_output(output, run)
    if depth < 1:
        raise InputError(f"a depth of {depth} reads nothing", hint="read one passage a question at least")
    dataset = collection.load(topics, needs=["queries"])
    if not run.exists():
        raise InputError("there is no such run", path=run, hint="search first")
    questions = {question.query_id: question.default_text() for question in dataset.queries_iter()}
    wanted = Manifest(
        "read",
        {"topics": topics, "depth": depth, "weight": weight, "reader": dataclasses.asdict(config)},
        {
            "run": file_digest(run),
            "topics": collection.fingerprint(dataset, "queries"),
            "passages": collection.fingerprint(dataset, "docs"),
            "model": model_fingerprint(config.model),
        },
    )
    if not force and matching_manifest(output, wanted):
        logger.info(f"read: {output} is up to date")
        return output
    hits = {qid: held[:depth] for qid, held in read_run(run, list(questions)).items()}
    texts = collection.texts(dataset, {hit.docid for held in hits.values() for hit in held})
    answers = _answers(questions, hits, texts, SpanReader(config, device), weight)
    manifest_path(output).unlink(missing_ok=True)
    with atomic_write(output) as file:
        json.dump(answers, file, ensure_ascii=False, indent=0)
        file.write("\n")
    write_manifest(
        output, wanted, {"questions": len(answers), "unanswered": sum(not text for text in answers.values())}
    )
    logger.info(f"read: wrote {output} (questions {len(answers):,}, passages {depth} each)")
    return output


def _answers(questions: dict, hits: dict, texts: dict[str, str], reader: SpanReader, weight: float) -> dict[str, str]:
    """The text of each question's best span, in the order of the questions."""
    pairs = [(qid, hit) for qid in questions for hit in hits.get(qid, ())]
    with progress_bar(len(pairs), "read", "passages") as bar:
        spans = reader.read([questions[qid] for qid, _ in pairs], [texts[hit.docid] for _, hit in pairs], bar.update)
    answers, best = dict.fromkeys(questions, ""), dict.fromkeys(questions, float("-inf"))
    for (qid, hit), span in zip(pairs, spans, strict=True):
        if span and (score := span.score + weight * hit.score) > best[qid]:  # of equals, the one retrieved first
            answers[qid], best[qid] = texts[hit.docid][span.start : span.end], score
    return answers
