"""Fixtures of tiny random models: encoders, late-interaction models and generators, with one small tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Mini


def small_tokenizer(texts: Iterable[str]) -> Any:
    """A WordPiece tokenizer over the texts' shorter words and all their characters; the same every time."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in text.split()})
    characters = sorted({character for word in words for character in word})
    pieces = ["<pad>", "<s>", "</s>", "<unk>", *characters, *(f"##{c}" for c in characters)]
    pieces += [word for word in words if 2 <= len(word) <= 3]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.fixture(scope="session")
def model_folder(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``model_folder("bert" or "xlmr", seed=…)``: a folder with a tiny random encoder and its tokenizer."""
    import torch
    import transformers

    tokenizer = small_tokenizer(f"{title} {text}" for _, title, text in mini_data.passages)

    def make(kind: str, seed: int = 1, name: str = "model", tokenizer: Any = tokenizer) -> Path:
        config_class, model_class = {
            "bert": (transformers.BertConfig, transformers.BertModel),
            "xlmr": (transformers.XLMRobertaConfig, transformers.XLMRobertaModel),
        }[kind]
        torch.manual_seed(seed)
        config = config_class(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=160,
            type_vocab_size=1,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.2,  # wide enough that texts get clearly different vectors
        )
        folder = tmp_path_factory.mktemp(f"{kind}{seed}") / name
        model_class(config, add_pooling_layer=False).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model(model_folder: Callable[..., Path]) -> Path:
    """A random BERT: 2 layers, 32 dimensions. Never to be written to."""
    return model_folder("bert")


@pytest.fixture(scope="session")
def tiny_xlmr(model_folder: Callable[..., Path]) -> Path:
    """A random XLM-R, whose position numbers depend on where the padding is."""
    return model_folder("xlmr")


@pytest.fixture(scope="session")
def tiny_untied(model_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random BERTs, of questions and of passages. Never to be written to."""
    folder = tmp_path_factory.mktemp("untied") / "model"
    for seed, side in ((1, "passage"), (2, "query")):
        shutil.copytree(model_folder("bert", seed), folder / side)
    return folder


@pytest.fixture(scope="session")
def late_folder(model_folder: Callable[..., Path]) -> Callable[..., Path]:
    """``late_folder("bert" or "xlmr", dimension=…)``: a folder with a tiny random late-interaction model."""
    import torch
    from safetensors.torch import save_file

    def make(kind: str = "bert", seed: int = 1, dimension: int = 8) -> Path:
        folder = model_folder(kind, seed)
        torch.manual_seed(seed)
        save_file({"linear.weight": torch.randn(dimension, 32)}, folder / "projection.safetensors")
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_late(late_folder: Callable[..., Path]) -> Path:
    """A random BERT with token vectors of 8 dimensions. Never to be written to."""
    return late_folder()


@pytest.fixture(scope="session")
def generator_folder(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``generator_folder("t5" or "mt5", untied=…)``: a folder with a tiny random seq2seq model and its tokenizer."""
    import torch
    import transformers

    from xqg_repro.models.settings import GeneratorConfig

    tokenizer = small_tokenizer([*(" ".join(row) for row in mini_data.passages), GeneratorConfig.prompt, "Russian"])

    def make(kind: str = "t5", untied: bool = False) -> Path:
        config_class, model_class = {
            "t5": (transformers.T5Config, transformers.T5ForConditionalGeneration),
            "mt5": (transformers.MT5Config, transformers.MT5ForConditionalGeneration),
        }[kind]
        torch.manual_seed(1)
        config = config_class(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu" if untied else "relu",
            tie_word_embeddings=not untied,
            initializer_factor=2.0,  # wide enough that prompts get clearly different queries
            decoder_start_token_id=0,
            eos_token_id=2,
            pad_token_id=0,
        )
        model = model_class(config)
        if untied:
            model.lm_head.weight = torch.nn.Parameter(torch.randn(len(tokenizer), 32))
        folder = tmp_path_factory.mktemp(kind) / "generator"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_generator(generator_folder: Callable[..., Path]) -> Path:
    """A random T5: 2 layers, 32 dimensions. Never to be written to."""
    return generator_folder()
