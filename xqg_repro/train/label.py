"""Labels: retrieved passages become the positives and negatives of training questions, as a judge decides.

Systems that train themselves know the relevant passages of few questions, but the answers of many. A question that
keeps its relevant passages has them as its positives; of any other, positives are those that the judge finds among the
retrieved passages, in rank order. A question with neither is left out. Negatives are the highest-ranked passages that
the judge calls negative. A passage with the same words as a positive is never one.

Where the relevant passages are known, the manifest also counts how many labels are right: the judge does not see them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from xqg_repro import collection
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.progress import progress_bar
from xqg_repro.core.stages import Manifest, build_file
from xqg_repro.core.tables import Table
from xqg_repro.retrieval.runfile import Run
from xqg_repro.train.answers import has_searchable, passage_keys
from xqg_repro.train.gold import Gold
from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind
from xqg_repro.train.judges import Retrieved, Verdict, open_judge
from xqg_repro.train.loop import in_parts
from xqg_repro.train.retrieved import Asked, Retriever, check_training_output, load_questions
from xqg_repro.train.tevatron import TevatronLine

DEPTH = 20
NEGATIVES = 30
NO_GOLD = Gold(0.0)

QUESTIONS_AT_ONCE = 256
"""Questions whose passages are judged together. It decides how texts are batched, and so the last bits of scores."""

COUNTS = (
    "questions",
    "gold",  # questions that keep their relevant passages
    "labelled",  # further ones for which the judge found a positive
    "fallback",  # further ones whose positive is a matched passage
    "left_out",  # those with none of these
    "positives",  # passages that became positives by judgement or as a fallback, even if they are not all written
    "negatives",  # written
    "without_negatives",
    "without_answers",  # other than yes and no
    "checked",  # those of the positives whose question has known relevant passages
    "right",  # those of them that are relevant
    "relevant",  # relevant passages of the questions that do not keep them
    "checked_first",  # questions with a checked positive
    "right_first",  # those of them whose first positive is relevant
)
"""What is counted, in all and, as ``positives.fi``, by language of the question."""


@dataclass(frozen=True)
class Labelled:
    """What was labelled; ``counts`` are those of :data:`COUNTS`, in all and by language."""

    counts: Mapping[str, int]

    @property
    def languages(self) -> list[str]:
        """The questions' languages."""
        return sorted({name.partition(".")[2] for name in self.counts} - {""})

    def precision(self, language: str = "") -> float | None:
        """Share of the positives that are relevant; ``None`` if none could be checked."""
        return self._share("right", "checked", language)

    def recall(self, language: str = "") -> float | None:
        """Share of the relevant passages, of questions that do not keep them, that became positives."""
        return self._share("right", "relevant", language)

    def first_precision(self, language: str = "") -> float | None:
        """Share of the questions, of those with a positive that could be checked, whose first positive is relevant."""
        return self._share("right_first", "checked_first", language)

    def _share(self, part: str, whole: str, language: str) -> float | None:
        part, whole = (f"{name}.{language}" if language else name for name in (part, whole))
        return self.counts[part] / self.counts[whole] if self.counts.get(whole) else None

    def table(self) -> Table:
        """Counts and quality by language; the last row is that of all questions."""
        counted = ("questions", "gold", "labelled", "fallback", "left_out", "positives", "negatives")
        rows = []
        for language in (*self.languages, ""):
            end = f".{language}" if language else ""
            shares = (self.precision(language), self.first_precision(language), self.recall(language))
            cells = [f"{self.counts.get(name + end, 0):,}" for name in counted]
            cells += ["" if share is None else f"{share:.1%}" for share in shares]
            rows.append((language or "all", *cells))
        header = ("language", *(name.replace("_", " ") for name in counted), "precision", "of the first", "recall")
        return Table(header, rows)


def label(
    data: str,
    judge: JudgeConfig,
    output: str | Path,
    *,
    index: str | Path | None = None,
    bm25: str | Path | None = None,
    run: str | Path | None = None,
    passages: str = "",
    depth: int = DEPTH,
    positives: int | None = None,
    negatives: int = NEGATIVES,
    gold: Gold = NO_GOLD,
    device: str | None = None,
    force: bool = False,
) -> Labelled:
    """Write a training file in Tevatron's format with labels, or reuse an existing file that matches.

    Args:
        data: ir-datasets id with questions and answers, such as ``xor-mini/train``, or a ``.jsonl`` file in Tevatron's
            format, whose positives are the questions' relevant passages, and whose negatives are not read.
        judge: what decides.
        output: the ``.jsonl`` file to write. Its manifest, ``<output>.json``, is written beside it.
        index, bm25, run: one of them; see :class:`~xqg_repro.train.retrieved.Retriever`.
        passages: ir-datasets id of the passages; required for a file, and for an id whose own are not searched.
        depth: passages to retrieve and to judge per question.
        positives: positives to keep per question without relevant passages, the highest-ranked; ``None`` keeps all.
        negatives: negatives to keep per question, the highest-ranked.
        gold: the questions that keep their relevant passages; by default none does.
        device: torch device of the encoder and of the judge's model; ``None`` uses a GPU if available.
        force: label again even if the file matches.

    Returns:
        the counts, which are also in the manifest.

    Raises:
        InputError: the data is unknown or has a malformed line; not exactly one retriever is given; the index is over
            another collection; the judge is ``qrels`` and no relevant passage is known; or no question has a positive.
    """
    output, retriever = Path(output), Retriever(index, bm25, run)
    if depth < 1 or negatives < 0 or (positives is not None and positives < 1):
        problem = f"cannot keep {positives or 'all'} positives and {negatives} negatives of {depth} retrieved passages"
        raise InputError(problem, hint="retrieve at least one passage, and keep at least one positive")
    check_training_output(output, data)
    asked = load_questions(data, passages, needs=())
    if judge.kind is JudgeKind.QRELS and not any(question.positives for question in asked.questions):
        raise InputError(f"{data} has no relevance judgements", hint="choose another --judge")
    settings, searched = retriever.identify(asked)
    judge_settings, models = judge.identify()
    parameters = {"data": data, "collection": asked.docs.dataset_id(), "retriever": settings, "judge": judge_settings}
    parameters |= {"depth": depth, "positives": positives, "negatives": negatives, **gold.settings()}
    version = collection.fingerprint(asked.docs, "docs")
    inputs = {"questions": asked.version, "collection": version, "index": searched, **models}
    questions = gold.hide(asked.questions)

    def write(path: Path) -> dict[str, int]:
        hits = retriever.retrieve(asked, {question.qid for question in questions}, depth, device)
        return _write(asked, questions, hits, judge, path, (positives, negatives), device)

    return Labelled(build_file(output, Manifest("label", parameters, inputs), write, force=force).counts)


