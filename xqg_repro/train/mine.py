"""Hard negatives: passages that a retriever ranks high for a training question although they do not answer it.

The retriever is one of :mod:`xqg_repro.train.retrieved`. From the retrieved passages, positives are dropped, by docid
or as the same words under another docid, and so is every passage that contains an answer by the rule of
:mod:`xqg_repro.train.answers`. If the answers are unknown, only positives are dropped.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xqg_repro import collection
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.stages import Manifest, build_file
from xqg_repro.core.tables import Table
from xqg_repro.retrieval.runfile import Run
from xqg_repro.train.answers import contains_answer, has_searchable, passage_keys
from xqg_repro.train.gold import ALL_GOLD, Gold
from xqg_repro.train.retrieved import Asked, Retriever, check_training_output, load_questions
from xqg_repro.train.tevatron import TevatronLine

DEPTH = 100
NEGATIVES = 30


@dataclass(frozen=True)
class Mined:
    """Counts of what was mined. Retrieved passages are dropped if they are positives or contain an answer."""

    questions: int = 0  # written, each with its positives
    negatives: int = 0  # written
    answering: int = 0
    positive: int = 0
    without_negatives: int = 0
    without_answers: int = 0  # other than ``yes`` and ``no``
    without_positives: int = 0

    def table(self) -> Table:
        """The counts with a description each."""
        rows = [
            ("questions", self.questions),
            ("negatives", self.negatives),
            ("dropped, contain an answer", self.answering),
            ("dropped, positive", self.positive),
            ("questions without a negative", self.without_negatives),
            ("questions without known answers", self.without_answers),
            ("questions left out, without a positive", self.without_positives),
        ]
        return Table(("what", "count"), [(name, f"{count:,}") for name, count in rows])


def mine(
    data: str,
    output: str | Path,
    *,
    index: str | Path | None = None,
    bm25: str | Path | None = None,
    run: str | Path | None = None,
    passages: str = "",
    depth: int = DEPTH,
    negatives: int = NEGATIVES,
    sample: int | None = None,
    gold: Gold = ALL_GOLD,
    device: str | None = None,
    force: bool = False,
) -> Mined:
    """Write a training file in Tevatron's format with mined negatives, or reuse an existing file that matches.

    Args:
        data: ir-datasets id with questions and judgements, such as ``xor-mini/train``, or a ``.jsonl`` file in
            Tevatron's format, whose own negatives are replaced.
        output: the ``.jsonl`` file to write. Its manifest, ``<output>.json``, is written beside it.
        index, bm25, run: one of them; see :class:`~xqg_repro.train.retrieved.Retriever`.
        passages: ir-datasets id of the passages; required for a file, not allowed for an id, which has its own.
        depth: passages to retrieve per question.
        negatives: negatives to keep per question.
        sample: seed to draw the negatives at random from those retrieved; ``None`` keeps the highest-ranked.
        gold: the questions that keep their positives; the others are left out, as those without a positive are.
        device: torch device of the encoder; ``None`` uses a GPU if available.
        force: mine again even if the file matches.

    Returns:
        the counts, which are also in the manifest.

    Raises:
        InputError: the data is unknown, has no judgements or has a malformed line; not exactly one retriever is given;
            or the index is over another collection.
    """
    output = Path(output)
    retriever = Retriever(index, bm25, run)
    if not 1 <= negatives <= depth:
        problem = f"cannot keep {negatives} negatives of {depth} retrieved passages"
        raise InputError(problem, hint="keep at least 1 and at most --depth")
    check_training_output(output, data)
    if passages and not data.endswith(".jsonl"):
        raise InputError(f"{data} has passages of its own", hint="leave out --collection")
    asked = load_questions(data, passages)
    settings, searched = retriever.identify(asked)
    parameters = {"data": data, "collection": asked.docs.dataset_id(), "retriever": settings}
    parameters |= {"depth": depth, "negatives": negatives, "sample": sample}
    parameters |= {} if gold.is_all else gold.settings()  # older files do not have these
    version = collection.fingerprint(asked.docs, "docs")
    inputs = {"questions": asked.version, "collection": version, "index": searched}
    questions = gold.hide(asked.questions)

    def write(path: Path) -> dict[str, int]:
        qids = {question.qid for question in questions if question.positives}
        if not qids:
            raise InputError(f"{data} has no question with a positive passage")
        retrieved = retriever.retrieve(asked, qids, depth, device)
        return dataclasses.asdict(_write(questions, retrieved, asked, path, negatives, sample))

    return Mined(**build_file(output, Manifest("mine", parameters, inputs), write, force=force).counts)


def _write(
    questions: Sequence[TevatronLine], run: Run, asked: Asked, output: Path, count: int, sample: int | None
) -> Mined:
    """Write the questions with at most ``count`` negatives each."""
    counts: Counter[str] = Counter()
    with atomic_write(output) as file:
        for question in questions:
            if not question.positives:
                counts["without_positives"] += 1
                continue
            candidates = _drop(question, asked.passages(run.get(question.qid, [])), counts)
            negatives = candidates[:count]
            if sample is not None:  # a random sample, in rank order
                draw = random.Random(f"{sample}|{question.qid}")
                positions = draw.sample(range(len(candidates)), len(negatives))
                negatives = [candidates[position] for position in sorted(positions)]
            file.write(question._replace(negatives=tuple(negatives)).to_json())
            counts["questions"] += 1
            counts["negatives"] += len(negatives)
            counts["without_negatives"] += not negatives
            counts["without_answers"] += not has_searchable(question.answers)
    return Mined(**counts)


def _drop(question: TevatronLine, retrieved: Sequence[Passage], counts: Counter[str]) -> list[Passage]:
    """The retrieved passages that can be negatives, in rank order; those dropped are counted."""
    positives = {key for passage in question.positives for key in passage_keys(passage)}
    candidates = []
    for passage in retrieved:
        if passage_keys(passage) & positives:
            counts["positive"] += 1
        elif contains_answer(passage, question.answers):
            counts["answering"] += 1
        else:
            candidates.append(passage)
    return candidates
