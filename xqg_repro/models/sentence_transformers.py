"""Sentence-transformers' ``modules.json``: what turns a text into a vector.

That is ``Transformer``, ``Pooling``, and any number of ``Dense`` and ``Normalize``. Anything else is refused, as the
vectors would be other ones without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xqg_repro.core.errors import quote
from xqg_repro.core.text import Record
from xqg_repro.models.folders import CONFIG, MODULES, module_place, read_config, read_modules, transformer_folder
from xqg_repro.models.layout import NORMALIZE, Dense, Layout, read_size, refuse
from xqg_repro.models.settings import Pooling

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "ReLU6", "Mish", "Softplus")
"""Activation functions of ``torch.nn`` that a ``Dense`` may name."""

_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_POOLINGS = {
    "cls": Pooling.CLS,
    "mean": Pooling.MEAN,
    "lasttoken": Pooling.LAST,
    "cls_token": Pooling.CLS,
    "mean_tokens": Pooling.MEAN,  # names of older versions
}
_FLAGS = (*_POOLINGS, "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")
_UNLIMITED = 1_000_000
_LATE = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "data2vec-text", "xmod")
"""Architectures that number positions from the one after the padding token's number."""


def read_sentence_transformers(folder: Path) -> Layout:
    """The layout that a folder with ``modules.json`` describes; :class:`InputError` if it is not supported."""
    path = folder / MODULES
    modules = read_modules(folder)
    names = [module.text("type").rpartition(".")[2] for module in modules]
    for module, name in zip(modules, names, strict=True):
        known = ("Transformer", "Pooling", "Dense", NORMALIZE)
        if not module.text("type").startswith("sentence_transformers.") or name not in known:
            refuse(path, f"has the module {module.text('type')}", f"supported: {', '.join(known)}")
    if names == ["Transformer"]:
        return Layout(path, **_read_transformer(transformer_folder(folder)))
    if names[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & {*names[2:]}:
        order = "expected Transformer, Pooling, then any number of Dense and Normalize"
        refuse(path, f"has the modules {', '.join(names) or 'none'} in this order", order)

    steps: list[Dense | str] = []
    for module, name in zip(modules[2:], names[2:], strict=True):
        steps.append(_read_dense(folder / module_place(module)) if name == "Dense" else _read_normalize(folder, module))
    normalize = steps[-1:] == [NORMALIZE]
    while steps[-1:] == [NORMALIZE]:
        steps.pop()
    pooling = _read_pooling(folder / module_place(modules[1]) / CONFIG)
    transformer = _read_transformer(transformer_folder(folder))
    return Layout(path, pooling, normalize, steps=tuple(steps), **transformer)


def _read_pooling(path: Path) -> Pooling:
    config = Record(read_config(path), path)
    flags = [name for name in _FLAGS if config.get(f"pooling_mode_{name}", False)]
    modes = config.get("pooling_mode", None) or flags or "mean"
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        refuse(path, f"pools by {' and '.join(map(str, modes))}", "supported is one of: cls, mean, lasttoken")
    if config.get("include_prompt", True) is not True:
        refuse(path, "leaves the prompt out of the pooling (include_prompt)")
    return _POOLINGS[modes[0]]


def _read_dense(folder: Path) -> Dense:
    path = folder / CONFIG
    config = Record(read_config(path), path)
    _check_names(config)
    if config.get("use_residual", False):
        refuse(path, "has a residual connection (use_residual)")
    inputs, outputs = (read_size(config, name) for name in ("in_features", "out_features"))
    activation = config.text("activation_function", "torch.nn.modules.activation.Tanh")
    name = activation.rpartition(".")[2]
    if not activation.startswith("torch.nn.") or name not in ACTIVATIONS:
        refuse(path, f"has the activation function {activation}", f"supported of torch.nn: {', '.join(ACTIVATIONS)}")
    return Dense(folder, inputs, outputs, config.get("bias", True) is not False, name)


def _read_normalize(folder: Path, module: Record) -> str:
    path = folder / module_place(module) / CONFIG
    if path.exists():
        _check_names(Record(read_config(path), path))
    return NORMALIZE


def _check_names(config: Record) -> None:
    """Refuse a module that reads or writes something else than the text's vector."""
    for name in ("module_input_name", "module_output_name"):
        if (value := config.get(name, None)) not in (None, "sentence_embedding"):
            refuse(config.path, f"has the {name} {quote(value)}", "supported is sentence_embedding")


def _read_transformer(folder: Path) -> dict[str, Any]:
    """The Transformer's own settings, as fields of :class:`Layout`; whatever else changes vectors is refused."""
    paths = [path for name in _TRANSFORMER_CONFIGS if (path := folder / name).exists()]
    config = Record(read_config(paths[0]), paths[0]) if paths else Record({}, folder / _TRANSFORMER_CONFIGS[0])
    expected: dict[str, Any] = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    expected |= dict.fromkeys(("processing_kwargs", "query_expansion", "query_length", "document_length"))
    for name, value in expected.items():
        if (found := config.get(name, None)) not in (None, value, {}):
            refuse(config.path, f"sets {name} to {quote(found)}")
    for name in ("model_args", "config_args", "tokenizer_args", "model_kwargs", "config_kwargs", "processor_kwargs"):
        harmless = {"torch_dtype", "dtype", "attn_implementation", "padding_side", "trust_remote_code"}
        if others := sorted({*(config.get(name, None) or {})} - harmless):
            refuse(config.path, f"sets {others[0]} in {name}")
    length = config.get("max_seq_length", None)
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise config.error(f"max_seq_length is {quote(length)}, expected a whole number above 0")
    lowers = config.get("do_lower_case", False) is True
    return {"max_length": _usual_length(folder) if length is None else length, "lower_case": lowers}


def _usual_length(folder: Path) -> int | None:
    """The maximum length where sentence-transformers has none of its own: the tokenizer's, or the network's if less."""
    lengths = []
    for name, key in (("tokenizer_config.json", "model_max_length"), (CONFIG, "max_position_embeddings")):
        if (folder / name).exists():
            settings = Record(read_config(folder / name), folder / name)
            length = settings.get(key, None)
            if isinstance(length, int) and 0 < length < _UNLIMITED:
                padding = settings.get("pad_token_id", 1) if settings.get("model_type", "") in _LATE else -1
                lengths.append(length - padding - 1 if isinstance(padding, int) else length)
    return min(lengths, default=None)
