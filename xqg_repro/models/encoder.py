"""Dense encoders over any Hugging Face encoder, as plug-ins for Pyserini's dense searcher.

``p = pool(LM(passage_prefix + title + title_separator + text))`` and ``q = pool(LM(query_prefix + question))`` with
one shared language model; the score of a passage is the inner product of the two. With the default
:class:`~xqg_repro.core.settings.EncoderConfig` this is Tevatron's encoding, which the paper uses.

Pyserini's ``FaissSearcher`` takes any object with ``encode`` (and ``encode_batch``); the classes here have both and
do not import Pyserini, so that encoding needs no Java.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_repro.core.errors import InputError, shown
from xqg_repro.core.settings import EncoderConfig, Pooling, resource
from xqg_repro.core.stages import digest, input_digest

if TYPE_CHECKING:
    import torch

PACKAGED = "package:"
TOKENS_PER_BATCH = {"cpu": 1_024, "gpu": 16_384}
"""A batch on a CPU should fit its caches; a GPU should have enough to do."""
TEXTS_PER_BLOCK = 65536

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_MODEL_FILES = (
    "config.json",
    "*.index.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "*.spm",
    "spiece.model",
    "special_tokens_map.json",
)


def resolve_model(model: str) -> Path:
    """Folder of a model: ``package:NAME``, a folder, or a Hugging Face id (downloaded unless cached).

    Raises:
        InputError: the folder has no weights, or the hub cannot be reached and the model is not cached.
    """
    if model.startswith(PACKAGED):
        folder = resource("models", model.removeprefix(PACKAGED))
        if not folder.is_dir():
            shipped = sorted(f"{PACKAGED}{path.name}" for path in resource("models").iterdir() if path.is_dir())
            raise InputError(f"no model {model!r} ships with the package", mend=f"choose from: {', '.join(shipped)}")
    elif (folder := Path(model)).is_dir():
        pass
    elif model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise InputError("there is no such model folder", path=model, mend="train it, or name another")
    else:
        folder = _download(model)
    if not (folder / "config.json").exists():
        raise InputError("is not a model folder: it has no config.json", path=folder)
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise InputError(
            "is a model folder without weights",
            path=folder,
            mend="it needs model.safetensors; copy or download the model again",
        )
    return folder


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    # safetensors where the model has them; only older models need pytorch_model.bin (read with weights_only)
    try:
        files = [*_MODEL_FILES, "*.safetensors"]
        folder = Path(snapshot_download(model, allow_patterns=files))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(model, allow_patterns=[*files, *_WEIGHTS]))
        return folder
    except Exception as error:
        raise InputError(
            f"the model {model!r} is no folder here and could not be had from the Hugging Face hub "
            f"({str(error).splitlines()[0]})",
            mend="name a model folder, or connect to the hub once",
        ) from error


def model_fingerprint(model: str) -> str:
    """SHA-256 over the names and checksums of a model folder's weights, configuration and tokenizer files."""
    folder = resolve_model(model)
    paths = {path for pattern in (*_WEIGHTS, *_MODEL_FILES) for path in folder.glob(pattern)}
    return digest({path.name: input_digest(path) for path in paths})


def load_model(
    folder: Path,
    dtype: torch.dtype,
    auto_class: str = "AutoModel",
    kind: str = "an encoder",
    *,
    untrained: tuple[str, ...] = (),
) -> tuple[Any, Any]:
    """Tokenizer and model of a folder, quietly, by one of transformers' auto classes.

    Weights whose names begin with one of ``untrained`` may be missing; they are random then.

    Raises:
        InputError: it cannot be loaded as such a ``kind`` of model, or weights that matter are not in it.
    """
    from pickle import UnpicklingError  # how the weights-only reader refuses anything else

    import transformers
    from safetensors import SafetensorError

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model, report = getattr(transformers, auto_class).from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"cannot be loaded as {kind}: {str(error).splitlines()[0]}", path=folder) from error
    except (UnpicklingError, EOFError) as error:
        problem = "its pytorch_model.bin was cut off or holds other things than weights"
        raise InputError(f"cannot be loaded as {kind}: {problem}", path=folder) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
    # a pooler is never used here, and many checkpoints come without one; anything else would stay random
    optional = ("pooler.", *untrained)
    if absent := sorted(key for key in report["missing_keys"] if not key.startswith(optional)):
        raise InputError(
            f"lacks {len(absent)} of the model's weights, such as {absent[0]}",
            path=folder,
            mend="is it a checkpoint of this architecture?",
        )
    # some tokenizers pad or cut at the left, which would move the first token and the positions
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer, model


