"""Tiny random causal language models with a byte-level tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

KINDS = {
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
    "qwen3": ("Qwen3Config", {}),
    "llama": ("LlamaConfig", {}),
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% if enable_thinking is false %}<none>{% endif %}{% endif %}"
)
SPECIAL = ["<pad>", "<bos>", "<eos>", "<turn>", "<end>", "<none>"]


def byte_tokenizer(texts: list[str]) -> Any:
    """A byte-level BPE tokenizer, which knows every text and has tokens that contain line breaks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*texts, "\n\n\n\n" * 50], trainer)
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, extra_special_tokens=["<turn>", "<end>", "<none>"], **names
    )


@pytest.fixture(scope="session")
def causal_folder(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``causal_folder("gemma3", "qwen3" or "llama", chat=…, **config)``: a folder with a tiny random causal model."""
    import torch
    import transformers

    texts = [" ".join(row) for row in mini_data.passages]

    def make(kind: str, chat: bool = False, **changes: Any) -> Path:
        tokenizer = byte_tokenizer(texts)
        tokenizer.chat_template = TEMPLATE if chat else None
        name, more = KINDS[kind]
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        sizes |= {"intermediate_size": 64, "head_dim": 8, "max_position_embeddings": 300, "initializer_range": 0.5}
        if kind == "gemma3":
            sizes["query_pre_attn_scalar"] = 8
        ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False}
        torch.manual_seed(1)
        config = getattr(transformers, name)(vocab_size=len(tokenizer) + 8, **sizes, **ids, **more)
        folder = tmp_path_factory.mktemp(kind) / "model"
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return make
