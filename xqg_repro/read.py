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
from typing import NamedTuple

from xqg_repro import collection
from xqg_repro.artifacts import Manifest, atomic_write, file_digest, note_path, noted, write_note
from xqg_repro.config import ReaderConfig
from xqg_repro.encoders import TOKENS_PER_BATCH, chosen_device, load_model, model_fingerprint, move, resolve_model
from xqg_repro.encoders import token_batches as batches
from xqg_repro.errors import InputError
from xqg_repro.runfile import read_run
from xqg_repro.windows import FIRST, Window, padded, windows

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
            logits = zip(some, output.start_logits.float().cpu(), output.end_logits.float().cpu(), strict=True)
            for window, start, end in logits:
                span = best_span(window, start, end, self.config.answer_max_length)
                held = best[window.pair]
                if span and (held is None or (-span.score, span.start) < (-held.score, held.start)):
                    best[window.pair] = span
        return best


def check_reads(tokenizer: object, model: object, config: ReaderConfig, folder: Path) -> None:
    """Raise :class:`InputError` where a model cannot read windows of ``max_length``, or knows no tokens' characters."""
    limit = min(getattr(model.config, "max_position_embeddings", config.max_length), tokenizer.model_max_length)
    if config.max_length > limit:
        problem = f"reads at most {limit} tokens, but the maximum length is {config.max_length}"
        raise InputError(problem, path=folder, mend="lower --max-length")
    if not tokenizer.is_fast:
        raise InputError("has no fast tokenizer, which a reader needs", path=folder, mend="add its tokenizer.json")


def best_span(window: Window, start: object, end: object, longest: int) -> Span | None:
    """The best span of a window's passage of at most ``longest`` tokens; ``None`` where none of its tokens are in.

    Args:
        window: T tokens.
        start, end: logits, float tensors of shape (T,).
        longest: in tokens.
    """
    import torch

    mine = [i for i, at in enumerate(window.offsets) if at and at[1] > at[0]]
    if not mine:
        return None
    first = mine[0]
    if mine[-1] - first + 1 != len(mine):  # a token without a character within: not to begin or end with
        outside = torch.ones(mine[-1] + 1 - first, dtype=torch.bool)
        outside[torch.tensor(mine) - first] = False
    else:
        outside = torch.zeros(len(mine), dtype=torch.bool)
    starts, ends = (logits[first : mine[-1] + 1].masked_fill(outside, float("-inf")) for logits in (start, end))
    scores = starts[:, None] + ends[None, :]
    allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(longest - 1)
    place = int(scores.masked_fill(~allowed, float("-inf")).argmax())
    i, j = divmod(place, len(starts))
    score = float(scores[i, j] - start[FIRST] - end[FIRST])
    return Span(window.offsets[first + i][0], window.offsets[first + j][1], score)


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
    output = Path(output)
    if depth < 1:
        raise InputError(f"a depth of {depth} reads nothing", mend="read one passage a question at least")
    dataset = collection.load(topics, needs=["queries"])
    questions = {question.query_id: question.default_text() for question in dataset.queries_iter()}
    wanted = Manifest(
        "read",
        {"topics": topics, "depth": depth, "weight": weight, "reader": dataclasses.asdict(config)},
        {
            "run": file_digest(Path(run)),
            "topics": collection.fingerprint(dataset, "queries"),
            "passages": collection.fingerprint(dataset, "docs"),
            "model": model_fingerprint(config.model),
        },
    )
    if not force and noted(output, wanted):
        log(f"read: {output} is there already")
        return output
    hits = {qid: held[:depth] for qid, held in read_run(run, list(questions)).items()}
    if not hits.keys() & questions.keys():
        raise InputError(f"holds no question of {topics}", path=run, mend="is this the run of another topic set?")
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
