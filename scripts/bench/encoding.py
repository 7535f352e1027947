"""Encoding generated queries: batches of texts of similar length against the reference's padding to a fixed length."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from common import Section, Target, describe_rounds, ratio_target, time_in_turns

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


def random_encoder(folder: Path, **sizes: int) -> EncoderConfig:
    """Write a BERT with random weights, of mBERT's size unless ``sizes`` say otherwise, and the tokenizer of xdr-mini.

    Returns:
        the settings of the preset ``mbert``, with the folder as the model.
    """
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(load_preset(TRAINED).model), trust_remote_code=False)
    torch.manual_seed(1)
    settings = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    BertModel(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return dataclasses.replace(load_preset("mbert"), model=str(folder))


def measure(config: EncoderConfig, title: str, passages: Sequence[PassageQueries], rounds: int) -> Section:
    """Measure queries per second, and the agreement of the vectors.

    Args:
        config: the encoder; its maximum length and precision are set here.
        title: description of the encoder.
        passages: generated queries.
        rounds: how often each way is timed.
    """
    texts = list(chain.from_iterable(chain.from_iterable(p.queries.values()) for p in passages))
    distinct = list(dict.fromkeys(texts))
    timed, trained = EncodingWays(config), EncodingWays(load_preset(TRAINED))
    agreements = {  # this also warms up
        "timed encoder": timed.agreement(distinct),
        f"`{trained.config.model}`, trained": trained.agreement(distinct),
    }

    reference = "reference, float32"
    ways: dict[str, tuple[int, Callable[[], object]]] = {reference: (len(distinct), partial(timed.reference, distinct))}
    for precision, encoder in timed.encoders.items():
        ways[f"ours, {precision}"] = (len(distinct), partial(encoder.encode_queries, distinct))
        ways[f"the stage `sum`, {precision}"] = (len(texts), partial(sum_shard, passages, encoder, Layout()))
    timings = time_in_turns(ways, rounds)
    ratios = {name: timing.ratio_to(timings[reference]) for name, timing in timings.items()}

    targets = [ratio_target(f"encoding queries, {p}", least, ratios[f"ours, {p}"]) for p, least in RATIOS.items()]
    for name, (cosines, _) in agreements.items():
        for precision, cosine in cosines.items():
            what = f"lowest cosine, {precision}, {name}"
            targets.append(Target(what, f"at least {COSINE}", f"{cosine:.6f}", cosine >= COSINE))
    speeds = [(name, f"{t.count:,}", f"{t.rate:,.1f}", f"{ratios[name]:.2f}×") for name, t in timings.items()]
    nearness = [
        (name, *(f"{cosines[precision]:.6f}" for precision in RATIOS), f"{different:.3f}")
        for name, (cosines, different) in agreements.items()
    ]
    text = f"""Encoder: {title}. Texts: {len(texts):,} queries that `xqg-mini` generated for {len(passages)} passages;
{len(distinct):,} are distinct. Their length in tokens, including special tokens: {timed.lengths(distinct)}.
{describe_rounds(rounds).capitalize()}.

- *reference*: the distinct texts in their original order, in batches of {BATCH}, padded to {MAX_LENGTH} tokens.
- *ours*: `TextEncoder` on the same texts, sorted by length, padded to the longest in the batch, in batches of
  {timed.batch:,} tokens.
- *the stage `sum`*: all texts, with duplicates encoded once; includes the time to sum the embeddings.

{Table(("way", "queries", "queries per second", "ratio"), speeds).markdown()}

Agreement between our vectors and the reference's: the lowest cosine over all texts. For scale, the last column is the
mean cosine between the reference's vectors of consecutive, different texts.

{Table(("encoder", *RATIOS, "different texts"), nearness).markdown()}
"""
    return Section("Encoding generated queries", text, targets)


class EncodingWays:
    """The reference's way to encode queries, in plain transformers, and ours in each precision."""

    def __init__(self, config: EncoderConfig) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.config = dataclasses.replace(config, query_max_length=MAX_LENGTH)
        folder = resolve_model(config.model)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(folder, trust_remote_code=False).float().eval()
        self.encoders = {p: TextEncoder(dataclasses.replace(self.config, precision=p), "cpu") for p in RATIOS}

    @property
    def batch(self) -> int:
        """Tokens per batch of ours."""
        return self.encoders[Precision.FLOAT32].tokens_per_batch

    def reference(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts in the reference's way; float32, shape (len(texts), dimension)."""
        import torch

        vectors = []
        for start in range(0, len(texts), BATCH):
            inputs = self._tokenizer(
                self._prefix(texts[start : start + BATCH]),
                padding="max_length",
                truncation=True,
                max_length=MAX_LENGTH,
                return_tensors="pt",
            )
            with torch.no_grad():
                states = self._model(**inputs).last_hidden_state
            vectors.append(pool(states, inputs["attention_mask"], self.config).numpy())
        return np.concatenate(vectors)

    def agreement(self, texts: Sequence[str]) -> tuple[dict[Precision, float], float]:
        """Lowest cosine of our vectors to the reference's, and the mean cosine of the reference's consecutive ones."""
        vectors = self.reference(texts)
        lowest = {p: float(cosines(e.encode_queries(texts), vectors).min()) for p, e in self.encoders.items()}
        return lowest, float(cosines(vectors[1:], vectors[:-1]).mean())

    def lengths(self, texts: Sequence[str]) -> str:
        """How many tokens the texts have, up to the maximum length."""
        tokens = self._tokenizer(self._prefix(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"]
        lengths = [len(ids) for ids in tokens]
        least, low, middle, high, most = np.percentile(lengths, (0, 10, 50, 90, 100))
        spread = f"from {least:.0f} to {most:.0f}, median {middle:.0f}, 80% of them from {low:.0f} to {high:.0f}"
        return f"{spread}, mean {np.mean(lengths):.1f}"

    def _prefix(self, texts: Sequence[str]) -> list[str]:
        return [self.config.query_prefix + text for text in texts]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of corresponding rows."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
