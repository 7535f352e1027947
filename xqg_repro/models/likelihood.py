"""The log-likelihood of questions under a generator's prompts: ``Σ_t log P(q_t | q_<t, prompt)``, teacher-forced.

The model reads a prompt once, however many questions are scored under it. Padding never changes a score.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from xqg_repro.models.causal import pad_left
from xqg_repro.models.loading import TOKENS_PER_BATCH, token_batches
from xqg_repro.models.scorer_settings import Normalise

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of padding, as in transformers."""

_LOGITS_PER_BATCH = {"cpu": 2**25, "gpu": 2**28}
"""Numbers that the output layer gives at a time: a multilingual vocabulary has a quarter of a million tokens."""


def token_log_likelihoods(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-likelihood of each label in nats, 0 for padding: float32, shape (rows, tokens).

    Args:
        logits: shape (rows, tokens, vocabulary).
        labels: token ids, int64, shape (rows, tokens); :data:`IGNORED` for padding.
    """
    import torch

    flat = logits.float().flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(flat, labels.flatten(), reduction="none", ignore_index=IGNORED)
    return -losses.view_as(labels)


def sequence_log_likelihoods(logits: torch.Tensor, labels: torch.Tensor, normalise: Normalise) -> torch.Tensor:
    """The log-likelihood of each row of labels, or its mean over the row's tokens: float32, shape (rows,).

    The arguments are those of :func:`token_log_likelihoods`; each row has a token that is no padding.
    """
    sums = token_log_likelihoods(logits, labels).sum(1)
    return sums / (labels != IGNORED).sum(1) if normalise is Normalise.MEAN else sums


class RowScorer(Protocol):
    """What scores rows of tokens under prompts."""

    def score(
        self,
        prompts: Sequence[list[int]],
        rows: Sequence[Sequence[list[int]]],
        normalise: Normalise,
        report: Callable[[int], None],
    ) -> list[list[float]]:
        """The scores of each prompt's rows; ``report`` receives the number of prompts of each batch."""


class _BatchScorer:
    """Batches of prompts of similar length and, for each, batches of its rows of similar length.

    Args:
        model: the model, in evaluation mode on its device.
        tokens_per_batch: padded tokens of prompts, or of rows, in a batch; ``None`` chooses by device and vocabulary.
    """

    def __init__(self, model: Any, tokens_per_batch: int | None = None) -> None:
        kind = "cpu" if model.device.type == "cpu" else "gpu"
        vocabulary = model.get_input_embeddings().weight.shape[0]
        self._model = model
        self._prompt_tokens = tokens_per_batch or TOKENS_PER_BATCH[kind]
        self._row_tokens = tokens_per_batch or max(1, _LOGITS_PER_BATCH[kind] // vocabulary)

    def score(
        self,
        prompts: Sequence[list[int]],
        rows: Sequence[Sequence[list[int]]],
        normalise: Normalise,
        report: Callable[[int], None],
    ) -> list[list[float]]:
        """The scores of each prompt's rows; ``report`` receives the number of prompts of each batch."""
        import torch

        scores = [[0.0] * len(own) for own in rows]
        for batch in token_batches([len(ids) for ids in prompts], self._prompt_tokens):
            read = self._read([prompts[i] for i in batch])
            places = [(owner, i, place) for owner, i in enumerate(batch) for place in range(len(rows[i]))]
            lengths = [len(rows[i][place]) for _, i, place in places]
            for part in token_batches(lengths, self._row_tokens):
                labels = _pad_right([rows[places[k][1]][places[k][2]] for k in part], self._model.device)
                owners = torch.tensor([places[k][0] for k in part], device=self._model.device)
                values = sequence_log_likelihoods(self._logits(read, owners, labels), labels, normalise)
                for k, value in zip(part, values.tolist(), strict=True):
                    scores[places[k][1]][places[k][2]] = value
            report(len(batch))
        return scores

    def _read(self, prompts: Sequence[list[int]]) -> Any:
        """What the model knows once it has read a batch of prompts."""
        raise NotImplementedError

    def _logits(self, read: Any, owners: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits of each label, shape (rows, tokens, vocabulary); ``owners`` are the positions of the rows' prompts."""
        raise NotImplementedError


class Seq2SeqScorer(_BatchScorer):
    """Scores rows with a sequence-to-sequence model, whose encoder reads the prompts.

    Args:
        tokenizer: what pads prompts.
        start: the token that starts a row in the decoder.
    """

    def __init__(self, model: Any, tokenizer: Any, start: int, tokens_per_batch: int | None = None) -> None:
        super().__init__(model, tokens_per_batch)
        self._tokenizer, self._start = tokenizer, start

    def _read(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        padded = self._tokenizer.pad({"input_ids": list(prompts)}, return_tensors="pt").to(self._model.device)
        ids, mask = padded["input_ids"], padded["attention_mask"]
        return self._model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    def _logits(self, read: Any, owners: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        from transformers.modeling_outputs import BaseModelOutput

        states, mask = read
        return self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[owners]),
            attention_mask=mask[owners],
            decoder_input_ids=shift_right(labels, self._start),
            use_cache=False,
        ).logits


class CausalScorer(_BatchScorer):
    """Scores rows after prompts with a causal language model, whose keys and values of a prompt are shared."""

    def _read(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Logits of the first token after each prompt, the prompts' mask, and the model's cache."""
        ids, mask = pad_left(prompts, self._model.device)
        output = self._call(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), None, logits_to_keep=1)
        return output.logits[:, -1:], mask, output.past_key_values

    def _logits(self, read: Any, owners: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        import torch

        first, mask, cache = read
        ids = labels[:, :-1].clamp(min=0)
        if not ids.shape[1]:
            return first[owners]
        cache = copy.deepcopy(cache)  # the model appends to it
        cache.batch_select_indices(owners)
        positions = mask.sum(1)[owners, None] + torch.arange(ids.shape[1], device=ids.device)
        output = self._call(ids, torch.cat([mask[owners], torch.ones_like(ids)], dim=1), positions, cache)
        return torch.cat([first[owners], output.logits], dim=1)

    def _call(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any, **more: Any) -> Any:
        takes = inspect.signature(self._model.forward).parameters
        optional = {name: value for name, value in ({"position_ids": positions} | more).items() if name in takes}
        return self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **optional)


def shift_right(labels: torch.Tensor, start: int) -> torch.Tensor:
    """What a decoder reads to predict the labels: its start token, then all labels but the last.

    >>> import torch
    >>> shift_right(torch.tensor([[5, 6, 2], [7, 2, -100]]), 0).tolist()
    [[0, 5, 6], [0, 7, 2]]
    """
    import torch

    # any token does where there is padding, as no label follows it
    return torch.nn.functional.pad(labels[:, :-1].clamp(min=0), (1, 0), value=start)


def _pad_right(rows: Sequence[list[int]], device: Any) -> torch.Tensor:
    """Rows of tokens as labels, int64, shape (rows, longest)."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows], device=device)
