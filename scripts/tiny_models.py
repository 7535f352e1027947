"""Tiny model folders with random weights, one kind for each architecture and layout that users bring."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.train.architecture import Family
from xqg_repro.train.mini.scratch import train_tokenizer

SIZE, POSITIONS = 16, 130
TEXTS = (
    "Turku is a city on the southwest coast of Finland, at the mouth of the river Aura.",
    "The river Aura flows through the city of Turku into the Archipelago Sea.",
    "Oulu is a city in the north of Finland, where the river Oulujoki meets the sea.",
)
CODES = {"en": "eng_Latn", "fi": "fin_Latn"}
MBART_CODES = {"en": "en_XX", "fi": "fi_FI"}

_BERT = {
    "hidden_size": SIZE,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 2 * SIZE,
    "max_position_embeddings": POSITIONS,
}
_DECODER = {**_BERT, "num_key_value_heads": 1, "head_dim": SIZE // 2}
_DISTILBERT = {"dim": SIZE, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": POSITIONS}
_T5 = {"d_model": SIZE, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
_BART = {
    **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")},
    "d_model": SIZE,
    "max_position_embeddings": POSITIONS,
}
_VISION = {"hidden_size": SIZE, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


class Kind(NamedTuple):
    """An architecture: its configuration's class and sizes, and the tokenizer that goes with it."""

    config: str
    sizes: dict[str, Any]
    tokenizer: str = "bert"
    model: str = "AutoModel"
    finish: Callable[[Path], None] = lambda folder: None


