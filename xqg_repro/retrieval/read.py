"""Stage ``read``: a TREC run → one answer per question, which an extractive reader takes from the passages.

A span from token i to token j of a passage scores ``start_i + end_j - (start_0 + end_0)``: the reader's logits minus
those of the first token, which stands for *no answer here* (as in SQuAD 2.0). The answer is the span with the highest
``span score + weight · retrieval score`` in the first ``depth`` passages, after BERTserini (Yang et al. 2019).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path

from xqg_repro import collection
from xqg_repro.collection.documents import question_texts
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, build_file, check_output
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.reader import SpanReader
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.retrieval.runfile import Hit, read_run_of


def read(
    run: str | Path,
    topics: str,
    config: ReaderConfig,
    output: str | Path,
    *,
    depth: int = 1,
    weight: float = 0.0,
    passages: str = "",
    device: str | None = None,
    force: bool = False,
) -> Path:
    """Answer the questions of a run from its passages, or reuse existing answers that match.

    A question that is missing from the run, or whose passages have no text, gets the answer "", which scores 0.

    Args:
        run: a TREC run file.
        topics: ir-datasets id of its questions.
        output: JSON file of answers by qid, as ``evaluate --answers`` reads it. Its manifest is beside it, in
            ``<output>.json``.
        depth: passages to read per question.
        weight: of the retrieval score; with 0, the reader alone decides between passages.
        passages: id of the collection that was searched, if the topics do not have its passages.
        device: torch device; ``None`` takes a GPU if available.

    Raises:
        InputError: a depth below 1; a run that is malformed, belongs to other passages or has none of the questions;
            unknown topics; or a model that is not a reader.
    """
    run, output = Path(run), Path(output)
    check_output(output, run)
    if depth < 1:
        raise InputError(f"a depth of {depth} reads nothing", hint="read at least one passage per question")
    dataset = collection.load(topics, needs=["queries", "docs"], passages=passages)
    if not run.exists():
        raise InputError("no such run", path=run, hint="search first")
    questions = question_texts(dataset)
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

    def write(path: Path) -> dict[str, int]:
        hits = {qid: ranking[:depth] for qid, ranking in read_run_of(run, questions, topics).items()}
        texts = collection.texts(dataset, {hit.docid for ranking in hits.values() for hit in ranking}, run)
        answers = _answer(questions, hits, texts, _open_reader(config, device, wanted.inputs["model"]), weight)
        with atomic_write(path) as file:
            json.dump(answers, file, ensure_ascii=False, indent=0)
            file.write("\n")
        return {"questions": len(answers), "unanswered": sum(not answer for answer in answers.values())}

    build_file(output, wanted, write, force=force)
    return output


@lru_cache(maxsize=1)
def _open_reader(config: ReaderConfig, device: str | None, model: str) -> SpanReader:
    """The reader, which is kept for the next run; ``model`` is its fingerprint, so that a changed model is loaded."""
    return SpanReader(config, device)


def _answer(
    questions: Mapping[str, str],
    hits: Mapping[str, Sequence[Hit]],
    texts: Mapping[str, str],
    reader: SpanReader,
    weight: float,
) -> dict[str, str]:
    """The text of each question's best span, in the order of the questions."""
    pairs = [(qid, hit) for qid in questions for hit in hits.get(qid, ())]
    with progress_bar(len(pairs), "read", "passages") as bar:
        spans = reader.read([questions[qid] for qid, _ in pairs], [texts[hit.docid] for _, hit in pairs], bar.update)
    answers, best = dict.fromkeys(questions, ""), dict.fromkeys(questions, -inf)
    for (qid, hit), span in zip(pairs, spans, strict=True):
        if span is None:
            continue
        score = span.score + weight * hit.score
        if score > best[qid]:  # equal scores: the passage retrieved first wins
            answers[qid], best[qid] = texts[hit.docid][span.start : span.end], score
    return answers
