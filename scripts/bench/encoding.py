"""Encoding generated queries: batches of similar length against the reference's, padded to the maximum length."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import numpy as np
from common import Section, Target, at_least, interleaved, times

from xqg_repro.core.tables import Table
from xqg_repro.models.encoder import TextEncoder, pool
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import EncoderConfig, Precision, load_preset
from xqg_repro.representation.sums import Layout, sum_shard

TRAINED = "xdr-mini"
BATCH, MAX_LENGTH = 128, 32  # the reference's
RATIOS = {Precision.FLOAT32: 1.8, Precision.BFLOAT16: 3.0}
COSINE = 0.999
TINY = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}


def measure(config: EncoderConfig, title: str, passages: Sequence[PassageQueries], rounds: int) -> Section:
    """Measure queries a second, and how near the vectors are.

    Args:
        config: the encoder; its maximum length and precision are set here.
        title: what to say of it.
        passages: generated queries.
        rounds: how often each way is timed.
    """
    everything = list(chain.from_iterable(chain.from_iterable(p.queries.values()) for p in passages))
    distinct = list(dict.fromkeys(everything))
    timed, trained = Ways(config), Ways(load_preset(TRAINED))
    cosines = {"the one timed": timed.nearness(distinct)}  # this warms up, too
    cosines[f"`{trained.config.model}`, trained"] = trained.nearness(distinct)
    reference = "reference, float32"
    ways: dict[str, tuple[int, Callable[[], object]]] = {reference: (len(distinct), partial(timed.reference, distinct))}
    for precision, encoder in timed.encoders.items():
        ways[f"ours, {precision}"] = (len(distinct), partial(encoder.encode_queries, distinct))
        ways[f"the stage `sum`, {precision}"] = (len(everything), partial(sum_shard, passages, encoder, Layout()))
    timings = interleaved(ways, rounds)
    ratios = {name: timing.against(timings[reference]) for name, timing in timings.items()}
    targets = [at_least(f"encoding queries, {name}", least, ratios[f"ours, {name}"]) for name, least in RATIOS.items()]
    targets += [
        Target(f"least cosine, {precision}, {name}", f"at least {COSINE}", f"{cosine:.6f}", cosine >= COSINE)
        for name, (found, _) in cosines.items()
        for precision, cosine in found.items()
    ]
    rows = [
        (name, f"{timing.count:,}", f"{timing.rate:,.1f}", f"{ratios[name]:.2f}×") for name, timing in timings.items()
    ]
    nearness = [
        (name, *(f"{found[precision]:.6f}" for precision in RATIOS), f"{others:.3f}")
        for name, (found, others) in cosines.items()
    ]
    text = f"""Encoder: {title}. Texts: {len(everything):,} queries that `xqg-mini` generated for
{len(passages)} passages; {len(distinct):,} of
them are distinct. Their tokens, special ones included: {timed.lengths(distinct)}. {times(rounds).capitalize()}.

- *reference*: distinct texts in the given order, in batches of {BATCH}, padded to {MAX_LENGTH} tokens.
- *ours*: `TextEncoder` on the same: sorted by length, padded to a batch's longest, batches of {timed.batch:,} tokens.
- *the stage `sum`*: all the texts, of which equal ones are encoded once, with the adding up.

{Table(("way", "queries", "queries a second", "ratio"), rows).markdown()}

How near our vectors are to the reference's: the least cosine over texts. The last column is the scale: the mean cosine
between the reference's vectors of texts that differ (each and the next).

{Table(("encoder", *RATIOS, "different texts"), nearness).markdown()}
"""
    return Section("Encoding generated queries", text, targets)


class Ways:
    """The reference's way to encode queries, in plain transformers, and ours in each precision."""

    def __init__(self, config: EncoderConfig) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.config = dataclasses.replace(config, query_max_length=MAX_LENGTH)
        folder = resolve_model(config.model)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).float().eval()
        self.encoders = {p: TextEncoder(dataclasses.replace(self.config, precision=p), "cpu") for p in RATIOS}

    @property
    def batch(self) -> int:
        """Tokens a batch of ours."""
        return self.encoders[Precision.FLOAT32].tokens_per_batch

    def reference(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts in the reference's way; float32, shape (len(texts), dimension)."""
        import torch

        found = []
        for start in range(0, len(texts), BATCH):
            inputs = self._tokenizer(
                self._prefixed(texts[start : start + BATCH]),
                padding="max_length",
                truncation=True,
                max_length=MAX_LENGTH,
                return_tensors="pt",
            )
            with torch.no_grad():
                states = self._model(**inputs).last_hidden_state
            found.append(pool(states, inputs["attention_mask"], self.config).numpy())
        return np.concatenate(found)

    def nearness(self, texts: Sequence[str]) -> tuple[dict[Precision, float], float]:
        """Least cosine of ours to the reference's vectors, and the mean one of the latter's neighbours."""
        vectors = self.reference(texts)
        found = {p: float(_cosines(e.encode_queries(texts), vectors).min()) for p, e in self.encoders.items()}
        return found, float(_cosines(vectors[1:], vectors[:-1]).mean())

    def lengths(self, texts: Sequence[str]) -> str:
        """How many tokens the texts have, at most the maximum length."""
        tokens = self._tokenizer(self._prefixed(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
        lengths = [len(ids) for ids in tokens]
        least, low, middle, high, most = np.percentile(lengths, (0, 10, 50, 90, 100))
        spread = f"from {least:.0f} to {most:.0f}, median {middle:.0f}, 80% of them from {low:.0f} to {high:.0f}"
        return f"{spread}, mean {np.mean(lengths):.1f}"

    def _prefixed(self, texts: Sequence[str]) -> list[str]:
        return [self.config.query_prefix + text for text in texts]


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
