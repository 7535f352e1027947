"""The contrastive loss of a dual encoder, for batches of any size.

For a batch of questions ``q_i`` with passages ``p_j`` (each question's positive and its given negatives, shared by the
whole batch), ``loss = mean_i -log( exp(<q_i, p_i>/τ) / Σ_j exp(<q_i, p_j>/τ) )``, as in Tevatron, which the paper uses.
A copy of a question's own positive elsewhere in the batch is left out of the sum: it is not a negative.

Where the memory does not hold a batch's graph, its texts are embedded in chunks (Gao et al., *Scaling Deep Contrastive
Learning Batch Size under Memory Limited Setup*, 2021): first all of them without a graph; then, when the gradient of
the loss with respect to their vectors is known, chunk by chunk again with one, and each chunk passes its part on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from xqg_repro.models.encoder import pool
from xqg_repro.train import distributed
from xqg_repro.train.recipe import EncoderRecipe

Texts = dict[str, torch.Tensor]


def contrastive_loss(model: Any, inputs: dict[str, Any], recipe: EncoderRecipe) -> torch.Tensor:
    """The loss of a collated batch, see the module's head.

    Several processes train on one batch together: each embeds its own part, and all of them score the whole.

    Args:
        model: texts → token vectors.
        inputs: ``query`` and ``passage``, tokenised texts, (B, T) and (B·(1+negatives), T'), row i's positive is
            passage i; ``docids`` of the passages.
        recipe: pooling, temperature, size of a chunk.
    """
    settings = recipe.encoder("")

    def embed(texts: Texts) -> torch.Tensor:
        return pool(model(**texts).last_hidden_state, texts["attention_mask"], settings)

    size, apart = recipe.chunk_size, getattr(model, "no_sync", nullcontext)
    queries, passages = (
        embed_in_chunks(embed, inputs[kind], size, apart) if size else embed(inputs[kind])
        for kind in ("query", "passage")
    )
    parts = [(len(queries), inputs["docids"])]
    if distributed.world_size() > 1 and torch.is_grad_enabled():
        parts = distributed.gather((len(queries), list(inputs["docids"])))
        queries, passages = distributed.gather_rows(queries), distributed.gather_rows(passages)
    positives, docids = [], []
    for number, found in parts:
        positives += range(len(docids), len(docids) + number)
        docids += found
    same = copies(positives, docids).to(queries.device)
    scores = (queries @ passages.T / recipe.temperature).masked_fill(same, float("-inf"))
    return torch.nn.functional.cross_entropy(scores, torch.tensor(positives, device=scores.device))


def copies(positives: Sequence[int], docids: Sequence[str]) -> torch.Tensor:
    """Boolean (questions, passages): which passages are a question's positive once more, ``positives`` by position.

    >>> copies([0, 1], ["a", "b", "a"]).tolist()
    [[False, False, True], [False, False, False]]
    """
    numbers: dict[str, int] = {}
    found = torch.tensor([numbers.setdefault(docid, len(numbers)) for docid in docids])
    own = torch.tensor(positives)[:, None]
    return (found == found[own]) & (torch.arange(len(docids)) != own)


def embed_in_chunks(
    embed: Callable[[Texts], torch.Tensor],
    texts: Texts,
    size: int,
    apart: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """Embed ``size`` texts at a time; a backward pass embeds them again, with the same random numbers (dropout).

    Of several processes each adds up the gradients of its own chunks ``apart`` from the others, as it may have more of
    them, and shares the sum with the last one.
    """
    rows = range(0, len(texts["input_ids"]), size)
    chunks = [{name: tensor[at : at + size] for name, tensor in texts.items()} for at in rows]
    states, found = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(RandomState(chunk["input_ids"].device))
            found.append(embed(chunk))
    vectors = torch.cat(found)
    if torch.is_grad_enabled():

        def again(gradient: torch.Tensor) -> None:
            for left, chunk, state, part in zip(
                range(len(chunks) - 1, -1, -1), chunks, states, gradient.split(size), strict=True
            ):
                with apart() if left else nullcontext(), torch.enable_grad(), state.restored():
                    embed(chunk).backward(part)

        vectors.requires_grad_().register_hook(again)
    return vectors


class RandomState:
    """PyTorch's random state, of the processor and of ``device``, as it is now."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(device) for device in self._devices]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A block that draws what was drawn from this state on; behind it, all is as before."""
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._cpu)
            for device, state in zip(self._devices, self._cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
