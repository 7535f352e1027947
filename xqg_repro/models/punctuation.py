"""Which tokens of a text are punctuation, for any tokenizer."""

from __future__ import annotations

import string
import unicodedata
from typing import Any

import numpy as np


class Punctuation:
    """Finds the tokens that are nothing but punctuation; each token of a vocabulary is decoded at most once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bool] = dict.fromkeys(tokenizer.all_special_ids, False)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Whether each token is punctuation: boolean, of the shape of ``ids``. Special tokens are not."""
        unique, places = np.unique(ids, return_inverse=True)
        for number in unique.tolist():
            if number not in self._known:
                self._known[number] = is_punctuation(self._tokenizer.decode([number]))
        return np.array([self._known[number] for number in unique.tolist()], dtype=bool)[places].reshape(ids.shape)


def is_punctuation(text: str) -> bool:
    """Whether a text is nothing but punctuation, or signs such as ``$`` and ``+``, and space around it.

    >>> is_punctuation(" ,"), is_punctuation("»"), is_punctuation("##$"), is_punctuation("a."), is_punctuation(" ")
    (True, True, True, False, False)
    """
    characters = text.strip()
    return bool(characters) and all(
        character in string.punctuation or unicodedata.category(character).startswith("P") for character in characters
    )
