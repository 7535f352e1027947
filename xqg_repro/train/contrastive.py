"""The contrastive loss of a dual encoder, for batches of any size.

For a batch of questions ``q_i`` and passages ``p_j`` (each question's positive and its negatives, shared by the whole
batch), ``loss = mean_i -log( exp(<q_i, p_i>/τ) / Σ_j exp(<q_i, p_j>/τ) )``, as in Tevatron, which the paper uses.
A copy of a question's positive elsewhere in the batch is left out of the sum, since it is not a negative. A teacher's
scores add the loss of :mod:`xqg_repro.train.distil`.

If the graph of a batch does not fit into memory, texts are embedded in chunks (Gao et al., *Scaling Deep Contrastive
Learning Batch Size under Memory Limited Setup*, 2021): first all of them without a graph; then, once the gradient of
the loss with respect to their vectors is known, each chunk again with a graph, to propagate its part of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from xqg_repro.models.encoder import pool
from xqg_repro.models.folders import Side
from xqg_repro.train import distributed
from xqg_repro.train.distil import ScoredLists, find_own_copies, list_loss, pad_lists
from xqg_repro.train.encoder_recipe import EncoderRecipe, ParallelRecipe

Texts = dict[str, torch.Tensor]


def contrastive_loss(model: Any, inputs: dict[str, Any], recipe: EncoderRecipe) -> torch.Tensor:
    """The loss of a collated batch, as the module describes it.

    Several processes train on one batch together: each embeds its own part and scores the whole.

    Args:
        inputs: ``query`` and ``passage``, tokenised texts, (B, T) and (B·(1+negatives), T'), where passage i is the
            positive of question i; ``docids`` of the passages. To distil, also ``lists``, the positions of each
            question's own passages, and ``teacher_scores``, theirs.
    """
    queries, passages = embed_sides(model, inputs, recipe)
    part = (len(queries), inputs["docids"], inputs.get("lists", []), inputs.get("teacher_scores", []))
    parts = [part]
    if distributed.world_size() > 1 and torch.is_grad_enabled():
        parts = distributed.gather(part)
        queries, passages = distributed.gather_rows(queries), distributed.gather_rows(passages)

    positives: list[int] = []
    docids: list[str] = []
    lists: list[list[int]] = []
    teacher_scores: list[list[float]] = []
    for count, part_docids, part_lists, part_scores in parts:
        start = len(docids)
        positives += range(start, start + count)
        docids += part_docids
        lists += [[start + position for position in own] for own in part_lists]
        teacher_scores += part_scores

    scores, how = queries @ passages.T, recipe.distillation
    if how is None or not lists:
        return _contrast(scores, positives, docids, recipe.temperature)
    scored = ScoredLists(*(tensor.to(scores.device) for tensor in pad_lists(lists, teacher_scores)))
    loss = how.weight * list_loss(scores, scored, how, find_own_copies(lists, docids).to(scores.device))
    if how.contrastive_weight:
        loss = loss + how.contrastive_weight * _contrast(scores, positives, docids, recipe.temperature)
    return loss


def _contrast(
    scores: torch.Tensor, positives: Sequence[int], docids: Sequence[str], temperature: float
) -> torch.Tensor:
    """The contrastive loss of scores, (questions, passages)."""
    copies = find_copies(positives, docids).to(scores.device)
    scores = (scores / temperature).masked_fill(copies, float("-inf"))
    return torch.nn.functional.cross_entropy(scores, torch.tensor(positives, device=scores.device))


def embed_sides(model: Any, inputs: Mapping[str, Texts], recipe: EncoderRecipe) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors of a batch's questions and passages, by one encoder or by one each."""
    if recipe.tied:
        return embed_texts(model, inputs[Side.QUERY], recipe), embed_texts(model, inputs[Side.PASSAGE], recipe)
    if recipe.chunk_size:
        query, passage = (embed_texts(model, inputs[side], recipe, side) for side in Side)
        return query, passage
    states, settings = model(**{side: inputs[side] for side in Side}), recipe.encoder("")
    query, passage = (pool(states[side], inputs[side]["attention_mask"], settings) for side in Side)
    return query, passage


def embed_texts(
    model: Any, texts: Texts, recipe: EncoderRecipe | ParallelRecipe, side: Side | None = None
) -> torch.Tensor:
    """The vectors of tokenised texts, (N, T), in chunks if the recipe says so; (N, D).

    ``side`` chooses one of the two encoders of an :class:`~xqg_repro.train.untied.UntiedNetwork`.
    """
    settings, no_sync = recipe.encoder(""), getattr(model, "no_sync", nullcontext)

    def embed(texts: Texts) -> torch.Tensor:
        states = model(**{side: texts})[side] if side else model(**texts).last_hidden_state
        return pool(states, texts["attention_mask"], settings)

    return embed_in_chunks(embed, texts, recipe.chunk_size, no_sync) if recipe.chunk_size else embed(texts)


def find_copies(positives: Sequence[int], docids: Sequence[str]) -> torch.Tensor:
    """Which passages are copies of a question's positive: boolean, (questions, passages).

    ``positives`` are the positions of the questions' positives among the passages.

    >>> find_copies([0, 1], ["a", "b", "a"]).tolist()
    [[False, False, True], [False, False, False]]
    """
    numbers: dict[str, int] = {}
    ids = torch.tensor([numbers.setdefault(docid, len(numbers)) for docid in docids])
    own = torch.tensor(positives)[:, None]
    return (ids == ids[own]) & (torch.arange(len(docids)) != own)


def embed_in_chunks(
    embed: Callable[[Texts], torch.Tensor],
    texts: Texts,
    size: int,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """Embed ``size`` texts at a time; the backward pass embeds them again with the same random numbers (dropout).

    Args:
        embed: tokenised texts, (N, T) → vectors.
        no_sync: context in which processes do not exchange gradients. Only the last chunk's backward pass runs outside
            it, because processes may have different numbers of chunks.
    """
    starts = range(0, len(texts["input_ids"]), size)
    chunks = [{name: tensor[start : start + size] for name, tensor in texts.items()} for start in starts]
    device = texts["input_ids"].device
    gpus = [device] if device.type == "cuda" else []
    states, parts = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append((torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in gpus]))
            parts.append(embed(chunk))
    vectors = torch.cat(parts)
    if not torch.is_grad_enabled():
        return vectors

    def backward(gradient: torch.Tensor) -> None:
        gradients = gradient.split(size)
        for i, (chunk, (cpu_state, gpu_states)) in enumerate(zip(chunks, states, strict=True)):
            sync = nullcontext() if i == len(chunks) - 1 else no_sync()
            with sync, torch.enable_grad(), torch.random.fork_rng(gpus):
                torch.set_rng_state(cpu_state)
                for gpu, state in zip(gpus, gpu_states, strict=True):
                    torch.cuda.set_rng_state(state, gpu)
                embed(chunk).backward(gradients[i])

    vectors.requires_grad_().register_hook(backward)
    return vectors