def _write(
    asked: Asked,
    questions: Sequence[TevatronLine],
    run: Run,
    judge: JudgeConfig,
    output: Path,
    limits: tuple[int | None, int],
    device: str | None,
) -> dict[str, int]:
    """Judge the retrieved passages, and write the questions that have positives; return the counts."""
    relevant = {question.qid: {passage.doc_id for passage in question.positives} for question in asked.questions}
    decide = open_judge(judge, relevant, device)
    counts: Counter[str] = Counter()
    total = sum(len(run.get(question.qid, ())) for question in questions)
    with atomic_write(output) as file, progress_bar(total, "label", "passages") as bar:
        for part in in_parts(questions, QUESTIONS_AT_ONCE):
            found = [asked.passages(run.get(question.qid, ())) for question in part]
            pairs = [Retrieved(q, passage) for q, own in zip(part, found, strict=True) for passage in own]
            verdicts = iter(decide(pairs, bar.update))
            for question, own in zip(part, found, strict=True):
                judged = [(passage, next(verdicts)) for passage in own]
                labels = choose_labels(question, judged, falls_back=judge.falls_back)
                counted = _count(question, labels, relevant[question.qid], limits[1])
                counts.update(counted)
                if question.lang:
                    counts.update({f"{name}.{question.lang}": number for name, number in counted.items()})
                if labels.positives:
                    kept = labels.positives if labels.source == "gold" else labels.positives[: limits[0]]
                    line = question._replace(positives=kept, negatives=labels.negatives[: limits[1]])
                    file.write(line.to_json())
        if not counts["questions"] - counts["left_out"]:
            raise InputError("no question has a positive passage", hint="raise --depth, or choose another --judge")
    return dict(counts)


class Labels(NamedTuple):
    """The labels of a question: all that a judge found, in rank order.

    Attributes:
        source: where the positives are from, by the names of :data:`COUNTS`: ``gold``, ``labelled``, ``fallback`` or
            ``left_out``.
    """

    source: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]


def choose_labels(question: TevatronLine, judged: Sequence[tuple[Passage, Verdict]], *, falls_back: bool) -> Labels:
    """The labels of a question.

    Args:
        question: its positives are the relevant passages that it keeps.
        judged: the retrieved passages in rank order, with the verdicts on them.
        falls_back: whether the first matched passage is the positive of a question that has no other.
    """
    by_verdict = {verdict: [passage for passage, own in judged if own is verdict] for verdict in Verdict}
    source, positives = "gold", list(question.positives)
    if not positives:
        source, positives = "labelled", by_verdict[Verdict.POSITIVE]
    if not positives and falls_back:
        source, positives = "fallback", by_verdict[Verdict.MATCHED][:1]
    keys = {key for passage in positives for key in passage_keys(passage)}
    negatives = [passage for passage in by_verdict[Verdict.NEGATIVE] if not passage_keys(passage) & keys]
    return Labels(source if positives else "left_out", tuple(positives), tuple(negatives))


def _count(question: TevatronLine, labels: Labels, relevant: set[str], negatives: int) -> dict[str, int]:
    """The counts of one question, for :data:`COUNTS`."""
    counts = dict.fromkeys(COUNTS, 0) | {"questions": 1, labels.source: 1}
    counts["without_answers"] = int(not has_searchable(question.answers))
    if labels.positives:
        counts["negatives"] = min(len(labels.negatives), negatives)
        counts["without_negatives"] = int(not counts["negatives"])
    if labels.source == "gold":
        return counts
    counts["positives"] = len(labels.positives)
    if relevant:
        right = [passage.doc_id in relevant for passage in labels.positives]
        counts |= {"checked": len(right), "right": sum(right), "relevant": len(relevant)}
        counts |= {"checked_first": int(bool(right)), "right_first": int(any(right[:1]))}
    return counts
