"""Stage ``read``: a TREC run → an answer a question, taken from the passages found by an extractive reader.

A span from token i to token j of a passage scores ``start_i + end_j - (start_0 + end_0)``: the reader's logits, less
those of the first token, which stands for *no answer here* (as in SQuAD 2.0). Of the first ``depth`` passages, the
answer is the span with the highest ``span score + weight · retrieval score``, after BERTserini (Yang et al. 2019).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import ReaderConfig
from xqg_repro.core.stages import Manifest, atomic_write, check_output, file_digest, note_path, noted, write_note
from xqg_repro.models.encoder import TOKENS_PER_BATCH, chosen_device, load_model, model_fingerprint, move, resolve_model
from xqg_repro.models.encoder import token_batches as batches
from xqg_repro.models.reader import FIRST, Window, padded, windows
from xqg_repro.retrieval.runfile import read_run

if TYPE_CHECKING:
    import torch

PAIRS_AT_ONCE = 2048


class Span(NamedTuple):
    """A stretch of a passage: its characters from ``start`` to ``end``, and how well it answers."""

    start: int
    end: int
    score: float


class SpanReader:
    """A question-answering model that marks the answer to a question in a passage.

    Args:
        config: what decides the answer.
        device: a torch device; ``None`` takes a GPU if there is one.

    Raises:
        InputError: the model is no question-answering model, or reads fewer tokens than ``max_length``.
    """

    def __init__(self, config: ReaderConfig, device: str | None = None) -> None:
        import torch

        folder = resolve_model(config.model)
        self.config = config
        self._tokenizer, self._model = load_model(
            folder,
            getattr(torch, config.precision.value),
            "AutoModelForQuestionAnswering",
            "a question-answering model",
        )
        check_reads(self._tokenizer, self._model, config, folder)
        self.device = chosen_device(device)
        move(self._model, self.device)

    def read(
        self, questions: Sequence[str], passages: Sequence[str], progress: Callable[[int], object] = lambda number: None
    ) -> list[Span | None]:
        """The best span of each pair; ``None`` where a passage has no text.

        Args:
            questions, passages: of equal number.
            progress: told how many pairs were read, each time that some were.
        """
        found: list[Span | None] = []
        for at in range(0, len(questions), PAIRS_AT_ONCE):
            asked, texts = questions[at : at + PAIRS_AT_ONCE], passages[at : at + PAIRS_AT_ONCE]
            found += self._read(asked, texts)
            progress(len(asked))
        return found

    def _read(self, questions: Sequence[str], passages: Sequence[str]) -> list[Span | None]:
        import torch

        best: list[Span | None] = [None] * len(questions)
        every = list(windows(self._tokenizer, questions, passages, self.config))
        for batch in batches([len(w) for w in every], TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]):
            some = [every[i] for i in batch]
            with torch.inference_mode():
                output = self._model(**{name: t.to(self.device) for name, t in padded(self._tokenizer, some).items()})
            logits = output.start_logits.float().cpu(), output.end_logits.float().cpu()
            for window, span in zip(some, best_spans(some, *logits, self.config.answer_max_length), strict=True):
                held = best[window.pair]
                if span and (held is None or (-span.score, span.start) < (-held.score, held.start)):
                    best[window.pair] = span
        return best


def check_reads(tokenizer: Any, model: Any, config: ReaderConfig, folder: Path) -> None:
    """Raise :class:`InputError` where a model cannot read windows of ``max_length``, or knows no tokens' characters."""
    limit = min(getattr(model.config, "max_position_embeddings", config.max_length), tokenizer.model_max_length)
    if config.max_length > limit:
        problem = f"reads at most {limit} tokens, but the maximum length is {config.max_length}"
        raise InputError(problem, path=folder, mend="lower --max-length")
    if not tokenizer.is_fast:
        raise InputError("has no fast tokenizer, which a reader needs", path=folder, mend="add its tokenizer.json")


def best_spans(some: Sequence[Window], start: torch.Tensor, end: torch.Tensor, longest: int) -> list[Span | None]:
    """The best span of each window's passage; ``None`` where none of its tokens are in the window.

    Args:
        some: B windows.
        start, end: logits, float32, shape (B, T), T at least the longest window.
        longest: of a span, in tokens.
    """
    import torch

    size = start.shape[1]
    # a token without a character is not to begin or end with
    mine = [[bool(at and at[1] > at[0]) for at in window.offsets] for window in some]
    outside = ~torch.tensor([row + [False] * (size - len(row)) for row in mine])
    starts, ends = (logits.masked_fill(outside, float("-inf")) for logits in (start, end))
    allowed = torch.ones(size, size, dtype=torch.bool).triu().tril(longest - 1)
    scores = (starts[:, :, None] + ends[:, None, :]).masked_fill(~allowed, float("-inf"))
    best, places = scores.flatten(1).max(dim=1)
    totals = best - start[:, FIRST] - end[:, FIRST]
    found: list[Span | None] = []
    for window, score, place in zip(some, totals.tolist(), places.tolist(), strict=True):
        if score == float("-inf"):
            found.append(None)
        else:
            first, last = (window.offsets[i] for i in divmod(place, size))
            found.append(Span(first[0], last[1], score))
    return found


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
    log: Callable[[str], None] = print,
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
        log: receives one line on what was decided.

    Raises:
        InputError: a depth below 1, a run that is malformed or of other questions or passages, unknown topics, or a
            model that is no reader.
    """
    run, output = Path(run), Path(output)
    check_output(output, run)
    if depth < 1:
        raise InputError(f"a depth of {depth} reads nothing", mend="read one passage a question at least")
    dataset = collection.load(topics, needs=["queries"])
    if not run.exists():
        raise InputError("there is no such run", path=run, mend="search first")
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
    if not force and noted(output, wanted):
        log(f"read: {output} is there already")
        return output
    hits = {qid: held[:depth] for qid, held in read_run(run, list(questions)).items()}
    texts = collection.texts(dataset, {hit.docid for held in hits.values() for hit in held})
    answers = _answers(questions, hits, texts, SpanReader(config, device), weight)
    note_path(output).unlink(missing_ok=True)
    with atomic_write(output) as file:
        json.dump(answers, file, ensure_ascii=False, indent=0)
        file.write("\n")
    write_note(output, wanted, {"questions": len(answers), "unanswered": sum(not text for text in answers.values())})
    log(f"read: wrote {output} (questions {len(answers):,}, passages {depth} each)")
    return output


def _answers(questions: dict, hits: dict, texts: dict[str, str], reader: SpanReader, weight: float) -> dict[str, str]:
    """The text of each question's best span, in the order of the questions."""
    from tqdm import tqdm

    pairs = [(qid, hit) for qid in questions for hit in hits.get(qid, ())]
    with tqdm(total=len(pairs), unit="passage", desc="read", disable=None) as bar:
        spans = reader.read([questions[qid] for qid, _ in pairs], [texts[hit.docid] for _, hit in pairs], bar.update)
    answers, best = dict.fromkeys(questions, ""), dict.fromkeys(questions, float("-inf"))
    for (qid, hit), span in zip(pairs, spans, strict=True):
        if span and (score := span.score + weight * hit.score) > best[qid]:  # of equals, the one retrieved first
            answers[qid], best[qid] = texts[hit.docid][span.start : span.end], score
    return answers