def _modules(*modules: str) -> Callable[[Path], None]:
    """Make a folder one of sentence-transformers: after the Transformer, mean pooling and these modules."""

    def write(folder: Path) -> None:
        names = ["Transformer", "Pooling", *modules]
        places = ["", *(f"{number}_{name}" for number, name in enumerate(names[1:], 1))]
        entries = [
            {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{name}"}
            for i, (name, place) in enumerate(zip(names, places, strict=True))
        ]
        _write(folder / "modules.json", entries)
        _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": SIZE, "pooling_mode": "mean"})
        for name, place in zip(modules, places[2:], strict=True):
            if name == "Dense":
                _write_dense(folder / place)

    return write


def _write_dense(folder: Path, outputs: int = 8) -> None:
    import torch
    from safetensors.torch import save_file

    settings = {"in_features": SIZE, "out_features": outputs, "bias": True}
    _write(folder / "config.json", {**settings, "activation_function": "torch.nn.modules.activation.Tanh"})
    weights = {"linear.weight": torch.randn(outputs, SIZE), "linear.bias": torch.randn(outputs)}
    save_file(weights, folder / "model.safetensors")


def _pooler(folder: Path) -> None:
    import torch

    layer = torch.nn.Linear(SIZE, 8)
    tied = {f"linear_{side}.{name}": value for side in "qp" for name, value in layer.state_dict().items()}
    torch.save(tied, folder / "pooler.pt")
    _write(folder / "pooler_config.json", {"input_dim": SIZE, "output_dim": 8, "tied": True})


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


KINDS: dict[str, Kind] = {
    "BERT": Kind("BertConfig", _BERT),
    "RoBERTa": Kind("RobertaConfig", _BERT, "xlmr"),
    "XLM-R": Kind("XLMRobertaConfig", _BERT, "xlmr"),
    "MPNet": Kind("MPNetConfig", _BERT, "xlmr"),
    "DistilBERT": Kind("DistilBertConfig", _DISTILBERT),
    "DeBERTa-v2": Kind("DebertaV2Config", _BERT),
    "ELECTRA": Kind("ElectraConfig", {**_BERT, "embedding_size": SIZE}),
    "ALBERT": Kind("AlbertConfig", {**_BERT, "embedding_size": SIZE}),
    "ModernBERT": Kind("ModernBertConfig", _BERT),
    "Longformer": Kind("LongformerConfig", {**_BERT, "attention_window": 8}, "xlmr"),
    "LayoutLM": Kind("LayoutLMConfig", _BERT),
    "T5": Kind("T5Config", _T5, "xlmr"),
    "mT5": Kind("MT5Config", _T5, "xlmr"),
    "UMT5": Kind("UMT5Config", _T5, "xlmr"),
    "BART": Kind("BartConfig", _BART, "xlmr"),
    "mBART": Kind("MBartConfig", _BART, "mbart"),
    "M2M100, NLLB": Kind("M2M100Config", _BART, "nllb"),
    "Marian": Kind("MarianConfig", _BART, "xlmr"),
    "Pegasus": Kind("PegasusConfig", _BART, "xlmr"),
    "DPR question encoder": Kind("DPRConfig", _BERT, model="DPRQuestionEncoder"),
    "DPR context encoder": Kind("DPRConfig", _BERT, model="DPRContextEncoder"),
    "GPT-2": Kind("GPT2Config", {"n_embd": SIZE, "n_layer": 1, "n_head": 2, "n_positions": POSITIONS}, "eos"),
    "Llama": Kind("LlamaConfig", _DECODER, "eos"),
    "Qwen 3": Kind("Qwen3Config", _DECODER, "eos"),
    "Gemma 3 (text)": Kind("Gemma3TextConfig", {**_DECODER, "use_bidirectional_attention": True}, "xlmr"),
    "sentence-transformers": Kind("BertConfig", _BERT, finish=_modules()),
    "sentence-transformers, Normalize": Kind("BertConfig", _BERT, finish=_modules("Normalize")),
    "sentence-transformers, Dense": Kind("BertConfig", _BERT, finish=_modules("Dense", "Normalize")),
    "sentence-transformers, another module": Kind("BertConfig", _BERT, finish=_modules("WordWeights")),
    "Tevatron, pooler": Kind("BertConfig", _BERT, finish=_pooler),
    "FNet": Kind("FNetConfig", _BERT),
    "ViT": Kind("ViTConfig", _VISION),
}
"""Name → how to make a model of the kind."""


CAUSAL = ("GPT-2", "Llama", "Qwen 3", "Gemma 3 (text)")
"""Kinds that go on after a prompt."""


def write_model(name: str, folder: Path, auto_class: str = "AutoModel") -> Path:
    """Write a model folder of a kind, with one of transformers' auto classes if it has the architecture.

    What writes is ``AutoModelForSeq2SeqLM``; a causal kind then gets the class of its own.
    """
    import torch
    import transformers

    kind = KINDS[name]
    tokenizer = _tokenizer(kind.tokenizer)
    special = {role: getattr(tokenizer, f"{role}_id") for role in ("pad_token", "eos_token", "bos_token")}
    ids = {f"{role}_id": number for role, number in special.items()}
    if kind.tokenizer == "xlmr":
        ids |= {"eos_token_id": tokenizer.sep_token_id, "decoder_start_token_id": tokenizer.pad_token_id}
    config = getattr(transformers, kind.config)(**{"vocab_size": len(tokenizer), **ids, **kind.sizes})
    if auto_class == "AutoModelForSeq2SeqLM" and name in CAUSAL:
        auto_class, config.use_bidirectional_attention = "AutoModelForCausalLM", False
    torch.manual_seed(1)
    if kind.model != "AutoModel":
        model = getattr(transformers, kind.model)(config)
    else:
        made_by = getattr(transformers, auto_class)
        made_by = made_by if type(config) in made_by._model_mapping else transformers.AutoModel
        model = made_by.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kind.finish(folder)
    return folder


@cache
def _tokenizer(family: str) -> Any:
    """A tokenizer of a kind that knows the texts."""
    import transformers
    from tokenizers import processors

    words = [*TEXTS, *LANGUAGE_NAMES.values()] * 20
    if family == "bert":
        return train_tokenizer(words, 150, Family.BERT)
    if family == "xlmr":
        made = train_tokenizer(words, 150, Family.XLM_ROBERTA)
        ends = [(token, made.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
        )
        return made
    if family == "eos":  # like GPT-2's, neither a token for padding nor one at either end
        made = train_tokenizer(words, 150, Family.BERT)
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
        return transformers.PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer, eos_token="[SEP]")
    letters = _letters(TEXTS)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *letters]
    if family == "nllb":
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        return transformers.NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=[*CODES.values()])
    return transformers.MBartTokenizer(vocab=[(piece, 0.0) for piece in pieces])


def _letters(texts: Iterable[str]) -> list[str]:
    return sorted({letter for text in texts for letter in text if letter != " "})
