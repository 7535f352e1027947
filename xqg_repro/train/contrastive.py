"""The contrastive loss of a dual encoder, for batches of any size.

For a batch of questions ``q_i`` and passages ``p_j`` (each question's positive and its negatives, shared by the whole
batch), ``loss = mean_i -log( exp(<q_i, p_i>/τ) / Σ_j exp(<q_i, p_j>/τ) )``, as in Tevatron, which the paper uses.
A copy of a question's positive elsewhere in the batch is left out of the sum, since it is not a negative. A teacher's
scores, and generated queries, add the losses of :mod:`xqg_repro.train.distil`.

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
from xqg_repro.train import distributed
from xqg_repro.train.distil import ScoredLists, alignment_loss, find_own_copies, list_loss, pad_lists
from xqg_repro.train.encoder_recipe import EncoderRecipe, ParallelRecipe

Texts = dict[str, torch.Tensor]

TEXTS = ("query", "passage", "generated")
"""The texts of a batch; ``generated`` only to align. Of two encoders, that of questions embeds it."""


def contrastive_loss(model: Any, inputs: dict[str, Any], recipe: EncoderRecipe, share: float = 0.0) -> torch.Tensor:
    """The loss of a collated batch, as the module describes it.

    Several processes train on one batch together: each embeds its own part and scores the whole.

    Args:
        inputs: ``query`` and ``passage``, tokenised texts, (B, T) and (B·(1+negatives), T'), where passage i is the
            positive of question i; ``docids`` of the passages. To distil or to align, also ``lists``, the positions of
            each question's own passages. To distil, ``teacher_scores``, theirs. To align, ``generated``, (B, T''), a
            text for each question, and ``draws``, numbers from 0 to 1: a text counts if its number is below ``share``.
        share: of the questions with a generated query in this step.
    """
    vectors = embed_batch(model, inputs, recipe)
    lists_of = (inputs.get(name, []) for name in ("lists", "teacher_scores", "draws"))
    parts = [(len(vectors[0]), inputs["docids"], *lists_of)]
    if distributed.world_size() > 1 and torch.is_grad_enabled():
        parts = distributed.gather(parts[0])
        vectors = [distributed.gather_rows(rows) for rows in vectors]

    positives: list[int] = []
    docids: list[str] = []
    lists: list[list[int]] = []
    teacher_scores: list[list[float]] = []
    draws: list[float] = []
    for count, part_docids, part_lists, part_scores, part_draws in parts:
        start = len(docids)
        positives += range(start, start + count)
        docids += part_docids
        lists += [[start + position for position in own] for own in part_lists]
        teacher_scores += part_scores
        draws += part_draws

    queries, passages, *generated = vectors
    scores, how = queries @ passages.T, recipe.distillation
    if not lists:
        return _contrast(scores, positives, docids, recipe.temperature)
    padded = pad_lists(lists, teacher_scores or [[0.0] * len(own) for own in lists])
    own_lists, loss = ScoredLists(*(tensor.to(scores.device) for tensor in padded)), scores.new_zeros(())
    if how is not None:
        copies = find_own_copies(lists, docids).to(scores.device)
        loss = loss + how.weight * list_loss(scores, own_lists, how, copies)
    if weight := 1.0 if how is None else how.contrastive_weight:
        loss = loss + weight * _contrast(scores, positives, docids, recipe.temperature)
    if recipe.alignment and generated:
        drawn = torch.tensor([draw < share for draw in draws], device=scores.device)
        others, temperature = generated[0] @ passages.T, recipe.alignment.temperature
        loss = loss + recipe.alignment.weight * alignment_loss(scores, others, own_lists, drawn, temperature)
    return loss


def _contrast(
    scores: torch.Tensor, positives: Sequence[int], docids: Sequence[str], temperature: float
) -> torch.Tensor:
    """The contrastive loss of scores, (questions, passages)."""
    copies = find_copies(positives, docids).to(scores.device)
    scores = (scores / temperature).masked_fill(copies, float("-inf"))
    return torch.nn.functional.cross_entropy(scores, torch.tensor(positives, device=scores.device))


def embed_batch(model: Any, inputs: Mapping[str, Any], recipe: EncoderRecipe) -> list[torch.Tensor]:
    """The vectors of a batch's texts, in the order of :data:`TEXTS`, by one encoder or by two."""
    names = [name for name in TEXTS if name in inputs]
    if recipe.tied or recipe.chunk_size:
        return [embed_texts(model, inputs[name], recipe, "" if recipe.tied else name) for name in names]
    states, settings = model(**{name: inputs[name] for name in names}), recipe.encoder("")
    return [pool(states[name], inputs[name]["attention_mask"], settings) for name in names]


def embed_texts(model: Any, texts: Texts, recipe: EncoderRecipe | ParallelRecipe, name: str = "") -> torch.Tensor:
    """The vectors of tokenised texts, (N, T), in chunks if the recipe says so; (N, D).

    ``name``, one of :data:`TEXTS`, chooses one of the two encoders of an
    :class:`~xqg_repro.train.untied.UntiedNetwork`.
    """
    settings, no_sync = recipe.encoder(""), getattr(model, "no_sync", nullcontext)

    def embed(texts: Texts) -> torch.Tensor:
        states = model(**{name: texts})[name] if name else model(**texts).last_hidden_state
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