def chosen_device(device: str | None) -> str:
    """The torch device asked for; without a wish a GPU if there is one."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def move(model: Any, device: str) -> None:
    """Put a model into evaluation mode on a device; :class:`InputError` where the device cannot be used."""
    try:
        model.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the device {device!r} cannot be used: {str(error).splitlines()[0]}") from None


def check_length(tokenizer: Any, model: Any, longest: int, folder: Path) -> None:
    """Raise :class:`InputError` where a model cannot read so many tokens; ``folder`` is for the message."""
    limit = min(getattr(model.config, "max_position_embeddings", longest), tokenizer.model_max_length)
    if longest > limit:
        raise InputError(
            f"reads at most {limit} tokens, but a maximum length is {longest}",
            path=folder,
            mend="lower passage_max_length or query_max_length",
        )


def token_batches(lengths: Sequence[int], tokens_per_batch: int) -> Iterator[list[int]]:
    """Split positions into batches of similar length whose padded size stays within a number of tokens.

    Short texts do not pay for long ones. A text longer than the budget makes a batch of its own.

    >>> list(token_batches([2, 9, 3, 2], tokens_per_batch=9))
    [[1], [2, 0, 3]]
    """
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def pool(states: torch.Tensor, mask: torch.Tensor, config: EncoderConfig) -> torch.Tensor:
    """Token vectors (batch, tokens, dimension) and their attention mask (batch, tokens) → (batch, dimension)."""
    import torch

    if config.pooling is Pooling.CLS:
        pooled = states[:, 0]
    else:
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(pooled, dim=-1) if config.normalize else pooled


def passage_text(title: str | None, text: str, config: EncoderConfig) -> str:
    """The text of a passage as the model reads it; ``None`` is a passage without a title."""
    separator = config.title_separator
    return config.passage_prefix + (text if separator is None or title is None else f"{title}{separator}{text}")


class TextEncoder:
    """A tokenizer and a language model that turn texts into vectors, by the settings of an :class:`EncoderConfig`.

    Args:
        config: what decides the embedding.
        device: a torch device; ``None`` takes a GPU if there is one.
        tokens_per_batch: upper bound of a batch's size with padding; changes speed and memory only, and the last
            digits. ``None`` takes what suits the device.
    """

    def __init__(self, config: EncoderConfig, device: str | None = None, tokens_per_batch: int | None = None) -> None:
        import torch

        folder = resolve_model(config.model)
        self.config = config
        self._tokenizer, self._model = load_model(folder, getattr(torch, config.precision.value))
        self.device = chosen_device(device)
        self.tokens_per_batch = tokens_per_batch or TOKENS_PER_BATCH["cpu" if self.device == "cpu" else "gpu"]
        move(self._model, self.device)
        longest = max(config.query_max_length, config.passage_max_length)
        check_length(self._tokenizer, self._model, longest, folder)

    @property
    def dimension(self) -> int:
        """Number of components of an embedding."""
        return int(self._model.config.hidden_size)

    def encode_queries(self, queries: Sequence[str]) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), dimension)."""
        return self._encode([self.config.query_prefix + query for query in queries], self.config.query_max_length)

    def encode_passages(self, titles: Sequence[str | None], texts: Sequence[str]) -> np.ndarray:
        """Embed passages; float32, shape (len(texts), dimension)."""
        return self._encode(
            [passage_text(title, text, self.config) for title, text in zip(titles, texts, strict=True)],
            self.config.passage_max_length,
        )

    def query_batches(self, queries: Iterable[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Embed any number of questions and keep none of the vectors.

        Yields:
            positions of some of the questions, int64 (n,), and their embeddings, float32 (n, dimension). Every question
            comes up once; the order depends on nothing but the questions.
        """
        return self._batches((self.config.query_prefix + query for query in queries), self.config.query_max_length)

    def _encode(self, texts: Sequence[str], max_length: int) -> np.ndarray:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for positions, batch in self._batches(texts, max_length):
            vectors[positions] = batch
        return vectors

    def _batches(self, texts: Iterable[str], max_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of similar length, sorted within blocks so that only a block's tokens are in memory."""
        import torch

        texts, start = iter(texts), 0
        while block := list(islice(texts, TEXTS_PER_BLOCK)):
            tokens = self._tokenizer(
                block,
                truncation=True,
                max_length=max_length,
                return_token_type_ids=False,
                return_attention_mask=False,
            )["input_ids"]
            for batch in token_batches([len(ids) for ids in tokens], self.tokens_per_batch):
                padded = self._tokenizer.pad({"input_ids": [tokens[i] for i in batch]}, return_tensors="pt")
                with torch.inference_mode():
                    mask = padded["attention_mask"].to(self.device)
                    states = self._model(
                        input_ids=padded["input_ids"].to(self.device), attention_mask=mask
                    ).last_hidden_state
                    vectors = pool(states.float(), mask, self.config).cpu().numpy()
                if not np.isfinite(vectors).all():
                    text = block[batch[int(np.isfinite(vectors).all(axis=1).argmin())]]
                    raise InputError(
                        f"{self.config.model} gives {shown(text)} an embedding that is infinite or not a number",
                        mend="take --precision float32, or bfloat16; if that is what it is, its weights are spoilt",
                    )
                yield start + np.array(batch), vectors
            start += len(block)


class QueryEncoder:
    """Questions → vectors, as Pyserini's ``FaissSearcher`` wants it.

    >>> from xqg_repro.core.settings import load_preset
    >>> QueryEncoder(load_preset("xdr-mini")).encode("Mikä on Suomen pääkaupunki?").dtype
    dtype('float32')
    """

    def __init__(self, config: EncoderConfig, device: str | None = None) -> None:
        self._encoder = TextEncoder(config, device)

    def encode(self, query: str) -> np.ndarray:
        """Embed one question; float32, shape (dimension,)."""
        return self._encoder.encode_queries([query])[0]

    def encode_batch(self, queries: Sequence[str]) -> np.ndarray:
        """Embed questions; float32, shape (len(queries), dimension)."""
        return self._encoder.encode_queries(queries)


class DocumentEncoder:
    """Passages → vectors, with the signature of Pyserini's document encoders."""

    def __init__(self, config: EncoderConfig, device: str | None = None) -> None:
        self._encoder = TextEncoder(config, device)

    def encode(self, texts: Sequence[str], titles: Sequence[str] | None = None, **_: object) -> np.ndarray:
        """Embed passages; float32, shape (len(texts), dimension). Without titles only the texts are read.

        Pyserini's ``fp16``, ``max_length`` and ``add_sep`` are accepted and ignored: the configuration decides.
        """
        return self._encoder.encode_passages([None] * len(texts) if titles is None else titles, texts)
