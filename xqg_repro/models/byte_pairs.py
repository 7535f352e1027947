"""Byte-pair tokenizers: the merges that lead to a token, and a tokenizer with fewer tokens.

An encoder starts from a text's characters and applies the merge of lowest rank until none is left. If it has fewer
merges, in the same order, it makes the same tokens of a text as long as it still has every merge that it applied
before: in each step, that merge is still the one of lowest rank.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import SCRIPTS, is_only_in_script

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The tokens that stand for the bytes of characters without a token, in a model with byte fallback."""

_OTHER_MODEL = "choose a model with a byte-pair tokenizer, such as Gemma, Qwen or Llama 3"


class BytePairs:
    """The vocabulary and the merges of a fast byte-pair tokenizer that encodes every text without loss.

    Args:
        backend: a :class:`tokenizers.Tokenizer`.
        folder: of the model, for messages.

    Raises:
        InputError: the tokenizer is of another kind, draws its merges at random, marks parts of words, or does not
            know all bytes.
    """

    def __init__(self, backend: Any, folder: Path) -> None:
        self.backend, self.parts = backend, json.loads(backend.to_str())
        model = self.parts["model"]
        if model.get("type") != "BPE":
            problem = f"its tokenizer is of the kind {model.get('type')}, not byte-pair encoding"
            raise InputError(problem, path=folder, hint=_OTHER_MODEL)
        for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(setting):
                raise InputError(f"its tokenizer has a {setting}: not supported", path=folder, hint=_OTHER_MODEL)
        self.vocabulary: dict[str, int] = model["vocab"]
        self.ranks = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}
        self.byte_tokens = BYTES if model.get("byte_fallback") else _byte_level() if _has_byte_level(self.parts) else ()
        if not self.byte_tokens or not self.vocabulary.keys() >= {*self.byte_tokens}:
            problem = "its tokenizer has no token for every byte, so texts with unknown characters would be lost"
            raise InputError(problem, path=folder, hint=_OTHER_MODEL)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token → its number, added tokens included."""
        return self.vocabulary | {token["content"]: token["id"] for token in self.parts["added_tokens"]}

    def close(self, tokens: Iterable[str]) -> set[str]:
        """The tokens and all that the encoder makes on its way to them, single characters included.

        It makes added tokens and bytes at once.
        """
        closed = {*tokens}
        at_once = {*self.byte_tokens, *(token["content"] for token in self.parts["added_tokens"])}
        for token in closed - at_once:
            closed.update(self._path(token))
        return closed & self.ids.keys()

    def _path(self, token: str) -> list[str]:
        """The parts that the encoder makes of a token's characters, in order. Of equal merges, the first applies."""
        parts, made = list(token), list(token)
        none = len(self.ranks)
        while len(parts) > 1:
            rank, place = min((self.ranks.get(pair, none), i) for i, pair in enumerate(pairwise(parts)))
            if rank == none:
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
            made.append(parts[place])
        return made

    def first_tokens(self, count: int, languages: Sequence[str] = ()) -> list[str]:
        """The first tokens in the order of the merges, and the first single characters in the order of their numbers.

        Args:
            count: number of tokens and, apart from them, of characters.
            languages: ISO 639-1 codes; ``count`` is then for the script of each, whichever languages share it, and for
                tokens without letters. Otherwise those of Latin script, which come first, would leave no room.
        """
        merged = list(dict.fromkeys(left + right for left, right in self.ranks))
        single = sorted((t for t in self.vocabulary if len(t) == 1), key=self.vocabulary.__getitem__)
        kinds = ([token for token in tokens if token in self.vocabulary] for tokens in (merged, single))
        if not languages:
            return [token for tokens in kinds for token in tokens[:count]]
        chosen = []
        for tokens in kinds:
            room = Counter(dict.fromkeys(["", *(SCRIPTS[language] for language in languages)], count))
            for token in tokens:
                if not room.total():
                    break
                script = self._script(token, languages)
                if script is not None and room[script]:
                    room[script] -= 1
                    chosen.append(token)
        return chosen

    def _script(self, token: str, languages: Iterable[str]) -> str | None:
        """The script of one of these languages with all letters of a token; empty if it has none, else ``None``."""
        text = self.backend.decoder.decode([token]) if self.backend.decoder else token
        if is_only_in_script(text, ()):
            return ""
        return next((SCRIPTS[code] for code in languages if is_only_in_script(text, (code,))), None)

    def restrict(self, tokens: Iterable[str]) -> tuple[str, list[int]]:
        """A tokenizer with only these tokens, which keep their order, and the merges among them.

        Returns:
            its JSON, and the former number of each token in the order of the new numbers.
        """
        kept = {*tokens}
        numbered = sorted(kept & self.vocabulary.keys(), key=self.vocabulary.__getitem__)
        numbered += sorted(kept - self.vocabulary.keys(), key=self.ids.__getitem__)  # always behind the vocabulary
        new = {token: number for number, token in enumerate(numbered)}
        model = dict(self.parts["model"])
        model["vocab"] = {token: number for token, number in new.items() if token in self.vocabulary}
        model["merges"] = [[a, b] for a, b in self.ranks if {a, b, a + b} <= model["vocab"].keys()]
        added = [
            {**token, "id": new[token["content"]]} for token in self.parts["added_tokens"] if token["content"] in new
        ]
        parts = self.parts | {"model": model, "added_tokens": added, "truncation": None, "padding": None}
        parts["post_processor"] = _renumber(self.parts["post_processor"], new)
        return json.dumps(parts, ensure_ascii=False), [self.ids[token] for token in numbered]


def template_tokens(processor: Any) -> set[str]:
    """The tokens that a post-processor adds to each text, in the JSON of a tokenizer."""
    if not isinstance(processor, dict):
        return set()
    named = {processor[role][0] for role in ("sep", "cls") if role in processor}
    for token in (processor.get("special_tokens") or {}).values():
        named.update(token["tokens"])
    return named.union(*map(template_tokens, processor.get("processors", ())))


def _renumber(processor: Any, new: dict[str, int]) -> Any:
    """A post-processor's JSON with the new numbers of its tokens."""
    if not isinstance(processor, dict):
        return processor
    processor = dict(processor)
    for role in ("sep", "cls"):
        if role in processor:
            processor[role] = [processor[role][0], new[processor[role][0]]]
    if special := processor.get("special_tokens"):
        processor["special_tokens"] = {
            name: {**token, "ids": [new[part] for part in token["tokens"]]} for name, token in special.items()
        }
    if "processors" in processor:
        processor["processors"] = [_renumber(part, new) for part in processor["processors"]]
    return processor


def _has_byte_level(parts: dict[str, Any]) -> bool:
    """Whether a tokenizer turns texts into bytes before the merges."""
    steps = [parts[name] for name in ("normalizer", "pre_tokenizer") if parts[name]]
    for step in steps:
        steps += step.get("normalizers", []) + step.get("pretokenizers", [])
    return any(step["type"] == "ByteLevel" for step in steps)


def _byte_level() -> tuple[str, ...]:
    """The characters that stand for bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return tuple(sorted(ByteLevel.alphabet()))
