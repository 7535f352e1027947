"""An encoder's network in CTranslate2, called as transformers' networks are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from xqg_repro.core.errors import InputError
from xqg_repro.models.conversion import ENCODERS, check_kind, converted_model, count_workers, open_engine, use_torch

if TYPE_CHECKING:
    import torch

_LEAST_COSINE = 0.95
"""Between a token's vectors of both backends: int8 gives at least 0.99, another computation far less."""


class CTranslate2Network:
    """The token vectors of texts, computed by CTranslate2 from a converted model.

    Args:
        folder: the model's folder, for messages.
        tokenizer, network: the model, loaded in float32.
        fingerprint: of the model's files.
        device: torch device to compute on; input and output are on the CPU.
        precision: number format of the layers.

    Raises:
        InputError: as :func:`~xqg_repro.models.conversion.check_kind` and
            :func:`~xqg_repro.models.conversion.converted_model`; or CTranslate2 computes other vectors than torch.
    """

    def __init__(
        self, folder: Path, tokenizer: Any, network: Any, fingerprint: str, device: str, precision: str
    ) -> None:
        import torch

        check_kind(folder, ENCODERS, precision, device)
        self.device = torch.device("cpu")
        texts = tokenizer(["a b", "a b c d"], padding=True, return_tensors="pt", return_token_type_ids=False)
        ids, mask = texts["input_ids"], texts["attention_mask"]
        with torch.inference_mode():  # first, as the conversion may change the weights in place
            expected = network(input_ids=ids, attention_mask=mask).last_hidden_state
        path = converted_model(folder, fingerprint, tokenizer, network, precision)
        self.workers = count_workers(device)
        self._encoder = open_engine("Encoder", path, device, precision, self.workers)
        cosines = torch.nn.functional.cosine_similarity(self(ids, mask).last_hidden_state, expected, dim=-1)
        if not (lowest := float(cosines[mask.bool()].min())) > _LEAST_COSINE:
            problem = f"CTranslate2 computes other vectors than torch (lowest cosine {lowest:.3f})"
            raise InputError(problem, path=folder, hint=use_torch(precision))

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """``last_hidden_state``, float32, shape (texts, tokens, hidden size), of ids and a mask (texts, tokens)."""
        import ctranslate2
        import torch

        ids = ctranslate2.StorageView.from_array(input_ids.int().numpy())
        lengths = ctranslate2.StorageView.from_array(attention_mask.sum(1).int().numpy())
        states = self._encoder.forward_batch(ids, lengths).last_hidden_state
        on_cpu = states.to_device(ctranslate2.Device.cpu) if states.device != "cpu" else states
        return SimpleNamespace(last_hidden_state=torch.from_numpy(np.array(on_cpu.to(ctranslate2.DataType.float32))))
